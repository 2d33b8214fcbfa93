/* Products of matrices: every output is a chain of vector multiply-adds along k, in chunks of about 1024 terms.
 *
 * With few rows of `a` (decoding) the weights are converted in registers while some of their rows are read side by
 * side: reading them is the whole cost. With more rows, a block of them stays in the second-level cache while
 * all rows of b pass by, six at a time, converted to floats in the first-level cache; tiles of 6 x 2 (6 x 4) sums are held in registers. */
#include "compute/cpu/product.h"

#include "compute/cpu/onednn.h"

#include <omp.h>

enum {
    CHUNK = 1024,          /* terms at a time, at most */
    STEP = CHUNK + 16,     /* distance of packed rows: a power of two would fall into the same cache sets */
    BLOCK_A = SN_VECTOR_BYTES == 64 ? 144 : 96, /* rows of a that stay in the second-level cache */
    TILE_B = 6,            /* rows of b in a tile of registers */
    TILE_A = SN_VECTOR_BYTES == 64 ? 4 : 2,
    PANEL_TRANSPOSED = 48, /* columns of a transposed b that are packed at a time */
    OWN = (BLOCK_A + PANEL_TRANSPOSED) * STEP, /* floats of one thread */
    DIRECT_ROWS = 16,      /* rows of a up to which weights are multiplied as they are read */
    DIRECT_B = 4,          /* rows of b read side by side, */
    DIRECT_A = 4,          /* by as many rows of a; more than two of those leave registers for: */
    DIRECT_NARROW = SN_VECTOR_BYTES == 64 ? 4 : 2,
    AHEAD = 4096,          /* bytes before the rows that are read, */
    SHORT_GROUP = 8192,    /* where DIRECT_B of them are no longer than this */
    DENSE = 64,            /* m, n and k from which oneDNN is ahead (docs/performance.md) */
    DENSE_FLOATS = 1 << 20, /* of each operand that are converted for it at a time */
};

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Terms of a chunk: about equal parts of k, whole blocks of any stored type. */
static int64_t chunk_terms(int64_t k) {
    int64_t chunks = (k + CHUNK - 1) / CHUNK;
    return chunks > 1 ? round_up((k + chunks - 1) / chunks, 256) : CHUNK;
}

/* ---- operands as floats ---- */

/* n values of a stored row, from k on (a multiple of its block). */
static void load_row(const sn_operand *b, int64_t row, int64_t k, int64_t n, float *to) {
    sn_type type = b->weight ? b->weight->type : SN_TYPE_F32;
    bool whole_blocks = k % sn_type_of(type)->block == 0 && n % sn_type_of(type)->block == 0;
    const char *from = b->weight ? sn_weight_row(b->weight, row) : (const char *)(b->data + row * b->stride);
    int64_t i = 0;
#define EACH(T)                                                                              \
    case T:                                                                                  \
        for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_from_row(T, from, k + i));    \
        if (i < n) vf_store_part(to + i, vf_from_row_part(T, from, k + i, n - i), n - i);    \
        return;
    switch (whole_blocks ? type : SN_TYPE_COUNT) {
        EACH(SN_TYPE_F32)
        EACH(SN_TYPE_F16)
        EACH(SN_TYPE_BF16)
        EACH(SN_TYPE_Q8_0)
    default: break;
    }
#undef EACH
    /* another type: whole blocks around what is wanted */
    const sn_type_traits *traits = sn_type_of(type);
    float whole[CHUNK + 1024];
    int64_t begin = k / traits->block * traits->block;
    traits->to_float(from + begin / traits->block * traits->bytes, whole, round_up(k + n - begin, traits->block));
    memcpy(to, whole + k - begin, (size_t)n * sizeof *to);
}

static void convert_row(const sn_operand *b, int64_t row, int64_t k, int64_t n, float *to) {
    load_row(b, row, k, n, to);
    if (!b->rounded) return;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store(to + i, vf_round_bf16(vf_load(to + i)));
    if (i < n) vf_store_part(to + i, vf_round_bf16(vf_load_part(to + i, n - i)), n - i);
}

