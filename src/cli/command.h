/* The commands of the program: one file each, one table in main.c.
 *
 * A command says what its arguments are; main reads them, prints --help, and turns what run returns into the
 * exit code: 0, 1 for a failure, 2 for wrong usage, 130 for a cancelled one (Ctrl-C). */
#ifndef SN_CLI_COMMAND_H
#define SN_CLI_COMMAND_H

#include "cli/arguments.h"

typedef struct sn_command {
    const char *name, *summary;
    const char *plain;        /* how --help writes the arguments that are no options: "MODEL [QUESTION]" */
    int min_plain, max_plain; /* how many there may be; max -1 = any number */
    const char *details;      /* sentences below the usage line */
    const char *example;      /* a command line that works in the project's folder */
    const sn_option *const *tables; /* of options; ends with NULL */
    sn_status (*run)(const sn_arguments *arguments, sn_error *error);
} sn_command;

extern const sn_command sn_command_bench;
extern const sn_command sn_command_chat;
extern const sn_command sn_command_compare;
extern const sn_command sn_command_eval;
extern const sn_command sn_command_tokenize;
extern const sn_command sn_command_tokenizer;
extern const sn_command sn_command_trace;
extern const sn_command sn_command_train;
extern const sn_command sn_command_convert;
extern const sn_command sn_command_index;
extern const sn_command sn_command_inspect;
extern const sn_command sn_command_search;

#endif
