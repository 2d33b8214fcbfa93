/* The model of a gallery. */
#include "cli/gallery.h"

#include "cli/common.h"
#include "generate/ask.h"

#include <stdio.h>

sn_status sn_gallery_open_model(const sn_arguments *a, sn_gallery *gallery, const sn_model_files *files, sn_gallery_opened *out, sn_error *error) {
    sn_model *model = NULL;
    sn_image_options pictures;
    int threads = 0;
    *out = (sn_gallery_opened){0};
    sn_status status = sn_arguments_pictures(a, &pictures, error);
    if (!status && gallery) {
        sn_image_options kept = sn_gallery_pictures(gallery);
        if (!sn_argument_given(a, "exif")) pictures.exif_apply = kept.exif_apply;
        if (!sn_argument_given(a, "alpha")) pictures.alpha_white = kept.alpha_white;
    }
    if (!status) status = sn_arguments_threads(a, &threads, error);
    if (!status) status = sn_engine_new(threads, &out->engine, error);
    if (!status) status = sn_model_open(out->engine, files, &model, error);
    if (!status) status = sn_gallery_model_of(model, &pictures, &out->vectors, error);
    out->vectors.model = model;
    if (!status && !out->vectors.text && model->lm.query && model->system->prompt) out->vectors.text = sn_ask_in_words;
    return status ? status : sn_fingerprint_of(model, &pictures, &out->fingerprint, error);
}

void sn_gallery_close_model(sn_gallery_opened *o) {
    sn_fingerprint_free(&o->fingerprint);
    sn_model_close(o->vectors.model);
    sn_engine_free(o->engine);
}

void sn_gallery_warn_rounded(const char *path) {
    fprintf(stderr, "sensorium: warning: %s was made by this model with its weights in another type: scores differ by rounding\n", path);
}