/* Rows [row, row + count) of an operand, terms [k, k + n), as floats STEP apart, zeros up to a whole vector. */
static void pack(const sn_operand *b, int64_t row, int64_t count, int64_t k, int64_t n, float *to) {
    int64_t end = round_up(n, LANES);
    if (!b->transposed) {
        for (int64_t r = 0; r < count; r++) {
            convert_row(b, row + r, k, n, to + r * STEP);
            for (int64_t i = n; i < end; i++) to[r * STEP + i] = 0;
        }
        return;
    }
    float rows[16][PANEL_TRANSPOSED > BLOCK_A ? PANEL_TRANSPOSED : BLOCK_A];
    for (int64_t i = 0; i < end; i += 16) {
        int64_t some = smaller(16, end - i);
        for (int64_t j = 0; j < some; j++) {
            if (i + j < n)
                convert_row(b, k + i + j, row, count, rows[j]);
            else
                memset(rows[j], 0, sizeof rows[j]);
        }
        for (int64_t r = 0; r < count; r++)
            for (int64_t j = 0; j < some; j++) to[r * STEP + i + j] = rows[j][r];
    }
}

/* ---- one or two rows of a ---- */

/* Sums of terms [begin, k) of R rows of b with A rows of a, which are padded with zeros, into sum[.][column...]. */
SN_INLINE void direct(sn_type type, int R, int A, const char *const *b, const float *a, int64_t a_stride, int64_t begin, int64_t k,
                      vf sum[DIRECT_A][DIRECT_B], int column) {
    enum { UNROLL = 32 / LANES }; /* a q8_0 block: its scale is converted once */
    vf s[DIRECT_A][DIRECT_B] = {0};
    int64_t i = begin;
    for (; i + 32 <= k; i += 32)
        for (int u = 0; u < UNROLL; u++) {
            vf x[DIRECT_A];
            for (int c = 0; c < A; c++) x[c] = vf_load(a + c * a_stride + i + u * LANES);
            for (int r = 0; r < R; r++) {
                vf w = vf_in_register(vf_from_row(type, b[r], i + u * LANES));
                for (int c = 0; c < A; c++) s[c][r] += w * x[c];
            }
        }
    for (; i < k; i += LANES)
        for (int r = 0; r < R; r++) {
            vf w = i + LANES <= k ? vf_from_row(type, b[r], i) : vf_from_row_part(type, b[r], i, k - i);
            for (int c = 0; c < A; c++) s[c][r] += w * vf_load(a + c * a_stride + i);
        }
    for (int c = 0; c < A; c++)
        for (int r = 0; r < R; r++) sum[c][column + r] = s[c][r];
}

/* Sums s[row of a][row of b] of at most DIRECT_A and DIRECT_B rows. */
#define DIRECT(T)                                                                                                                    \
    static void direct_##T(int rows, int64_t m, const char *const *b, const float *a, int64_t stride, int64_t begin, int64_t k,      \
                           vf s[DIRECT_A][DIRECT_B]) {                                                                               \
        if (rows == DIRECT_B && m == 1) direct(T, DIRECT_B, 1, b, a, stride, begin, k, s, 0);                                        \
        else if (rows == DIRECT_B && m == 2) direct(T, DIRECT_B, 2, b, a, stride, begin, k, s, 0);                                   \
        else if (rows == DIRECT_B)                                                                                                   \
            for (int r = 0; r < DIRECT_B; r += DIRECT_NARROW) {                                                                      \
                if (m == 3) direct(T, DIRECT_NARROW, 3, b + r, a, stride, begin, k, s, r);                                           \
                else direct(T, DIRECT_NARROW, 4, b + r, a, stride, begin, k, s, r);                                                  \
            }                                                                                                                        \
        else                                                                                                                         \
            for (int r = 0; r < rows; r++) {                                                                                         \
                if (m == 1) direct(T, 1, 1, b + r, a, stride, begin, k, s, r);                                                       \
                else if (m == 2) direct(T, 1, 2, b + r, a, stride, begin, k, s, r);                                                  \
                else if (m == 3) direct(T, 1, 3, b + r, a, stride, begin, k, s, r);                                                  \
                else direct(T, 1, 4, b + r, a, stride, begin, k, s, r);                                                              \
            }                                                                                                                        \
    }
DIRECT(SN_TYPE_F32)
DIRECT(SN_TYPE_F16)
DIRECT(SN_TYPE_BF16)
DIRECT(SN_TYPE_Q8_0)

typedef void direct_function(int rows, int64_t m, const char *const *b, const float *a, int64_t stride, int64_t begin, int64_t k,
                             vf s[DIRECT_A][DIRECT_B]);

