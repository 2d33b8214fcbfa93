/* BMP: the header's many versions, colour tables, bit fields, and run lengths of 4 and 8 bits. Small enough to be ours. */
#include "media/formats.h"

#include <string.h>

enum { FILE_HEADER = 14, PLAIN = 0, RUNS_8 = 1, RUNS_4 = 2, FIELDS = 3, ALPHA_FIELDS = 6 };

typedef struct bitmap {
    const char *where;
    const unsigned char *bytes;
    size_t size, pixels; /* `pixels` is where they begin */
    int64_t width, height;
    bool from_top;
    unsigned bits, compression;
    uint32_t masks[4];       /* red, green, blue, alpha; of 16 and 32 bits a pixel */
    uint8_t colors[256][3];  /* entries that the file does not give are black */
} bitmap;

static uint32_t number(const unsigned char *p, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)p[i] << 8 * i;
    return value;
}

static sn_status ends_early(const bitmap *b, sn_error *error) { return sn_fail(error, SN_ERROR_INPUT, "%s: broken BMP: the file ends early", b->where); }

/* Masks stand behind the 40 bytes that every header has, whether it counts them or they follow it. */
static int num_masks(const bitmap *b, size_t header) {
    if (b->compression == ALPHA_FIELDS) return 4;
    return b->compression != FIELDS ? 0 : header >= 56 ? 4 : 3;
}

static void read_masks(bitmap *b, int count) {
    static const uint32_t masks_16[4] = {0x7c00, 0x03e0, 0x001f}, masks_32[4] = {0xff0000, 0x00ff00, 0x0000ff};
    memcpy(b->masks, b->bits == 16 ? masks_16 : masks_32, sizeof b->masks);
    for (int i = 0; i < count; i++) b->masks[i] = number(b->bytes + FILE_HEADER + 40 + 4 * i, 4);
}

static sn_status read_header(bitmap *b, sn_error *error) {
    static const unsigned known_bits[] = {1, 4, 8, 16, 24, 32};
    if (b->size < FILE_HEADER + 12) return ends_early(b, error);
    size_t header = number(b->bytes + 14, 4), table;
    const unsigned char *p = b->bytes + FILE_HEADER;
    bool core = header == 12;
    b->pixels = number(b->bytes + 10, 4);
    if (!core && (header < 40 || header > 124)) return sn_fail(error, SN_ERROR_INPUT, "%s: broken BMP: found a header of %zu bytes, expected 12 or 40 to 124", b->where, header);
    if (b->size < FILE_HEADER + header) return ends_early(b, error);
    b->width = (int32_t)number(p + 4, core ? 2 : 4);
    b->height = (int32_t)number(p + (core ? 6 : 8), core ? 2 : 4);
    b->from_top = b->height < 0;
    if (b->from_top) b->height = -b->height;
    b->bits = number(p + (core ? 10 : 14), 2);
    b->compression = core ? PLAIN : number(p + 16, 4);
    bool known = false, masked = b->compression == FIELDS || b->compression == ALPHA_FIELDS;
    for (size_t i = 0; i < sizeof known_bits / sizeof *known_bits; i++) known |= known_bits[i] == b->bits;
    if (!known || (b->compression != PLAIN && !(b->compression == RUNS_8 && b->bits == 8) && !(b->compression == RUNS_4 && b->bits == 4) && !(masked && b->bits % 16 == 0)) ||
        (b->from_top && (b->compression == RUNS_8 || b->compression == RUNS_4)))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: found a BMP of %u bits a pixel with compression %u, expected 1 to 32 bits, plain or run lengths of 4 or 8", b->where, b->bits,
                       b->compression);
    size_t behind_masks = 40 + 4 * (size_t)num_masks(b, header);
    table = FILE_HEADER + (masked && behind_masks > header ? behind_masks : header);
    if (b->size < table) return ends_early(b, error);
    if (b->bits == 16 || b->bits == 32) read_masks(b, num_masks(b, header));
    if (b->bits > 8) return SN_OK;
    size_t entry = core ? 3 : 4, count = core ? 0 : number(p + 32, 4);
    if (count == 0 || count > 1u << b->bits) count = 1u << b->bits;
    for (size_t i = 0; i < count && table + (i + 1) * entry <= b->size; i++)
        for (size_t c = 0; c < 3; c++) b->colors[i][c] = b->bytes[table + i * entry + 2 - c];
    return SN_OK;
}

