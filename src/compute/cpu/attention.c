/* Attention without a matrix of all scores (Milakov and Gimelshein 2018; Dao et al. 2022).
 *
 * Keys come in blocks of 64 positions, which is also a page of the cache. For a tile of queries (the heads of a
 * group together, since they share keys) each block gives scores, and a running maximum and sum let the weighted
 * values be corrected instead of recomputed. What one query gets depends on its keys alone: not on the tile, the
 * other rows or the number of threads. */
#include "compute/cpu/kernels.h"
#include "compute/kv.h"
#include "tensor/op.h"

#include <math.h>
#include <omp.h>

enum {
    KEYS = SN_PAGE_POSITIONS, /* positions in a block */
    QUERIES = 64,             /* queries times heads of a group in a tile, if the group is not larger */
    TILE = 6,                 /* rows of a tile in registers, by two vectors */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t padded(int64_t d) { return (d + LANES - 1) / LANES * LANES; }

/* ---- the call, and where its scratch memory lies ---- */

typedef struct call {
    const sn_run *run;
    const sn_node *node;
    sn_attention_attributes a;
    sn_matrix q, k, v;
    const int32_t *starts, *lengths, *pages;
    int64_t num_rows, num_pages, group, d, wide; /* wide: d up to whole vectors */
    float *turns; /* [tokens, d / 2, cos and sin] */
    float *keys;  /* rotated keys [tokens, kv heads * d], where they do not go into a cache */
    char *own;    /* per thread */
    size_t own_bytes;
} call;

/* One thread's memory. */
typedef struct work {
    float *across, *across_v; /* keys (values) of a block, transposed [d, KEYS] */
    float *keys, *values;     /* a block as floats [KEYS, wide] */
    float *query, *out, *score, *top, *sum; /* of a tile: [rows, wide], [rows, wide], [rows, KEYS], [rows], [rows] */
    float *slope, *dquery, *turned, *turned_slope, *total; /* backward: [rows, KEYS], [rows, wide], 2 [KEYS, rows], [rows] */
    float *dout;
    float *dkeys, *dvalues;   /* backward: [row, wide] */
} work;

static int64_t tile_rows(int64_t group) { return group > QUERIES ? group : QUERIES; }

static float *take(float **at, int64_t count) {
    float *here = *at;
    *at += (count + 15) & ~(int64_t)15;
    return here;
}

static size_t divide_work(char *memory, int64_t d, int64_t group, int64_t back_tokens, work *w) {
    float *at = (float *)memory;
    int64_t wide = padded(d), rows = tile_rows(group);
    *w = (work){.across = take(&at, d * KEYS), .keys = take(&at, KEYS * wide), .values = take(&at, KEYS * wide), .query = take(&at, rows * wide),
                .out = take(&at, rows * wide), .score = take(&at, rows * KEYS), .top = take(&at, rows), .sum = take(&at, rows)};
    if (back_tokens) {
        w->across_v = take(&at, d * KEYS), w->slope = take(&at, rows * KEYS), w->dquery = take(&at, rows * wide);
        w->turned = take(&at, rows * KEYS), w->turned_slope = take(&at, rows * KEYS), w->total = take(&at, rows), w->dout = take(&at, rows * wide);
        w->dkeys = take(&at, back_tokens * wide), w->dvalues = take(&at, back_tokens * wide);
    }
    return (size_t)(at - (float *)memory) * sizeof(float);
}

/* Bytes before the threads' own: turns and keys. */
static size_t shared_bytes(const sn_attention_attributes *a, int64_t tokens) {
    if (a->rotary == SN_ROTARY_NONE) return 0;
    return (size_t)((tokens * (a->head_dim + a->num_kv_heads * a->head_dim) + 15) & ~(int64_t)15) * sizeof(float);
}

static size_t scratch_of(const sn_plan *plan, sn_tensor t, bool back) {
    const sn_attention_attributes *a = &plan->graph->nodes[t].u.attention;
    int64_t tokens = sn_num_rows(&plan->graph->nodes[plan->graph->nodes[t].input[0]]);
    work w;
    return shared_bytes(a, tokens) + (size_t)plan->threads * divide_work(NULL, a->head_dim, a->num_heads / a->num_kv_heads, back ? tokens + 1 : 0, &w);
}

size_t SN_NAME(sn_scratch_attention)(const sn_plan *plan, sn_tensor t) { return scratch_of(plan, t, false); }
size_t SN_NAME(sn_scratch_attention_back)(const sn_plan *plan, sn_tensor t) { return scratch_of(plan, t, true); }

static call call_of(const sn_run *run, sn_tensor t, bool back) {
    const sn_node *node = sn_run_node(run, t);
    call c = {.run = run, .node = node, .a = node->u.attention, .q = sn_run_matrix(run, node->input[0]), .k = sn_run_matrix(run, node->input[1]),
              .v = sn_run_matrix(run, node->input[2])};
    c.d = c.a.head_dim, c.wide = padded(c.d), c.group = c.a.num_heads / c.a.num_kv_heads;
    c.starts = c.a.row_length ? NULL : sn_run_data(run, node->input[4]);
    c.num_rows = c.starts ? sn_shape_count(&sn_run_node(run, node->input[4])->shape) - 1 : c.q.rows / c.a.row_length;
    if (c.a.cache_layer >= 0 && !back) {
        c.pages = sn_run_data(run, node->input[5]), c.lengths = sn_run_data(run, node->input[6]);
        c.num_pages = sn_run_node(run, node->input[5])->shape.dim[1];
    }
    char *scratch = sn_run_scratch(run, t);
    if (c.a.rotary != SN_ROTARY_NONE) c.turns = (float *)scratch, c.keys = c.turns + c.q.rows * c.d;
    c.own = scratch + shared_bytes(&c.a, c.q.rows);
    work w;
    c.own_bytes = divide_work(NULL, c.d, c.group, back ? c.q.rows + 1 : 0, &w);
    return c;
}

static work work_of(const call *c, bool back) {
    work w;
    divide_work(c->own + (size_t)omp_get_thread_num() * c->own_bytes, c->d, c->group, back ? c->q.rows + 1 : 0, &w);
    return w;
}

static int64_t row_begin(const call *c, int64_t r) { return c->starts ? c->starts[r] : r * c->a.row_length; }

/* Row of a token: the last that begins at or before it. */
static int64_t row_of(const call *c, int64_t token) {
    if (!c->starts) return token / c->a.row_length;
    int64_t low = 0, high = c->num_rows;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (c->starts[middle] <= token) low = middle;
        else high = middle;
    }
    return low;
}