/* NULL: that type is not read directly. */
static direct_function *direct_of(const sn_operand *b) {
    switch (b->weight ? b->weight->type : SN_TYPE_F32) {
    case SN_TYPE_F32: return direct_SN_TYPE_F32;
    case SN_TYPE_F16: return direct_SN_TYPE_F16;
    case SN_TYPE_BF16: return direct_SN_TYPE_BF16;
    case SN_TYPE_Q8_0: return direct_SN_TYPE_Q8_0;
    default: return NULL;
    }
}

static const char *stored_row(const sn_operand *b, int64_t row) {
    return b->weight ? sn_weight_row(b->weight, row) : (const char *)(b->data + row * b->stride);
}

/* The rows that come AHEAD bytes behind `row`. Processors fetch ahead by themselves, but within a page of 4 KB and
 * along few streams: where a group ends after a page or two, they begin anew with each. */
static void fetch_ahead(const char *row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const void *)((uintptr_t)row + (uintptr_t)(AHEAD + i)));
}

static void run_direct(const sn_product *p, direct_function *run, int threads, float *a) {
    int64_t stride = round_up(p->k, LANES), chunk = chunk_terms(p->k), groups = (p->n + DIRECT_B - 1) / DIRECT_B;
    int64_t group_bytes = DIRECT_B * (p->b.weight ? p->b.weight->part[0].row_bytes : p->b.stride * (int64_t)sizeof(float));
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t k = 0; k < p->k; k += CHUNK) convert_row(&p->a, i, k, smaller(CHUNK, p->k - k), a + i * stride + k);
        for (int64_t k = p->k; k < stride; k++) a[i * stride + k] = 0;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t g = 0; g < groups; g++) {
        const char *b[DIRECT_B];
        vf s[DIRECT_A][DIRECT_B];
        int64_t row = g * DIRECT_B;
        int rows = (int)smaller(DIRECT_B, p->n - row);
        for (int r = 0; r < rows; r++) b[r] = stored_row(&p->b, row + r);
        if (group_bytes <= SHORT_GROUP) fetch_ahead(b[0], group_bytes);
        for (int64_t k = 0; k < p->k; k += chunk)
            for (int64_t i = 0; i < p->m; i += DIRECT_A) {
                int64_t some = smaller(DIRECT_A, p->m - i);
                run(rows, some, b, a + i * stride, stride, k, smaller(k + chunk, p->k), s);
                for (int64_t j = 0; j < some; j++)
                    for (int r = 0; r < rows; r++) {
                        float *c = p->c + (i + j) * p->c_stride + row + r;
                        *c = (k > 0 || p->add ? *c : p->bias ? p->bias[row + r] : 0) + vf_sum(s[j][r]);
                    }
            }
    }
}

/* ---- more rows of a ---- */

/* What one thread multiplies at a time: rows [row_a, row_a + rows_a) with [row_b, row_b + rows_b), one chunk of terms. */
typedef struct part {
    const sn_product *p;
    int64_t row_a, row_b, chunk;
} part;

/* R rows of b with A rows of a, n terms; the sums go into c, or are added to it. */
SN_INLINE void tile(int R, int A, const part *at, const float *b, const float *a, int64_t n, int64_t row_b, int64_t row_a) {
    vf s[TILE_A * TILE_B + 3] = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        vf x[TILE_A];
        for (int c = 0; c < A; c++) x[c] = vf_load(a + c * STEP + i);
        for (int r = 0; r < R; r++) {
            vf w = vf_in_register(vf_load(b + r * STEP + i));
            for (int c = 0; c < A; c++) s[c * R + r] += w * x[c];
        }
    }
    float sum[TILE_A * TILE_B + 3];
    for (int j = 0; j < R * A; j += 4) {
        v4 four = vf_sum4(s[j], s[j + 1], s[j + 2], s[j + 3]);
        memcpy(sum + j, &four, sizeof four);
    }
    const sn_product *p = at->p;
    for (int c = 0; c < A; c++) {
        float *to = p->c + (row_a + c) * p->c_stride + row_b;
        if (at->chunk > 0 || p->add)
            for (int r = 0; r < R; r++) to[r] += sum[c * R + r];
        else if (p->bias)
            for (int r = 0; r < R; r++) to[r] = p->bias[row_b + r] + sum[c * R + r];
        else
            for (int r = 0; r < R; r++) to[r] = sum[c * R + r];
    }
}

/* All rows of a's block with R rows of b. */
#define STRIPE(R)                                                                                                                    \
    static void stripe_##R(const part *at, const float *b, const float *a, int64_t rows_a, int64_t n, int64_t row_b) {              \
        int64_t c = 0;                                                                                                               \
        for (; c + TILE_A <= rows_a; c += TILE_A) tile(R, TILE_A, at, b, a + c * STEP, n, row_b, at->row_a + c);                     \
        for (; c < rows_a; c++) tile(R, 1, at, b, a + c * STEP, n, row_b, at->row_a + c);                                            \
    }
