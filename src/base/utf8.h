/* UTF-8, strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SN_BASE_UTF8_H
#define SN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character; gives its length in bytes, 0 where the bytes are no valid character. */
int sn_utf8_decode(const char *text, size_t length, uint32_t *point);

/* Encodes one character into at most 4 bytes; gives how many. */
int sn_utf8_encode(uint32_t point, char *out);

/* Whether all bytes are valid; *offset (may be NULL) gets the place of the first that is not. */
bool sn_utf8_valid(const char *text, size_t length, size_t *offset);

/* Number of bytes at the end that begin a character which further bytes could still complete (0..3). */
size_t sn_utf8_unfinished(const char *text, size_t length);

/* Length of the maximal subpart of an ill-formed sequence (Unicode 15, 3.9): the bytes that one U+FFFD
 * replaces. At least 1. */
size_t sn_utf8_bad_length(const char *text, size_t length);

#endif
