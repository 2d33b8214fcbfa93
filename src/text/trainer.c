/* Words with their counts, pairs with theirs, a heap of pairs. A merge touches only the words that hold the pair. */
#include "text/trainer.h"

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "base/utf8.h"
#include "text/chain.h"
#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>

static const char blank[] = "\xe2\x96\x81";

typedef struct word {
    const char *text;
    size_t length;
    int64_t count;
    int32_t *symbols;
    int num_symbols;
} word;

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t *words; /* that held it at some time */
    size_t num_words, capacity;
} pair;

typedef struct entry {
    int64_t count;
    size_t pair;
} entry;

struct sn_tokenizer_trainer {
    sn_trainer_kind kind;
    sn_arena *arena;
    sn_map *word_index;
    word *words;
    size_t num_words, word_capacity;
    sn_buf *pieces; /* text of every symbol */
    size_t num_pieces, piece_capacity;
    sn_map *piece_index, *pair_index;
    pair *pairs;
    size_t num_pairs, pair_capacity;
    entry *heap;
    size_t heap_count, heap_capacity;
    int32_t (*merges)[2];
    size_t num_merges, merge_capacity;
};

sn_tokenizer_trainer *sn_tokenizer_trainer_new(sn_trainer_kind kind) {
    sn_tokenizer_trainer *t = sn_alloc(1, sizeof *t);
    if (!t) return NULL;
    t->kind = kind;
    t->arena = sn_arena_new();
    t->word_index = sn_map_new(), t->piece_index = sn_map_new(), t->pair_index = sn_map_new();
    if (t->arena && t->word_index && t->piece_index && t->pair_index) return t;
    sn_tokenizer_trainer_free(t);
    return NULL;
}

void sn_tokenizer_trainer_free(sn_tokenizer_trainer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->num_words; i++) sn_free(t->words[i].symbols);
    for (size_t i = 0; i < t->num_pieces; i++) sn_buf_free(&t->pieces[i]);
    for (size_t i = 0; i < t->num_pairs; i++) sn_free(t->pairs[i].words);
    sn_free(t->words);
    sn_free(t->pieces);
    sn_free(t->pairs);
    sn_free(t->heap);
    sn_free(t->merges);
    sn_map_free(t->word_index);
    sn_map_free(t->piece_index);
    sn_map_free(t->pair_index);
    sn_arena_free(t->arena);
    sn_free(t);
}

/* ---- counting words ---- */

static bool count_word(sn_tokenizer_trainer *t, const char *text, size_t length) {
    int64_t at;
    if (sn_map_get(t->word_index, text, length, &at)) {
        t->words[at].count++;
        return true;
    }
    char *copy = sn_arena_alloc(t->arena, length + 1, 1);
    if (!copy || t->num_words >= INT32_MAX || !sn_grow((void **)&t->words, &t->word_capacity, t->num_words + 1, sizeof *t->words) || !sn_map_set(t->word_index, text, length, (int64_t)t->num_words)) return false;
    memcpy(copy, text, length);
    t->words[t->num_words++] = (word){.text = copy, .length = length, .count = 1};
    return true;
}

/* SentencePiece: a word begins with its blank; newlines are bytes and part words; digits stand alone. */
static bool count_sentencepiece(sn_tokenizer_trainer *t, const char *text, size_t length) {
    sn_buf current = {0};
    bool ok = true;
    sn_buf_puts(&current, blank); /* the blank that is put in front of a text */
    for (size_t i = 0; i <= length && ok; i++) {
        char c = i < length ? text[i] : ' ';
        bool digit = c >= '0' && c <= '9';
        if (c == ' ' || c == '\n' || c == '\t' || c == '\r' || digit) {
            if (current.length) ok = count_word(t, current.data, current.length);
            current.length = 0;
            if (c == ' ') sn_buf_puts(&current, blank);
            if (digit) ok = ok && count_word(t, &c, 1);
        } else {
            sn_buf_add(&current, &c, 1);
        }
        ok = ok && !current.failed;
    }
    sn_buf_free(&current);
    return ok;
}

