/* Words become numbers once; an n-gram is then a string of such numbers, and counting is a look-up in a map.
 *
 * BLEU: Papineni et al., ACL 2002, with COCO's small constants; CIDEr-D: Vedantam et al., CVPR 2015; ROUGE-L: Lin, 2004;
 * METEOR: Banerjee and Lavie, 2005, without synonyms. */
#include "eval/captions.h"

#include "base/map.h"
#include "base/memory.h"
#include "eval/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 4 };

typedef struct sentence {
    int32_t *id;    /* of the words as they stand */
    int32_t *lower; /* of the words in small letters, */
    int32_t *stem;  /* and of their stems */
    int64_t length;
} sentence;

typedef struct image {
    sentence prediction, *references;
    int64_t num_references;
} image;

typedef struct state {
    sn_arena *arena;
    sn_map *ids, *df; /* words; n-grams: images that have it in a reference */
    image *images;
    int64_t count;
} state;

/* ---- words to numbers ---- */

static int32_t id_of(state *s, const char *text, size_t length, bool *ok) {
    int64_t id;
    if (sn_map_get(s->ids, text, length, &id)) return (int32_t)id;
    id = (int64_t)sn_map_count(s->ids);
    if (id > INT32_MAX || !sn_map_set(s->ids, text, length, id)) *ok = false;
    return (int32_t)id;
}

static bool read_sentence(state *s, const char *text, sentence *out) {
    sn_words words = {0};
    bool ok = sn_words_split(&words, text);
    out->length = (int64_t)words.count;
    out->id = sn_arena_alloc(s->arena, words.count + 1, sizeof *out->id);
    out->lower = sn_arena_alloc(s->arena, words.count + 1, sizeof *out->lower);
    out->stem = sn_arena_alloc(s->arena, words.count + 1, sizeof *out->stem);
    ok = ok && out->id && out->lower && out->stem;
    for (size_t i = 0; i < words.count && ok; i++) {
        char *word = sn_strndup(words.word[i].text, words.word[i].length), *lower = word ? sn_text_lower(word) : NULL;
        char *stem = lower ? sn_alloc(strlen(lower) + 3, 1) : NULL;
        if (stem) sn_porter_stem(lower, stem);
        ok = stem != NULL;
        if (ok) out->id[i] = id_of(s, word, strlen(word), &ok), out->lower[i] = id_of(s, lower, strlen(lower), &ok), out->stem[i] = id_of(s, stem, strlen(stem), &ok);
        sn_free(word);
        sn_free(lower);
        sn_free(stem);
    }
    sn_words_free(&words);
    return ok;
}

/* ---- n-grams ---- */

typedef struct gram {
    const int32_t *at; /* n words */
    int64_t count;
} gram;

/* The different n-grams of a sentence in the order of their first place, with their counts. */
typedef struct grams {
    gram *gram;
    int64_t count;
    sn_map *index;
} grams;

static void free_grams(grams *g) {
    sn_free(g->gram);
    sn_map_free(g->index);
}

static bool count_grams(const sentence *s, int n, grams *out) {
    *out = (grams){.gram = sn_alloc((size_t)s->length + 1, sizeof(gram)), .index = sn_map_new()};
    if (!out->gram || !out->index) return false;
    for (int64_t i = 0; i + n <= s->length; i++) {
        int64_t at;
        if (!sn_map_get(out->index, (const char *)(s->id + i), (size_t)n * sizeof *s->id, &at)) {
            at = out->count++;
            out->gram[at].at = s->id + i;
            if (!sn_map_set(out->index, (const char *)(s->id + i), (size_t)n * sizeof *s->id, at)) return false;
        }
        out->gram[at].count++;
    }
    return true;
}

static int64_t count_of(const grams *g, const int32_t *words, int n) {
    int64_t at;
    return sn_map_get(g->index, (const char *)words, (size_t)n * sizeof *words, &at) ? g->gram[at].count : 0;
}

/* ---- BLEU ---- */

