/* OpenAI's CLIP tokenizer over its own file, bpe_simple_vocab_16e6.txt.gz.
 *
 * The text is cleaned before it is split: mended as ftfy does with its defaults (of which what a test can pin: quotes,
 * ligatures, widths, line ends, NFC), HTML's references resolved twice, runs of blanks made one, lower case as Python
 * has it. */
#include "text/classic.h"
#include "text/entities.h"

#include <string.h>
#include <zlib.h>

enum { MAX_TEXT = 64 << 20, MOST_MERGES = 48894 };

/* ---- cleaning ---- */

static uint32_t mend_point(uint32_t p) {
    if (p == 0x2bc || (p >= 0x2018 && p <= 0x201b)) return '\'';
    if (p >= 0x201c && p <= 0x201f) return '"';
    if (p == 0x2028 || p == 0x2029) return '\n';
    return p;
}

static bool is_dropped(uint32_t p) {
    return p <= 8 || p == 0x0b || (p >= 0x0e && p <= 0x1f) || p == 0x7f || (p >= 0x206a && p <= 0x206f) || p == 0xfeff || (p >= 0xfff9 && p <= 0xfffc);
}

/* Ligatures that are no letters of a language, and the full and half widths. */
static bool is_compatible(uint32_t p) { return (p >= 0xfb00 && p <= 0xfb06) || p == 0x132 || p == 0x133 || p == 0x149 || (p >= 0x1c4 && p <= 0x1cc) || (p >= 0x1f1 && p <= 0x1f3) || (p >= 0xff01 && p <= 0xffef) || p == 0x3000; }

/* ftfy takes references for text up to the first line with a "<", which may be HTML that is meant. */
static void apply_mend_entities(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    const char *tag = memchr(text, '<', length);
    size_t plain = tag ? (size_t)(tag - text) : length;
    while (tag && plain && text[plain - 1] != '\n') plain--;
    sn_entities_resolve(text, plain, true, out);
    sn_buf_add(out, text + plain, length - plain);
}

static void apply_mend(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    sn_buf wide = {0}, plain = {0};
    for (size_t at = 0; at < length;) {
        size_t from = at;
        uint32_t p = sn_next_point(text, length, &at);
        if (p == '\r') {
            sn_buf_add(&wide, "\n", 1);
            if (at < length && text[at] == '\n') at++;
        } else if (is_compatible(p)) {
            sn_normal_form_add(SN_NFKC, text + from, at - from, &wide);
        } else if (!is_dropped(p)) {
            sn_add_point(&wide, sn_windows_1252(p));
        }
    }
    for (size_t at = 0; at < wide.length;) sn_add_point(&plain, mend_point(sn_next_point(wide.data, wide.length, &at)));
    sn_normal_form_add(SN_NFC, plain.data ? plain.data : "", plain.length, out);
    out->failed |= wide.failed || plain.failed;
    sn_buf_free(&wide);
    sn_buf_free(&plain);
}

static void apply_entities(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    sn_buf once = {0};
    sn_entities_resolve(text, length, false, &once);
    sn_entities_resolve(once.data ? once.data : "", once.length, false, out);
    out->failed |= once.failed;
    sn_buf_free(&once);
}

/* Python's str.strip takes U+001C to U+001F for blanks, its \s does not. */
static bool python_blank(uint32_t p) { return sn_is_space(p) || (p >= 0x1c && p <= 0x1f); }

static void apply_strip(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    size_t begin = length, end = 0;
    for (size_t at = 0; at < length;) {
        size_t from = at;
        if (python_blank(sn_next_point(text, length, &at))) continue;
        if (begin == length) begin = from;
        end = at;
    }
    if (end > begin) sn_buf_add(out, text + begin, end - begin);
}

static void apply_one_blank(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    for (size_t at = 0, from = 0; at < length; from = at) {
        bool blank = sn_is_space(sn_next_point(text, length, &at));
        for (size_t next = at; blank && next < length && sn_is_space(sn_next_point(text, length, &next));) at = next;
        if (blank) sn_buf_add(out, " ", 1);
        else sn_buf_add(out, text + from, at - from);
    }
}

/* A letter with case, and what may stand between it and a final sigma. */
static bool is_cased(uint32_t p) {
    uint32_t lower[2];
    return sn_is_letter(p) && (sn_lower(p, lower) > 1 || lower[0] != p || sn_upper(p) != p);
}
static bool is_case_ignorable(uint32_t p) { return p == '\'' || p == '.' || p == ':' || p == 0xb7 || p == 0x2019 || p == 0x2018 || p == 0xad || sn_is_nonspacing(p) || (sn_is_control(p) && p > 0x9f); }

static void apply_lower(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    bool after_cased = false;
    for (size_t at = 0; at < length;) {
        uint32_t p = sn_next_point(text, length, &at), lower[2];
        bool before_cased = false;
        for (size_t next = at; p == 0x3a3 && next < length;) {
            uint32_t q = sn_next_point(text, length, &next);
            if (is_case_ignorable(q)) continue;
            before_cased = is_cased(q);
            break;
        }
        int count = sn_lower(p, lower);
        if (p == 0x3a3 && after_cased && !before_cased) lower[0] = 0x3c2;
        for (int i = 0; i < count; i++) sn_add_point(out, lower[i]);
        if (!is_case_ignorable(p)) after_cased = is_cased(p);
    }
}

