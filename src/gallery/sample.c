/* A model known again in another weight type: some values of each weight, which may differ by no more than what the two types
 * round off. */
#include "gallery/private.h"

#include "base/map.h"

#include <math.h>
#include <string.h>

enum { SAMPLED_VALUES = 32 };

/* Of each weight in the sample: what it is called, how it is stored, the first values of its first row (a block of the types
 * that store blocks). */
typedef struct record {
    uint64_t name;
    uint32_t type, count;
    float values[SAMPLED_VALUES];
} record;

void sn_sample_add(sn_buf *out, const char *name, const sn_weight *weight, const float *row) {
    static const char digits[] = "0123456789abcdef";
    record r = {.name = sn_hash(name, strlen(name), 0), .type = weight->type, .count = (uint32_t)(weight->columns < SAMPLED_VALUES ? weight->columns : SAMPLED_VALUES)};
    memcpy(r.values, row, r.count * sizeof *row);
    const unsigned char *bytes = (const unsigned char *)&r;
    for (size_t i = 0; i < sizeof r; i++) sn_buf_add(out, (char[]){digits[bytes[i] >> 4], digits[bytes[i] & 15]}, 2);
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0; }

static void read_sample(const char *text, record *r) {
    unsigned char *bytes = (unsigned char *)r;
    for (size_t i = 0; i < sizeof *r; i++) bytes[i] = (unsigned char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    if (r->count > SAMPLED_VALUES) r->count = 0;
}

/* How far a stored value can be from the one it was made of; largest: in its block. Negative for types that are not told. */
static double rounding(uint32_t type, double value, double largest) {
    switch (type) {
    case SN_TYPE_F32: return 0;
    case SN_TYPE_F16: return fabs(value) / 2048 + 0x1p-24;
    case SN_TYPE_BF16: return fabs(value) / 256;
    case SN_TYPE_Q8_0: return largest / 254 + largest / 1024;
    default: return -1;
    }
}

static bool record_agrees(const record *a, const record *b) {
    double largest = 0;
    if (a->name != b->name || a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++) largest = fmax(largest, fmax(fabs((double)a->values[i]), fabs((double)b->values[i])));
    for (uint32_t i = 0; i < a->count; i++) {
        double x = (double)a->values[i], y = (double)b->values[i], of_a = rounding(a->type, x, largest), of_b = rounding(b->type, y, largest);
        if (of_a < 0 || of_b < 0 || !(fabs(x - y) <= (of_a + of_b) * 1.01)) return false;
    }
    return true;
}

bool sn_sample_agrees(const char *a, const char *b) {
    size_t length = strlen(a);
    record left, right;
    if (length != strlen(b) || !length || length % (2 * sizeof left)) return false;
    for (size_t at = 0; at < length; at += 2 * sizeof left) {
        read_sample(a + at, &left);
        read_sample(b + at, &right);
        if (!record_agrees(&left, &right)) return false;
    }
    return true;
}
