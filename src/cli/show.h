/* Pictures of an answer: in the terminal, and on a page. */
#ifndef SN_CLI_SHOW_H
#define SN_CLI_SHOW_H

#include "generate/parts.h"

typedef enum sn_show { SN_SHOW_OFF, SN_SHOW_PATHS, SN_SHOW_INLINE } sn_show;

/* Prints the path on a line of its own; with INLINE, where the terminal answers that it knows kitty's protocol or
 * sixel, the picture itself in front of it. */
void sn_show_picture(sn_show how, const char *path);

/* Adds a question and its answer to the page and writes it, whole, to the file. Pictures are part of the page. */
sn_status sn_page_write(const char *file, sn_buf *page, const char *question, const sn_parts *parts, sn_error *error);

/* A small copy of the picture as the address of an <img>, "data:…". False where it cannot be read; then nothing is added. */
bool sn_add_thumbnail(sn_buf *page, const char *path);

#endif
