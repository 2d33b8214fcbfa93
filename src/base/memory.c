/* Checked allocation, arenas, byte strings. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The one piece of process-wide state: a test's wish that allocations fail. */
static _Atomic int64_t fail_at;

void sn_memory_fail_at(int64_t n) { atomic_store(&fail_at, n); }

static bool must_fail(void) {
    int64_t left = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (left == 0) return false;
    if (left > 1) {
        atomic_fetch_sub(&fail_at, 1);
        return false;
    }
    return true;
}

void *sn_alloc(size_t count, size_t size) {
    size_t bytes, rounded;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, 63, &rounded)) return NULL;
    if (must_fail()) return NULL;
    rounded &= ~(size_t)63;
    if (rounded == 0) rounded = 64;
    if (rounded >= (size_t)1 << 20) {
        /* Large blocks come from the kernel zeroed; touching them here would make them resident. */
        void *raw = calloc(1, rounded + 64);
        if (!raw) return NULL;
        char *aligned = (char *)(((uintptr_t)raw + 64) & ~(uintptr_t)63);
        memcpy(aligned - sizeof raw, &raw, sizeof raw);
        return aligned;
    }
    char *raw = malloc(rounded + 64);
    if (!raw) return NULL;
    char *aligned = (char *)(((uintptr_t)raw + 64) & ~(uintptr_t)63);
    memcpy(aligned - sizeof raw, &raw, sizeof raw);
    memset(aligned, 0, rounded);
    return aligned;
}

void sn_free(void *memory) {
    if (!memory) return;
    void *raw;
    memcpy(&raw, (char *)memory - sizeof raw, sizeof raw);
    free(raw);
}

void sn_memory_huge(void *memory, size_t bytes) {
    if (bytes < (size_t)32 << 20) return; /* what is rounded up to whole pages would be a large share */
    const uintptr_t page = (uintptr_t)2 << 20;
    uintptr_t begin = ((uintptr_t)memory + page - 1) & ~(page - 1), end = ((uintptr_t)memory + bytes) & ~(page - 1);
    if (end > begin) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

bool sn_grow(void **items, size_t *capacity, size_t need, size_t item_size) {
    if (need <= *capacity) return true;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < need)
        if (__builtin_mul_overflow(wanted, (size_t)2, &wanted)) return false;
    void *grown = sn_alloc(wanted, item_size);
    if (!grown) return false;
    if (*items) memcpy(grown, *items, *capacity * item_size);
    sn_free(*items);
    *items = grown, *capacity = wanted;
    return true;
}

char *sn_strndup(const char *text, size_t length) {
    char *copy = sn_alloc(length + 1, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *sn_strdup(const char *text) { return sn_strndup(text, strlen(text)); }

char *sn_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : sn_alloc((size_t)length + 1, 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(64) char data[];
} chunk;

struct sn_arena {
    chunk *first;
};

enum { CHUNK_SIZE = 1 << 16 };

sn_arena *sn_arena_new(void) { return sn_alloc(1, sizeof(sn_arena)); }

void sn_arena_free(sn_arena *arena) {
    if (!arena) return;
    for (chunk *c = arena->first, *next; c; c = next) {
        next = c->next;
        sn_free(c);
    }
    sn_free(arena);
}

void *sn_arena_alloc(sn_arena *arena, size_t count, size_t size) {
    size_t bytes, rounded;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, 15, &rounded)) return NULL;
    rounded &= ~(size_t)15;
    chunk *c = arena->first;
    if (!c || c->size - c->used < rounded) {
        size_t room = rounded > CHUNK_SIZE / 4 ? rounded : CHUNK_SIZE, total;
        if (__builtin_add_overflow(room, sizeof(chunk), &total)) return NULL;
        chunk *fresh = sn_alloc(1, total);
        if (!fresh) return NULL;
        fresh->size = room;
        if (c && room == rounded) { /* a chunk of its own, behind the one being filled */
            fresh->next = c->next, c->next = fresh;
        } else {
            fresh->next = c, arena->first = fresh;
        }
        c = fresh;
    }
    void *memory = c->data + c->used;
    c->used += rounded;
    return memory;
}

char *sn_arena_strdup(sn_arena *arena, const char *text) {
    size_t length = strlen(text) + 1;
    char *copy = sn_arena_alloc(arena, length, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *sn_arena_format(sn_arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : sn_arena_alloc(arena, (size_t)length + 1, 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void sn_buf_free(sn_buf *buf) {
    sn_free(buf->data);
    *buf = (sn_buf){0};
}

void sn_buf_add(sn_buf *buf, const void *bytes, size_t length) {
    size_t need;
    if (buf->failed || __builtin_add_overflow(buf->length, length + 1, &need) ||
        !sn_grow((void **)&buf->data, &buf->capacity, need, 1)) {
        buf->failed = true;
        return;
    }
    if (length) memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = 0;
}

void sn_buf_puts(sn_buf *buf, const char *text) { sn_buf_add(buf, text, strlen(text)); }

void sn_buf_printf(sn_buf *buf, const char *format, ...) {
    char small[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buf->failed = true;
    } else if ((size_t)length < sizeof small) {
        sn_buf_add(buf, small, (size_t)length);
    } else {
        char *large = sn_alloc((size_t)length + 1, 1);
        if (!large) {
            buf->failed = true;
            return;
        }
        va_start(arguments, format);
        vsnprintf(large, (size_t)length + 1, format, arguments);
        va_end(arguments);
        sn_buf_add(buf, large, (size_t)length);
        sn_free(large);
    }
}
