/* The tokenizer inside a GGUF file. */
#ifndef SN_SYSTEMS_GGUF_VOCABULARY_H
#define SN_SYSTEMS_GGUF_VOCABULARY_H

#include "text/tokenizer.h"
#include "weights/gguf.h"

/* From the keys tokenizer.ggml.* of a GGUF file; `where` names it in errors. */
sn_status sn_gguf_tokenizer(const char *where, const sn_gguf *gguf, sn_tokenizer **out, sn_error *error);

/* From a tokenizer's files as sn_tokenizer_open, or from a GGUF file. */
sn_status sn_open_any_tokenizer(const char *path, bool prefer_sentencepiece, sn_tokenizer **out, sn_error *error);

#endif
