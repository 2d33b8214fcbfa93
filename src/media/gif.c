/* GIF through giflib: the first frame on its canvas, which Pillow stretches where a frame reaches beyond it. */
#include "media/formats.h"

#include <gif_lib.h>
#include <string.h>

typedef struct reader {
    const unsigned char *bytes;
    size_t size, at;
} reader;

static int read_bytes(GifFileType *gif, GifByteType *to, int count) {
    reader *r = gif->UserData;
    size_t left = r->size - r->at, n = count < 0 ? 0 : (size_t)count < left ? (size_t)count : left;
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
    return (int)n;
}

/* Up to the first frame's description; *transparent: the index that is not drawn, or -1. False: no such frame. */
static bool find_frame(GifFileType *gif, int *transparent) {
    *transparent = NO_TRANSPARENT_COLOR;
    GifRecordType record;
    while (DGifGetRecordType(gif, &record) == GIF_OK && record != TERMINATE_RECORD_TYPE) {
        if (record == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(gif) == GIF_OK;
        int code;
        GifByteType *block;
        GraphicsControlBlock control;
        if (record != EXTENSION_RECORD_TYPE) continue;
        for (int more = DGifGetExtension(gif, &code, &block); block || more != GIF_OK; more = DGifGetExtensionNext(gif, &block)) {
            if (more != GIF_OK) return false;
            if (code == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK) *transparent = control.TransparentColor;
        }
    }
    return false;
}

/* One index to RGB or RGBA; without a colour table the index is a grey. */
static void put_pixel(const ColorMapObject *map, int index, int transparent, int channels, uint8_t *to) {
    if (!map) to[0] = to[1] = to[2] = (uint8_t)index;
    else if (index < map->ColorCount) to[0] = map->Colors[index].Red, to[1] = map->Colors[index].Green, to[2] = map->Colors[index].Blue;
    if (channels == 4) to[3] = index == transparent ? 0 : 255;
}

static bool draw_frame(GifFileType *gif, int transparent, uint8_t *line, sn_image *out) {
    static const int first[] = {0, 4, 2, 1, 0}, step[] = {8, 8, 4, 2, 1};
    const GifImageDesc *frame = &gif->Image;
    const ColorMapObject *map = frame->ColorMap ? frame->ColorMap : gif->SColorMap;
    size_t channels = (size_t)out->channels, pixels = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; i < pixels; i++) put_pixel(map, transparent >= 0 ? transparent : 0, transparent, out->channels, out->pixels + i * channels);
    for (int pass = frame->Interlace ? 0 : 4; pass < (frame->Interlace ? 4 : 5); pass++)
        for (int y = first[pass]; y < frame->Height; y += step[pass]) {
            if (DGifGetLine(gif, line, frame->Width) != GIF_OK) return false;
            uint8_t *to = out->pixels + ((size_t)(frame->Top + y) * (size_t)out->width + (size_t)frame->Left) * channels;
            for (int x = 0; x < frame->Width; x++) put_pixel(map, line[x], transparent, out->channels, to + (size_t)x * channels);
        }
    return true;
}

sn_status sn_gif_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                        sn_error *error) {
    (void)options;
    reader r = {bytes, size, 0};
    int code = 0, transparent;
    GifFileType *gif = DGifOpen(&r, read_bytes, &code);
    if (!gif) return sn_fail(error, SN_ERROR_INPUT, "%s: broken GIF: %s", where, code ? GifErrorString(code) : "no header");
    sn_status status = SN_OK;
    uint8_t *line = NULL;
    if (!find_frame(gif, &transparent)) status = sn_fail(error, SN_ERROR_INPUT, "%s: broken GIF: the file ends before its first frame", where);
    if (!status) {
        const GifImageDesc *frame = &gif->Image;
        int64_t right = (int64_t)frame->Left + frame->Width, below = (int64_t)frame->Top + frame->Height;
        status = sn_image_new(where, right > gif->SWidth ? right : gif->SWidth, below > gif->SHeight ? below : gif->SHeight, transparent >= 0 ? 4 : 3, out, error);
    }
    if (!status && !(line = sn_alloc((size_t)gif->Image.Width + 1, 1))) status = sn_fail_memory(error);
    if (!status && !draw_frame(gif, transparent, line, out)) status = sn_fail(error, SN_ERROR_INPUT, "%s: broken GIF: the data end early or are damaged", where);
    sn_free(line);
    DGifCloseFile(gif, &code);
    if (status) sn_image_free(out);
    return status;
}
