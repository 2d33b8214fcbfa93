/* tokenizer.json: vocabulary and model, added tokens, and the links of the chain. */
#include "text/classic.h"

#include <string.h>

enum { MAX_FILE = 256 << 20 };

/* ---- vocabulary and model ---- */

sn_status sn_vocabulary_read_object(sn_tokenizer *t, const char *path, const json_t *vocabulary, sn_error *error) {
    const char *key;
    json_t *value;
    sn_status status = SN_OK;
    if (!json_is_object(vocabulary)) return sn_fail(error, SN_ERROR_INPUT, "%s: vocab: expected an object of pieces and ids", path);
    t->file_pieces = (int64_t)json_object_size(vocabulary);
    json_object_foreach((json_t *)vocabulary, key, value) {
        if (status) break;
        if (!json_is_integer(value)) return sn_fail(error, SN_ERROR_INPUT, "%s: vocab: %s: expected an id", path, key);
        status = sn_vocabulary_add(t, path, json_integer_value(value), (sn_vocabulary_piece){.text = key, .length = strlen(key)}, error);
    }
    return status;
}

static sn_status read_vocabulary_scores(sn_tokenizer *t, const char *path, const json_t *vocabulary, sn_error *error) {
    sn_status status = SN_OK;
    if (!json_is_array(vocabulary)) return sn_fail(error, SN_ERROR_INPUT, "%s: model.vocab: expected a list of pieces and scores", path);
    t->file_pieces = (int64_t)json_array_size(vocabulary);
    for (size_t i = 0; i < json_array_size(vocabulary) && !status; i++) {
        const json_t *entry = json_array_get(vocabulary, i), *piece = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        if (!json_is_string(piece) || !json_is_number(score)) return sn_fail(error, SN_ERROR_INPUT, "%s: model.vocab[%zu]: expected [piece, score]", path, i);
        status = sn_vocabulary_add(t, path, (int64_t)i, (sn_vocabulary_piece){.text = json_string_value(piece), .length = json_string_length(piece), .score = json_number_value(score)}, error);
    }
    return status;
}

/* "a b", cut at the first blank, or ["a", "b"]. */
static sn_status read_merge(sn_chain *c, const char *path, const json_t *merge, size_t i, sn_error *error) {
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_is_string(left) && json_is_string(right))
        return sn_bpe_merge(c, path, json_string_value(left), json_string_length(left), json_string_value(right), json_string_length(right), error);
    const char *text = json_string_value(merge);
    size_t length = json_string_length(merge);
    const char *blank = text ? memchr(text, ' ', length) : NULL;
    if (!blank) return sn_fail(error, SN_ERROR_INPUT, "%s: model.merges[%zu]: expected two pieces", path, i);
    return sn_bpe_merge(c, path, text, (size_t)(blank - text), blank + 1, length - (size_t)(blank + 1 - text), error);
}

static sn_status read_bpe(sn_chain *c, const char *path, const json_t *model, sn_error *error) {
    sn_bpe_options options = {.unk_token = sn_json_string(model, "unk_token"), .prefix = sn_json_string(model, "continuing_subword_prefix"), .suffix = sn_json_string(model, "end_of_word_suffix"),
                              .fuse_unk = sn_json_bool(model, "fuse_unk", false), .byte_fallback = sn_json_bool(model, "byte_fallback", false), .ignore_merges = sn_json_bool(model, "ignore_merges", false)};
    sn_status status = sn_vocabulary_read_object(c->tokenizer, path, json_object_get(model, "vocab"), error);
    if (!status) status = sn_bpe_new(c, path, &options, error);
    const json_t *merges = json_object_get(model, "merges");
    for (size_t i = 0; i < json_array_size(merges) && !status; i++) status = read_merge(c, path, json_array_get(merges, i), i, error);
    return status;
}

static sn_status read_wordpiece(sn_chain *c, const char *path, const json_t *model, sn_error *error) {
    const char *unk = sn_json_string(model, "unk_token"), *prefix = sn_json_string(model, "continuing_subword_prefix");
    int64_t most = 100;
    sn_status status = sn_vocabulary_read_object(c->tokenizer, path, json_object_get(model, "vocab"), error);
    if (!status) status = sn_json_integer(path, model, "max_input_chars_per_word", 1, INT32_MAX, &most, error);
    return status ? status : sn_wordpiece_new(c, path, unk ? unk : "[UNK]", prefix ? prefix : "##", most, error);
}

