/* Pictures of every format. */
#include "fuzz/fuzz.h"

#include "media/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    sn_image image;
    const sn_image_options options = {.exif_apply = true};
    if (!sn_image_decode("fuzz", bytes, size, &options, &image, &error)) sn_image_free(&image);
    return 0;
}
