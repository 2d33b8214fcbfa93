/* Small archives and PyTorch files for tests, made entry by entry. */
#ifndef SN_TESTS_MAKE_ZIP_H
#define SN_TESTS_MAKE_ZIP_H

#include "base/file.h"
#include "base/memory.h"

#include <string.h>
#include <zlib.h>

typedef struct made_zip {
    sn_buf file, directory;
    int count;
} made_zip;

static inline void put_little(sn_buf *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) sn_buf_add(to, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

/* Appends an entry: stored bytes as they are, with the method and sizes given. */
static inline void zip_entry(made_zip *z, const char *name, const void *stored, size_t stored_size, int method, size_t size, uint32_t crc) {
    uint64_t at = z->file.length;
    for (int central = 0; central < 2; central++) {
        sn_buf *to = central ? &z->directory : &z->file;
        put_little(to, central ? 0x02014b50 : 0x04034b50, 4);
        if (central) put_little(to, 20, 2);
        put_little(to, 20, 2), put_little(to, 0, 2), put_little(to, (uint64_t)method, 2), put_little(to, 0, 4);
        put_little(to, crc, 4), put_little(to, stored_size, 4), put_little(to, size, 4), put_little(to, strlen(name), 2), put_little(to, 0, 2);
        if (central) put_little(to, 0, 2), put_little(to, 0, 4), put_little(to, 0, 4), put_little(to, at, 4);
        sn_buf_puts(to, name);
        if (!central) sn_buf_add(to, stored, stored_size);
    }
    z->count++;
}

static inline void zip_stored(made_zip *z, const char *name, const void *bytes, size_t size) {
    zip_entry(z, name, bytes, size, 0, size, (uint32_t)crc32(0, bytes, (uInt)size));
}

/* Without the sync of sn_write_file, which tests need not wait for. */
static inline sn_status write_bytes(const char *path, const void *bytes, size_t length, sn_error *error) {
    FILE *f = fopen(path, "wb");
    bool done = f && fwrite(bytes, 1, length, f) == length;
    if (f && fclose(f) != 0) done = false;
    return done ? SN_OK : sn_fail(error, SN_ERROR_IO, "%s: cannot write", path);
}

/* The end record; writes the archive and forgets it. */
static inline sn_status zip_write(made_zip *z, const char *path, sn_error *error) {
    uint64_t at = z->file.length;
    sn_buf_add(&z->file, z->directory.data, z->directory.length);
    put_little(&z->file, 0x06054b50, 4), put_little(&z->file, 0, 4), put_little(&z->file, (uint64_t)z->count, 2), put_little(&z->file, (uint64_t)z->count, 2);
    put_little(&z->file, z->directory.length, 4), put_little(&z->file, at, 4), put_little(&z->file, 0, 2);
    sn_status status = write_bytes(path, z->file.data, z->file.length, error);
    sn_buf_free(&z->file);
    sn_buf_free(&z->directory);
    *z = (made_zip){0};
    return status;
}

/* A .pth whose storage 0 holds six floats, 0 to 5. */
static inline sn_status write_pth(const char *path, const void *pickle, size_t length, sn_error *error) {
    static const float values[6] = {0, 1, 2, 3, 4, 5};
    made_zip z = {0};
    zip_stored(&z, "a/data.pkl", pickle, length);
    zip_stored(&z, "a/data/0", values, sizeof values);
    return zip_write(&z, path, error);
}

/* Pieces of pickles: a reference to storage 0, and a tensor of it with the given pickled size and stride. */
#define PICKLED_STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "0X\3\0\0\0cpuK\6tQ"
#define PICKLED_TENSOR(offset, size, stride) "ctorch._utils\n_rebuild_tensor_v2\n(" PICKLED_STORAGE offset size stride "\x89}tR"

#endif
