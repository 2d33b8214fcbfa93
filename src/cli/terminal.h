/* The terminal: Ctrl-C as a flag, lines that a person edits, output that may be a closed pipe. */
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

/* The same for text that a model has written: control characters but newline and tab do not reach a terminal. */
bool sn_print_text(const char *text, size_t length);

/* What became of stdout: SN_OK also where a reader has closed the pipe, which is no error of ours. */
sn_status sn_print_status(sn_error *error);

/* The pictures that the terminal at stdout shows; NONE where stdout is none. The first call asks it, for at most a second. */
typedef enum sn_terminal_pictures { SN_PICTURES_NONE, SN_PICTURES_SIXEL, SN_PICTURES_KITTY } sn_terminal_pictures;
sn_terminal_pictures sn_terminal_shows(void);

/* Lines from stdin: with editing and history where stdin and stdout are a terminal, else as they come. */
typedef struct sn_lines sn_lines;
sn_status sn_lines_open(const char *prompt, sn_lines **out, sn_error *error);
void sn_lines_close(sn_lines *lines);
bool sn_lines_edited(const sn_lines *lines);

/* The next line without its newline, valid until the next call; NULL at the end (Ctrl-D). A line that Ctrl-C
 * has ended is empty. */
const char *sn_lines_next(sn_lines *lines);

#endif
