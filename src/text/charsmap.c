/* u32 n, n bytes of trie units, then replacements that end in NUL. */
#include "text/charsmap.h"

#include "text/unicode.h"

#include <string.h>

struct sn_charsmap {
    uint32_t *units;
    size_t num_units;
    char *replacements;
    size_t size;
};

static uint32_t read_u32(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

void sn_charsmap_close(sn_charsmap *m) {
    if (!m) return;
    sn_free(m->units);
    sn_free(m->replacements);
    sn_free(m);
}

sn_status sn_charsmap_open(const char *where, const unsigned char *bytes, size_t size, sn_charsmap **out, sn_error *error) {
    *out = NULL;
    size_t n = size >= 4 ? read_u32(bytes) : 0;
    if (size < 4 || n % 4 || n < 4 || n > size - 4) return sn_fail(error, SN_ERROR_INPUT, "%s: the normalisation map of %zu bytes is broken", where, size);
    size_t rest = size - 4 - n;
    if (rest && bytes[size - 1] != 0) return sn_fail(error, SN_ERROR_INPUT, "%s: the replacements of the normalisation map do not end", where);
    sn_charsmap *m = sn_alloc(1, sizeof *m);
    if (!m) return sn_fail_memory(error);
    m->num_units = n / 4, m->size = rest;
    m->units = sn_alloc(m->num_units, sizeof *m->units);
    m->replacements = sn_alloc(rest + 1, 1);
    if (!m->units || !m->replacements) {
        sn_charsmap_close(m);
        return sn_fail_memory(error);
    }
    for (size_t i = 0; i < m->num_units; i++) m->units[i] = read_u32(bytes + 4 + 4 * i);
    memcpy(m->replacements, bytes + 4 + n, rest);
    *out = m;
    return SN_OK;
}

static int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

sn_status sn_charsmap_open_base64(const char *where, const char *text, size_t length, sn_charsmap **out, sn_error *error) {
    *out = NULL;
    while (length && text[length - 1] == '=') length--;
    unsigned char *bytes = sn_alloc(length / 4 * 3 + 4, 1);
    if (!bytes) return sn_fail_memory(error);
    size_t size = 0;
    uint32_t bits = 0;
    sn_status status = SN_OK;
    for (size_t i = 0; i < length && !status; i++) {
        int six = sextet(text[i]);
        if (six < 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: precompiled_charsmap is no base64", where);
        bits = bits << 6 | ((uint32_t)six & 63);
        if (i % 4) bytes[size++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    if (!status) status = sn_charsmap_open(where, bytes, size, out, error);
    sn_free(bytes);
    return status;
}

static size_t jump(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 0x200) >> 6); }

const char *sn_charsmap_find(const sn_charsmap *m, const char *text, size_t length, bool longest, size_t *used) {
    const char *found = NULL;
    size_t at = jump(m->units[0]);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        at ^= c;
        if (c == 0 || at >= m->num_units) break;
        uint32_t unit = m->units[at];
        if ((unit & 0x800000ff) != c) break;
        at ^= jump(unit);
        if (at >= m->num_units) break;
        if (!(unit >> 8 & 1)) continue;
        size_t value = m->units[at] & 0x7fffffff;
        if (value >= m->size) break;
        found = m->replacements + value, *used = i + 1;
        if (!longest) break;
    }
    return found;
}

void sn_charsmap_by_grapheme(const sn_charsmap *m, const char *text, size_t length, sn_buf *out) {
    for (size_t at = 0; at < length;) {
        size_t size = sn_grapheme(text + at, length - at), used, end = at + size;
        const char *whole = size < 6 ? sn_charsmap_find(m, text + at, size, false, &used) : NULL;
        if (whole) {
            sn_buf_puts(out, whole);
            at = end;
        }
        while (at < end) {
            size_t from = at;
            sn_next_point(text, end, &at);
            const char *one = sn_charsmap_find(m, text + from, at - from, false, &used);
            if (one) sn_buf_puts(out, one);
            else sn_buf_add(out, text + from, at - from);
        }
    }
}
