/* A line of JSON from each process. The count that a loss is divided by, and the borders of the passes that the rule of 2023 takes
 * means of, are those of one process that loads all samples. */
#include "train/exchange.h"

#include "train/objective.h"

#include <stdlib.h>
#include <string.h>

void sn_exchange_share(unsigned size, unsigned neighbours, int rank, int count, unsigned *from, unsigned *to) {
    uint64_t groups = ((uint64_t)size + neighbours - 1) / neighbours, first = (uint64_t)rank, n = (uint64_t)count;
    uint64_t begin = (groups * first + n - 1) / n * neighbours, end = (groups * (first + 1) + n - 1) / n * neighbours;
    *from = (unsigned)(begin < size ? begin : size), *to = (unsigned)(end < size ? end : size);
}

void sn_exchange_places(const sn_training *t, unsigned size, unsigned *from, unsigned *to) {
    unsigned neighbours = t->objective && t->objective->neighbours ? t->objective->neighbours(t->recipe) : 1;
    sn_exchange_share(size, neighbours, sn_ranks_rank(t->hooks.ranks), sn_ranks_count(t->hooks.ranks), from, to);
}

/* One's own part as text. */
static char *own_text(const sn_training *t, const sn_batch *b) {
    json_t *learnt = json_array();
    for (int i = 0; i < b->count; i++) json_array_append_new(learnt, json_integer(sn_sample_learnt(&b->samples[i])));
    json_t *root = json_pack("{s:O, s:o, s:I, s:I, s:O}", "ids", b->ids, "learnt", learnt, "tokens", (json_int_t)b->tokens, "pictures", (json_int_t)b->pictures, "skips", t->skips);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* Adds what one process has told. */
static sn_status add(sn_training *t, sn_batch *b, const json_t *told, json_t *ids, size_t *capacity, sn_error *error) {
    const json_t *learnt = json_object_get(told, "learnt"), *skips = json_object_get(told, "skips");
    if (!sn_grow((void **)&b->learnt_of, capacity, (size_t)b->total + json_array_size(learnt) + 1, sizeof *b->learnt_of)) return sn_fail_memory(error);
    for (size_t i = 0; i < json_array_size(learnt); i++) {
        b->learnt_of[b->total++] = json_integer_value(json_array_get(learnt, i));
        b->learnt += b->learnt_of[b->total - 1];
    }
    b->tokens += json_integer_value(json_object_get(told, "tokens")), b->pictures += json_integer_value(json_object_get(told, "pictures"));
    json_array_extend(ids, json_object_get(told, "ids"));
    for (size_t i = 0; i < json_array_size(skips); i++) {
        const json_t *skip = json_array_get(skips, i);
        if (t->hooks.on_skip && sn_ranks_rank(t->hooks.ranks) == 0) t->hooks.on_skip(t->hooks.context, json_string_value(json_array_get(skip, 0)), json_string_value(json_array_get(skip, 1)));
    }
    t->state.skipped += (int64_t)json_array_size(skips);
    return SN_OK;
}

sn_status sn_exchange_batch(sn_training *t, sn_batch *b, sn_error *error) {
    char *own = t->skips ? own_text(t, b) : NULL, **texts = NULL;
    json_t *ids = json_array();
    size_t capacity = 0;
    int rank = sn_ranks_rank(t->hooks.ranks), count = sn_ranks_count(t->hooks.ranks);
    sn_status status = ids && (own || !t->skips) ? SN_OK : sn_fail_memory(error);
    if (!t->skips) { /* alone */
        if (!status && !sn_grow((void **)&b->learnt_of, &capacity, (size_t)b->count + 1, sizeof *b->learnt_of)) status = sn_fail_memory(error);
        for (int i = 0; i < b->count && !status; i++) b->learnt_of[i] = sn_sample_learnt(&b->samples[i]);
        b->total = b->count;
        json_decref(ids);
        return status;
    }
    if (!status) status = sn_ranks_gather_text(t->hooks.ranks, own, &texts, error);
    b->total = 0, b->learnt = 0, b->tokens = 0, b->pictures = 0;
    for (int r = 0; r < count && !status; r++) {
        json_t *told = NULL;
        if (r == rank) b->before = b->total;
        status = sn_json_bytes("another process", texts[r], strlen(texts[r]), &told, error);
        if (!status) status = add(t, b, told, ids, &capacity, error);
        json_decref(told);
    }
    json_decref(b->ids);
    b->ids = ids;
    sn_free(texts);
    free(own);
    return status;
}