STRIPE(1)
STRIPE(2)
STRIPE(4)
STRIPE(6)

static void stripes(const part *at, const float *b, int64_t rows_b, const float *a, int64_t rows_a, int64_t n, int64_t row_b) {
    for (int64_t r = 0; r < rows_b;) {
        int64_t left = rows_b - r;
        if (left >= 6) stripe_6(at, b + r * STEP, a, rows_a, n, row_b + r), r += 6;
        else if (left >= 4) stripe_4(at, b + r * STEP, a, rows_a, n, row_b + r), r += 4;
        else if (left >= 2) stripe_2(at, b + r * STEP, a, rows_a, n, row_b + r), r += 2;
        else stripe_1(at, b + r * STEP, a, rows_a, n, row_b + r), r += 1;
    }
}

/* Rows of a block of `a`: at most BLOCK_A, all about equal. */
static int64_t block_rows(int64_t m) {
    int64_t blocks = (m + BLOCK_A - 1) / BLOCK_A;
    return round_up((m + blocks - 1) / blocks, TILE_A);
}

/* Rows of b that a thread takes at a time: so many that `a` is worth fetching, so few that all threads have some. */
static int64_t range_rows(const sn_product *p, int64_t blocks_a, int threads) {
    int64_t ranges = (4 * threads + blocks_a - 1) / blocks_a, most = (p->n + 127) / 128;
    if (ranges > most) ranges = most < threads ? smaller((p->n + 11) / 12, threads) : most;
    return round_up((p->n + ranges - 1) / ranges, TILE_B);
}

static void run_blocks(const sn_product *p, int threads, void *scratch) {
    int64_t chunk = chunk_terms(p->k), chunks = (p->k + chunk - 1) / chunk;
    int64_t block_a = block_rows(p->m), blocks_a = (p->m + block_a - 1) / block_a;
    int64_t range = range_rows(p, blocks_a, threads), ranges = (p->n + range - 1) / range;
    int64_t panel = p->b.transposed ? PANEL_TRANSPOSED : TILE_B;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *a = (float *)scratch + omp_get_thread_num() * (int64_t)OWN, *b = a + BLOCK_A * STEP;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < ranges * blocks_a; i++) {
            int64_t begin = i / blocks_a * range, end = smaller(begin + range, p->n);
            part at = {.p = p, .row_a = i % blocks_a * block_a};
            int64_t rows_a = smaller(block_a, p->m - at.row_a);
            for (at.chunk = 0; at.chunk < chunks; at.chunk++) {
                int64_t first = at.chunk * chunk, n = smaller(chunk, p->k - first);
                pack(&p->a, at.row_a, rows_a, first, n, a);
                for (int64_t row = begin; row < end; row += panel) {
                    int64_t rows_b = smaller(panel, end - row);
                    pack(&p->b, row, rows_b, first, n, b);
                    stripes(&at, b, rows_b, a, rows_a, round_up(n, LANES), row);
                }
            }
        }
    }
}

/* ---- large products: oneDNN's ---- */

/* One operand as oneDNN reads it: where it is stored, or a converted part of it. */
typedef struct source {
    const sn_operand *operand;
    sn_type type;      /* f32 or bf16 */
    bool converted;    /* parts of it are, into: */
    float *room;       /* dense_room */
} source;

static bool is_bf16(const sn_operand *o) { return o->rounded || (o->weight && o->weight->type == SN_TYPE_BF16); }

static source source_of(const sn_operand *o, sn_type type, float *room) {
    sn_type stored_type = o->weight ? o->weight->type : SN_TYPE_F32;
    bool whole = !o->weight || o->weight->num_parts == 1;
    return (source){.operand = o, .type = type, .converted = o->rounded || stored_type != type || !whole, .room = room};
}

