/* Chat templates of the LLaMA family: how turns become one text. */
#ifndef SN_SYSTEMS_TEMPLATE_H
#define SN_SYSTEMS_TEMPLATE_H

#include "systems/prompt.h"

typedef enum sn_template_style {
    SN_TEMPLATE_SINGLE,  /* system + sep, then "role: text" + sep */
    SN_TEMPLATE_TWO,     /* the same, sep behind questions and sep2 behind answers */
    SN_TEMPLATE_LLAMA_2, /* [INST] … [/INST] */
    SN_TEMPLATE_PLAIN,   /* texts, each with sep behind */
    SN_TEMPLATE_HF,      /* one blank between the pieces, no system sentence */
} sn_template_style;

typedef struct sn_template {
    const char *name;
    sn_template_style style;
    const char *system, *user, *assistant, *sep, *sep2;
    const char *example[2]; /* an exchange that stands before every conversation */
    const char *stop;
    bool image_last; /* question, newline, picture (the code of May 2023) */
} sn_template;

/* NULL where there is none of that name; the second list holds the names that a base + delta request means. */
const sn_template *sn_template_find(const char *name, bool code_of_may_2023);
/* Names of all templates, for an error. */
void sn_template_names(sn_buf *out);

/* Renders a request's messages. image_start and image_end stand around each picture ("" = nothing). An assistant
 * turn at the end is closed with its separator; otherwise the answer's turn is opened. */
void sn_template_render(const sn_template *template, const sn_request *request, const char *image_start, const char *image_end, sn_prompt_text *out);

#endif
