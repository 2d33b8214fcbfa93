/* HTML's character references in a text. */
#ifndef SN_TEXT_ENTITIES_H
#define SN_TEXT_ENTITIES_H

#include "base/memory.h"

/* Appends the text with &amp; &#233; &#xe9; … as the characters they name; closed: only those that end in a semicolon. */
void sn_entities_resolve(const char *text, size_t length, bool closed, sn_buf *out);

/* U+0080 to U+009F as these bytes are meant in Windows-1252; every other character as it is. */
uint32_t sn_windows_1252(uint32_t point);

#endif
