/* Tokenizers older than tokenizer.json: vocab.json with merges.txt (GPT-2, OPT, CLIP), vocab.txt (BERT). Each is a chain
 * whose links are known; they are written here as tokenizer.json would write them. */
#include "base/file.h"
#include "text/chain.h"
#include "text/classic.h"

#include <string.h>

enum { MAX_FILE = 256 << 20 };

static const char gpt2_links[] = "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, \"decoder\": {\"type\": \"ByteLevel\"}}";
static const char clip_links[] =
    "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"}, {\"type\": \"Lowercase\"}]},"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"}, \"behavior\": \"Removed\", \"invert\": true},"
    " {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]},"
    " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \"</w>\"}, \"content\": \" \"}]}}";
/* OpenAI's expression ignores case; the cleaning in front of it is clip_original.c's. */
static const char clip_original_links[] =
    "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?i)<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"}, \"behavior\": \"Removed\", \"invert\": true},"
    " {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]},"
    " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \"</w>\"}, \"content\": \" \"}]}}";
static const char bert_links[] = "{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}}";

/* ---- frames and special tokens ---- */

/* A special token by its content, if the vocabulary has it; gives its id or -1. */
static sn_status special(sn_tokenizer *t, const char *path, const char *content, bool inert, int32_t *id, sn_error *error) {
    *id = sn_vocabulary_find(t, content, strlen(content));
    if (*id < 0) return SN_OK;
    return sn_added_add(t, path, (sn_added_token){.content = content, .length = strlen(content), .id = *id, .special = true, .builtin = true, .inert = inert}, error);
}

static sn_status frame(sn_template *out, const sn_template_item *items, size_t count, sn_error *error) {
    if (!sn_grow((void **)&out->items, &out->capacity, count, sizeof *out->items)) return sn_fail_memory(error);
    memcpy(out->items, items, count * sizeof *items);
    out->count = count;
    return SN_OK;
}

sn_status sn_classic_bert_frame(sn_tokenizer *t, const char *path, sn_error *error) {
    static const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    int32_t id[5];
    sn_status status = SN_OK;
    for (int i = 0; i < 5 && !status; i++) status = special(t, path, names[i], false, &id[i], error);
    if (status) return status;
    t->info.pad = id[0], t->info.unk = id[1];
    if (id[2] < 0 || id[3] < 0) return SN_OK;
    t->info.bos = id[2], t->info.eos = id[3], t->info.add_bos = t->info.add_eos = true;
    const sn_template_item items[] = {{id[2], 0}, {SN_TEMPLATE_A, 0}, {id[3], 0}, {SN_TEMPLATE_B, 1}, {id[3], 1}};
    status = frame(&t->single, items, 3, error);
    return status ? status : frame(&t->pair, items, 5, error);
}

/* bos, eos, unk, pad as the classes that read these files have them. */
static sn_status byte_level_ends(sn_tokenizer *t, const char *path, sn_classic kind, sn_error *error) {
    int32_t sot, eot, end, pad;
    bool inert = kind == SN_CLASSIC_CLIP_ORIGINAL, clip = inert || kind == SN_CLASSIC_CLIP;
    sn_status status = special(t, path, "<|startoftext|>", inert, &sot, error);
    if (!status) status = special(t, path, "<|endoftext|>", inert, &eot, error);
    if (!status && clip) {
        t->info.bos = sot, t->info.eos = t->info.unk = t->info.pad = eot, t->info.add_bos = t->info.add_eos = true;
        return SN_OK;
    }
    t->info.bos = t->info.eos = t->info.unk = eot;
    if (status || eot >= 0) return status;
    status = special(t, path, "</s>", false, &end, error);
    if (!status) status = special(t, path, "<pad>", false, &pad, error);
    if (!status) t->info.bos = t->info.eos = t->info.unk = end, t->info.pad = pad, t->info.add_bos = end >= 0; /* OPT: always </s> in front */
    return status;
}