static bool count_byte_level(sn_tokenizer_trainer *t, const char *text, size_t length) {
    sn_pattern *pattern;
    if (sn_pattern_regex("words", sn_pattern_gpt2, strlen(sn_pattern_gpt2), &pattern, NULL)) return false;
    sn_search s;
    size_t begin, end;
    bool ok = true;
    sn_search_begin(&s, pattern, text, length);
    while (ok && sn_search_next(&s, &begin, &end)) ok = count_word(t, text + begin, end - begin);
    ok = ok && !s.failed;
    sn_search_end(&s);
    sn_pattern_free(pattern);
    return ok;
}

sn_status sn_tokenizer_trainer_add(sn_tokenizer_trainer *t, const char *text, size_t length, sn_error *error) {
    size_t bad;
    if (!sn_utf8_valid(text, length, &bad)) return sn_fail(error, SN_ERROR_INPUT, "the text is not UTF-8 at byte %zu", bad);
    return (t->kind == SN_TRAINER_BYTE_LEVEL ? count_byte_level : count_sentencepiece)(t, text, length) ? SN_OK : sn_fail_memory(error);
}

/* ---- merging ---- */

static int32_t piece_of(sn_tokenizer_trainer *t, const char *text, size_t length) {
    int64_t id;
    if (sn_map_get(t->piece_index, text, length, &id)) return (int32_t)id;
    if (!sn_grow((void **)&t->pieces, &t->piece_capacity, t->num_pieces + 1, sizeof *t->pieces) || !sn_map_set(t->piece_index, text, length, (int64_t)t->num_pieces)) return -1;
    t->pieces[t->num_pieces] = (sn_buf){0};
    sn_buf_add(&t->pieces[t->num_pieces], text, length);
    return t->pieces[t->num_pieces].failed ? -1 : (int32_t)t->num_pieces++;
}

/* More often first; of equal ones the pair that was seen first. */
static bool before(entry a, entry b) {
    return a.count > b.count || (a.count == b.count && a.pair < b.pair);
}

static bool heap_add(sn_tokenizer_trainer *t, size_t number) {
    if (!sn_grow((void **)&t->heap, &t->heap_capacity, t->heap_count + 1, sizeof *t->heap)) return false;
    entry e = {t->pairs[number].count, number};
    size_t i = t->heap_count++;
    while (i && before(e, t->heap[(i - 1) / 2])) t->heap[i] = t->heap[(i - 1) / 2], i = (i - 1) / 2;
    t->heap[i] = e;
    return true;
}

