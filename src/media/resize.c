/* Two passes, each rounded to 8 bits. A pass reads lines by pointers, so what lies around a picture on its canvas is
 * one line that stands for all of its kind. */
#include "media/resize.h"

#include "media/passes.h"

#include <string.h>

typedef struct job {
    const sn_image *image;
    const sn_resize *r;
    const sn_passes *passes;
    int width, height;     /* of the canvas; where there is none, of the picture */
    int left, top;         /* of the picture on it */
    double box[4];         /* the part of the canvas that is resized */
    bool wide, tall;       /* whether the passes along x and along y are done */
    bool beside;           /* whether the canvas goes on beside the picture */
    sn_taps x, y;
    sn_kernel kernel_x, kernel_y;
    uint8_t *fill;         /* a line of the canvas without picture */
    int first_column, columns; /* of the canvas, that the pass along x reads */
    uint8_t *groups;       /* they, of one line, as the pass along x takes them */
    uint8_t *between;      /* what the first pass made */
    const uint8_t **lines; /* its lines, some of them in `between`, others of the picture itself */
} job;

static bool on_picture(const job *j, int y) { return y >= j->top && y < j->top + j->image->height; }

static const uint8_t *picture_line(const job *j, int y) {
    return j->image->pixels + (size_t)(y - j->top) * (size_t)j->image->width * (size_t)j->image->channels;
}

/* ---- the passes ---- */

/* A line of the canvas along x, or without a pass along x its window. `filled` is what becomes of a line without picture: where
 * inputs see nothing of the picture, outputs are the same. */
static void line_along(const job *j, const uint8_t *line, const uint8_t *filled, uint8_t *out) {
    int channels = j->image->channels, from = 0, to = j->r->columns, first = j->first_column, end = first + j->columns;
    int left = j->left > first ? j->left : first, right = j->left + j->image->width < end ? j->left + j->image->width : end;
    if (j->beside) memcpy(out, filled, (size_t)(j->r->columns * channels));
    if (left >= right) return;
    const uint8_t *seen = line + (size_t)(left - j->left) * (size_t)channels;
    size_t count = (size_t)(right - left) * (size_t)channels;
    if (!j->wide) {
        memcpy(out + (size_t)(left - first) * (size_t)channels, seen, count);
        return;
    }
    j->passes->pack(seen, right - left, channels, left - first, j->groups);
    while (from < to && j->x.begin[from] + j->x.length[from] <= left) from++;
    while (to > from && j->x.begin[to - 1] >= right) to--;
    j->passes->horizontal(&j->kernel_x, from, to, j->groups, out);
}

/* The pass along x, or the window's columns, for the lines [first, first + count) that the pass along y needs. */
static sn_status pass_along(job *j, int first, int count, sn_error *error) {
    size_t columns = (size_t)j->r->columns * (size_t)j->image->channels, pictured = 1;
    bool made = j->wide || j->beside;
    for (int y = first; y < first + count; y++) pictured += made && on_picture(j, y);
    j->lines = sn_alloc((size_t)count, sizeof *j->lines);
    j->between = sn_alloc(pictured, columns);
    if (!j->lines || !j->between) return sn_fail_memory(error);
    uint8_t *filled = j->between, *next = j->between + columns;
    if (j->fill && j->wide) {
        j->passes->pack(j->fill, j->columns, j->image->channels, 0, j->groups);
        j->passes->horizontal(&j->kernel_x, 0, j->r->columns, j->groups, filled);
    } else if (j->fill) {
        memcpy(filled, j->fill, columns);
    }
    for (int y = first; y < first + count; y++) {
        const uint8_t **line = &j->lines[y - first];
        if (!on_picture(j, y)) {
            *line = filled;
        } else if (!made) {
            *line = picture_line(j, y) + (size_t)j->r->left * (size_t)j->image->channels;
        } else {
            line_along(j, picture_line(j, y), filled, next);
            *line = next, next += columns;
        }
    }
    return SN_OK;
}

/* The pass along y before the one along x, over the columns that that one reads. Beside the picture there is only the
 * canvas, so these columns are taken apart. */
