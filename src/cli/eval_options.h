/* Options behind one beginning: which of them a language model finds likeliest. */
#ifndef SN_CLI_EVAL_OPTIONS_H
#define SN_CLI_EVAL_OPTIONS_H

#include "cli/eval.h"
#include "generate/lm_session.h"
#include "generate/pictures.h"

/* The prompt that options stand behind. */
typedef struct sn_beginning {
    const sn_content *parts; /* texts and at most one picture, that of sn_option_scorer_picture; the last is a text */
    int count;
    bool apart; /* each option is a text of its own; otherwise it goes on with the last part */
} sn_beginning;

/* What the cache holds between two calls is used again as far as the beginnings are equal. */
typedef struct sn_option_scorer {
    sn_evaluation *e;
    sn_pictures *pictures;
    sn_picture *picture;
    const float *rows; /* of the picture */
    sn_lm_session session;
    sn_sequence sequence;
    sn_ids held;
    sn_ids *option; /* [options] prompts with an option at their end */
    int64_t options, batch; /* batch: options in one run */
} sn_option_scorer;

/* SN_ERROR_SUPPORT where the model does not speak, or does not see. */
sn_status sn_option_scorer_open(sn_option_scorer *scorer, sn_evaluation *e, sn_error *error);
void sn_option_scorer_close(sn_option_scorer *scorer);

/* The picture of the beginnings to come. */
sn_status sn_option_scorer_picture(sn_option_scorer *scorer, const sn_set_picture *picture, sn_error *error);

/* loss [count]: the sum of -log p over the tokens of each option. unshifted [count] (or NULL): the same with the scores of
 * each position held against the token at that position instead of the next. */
sn_status sn_score_options(sn_option_scorer *scorer, const sn_beginning *beginning, const char *const *options, int64_t count, double *loss, double *unshifted, sn_error *error);

#endif