static entry heap_take(sn_tokenizer_trainer *t) {
    entry top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap_count; i = child) {
        if (child + 1 < t->heap_count && before(t->heap[child + 1], t->heap[child])) child++;
        if (!before(t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    if (t->heap_count) t->heap[i] = last;
    return top;
}

/* Adds `change` to a pair's count and remembers the word it stands in. */
static bool count_pair(sn_tokenizer_trainer *t, int32_t left, int32_t right, int64_t change, size_t in_word) {
    int32_t key[2] = {left, right};
    int64_t number;
    if (left < 0 || right < 0) return true; /* across a character without a piece */
    if (!sn_map_get(t->pair_index, (const char *)key, sizeof key, &number)) {
        number = (int64_t)t->num_pairs;
        if (!sn_grow((void **)&t->pairs, &t->pair_capacity, t->num_pairs + 1, sizeof *t->pairs) || !sn_map_set(t->pair_index, (const char *)key, sizeof key, number)) return false;
        t->pairs[t->num_pairs++] = (pair){.left = left, .right = right};
    }
    pair *p = &t->pairs[number];
    p->count += change;
    if (change < 0) return true;
    if (p->num_words && p->words[p->num_words - 1] == (int32_t)in_word) return true;
    if (!sn_grow((void **)&p->words, &p->capacity, p->num_words + 1, sizeof *p->words)) return false;
    p->words[p->num_words++] = (int32_t)in_word;
    return true;
}

static bool count_all_pairs(sn_tokenizer_trainer *t) {
    for (size_t w = 0; w < t->num_words; w++)
        for (int i = 0; i + 1 < t->words[w].num_symbols; i++)
            if (!count_pair(t, t->words[w].symbols[i], t->words[w].symbols[i + 1], t->words[w].count, w)) return false;
    for (size_t p = 0; p < t->num_pairs; p++)
        if (!heap_add(t, p)) return false;
    return true;
}

/* Replaces the pair in one word; the pairs around it change their counts. */
static bool merge_in(sn_tokenizer_trainer *t, size_t number, int32_t left, int32_t right, int32_t merged) {
    word *w = &t->words[number];
    int32_t *s = w->symbols;
    int to = 0;
    bool found = false;
    for (int i = 0; i + 1 < w->num_symbols && !found; i++) found = s[i] == left && s[i + 1] == right;
    if (!found) return true;
    for (int i = 0; i + 1 < w->num_symbols; i++)
        if (!count_pair(t, s[i], s[i + 1], -w->count, number)) return false;
    for (int i = 0; i < w->num_symbols; to++) {
        bool here = i + 1 < w->num_symbols && s[i] == left && s[i + 1] == right;
        s[to] = here ? merged : s[i];
        i += here ? 2 : 1;
    }
    w->num_symbols = to;
    for (int i = 0; i + 1 < to; i++) {
        size_t known = t->num_pairs;
        if (!count_pair(t, s[i], s[i + 1], w->count, number)) return false;
        if (t->num_pairs > known && !heap_add(t, known)) return false;
    }
    return true;
}

/* Merges until there are `target` pieces. A pair whose count has changed since it was put on the heap goes back. */
static bool learn(sn_tokenizer_trainer *t, size_t target) {
    while (t->num_pieces < target && t->heap_count) {
        entry best = heap_take(t);
        pair p = t->pairs[best.pair];
        if (p.count <= 0) continue;
        if (p.count != best.count) {
            if (!heap_add(t, best.pair)) return false;
            continue;
        }
        sn_buf text = {0};
        sn_buf_add(&text, t->pieces[p.left].data, t->pieces[p.left].length);
        sn_buf_add(&text, t->pieces[p.right].data, t->pieces[p.right].length);
        int32_t merged = text.failed ? -1 : piece_of(t, text.data, text.length);
        sn_buf_free(&text);
        if (merged < 0 || !sn_grow((void **)&t->merges, &t->merge_capacity, t->num_merges + 1, sizeof *t->merges)) return false;
        t->merges[t->num_merges][0] = p.left, t->merges[t->num_merges++][1] = p.right;
        for (size_t i = 0; i < p.num_words; i++)
            if (!merge_in(t, (size_t)t->pairs[best.pair].words[i], p.left, p.right, merged)) return false;
    }
    return true;
}

/* ---- SentencePiece ---- */

typedef struct character {
    const char *text;
    int length;
    int64_t count;
} character;

static int by_count(const void *a, const void *b) {
    const character *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    int shorter = x->length < y->length ? x->length : y->length, order = memcmp(x->text, y->text, (size_t)shorter);
    return order ? order : x->length - y->length;
}

/* Characters of all words, most frequent first; the first *kept of them cover the share. */
static character *count_characters(sn_tokenizer_trainer *t, double coverage, size_t *kept) {
    sn_map *index = sn_map_new();
    character *list = NULL;
    size_t count = 0, capacity = 0;
    int64_t total = 0, sum = 0, at;
    bool ok = index != NULL;
    for (size_t w = 0; w < t->num_words && ok; w++)
        for (size_t i = 0; i < t->words[w].length && ok;) {
            uint32_t point;
            int bytes = sn_utf8_decode(t->words[w].text + i, t->words[w].length - i, &point);
            const char *text = t->words[w].text + i;
            if (!sn_map_get(index, text, (size_t)bytes, &at)) {
                at = (int64_t)count;
                ok = sn_grow((void **)&list, &capacity, count + 1, sizeof *list) && sn_map_set(index, text, (size_t)bytes, at);
                if (ok) list[count++] = (character){text, bytes, 0};
            }
            if (ok) list[at].count += t->words[w].count, total += t->words[w].count;
            i += (size_t)bytes;
        }
    sn_map_free(index);
    if (!ok) {
        sn_free(list);
        return NULL;
    }
    if (count) qsort(list, count, sizeof *list, by_count);
    for (*kept = 0; *kept < count && (double)sum < coverage * (double)total; ++*kept) sum += list[*kept].count;
    return list;
}

static void put_varint(sn_buf *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) sn_buf_add(out, &(char){(char)(value | 0x80)}, 1);
    sn_buf_add(out, &(char){(char)value}, 1);
}

static void put_bytes(sn_buf *out, uint32_t field, const void *bytes, size_t length) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length);
    sn_buf_add(out, bytes, length);
}

