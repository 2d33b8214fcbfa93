/* LLaVA's configuration: three parts and how they meet. */
#ifndef SN_SYSTEMS_LLAVA_H
#define SN_SYSTEMS_LLAVA_H

#include "connectors/projector.h"
#include "decoders/llama.h"
#include "encoders/clip.h"
#include "systems/model.h"
#include "systems/template.h"
#include "weights/source.h"

typedef struct sn_llava {
    sn_clip_vision_config vision;
    sn_projector_config projector;
    sn_llama_config llama;
    int64_t select_layer;   /* hidden state of the tower, -2 = the last but one block's output */
    bool keep_class;        /* "cls_patch" / "full": the class token stays */
    bool use_im_start_end;  /* <im_start> and <im_end> around a picture */
    bool one_text;          /* text behind a picture gets no blank in front: Hugging Face's layout without a tokenizer.json */
    bool code_of_may_2023;  /* base + delta: templates of that code */
    const sn_template *template;
    const sn_source_tensor *marks; /* the token table of a projector's file: its last two rows are <im_start> and <im_end> as stage 1 trained them */
} sn_llava;

/* How it is published: sn_system's recognise and open. */
int sn_llava_recognise(const sn_model_files *files, const char **why);
sn_status sn_llava_open(sn_model *model, const sn_model_files *files, sn_error *error);

/* Names of the projector in Hugging Face's layout. */
extern const sn_name_rule sn_llava_projector_hf[];

/* LLaVA's training text: labels by the published masks. */
sn_status sn_llava_sample(const sn_model *model, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error);

#endif
