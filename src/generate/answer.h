/* One answer from beginning to end: prompt, pictures, search, text. */
#ifndef SN_GENERATE_ANSWER_H
#define SN_GENERATE_ANSWER_H

#include "generate/lm_stepper.h"
#include "generate/parts.h"
#include "generate/stream.h"
#include "systems/model.h"

/* Pictures of a prompt, decoded and preprocessed: [pictures, 3, size, size], freed by sn_free. */
sn_status sn_load_pictures(const sn_model *model, const char *const *paths, int count, const sn_image_options *options, float **pixels, sn_error *error);

typedef struct sn_reply {
    sn_answer answer;
    sn_buf text;
    sn_parts parts;      /* one text, or texts and pictures; `text` is the texts, joined */
    json_t *stream;      /* the text after each id, where asked for */
    const char *stopped_by; /* a stop string, or NULL */
    bool by_length, cancelled;
    bool by_window; /* by_length, and more would not have been possible: the model's window is full */
} sn_reply;
void sn_reply_free(sn_reply *reply);

/* "stop", "length" or "cancelled". */
const char *sn_finish_reason(const sn_reply *reply);

/* Called with new text as it becomes certain: whole characters, and joined they are the reply's text. */
typedef void sn_on_text(void *context, const char *text, size_t length);

typedef struct sn_answer_request {
    sn_model *model;
    const sn_prompt *prompt;
    const float *pixels; /* of all pictures of the prompt; or, where they are at hand, … */
    const float *rows;   /* … their rows: -1 - i in the prompt's ids is row i */
    /* Where a cache outlives the answer (both or none): the sequence holds the first `length` positions of the prompt, at
     * most all but one. Afterwards it holds as much of the prompt and the answer's ids as was computed. */
    sn_lm_session *session;
    sn_sequence *sequence;
    const sn_generate_options *options; /* the template's stop and the model's eos are added */
    bool keep_logits, keep_stream;
    const sn_finder *finder; /* where pictures are found that the model asks for; NULL = nowhere */
    int max_pictures;        /* of each query; 0 = 1 */
    bool all_ids; /* goes on where what follows could not be part of the answer any more (behind a query, a new line) */
    sn_on_text *on_text;
    void (*on_id)(void *context, int64_t ids); /* ids chosen so far; NULL = not wanted */
    void *context;
    const atomic_bool *cancel;
} sn_answer_request;

/* A cancelled answer is no failure: the reply says so and has what came before. */
sn_status sn_answer_prompt(const sn_answer_request *request, sn_reply *out, sn_error *error);

/* Whether the model's window holds the prompt and one more position; the error has all numbers. */
sn_status sn_check_prompt_length(const sn_model *model, const sn_prompt *prompt, sn_error *error);

/* The ids of a prompt as penalties count them: a picture's rows as the model's media id, or nothing at all where
 * the published code hands over embeddings. */
sn_status sn_penalty_ids(const sn_model *model, const sn_prompt *prompt, sn_ids *out, sn_error *error);

#endif
