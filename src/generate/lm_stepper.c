/* Rows of a search are sequences; continuing a row that another one also continues forks it. */
#include "generate/lm_stepper.h"

static sn_status start(void *context, float *scores, sn_error *error) {
    sn_lm_prompt *p = context;
    p->row.sequence = &p->stepper.rows[0];
    p->stepper.num_rows = 1;
    return sn_lm_extend(p->stepper.session, &p->row, 1, false, scores, error);
}

static sn_status step(void *context, int rows, const int32_t *parents, const int32_t *ids, float *scores, sn_error *error) {
    sn_lm_stepper *s = &((sn_lm_prompt *)context)->stepper;
    sn_sequence next[16] = {0};
    sn_lm_row extended[16];
    sn_status status = SN_OK;
    for (int i = 0; i < rows && !status; i++) {
        if (rows == 1 && s->num_rows == 1) next[0] = s->rows[0], s->rows[0] = (sn_sequence){0};
        else status = sn_sequence_fork(s->session, &s->rows[parents[i]], &next[i], error);
        extended[i] = (sn_lm_row){.sequence = &next[i], .ids = &ids[i], .count = 1};
    }
    for (int i = 0; i < s->num_rows; i++) sn_sequence_free(s->session, &s->rows[i]);
    if (!status) status = sn_lm_extend(s->session, extended, rows, false, scores, error);
    for (int i = 0; i < rows; i++) s->rows[i] = next[i];
    s->num_rows = rows;
    return status;
}

sn_stepper sn_lm_stepper_of(sn_lm_prompt *p, sn_lm_session *session, const int32_t *ids, int64_t count, const float *media) {
    *p = (sn_lm_prompt){.stepper = {.session = session}, .row = {.ids = ids, .count = count, .media = media}};
    return (sn_stepper){.context = p, .vocab = session->lm.vocab_size, .start = start, .step = step};
}

void sn_lm_stepper_free(sn_lm_prompt *p) {
    for (int i = 0; i < p->stepper.num_rows; i++) sn_sequence_free(p->stepper.session, &p->stepper.rows[i]);
    p->stepper.num_rows = 0;
}