static sn_status pass_down(job *j, int first, int count, sn_error *error) {
    size_t channels = (size_t)j->image->channels;
    int column = j->first_column, columns = j->columns, end = column + columns;
    int left = j->left > column ? j->left : column, right = j->left + j->image->width < end ? j->left + j->image->width : end;
    if (right < left) left = right = end;
    const uint8_t **filled = sn_alloc((size_t)count, sizeof *filled);
    j->lines = sn_alloc((size_t)count, sizeof *j->lines);
    j->between = sn_alloc((size_t)j->r->rows, (size_t)columns * channels);
    if (!filled || !j->lines || !j->between) {
        sn_free(filled);
        return sn_fail_memory(error);
    }
    for (int i = 0; i < count; i++) filled[i] = j->fill, j->lines[i] = on_picture(j, first + i) ? picture_line(j, first + i) : j->fill;
    for (int y = 0; y < j->r->rows; y++) {
        uint8_t *out = j->between + (size_t)y * (size_t)columns * channels;
        if (left > column) j->passes->vertical(&j->kernel_y, y, filled, 0, (size_t)(left - column) * channels, out);
        if (right > left) j->passes->vertical(&j->kernel_y, y, j->lines, (size_t)(left - j->left) * channels, (size_t)(right - left) * channels, out + (size_t)(left - column) * channels);
        if (end > right) j->passes->vertical(&j->kernel_y, y, filled, 0, (size_t)(end - right) * channels, out + (size_t)(right - column) * channels);
    }
    sn_free(filled);
    return SN_OK;
}

static sn_status run_filter(job *j, sn_image *out, sn_error *error) {
    const sn_resize *r = j->r;
    int channels = out->channels, first = (int)r->top, count = r->rows;
    size_t bytes = (size_t)r->columns * (size_t)channels;
    j->wide = r->width != j->width || j->box[0] != 0 || j->box[2] != j->width;
    j->tall = r->height != j->height || j->box[1] != 0 || j->box[3] != j->height;
    bool down_first = j->wide && j->tall && r->order == SN_RESIZE_AUTO && r->height < j->height && j->height - r->height > 2 * (j->width - r->width);
    if ((j->wide && !sn_taps_filter(r->filter, j->width, j->box[0], j->box[2], r->width, r->left, r->columns, &j->x)) ||
        (j->tall && !sn_taps_filter(r->filter, j->height, j->box[1], j->box[3], r->height, r->top, r->rows, &j->y)))
        return sn_fail_memory(error);
    j->first_column = (int)r->left, j->columns = r->columns;
    if (j->wide) j->columns = sn_taps_span(&j->x, &j->first_column);
    if (j->tall) count = sn_taps_span(&j->y, &first);
    size_t groups = (size_t)j->columns / SN_PASS_GROUP + 1; /* the last one may be in part */
    if ((j->wide && (!sn_kernel_new(&j->x, j->first_column, channels, &j->kernel_x) || !(j->groups = sn_alloc(groups, SN_PASS_GROUP_BYTES)))) ||
        (j->tall && !sn_kernel_new(&j->y, first, 0, &j->kernel_y)))
        return sn_fail_memory(error);
    sn_status status = down_first ? pass_down(j, first, count, error) : pass_along(j, first, count, error);
    for (int y = 0; y < r->rows && !status; y++) {
        uint8_t *to = out->pixels + (size_t)y * bytes;
        if (down_first) {
            j->passes->pack(j->between + (size_t)y * (size_t)(j->columns * channels), j->columns, channels, 0, j->groups);
            j->passes->horizontal(&j->kernel_x, 0, r->columns, j->groups, to);
        } else if (j->tall) {
            j->passes->vertical(&j->kernel_y, y, j->lines, 0, bytes, to);
        } else {
            memcpy(to, j->lines[y], bytes);
        }
    }
    return status;
}

/* ---- nearest ---- */

/* Source positions by repeated addition, as Pillow has them. */
static bool nearest_places(double low, double high, int64_t out, int64_t first, int count, int limit, int *place) {
    double step = (high - low) / (double)out, at = low + step * 0.5;
    if (!place) return false;
    for (int64_t i = 0; i < first + count; i++, at += step)
        if (i >= first) place[i - first] = at < 0 ? 0 : at >= limit ? limit - 1 : (int)at;
    return true;
}

