/* Buckets, pieces, and the thread that sends them. */
#include "train/share.h"

#include "base/clock.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A bucket is closed when it holds so many values: large ones waste no time on messages, but the first is sent off when all of
 * it is there, so that small models have a few of them, too. */
enum { MOST = 4 << 20, LEAST = 4 << 10, BUCKETS = 8 };

typedef struct bucket {
    size_t first, end; /* of the trainables in their order */
    int64_t size;
    float *gradients; /* side by side */
    int *pieces, *at; /* of each process */
    size_t missing;   /* gradients that are not whole yet */
} bucket;

struct sn_share {
    sn_ranks *ranks;
    sn_trainer *trainer;
    sn_arena *arena;
    size_t *order;   /* trainables as the buckets hold them */
    size_t *home;    /* by trainable: its bucket */
    int64_t *offset; /* by trainable: its place there */
    bool *whole;     /* by trainable: its gradient of this step is there */
    bucket *buckets;
    size_t count;
    sn_share_sum *sums;
    float *scratch; /* of the largest bucket */
    double begun, passes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started, closing;
    bool running; /* between begin and finish */
    size_t sent; /* buckets of this step that are summed */
    sn_status status;
    sn_error error;
};

/* ---- laying out ---- */

typedef struct rank_of {
    int64_t depth;
    size_t index;
} rank_of;

static int deepest_first(const void *a, const void *b) {
    const rank_of *x = a, *y = b;
    return x->depth != y->depth ? (x->depth < y->depth ? 1 : -1) : x->index < y->index ? 1 : -1;
}

static sn_status sort_trainables(sn_share *s, sn_error *error) {
    size_t n = s->trainer->count;
    rank_of *all = sn_alloc(n + 1, sizeof *all);
    if (!all) return sn_fail_memory(error);
    for (size_t i = 0; i < n; i++) all[i] = (rank_of){s->trainer->trainables[i].depth, i};
    qsort(all, n, sizeof *all, deepest_first);
    for (size_t i = 0; i < n; i++) s->order[i] = all[i].index;
    sn_free(all);
    return SN_OK;
}

/* A bucket's memory and everybody's piece of it. */
static sn_status cut_bucket(sn_share *s, bucket *b, sn_error *error) {
    int n = sn_ranks_count(s->ranks);
    b->gradients = sn_alloc((size_t)b->size, sizeof(float));
    b->pieces = sn_arena_alloc(s->arena, (size_t)n, sizeof *b->pieces), b->at = sn_arena_alloc(s->arena, (size_t)n, sizeof *b->at);
    if (!b->gradients || !b->pieces || !b->at) return sn_fail_memory(error);
    for (int r = 0; r < n; r++) b->at[r] = (int)(b->size * r / n), b->pieces[r] = (int)(b->size * (r + 1) / n) - b->at[r];
    return SN_OK;
}

static sn_status fill_buckets(sn_share *s, sn_error *error) {
    size_t n = s->trainer->count;
    int64_t full = 0;
    for (size_t i = 0; i < n; i++) full += s->trainer->trainables[i].count;
    full = full / BUCKETS > MOST ? MOST : full / BUCKETS < LEAST ? LEAST : full / BUCKETS;
    for (size_t k = 0; k < n; k++) {
        size_t i = s->order[k];
        int64_t count = s->trainer->trainables[i].count;
        bucket *b = &s->buckets[s->count];
        if (count > INT_MAX - 2 * MOST) return sn_fail(error, SN_ERROR_SUPPORT, "%s: %lld values; several processes can train tensors of up to %d", s->trainer->trainables[i].entry->name, (long long)count, INT_MAX - 2 * MOST);
        s->home[i] = s->count, s->offset[i] = b->size, b->size += count, b->end = k + 1;
        if (b->size < full && k + 1 < n) continue;
        sn_status status = cut_bucket(s, b, error);
        if (status) return status;
        s->buckets[++s->count].first = k + 1;
    }
    return SN_OK;
}

/* The part of a trainable that belongs to a rank: values [*first, *first + return). */
static int64_t part_of(const sn_share *s, size_t i, int rank, int64_t *first) {
    const bucket *b = &s->buckets[s->home[i]];
    int64_t begin = s->offset[i], end = begin + s->trainer->trainables[i].count, own = b->at[rank], own_end = own + b->pieces[rank];
    if (own > begin) begin = own;
    if (own_end < end) end = own_end;
    *first = begin < end ? begin - s->offset[i] : 0;
    return begin < end ? end - begin : 0;
}

/* Gradients lie in the buckets from now on, moments exist for one's own part. */
static sn_status take_over(sn_share *s, sn_error *error) {
    for (size_t i = 0; i < s->trainer->count; i++) {
        sn_trainable *t = &s->trainer->trainables[i];
        t->own_count = part_of(s, i, sn_ranks_rank(s->ranks), &t->own_first);
        sn_free(t->gradient);
        sn_free(t->moments.m);
        sn_free(t->moments.v);
        t->gradient = s->buckets[s->home[i]].gradients + s->offset[i];
        t->moments.m = sn_alloc((size_t)t->own_count, sizeof(float)), t->moments.v = sn_alloc((size_t)t->own_count, sizeof(float));
        if (!t->moments.m || !t->moments.v) return sn_fail_memory(error);
    }
    return SN_OK;
}

