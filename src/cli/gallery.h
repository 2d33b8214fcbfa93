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

/* files: of the model; --threads is read from the arguments, --exif and --alpha too: where they are not given, pictures are
 * taken as the gallery (or NULL) has them. */
sn_status sn_gallery_open_model(const sn_arguments *arguments, sn_gallery *gallery, const sn_model_files *files, sn_gallery_opened *out, sn_error *error);
void sn_gallery_close_model(sn_gallery_opened *opened);
void sn_gallery_warn_rounded(const char *path);

#endif