/* ---- rotary positions ---- */

/* cos and sin of one token's angles; as published, frequency and angle in float. */
static void make_turns(const call *c, int64_t token) {
    const int32_t *positions = sn_run_data(c->run, c->node->input[3]);
    float *to = c->turns + token * c->d;
    for (int64_t i = 0; i < c->d / 2; i++) {
        float frequency = 1.0f / powf(c->a.rope_theta, (float)(2 * i) / (float)c->d);
        float angle = (float)positions[token] * c->a.rope_scale * frequency;
        to[i] = cosf(angle), to[c->d / 2 + i] = sinf(angle);
    }
}

/* A head's vector, turned (direction -1: turned back) and scaled. */
static void turn(const call *c, int64_t token, const float *from, float scale, float direction, float *to) {
    int64_t half = c->d / 2;
    const float *cosine = c->turns + token * c->d, *sine = cosine + half;
    if (c->a.rotary == SN_ROTARY_NONE)
        for (int64_t i = 0; i < c->d; i++) to[i] = from[i] * scale;
    else if (c->a.rotary == SN_ROTARY_HALF)
        for (int64_t i = 0; i < half; i++) {
            float x = from[i], y = from[i + half], s = sine[i] * direction;
            to[i] = (x * cosine[i] - y * s) * scale, to[i + half] = (y * cosine[i] + x * s) * scale;
        }
    else
        for (int64_t i = 0; i < half; i++) {
            float x = from[2 * i], y = from[2 * i + 1], s = sine[i] * direction;
            to[2 * i] = (x * cosine[i] - y * s) * scale, to[2 * i + 1] = (y * cosine[i] + x * s) * scale;
        }
}

