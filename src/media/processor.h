/* From a picture to what an encoder receives: preprocessor_config.json. */
#ifndef SN_MEDIA_PROCESSOR_H
#define SN_MEDIA_PROCESSOR_H

#include "media/resize.h"

/* How large the picture becomes. SHORTEST: the shorter side is `shortest`, the other int(shortest long / short), and, if `longest`
 * is not 0, both less so that the longer one stays within it (GroundingDINO); LONGEST: the longer side is `longest` (SAM); EXACT:
 * exact_width x exact_height; KEEP: as it is. */
typedef enum sn_size_rule { SN_SIZE_SHORTEST, SN_SIZE_LONGEST, SN_SIZE_EXACT, SN_SIZE_KEEP } sn_size_rule;

/* What is then cut out, or where what is too small lies. CENTRE: the middle, rounded down, zeros around (Hugging Face); CENTRE_EVEN:
 * the middle, halves to even (torchvision); CORNER: at the top left, what remains is 0 after normalising (SAM); NONE: all of it. */
typedef enum sn_crop { SN_CROP_CENTRE, SN_CROP_CENTRE_EVEN, SN_CROP_CORNER, SN_CROP_NONE } sn_crop;

typedef struct sn_image_processor {
    sn_size_rule rule;
    int shortest, longest, exact_width, exact_height;
    sn_crop crop;
    int width, height;    /* of the result; 0: as the picture has become */
    int squash;           /* > 0: first made that wide and high, whatever its shape (FROMAGe's pictures from an address) */
    bool pad_square;      /* LLaVA-1.5: first centred on a square filled with int(255 fill) */
    sn_filter filter;
    sn_resize_order order;
    float fill[3], mean[3], std[3];
    double rescale;
} sn_image_processor;

/* CLIP's own values for a tower of that size. */
sn_image_processor sn_image_processor_clip(int size);

/* The published chains: clip, clip_hf, llava_pad, blip, ram, sam, dino. False for another name. `longest` counts for
 * dino alone. */
bool sn_image_processor_named(const char *name, int size, int longest, sn_image_processor *processor);

/* Overrides from a preprocessor_config.json, of the first and of the present spelling. */
sn_status sn_image_processor_read(const char *path, sn_image_processor *processor, sn_error *error);

/* Size of a picture after resizing, and of the result. */
typedef struct sn_image_sizes {
    int64_t resized_width, resized_height;
    int width, height;
} sn_image_sizes;
sn_status sn_image_processor_sizes(const sn_image_processor *processor, const sn_image *image, sn_image_sizes *sizes, sn_error *error);

/* planes: [3, height, width] of those sizes, normalised. */
sn_status sn_image_process(const sn_image_processor *processor, const sn_image *image, float *planes, sn_error *error);

#endif
