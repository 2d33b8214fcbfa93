/* LLaMA in one GGUF file, as llama.cpp's converter writes it: hyper-parameters as key-values, names, and
 * the rows of q and k in interleaved rotary order. */
#ifndef SN_DECODERS_LLAMA_GGUF_H
#define SN_DECODERS_LLAMA_GGUF_H

#include "decoders/llama.h"
#include "weights/gguf.h"
#include "weights/layout.h"

extern const sn_name_rule sn_llama_names_gguf[];

/* From the keys llama.*; vocab_size from the table's rows. rotary is INTERLEAVED. */
sn_status sn_llama_config_gguf(const sn_source *source, sn_llama_config *c, sn_error *error);

/* A weight as the other rotary order has it: within each of `heads` blocks of rows, halves become pairs (to_pairs) or
 * pairs become halves. Derived; the weight must outlive it. NULL without memory. */
sn_weight *sn_rotary_rows(sn_arena *arena, sn_weight *weight, int64_t heads, bool to_pairs);

#endif
