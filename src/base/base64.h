/* Base64 (RFC 4648, section 4): bytes in texts. */
#ifndef SN_BASE_BASE64_H
#define SN_BASE_BASE64_H

#include "base/memory.h"

/* The six bits that a digit stands for, -1 where it is none. */
int sn_base64_digit(char digit);

void sn_base64_add(sn_buf *out, const void *bytes, size_t count);

/* Exactly `count` bytes with the padding that belongs to them; false where the text is anything else. */
bool sn_base64_read(const char *text, size_t length, void *bytes, size_t count);

#endif
