/* From a picture to what an encoder receives: preprocessor_config.json (clip_vit.md 5, image.md 4 and 5). */
#ifndef SN_MEDIA_PROCESSOR_H
#define SN_MEDIA_PROCESSOR_H

#include "media/resize.h"

typedef struct sn_image_processor {
    int shortest;         /* > 0: the shorter side becomes that long */
    int width, height;    /* size of the result */
    bool pad_square;      /* LLaVA-1.5: first centred on a square of the mean colour */
    sn_filter filter;
    sn_resize_order order;
    float mean[3], std[3];
    double rescale;
} sn_image_processor;

/* CLIP's own values for a tower of that size. */
sn_image_processor sn_image_processor_clip(int size);

/* Overrides from a preprocessor_config.json. */
sn_status sn_image_processor_read(const char *path, sn_image_processor *processor, sn_error *error);

/* planes: [3, height, width], normalised. */
sn_status sn_image_process(const sn_image_processor *processor, const sn_image *image, float *planes, sn_error *error);

#endif
