/* What happens to a row of scores before an id is chosen, in this order. */
#ifndef SN_GENERATE_PROCESSORS_H
#define SN_GENERATE_PROCESSORS_H

#include "generate/options.h"

/* ids: everything that counts as said so far (the prompt's ids where they are known), of which the last
 * `generated` are new. scores [vocab]: raw logits, or log-probabilities in beam search. */
sn_status sn_process_scores(const sn_generate_options *options, const int32_t *ids, int64_t count, int64_t generated, float *scores,
                            int64_t vocab, sn_error *error);

/* The sampling part: temperature, top-k, top-p, min-p, typical, epsilon, eta; removed ones become -infinity. */
sn_status sn_warp_scores(const sn_generate_options *options, float *scores, int64_t vocab, sn_error *error);

/* In place: softmax in float32; log-softmax. */
void sn_softmax(float *scores, int64_t n);
void sn_log_softmax(float *scores, int64_t n);

int64_t sn_argmax(const float *scores, int64_t n); /* ties: lowest */
/* First index whose cumulative probability exceeds u in [0, 1). */
int64_t sn_draw(const float *probabilities, int64_t n, float u);

#endif