/* Stored rows [row, row + rows), columns [column, column + columns). The dense matrix's rows are the operand's. */
static sn_dense read_source(const source *s, int64_t row, int64_t rows, int64_t column, int64_t columns, int threads) {
    const sn_operand *o = s->operand;
    int64_t size = s->type == SN_TYPE_BF16 ? 2 : 4, stride = columns;
    const void *data = s->room;
    if (!s->converted) {
        stride = o->weight ? o->weight->part[0].row_bytes / size : o->stride;
        data = stored_row(o, row) + column * size;
    } else {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
        for (int64_t i = 0; i < rows; i++) {
            float some[CHUNK];
            for (int64_t j = 0; j < columns; j += CHUNK) {
                int64_t n = smaller(CHUNK, columns - j);
                if (s->type == SN_TYPE_F32) {
                    convert_row(o, row + i, column + j, n, s->room + i * columns + j);
                    continue;
                }
                convert_row(o, row + i, column + j, n, some);
                for (int64_t x = 0; x < n; x++) ((uint16_t *)s->room)[i * columns + j + x] = sn_f32_to_bf16(some[x]);
            }
        }
    }
    return o->transposed ? (sn_dense){data, 1, stride} : (sn_dense){data, stride, 1};
}

static bool is_dense(const sn_product *p) {
    return !p->add && p->m >= DENSE && p->n >= DENSE && p->k >= DENSE && (p->b.transposed || !p->a.transposed) && sn_onednn_has(SN_TYPE_F32);
}

/* Floats of an operand's room: as much of it as is converted at a time. */
static int64_t dense_room(int64_t rows, int64_t terms) { return terms && rows > DENSE_FLOATS / terms ? DENSE_FLOATS : rows * terms; }

/* Blocks of terms, of a's rows, of b's rows: so large that what must be converted of either fits into its room. False
 * where oneDNN refused: c is to be computed again. */
static bool run_dense(const sn_product *p, int threads, float *scratch) {
    sn_type type = is_bf16(&p->a) && is_bf16(&p->b) && sn_onednn_has(SN_TYPE_BF16) ? SN_TYPE_BF16 : SN_TYPE_F32;
    source a = source_of(&p->a, type, scratch), b = source_of(&p->b, type, scratch + dense_room(p->m, p->k));
    int64_t terms = p->k, rows_a = p->m, rows_b = p->n;
    if (b.converted && p->b.transposed) terms = smaller(terms, DENSE_FLOATS / p->n);
    if (a.converted && p->a.transposed) terms = smaller(terms, DENSE_FLOATS / p->m);
    if (b.converted && !p->b.transposed) rows_b = smaller(rows_b, DENSE_FLOATS / terms);
    if (a.converted && !p->a.transposed) rows_a = smaller(rows_a, DENSE_FLOATS / terms);
    if (terms < 1 || rows_a < 1 || rows_b < 1) return false;
    for (int64_t i = 0; i < p->m && p->bias; i++) memcpy(p->c + i * p->c_stride, p->bias, (size_t)p->n * sizeof(float));
    for (int64_t k = 0; k < p->k; k += terms)
        for (int64_t i = 0; i < p->m; i += rows_a) {
            int64_t some_k = smaller(terms, p->k - k), some_a = smaller(rows_a, p->m - i);
            sn_dense left = p->a.transposed ? read_source(&a, k, some_k, i, some_a, threads) : read_source(&a, i, some_a, k, some_k, threads);
            for (int64_t j = 0; j < p->n; j += rows_b) {
                int64_t some_b = smaller(rows_b, p->n - j);
                sn_dense right = p->b.transposed ? read_source(&b, k, some_k, j, some_b, threads) : read_source(&b, j, some_b, k, some_k, threads);
                right = (sn_dense){right.data, right.column, right.row};
                if (!sn_onednn_multiply(type, some_a, some_b, some_k, left, right, p->c + i * p->c_stride + j, p->c_stride, k > 0 || p->bias, threads))
                    return false;
            }
        }
    return true;
}

size_t sn_product_scratch(int64_t m, int64_t n, int64_t k, int threads) {
    int64_t direct = smaller(m, DIRECT_ROWS) * round_up(k, LANES), blocks = threads * (int64_t)OWN, dense = dense_room(m, k) + dense_room(n, k);
    if (m < DENSE || n < DENSE || k < DENSE || !sn_onednn_has(SN_TYPE_F32)) dense = 0;
    blocks = direct > blocks ? direct : blocks;
    return (size_t)(dense > blocks ? dense : blocks) * sizeof(float);
}

void sn_product_run(const sn_product *p, int threads, void *scratch) {
    direct_function *run = direct_of(&p->b);
    if (p->m <= DIRECT_ROWS && !p->a.transposed && !p->b.transposed && run)
        run_direct(p, run, threads, scratch);
    else if (p->m > 0 && !(is_dense(p) && run_dense(p, threads, scratch)))
        run_blocks(p, threads, scratch);
}