sn_status sn_classic_links(sn_chain *c, const char *path, sn_classic kind, bool lowercase, sn_error *error) {
    static const char *const links[] = {[SN_CLASSIC_GPT2] = gpt2_links, [SN_CLASSIC_CLIP] = clip_links, [SN_CLASSIC_CLIP_ORIGINAL] = clip_original_links, [SN_CLASSIC_BERT] = bert_links};
    json_t *root = NULL, *bert = json_pack("{s:s, s:b}", "type", "BertNormalizer", "lowercase", lowercase);
    sn_status status = sn_json_bytes(path, links[kind], strlen(links[kind]), &root, error);
    if (!status) status = sn_normalizers_read(c, path, kind == SN_CLASSIC_BERT ? bert : json_object_get(root, "normalizer"), error);
    if (!status) status = sn_splitters_read(c, path, json_object_get(root, "pre_tokenizer"), error);
    if (!status) status = sn_decoders_read(c, path, json_object_get(root, "decoder"), error);
    if (!status) c->tokenizer->info.vocab_size = c->tokenizer->num_pieces;
    if (!status) status = kind == SN_CLASSIC_BERT ? sn_classic_bert_frame(c->tokenizer, path, error) : byte_level_ends(c->tokenizer, path, kind, error);
    if (!status) status = sn_chain_ready(c, error);
    json_decref(bert);
    json_decref(root);
    return status;
}

/* ---- files ---- */

/* One line at a time, without its end; false behind the last one. */
static bool next_line(const char **at, const char *end, const char **line, size_t *length) {
    if (*at >= end) return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at, *length = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    if (*length && (*line)[*length - 1] == '\r') --*length;
    return true;
}

static sn_status read_merges(sn_chain *c, const char *path, sn_error *error) {
    char *bytes;
    size_t size, length;
    sn_status status = sn_read_file(path, MAX_FILE, &bytes, &size, error);
    if (status) return status;
    const char *at = bytes, *line;
    for (bool head = true; !status && next_line(&at, bytes + size, &line, &length); head = false) {
        const char *blank = memchr(line, ' ', length);
        if (length == 0 || (head && length > 8 && memcmp(line, "#version", 8) == 0)) continue;
        if (!blank) status = sn_fail(error, SN_ERROR_INPUT, "%s: \"%.*s\": expected two pieces", path, (int)(length < 60 ? length : 60), line);
        else status = sn_bpe_merge(c, path, line, (size_t)(blank - line), blank + 1, length - (size_t)(blank + 1 - line), error);
    }
    sn_free(bytes);
    return status;
}

sn_status sn_classic_read_bpe(sn_tokenizer *t, const char *path, sn_error *error) {
    json_t *root;
    sn_chain *c;
    char *folder = sn_path_parent(path), *merges = folder ? sn_path_join(folder, "merges.txt") : NULL;
    sn_status status = merges ? sn_json_file(path, MAX_FILE, &root, error) : sn_fail_memory(error);
    if (!status) {
        bool clip = json_object_get(root, "<|startoftext|>");
        sn_bpe_options options = {.suffix = clip ? "</w>" : "", .unk_token = clip ? "<|endoftext|>" : NULL};
        status = sn_vocabulary_read_object(t, path, root, error);
        if (!status) status = sn_chain_new(t, &c, error);
        if (!status) status = sn_bpe_new(c, path, &options, error);
        if (!status) status = read_merges(c, merges, error);
        if (!status) status = sn_classic_links(c, path, clip ? SN_CLASSIC_CLIP : SN_CLASSIC_GPT2, false, error);
        json_decref(root);
    }
    sn_free(folder);
    sn_free(merges);
    return status;
}

/* vocab.txt: the id of a piece is its line. */
sn_status sn_classic_read_wordpiece(sn_tokenizer *t, const char *path, sn_error *error) {
    char *bytes, *folder = sn_path_parent(path), *config = folder ? sn_path_join(folder, "tokenizer_config.json") : NULL;
    size_t size, length;
    sn_chain *c;
    json_t *options = NULL;
    sn_status status = config ? sn_read_file(path, MAX_FILE, &bytes, &size, error) : sn_fail_memory(error);
    if (!status) {
        const char *at = bytes, *line;
        t->file_pieces = (int64_t)size;
        for (int64_t id = 0; !status && next_line(&at, bytes + size, &line, &length); id++)
            if (length) status = sn_vocabulary_add(t, path, id, (sn_vocabulary_piece){.text = line, .length = length}, error);
        sn_free(bytes);
    }
    if (!status && sn_is_file(config)) status = sn_json_file(config, MAX_FILE, &options, error);
    if (!status) status = sn_chain_new(t, &c, error);
    if (!status) status = sn_wordpiece_new(c, path, "[UNK]", "##", 100, error);
    if (!status) status = sn_classic_links(c, path, SN_CLASSIC_BERT, sn_json_bool(options, "do_lower_case", true), error);
    json_decref(options);
    sn_free(folder);
    sn_free(config);
    return status;
}