/* ---- keys and values ---- */

static char *cache_row(const call *c, int64_t r, int which, int64_t head, int64_t at) {
    const sn_kv_cache *cache = c->run->bind->cache;
    int32_t page = c->pages[r * c->num_pages + at / KEYS];
    return sn_kv_head(cache, page, c->a.cache_layer, which, head) + at % KEYS * (cache->head_bytes / KEYS);
}

/* Turns a token's keys; they and the values go into the cache, if there is one. */
static void place_token(const call *c, int64_t token) {
    int64_t r = row_of(c, token), at = token - row_begin(c, r) + (c->lengths ? c->lengths[r] : 0);
    if (c->turns) make_turns(c, token);
    if (c->lengths && (r < 0 || token >= row_begin(c, r + 1))) return; /* belongs to no row */
    for (int64_t h = 0; h < c->a.num_kv_heads; h++) {
        const float *key = sn_matrix_row(c->k, token) + h * c->d;
        if (c->keys) {
            float *turned = c->keys + (token * c->a.num_kv_heads + h) * c->d;
            turn(c, token, key, 1, 1, turned);
            key = turned;
        }
        if (!c->lengths) continue;
        const sn_type_traits *traits = sn_type_of(c->run->bind->cache->type);
        traits->from_float(key, cache_row(c, r, 0, h, at), c->d);
        traits->from_float(sn_matrix_row(c->v, token) + h * c->d, cache_row(c, r, 1, h, at), c->d);
    }
}

static void convert(sn_type type, const char *from, int64_t n, float *to) {
    int64_t i = 0;
    if (n % sn_type_of(type)->block == 0) {
        if (type == SN_TYPE_F32) for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_from_row(SN_TYPE_F32, from, i));
        if (type == SN_TYPE_F16) for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_from_row(SN_TYPE_F16, from, i));
        if (type == SN_TYPE_BF16) for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_from_row(SN_TYPE_BF16, from, i));
        if (type == SN_TYPE_Q8_0) for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_from_row(SN_TYPE_Q8_0, from, i));
    }
    if (i < n) sn_type_of(type)->to_float(from + i * sn_type_of(type)->bytes, to + i, n - i);
}

/* Positions [at, at + count) of one head's keys (which = 0) or values (1): where they are, if they are floats of whole
 * vectors, else converted into `to`; *stride apart. */
static const float *block_of(const call *c, int64_t r, int which, int64_t head, int64_t at, int64_t count, float *to, int64_t *stride) {
    sn_type type = SN_TYPE_F32;
    const char *from;
    int64_t distance;
    if (c->lengths) {
        type = c->run->bind->cache->type;
        from = cache_row(c, r, which, head, at), distance = c->run->bind->cache->head_bytes / KEYS;
    } else if (which == 0 && c->keys) {
        distance = c->a.num_kv_heads * c->d * (int64_t)sizeof(float);
        from = (char *)c->keys + (row_begin(c, r) + at) * distance + head * c->d * (int64_t)sizeof(float);
    } else {
        const sn_matrix *m = which ? &c->v : &c->k;
        from = (char *)(sn_matrix_row(*m, row_begin(c, r) + at) + head * c->d), distance = m->stride * (int64_t)sizeof(float);
    }
    if (type == SN_TYPE_F32 && c->wide == c->d) {
        *stride = distance / (int64_t)sizeof(float);
        return (const float *)from;
    }
    for (int64_t j = 0; j < count; j++) {
        convert(type, from + j * distance, c->d, to + j * c->wide);
        for (int64_t e = c->d; e < c->wide; e++) to[j * c->wide + e] = 0;
    }
    *stride = c->wide;
    return to;
}

