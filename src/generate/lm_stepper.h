/* A language model behind a prompt as a source of scores. */
#ifndef SN_GENERATE_LM_STEPPER_H
#define SN_GENERATE_LM_STEPPER_H

#include "generate/lm_session.h"
#include "generate/search.h"

typedef struct sn_lm_stepper {
    sn_lm_session *session;
    sn_sequence rows[16];
    int num_rows;
} sn_lm_stepper;

/* Starts from a sequence that holds the prompt but for its last `row`; takes the sequence over. The logits after
 * the prompt come from running `row`. */
typedef struct sn_lm_prompt {
    sn_lm_stepper stepper;
    sn_lm_row row;
} sn_lm_prompt;

sn_stepper sn_lm_stepper_of(sn_lm_prompt *prompt, sn_lm_session *session, const int32_t *ids, int64_t count, const float *media);
void sn_lm_stepper_free(sn_lm_prompt *prompt);

#endif
