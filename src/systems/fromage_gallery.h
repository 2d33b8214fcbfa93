/* The published galleries of FROMAGe, cc3m_embeddings*.pkl: addresses and keys. The keys stay where they
 * are mapped. */
#ifndef SN_SYSTEMS_FROMAGE_GALLERY_H
#define SN_SYSTEMS_FROMAGE_GALLERY_H

#include "base/map.h"
#include "base/file.h"
#include "tensor/weight.h"

typedef struct sn_fromage_gallery {
    sn_mapping file;
    sn_arena *arena;
    sn_weight rows; /* [n, size] */
    float *scale;   /* 1 / norm of each row */
    const char **paths;
} sn_fromage_gallery;

/* size: of the model's queries; a gallery of another width is refused. */
sn_status sn_fromage_gallery_open(const char *path, int64_t size, sn_fromage_gallery *out, sn_error *error);
void sn_fromage_gallery_close(sn_fromage_gallery *gallery);

#endif