/* to [columns, KEYS] = transpose of from [count, columns]; zeros where count is less than KEYS. */
static void transpose(const float *from, int64_t stride, int64_t count, int64_t columns, float *to, int64_t to_stride) {
    typedef int32_t i4 __attribute__((vector_size(16)));
    typedef float v4_any __attribute__((vector_size(16), aligned(4), may_alias));
    int64_t j = 0, whole = columns / 4 * 4;
    for (; j + 4 <= count; j += 4) {
        const float *p = from + j * stride;
        for (int64_t e = 0; e < whole; e += 4) {
            v4 a = *(const v4_any *)(p + e), b = *(const v4_any *)(p + stride + e), c = *(const v4_any *)(p + 2 * stride + e),
               d = *(const v4_any *)(p + 3 * stride + e);
            v4 ab = __builtin_shuffle(a, b, (i4){0, 4, 1, 5}), cd = __builtin_shuffle(c, d, (i4){0, 4, 1, 5});
            v4 AB = __builtin_shuffle(a, b, (i4){2, 6, 3, 7}), CD = __builtin_shuffle(c, d, (i4){2, 6, 3, 7});
            float *q = to + e * to_stride + j;
            *(v4_any *)q = __builtin_shuffle(ab, cd, (i4){0, 1, 4, 5});
            *(v4_any *)(q + to_stride) = __builtin_shuffle(ab, cd, (i4){2, 3, 6, 7});
            *(v4_any *)(q + 2 * to_stride) = __builtin_shuffle(AB, CD, (i4){0, 1, 4, 5});
            *(v4_any *)(q + 3 * to_stride) = __builtin_shuffle(AB, CD, (i4){2, 3, 6, 7});
        }
        for (int64_t e = whole; e < columns; e++)
            for (int i = 0; i < 4; i++) to[e * to_stride + j + i] = p[i * stride + e];
    }
    for (int64_t e = 0; e < columns; e++) {
        for (int64_t i = j; i < count; i++) to[e * to_stride + i] = from[i * stride + e];
        for (int64_t i = count; i < to_stride; i++) to[e * to_stride + i] = 0;
    }
}

/* ---- two products of tiles ---- */

/* R rows of c [., stride c_stride] (N vectors each) = (or +=) a [R, terms] · b [terms, .]. */
SN_INLINE void outer(int R, int N, const float *a, int64_t a_stride, const float *b, int64_t b_stride, int64_t terms, bool add, float *c, int64_t c_stride) {
    vf s[TILE][2];
    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++) s[r][n] = add ? vf_load(c + r * c_stride + n * LANES) : (vf){0};
    for (int64_t j = 0; j < terms; j++) {
        vf x[2];
        for (int n = 0; n < N; n++) x[n] = vf_load(b + j * b_stride + n * LANES);
        for (int r = 0; r < R; r++) {
            vf w = vf_in_register(vf_all(a[r * a_stride + j]));
            for (int n = 0; n < N; n++) s[r][n] += w * x[n];
        }
    }
    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++) vf_store(c + r * c_stride + n * LANES, s[r][n]);
}

#define OUTER(R)                                                                                                                        \
    static void outer_##R(const float *a, int64_t a_stride, const float *b, int64_t b_stride, int64_t terms, bool add, float *c,       \
                          int64_t c_stride, int64_t columns) {                                                                          \
        int64_t n = 0;                                                                                                                  \
        for (; n + 2 * LANES <= columns; n += 2 * LANES) outer(R, 2, a, a_stride, b + n, b_stride, terms, add, c + n, c_stride);        \
        if (n < columns) outer(R, 1, a, a_stride, b + n, b_stride, terms, add, c + n, c_stride);                                        \
    }
OUTER(1)
OUTER(2)
OUTER(6)

/* c [rows, columns] = (or +=) a [rows, terms] · b [terms, columns]; columns are whole vectors. */
static void multiply(const float *a, int64_t a_stride, int64_t rows, const float *b, int64_t b_stride, int64_t terms, bool add, float *c,
                     int64_t c_stride, int64_t columns) {
    for (int64_t r = 0; r < rows;) {
        int64_t R = rows - r >= 6 ? 6 : rows - r >= 2 ? 2 : 1;
        (R == 6 ? outer_6 : R == 2 ? outer_2 : outer_1)(a + r * a_stride, a_stride, b, b_stride, terms, add, c + r * c_stride, c_stride, columns);
        r += R;
    }
}

