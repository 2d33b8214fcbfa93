/* One row (greedy or sampled), or n beams. */
#include "generate/search.h"

#include "base/random.h"
#include "generate/processors.h"

#include <math.h>
#include <string.h>

void sn_answer_free(sn_answer *answer) {
    sn_ids_free(&answer->ids);
    sn_free(answer->logits);
    *answer = (sn_answer){0};
}

static bool is_eos(const sn_generate_options *o, int32_t id) {
    for (int i = 0; i < o->num_eos; i++)
        if (o->eos[i] == id) return true;
    return false;
}

static sn_status check_finite(const float *scores, int64_t n, sn_error *error) {
    for (int64_t i = 0; i < n; i++)
        if (isnan(scores[i])) return sn_fail(error, SN_ERROR_NUMERIC, "the model's scores are not numbers; its weights or activations overflow");
    return SN_OK;
}

/* ---- one row ---- */

static sn_status choose(const sn_generate_options *o, float *scores, int64_t vocab, int64_t step, int32_t *id, sn_error *error) {
    if (o->temperature <= 0) {
        *id = (int32_t)sn_argmax(scores, vocab);
        return SN_OK;
    }
    int64_t top = sn_argmax(scores, vocab);
    sn_status status = sn_warp_scores(o, scores, vocab, error);
    if (status) return status;
    if (isinf(scores[sn_argmax(scores, vocab)])) scores[top] = 0; /* everything was removed: the largest stays */
    sn_softmax(scores, vocab);
    *id = (int32_t)sn_draw(scores, vocab, sn_uniform(o->seed, 0, (uint64_t)step));
    return SN_OK;
}

static sn_status search_one(const sn_generate_options *o, const sn_stepper *m, const int32_t *prompt, int64_t prompt_count, bool keep,
                            sn_on_id *on_id, void *context, sn_answer *out, sn_error *error) {
    int64_t vocab = m->vocab;
    size_t capacity = 0;
    sn_ids all = {0};
    float *scores = sn_alloc((size_t)vocab, sizeof *scores);
    sn_status status = scores ? SN_OK : sn_fail_memory(error);
    for (int64_t i = 0; i < prompt_count && !status; i++)
        if (!sn_ids_add(&all, prompt[i])) status = sn_fail_memory(error);
    if (!status) status = m->start(m->context, scores, error);
    for (int n = 0; n < o->max_new_tokens && !status; n++) {
        int32_t id;
        if ((status = check_finite(scores, vocab, error))) break;
        if (keep) {
            if (!sn_grow((void **)&out->logits, &capacity, (size_t)(n + 1) * (size_t)vocab, sizeof *out->logits)) status = sn_fail_memory(error);
            else memcpy(out->logits + n * vocab, scores, (size_t)vocab * sizeof *scores);
        }
        if (!status) status = sn_process_scores(o, all.data, (int64_t)all.count, n, scores, vocab, error);
        if (!status) status = choose(o, scores, vocab, n, &id, error);
        if (status) break;
        if (!sn_ids_add(&all, id) || !sn_ids_add(&out->ids, id)) status = sn_fail_memory(error);
        out->ended = is_eos(o, id);
        if (on_id && on_id(context, id)) out->ended = true;
        if (out->ended || n + 1 == o->max_new_tokens) break;
        if (!status) status = m->step(m->context, 1, &(int32_t){0}, &id, scores, error);
    }
    sn_ids_free(&all);
    sn_free(scores);
    return status;
}

/* ---- beams ---- */

typedef struct beam {
    sn_ids ids;    /* generated */
    float *logits; /* [ids, vocab], where kept */
    size_t logits_capacity;
    float sum;
    double score;  /* of a finished one */
} beam;

static void beam_free(beam *b) {
    sn_ids_free(&b->ids);
    sn_free(b->logits);
    *b = (beam){0};
}

/* `from` continued by an id, whose raw logits are kept if wanted. */
static sn_status beam_extend(const beam *from, int32_t id, float sum, const float *logits, int64_t vocab, bool keep, beam *to, sn_error *error) {
    *to = (beam){.sum = sum};
    size_t n = from->ids.count;
    for (size_t i = 0; i < n; i++)
        if (!sn_ids_add(&to->ids, from->ids.data[i])) return sn_fail_memory(error);
    if (!sn_ids_add(&to->ids, id)) return sn_fail_memory(error);
    if (!keep) return SN_OK;
    if (!sn_grow((void **)&to->logits, &to->logits_capacity, (n + 1) * (size_t)vocab, sizeof *to->logits)) return sn_fail_memory(error);
    if (n) memcpy(to->logits, from->logits, n * (size_t)vocab * sizeof *logits);
    memcpy(to->logits + n * (size_t)vocab, logits, (size_t)vocab * sizeof *logits);
    return SN_OK;
}