static void put_number(sn_buf *out, uint32_t field, uint64_t value) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

static void put_piece(sn_buf *out, const char *text, size_t length, float score, int type) {
    sn_buf piece = {0};
    put_bytes(&piece, 1, text, length);
    put_varint(&piece, 2 << 3 | 5);
    uint32_t bits;
    memcpy(&bits, &score, 4);
    for (int i = 0; i < 4; i++) sn_buf_add(&piece, &(char){(char)(bits >> 8 * i)}, 1);
    if (type != 1) put_number(&piece, 3, (uint64_t)type);
    put_bytes(out, 1, piece.data, piece.length);
    out->failed |= piece.failed;
    sn_buf_free(&piece);
}

/* <unk> <s> </s>, 256 bytes, merged pieces by rank, then characters, as LLaMA's file has them. */
static sn_status write_sentencepiece(sn_tokenizer_trainer *t, size_t characters, const char *folder, int *learnt, sn_error *error) {
    static const struct { const char *text; int type; } first[] = {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}};
    sn_buf out = {0}, part = {0};
    for (int i = 0; i < 3; i++) put_piece(&out, first[i].text, strlen(first[i].text), 0, first[i].type);
    for (int b = 0; b < 256; b++) {
        char text[8];
        int n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        put_piece(&out, text, (size_t)n, 0, 6);
    }
    float score = 0;
    for (size_t i = characters; i < t->num_pieces; i++) put_piece(&out, t->pieces[i].data, t->pieces[i].length, score--, 1);
    for (size_t i = 0; i < characters; i++) put_piece(&out, t->pieces[i].data, t->pieces[i].length, score--, 1);
    *learnt = 259 + (int)t->num_pieces;
    put_number(&part, 3, 2); /* BPE */
    put_number(&part, 4, (uint64_t)*learnt);
    put_number(&part, 35, 1);
    put_number(&part, 40, 0), put_number(&part, 41, 1), put_number(&part, 42, 2), put_number(&part, 43, UINT64_MAX); /* ids; pad -1 */
    put_bytes(&out, 2, part.data, part.length);
    part.length = 0;
    put_bytes(&part, 1, "identity", 8);
    put_number(&part, 3, 1), put_number(&part, 4, 0), put_number(&part, 5, 1);
    put_bytes(&out, 3, part.data, part.length);
    char *path = sn_path_join(folder, "tokenizer.model");
    sn_status status = path && !out.failed && !part.failed ? sn_write_file(path, out.data, out.length, error) : sn_fail_memory(error);
    sn_free(path);
    sn_buf_free(&out);
    sn_buf_free(&part);
    return status;
}