/* Scores of rows of queries with the keys of a block as they lie: for a single token, whose keys pass by once. */
static void dot_scores(const call *c, const float *query, int64_t rows, const float *keys, int64_t stride, int64_t count, float *score) {
    for (int64_t j = 0; j < count; j += 4) {
        const float *k[4];
        for (int i = 0; i < 4; i++) k[i] = keys + smaller(j + i, count - 1) * stride;
        for (int64_t r = 0; r < rows; r++) {
            vf s[4] = {0};
            for (int64_t e = 0; e < c->wide; e += LANES) {
                vf x = vf_load(query + r * c->wide + e);
                for (int i = 0; i < 4; i++) s[i] += x * vf_load(k[i] + e);
            }
            v4 four = vf_sum4(s[0], s[1], s[2], s[3]);
            memcpy(score + r * KEYS + j, &four, sizeof four);
        }
    }
}

/* ---- running softmax ---- */

/* Of one row's scores, `visible` are seen: they become e^(score - top), others zero; `out`, weighed by the maximum
 * so far, is corrected. */
static void soften(float *score, int64_t visible, float *top, float *sum, float *out, int64_t wide) {
    if (visible <= 0) { /* the block begins behind this token */
        memset(score, 0, KEYS * sizeof *score);
        return;
    }
    for (int64_t j = visible; j < KEYS; j++) score[j] = -INFINITY;
    vf best = vf_load(score);
    for (int64_t j = LANES; j < KEYS; j += LANES) best = vf_max(best, vf_load(score + j));
    float new_top = fmaxf(*top, vf_top(best));
    vf total = {0};
    for (int64_t j = 0; j < KEYS; j += LANES) {
        vf p = vf_exp(vf_load(score + j) - new_top);
        vf_store(score + j, p);
        total += p;
    }
    float correction = expf(*top - new_top);
    *sum = *sum * correction + vf_sum(total);
    *top = new_top;
    if (correction != 1)
        for (int64_t e = 0; e < wide; e += LANES) vf_store(out + e, vf_load(out + e) * correction);
}

/* A tile: the group's heads of tokens [first, first + tokens) of row r. */
typedef struct tile {
    int64_t r, head, first, tokens, past, total;
} tile;

static int64_t visible_to(const call *c, const tile *t, int64_t token) {
    return c->a.mask == SN_MASK_CAUSAL ? t->past + t->first + token + 1 : t->total;
}

static void load_queries(const call *c, const tile *t, sn_matrix m, float scale, bool turned, float *to) {
    int64_t begin = row_begin(c, t->r) + t->first;
    for (int64_t i = 0; i < t->tokens; i++)
        for (int64_t g = 0; g < c->group; g++) {
            const float *from = sn_matrix_row(m, begin + i) + (t->head * c->group + g) * c->d;
            float *row = to + (i * c->group + g) * c->wide;
            if (turned) turn(c, begin + i, from, scale, 1, row);
            else memcpy(row, from, (size_t)c->d * sizeof *row);
            for (int64_t e = c->d; e < c->wide; e++) row[e] = 0;
        }
}

