/* Search by reading every row once.
 *
 * A block is a few thousand rows: so small that the scores of its rows stay in cache until the best are picked from
 * them. Blocks are handed out by a counter, so a thread that is held up takes fewer. Each thread keeps the best k of
 * every query as a heap whose root is the worst one kept; almost all scores are below it and cost one comparison. */
#include "vectors/search.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "compute/rows.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUERIES = 128,        /* that pass over the rows together */
    BLOCK_BYTES = 1 << 18, /* of scores, and of rows */
    MAX_THREADS = 256,
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- the best k ---- */

static bool better(sn_hit a, sn_hit b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

/* heap[0] is the worst; the place `at` takes `hit`, going down to where it belongs. */
static void sift(sn_hit *heap, int64_t size, int64_t at, sn_hit hit) {
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && better(heap[child], heap[child + 1])) child++;
        if (!better(hit, heap[child])) break;
        heap[at] = heap[child];
    }
    heap[at] = hit;
}

static void keep(sn_hit *heap, int64_t *size, int64_t k, sn_hit hit) {
    if (*size == k) {
        if (better(hit, heap[0])) sift(heap, k, 0, hit);
        return;
    }
    int64_t at = (*size)++;
    for (int64_t parent; at > 0 && better(heap[parent = (at - 1) / 2], hit); at = parent) heap[at] = heap[parent];
    heap[at] = hit;
}

static int best_first(const void *a, const void *b) { return better(*(const sn_hit *)a, *(const sn_hit *)b) ? -1 : 1; }

/* ---- one thread ---- */

typedef struct shared {
    const sn_search *search;
    const float *queries;
    int64_t count, block, blocks, k;
    sn_rows_kernel kernel;
    _Atomic int64_t next;
    sn_spread *spread;
    pthread_mutex_t lock; /* of spread */
} shared;

typedef struct worker {
    shared *all;
    pthread_t thread;
    sn_hit *heaps;  /* [count, k] */
    int64_t *sizes; /* [count] */
    float *scores;  /* [count, block] */
    void *scratch;
    sn_spread *spread; /* [count] or NULL */
} worker;

/* Rows [begin, end) as a weight; a block that reaches over the end of a part is cut there: gives the rows taken. */
static int64_t view(const sn_weight *rows, int64_t begin, int64_t end, sn_weight *out) {
    int64_t first = 0;
    int p = 0;
    while (p + 1 < rows->num_parts && begin >= first + rows->part[p].rows) first += rows->part[p++].rows;
    int64_t taken = smaller(end, first + rows->part[p].rows) - begin;
    *out = (sn_weight){.type = rows->type, .shape = SN_SHAPE(taken, rows->columns), .rows = taken, .columns = rows->columns, .num_parts = 1};
    out->part[0] = (sn_weight_part){(const char *)rows->part[p].data + (begin - first) * rows->part[p].row_bytes, taken, rows->part[p].row_bytes};
    return taken;
}

static void count_spread(sn_spread *spread, float score) {
    if (!(score == score)) return;
    double step = ((double)score + 1) * (SN_SPREAD_STEPS / 2);
    spread->count[step <= 0 ? 0 : step >= SN_SPREAD_STEPS ? SN_SPREAD_STEPS - 1 : (int)step]++;
    spread->total++;
}

/* What a search asks of a single score: rows left out, scale, range. The score comes back, or NaN. */
static float adjust(const sn_search *s, int64_t row, float score) {
    if (s->skip && (s->skip[row / 64] >> (row % 64) & 1)) return NAN;
    if (s->scale) score *= s->scale[row];
    return s->clamp && score > 1 ? 1 : s->clamp && score < -1 ? -1 : score;
}

static void pick(worker *w, int64_t query, const float *scores, int64_t row, int64_t rows) {
    const shared *a = w->all;
    sn_hit *heap = w->heaps + query * a->k;
    bool plain = !a->search->skip && !a->search->scale && !w->spread;
    for (int64_t j = 0; j < rows; j++) {
        if (plain && w->sizes[query] == a->k && scores[j] < heap[0].score && heap[0].score > -1) continue; /* the usual case */
        float score = adjust(a->search, row + j, scores[j]);
        if (w->spread) count_spread(&w->spread[query], score);
        if (score == score) keep(heap, &w->sizes[query], a->k, (sn_hit){row + j, score});
    }
}

