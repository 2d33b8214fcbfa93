/* Every kind is a list of inputs and weights for each axis; the axes are done one after the other, x first. Positions are
 * computed in float where torch does so, since a position between two samples decides. Antialiasing goes further: torchvision
 * rounds its result to 8 bits, where the last bit decides between two grey levels on pictures of few values, so
 * weights and sums are those of torch's builds for x86 with FMA, operation by operation (found by experiment). */
#include "media/interpolate.h"

#include <math.h>

/* Adds a weight to an input that is clamped to the border; inputs come in rising order. */
static void add_tap(sn_taps *t, int output, int input, int limit, double weight) {
    if (input < 0) input = 0;
    if (input >= limit) input = limit - 1;
    if (t->length[output] == 0) t->begin[output] = input;
    int at = input - t->begin[output];
    t->weight[(size_t)output * (size_t)t->most + (size_t)at] += weight;
    if (at + 1 > t->length[output]) t->length[output] = at + 1;
}

static float position(const sn_interpolate *how, float scale, int output) {
    if (how->align_corners) return scale * (float)output;
    float at = scale * ((float)output + 0.5f) - 0.5f;
    return how->mode == SN_INTERPOLATE_BILINEAR && at < 0 ? 0 : at;
}

static void bicubic_weights(float t, float weight[4]) {
    const float a = -0.75f;
    for (int i = 0; i < 4; i++) {
        float u = fabsf(t - (float)(i - 1));
        weight[i] = u <= 1 ? ((a + 2) * u - (a + 3)) * u * u + 1 : ((a * u - 5 * a) * u + 8 * a) * u - 4 * a;
    }
}

/* The filters of antialias=True with the fused operations of those builds. */
static float antialias_at(sn_filter filter, float x) {
    float u = fabsf(x);
    if (filter == SN_FILTER_BILINEAR) return u < 1 ? 1 - u : 0;
    if (u < 1) return fmaf(fmaf(1.5f, u, -2.5f) * u, u, 1);
    return u < 2 ? fmaf(fmaf(u - 5, u, 8), u, -4) * -0.5f : 0;
}

static bool antialias_taps(sn_filter filter, int in, int out, sn_taps *t) {
    float scale = (float)in / (float)out, width = filter == SN_FILTER_BICUBIC ? 2 : 1;
    float support = scale >= 1 ? width * scale : width, inverse = scale >= 1 ? (float)(1 / (double)scale) : 1;
    if (!sn_taps_new(out, (int)ceilf(support) * 2 + 1, t)) return false;
    for (int x = 0; x < out; x++) {
        float centre = (float)((double)scale * (x + 0.5)), sum = 0;
        double *w = t->weight + (size_t)x * (size_t)t->most;
        int begin = (int)((double)(centre - support) + 0.5), end = (int)((double)(centre + support) + 0.5);
        if (begin < 0) begin = 0;
        if (end > in) end = in;
        if (end - begin > t->most) end = begin + t->most;
        t->begin[x] = begin, t->length[x] = end - begin;
        for (int k = 0; k < end - begin; k++) {
            float value = antialias_at(filter, (float)(((double)((float)(k + begin) - centre) + 0.5) * (double)inverse));
            w[k] = (double)value, sum += value;
        }
        for (int k = 0; k < end - begin && sum != 0; k++) w[k] = (double)((float)w[k] / sum);
    }
    return true;
}

static bool make_taps(const sn_interpolate *how, int in, int out, double factor, sn_taps *t) {
    if (how->mode == SN_INTERPOLATE_PILLOW) return sn_taps_filter(how->filter, in, 0, in, out, 0, out, t);
    if (how->mode == SN_INTERPOLATE_ANTIALIAS) return antialias_taps(how->filter, in, out, t);
    float scale = factor > 0 ? (float)(1 / factor) : (float)in / (float)out;
    if (how->align_corners) scale = out > 1 ? (float)(in - 1) / (float)(out - 1) : 0;
    int most = how->mode == SN_INTERPOLATE_AREA ? in / out + 2 : 4;
    if (!sn_taps_new(out, most, t)) return false;
    for (int x = 0; x < out; x++) {
        float at = position(how, scale, x), weight[4];
        int first = (int)floorf(at), begin, end;
        switch (how->mode) {
        case SN_INTERPOLATE_NEAREST: add_tap(t, x, (int)floorf((float)x * scale), in, 1); break;
        case SN_INTERPOLATE_BILINEAR:
            add_tap(t, x, first, in, 1 - (at - (float)first));
            add_tap(t, x, first + 1, in, at - (float)first);
            break;
        case SN_INTERPOLATE_BICUBIC:
            bicubic_weights(at - (float)first, weight);
            for (int i = 0; i < 4; i++) add_tap(t, x, first - 1 + i, in, weight[i]);
            break;
        default:
            begin = (int)((int64_t)x * in / out), end = (int)(((int64_t)(x + 1) * in + out - 1) / out);
            for (int i = begin; i < end; i++) add_tap(t, x, i, in, 1.0 / (end - begin));
        }
    }
    return true;
}

/* One output from inputs `step` apart. */
static float combine(const float *from, size_t step, const double *w, int length) {
    double sum = 0;
    for (int i = 0; i < length; i++) sum += (double)from[(size_t)i * step] * w[i];
    return (float)sum;
}

/* The same in float: behind the first product, whole groups of four are multiplied and then added, the rest is fused. */
static float combine_fused(const float *from, size_t step, const double *w, int length) {
    float sum = from[0] * (float)w[0];
    int grouped = length > 0 ? (length - 1) / 4 * 4 : 0;
    for (int i = 1; i < length; i++) {
        float value = from[(size_t)i * step];
        sum = i <= grouped ? sum + value * (float)w[i] : fmaf(value, (float)w[i], sum);
    }
    return sum;
}

sn_status sn_interpolate_planes(const sn_interpolate *how, const float *from, int64_t planes, int in_height, int in_width, float *to, int out_height, int out_width,
                                sn_error *error) {
    sn_taps x = {0}, y = {0};
    if (in_height < 1 || in_width < 1 || out_height < 1 || out_width < 1)
        return sn_fail(error, SN_ERROR_USAGE, "interpolate: found %d x %d to %d x %d, expected sizes of at least 1", in_width, in_height, out_width, out_height);
    float *between = sn_alloc((size_t)in_height, (size_t)out_width * sizeof *between);
    bool made = between && make_taps(how, in_width, out_width, how->scale_x, &x) && make_taps(how, in_height, out_height, how->scale_y, &y);
    float (*sum)(const float *, size_t, const double *, int) = how->mode == SN_INTERPOLATE_ANTIALIAS ? combine_fused : combine;
    for (int64_t p = 0; p < planes && made; p++, from += (int64_t)in_height * in_width) {
        for (int row = 0; row < in_height; row++)
            for (int i = 0; i < out_width; i++)
                between[(size_t)row * (size_t)out_width + (size_t)i] = sum(from + (size_t)row * (size_t)in_width + x.begin[i], 1, x.weight + (size_t)i * (size_t)x.most, x.length[i]);
        for (int row = 0; row < out_height; row++)
            for (int i = 0; i < out_width; i++)
                *to++ = sum(between + (size_t)y.begin[row] * (size_t)out_width + i, (size_t)out_width, y.weight + (size_t)row * (size_t)y.most, y.length[row]);
    }
    sn_taps_free(&x);
    sn_taps_free(&y);
    sn_free(between);
    return made ? SN_OK : sn_fail_memory(error);
}