static sn_status read_unigram(sn_chain *c, const char *path, const json_t *model, sn_error *error) {
    int64_t unk = -1;
    sn_status status = read_vocabulary_scores(c->tokenizer, path, json_object_get(model, "vocab"), error);
    if (!status) status = sn_json_integer(path, model, "unk_id", 0, INT32_MAX, &unk, error);
    return status ? status : sn_unigram_new(c, path, unk, sn_json_bool(model, "byte_fallback", false), error);
}

static sn_status read_wordlevel(sn_chain *c, const char *path, const json_t *model, sn_error *error) {
    const char *unk = sn_json_string(model, "unk_token");
    sn_status status = sn_vocabulary_read_object(c->tokenizer, path, json_object_get(model, "vocab"), error);
    return status ? status : sn_wordlevel_new(c, path, unk ? unk : "<unk>", error);
}

/* Old files do not say the type; the keys do. */
static const char *model_type(const json_t *model) {
    const char *type = sn_json_string(model, "type");
    if (type) return type;
    if (json_object_get(model, "merges")) return "BPE";
    if (json_is_array(json_object_get(model, "vocab"))) return "Unigram";
    return json_object_get(model, "max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

static sn_status read_model(sn_chain *c, const char *path, const json_t *model, sn_error *error) {
    static const struct {
        const char *type;
        sn_status (*read)(sn_chain *c, const char *path, const json_t *model, sn_error *error);
    } kinds[] = {{"BPE", read_bpe}, {"WordPiece", read_wordpiece}, {"Unigram", read_unigram}, {"WordLevel", read_wordlevel}};
    if (!json_is_object(model)) return sn_fail(error, SN_ERROR_INPUT, "%s: expected a tokenizer.json: no model", path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].type, model_type(model)) == 0) return kinds[i].read(c, path, model, error);
    return sn_fail(error, SN_ERROR_SUPPORT, "%s: model.type: found %s, expected BPE, WordPiece, Unigram or WordLevel", path, model_type(model));
}

/* ---- added tokens ---- */

static sn_status read_added(sn_tokenizer *t, const char *path, const json_t *list, sn_error *error) {
    sn_status status = SN_OK;
    t->info.vocab_size = t->num_pieces;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *entry = json_array_get(list, i), *content = json_object_get(entry, "content");
        int64_t id = -1;
        if (!json_is_string(content)) return sn_fail(error, SN_ERROR_INPUT, "%s: added_tokens[%zu]: expected a content", path, i);
        status = sn_json_integer(path, entry, "id", 0, INT32_MAX, &id, error);
        if (status) break;
        status = sn_added_add(t, path, (sn_added_token){.content = json_string_value(content), .length = json_string_length(content), .id = (int32_t)id,
                              .special = sn_json_bool(entry, "special", false), .lstrip = sn_json_bool(entry, "lstrip", false), .rstrip = sn_json_bool(entry, "rstrip", false),
                              .single_word = sn_json_bool(entry, "single_word", false), .normalized = sn_json_bool(entry, "normalized", !sn_json_bool(entry, "special", false))}, error);
    }
    return status;
}

/* ---- the frame around a text ---- */

static sn_status template_add(sn_template *frame, int64_t id, int64_t type, sn_error *error) {
    if (!sn_grow((void **)&frame->items, &frame->capacity, frame->count + 1, sizeof *frame->items)) return sn_fail_memory(error);
    frame->items[frame->count++] = (sn_template_item){(int32_t)id, (int32_t)type};
    return SN_OK;
}

static sn_status read_template(sn_tokenizer *t, const char *path, const json_t *list, const json_t *special, sn_template *out, sn_error *error) {
    sn_status status = SN_OK;
    out->count = 0;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *item = json_array_get(list, i);
        const char *sequence = sn_json_string(item, "Sequence.id"), *name = sn_json_string(item, "SpecialToken.id");
        int64_t type = 0;
        status = sn_json_integer(path, item, sequence ? "Sequence.type_id" : "SpecialToken.type_id", 0, INT32_MAX, &type, error);
        if (!status && sequence) status = template_add(out, strcmp(sequence, "B") == 0 ? SN_TEMPLATE_B : SN_TEMPLATE_A, type, error);
        if (status || sequence) continue;
        const json_t *ids = json_object_get(name ? json_object_get(special, name) : NULL, "ids");
        if (!json_array_size(ids)) return sn_fail(error, SN_ERROR_INPUT, "%s: post_processor: special token %s has no ids", path, name ? name : "(none)");
        for (size_t k = 0; k < json_array_size(ids) && !status; k++) {
            int64_t id = json_integer_value(json_array_get(ids, k));
            if (!json_is_integer(json_array_get(ids, k)) || id < 0 || id >= t->info.vocab_size) return sn_fail(error, SN_ERROR_INPUT, "%s: post_processor: special token %s: id %lld is outside the vocabulary", path, name, (long long)id);
            status = template_add(out, id, type, error);
        }
    }
    return status;
}

