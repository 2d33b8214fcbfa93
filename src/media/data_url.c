/* A data URL is read twice by one function: first to count its bytes and find what is wrong, then to write them. */
#include "media/data_url.h"

#include "base/base64.h"

#include <string.h>
#include <strings.h>

bool sn_is_data_url(const char *text) { return strncasecmp(text, "data:", 5) == 0; }

const char *sn_picture_name(const char *path) { return sn_is_data_url(path) ? "data URL" : path; }

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* The byte that begins at *at, which is not the end, written as itself or as %41; behind it afterwards. -1: % without two digits. */
static int next_byte(const char **at) {
    if (**at != '%') return (unsigned char)*(*at)++;
    int high = hex_digit((*at)[1]), low = high < 0 ? -1 : hex_digit((*at)[2]);
    *at += 3;
    return low < 0 ? -1 : high * 16 + low;
}

/* The bytes of the data, their number in *size; with `out` they are written there. */
static sn_status walk(const char *url, const char *data, bool base64, unsigned char *out, size_t *size, sn_error *error) {
    unsigned bits = 0;
    int held = 0, digits = 0, padding = 0; /* bits that are no whole byte yet; digits and '=' of the last group of four */
    size_t count = 0;
    for (const char *at = data; *at;) {
        size_t offset = (size_t)(at - url);
        int byte = next_byte(&at);
        if (byte < 0) return sn_fail(error, SN_ERROR_INPUT, "data URL: byte %zu: found a %% without two hexadecimal digits behind it", offset);
        if (!base64) {
            if (out) out[count] = (unsigned char)byte;
            count++;
            continue;
        }
        if (byte == ' ' || (byte >= '\t' && byte <= '\r')) continue;
        int digit = sn_base64_digit(byte == '-' ? '+' : byte == '_' ? '/' : (char)byte);
        bool pads = byte == '=' && digits > 1 && digits + padding < 4;
        if (!pads && (digit < 0 || padding))
            return sn_fail(error, SN_ERROR_INPUT, "data URL: byte %zu: found %s, expected base64", offset, byte == '=' || padding ? "padding where none belongs" : "a character that is no digit of it");
        padding += pads;
        if (pads) continue;
        bits = (bits << 6 | (unsigned)digit) & 0xfff, held += 6, digits = digits % 4 + 1;
        if (held < 8) continue;
        held -= 8;
        if (out) out[count] = (unsigned char)(bits >> held);
        count++;
    }
    if (digits == 1) return sn_fail(error, SN_ERROR_INPUT, "data URL: its base64 ends within a byte: it was cut off");
    *size = count;
    return SN_OK;
}

/* Whether the last parameter between "data:" and the comma is "base64". */
static bool says_base64(const char *url, const char *comma) {
    const char *end = comma, *begin;
    while (end[-1] == ' ') end--; /* the URL begins with no blank */
    if (end - url < 6 || strncasecmp(end - 6, "base64", 6) != 0) return false;
    for (begin = end - 6; begin[-1] == ' ';) begin--;
    return begin[-1] == ';';
}

sn_status sn_data_url_read(const char *url, size_t limit, unsigned char **bytes, size_t *size, sn_error *error) {
    const char *comma = strchr(url, ',');
    *bytes = NULL, *size = 0;
    if (!sn_is_data_url(url) || !comma) return sn_fail(error, SN_ERROR_INPUT, "data URL: found no comma, expected data:image/png;base64,…");
    bool base64 = says_base64(url, comma);
    sn_status status = walk(url, comma + 1, base64, NULL, size, error);
    if (status) return status;
    if (*size > limit) return sn_fail(error, SN_ERROR_INPUT, "data URL: found %zu bytes, expected at most %zu", *size, limit);
    if (!(*bytes = sn_alloc(*size + 1, 1))) return sn_fail_memory(error);
    return walk(url, comma + 1, base64, *bytes, size, error);
}
