/* WebP through libwebp; of an animation the first frame, on a transparent canvas. */
#include "media/formats.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

/* The frame's pixels into their place on the canvas. */
static sn_status read_frame(const char *where, const WebPIterator *frame, sn_image *out, sn_error *error) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return sn_fail(error, SN_ERROR_SUPPORT, "%s: libwebp is of another version than its headers", where);
    int64_t right = (int64_t)frame->x_offset + frame->width, below = (int64_t)frame->y_offset + frame->height;
    if (frame->x_offset < 0 || frame->y_offset < 0 || right > out->width || below > out->height || !frame->complete)
        return sn_fail(error, SN_ERROR_INPUT, "%s: broken WebP: found a frame of %d x %d at %d, %d on a canvas of %d x %d", where, frame->width, frame->height, frame->x_offset,
                       frame->y_offset, out->width, out->height);
    size_t stride = (size_t)out->width * (size_t)out->channels, offset = (size_t)frame->y_offset * stride + (size_t)(frame->x_offset * out->channels);
    config.output.colorspace = out->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){out->pixels + offset, (int)stride, (size_t)out->height * stride - offset};
    VP8StatusCode code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY) return sn_fail_memory(error);
    if (code != VP8_STATUS_OK)
        return sn_fail(error, SN_ERROR_INPUT, "%s: broken WebP: %s", where, code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED ? "the file ends early" : "its data are damaged");
    return SN_OK;
}

sn_status sn_webp_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                         sn_error *error) {
    (void)options;
    WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
    WebPDemuxer *demuxer = WebPDemuxPartial(&(WebPData){bytes, size}, &state);
    if (!demuxer || state != WEBP_DEMUX_DONE) {
        WebPDemuxDelete(demuxer);
        return sn_fail(error, SN_ERROR_INPUT, "%s: broken WebP: %s", where, state == WEBP_DEMUX_PARSE_ERROR ? "its chunks are damaged" : "the file ends early");
    }
    WebPIterator frame = {0};
    sn_status status = SN_OK;
    WebPBitstreamFeatures features = {0};
    WebPGetFeatures(bytes, size, &features);
    if (!WebPDemuxGetFrame(demuxer, 1, &frame)) status = sn_fail(error, SN_ERROR_INPUT, "%s: broken WebP: found no frame", where);
    if (!status)
        status = sn_image_new(where, WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH), WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT), features.has_alpha ? 4 : 3, out, error);
    if (!status) status = read_frame(where, &frame, out, error);
    WebPDemuxReleaseIterator(&frame);
    WebPChunkIterator exif = {0};
    if (!status && WebPDemuxGetChunk(demuxer, "EXIF", 1, &exif)) out->orientation = sn_exif_orientation(exif.chunk.bytes, exif.chunk.size);
    WebPDemuxReleaseChunkIterator(&exif);
    WebPDemuxDelete(demuxer);
    if (status) sn_image_free(out);
    return status;
}