/* BertProcessing: cls A sep (B sep, type 1); RobertaProcessing: cls A sep (sep B sep), all of type 0. */
static sn_status read_bert_frame(sn_tokenizer *t, const char *path, const json_t *o, bool roberta, sn_error *error) {
    int64_t ids[2];
    static const char *const names[] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        const json_t *id = json_array_get(json_object_get(o, names[i]), 1);
        ids[i] = json_integer_value(id);
        if (!json_is_integer(id) || ids[i] < 0 || ids[i] >= t->info.vocab_size) return sn_fail(error, SN_ERROR_INPUT, "%s: post_processor: %s: expected [token, id] of the vocabulary", path, names[i]);
    }
    t->single.count = t->pair.count = 0;
    const int64_t frame[] = {ids[0], SN_TEMPLATE_A, ids[1], ids[1], SN_TEMPLATE_B, ids[1]};
    sn_status status = SN_OK;
    for (int i = 0; i < 3 && !status; i++) status = template_add(&t->single, frame[i], 0, error);
    for (int i = 0; i < 6 && !status; i++)
        if (i != 3 || roberta) status = template_add(&t->pair, frame[i], i > 3 && !roberta, error);
    return status;
}

static sn_status read_frame(sn_tokenizer *t, const char *path, const json_t *o, sn_error *error) {
    const char *type = sn_json_string(o, "type");
    if (!o || json_is_null(o) || (type && strcmp(type, "ByteLevel") == 0)) return SN_OK;
    if (type && strcmp(type, "Sequence") == 0) {
        sn_status status = SN_OK;
        const json_t *list = json_object_get(o, "processors");
        for (size_t i = 0; i < json_array_size(list) && !status; i++) status = read_frame(t, path, json_array_get(list, i), error);
        return status;
    }
    if (type && strcmp(type, "TemplateProcessing") == 0) {
        const json_t *special = json_object_get(o, "special_tokens");
        sn_status status = read_template(t, path, json_object_get(o, "single"), special, &t->single, error);
        return status ? status : read_template(t, path, json_object_get(o, "pair"), special, &t->pair, error);
    }
    if (type && (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)) return read_bert_frame(t, path, o, type[0] == 'R', error);
    return sn_fail(error, SN_ERROR_SUPPORT, "%s: post_processor: found type %s, which is not supported", path, type ? type : "(none)");
}

/* What the frame says in the terms of info: bos in front, eos behind. */
static void ends_of_frame(sn_tokenizer *t) {
    const sn_template *f = &t->single;
    size_t last = f->count ? f->count - 1 : 0;
    if (f->count > 1 && f->items[0].id >= 0) t->info.bos = f->items[0].id, t->info.add_bos = true;
    if (f->count > 1 && f->items[last].id >= 0) t->info.eos = f->items[last].id, t->info.add_eos = true;
}

static void find_unk(sn_tokenizer *t, const json_t *model) {
    const char *unk = sn_json_string(model, "unk_token");
    const json_t *id = json_object_get(model, "unk_id");
    if (unk) t->info.unk = sn_vocabulary_find(t, unk, strlen(unk));
    else if (json_is_integer(id)) t->info.unk = (int32_t)json_integer_value(id);
}

sn_status sn_huggingface_read(sn_tokenizer *t, const char *path, sn_error *error) {
    json_t *root;
    sn_chain *c;
    sn_status status = sn_json_file(path, MAX_FILE, &root, error);
    if (status) return status;
    status = sn_chain_new(t, &c, error);
    if (!status) status = read_model(c, path, json_object_get(root, "model"), error);
    if (!status) status = read_added(t, path, json_object_get(root, "added_tokens"), error);
    if (!status) status = sn_normalizers_read(c, path, json_object_get(root, "normalizer"), error);
    if (!status) status = sn_splitters_read(c, path, json_object_get(root, "pre_tokenizer"), error);
    if (!status) status = sn_decoders_read(c, path, json_object_get(root, "decoder"), error);
    if (!status) status = read_frame(t, path, json_object_get(root, "post_processor"), error);
    if (!status) status = sn_chain_ready(c, error);
    if (!status) ends_of_frame(t), find_unk(t, json_object_get(root, "model"));
    json_decref(root);
    return status;
}