static sn_status train_sentencepiece(sn_tokenizer_trainer *t, int vocab_size, double coverage, const char *folder, int *learnt, sn_error *error) {
    size_t kept = 0;
    character *characters = count_characters(t, coverage, &kept);
    sn_status status = t->num_words && !characters ? sn_fail_memory(error) : SN_OK;
    if (!status && (size_t)vocab_size < 259 + kept)
        status = sn_fail(error, SN_ERROR_USAGE, "vocab_size: found %d, expected at least %zu: 3 special ids, 256 bytes and %zu characters (a lower coverage keeps fewer)", vocab_size, 259 + kept, kept);
    for (size_t i = 0; i < kept && !status; i++)
        if (piece_of(t, characters[i].text, (size_t)characters[i].length) < 0) status = sn_fail_memory(error);
    sn_free(characters);
    for (size_t w = 0; w < t->num_words && !status; w++) {
        word *x = &t->words[w];
        if (!(x->symbols = sn_alloc(x->length + 1, sizeof *x->symbols))) status = sn_fail_memory(error);
        for (size_t i = 0; i < x->length && !status;) {
            uint32_t point;
            int bytes = sn_utf8_decode(x->text + i, x->length - i, &point);
            int64_t id;
            x->symbols[x->num_symbols++] = sn_map_get(t->piece_index, x->text + i, (size_t)bytes, &id) ? (int32_t)id : -1;
            i += (size_t)bytes;
        }
    }
    if (!status && !(count_all_pairs(t) && learn(t, (size_t)vocab_size - 259))) status = sn_fail_memory(error);
    return status ? status : write_sentencepiece(t, kept, folder, learnt, error);
}

/* ---- byte-level ---- */

static sn_status write_byte_level(sn_tokenizer_trainer *t, const char *folder, int *learnt, sn_error *error) {
    json_t *vocabulary = json_object();
    sn_buf merges = {0};
    json_object_set_new(vocabulary, "<|endoftext|>", json_integer(0));
    for (size_t i = 0; i < t->num_pieces; i++) json_object_set_new(vocabulary, t->pieces[i].data, json_integer((json_int_t)i + 1));
    sn_buf_puts(&merges, "#version: 0.2\n");
    for (size_t i = 0; i < t->num_merges; i++) sn_buf_printf(&merges, "%s %s\n", t->pieces[t->merges[i][0]].data, t->pieces[t->merges[i][1]].data);
    char *text = json_dumps(vocabulary, JSON_COMPACT), *a = sn_path_join(folder, "vocab.json"), *b = sn_path_join(folder, "merges.txt");
    sn_status status = text && a && b && !merges.failed ? sn_write_file(a, text, strlen(text), error) : sn_fail_memory(error);
    if (!status) status = sn_write_file(b, merges.data, merges.length, error);
    *learnt = (int)t->num_pieces + 1;
    free(text);
    json_decref(vocabulary);
    sn_buf_free(&merges);
    sn_free(a);
    sn_free(b);
    return status;
}

static sn_status train_byte_level(sn_tokenizer_trainer *t, int vocab_size, const char *folder, int *learnt, sn_error *error) {
    sn_status status = vocab_size < 257 ? sn_fail(error, SN_ERROR_USAGE, "vocab_size: found %d, expected at least 257: the end of a text and 256 bytes", vocab_size) : SN_OK;
    char text[4];
    for (int b = 0; b < 256 && !status; b++)
        if (piece_of(t, text, (size_t)sn_utf8_encode(sn_byte_to_point((unsigned char)b), text)) < 0) status = sn_fail_memory(error);
    for (size_t w = 0; w < t->num_words && !status; w++) {
        word *x = &t->words[w];
        if (!(x->symbols = sn_alloc(x->length + 1, sizeof *x->symbols))) status = sn_fail_memory(error);
        for (size_t i = 0; i < x->length && !status; i++) x->symbols[x->num_symbols++] = (unsigned char)x->text[i];
    }
    if (!status && !(count_all_pairs(t) && learn(t, (size_t)vocab_size - 1))) status = sn_fail_memory(error);
    return status ? status : write_byte_level(t, folder, learnt, error);
}

sn_status sn_tokenizer_trainer_write(sn_tokenizer_trainer *t, int vocab_size, double coverage, const char *folder, int *learnt, sn_error *error) {
    if (!t->num_words) return sn_fail(error, SN_ERROR_INPUT, "there is no text to learn a vocabulary from");
    return t->kind == SN_TRAINER_BYTE_LEVEL ? train_byte_level(t, vocab_size, folder, learnt, error) : train_sentencepiece(t, vocab_size, coverage, folder, learnt, error);
}
