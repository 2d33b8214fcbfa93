/* Zip archives, as far as .pth and .npz files need them: stored and deflated entries, zip64. */
#ifndef SN_WEIGHTS_ZIP_H
#define SN_WEIGHTS_ZIP_H

#include "base/file.h"

typedef struct sn_zip_entry {
    const char *name;
    const unsigned char *data; /* as it lies in the archive */
    int64_t stored, size;      /* bytes in the archive, bytes inflated */
    uint32_t crc;
    bool deflated;
    bool checked;            /* the CRC was compared once */
    unsigned char *inflated; /* made by sn_zip_bytes */
} sn_zip_entry;

typedef struct sn_zip sn_zip;

/* The archive must lie in memory as long as the zip is used. `path` names it in errors. */
sn_status sn_zip_open(const char *path, const unsigned char *data, size_t size, sn_zip **out, sn_error *error);
void sn_zip_close(sn_zip *zip);
size_t sn_zip_count(const sn_zip *zip);
const sn_zip_entry *sn_zip_entry_at(const sn_zip *zip, size_t i);
const sn_zip_entry *sn_zip_find(const sn_zip *zip, const char *name);

/* The entry's bytes: in the archive, or inflated once and kept until the zip is closed. The CRC is checked the first
 * time. Safe from several threads. */
sn_status sn_zip_bytes(const sn_zip *zip, const sn_zip_entry *entry, const unsigned char **out, sn_error *error);

/* The first `count` bytes of an entry (fewer where it is shorter): to read a header. No CRC. */
sn_status sn_zip_peek(const sn_zip *zip, const sn_zip_entry *entry, void *to, int64_t count, int64_t *got, sn_error *error);

/* The entry's bytes into `to`, which holds entry->size; the CRC is checked. */
sn_status sn_zip_read(const sn_zip *zip, const sn_zip_entry *entry, void *to, sn_error *error);

#endif