/* ---- the thread ---- */

/* Sends one bucket off and looks after it: MPI goes on with it only while it is asked, so it is asked often at first and
 * then every tenth of a millisecond, which leaves the processors to the pass. */
static sn_status sum_bucket(sn_share *s, size_t k, sn_error *error) {
    bucket *b = &s->buckets[k];
    int rank = sn_ranks_rank(s->ranks);
    bool done = false;
    s->sums[k].begin = sn_seconds() - s->begun;
    sn_status status = sn_ranks_sum_begin(s->ranks, b->gradients, b->pieces, error);
    for (int asked = 0; !status && !done; asked++) {
        status = sn_ranks_sum_test(s->ranks, &done, error);
        if (!done && asked > 8) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    if (!status) memmove(b->gradients + b->at[rank], b->gradients, (size_t)b->pieces[rank] * sizeof(float));
    s->sums[k].end = sn_seconds() - s->begun;
    return status;
}

static void *send_buckets(void *context) {
    sn_share *s = context;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        if (s->sent == s->count || s->buckets[s->sent].missing) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        sn_error error = {0};
        sn_status status = s->status ? s->status : sum_bucket(s, s->sent, &error);
        pthread_mutex_lock(&s->lock);
        if (status && !s->status) s->status = status, s->error = error;
        s->sent++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void mark(sn_share *s, size_t i) {
    pthread_mutex_lock(&s->lock);
    bucket *b = &s->buckets[s->home[i]];
    if (!s->whole[i]) {
        s->whole[i] = true;
        if (--b->missing == 0) s->sums[s->home[i]].whole = sn_seconds() - s->begun;
        if (!b->missing) pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_gradient(void *share, size_t trainable) { mark(share, trainable); }

/* ---- opening ---- */

sn_status sn_share_open(sn_ranks *ranks, sn_trainer *trainer, sn_share **out, sn_error *error) {
    *out = NULL;
    if (sn_ranks_count(ranks) < 2) return SN_OK;
    size_t n = trainer->count;
    int64_t largest = 0;
    sn_share *s = sn_alloc(1, sizeof *s);
    if (!s) return sn_fail_memory(error);
    s->ranks = ranks, s->trainer = trainer;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    sn_status status = (s->arena = sn_arena_new()) ? SN_OK : sn_fail_memory(error);
    if (!status) {
        s->order = sn_arena_alloc(s->arena, n + 1, sizeof *s->order), s->home = sn_arena_alloc(s->arena, n + 1, sizeof *s->home);
        s->offset = sn_arena_alloc(s->arena, n + 1, sizeof *s->offset), s->whole = sn_arena_alloc(s->arena, n + 1, sizeof *s->whole);
        s->buckets = sn_arena_alloc(s->arena, n + 1, sizeof *s->buckets), s->sums = sn_arena_alloc(s->arena, n + 1, sizeof *s->sums);
        if (!s->order || !s->home || !s->offset || !s->whole || !s->buckets || !s->sums) status = sn_fail_memory(error);
    }
    if (!status) status = sort_trainables(s, error);
    if (!status) status = fill_buckets(s, error);
    for (size_t k = 0; k < s->count; k++) {
        s->sums[k].values = s->buckets[k].size;
        if (s->buckets[k].size > largest) largest = s->buckets[k].size;
    }
    s->sent = s->count;
    if (!status && !(s->scratch = sn_alloc((size_t)largest + 1, sizeof(float)))) status = sn_fail_memory(error);
    if (!status) status = take_over(s, error);
    if (!status && pthread_create(&s->thread, NULL, send_buckets, s)) status = sn_fail(error, SN_ERROR_MEMORY, "cannot start the thread that sums gradients");
    else if (!status) s->started = true;
    if (status) sn_share_close(s);
    else *out = s;
    return status;
}

void sn_share_close(sn_share *s) {
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (size_t i = 0; i < s->trainer->count && s->buckets; i++) {
        const bucket *b = &s->buckets[s->home[i]];
        sn_trainable *t = &s->trainer->trainables[i];
        if (b->gradients && t->gradient == b->gradients + s->offset[i]) t->gradient = NULL;
    }
    for (size_t k = 0; k <= s->count && s->buckets; k++) sn_free(s->buckets[k].gradients);
    s->trainer->on_gradient = NULL;
    sn_free(s->scratch);
    sn_arena_free(s->arena);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    sn_free(s);
}

/* ---- a step ---- */

int sn_share_rank(const sn_share *s) { return s ? sn_ranks_rank(s->ranks) : 0; }

void sn_share_begin(sn_share *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->begun = sn_seconds(), s->sent = 0, s->running = true;
    memset(s->whole, 0, s->trainer->count * sizeof *s->whole);
    for (size_t k = 0; k < s->count; k++) s->buckets[k].missing = s->buckets[k].end - s->buckets[k].first;
    for (size_t i = 0; i < s->trainer->count; i++) s->trainer->trainables[i].reached = false;
    pthread_mutex_unlock(&s->lock);
}

void sn_share_last(sn_share *s) {
    if (s && s->running) s->trainer->on_gradient = on_gradient, s->trainer->listener = s;
}

/* A parameter is reached where any process reached it. */
static sn_status share_reached(sn_share *s, sn_error *error) {
    size_t n = s->trainer->count;
    double *reached = sn_alloc(n + 1, sizeof *reached);
    if (!reached) return sn_fail_memory(error);
    for (size_t i = 0; i < n; i++) reached[i] = s->trainer->trainables[i].reached;
    sn_status status = sn_ranks_sum(s->ranks, reached, (int)n, error);
    for (size_t i = 0; i < n; i++) s->trainer->trainables[i].reached = reached[i] > 0;
    sn_free(reached);
    return status;
}

sn_status sn_share_finish(sn_share *s, sn_error *error) {
    if (!s) return SN_OK;
    s->trainer->on_gradient = NULL;
    s->running = false;
    s->passes = sn_seconds() - s->begun;
    for (size_t i = 0; i < s->trainer->count; i++) {
        sn_trainable *t = &s->trainer->trainables[i];
        if (!s->whole[i] && !t->reached) memset(t->gradient, 0, (size_t)t->count * sizeof(float)); /* no pass here */
        mark(s, i);
    }
    pthread_mutex_lock(&s->lock);
    while (s->sent < s->count) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    if (s->status) return sn_fail(error, s->status, "%s", s->error.message);
    return share_reached(s, error);
}

/* Own parts of a bucket into the scratch, or all others' out of it. */
static void copy_values(const sn_share *s, const bucket *b, bool into) {
    for (size_t k = b->first; k < b->end; k++) {
        const sn_trainable *t = &s->trainer->trainables[s->order[k]];
        float *place = s->scratch + s->offset[s->order[k]];
        if (into) memcpy(place + t->own_first, t->value + t->own_first, (size_t)t->own_count * sizeof(float));
        else memcpy(t->value, place, (size_t)t->count * sizeof(float));
    }
}

sn_status sn_share_spread(sn_share *s, sn_error *error) {
    sn_status status = SN_OK;
    for (size_t k = 0; s && k < s->count && !status; k++) {
        copy_values(s, &s->buckets[k], true);
        status = sn_ranks_spread(s->ranks, s->scratch, s->buckets[k].pieces, s->buckets[k].at, error);
        if (!status) copy_values(s, &s->buckets[k], false);
    }
    return status;
}

/* ---- checkpoints ---- */

static sn_status collect(sn_share *s, size_t i, bool second, float *whole, sn_error *error) {
    int n = sn_ranks_count(s->ranks), *pieces = sn_alloc((size_t)n, sizeof *pieces), *at = sn_alloc((size_t)n, sizeof *at);
    sn_status status = pieces && at ? SN_OK : sn_fail_memory(error);
    for (int r = 0; r < n && !status; r++) {
        int64_t first;
        pieces[r] = (int)part_of(s, i, r, &first), at[r] = (int)first;
    }
    const sn_moments *own = &s->trainer->trainables[i].moments;
    if (!status) status = sn_ranks_collect(s->ranks, second ? own->v : own->m, whole, pieces, at, error);
    sn_free(pieces);
    sn_free(at);
    return status;
}

sn_status sn_share_collect(sn_share *s, size_t i, bool second, float *whole, sn_error *error) {
    int64_t wish = (int64_t)i * 2 + second;
    sn_status status = sn_ranks_tell(s->ranks, &wish, error);
    return status ? status : collect(s, i, second, whole, error);
}

sn_status sn_share_collect_end(sn_share *s, sn_error *error) {
    int64_t wish = -1;
    return s ? sn_ranks_tell(s->ranks, &wish, error) : SN_OK;
}

sn_status sn_share_serve(sn_share *s, sn_error *error) {
    for (;;) {
        int64_t wish = -1;
        sn_status status = sn_ranks_tell(s->ranks, &wish, error);
        if (status || wish < 0) return status;
        if ((status = collect(s, (size_t)wish / 2, wish % 2, NULL, error))) return status;
    }
}

int sn_share_sums(const sn_share *s, const sn_share_sum **sums) {
    *sums = s ? s->sums : NULL;
    return s ? (int)s->count : 0;
}

double sn_share_passes(const sn_share *s, double *summing, double *hidden) {
    *summing = *hidden = 0;
    for (size_t k = 0; s && k < s->count; k++) {
        double end = s->sums[k].end < s->passes ? s->sums[k].end : s->passes;
        *summing += s->sums[k].end - s->sums[k].begin;
        if (end > s->sums[k].begin) *hidden += end - s->sums[k].begin;
    }
    return s ? s->passes : 0;
}
