/* Writing goes row by row through the file descriptor and reading through a mapping; both see the same pages. The order
 * of a commit is rows, sync, header, sync: whenever the machine stops, the header counts only rows that are whole. */
#include "vectors/file.h"

#include "base/map.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'S', 'N', 'V', 'E', 'C', 'T', 'O', 'R'};
static const sn_type types[] = {SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16};
enum { NUM_TYPES = sizeof types / sizeof *types, VERSION = 1 };

typedef struct header {
    char magic[8];
    uint32_t version, type;
    uint64_t width, rows, identity[2], reserved, checksum;
} header;
_Static_assert(sizeof(header) == SN_VECTOR_HEADER, "the header's fields leave no gaps");

static uint64_t checksum(const header *h) { return sn_hash(h, offsetof(header, checksum), 0); }

static int64_t row_bytes(const sn_vectors *v) { return v->width * sn_type_of(v->type)->bytes; }
static int64_t row_place(const sn_vectors *v, int64_t row) { return SN_VECTOR_HEADER + row * row_bytes(v); }

static sn_status cannot(const sn_vectors *v, const char *what, sn_error *error) {
    return sn_fail(error, SN_ERROR_IO, "%s: cannot %s: %s", v->path, what, strerror(errno));
}

static sn_status write_at(const sn_vectors *v, const void *bytes, size_t length, int64_t place, sn_error *error) {
    const char *p = bytes;
    while (length) {
        ssize_t n = pwrite(v->fd, p, length, place);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return cannot(v, "write", error);
        p += n, length -= (size_t)n, place += n;
    }
    return SN_OK;
}

static sn_status write_header(const sn_vectors *v, sn_error *error) {
    header h = {.version = VERSION, .width = (uint64_t)v->width, .rows = (uint64_t)v->rows, .identity = {v->identity[0], v->identity[1]}};
    memcpy(h.magic, magic, sizeof magic);
    for (uint32_t i = 0; i < NUM_TYPES; i++)
        if (types[i] == v->type) h.type = i;
    h.checksum = checksum(&h);
    sn_status status = write_at(v, &h, sizeof h, 0, error);
    return status ? status : fsync(v->fd) == 0 ? SN_OK : cannot(v, "write", error);
}

static sn_status read_header(sn_vectors *v, const header *h, int64_t size, sn_error *error) {
    if (size < SN_VECTOR_HEADER || memcmp(h->magic, magic, sizeof magic) != 0) return sn_fail(error, SN_ERROR_INPUT, "%s: not a file of vectors", v->path);
    if (h->version != VERSION) return sn_fail(error, SN_ERROR_SUPPORT, "%s: version: found %u, expected %d", v->path, h->version, VERSION);
    if (h->checksum != checksum(h)) return sn_fail(error, SN_ERROR_INPUT, "%s: the header's checksum does not fit the header: the file is damaged", v->path);
    if (h->type >= NUM_TYPES || h->width < 1 || h->width > SN_MAX_VECTOR_WIDTH || h->rows > INT64_MAX / 8)
        return sn_fail(error, SN_ERROR_INPUT, "%s: type, width or rows: found %u, %llu, %llu", v->path, h->type, (unsigned long long)h->width, (unsigned long long)h->rows);
    v->type = types[h->type], v->width = (int64_t)h->width, v->rows = (int64_t)h->rows;
    memcpy(v->identity, h->identity, sizeof v->identity);
    int64_t want;
    if (__builtin_mul_overflow(v->rows, row_bytes(v), &want) || want > size - SN_VECTOR_HEADER)
        return sn_fail(error, SN_ERROR_INPUT, "%s: truncated: found %lld bytes, expected %lld rows of %lld bytes behind a header of %d", v->path, (long long)size, (long long)v->rows,
                       (long long)row_bytes(v), SN_VECTOR_HEADER);
    return SN_OK;
}

static sn_status create_file(const char *path, int64_t width, sn_vectors *v, sn_error *error) {
    if (width < 1 || width > SN_MAX_VECTOR_WIDTH) return sn_fail(error, SN_ERROR_INPUT, "%s: width: found %lld, expected 1 to %d", path, (long long)width, SN_MAX_VECTOR_WIDTH);
    if (getrandom(v->identity, sizeof v->identity, 0) != sizeof v->identity) return cannot(v, "draw an identity", error);
    v->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (v->fd < 0) return cannot(v, "make", error);
    sn_status status = write_header(v, error);
    if (status) unlink(path);
    return status;
}