typedef struct pool {
    const sn_generate_options *o;
    int64_t prompt_count;
    beam *finished; /* best first */
    int count;
} pool;

/* Adds if there is room or it beats the worst, which then goes. Takes the beam. */
static void pool_add(pool *p, beam b, bool eos) {
    int n = p->o->num_beams;
    /* present rule: generated tokens; 2023: ids in the list, eos not counted */
    double length = (double)b.ids.count;
    if (p->o->beam_length_2023) length = (double)p->prompt_count + (double)b.ids.count - (eos ? 1 : 0);
    b.score = (double)b.sum / pow(length < 1 ? 1 : length, p->o->length_penalty);
    if (p->count == n && !(b.score > p->finished[n - 1].score)) {
        beam_free(&b);
        return;
    }
    if (p->count == n) beam_free(&p->finished[--p->count]);
    int at = p->count++;
    for (; at > 0 && p->finished[at - 1].score < b.score; at--) p->finished[at] = p->finished[at - 1];
    p->finished[at] = b;
}

static bool pool_done(const pool *p, double best, int64_t generated) {
    const sn_generate_options *o = p->o;
    if (p->count < o->num_beams) return false;
    if (o->early_stopping == 1) return true;
    int64_t offset = o->beam_length_2023 ? p->prompt_count : 0, length = generated + offset;
    if (o->early_stopping == 2 && o->length_penalty > 0) length = o->max_new_tokens + offset;
    return p->finished[o->num_beams - 1].score >= best / pow((double)length, o->length_penalty);
}

typedef struct candidate {
    float sum;
    int64_t index; /* beam * vocab + id */
} candidate;

/* The `want` best of n sums, in descending order, ties by lower index. */
static int best_of(const float *sums, int64_t n, int want, candidate *best) {
    int count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (count == want && !(sums[i] > best[count - 1].sum)) continue;
        int at = count < want ? count++ : count - 1;
        for (; at > 0 && best[at - 1].sum < sums[i]; at--) best[at] = best[at - 1];
        best[at] = (candidate){sums[i], i};
    }
    return count;
}

static sn_status search_beams(const sn_generate_options *o, const sn_stepper *m, const int32_t *prompt, int64_t prompt_count, bool keep,
                              sn_answer *out, sn_error *error) {
    int n = o->num_beams, want = (o->num_eos + 1 > 2 ? o->num_eos + 1 : 2) * n, live = 1;
    int64_t vocab = m->vocab;
    float *raw = sn_alloc((size_t)n * (size_t)vocab, sizeof *raw), *sums = sn_alloc((size_t)n * (size_t)vocab, sizeof *sums);
    beam *beams = sn_alloc((size_t)n, sizeof *beams), *next = sn_alloc((size_t)n, sizeof *next);
    candidate *best = sn_alloc((size_t)want, sizeof *best);
    pool p = {.o = o, .prompt_count = prompt_count, .finished = sn_alloc((size_t)n + 1, sizeof *p.finished)};
    int32_t parents[16], ids[16];
    bool done = false;
    sn_status status = raw && sums && beams && next && best && p.finished ? SN_OK : sn_fail_memory(error);
    if (!status) status = m->start(m->context, raw, error);
    for (int step = 0; step < o->max_new_tokens && !status && !done; step++) {
        /* the first step has one row: the others would only repeat it at -1e9 */
        for (int b = 0; b < n && !status; b++) {
            float *row = sums + b * vocab;
            memcpy(row, raw + (b < live ? b : 0) * vocab, (size_t)vocab * sizeof *row);
            if ((status = check_finite(row, vocab, error))) break;
            sn_log_softmax(row, vocab);
            const beam *from = &beams[b < live ? b : 0];
            sn_ids all = {0};
            for (int64_t i = 0; i < prompt_count && !status; i++)
                if (!sn_ids_add(&all, prompt[i])) status = sn_fail_memory(error);
            for (size_t i = 0; i < from->ids.count && !status; i++)
                if (!sn_ids_add(&all, from->ids.data[i])) status = sn_fail_memory(error);
            if (!status) status = sn_process_scores(o, all.data, (int64_t)all.count, step, row, vocab, error);
            sn_ids_free(&all);
            float base = b < live ? from->sum : -1e9f;
            for (int64_t i = 0; i < vocab; i++) row[i] += base;
        }
        if (status) break;
        int count = best_of(sums, n * vocab, want, best), taken = 0;
        for (int r = 0; r < count && taken < n && !status; r++) {
            int b = (int)(best[r].index / vocab), row = b < live ? b : 0;
            int32_t id = (int32_t)(best[r].index % vocab);
            beam grown;
            bool eos = is_eos(o, id);
            if (eos && r >= n) continue;
            status = beam_extend(&beams[row], id, best[r].sum, raw + row * vocab, vocab, keep, &grown, error);
            if (eos) {
                pool_add(&p, grown, true);
            } else {
                parents[taken] = row, ids[taken] = id;
                next[taken++] = grown;
            }
        }
        for (int b = 0; b < live; b++) beam_free(&beams[b]);
        for (int b = 0; b < taken; b++) beams[b] = next[b], next[b] = (beam){0};
        live = taken;
        done = live == 0 || pool_done(&p, best[0].sum, step + 1);
        if (!done && !status && step + 1 < o->max_new_tokens) status = m->step(m->context, live, parents, ids, raw, error);
    }
    for (int b = 0; b < live && beams; b++) {
        if (!status && !done) pool_add(&p, beams[b], false);
        else beam_free(&beams[b]);
    }
    for (int i = 0; i < o->num_return && i < p.count && !status; i++) {
        beam *b = &p.finished[i];
        out[i] = (sn_answer){.ids = b->ids, .logits = b->logits, .beam_score = b->score, .ended = is_eos(o, b->ids.data[b->ids.count - 1])};
        *b = (beam){0};
    }
    for (int i = 0; i < p.count; i++) beam_free(&p.finished[i]);
    sn_free(p.finished);
    sn_free(raw);
    sn_free(sums);
    sn_free(beams);
    sn_free(next);
    sn_free(best);
    return status;
}

