/* A file of vectors: rows of one width and type behind a header, mapped for reading, growing at its end.
 *
 *   offset 0   magic "SNVECTOR", version u32 = 1, type u32 (0 f32, 1 f16, 2 bf16)
 *          16  width u64, rows u64
 *          32  identity u64, u64: drawn when the file is made; who refers to rows remembers it
 *          48  reserved (0) u64, checksum u64 of the 56 bytes before it
 *          64  rows, one behind the other, little-endian
 *
 * Bytes behind the last row that the header counts are what an interrupted writer left; they are ignored and
 * overwritten. A file that is shorter than its header says is refused. */
#ifndef SN_VECTORS_FILE_H
#define SN_VECTORS_FILE_H

#include "base/file.h"
#include "tensor/weight.h"

enum { SN_VECTOR_HEADER = 64, SN_MAX_VECTOR_WIDTH = 1 << 20 };

typedef struct sn_vectors {
    char *path;
    sn_type type; /* f32, f16 or bf16 */
    int64_t width, rows;
    uint64_t identity[2];
    int fd;             /* of a file opened for writing, else -1 */
    sn_mapping mapping; /* of the rows that were there when it was opened or mapped again */
} sn_vectors;

/* Makes an empty file; one that is there already is refused. */
sn_status sn_vectors_create(const char *path, sn_type type, int64_t width, sn_vectors *out, sn_error *error);
sn_status sn_vectors_open(const char *path, bool write, sn_vectors *out, sn_error *error);
void sn_vectors_close(sn_vectors *vectors);

/* rows [count, width] behind the last one, or over rows that are there already. Not finite: refused, nothing is written.
 * Nothing counts before sn_vectors_sync has put the rows, then the header, on the disk. */
sn_status sn_vectors_append(sn_vectors *vectors, const float *rows, int64_t count, sn_error *error);
sn_status sn_vectors_put(sn_vectors *vectors, int64_t row, const float *values, sn_error *error);
sn_status sn_vectors_sync(sn_vectors *vectors, sn_error *error);

/* Forgets rows at the end. */
sn_status sn_vectors_cut(sn_vectors *vectors, int64_t rows, sn_error *error);

/* The rows as a matrix, valid until the next call for this file. */
sn_status sn_vectors_map(sn_vectors *vectors, sn_weight *out, sn_error *error);

#endif
