/* The commands of the program: one file each, one table. */
#ifndef SN_CLI_COMMAND_H
#define SN_CLI_COMMAND_H

#include "base/error.h"

typedef struct sn_command {
    const char *name, *summary;
    const char *usage; /* what --help prints, with an example */
    /* argv[0] is the command's name. SN_ERROR_USAGE becomes exit 2, other failures exit 1. */
    sn_status (*run)(int argc, char **argv, sn_error *error);
} sn_command;

extern const sn_command sn_command_trace;
extern const sn_command sn_command_inspect;

#endif
