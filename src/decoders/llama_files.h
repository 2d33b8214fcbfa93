/* How LLaMA is published: configuration and names. */
#ifndef SN_DECODERS_LLAMA_FILES_H
#define SN_DECODERS_LLAMA_FILES_H

#include "decoders/llama.h"
#include "weights/config.h"
#include "weights/layout.h"

/* Hugging Face's config.json, or the text_config within one (missing keys take LlamaConfig's values). */
sn_status sn_llama_config_hf(const char *where, const json_t *object, sn_llama_config *c, sn_error *error);
/* Meta's params.json; vocab_size -1 must then be set from the tokenizer. */
sn_status sn_llama_config_meta(const char *where, const json_t *object, sn_llama_config *c, sn_error *error);

extern const sn_name_rule sn_llama_names_hf[];   /* prefix "model." and, for the head, sn_llama_head_hf */
extern const sn_name_rule sn_llama_head_hf[];    /* lm_head.weight */
extern const sn_name_rule sn_llama_names_meta[];

#endif
