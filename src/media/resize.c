/* Two passes with fixed-point weights, each rounded to 8 bits. */
#include "media/resize.h"

#include <math.h>
#include <string.h>

enum { PRECISION = 22 };

static double sinc(double x) { return x == 0 ? 1 : sin(x * M_PI) / (x * M_PI); }

static double filter_at(sn_filter filter, double x) {
    double u = fabs(x);
    switch (filter) {
    case SN_FILTER_BOX: return x > -0.5 && x <= 0.5;
    case SN_FILTER_BILINEAR: return u < 1 ? 1 - u : 0;
    case SN_FILTER_HAMMING: return u == 0 ? 1 : u >= 1 ? 0 : sinc(u) * (0.54 + 0.46 * cos(u * M_PI));
    case SN_FILTER_BICUBIC: {
        const double a = -0.5;
        if (u < 1) return ((a + 2) * u - (a + 3)) * u * u + 1;
        return u < 2 ? (((u - 5) * u + 8) * u - 4) * a : 0;
    }
    case SN_FILTER_LANCZOS: return u < 3 ? sinc(u) * sinc(u / 3) : 0;
    case SN_FILTER_NEAREST: break;
    }
    return 0;
}

static double support_of(sn_filter filter) {
    static const double supports[] = {[SN_FILTER_LANCZOS] = 3, [SN_FILTER_BILINEAR] = 1, [SN_FILTER_BICUBIC] = 2, [SN_FILTER_BOX] = 0.5, [SN_FILTER_HAMMING] = 1};
    return supports[filter];
}

/* For outputs [first, first + count) of `out` from `in` samples: where each begins, how many weights, and the
 * weights in 22-bit fixed point. */
typedef struct taps {
    int count, most;
    int *begin, *length;
    int32_t *weight; /* [count, most] */
} taps;

static void taps_free(taps *t) {
    sn_free(t->begin);
    sn_free(t->length);
    sn_free(t->weight);
    *t = (taps){0};
}

static bool taps_make(sn_filter filter, int64_t in, int64_t out, int64_t first, int count, taps *t) {
    double scale = (double)in / (double)out, stretch = scale > 1 ? scale : 1, support = support_of(filter) * stretch, inverse = 1 / stretch;
    *t = (taps){.count = count, .most = (int)ceil(support) * 2 + 1};
    t->begin = sn_alloc((size_t)count, sizeof *t->begin);
    t->length = sn_alloc((size_t)count, sizeof *t->length);
    t->weight = sn_alloc((size_t)count * (size_t)t->most, sizeof *t->weight);
    double *w = sn_alloc((size_t)t->most, sizeof *w);
    if (!t->begin || !t->length || !t->weight || !w) {
        sn_free(w);
        return false;
    }
    for (int i = 0; i < count; i++) {
        double centre = ((double)(first + i) + 0.5) * scale, sum = 0;
        int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
        if (low < 0) low = 0;
        if (high > in) high = (int)in;
        for (int k = low; k < high; k++) sum += w[k - low] = filter_at(filter, ((double)k - centre + 0.5) * inverse);
        t->begin[i] = low, t->length[i] = high - low;
        for (int k = 0; k < high - low; k++) {
            double value = sum != 0 ? w[k] / sum : w[k];
            t->weight[(size_t)i * (size_t)t->most + (size_t)k] = (int32_t)(value * (1 << PRECISION) + (value < 0 ? -0.5 : 0.5));
        }
    }
    sn_free(w);
    return true;
}

