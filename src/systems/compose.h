/* A LLaVA that was never published: a tower, a connector and a language model, each from a folder or fresh, as one
 * folder in Hugging Face's layout. */
#ifndef SN_SYSTEMS_COMPOSE_H
#define SN_SYSTEMS_COMPOSE_H

#include "decoders/llama.h"
#include "encoders/clip.h"
#include "systems/model.h"

typedef struct sn_composition {
    const char *vision, *llm, *connector; /* folders that hold such a part, alone or in a LLaVA; NULL: fresh */
    const char *tokenizer;                /* a folder with tokenizer.model; NULL: llm's */
    sn_clip_vision_config fresh_vision;   /* sizes, where vision is NULL */
    sn_llama_config fresh_llama;          /* likewise; its vocab_size is the tokenizer's */
    uint64_t seed;                        /* of all that is fresh */
} sn_composition;

/* Writes the folder (which may exist). Stored in the language model's type, f16 for a fresh one. A vocabulary without
 * <image> gets it and <pad>; rows that a table has too few begin as the mean of the others. */
sn_status sn_compose(sn_engine *engine, const sn_composition *composition, const char *folder, sn_error *error);

/* Writes the tower of a LLaVA, or of a CLIP, as a CLIP of its own in Hugging Face's layout. */
sn_status sn_compose_tower(sn_engine *engine, const char *vision, const char *folder, sn_error *error);

/* Copies the files that stand beside the weights (configuration, tokenizer, processor) from one model's folder to another. */
sn_status sn_copy_configuration(const char *from, const char *to, sn_error *error);

#endif
