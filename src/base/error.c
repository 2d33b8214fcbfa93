/* One line for a person, whatever the bytes it was made from. */
#include "base/error.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Replaces control characters and invalid UTF-8 by '?', in place. */
static void make_printable(char *text) {
    size_t length = strlen(text), at = 0;
    while (at < length) {
        uint32_t point;
        int bytes = sn_utf8_decode(text + at, length - at, &point);
        if (bytes == 0) {
            text[at++] = '?';
        } else {
            if (point < 0x20 || (point >= 0x7f && point < 0xa0)) memset(text + at, '?', (size_t)bytes);
            at += (size_t)bytes;
        }
    }
}

static void fill(sn_error *error, const char *format, va_list arguments) {
    vsnprintf(error->message, sizeof error->message, format, arguments);
    make_printable(error->message);
}

sn_status sn_fail(sn_error *error, sn_status status, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        fill(error, format, arguments);
        va_end(arguments);
        error->status = status;
    }
    return status;
}

sn_status sn_fail_prefix(sn_error *error, const char *format, ...) {
    if (!error) return SN_ERROR_INPUT;
    char before[sizeof error->message];
    memcpy(before, error->message, sizeof before);
    va_list arguments;
    va_start(arguments, format);
    fill(error, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->message);
    snprintf(error->message + used, sizeof error->message - used, ": %s", before);
    make_printable(error->message);
    return error->status;
}

sn_status sn_fail_memory(sn_error *error) {
    return sn_fail(error, SN_ERROR_MEMORY, "out of memory; a smaller context or picture needs less");
}
