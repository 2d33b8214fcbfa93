/* The terminal: Ctrl-C as a flag, output that may be a closed pipe. */
#ifndef SN_CLI_TERMINAL_H
#define SN_CLI_TERMINAL_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdio.h>

bool sn_is_terminal(FILE *file);

/* From the first call on Ctrl-C sets this flag instead of ending the process; a second Ctrl-C while the flag is
 * still set ends it. Whoever has dealt with it clears the flag. */
atomic_bool *sn_interrupts(void);

/* Writes bytes at once; false when stdout is gone or full (sn_print_status says which). */
bool sn_print(const char *bytes, size_t length);

/* What became of stdout: SN_OK also where a reader has closed the pipe, which is no error of ours. */
sn_status sn_print_status(sn_error *error);

/* The same for control characters that a model may have written: only newline and tab reach a terminal. */
bool sn_print_text(const char *text, size_t length);

#endif
