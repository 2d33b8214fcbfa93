/* Penalties and warpers. */
#include "generate/processors.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t sn_argmax(const float *s, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (s[i] > s[best]) best = i;
    return best;
}

void sn_log_softmax(float *s, int64_t n) {
    float top = s[sn_argmax(s, n)];
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp((double)(s[i] - top));
    float log_sum = (float)log(sum);
    for (int64_t i = 0; i < n; i++) s[i] = s[i] - top - log_sum;
}

void sn_softmax(float *s, int64_t n) {
    float top = s[sn_argmax(s, n)];
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += s[i] = expf(s[i] - top);
    for (int64_t i = 0; i < n; i++) s[i] = (float)(s[i] / sum);
}

int64_t sn_draw(const float *p, int64_t n, float u) {
    float sum = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (p[i] > 0) last = i;
        sum += p[i];
        if (sum > u) return i;
    }
    return last;
}

static sn_status penalise(double penalty, const int32_t *ids, int64_t count, float *s, int64_t vocab, sn_error *error) {
    bool *seen = sn_alloc((size_t)vocab, 1);
    if (!seen) return sn_fail_memory(error);
    float r = (float)penalty;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= vocab || seen[id]) continue;
        seen[id] = true;
        s[id] = s[id] < 0 ? s[id] * r : s[id] / r;
    }
    sn_free(seen);
    return SN_OK;
}

/* Forbids every id that would complete an n-gram that is there already. */
static void forbid_ngrams(int n, const int32_t *ids, int64_t count, float *s, int64_t vocab) {
    if (count + 1 < n) return;
    const int32_t *tail = ids + count - (n - 1);
    for (int64_t i = 0; i + n <= count; i++)
        if (memcmp(ids + i, tail, (size_t)(n - 1) * sizeof *ids) == 0 && ids[i + n - 1] >= 0 && ids[i + n - 1] < vocab) s[ids[i + n - 1]] = -INFINITY;
}

/* Whether a word would be complete with its last id: its beginning is the end of what was said. */
static bool word_ends(const sn_word *w, const int32_t *ids, int64_t count, int64_t vocab) {
    int head = w->count - 1;
    return w->count > 0 && count >= head && w->ids[head] >= 0 && w->ids[head] < vocab && memcmp(ids + count - head, w->ids, (size_t)head * sizeof *ids) == 0;
}

sn_status sn_process_scores(const sn_generate_options *o, const int32_t *ids, int64_t count, int64_t generated, float *s, int64_t vocab,
                            sn_error *error) {
    sn_status status = SN_OK;
    if (o->mark >= 0 && o->mark < vocab) s[o->mark] = generated < o->mark_after ? -INFINITY : s[o->mark] * (float)o->mark_factor;
    for (int i = 0; i < o->num_bias; i++)
        if (word_ends(&o->bias[i], ids, count, vocab)) s[o->bias[i].ids[o->bias[i].count - 1]] += o->bias[i].bias;
    if (o->repetition_penalty != 1) status = penalise(o->repetition_penalty, ids, count, s, vocab, error);
    if (o->no_repeat_ngram > 0) forbid_ngrams(o->no_repeat_ngram, ids, count, s, vocab);
    for (int i = 0; i < o->num_bad_words; i++) {
        const sn_word *w = &o->bad_words[i];
        bool is_eos = false;
        for (int k = 0; k < o->num_eos && w->count == 1; k++) is_eos |= w->ids[0] == o->eos[k];
        if (!is_eos && word_ends(w, ids, count, vocab)) s[w->ids[w->count - 1]] = -INFINITY;
    }
    if (count < o->min_length || generated < o->min_new_tokens)
        for (int i = 0; i < o->num_eos; i++)
            if (o->eos[i] >= 0 && o->eos[i] < vocab) s[o->eos[i]] = -INFINITY;
    if (o->forced_eos >= 0 && o->forced_eos < vocab && count == o->max_length - 1)
        for (int64_t i = 0; i < vocab; i++) s[i] = i == o->forced_eos ? 0 : -INFINITY;
    for (int i = 0; i < o->num_suppress; i++)
        if (o->suppress[i] >= 0 && o->suppress[i] < vocab) s[o->suppress[i]] = -INFINITY;
    return status;
}

typedef struct ranked {
    float score;
    int32_t id;
} ranked;

static int descending(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id - y->id;
}

static int ascending(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->id - y->id;
}

