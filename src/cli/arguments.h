/* Arguments of a command, read by its tables of options; --help is written from the same tables.
 *
 * `--name value`, `--name=value`, `-n value` and `-nvalue` are the same; `--` ends the options; "-" is a plain
 * argument. An option given twice counts the last time, unless the command asks for every one. */
#ifndef SN_CLI_ARGUMENTS_H
#define SN_CLI_ARGUMENTS_H

#include "base/error.h"
#include "base/memory.h"

typedef struct sn_option {
    const char *name;  /* "image" for --image; NULL ends a table */
    char letter;       /* 'i' for -i; 0 = none */
    const char *value; /* what --help writes for its value, "PATH"; NULL: a switch without one */
    const char *help;  /* one line */
} sn_option;

typedef struct sn_arguments {
    const char *command;
    const sn_option *const *tables;
    const char **plain; /* arguments that are no options, in their order */
    int num_plain;
    struct sn_argument {
        const sn_option *option;
        const char *value; /* "" for a switch */
    } *given;
    int num_given;
} sn_arguments;

/* argv[0] is the command's name, for errors. tables: ends with NULL. The strings of argv are borrowed. An option
 * that is in no table is an error that names those there are; --help (-h) is an option of every command. */
sn_status sn_arguments_read(int argc, char **argv, const sn_option *const *tables, sn_arguments *out, sn_error *error);
void sn_arguments_free(sn_arguments *arguments);

/* Whether an option was given; its last value, or NULL; its i-th value, or NULL behind the last one. */
bool sn_argument_given(const sn_arguments *arguments, const char *name);
const char *sn_argument(const sn_arguments *arguments, const char *name);
const char *sn_argument_at(const sn_arguments *arguments, const char *name, int i);

/* Whole numbers and numbers in a range; *value stays as it is where the option was not given. */
sn_status sn_argument_integer(const sn_arguments *arguments, const char *name, int64_t low, int64_t high, int64_t *value, sn_error *error);
sn_status sn_argument_number(const sn_arguments *arguments, const char *name, double low, double high, double *value, sn_error *error);
/* One of some words (NULL ends them): its index. */
sn_status sn_argument_word(const sn_arguments *arguments, const char *name, const char *const *words, int *index, sn_error *error);

/* The lines of --help for the options of all tables. */
void sn_arguments_help(const sn_option *const *tables, sn_buf *out);

#endif
