/* One sample as it was read, and where samples lie in a file. */
#ifndef SN_DATA_RECORD_H
#define SN_DATA_RECORD_H

#include "base/json.h"
#include "base/memory.h"

enum { SN_RECORD_PICTURES = 64 };

typedef struct sn_record {
    json_t *object; /* id, image, conversations */
    struct {
        char *bytes; /* an encoded picture that the data set itself holds, in the order of object's "image"; NULL = left there */
        size_t size;
    } pictures[SN_RECORD_PICTURES];
    int num_pictures; /* 0: "image" are paths of files */
} sn_record;
void sn_record_free(sn_record *record);

/* A conversation of one answer; NULL where a text is not UTF-8. */
json_t *sn_captioned(const char *id, json_t *image, const char *caption);

/* Where a sample lies; number: its line, or its place in a shard, from 1. */
typedef struct sn_stretch {
    uint64_t offset;
    uint32_t length, number;
} sn_stretch;

typedef struct sn_stretches {
    sn_stretch *items;
    size_t count, capacity;
} sn_stretches;

sn_status sn_stretch_add(sn_stretches *all, const char *path, size_t offset, size_t length, size_t number, sn_error *error);

/* The samples of a mapped file of each form, added to `all`; and one of them, with or without the bytes of its pictures.
 * `path` names the file in errors. */
sn_status sn_list_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error);
sn_status sn_lines_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error);
sn_status sn_tabs_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error);
sn_status sn_shard_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error);
sn_status sn_object_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error);
sn_status sn_tabs_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error);
sn_status sn_shard_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error);

#endif
