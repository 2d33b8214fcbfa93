/* Requests and prompts: messages in, ids with places for media out. */
#ifndef SN_SYSTEMS_PROMPT_H
#define SN_SYSTEMS_PROMPT_H

#include "text/tokenizer.h"

#include <jansson.h>

enum { SN_MAX_MEDIA = 64 };

typedef enum sn_role { SN_ROLE_SYSTEM, SN_ROLE_USER, SN_ROLE_ASSISTANT } sn_role;

typedef struct sn_content {
    bool is_media, squash; /* squash: a picture that is first made 224 x 224, whatever its shape */
    bool begins;           /* a text that begins like one of its own, wherever it stands in the prompt */
    const char *text; /* or the path of the picture */
} sn_content;

typedef struct sn_message {
    sn_role role;
    const sn_content *content;
    int count;
} sn_message;

typedef struct sn_request {
    const sn_message *messages; /* through the template … */
    int num_messages;
    const sn_content *prompt;   /* … or taken as it stands */
    int num_prompt;
    const char *template_name;  /* NULL = the model's own */
    bool literal;               /* special tokens inside messages are plain text */
} sn_request;

/* ids: -1 - i stands for row i of the media features, in the order of `media`. */
typedef struct sn_prompt {
    sn_ids ids;
    const char *media[SN_MAX_MEDIA]; /* paths, borrowed from the request */
    int num_media;
    const char *stop;                /* the template's own stop string, or NULL */
} sn_prompt;
void sn_prompt_free(sn_prompt *prompt);

/* ---- text with places for media, for templates ---- */
typedef struct sn_prompt_text {
    sn_buf text, literal; /* literal: one byte per byte of text */
    struct {
        size_t at;
        const char *path;
    } media[SN_MAX_MEDIA];
    int num_media;
    bool overflow;
    bool one_text; /* only its very beginning is the beginning of a text for the tokenizer */
} sn_prompt_text;

void sn_prompt_text_add(sn_prompt_text *p, const char *text, bool literal);
void sn_prompt_text_media(sn_prompt_text *p, const char *path);
void sn_prompt_text_free(sn_prompt_text *p);

/* Encodes the stretches between media one by one, each as a text of its own unless they are one, with bos at the very
 * beginning; every medium takes `positions` rows. */
sn_status sn_prompt_encode(const sn_prompt_text *p, const sn_tokenizer *tokenizer, int64_t positions, sn_prompt *out, sn_error *error);

#endif
