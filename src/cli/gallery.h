/* What the commands over galleries share. */
#ifndef SN_CLI_GALLERY_H
#define SN_CLI_GALLERY_H

#include "cli/arguments.h"
#include "gallery/gallery.h"

/* A model opened for its vectors, with the engine it runs in. */
typedef struct sn_gallery_opened {
    sn_engine *engine;
    sn_gallery_model vectors;
    sn_fingerprint fingerprint;
} sn_gallery_opened;

/* files: of the model; --exif, --alpha and --threads are read from the arguments. */
sn_status sn_gallery_open_model(const sn_arguments *arguments, const sn_model_files *files, sn_gallery_opened *out, sn_error *error);
void sn_gallery_close_model(sn_gallery_opened *opened);

#endif
