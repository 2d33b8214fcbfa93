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

/* What a language model asks for at the end of a dialogue, texts and pictures: a vector of length 1. Its token for a picture
 * is put behind, where the dialogue does not end with it. */
sn_status sn_ask_dialogue(sn_model *model, const sn_request *request, const sn_image_options *pictures, float *vector, sn_error *error);

#endif