static sn_status run_nearest(const job *j, sn_image *out, sn_error *error) {
    const sn_resize *r = j->r;
    size_t channels = (size_t)out->channels;
    int *x = sn_alloc((size_t)r->columns, sizeof *x), *y = sn_alloc((size_t)r->rows, sizeof *y);
    bool made = nearest_places(j->box[0], j->box[2], r->width, r->left, r->columns, j->width, x) && nearest_places(j->box[1], j->box[3], r->height, r->top, r->rows, j->height, y);
    for (int row = 0; row < r->rows && made; row++) {
        uint8_t *to = out->pixels + (size_t)row * (size_t)r->columns * channels;
        const uint8_t *line = on_picture(j, y[row]) ? picture_line(j, y[row]) : NULL;
        for (int i = 0; i < r->columns; i++, to += channels) {
            bool inside = line && x[i] >= j->left && x[i] < j->left + j->image->width;
            memcpy(to, inside ? line + (size_t)(x[i] - j->left) * channels : j->fill, channels);
        }
    }
    sn_free(x);
    sn_free(y);
    return made ? SN_OK : sn_fail_memory(error);
}

/* ---- alpha ---- */

static unsigned scaled(unsigned a, unsigned b) {
    unsigned t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

static void premultiply(const sn_image *from, sn_image *to) {
    size_t count = 4 * (size_t)from->width * (size_t)from->height;
    for (size_t i = 0; i < count; i++) to->pixels[i] = i % 4 == 3 ? from->pixels[i] : (uint8_t)scaled(from->pixels[i], from->pixels[i | 3]);
}

static void unpremultiply(sn_image *image) {
    size_t count = (size_t)image->width * (size_t)image->height;
    for (uint8_t *p = image->pixels; count > 0; count--, p += 4)
        for (int c = 0; c < 3 && p[3] != 0 && p[3] != 255; c++) {
            unsigned value = 255u * p[c] / p[3];
            p[c] = (uint8_t)(value > 255 ? 255 : value);
        }
}

/* ---- the whole ---- */

sn_status sn_image_resize(const sn_image *image, const sn_resize *r, sn_image *out, sn_error *error) {
    job j = {.image = image, .r = r, .passes = sn_passes_of_cpu(), .width = image->width, .height = image->height};
    sn_image straight = {0};
    int channels = image->channels;
    bool alpha = channels == 4 && r->filter != SN_FILTER_NEAREST;
    sn_status status = sn_image_new("resize", r->columns, r->rows, channels, out, error);
    if (!status && r->canvas.width) {
        j.width = r->canvas.width, j.height = r->canvas.height, j.left = r->canvas.left, j.top = r->canvas.top;
        j.fill = sn_alloc((size_t)j.width, (size_t)channels);
        for (int i = 0; i < j.width * channels && j.fill; i++) j.fill[i] = i % channels == 3 ? 255 : r->canvas.fill[i % channels];
        if (!j.fill) status = sn_fail_memory(error);
    }
    if (!status && alpha && !(status = sn_image_new("resize", image->width, image->height, 4, &straight, error))) {
        premultiply(image, &straight);
        j.image = &straight;
    }
    j.beside = j.width != image->width;
    j.box[2] = j.width, j.box[3] = j.height;
    if (r->box[2] > 0) memcpy(j.box, r->box, sizeof j.box);
    if (!status) status = r->filter == SN_FILTER_NEAREST ? run_nearest(&j, out, error) : run_filter(&j, out, error);
    if (!status && alpha) unpremultiply(out);
    sn_taps_free(&j.x);
    sn_taps_free(&j.y);
    sn_kernel_free(&j.kernel_x);
    sn_kernel_free(&j.kernel_y);
    sn_free(j.fill);
    sn_free(j.groups);
    sn_free(j.between);
    sn_free(j.lines);
    sn_image_free(&straight);
    if (status) sn_image_free(out);
    return status;
}
