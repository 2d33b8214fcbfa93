/* Memory: checked sizes, arenas for what dies together, growable byte strings.
 *
 * Every allocation of the library goes through sn_alloc, where a test can make the n-th one fail. */
#ifndef SN_BASE_MEMORY_H
#define SN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for count things of size bytes, 64-byte aligned; NULL when it cannot be had or the
 * product overflows. Freed by sn_free. */
void *sn_alloc(size_t count, size_t size);
void sn_free(void *memory);
/* Asks for pages of 2 MiB in a block that is worth it: what is read through often then costs fewer walks of the page
 * table. Only advice: the kernel may refuse. */
void sn_memory_huge(void *memory, size_t bytes);

/* Resizes an array that sn_grow made (start with NULL): doubles *capacity until it holds `need` items. */
bool sn_grow(void **items, size_t *capacity, size_t need, size_t item_size);

char *sn_strdup(const char *text);
char *sn_strndup(const char *text, size_t length);
char *sn_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For tests: the n-th allocation from now fails (1 = the next one), and those after it; 0 = off. */
void sn_memory_fail_at(int64_t n);

/* An arena: many small allocations, one free. Pointers stay valid until the arena is freed or reset. */
typedef struct sn_arena sn_arena;
sn_arena *sn_arena_new(void);
void sn_arena_free(sn_arena *arena);
void *sn_arena_alloc(sn_arena *arena, size_t count, size_t size);
char *sn_arena_strdup(sn_arena *arena, const char *text);
char *sn_arena_format(sn_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A growable byte string, NUL-terminated behind its length. A failed growth is remembered in `failed`
 * and read once at the end. Zero-initialise; sn_buf_free when done. */
typedef struct sn_buf {
    char *data;
    size_t length, capacity;
    bool failed;
} sn_buf;

void sn_buf_free(sn_buf *buf);
void sn_buf_add(sn_buf *buf, const void *bytes, size_t length);
void sn_buf_puts(sn_buf *buf, const char *text);
void sn_buf_printf(sn_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
