/* Three bytes are four digits of six bits. */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int sn_base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void sn_base64_add(sn_buf *out, const void *data, size_t count) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i < 3 ? count - i : 3;
        unsigned value = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        char four[4] = {digits[value >> 18], digits[value >> 12 & 63], left > 1 ? digits[value >> 6 & 63] : '=', left > 2 ? digits[value & 63] : '='};
        sn_buf_add(out, four, 4);
    }
}

bool sn_base64_read(const char *text, size_t length, void *data, size_t count) {
    unsigned char *bytes = data;
    if (length % 4 || length / 4 != count / 3 + (count % 3 != 0)) return false;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i < 3 ? count - i : 3;
        unsigned value = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = text[i / 3 * 4 + k];
            int digit = k <= left ? sn_base64_digit(c) : 0;
            if (k <= left ? digit < 0 : c != '=') return false;
            value = value << 6 | (unsigned)digit;
        }
        for (size_t k = 0; k < left; k++) bytes[i + k] = (unsigned char)(value >> (16 - 8 * k));
    }
    return true;
}
