/* Classes, case and normal forms of characters, from one set of tables (utf8proc's). */
#ifndef SN_TEXT_UNICODE_H
#define SN_TEXT_UNICODE_H

#include "base/memory.h"

typedef enum sn_normal_form { SN_NFC, SN_NFD, SN_NFKC, SN_NFKD } sn_normal_form;

/* White_Space: 09-0D 20 85 A0 1680 2000-200A 2028 2029 202F 205F 3000. */
bool sn_is_space(uint32_t point);
bool sn_is_letter(uint32_t point);      /* L* */
bool sn_is_number(uint32_t point);      /* N* */
bool sn_is_mark(uint32_t point);        /* M* */
bool sn_is_nonspacing(uint32_t point);  /* Mn */
bool sn_is_punctuation(uint32_t point); /* P* and the ASCII signs: BERT's idea of punctuation */
bool sn_is_control(uint32_t point);     /* Cc, Cf, Co; unassigned ones are none */
bool sn_is_word(uint32_t point);        /* \w: letters, marks, digits, connectors */

/* Lower case of one character, without context: gives how many (1 or 2). */
int sn_lower(uint32_t point, uint32_t out[2]);
uint32_t sn_upper(uint32_t point);

/* The character at text[*at], *at moved behind it; a byte that begins none is taken alone as U+FFFD. */
uint32_t sn_next_point(const char *text, size_t length, size_t *at);
void sn_add_point(sn_buf *out, uint32_t point);

/* Appends the text in a normal form; linear in time, whatever the marks. */
void sn_normal_form_add(sn_normal_form form, const char *text, size_t length, sn_buf *out);

/* Length in bytes of the extended grapheme cluster at the beginning of a text that is not empty. */
size_t sn_grapheme(const char *text, size_t length);

#endif
