/* JPEG through libjpeg-turbo with its default, slow and exact, inverse DCT and smooth upsampling. Its error handler
 * comes back here by longjmp in place of ending the process, and its memory and number of scans are bounded. */
#include "media/formats.h"

#include <stdio.h>

#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

enum { MAX_SCANS = 500, MAX_MEMORY = 768 << 20 };

typedef struct failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
} failure;

static void on_error(j_common_ptr info) {
    failure *f = (failure *)info->err;
    if (info->err->msg_code == JERR_INPUT_EOF) snprintf(f->message, sizeof f->message, "the file ends early");
    else info->err->format_message(info, f->message);
    longjmp(f->back, 1);
}

/* Warnings: as Pillow, which takes damaged data as far as it goes but no file that ends early. */
static void on_message(j_common_ptr info, int level) { (void)info, (void)level; }

/* A picture of endless scans costs time out of proportion to its size. */
static void on_progress(j_common_ptr info) {
    if (((j_decompress_ptr)info)->input_scan_number > MAX_SCANS) ERREXIT(info, JERR_BAD_PROGRESSION);
}

/* ---- the bytes, all in memory ---- */

static void source_ready(j_decompress_ptr info) { (void)info; }

static boolean source_fill(j_decompress_ptr info) {
    ERREXIT(info, JERR_INPUT_EOF);
    return FALSE;
}

static void source_skip(j_decompress_ptr info, long count) {
    if (count <= 0) return;
    if ((size_t)count > info->src->bytes_in_buffer) ERREXIT(info, JERR_INPUT_EOF);
    info->src->next_input_byte += count, info->src->bytes_in_buffer -= (size_t)count;
}

/* The part that libjpeg may leave by longjmp. */
static sn_status read_picture(const char *where, j_decompress_ptr info, sn_image *out, sn_error *error) {
    jpeg_save_markers(info, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(info, TRUE);
    if (info->num_components != 1 && info->num_components != 3 && info->num_components != 4)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found a JPEG of %d components, expected 1, 3 or 4", where, info->num_components);
    sn_status status = sn_image_new(where, info->image_width, info->image_height, 3, out, error);
    if (status) return status;
    for (jpeg_saved_marker_ptr m = info->marker_list; m; m = m->next)
        if (m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0) {
            out->orientation = sn_exif_orientation(m->data, m->data_length);
            break;
        }
    info->out_color_space = info->num_components == 1 ? JCS_GRAYSCALE : info->num_components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(info);
    size_t stride = 3 * (size_t)out->width;
    bool inks = info->out_color_space == JCS_CMYK;
    JSAMPARRAY line = inks ? info->mem->alloc_sarray((j_common_ptr)info, JPOOL_IMAGE, info->output_width * 4, 1) : NULL;
    while (info->output_scanline < info->output_height) {
        uint8_t *row = out->pixels + info->output_scanline * stride;
        jpeg_read_scanlines(info, inks ? line : &row, 1);
        if (info->out_color_space == JCS_GRAYSCALE) sn_image_grey_row(row, out->width);
        if (!inks) continue;
        for (size_t i = 0; i < 4 * (size_t)out->width; i++) line[0][i] = (uint8_t)~line[0][i]; /* Adobe stores what is left of the paper */
        sn_cmyk_to_rgb(line[0], (size_t)out->width, row);
    }
    jpeg_finish_decompress(info);
    return SN_OK;
}

sn_status sn_jpeg_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                         sn_error *error) {
    (void)options;
    failure f;
    struct jpeg_decompress_struct info = {.err = jpeg_std_error(&f.base)};
    f.base.error_exit = on_error;
    f.base.emit_message = on_message;
    struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
    struct jpeg_source_mgr source = {.next_input_byte = bytes, .bytes_in_buffer = size, .init_source = source_ready, .fill_input_buffer = source_fill,
                                     .skip_input_data = source_skip, .resync_to_restart = jpeg_resync_to_restart, .term_source = source_ready};
    sn_status status;
    if (setjmp(f.back)) {
        status = sn_fail(error, SN_ERROR_INPUT, "%s: broken JPEG: %s", where, f.message);
    } else {
        jpeg_create_decompress(&info);
        info.src = &source, info.progress = &progress, info.mem->max_memory_to_use = MAX_MEMORY;
        status = read_picture(where, &info, out, error);
    }
    jpeg_destroy_decompress(&info);
    if (status) sn_image_free(out);
    return status;
}