sn_status sn_generate(const sn_generate_options *o, const sn_stepper *stepper, const int32_t *prompt, int64_t prompt_count, bool keep_logits,
                    sn_on_id *on_id, void *context, sn_answer *out, sn_error *error) {
    for (int i = 0; i < o->num_return; i++) out[i] = (sn_answer){0};
    if (o->num_return > o->num_beams) return sn_fail(error, SN_ERROR_USAGE, "num_return_sequences: found %d, expected at most num_beams (%d)", o->num_return, o->num_beams);
    sn_status status = o->num_beams > 1 ? search_beams(o, stepper, prompt, prompt_count, keep_logits, out, error)
                                        : search_one(o, stepper, prompt, prompt_count, keep_logits, on_id, context, out, error);
    bool keep = status == SN_OK || status == SN_ERROR_CANCELLED;
    for (int i = 0; !keep && i < o->num_return; i++) sn_answer_free(&out[i]);
    return status;
}

/* ---- candidates ---- */

sn_status sn_score_candidates(const sn_stepper *m, const sn_candidate *candidates, int count, double *sum, sn_error *error) {
    enum { MOST = 16 };
    int32_t parents[MOST], ids[MOST];
    int row_of[MOST], rows = 1, longest = 0;
    if (count < 1 || count > MOST) return sn_fail(error, SN_ERROR_USAGE, "found %d candidates, expected 1 to %d", count, MOST);
    for (int i = 0; i < count; i++) {
        if (candidates[i].count < 1) return sn_fail(error, SN_ERROR_USAGE, "candidate %d is empty", i);
        if (candidates[i].count > longest) longest = candidates[i].count;
        row_of[i] = 0, sum[i] = 0;
    }
    float *scores = sn_alloc((size_t)count * (size_t)m->vocab, sizeof *scores);
    sn_status status = scores ? m->start(m->context, scores, error) : sn_fail_memory(error);
    for (int step = 0; step < longest && !status; step++) {
        for (int r = 0; r < rows; r++) sn_log_softmax(scores + r * m->vocab, m->vocab);
        int next = 0; /* candidates with more ids go on, each in a row of its own */
        for (int i = 0; i < count && !status; i++) {
            if (step >= candidates[i].count) continue;
            int32_t id = candidates[i].ids[step];
            if (id < 0 || id >= m->vocab) status = sn_fail(error, SN_ERROR_USAGE, "candidate %d holds the id %d, the vocabulary has %lld", i, id, (long long)m->vocab);
            else sum[i] += (double)scores[row_of[i] * m->vocab + id];
            if (step + 1 >= candidates[i].count) continue;
            parents[next] = row_of[i], ids[next] = id;
            row_of[i] = next++;
        }
        rows = next;
        if (!status && rows) status = m->step(m->context, rows, parents, ids, scores, error);
    }
    sn_free(scores);
    return status;
}
