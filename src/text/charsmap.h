/* The precompiled normalisation map of SentencePiece files: a double-array trie and its replacements. */
#ifndef SN_TEXT_CHARSMAP_H
#define SN_TEXT_CHARSMAP_H

#include "base/error.h"
#include "base/memory.h"

typedef struct sn_charsmap sn_charsmap;

/* Copies and checks the bytes. `where` names the source in errors. */
sn_status sn_charsmap_open(const char *where, const unsigned char *bytes, size_t size, sn_charsmap **out, sn_error *error);
/* The same from base64, as tokenizer.json holds it. */
sn_status sn_charsmap_open_base64(const char *where, const char *text, size_t length, sn_charsmap **out, sn_error *error);
void sn_charsmap_close(sn_charsmap *map);

/* The replacement of the longest (or of the shortest) key that the text begins with, or NULL; *used gets the
 * key's length. */
const char *sn_charsmap_find(const sn_charsmap *map, const char *text, size_t length, bool longest, size_t *used);

/* What `tokenizers` makes of a map: clusters of fewer than 6 bytes by the shortest key that they begin with, which then
 * replaces the whole cluster; else each character alone. */
void sn_charsmap_by_grapheme(const sn_charsmap *map, const char *text, size_t length, sn_buf *out);

#endif
