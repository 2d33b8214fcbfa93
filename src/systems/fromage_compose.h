/* An OPT and a FROMAGe that were never published, as folders in their authors' layouts. */
#ifndef SN_SYSTEMS_FROMAGE_COMPOSE_H
#define SN_SYSTEMS_FROMAGE_COMPOSE_H

#include "decoders/opt.h"
#include "systems/model.h"

/* A fresh OPT: hidden_size, intermediate_size, num_layers, num_heads and max_positions of `sizes`. tokenizer: a folder with
 * vocab.json and merges.txt; its words follow OPT's first four ids, and the table has rows for two more tokens. */
sn_status sn_opt_compose(const sn_opt_config *sizes, const char *tokenizer, uint64_t seed, const char *folder, sn_error *error);

typedef struct sn_fromage_composition {
    const char *llm, *vision;    /* folders of an OPT and of a CLIP, or a LLaVA that holds a tower; named in the arguments */
    int64_t size, visual_tokens; /* of the shared space; rows that a picture takes */
    uint64_t seed;
} sn_fromage_composition;

/* Fresh layers between the two: model_args.json and pretrained_ckpt.pth.tar; a LLaVA's tower in visual_model/. */
sn_status sn_fromage_compose(sn_engine *engine, const sn_fromage_composition *composition, const char *folder, sn_error *error);

#endif