static uint8_t field(uint32_t value, uint32_t mask) {
    if (!mask) return 0;
    int shift = __builtin_ctz(mask);
    return (uint8_t)((uint64_t)((value & mask) >> shift) * 255 / (mask >> shift));
}

static void plain_row(const bitmap *b, const unsigned char *from, int channels, uint8_t *to) {
    for (int64_t x = 0; x < b->width; x++, to += channels) {
        if (b->bits <= 8) {
            unsigned per_byte = 8 / b->bits, shift = 8 - b->bits * (1 + (unsigned)x % per_byte);
            memcpy(to, b->colors[from[x / per_byte] >> shift & ((1u << b->bits) - 1)], 3);
        } else if (b->bits == 24) {
            for (int c = 0; c < 3; c++) to[c] = from[3 * x + 2 - c];
        } else {
            uint32_t value = number(from + x * (b->bits / 8), (int)b->bits / 8);
            for (int c = 0; c < channels; c++) to[c] = field(value, b->masks[c]);
        }
    }
}

static uint8_t *row_of(const bitmap *b, const sn_image *out, int64_t y) {
    return out->pixels + (size_t)(b->from_top ? y : b->height - 1 - y) * (size_t)out->width * (size_t)out->channels;
}

/* Run lengths: (count, value), or 0 and: 0 end of row, 1 end of picture, 2 a step of (dx, dy), n >= 3 as many plain values. */
static bool run_lengths(const bitmap *b, sn_image *out) {
    const unsigned char *p = b->bytes + b->pixels, *end = b->bytes + b->size;
    unsigned per_byte = 8 / b->bits;
    int64_t x = 0, y = 0;
    for (size_t i = 0, count = (size_t)b->width * (size_t)b->height; i < count; i++) memcpy(out->pixels + 3 * i, b->colors[0], 3);
    while (y < b->height) {
        if (end - p < 2) return false;
        unsigned count = p[0], code = p[1];
        p += 2;
        if (count == 0 && code == 1) return true;
        if (count == 0 && code == 0) {
            x = 0, y++;
        } else if (count == 0 && code == 2) {
            if (end - p < 2) return false;
            x += p[0], y += p[1], p += 2;
        } else {
            bool run = count > 0;
            size_t length = run ? 0 : (code + per_byte - 1) / per_byte;
            if (!run) count = code;
            if ((size_t)(end - p) < length) return false;
            for (unsigned i = 0; i < count; i++, x++) {
                unsigned byte = run ? code : p[i / per_byte], index = per_byte == 1 ? byte : i % 2 ? byte & 15 : byte >> 4;
                if (x < b->width) memcpy(row_of(b, out, y) + 3 * x, b->colors[index], 3);
            }
            p += length + length % 2;
            if (p > end) p = end;
        }
    }
    return true;
}

sn_status sn_bmp_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                        sn_error *error) {
    (void)options;
    bitmap b = {.where = where, .bytes = bytes, .size = size};
    sn_status status = read_header(&b, error);
    if (status) return status;
    bool runs = b.compression == RUNS_8 || b.compression == RUNS_4;
    size_t stride = ((size_t)b.width * b.bits + 31) / 32 * 4, total;
    if (b.pixels > size || (!runs && b.width > 0 && (__builtin_mul_overflow(stride, (size_t)b.height, &total) || total > size - b.pixels))) {
        status = sn_image_check(where, b.width, b.height, error); /* an absurd size is the better message */
        return status ? status : ends_early(&b, error);
    }
    if ((status = sn_image_new(where, b.width, b.height, b.masks[3] ? 4 : 3, out, error))) return status;
    for (int64_t y = 0; y < b.height && !runs; y++) plain_row(&b, bytes + b.pixels + (size_t)y * stride, out->channels, row_of(&b, out, y));
    if (runs && !run_lengths(&b, out)) status = ends_early(&b, error);
    if (status) sn_image_free(out);
    return status;
}