static ranked *sorted(const float *s, int64_t n, int (*order)(const void *, const void *)) {
    ranked *r = sn_alloc((size_t)n, sizeof *r);
    for (int64_t i = 0; r && i < n; i++) r[i] = (ranked){s[i], (int32_t)i};
    if (r) qsort(r, (size_t)n, sizeof *r, order);
    return r;
}

/* Removes what lies below the k-th largest value; ties of it stay. */
static bool keep_top_k(float *s, int64_t n, int64_t k) {
    if (k >= n) return true;
    ranked *r = sorted(s, n, descending);
    if (!r) return false;
    float least = r[k - 1].score;
    for (int64_t i = 0; i < n; i++)
        if (s[i] < least) s[i] = -INFINITY;
    sn_free(r);
    return true;
}

/* Ascending cumulative probability: what lies at or below 1 - p goes, the largest stays. Of equal scores the one
 * with the higher id goes first (generate/processors, chain, row 3). */
static bool keep_top_p(float *s, int64_t n, double p) {
    ranked *r = sorted(s, n, descending);
    float *q = sn_alloc((size_t)n, sizeof *q);
    if (!r || !q) {
        sn_free(r);
        sn_free(q);
        return false;
    }
    for (int64_t i = 0; i < n; i++) q[i] = r[i].score;
    sn_softmax(q, n);
    float sum = 0;
    for (int64_t i = n - 1; i > 0; i--) {
        sum += q[i];
        if (sum <= (float)(1 - p)) s[r[i].id] = -INFINITY;
    }
    sn_free(r);
    sn_free(q);
    return true;
}

/* Removes probabilities below `cut`, never the largest. */
static void cut_below(float *s, const float *q, int64_t n, float cut) {
    int64_t top = sn_argmax(s, n);
    for (int64_t i = 0; i < n; i++)
        if (q[i] < cut && i != top) s[i] = -INFINITY;
}

static float entropy(const float *q, int64_t n) {
    double h = 0;
    for (int64_t i = 0; i < n; i++)
        if (q[i] > 0) h -= (double)q[i] * log((double)q[i]);
    return (float)h;
}

/* Keeps the ids whose surprise is nearest to the entropy until their mass reaches p. */
static bool keep_typical(float *s, const float *q, int64_t n, double p) {
    float h = entropy(q, n);
    float *key = sn_alloc((size_t)n, sizeof *key);
    if (!key) return false;
    for (int64_t i = 0; i < n; i++) key[i] = q[i] > 0 ? fabsf(-logf(q[i]) - h) : INFINITY;
    ranked *r = sorted(key, n, ascending);
    if (r) {
        float sum = 0;
        int64_t last = 0;
        for (int64_t i = 0; i < n; i++) last += (sum += q[r[i].id]) < (float)p;
        if (last >= n) last = n - 1;
        float most = r[last].score;
        for (int64_t i = 0; i < n; i++)
            if (key[i] > most) s[i] = -INFINITY;
    }
    sn_free(r);
    sn_free(key);
    return r != NULL;
}

sn_status sn_warp_scores(const sn_generate_options *o, float *s, int64_t n, sn_error *error) {
    bool ok = true;
    float *q = sn_alloc((size_t)n, sizeof *q);
    if (!q) return sn_fail_memory(error);
    if (o->temperature > 0 && o->temperature != 1)
        for (int64_t i = 0; i < n; i++) s[i] /= (float)o->temperature;
    if (o->top_k > 0) ok = keep_top_k(s, n, o->top_k);
    if (ok && o->top_p < 1) ok = keep_top_p(s, n, o->top_p);
    bool on[] = {o->min_p > 0, o->typical_p < 1, o->epsilon > 0, o->eta > 0};
    for (int k = 0; k < 4 && ok; k++) {
        if (!on[k]) continue;
        memcpy(q, s, (size_t)n * sizeof *q);
        sn_softmax(q, n);
        if (k == 0) cut_below(s, q, n, (float)o->min_p * q[sn_argmax(q, n)]);
        if (k == 1) ok = keep_typical(s, q, n, o->typical_p);
        if (k == 2) cut_below(s, q, n, (float)o->epsilon);
        if (k == 3) cut_below(s, q, n, fminf((float)o->eta, sqrtf((float)o->eta) * expf(-entropy(q, n))));
    }
    sn_free(q);
    return ok ? SN_OK : sn_fail_memory(error);
}