static sn_status add_cleaning(sn_chain *c, sn_error *error) {
    static void (*const steps[])(const sn_normalizer *, const char *, size_t, sn_buf *) = {apply_mend_entities, apply_mend, apply_entities, apply_strip, apply_one_blank, apply_strip, apply_lower};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (!sn_grow((void **)&c->normalizers, &c->normalizer_capacity, c->num_normalizers + 1, sizeof *c->normalizers)) return sn_fail_memory(error);
        c->normalizers[c->num_normalizers++] = (sn_normalizer){.apply = steps[i], .unless = i < 2 ? SN_ENCODE_NO_MENDING : 0};
    }
    return SN_OK;
}

/* ---- the file ---- */

static sn_status read_lines(const char *path, sn_buf *out, sn_error *error) {
    gzFile file = gzopen(path, "rb");
    if (!file) return sn_fail(error, SN_ERROR_INPUT, "%s: cannot be opened", path);
    char chunk[1 << 15];
    int n;
    while ((n = gzread(file, chunk, sizeof chunk)) > 0 && out->length <= MAX_TEXT && !out->failed) sn_buf_add(out, chunk, (size_t)n);
    gzclose(file);
    if (n < 0 || out->length > MAX_TEXT) return sn_fail(error, SN_ERROR_INPUT, "%s: not a compressed list of merges", path);
    return out->failed ? sn_fail_memory(error) : SN_OK;
}

/* The alphabet: 256 bytes in the order of their characters, then the same at the end of a word. */
static sn_status add_alphabet(sn_tokenizer *t, const char *path, sn_error *error) {
    sn_status status = SN_OK;
    int64_t id = 0;
    for (uint32_t p = 0; p < 0x144 && !status; p++) {
        sn_buf name = {0};
        if (sn_point_to_byte(p) < 0) continue;
        sn_add_point(&name, p);
        status = name.failed ? sn_fail_memory(error) : sn_vocabulary_add(t, path, id, (sn_vocabulary_piece){.text = name.data, .length = name.length}, error);
        sn_buf_puts(&name, "</w>");
        if (!status) status = name.failed ? sn_fail_memory(error) : sn_vocabulary_add(t, path, 256 + id++, (sn_vocabulary_piece){.text = name.data, .length = name.length}, error);
        sn_buf_free(&name);
    }
    return status;
}

/* One merge a line below the header; each makes a piece, and so does an empty line at the end of a short file. */
static sn_status add_merges(sn_chain *c, const char *path, const sn_buf *lines, int64_t *next_id, sn_error *error) {
    const char *at = memchr(lines->data, '\n', lines->length), *end = lines->data + lines->length;
    sn_status status = SN_OK;
    for (int i = 0; at && i < MOST_MERGES && !status; i++, ++*next_id) {
        const char *line = at + 1, *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        const char *blank = memchr(line, ' ', length);
        at = stop;
        if (!length) continue;
        if (!blank) return sn_fail(error, SN_ERROR_INPUT, "%s: line %d: expected two pieces", path, i + 2);
        sn_buf whole = {0};
        sn_buf_add(&whole, line, (size_t)(blank - line));
        sn_buf_add(&whole, blank + 1, length - (size_t)(blank + 1 - line));
        status = whole.failed ? sn_fail_memory(error) : sn_vocabulary_add(c->tokenizer, path, *next_id, (sn_vocabulary_piece){.text = whole.data, .length = whole.length}, error);
        if (!status) status = sn_bpe_merge(c, path, line, (size_t)(blank - line), blank + 1, length - (size_t)(blank + 1 - line), error);
        sn_buf_free(&whole);
    }
    return status;
}

sn_status sn_clip_original_read(sn_tokenizer *t, const char *path, sn_error *error) {
    static const char *const ends[] = {"<|startoftext|>", "<|endoftext|>"};
    sn_buf lines = {0};
    sn_chain *c;
    int64_t id = 512;
    sn_status status = read_lines(path, &lines, error);
    if (!status && !lines.length) status = sn_fail(error, SN_ERROR_INPUT, "%s: the file is empty", path);
    t->file_pieces = (int64_t)lines.length + 1024;
    if (!status) status = sn_chain_new(t, &c, error);
    if (!status) status = add_alphabet(t, path, error);
    if (!status) status = sn_bpe_new(c, path, &(sn_bpe_options){.suffix = "</w>"}, error);
    if (!status) status = add_merges(c, path, &lines, &id, error);
    for (int i = 0; i < 2 && !status; i++, id++) {
        status = sn_vocabulary_add(t, path, id, (sn_vocabulary_piece){.text = ends[i], .length = strlen(ends[i])}, error);
        if (!status) status = sn_bpe_whole_word(c, ends[i], (int32_t)id, error);
    }
    if (!status) status = add_cleaning(c, error);
    if (!status) status = sn_classic_links(c, path, SN_CLASSIC_CLIP_ORIGINAL, false, error);
    sn_buf_free(&lines);
    return status;
}