static void *work(void *context) {
    worker *w = context;
    shared *a = w->all;
    for (int64_t b; (b = atomic_fetch_add(&a->next, 1)) < a->blocks;) {
        int64_t end = smaller((b + 1) * a->block, a->search->rows->rows);
        sn_weight rows;
        for (int64_t row = b * a->block; row < end; row += rows.rows) {
            view(a->search->rows, row, end, &rows);
            a->kernel.product(&rows, a->queries, a->count, w->scores, w->scratch);
            for (int64_t i = 0; i < a->count; i++) pick(w, i, w->scores + i * rows.rows, row, rows.rows);
        }
    }
    if (w->spread) {
        pthread_mutex_lock(&a->lock);
        for (int64_t i = 0; i < a->count; i++) {
            for (int j = 0; j < SN_SPREAD_STEPS; j++) a->spread[i].count[j] += w->spread[i].count[j];
            a->spread[i].total += w->spread[i].total;
        }
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

static void close_worker(worker *w) {
    sn_free(w->heaps);
    sn_free(w->sizes);
    sn_free(w->scores);
    sn_free(w->scratch);
    sn_free(w->spread);
}

static bool open_worker(worker *w, shared *a) {
    size_t pairs;
    w->all = a;
    if (__builtin_mul_overflow((size_t)a->count, (size_t)a->k, &pairs)) return false;
    w->heaps = sn_alloc(pairs, sizeof *w->heaps);
    w->sizes = sn_alloc((size_t)a->count, sizeof *w->sizes);
    w->scores = sn_alloc((size_t)(a->count * a->block), sizeof *w->scores);
    w->scratch = sn_alloc(a->kernel.scratch(a->count, a->block, a->search->rows->columns), 1);
    w->spread = a->spread ? sn_alloc((size_t)a->count, sizeof *w->spread) : NULL;
    return w->heaps && w->sizes && w->scores && w->scratch && (!a->spread || w->spread);
}

/* ---- a pass over the rows ---- */

static void merge(worker *workers, int threads, int64_t query, int64_t k, sn_hit *hits, int64_t *found) {
    *found = 0;
    for (int t = 0; t < threads; t++)
        for (int64_t j = 0; j < workers[t].sizes[query]; j++) keep(hits, found, k, workers[t].heaps[query * k + j]);
    qsort(hits, (size_t)*found, sizeof *hits, best_first);
}

/* hits [count, stride], of which a->k are filled. */
static sn_status pass(shared *a, int threads, sn_hit *hits, int64_t stride, int64_t *found, sn_error *error) {
    worker *workers = sn_alloc((size_t)threads, sizeof *workers);
    sn_status status = workers ? SN_OK : sn_fail_memory(error);
    int begun = 1;
    for (int t = 0; t < threads && !status; t++)
        if (!open_worker(&workers[t], a)) status = sn_fail_memory(error);
    if (!status) {
        pthread_mutex_init(&a->lock, NULL);
        while (begun < threads && pthread_create(&workers[begun].thread, NULL, work, &workers[begun]) == 0) begun++;
        work(&workers[0]); /* threads that could not be made are not missed */
        for (int t = 1; t < begun; t++) pthread_join(workers[t].thread, NULL);
        pthread_mutex_destroy(&a->lock);
        for (int64_t i = 0; i < a->count; i++) merge(workers, begun, i, a->k, hits + i * stride, &found[i]);
    }
    for (int t = 0; workers && t < threads; t++) close_worker(&workers[t]);
    sn_free(workers);
    return status;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

sn_status sn_search_rows(const sn_search *s, const float *queries, int64_t count, sn_hit *hits, int64_t *found, sn_spread *spread, sn_error *error) {
    const sn_weight *rows = s->rows;
    shared a = {.search = s, .k = smaller(s->k, rows->rows), .kernel = sn_rows_kernel_cpu()};
    memset(found, 0, (size_t)count * sizeof *found);
    if (a.k < 1) return SN_OK;
    for (int64_t q = 0; q < count; q += QUERIES) {
        a.queries = queries + q * rows->columns;
        a.count = smaller(QUERIES, count - q);
        a.block = larger(64, BLOCK_BYTES / 4 / larger(a.count, rows->columns));
        a.blocks = (rows->rows + a.block - 1) / a.block;
        a.next = 0;
        a.spread = spread ? spread + q : NULL;
        int threads = (int)smaller(smaller(s->threads > 0 ? s->threads : sn_cpu_count(), MAX_THREADS), (a.blocks + 3) / 4);
        sn_status status = pass(&a, threads, hits + q * s->k, s->k, found + q, error);
        if (status) return status;
    }
    return SN_OK;
}

/* ---- lengths ---- */

void sn_row_scales(const sn_weight *rows, float *scale, int64_t *zero) {
    float part[1024];
    const sn_type_traits *type = sn_type_of(rows->type);
    int64_t step = 1024 / type->block * type->block, none = -1;
    for (int64_t r = 0; r < rows->rows; r++) {
        double sum = 0;
        const char *row = sn_weight_row(rows, r);
        for (int64_t k = 0; k < rows->columns; k += step) {
            int64_t n = smaller(step, rows->columns - k);
            type->to_float(row + k / type->block * type->bytes, part, n);
            for (int64_t i = 0; i < n; i++) sum += (double)part[i] * part[i];
        }
        scale[r] = sum > 0 && isfinite(sum) ? (float)(1 / sqrt(sum)) : 0;
        if (scale[r] == 0 && none < 0) none = r;
    }
    if (zero) *zero = none;
}

bool sn_unit(float *vector, int64_t width) {
    double sum = 0;
    for (int64_t i = 0; i < width; i++) sum += (double)vector[i] * vector[i];
    if (!(sum > 0) || !isfinite(sum)) return false;
    double scale = 1 / sqrt(sum);
    for (int64_t i = 0; i < width; i++) vector[i] = (float)(vector[i] * scale);
    return true;
}

double sn_spread_at(const sn_spread *spread, double share) {
    int64_t below = 0;
    if (!spread->total) return 0;
    for (int i = 0; i < SN_SPREAD_STEPS; i++) {
        below += spread->count[i];
        if ((double)below >= share * (double)spread->total) return (i + 0.5) * 2 / SN_SPREAD_STEPS - 1;
    }
    return 1;
}