/* Queries, then out (not yet divided), top and sum of a tile. */
static void forward_tile(const call *c, const tile *t, const work *w) {
    int64_t rows = t->tokens * c->group, end = visible_to(c, t, t->tokens - 1);
    load_queries(c, t, c->q, c->a.scale, true, w->query);
    memset(w->out, 0, (size_t)(rows * c->wide) * sizeof(float));
    for (int64_t i = 0; i < rows; i++) w->top[i] = -INFINITY, w->sum[i] = 0;
    for (int64_t at = 0; at < end; at += KEYS) {
        int64_t count = smaller(KEYS, end - at), stride, value_stride;
        const float *keys = block_of(c, t->r, 0, t->head, at, count, w->keys, &stride);
        const float *values = block_of(c, t->r, 1, t->head, at, count, w->values, &value_stride);
        if (t->total - t->past == 1) {
            dot_scores(c, w->query, rows, keys, stride, count, w->score);
        } else {
            transpose(keys, stride, count, c->d, w->across, KEYS);
            multiply(w->query, c->wide, rows, w->across, KEYS, c->d, false, w->score, KEYS, KEYS);
        }
        for (int64_t i = 0; i < rows; i++)
            soften(w->score + i * KEYS, smaller(count, visible_to(c, t, i / c->group) - at), w->top + i, w->sum + i, w->out + i * c->wide, c->wide);
        multiply(w->score, KEYS, rows, values, value_stride, count, true, w->out, c->wide, c->wide);
    }
}

static void store_rows(const call *c, const tile *t, const float *from, const float *divisor, sn_matrix y) {
    for (int64_t i = 0; i < t->tokens; i++)
        for (int64_t g = 0; g < c->group; g++) {
            int64_t row = i * c->group + g;
            float *to = sn_matrix_row(y, row_begin(c, t->r) + t->first + i) + (t->head * c->group + g) * c->d;
            float factor = divisor[row] > 0 ? 1 / divisor[row] : divisor[row] == 0 ? 0 : NAN;
            for (int64_t e = 0; e < c->d; e++) to[e] = from[row * c->wide + e] * factor;
        }
}

/* ---- operators ---- */

static tile row_tile(const call *c, int64_t r) {
    tile t = {.r = r, .past = c->lengths ? c->lengths[r] : 0};
    t.tokens = row_begin(c, r + 1) - row_begin(c, r), t.total = t.past + t.tokens;
    return t;
}

static int64_t tile_tokens(const call *c) { return c->group > QUERIES ? 1 : QUERIES / c->group; }

void SN_NAME(sn_run_attention)(const sn_run *run, sn_tensor t) {
    call c = call_of(run, t, false);
    sn_matrix y = sn_run_matrix(run, t);
    int64_t step = tile_tokens(&c), longest = 0, keys = 0;
    for (int64_t r = 0; r < c.num_rows; r++) {
        tile whole = row_tile(&c, r);
        longest = whole.tokens > longest ? whole.tokens : longest;
        keys += whole.tokens * whole.total;
    }
    int64_t tiles = (longest + step - 1) / step, tasks = c.num_rows * c.a.num_kv_heads * tiles;
    int threads = sn_threads_for(run, keys * c.a.num_heads * c.d / 16);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        work w = work_of(&c, false);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < c.q.rows; i++) place_token(&c, i);
        /* the last tiles of a row see most keys: they go first */
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < tasks; i++) {
            tile part = row_tile(&c, i / tiles / c.a.num_kv_heads);
            part.head = i / tiles % c.a.num_kv_heads, part.first = (tiles - 1 - i % tiles) * step;
            part.tokens = smaller(step, part.tokens - part.first);
            if (part.tokens <= 0) continue;
            forward_tile(&c, &part, &w);
            store_rows(&c, &part, w.out, w.sum, y);
        }
    }
}

