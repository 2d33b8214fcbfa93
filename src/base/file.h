/* Files: mapped for reading, written aside and renamed. */
#ifndef SN_BASE_FILE_H
#define SN_BASE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* A file mapped read-only. Mapped files are assumed not to shrink while they are open (docs/security.md). */
typedef struct sn_mapping {
    const unsigned char *data;
    size_t size;
} sn_mapping;

sn_status sn_map_file(const char *path, sn_mapping *out, sn_error *error);
void sn_unmap_file(sn_mapping *mapping);

/* Whole file in memory with a NUL behind it; refused beyond limit bytes. Freed by sn_free. */
sn_status sn_read_file(const char *path, size_t limit, char **data, size_t *size, sn_error *error);

bool sn_is_directory(const char *path);
bool sn_is_file(const char *path);

/* directory + "/" + name, allocated; NULL without memory. */
char *sn_path_join(const char *directory, const char *name);
/* The part before the last slash ("." if there is none), allocated. */
char *sn_path_parent(const char *path);
/* The part behind the last slash that is not at the end, allocated. */
char *sn_path_name(const char *path);

/* A file that appears whole or not at all: written beside its place, synced, renamed at commit.
 * close after a failed or missing commit removes it. */
typedef struct sn_output sn_output;
sn_status sn_output_open(const char *path, sn_output **out, sn_error *error);
sn_status sn_output_write(sn_output *out, const void *bytes, size_t length, sn_error *error);
sn_status sn_output_commit(sn_output *out, sn_error *error);
void sn_output_close(sn_output *out);

/* The same for bytes at hand. */
sn_status sn_write_file(const char *path, const void *bytes, size_t length, sn_error *error);

/* For tests: the n-th write from now fails as a full disk would; 0 = off. */
void sn_output_fail_at(int64_t n);

#endif