typedef struct bleu_counts {
    double correct[MAX_N], guess[MAX_N], length, reference;
} bleu_counts;

static void bleu_scores(const bleu_counts *c, double out[MAX_N]) {
    double product = 1, ratio = (c->length + 1e-15) / (c->reference + 1e-9);
    for (int k = 0; k < MAX_N; k++) {
        product *= (c->correct[k] + 1e-15) / (c->guess[k] + 1e-9);
        out[k] = pow(product, 1.0 / (k + 1)) * (ratio < 1 ? exp(1 - 1 / ratio) : 1);
    }
}

static bool bleu_of(const image *im, bleu_counts *c) {
    const sentence *p = &im->prediction;
    int64_t best = im->references[0].length;
    for (int64_t r = 1; r < im->num_references; r++) {
        int64_t length = im->references[r].length, far = llabs(length - p->length), far_best = llabs(best - p->length);
        if (far < far_best || (far == far_best && length < best)) best = length;
    }
    *c = (bleu_counts){.length = (double)p->length, .reference = (double)best};
    bool ok = true;
    for (int n = 1; n <= MAX_N && ok; n++) {
        grams own;
        ok = count_grams(p, n, &own);
        int64_t *most = sn_alloc((size_t)own.count + 1, sizeof *most);
        ok = ok && most;
        for (int64_t r = 0; r < im->num_references && ok; r++) {
            grams theirs;
            ok = count_grams(&im->references[r], n, &theirs);
            for (int64_t g = 0; g < own.count && ok; g++) {
                int64_t there = count_of(&theirs, own.gram[g].at, n);
                if (there > most[g]) most[g] = there;
            }
            free_grams(&theirs);
        }
        for (int64_t g = 0; g < own.count && ok; g++) c->correct[n - 1] += (double)(own.gram[g].count < most[g] ? own.gram[g].count : most[g]);
        c->guess[n - 1] = p->length >= n ? (double)(p->length - n + 1) : 0;
        sn_free(most);
        free_grams(&own);
    }
    return ok;
}

static bool score_bleu(const state *s, sn_caption_scores *out) {
    bleu_counts all = {0}, one;
    for (int64_t i = 0; i < s->count; i++) {
        if (!bleu_of(&s->images[i], &one)) return false;
        bleu_scores(&one, out->bleu_each + i * MAX_N);
        for (int k = 0; k < MAX_N; k++) all.correct[k] += one.correct[k], all.guess[k] += one.guess[k];
        all.length += one.length, all.reference += one.reference;
    }
    bleu_scores(&all, out->bleu);
    return true;
}

/* ---- CIDEr-D ---- */

/* In how many images' references each n-gram occurs. */
static bool count_documents(state *s) {
    bool ok = true;
    for (int64_t i = 0; i < s->count && ok; i++)
        for (int n = 1; n <= MAX_N && ok; n++) {
            sn_map *seen = sn_map_new();
            ok = seen != NULL;
            for (int64_t r = 0; r < s->images[i].num_references && ok; r++) {
                const sentence *ref = &s->images[i].references[r];
                for (int64_t w = 0; w + n <= ref->length && ok; w++) {
                    const char *key = (const char *)(ref->id + w);
                    size_t size = (size_t)n * sizeof *ref->id;
                    int64_t images = 0;
                    if (sn_map_get(seen, key, size, NULL)) continue;
                    sn_map_get(s->df, key, size, &images);
                    ok = sn_map_set(seen, key, size, 1) && sn_map_set(s->df, key, size, images + 1);
                }
            }
            sn_map_free(seen);
        }
    return ok;
}

static double weight_of(const state *s, const gram *g, int n) {
    int64_t images = 0;
    sn_map_get(s->df, (const char *)g->at, (size_t)n * sizeof *g->at, &images);
    return (double)g->count * (log((double)s->count) - log(images > 1 ? (double)images : 1));
}