sn_status sn_vectors_create(const char *path, sn_type type, int64_t width, sn_vectors *v, sn_error *error) {
    *v = (sn_vectors){.fd = -1, .path = sn_strdup(path), .type = type, .width = width};
    sn_status status = v->path ? create_file(path, width, v, error) : sn_fail_memory(error);
    if (status) sn_vectors_close(v);
    return status;
}

static sn_status open_file(const char *path, bool write, sn_vectors *v, sn_error *error) {
    struct stat info;
    header h = {0};
    int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return cannot(v, write ? "open for writing" : "open", error);
    v->fd = fd;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return sn_fail(error, SN_ERROR_IO, "%s: expected a regular file", path);
    if (pread(fd, &h, sizeof h, 0) < 0) return cannot(v, "read", error);
    return read_header(v, &h, info.st_size, error);
}

sn_status sn_vectors_open(const char *path, bool write, sn_vectors *v, sn_error *error) {
    *v = (sn_vectors){.fd = -1, .path = sn_strdup(path)};
    sn_status status = v->path ? open_file(path, write, v, error) : sn_fail_memory(error);
    if (!status && !write) { /* a reader needs the mapping alone */
        sn_weight unused;
        status = sn_vectors_map(v, &unused, error);
        close(v->fd);
        v->fd = -1;
    }
    if (status) sn_vectors_close(v);
    return status;
}

void sn_vectors_close(sn_vectors *v) {
    sn_unmap_file(&v->mapping);
    if (v->fd >= 0) close(v->fd);
    sn_free(v->path);
    *v = (sn_vectors){.fd = -1};
}

static sn_status write_rows(sn_vectors *v, int64_t row, const float *values, int64_t count, sn_error *error) {
    if (v->fd < 0) return sn_fail(error, SN_ERROR_USAGE, "%s: opened for reading", v->path);
    for (int64_t i = 0; i < count * v->width; i++)
        if (!isfinite(values[i])) return sn_fail(error, SN_ERROR_NUMERIC, "%s: row %lld: found a value that is not finite", v->path, (long long)(row + i / v->width));
    if (v->type == SN_TYPE_F32) return write_at(v, values, (size_t)(count * row_bytes(v)), row_place(v, row), error);
    void *stored = sn_alloc((size_t)count, (size_t)row_bytes(v));
    if (!stored) return sn_fail_memory(error);
    sn_type_of(v->type)->from_float(values, stored, count * v->width);
    sn_status status = write_at(v, stored, (size_t)(count * row_bytes(v)), row_place(v, row), error);
    sn_free(stored);
    return status;
}

sn_status sn_vectors_append(sn_vectors *v, const float *rows, int64_t count, sn_error *error) {
    int64_t bytes, end;
    if (count < 0 || __builtin_mul_overflow(count, row_bytes(v), &bytes) || __builtin_add_overflow(row_place(v, v->rows), bytes, &end))
        return sn_fail(error, SN_ERROR_INPUT, "%s: too many rows", v->path);
    sn_status status = write_rows(v, v->rows, rows, count, error);
    if (!status) v->rows += count;
    return status;
}

sn_status sn_vectors_put(sn_vectors *v, int64_t row, const float *values, sn_error *error) {
    if (row < 0 || row >= v->rows) return sn_fail(error, SN_ERROR_INPUT, "%s: row: found %lld, expected below %lld", v->path, (long long)row, (long long)v->rows);
    return write_rows(v, row, values, 1, error);
}

sn_status sn_vectors_sync(sn_vectors *v, sn_error *error) {
    if (fsync(v->fd) != 0) return cannot(v, "write", error);
    return write_header(v, error);
}

sn_status sn_vectors_cut(sn_vectors *v, int64_t rows, sn_error *error) {
    if (rows < 0 || rows > v->rows) return sn_fail(error, SN_ERROR_INPUT, "%s: rows: found %lld, expected %lld", v->path, (long long)v->rows, (long long)rows);
    sn_unmap_file(&v->mapping);
    v->rows = rows;
    sn_status status = write_header(v, error);
    return status ? status : ftruncate(v->fd, row_place(v, rows)) == 0 ? SN_OK : cannot(v, "cut", error);
}

sn_status sn_vectors_map(sn_vectors *v, sn_weight *out, sn_error *error) {
    size_t need = (size_t)row_place(v, v->rows);
    if (v->mapping.size < need) {
        sn_unmap_file(&v->mapping);
        sn_status status = sn_map_file(v->path, &v->mapping, error);
        if (status) return status;
        if (v->mapping.size < need) return sn_fail(error, SN_ERROR_INPUT, "%s: truncated while it was open", v->path);
    }
    *out = sn_weight_view(v->type, SN_SHAPE(v->rows, v->width), v->mapping.data + SN_VECTOR_HEADER);
    return SN_OK;
}
