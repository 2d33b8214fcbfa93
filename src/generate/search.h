/* Choosing ids: greedy, sampling, beams. */
#ifndef SN_GENERATE_SEARCH_H
#define SN_GENERATE_SEARCH_H

#include "generate/options.h"
#include "text/tokenizer.h"

/* Where scores come from: a language model behind a prompt, or a table in a test. Row i of a step continues row
 * parents[i] of the step before with ids[i]. Scores are raw logits [rows, vocab]. */
typedef struct sn_stepper {
    void *context;
    int64_t vocab;
    sn_status (*start)(void *context, float *scores, sn_error *error);
    sn_status (*step)(void *context, int rows, const int32_t *parents, const int32_t *ids, float *scores, sn_error *error);
} sn_stepper;

/* Called with each id as it is chosen (not in beam search); true ends the answer. */
typedef bool sn_on_id(void *context, int32_t id);

typedef struct sn_answer {
    sn_ids ids;        /* generated, the eos included */
    float *logits;     /* [ids, vocab] raw, where asked for */
    double beam_score;
    bool ended;        /* by an eos or by on_id; false: the length */
} sn_answer;
void sn_answer_free(sn_answer *answer);

/* out: options->num_return answers, best first (one without beams). A search that is cancelled leaves what it has (no
 * ids yet in beam search). prompt: ids that count for penalties and lengths (none where the prompt was embeddings). */
sn_status sn_generate(const sn_generate_options *options, const sn_stepper *stepper, const int32_t *prompt, int64_t prompt_count,
                    bool keep_logits, sn_on_id *on_id, void *on_id_context, sn_answer *out, sn_error *error);

/* Ranking of given answers: sum[i] = log-probability of candidate i after the prompt, all in one
 * batch of at most 16 with the prompt computed once. */
typedef struct sn_candidate {
    const int32_t *ids;
    int count;
} sn_candidate;
sn_status sn_score_candidates(const sn_stepper *stepper, const sn_candidate *candidates, int count, double *sum, sn_error *error);

#endif