static double norm_of(const state *s, const grams *g, int n) {
    double sum = 0;
    for (int64_t i = 0; i < g->count; i++) {
        double w = weight_of(s, &g->gram[i], n);
        sum += w * w;
    }
    return sqrt(sum);
}

static bool cider_of(const state *s, const image *im, double *score) {
    bool ok = true;
    double sum = 0;
    for (int n = 1; n <= MAX_N && ok; n++) {
        grams own;
        ok = count_grams(&im->prediction, n, &own);
        double own_norm = ok ? norm_of(s, &own, n) : 0;
        for (int64_t r = 0; r < im->num_references && ok; r++) {
            grams theirs;
            ok = count_grams(&im->references[r], n, &theirs);
            double value = 0, norm = ok ? norm_of(s, &theirs, n) : 0;
            for (int64_t g = 0; g < own.count && ok; g++) {
                gram there = {own.gram[g].at, count_of(&theirs, own.gram[g].at, n)};
                double c = weight_of(s, &own.gram[g], n), w = weight_of(s, &there, n);
                value += fmin(c, w) * w;
            }
            if (own_norm != 0 && norm != 0) value /= own_norm * norm;
            int64_t a = im->prediction.length, b = im->references[r].length;
            double delta = (double)((a > 1 ? a - 1 : 0) - (b > 1 ? b - 1 : 0)); /* lengths in bigrams */
            sum += value * exp(-delta * delta / (2 * 6.0 * 6.0));
            free_grams(&theirs);
        }
        free_grams(&own);
    }
    *score = sum / MAX_N / (double)im->num_references * 10;
    return ok;
}

/* ---- ROUGE-L ---- */

static int64_t longest_common(const sn_words *a, const sn_words *b, int64_t *row) {
    memset(row, 0, (b->count + 1) * sizeof *row);
    for (size_t i = 0; i < a->count; i++) {
        int64_t corner = 0;
        for (size_t j = 0; j < b->count; j++) {
            int64_t above = row[j + 1];
            bool same = a->word[i].length == b->word[j].length && memcmp(a->word[i].text, b->word[j].text, a->word[i].length) == 0;
            row[j + 1] = same ? corner + 1 : above > row[j] ? above : row[j];
            corner = above;
        }
    }
    return row[b->count];
}

static bool rouge_of(const char *prediction, const char *const *references, int64_t count, double *score) {
    sn_words own = {0}, theirs = {0};
    double precision = 0, recall = 0;
    bool ok = sn_words_split_blanks(&own, prediction);
    for (int64_t r = 0; r < count && ok; r++) {
        ok = sn_words_split_blanks(&theirs, references[r]);
        int64_t *row = sn_alloc(theirs.count + 1, sizeof *row);
        if (row && ok) {
            double common = (double)longest_common(&own, &theirs, row);
            precision = fmax(precision, common / (double)own.count);
            recall = fmax(recall, common / (double)theirs.count);
        }
        ok = ok && row;
        sn_free(row);
    }
    double b2 = 1.2 * 1.2;
    *score = precision != 0 && recall != 0 ? (1 + b2) * precision * recall / (recall + b2 * precision) : 0;
    sn_words_free(&own);
    sn_words_free(&theirs);
    return ok;
}

/* ---- METEOR ---- */

/* Matches words that are still free (to[i] = -1), from the end of both sentences. */
static void match(const int32_t *own, int64_t length, const int32_t *theirs, int64_t their_length, int64_t *to, bool *taken) {
    for (int64_t i = length - 1; i >= 0; i--)
        for (int64_t j = their_length - 1; j >= 0 && to[i] < 0; j--)
            if (!taken[j] && own[i] == theirs[j]) to[i] = j, taken[j] = true;
}