/* With P the probabilities and D = dy · y per query: dV = Pᵀ dy, dS = P ∘ (dy Vᵀ - D), dQ = scale dS K, dK = dSᵀ (scale Q). */
static void backward_tile(const call *c, const tile *t, const work *w, sn_matrix dy) {
    int64_t rows = t->tokens * c->group, end = visible_to(c, t, t->tokens - 1), most = tile_rows(c->group);
    forward_tile(c, t, w);
    load_queries(c, t, dy, 1, false, w->dout);
    memset(w->dquery, 0, (size_t)(rows * c->wide) * sizeof(float));
    for (int64_t i = 0; i < rows; i++) {
        vf s = {0};
        for (int64_t e = 0; e < c->wide; e += LANES) s += vf_load(w->out + i * c->wide + e) * vf_load(w->dout + i * c->wide + e);
        w->total[i] = vf_sum(s) / w->sum[i];
    }
    for (int64_t at = 0; at < end; at += KEYS) {
        int64_t count = smaller(KEYS, end - at), stride, value_stride;
        const float *keys = block_of(c, t->r, 0, t->head, at, count, w->keys, &stride);
        const float *values = block_of(c, t->r, 1, t->head, at, count, w->values, &value_stride);
        transpose(keys, stride, count, c->d, w->across, KEYS);
        transpose(values, value_stride, count, c->d, w->across_v, KEYS);
        multiply(w->query, c->wide, rows, w->across, KEYS, c->d, false, w->score, KEYS, KEYS);
        multiply(w->dout, c->wide, rows, w->across_v, KEYS, c->d, false, w->slope, KEYS, KEYS);
        for (int64_t i = 0; i < rows; i++) {
            float *score = w->score + i * KEYS, *slope = w->slope + i * KEYS;
            for (int64_t j = smaller(count, visible_to(c, t, i / c->group) - at) > 0 ? smaller(count, visible_to(c, t, i / c->group) - at) : 0; j < KEYS; j++)
                score[j] = -INFINITY;
            for (int64_t j = 0; j < KEYS; j += LANES) {
                vf p = vf_exp(vf_load(score + j) - w->top[i]) / w->sum[i];
                vf_store(score + j, p);
                vf_store(slope + j, p * (vf_load(slope + j) - w->total[i]));
            }
        }
        multiply(w->slope, KEYS, rows, keys, stride, count, true, w->dquery, c->wide, c->wide);
        transpose(w->score, KEYS, rows, count, w->turned, most);
        transpose(w->slope, KEYS, rows, count, w->turned_slope, most);
        multiply(w->turned, most, count, w->dout, c->wide, rows, true, w->dvalues + at * c->wide, c->wide, c->wide);
        multiply(w->turned_slope, most, count, w->query, c->wide, rows, true, w->dkeys + at * c->wide, c->wide, c->wide);
    }
}

/* Keys' and values' gradients are summed by one thread for each row and head, in the order of the tiles. */
void SN_NAME(sn_run_attention_back)(const sn_run *run, sn_tensor t) {
    call c = call_of(run, t, true);
    sn_matrix dqkv = sn_run_matrix(run, t), dy = sn_run_matrix(run, c.node->input[5]);
    int64_t step = tile_tokens(&c), at_k = c.a.num_heads * c.d, at_v = at_k + c.a.num_kv_heads * c.d, work_size = c.q.rows * at_k * 64;
    int threads = sn_threads_for(run, work_size);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        work w = work_of(&c, true);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < c.q.rows; i++) place_token(&c, i);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < c.num_rows * c.a.num_kv_heads; i++) {
            tile whole = row_tile(&c, i / c.a.num_kv_heads);
            int64_t begin = row_begin(&c, whole.r), tokens = whole.tokens;
            whole.head = i % c.a.num_kv_heads;
            memset(w.dkeys, 0, (size_t)(tokens * c.wide) * sizeof(float));
            memset(w.dvalues, 0, (size_t)(tokens * c.wide) * sizeof(float));
            for (int64_t first = 0; first < tokens; first += step) {
                tile part = whole;
                part.first = first, part.tokens = smaller(step, tokens - first);
                backward_tile(&c, &part, &w, dy);
                for (int64_t j = 0; j < part.tokens * c.group; j++) {
                    int64_t token = begin + first + j / c.group, head = whole.head * c.group + j % c.group;
                    turn(&c, token, w.dquery + j * c.wide, c.a.scale, -1, sn_matrix_row(dqkv, token) + head * c.d);
                }
            }
            for (int64_t j = 0; j < tokens; j++) {
                float *to = sn_matrix_row(dqkv, begin + j);
                turn(&c, begin + j, w.dkeys + j * c.wide, 1, -1, to + at_k + whole.head * c.d);
                memcpy(to + at_v + whole.head * c.d, w.dvalues + j * c.wide, (size_t)c.d * sizeof(float));
            }
        }
    }
}