static uint8_t clip(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Rows [row, row + rows) of the picture, columns by the taps. */
static void pass_horizontal(const sn_image *from, int row, const taps *t, sn_image *to) {
    int channels = from->channels;
    for (int y = 0; y < to->height; y++) {
        const uint8_t *line = from->pixels + (size_t)(row + y) * (size_t)from->width * (size_t)channels;
        uint8_t *out = to->pixels + (size_t)y * (size_t)to->width * (size_t)channels;
        for (int x = 0; x < t->count; x++) {
            const int32_t *w = t->weight + (size_t)x * (size_t)t->most;
            const uint8_t *p = line + t->begin[x] * channels;
            for (int c = 0; c < channels; c++) {
                int32_t sum = 1 << (PRECISION - 1);
                for (int k = 0; k < t->length[x]; k++) sum += p[k * channels + c] * w[k];
                out[x * channels + c] = clip(sum);
            }
        }
    }
}

/* Rows by the taps (whose first source row is `row` in `from`), columns [column, …) of the picture. */
static void pass_vertical(const sn_image *from, int row, int column, const taps *t, sn_image *to) {
    size_t channels = (size_t)from->channels, stride = (size_t)from->width * channels, width = (size_t)to->width * channels;
    for (int y = 0; y < t->count; y++) {
        const int32_t *w = t->weight + (size_t)y * (size_t)t->most;
        const uint8_t *line = from->pixels + (size_t)(t->begin[y] - row) * stride + (size_t)column * channels;
        uint8_t *out = to->pixels + (size_t)y * width;
        for (size_t x = 0; x < width; x++) {
            int32_t sum = 1 << (PRECISION - 1);
            for (int k = 0; k < t->length[y]; k++) sum += line[(size_t)k * stride + x] * w[k];
            out[x] = clip(sum);
        }
    }
}

/* Source positions by repeated addition, as Pillow has them. */
static void nearest(const sn_image *image, const sn_resize *r, sn_image *out) {
    double step_x = (double)image->width / (double)r->width, step_y = (double)image->height / (double)r->height, y = step_y * 0.5;
    size_t channels = (size_t)image->channels;
    for (int64_t j = 0; j < r->top + r->rows; j++, y += step_y) {
        if (j < r->top) continue;
        double x = step_x * 0.5;
        for (int64_t i = 0; i < r->left + r->columns; i++, x += step_x)
            if (i >= r->left)
                memcpy(out->pixels + ((size_t)(j - r->top) * (size_t)r->columns + (size_t)(i - r->left)) * channels,
                       image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * channels, channels);
    }
}

/* Lowest source row or column that the taps read, and how many they span. */
static int span(const taps *t, int *first) {
    int last = 0;
    *first = t->begin[0];
    for (int i = 0; i < t->count; i++) {
        if (t->begin[i] < *first) *first = t->begin[i];
        if (t->begin[i] + t->length[i] > last) last = t->begin[i] + t->length[i];
    }
    return last - *first;
}

sn_status sn_image_resize(const sn_image *image, const sn_resize *r, sn_image *out, sn_error *error) {
    sn_status status = sn_image_new("resize", r->columns, r->rows, image->channels, out, error);
    if (status) return status;
    if (r->filter == SN_FILTER_NEAREST) {
        nearest(image, r, out);
        return SN_OK;
    }
    bool wide = r->width != image->width, tall = r->height != image->height;
    bool vertical_first = r->order == SN_RESIZE_AUTO && r->height < image->height && image->height - r->height > 2 * (image->width - r->width);
    taps x = {0}, y = {0};
    sn_image between = {0};
    if ((wide && !taps_make(r->filter, image->width, r->width, r->left, r->columns, &x)) ||
        (tall && !taps_make(r->filter, image->height, r->height, r->top, r->rows, &y))) {
        status = sn_fail_memory(error);
        goto done;
    }
    int first_row = (int)r->top, rows = r->rows, first_column = (int)r->left, columns = r->columns;
    if (tall) rows = span(&y, &first_row);
    if (wide) columns = span(&x, &first_column);
    if (!wide && !tall) {
        for (int j = 0; j < r->rows; j++)
            memcpy(out->pixels + (size_t)j * (size_t)(r->columns * image->channels),
                   image->pixels + ((size_t)(r->top + j) * (size_t)image->width + (size_t)r->left) * (size_t)image->channels, (size_t)(r->columns * image->channels));
    } else if (!tall) {
        pass_horizontal(image, (int)r->top, &x, out);
    } else if (!wide) {
        pass_vertical(image, 0, (int)r->left, &y, out);
    } else if (vertical_first) {
        if ((status = sn_image_new("resize", columns, r->rows, image->channels, &between, error))) goto done;
        pass_vertical(image, 0, first_column, &y, &between);
        for (int i = 0; i < x.count; i++) x.begin[i] -= first_column;
        pass_horizontal(&between, 0, &x, out);
    } else {
        if ((status = sn_image_new("resize", r->columns, rows, image->channels, &between, error))) goto done;
        pass_horizontal(image, first_row, &x, &between);
        pass_vertical(&between, first_row, 0, &y, out);
    }
done:
    taps_free(&x);
    taps_free(&y);
    sn_image_free(&between);
    if (status) sn_image_free(out);
    return status;
}