static bool meteor_of(const sentence *p, const sentence *r, double *score) {
    int64_t *to = sn_alloc((size_t)p->length + 1, sizeof *to), matches = 0, chunks = 0, before = -2;
    bool *taken = sn_alloc((size_t)r->length + 1, sizeof *taken), ok = to && taken;
    *score = 0;
    for (int64_t i = 0; i < p->length && ok; i++) to[i] = -1;
    if (ok) {
        match(p->lower, p->length, r->lower, r->length, to, taken);
        match(p->stem, p->length, r->stem, r->length, to, taken);
        for (int64_t i = 0; i < p->length; i++) {
            if (to[i] >= 0) matches++, chunks += before < 0 || to[i] != before + 1;
            before = to[i] >= 0 ? to[i] : -2;
        }
    }
    if (matches) {
        double precision = (double)matches / (double)p->length, recall = (double)matches / (double)r->length, share = (double)chunks / (double)matches;
        *score = precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5 * share * share * share);
    }
    sn_free(to);
    sn_free(taken);
    return ok;
}

/* ---- all ---- */

static bool read_all(state *s, const sn_captions *c) {
    s->count = c->count;
    s->images = sn_arena_alloc(s->arena, (size_t)c->count + 1, sizeof *s->images);
    bool ok = s->images != NULL;
    for (int64_t i = 0; i < c->count && ok; i++) {
        image *im = &s->images[i];
        im->num_references = c->num_references[i];
        im->references = sn_arena_alloc(s->arena, (size_t)im->num_references, sizeof *im->references);
        ok = im->references && read_sentence(s, c->predictions[i], &im->prediction);
        for (int64_t r = 0; r < im->num_references && ok; r++) ok = read_sentence(s, c->references[i][r], &im->references[r]);
    }
    return ok;
}

static double mean(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

static bool score_all(state *s, const sn_captions *c, sn_caption_scores *out) {
    bool ok = score_bleu(s, out) && count_documents(s);
    for (int64_t i = 0; i < s->count && ok; i++) {
        const image *im = &s->images[i];
        ok = cider_of(s, im, &out->cider_each[i]) && rouge_of(c->predictions[i], c->references[i], im->num_references, &out->rouge_l_each[i]);
        for (int64_t r = 0; r < im->num_references && ok; r++) {
            double score;
            ok = meteor_of(&im->prediction, &im->references[r], &score);
            out->meteor_stem_each[i] = fmax(out->meteor_stem_each[i], score);
        }
    }
    out->cider = mean(out->cider_each, s->count);
    out->rouge_l = mean(out->rouge_l_each, s->count);
    out->meteor_stem = mean(out->meteor_stem_each, s->count);
    return ok;
}

sn_status sn_captions_score(const sn_captions *c, sn_caption_scores *out, sn_error *error) {
    *out = (sn_caption_scores){0};
    if (c->count < 1) return sn_fail(error, SN_ERROR_INPUT, "captions: found none to score");
    for (int64_t i = 0; i < c->count; i++)
        if (c->num_references[i] < 1) return sn_fail(error, SN_ERROR_INPUT, "captions: item %lld has no reference", (long long)i);
    state s = {.arena = sn_arena_new(), .ids = sn_map_new(), .df = sn_map_new()};
    size_t n = (size_t)c->count;
    out->bleu_each = sn_alloc(n, MAX_N * sizeof(double)), out->cider_each = sn_alloc(n, sizeof(double));
    out->rouge_l_each = sn_alloc(n, sizeof(double)), out->meteor_stem_each = sn_alloc(n, sizeof(double));
    bool ok = s.arena && s.ids && s.df && out->bleu_each && out->cider_each && out->rouge_l_each && out->meteor_stem_each;
    ok = ok && read_all(&s, c) && score_all(&s, c, out);
    sn_arena_free(s.arena);
    sn_map_free(s.ids);
    sn_map_free(s.df);
    if (!ok) sn_caption_scores_free(out);
    return ok ? SN_OK : sn_fail_memory(error);
}

void sn_caption_scores_free(sn_caption_scores *s) {
    sn_free(s->bleu_each);
    sn_free(s->cider_each);
    sn_free(s->rouge_l_each);
    sn_free(s->meteor_stem_each);
    *s = (sn_caption_scores){0};
}
