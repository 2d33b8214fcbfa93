/* Pillow's filters and windows, in double. */
#include "media/filter.h"

#include <math.h>

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

bool sn_taps_new(int count, int most, sn_taps *taps) {
    *taps = (sn_taps){.count = count, .most = most};
    taps->begin = sn_alloc((size_t)count, sizeof *taps->begin);
    taps->length = sn_alloc((size_t)count, sizeof *taps->length);
    taps->weight = sn_alloc((size_t)count, (size_t)most * sizeof *taps->weight);
    if (taps->begin && taps->length && taps->weight) return true;
    sn_taps_free(taps);
    return false;
}

void sn_taps_free(sn_taps *taps) {
    sn_free(taps->begin);
    sn_free(taps->length);
    sn_free(taps->weight);
    *taps = (sn_taps){0};
}

bool sn_taps_filter(sn_filter filter, int64_t in, double low, double high, int64_t out, int64_t first, int count, sn_taps *taps) {
    double scale = (high - low) / (double)out, stretch = scale > 1 ? scale : 1, support = support_of(filter) * stretch, inverse = 1 / stretch;
    if (!sn_taps_new(count, (int)ceil(support) * 2 + 1, taps)) return false;
    for (int i = 0; i < count; i++) {
        double centre = low + ((double)(first + i) + 0.5) * scale, sum = 0, *w = taps->weight + (size_t)i * (size_t)taps->most;
        int begin = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (begin < 0) begin = 0;
        if (end > in) end = (int)in;
        taps->begin[i] = begin, taps->length[i] = end - begin;
        for (int k = 0; k < end - begin; k++) sum += w[k] = filter_at(filter, ((double)(k + begin) - centre + 0.5) * inverse);
        for (int k = 0; k < end - begin && sum != 0; k++) w[k] /= sum;
    }
    return true;
}

int sn_taps_span(const sn_taps *taps, int *first) {
    int last = 0;
    *first = taps->begin[0];
    for (int i = 0; i < taps->count; i++) {
        if (taps->begin[i] < *first) *first = taps->begin[i];
        if (taps->begin[i] + taps->length[i] > last) last = taps->begin[i] + taps->length[i];
    }
    return last - *first;
}
