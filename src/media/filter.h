/* Resampling filters, and the weights by which the samples of one axis are taken together. */
#ifndef SN_MEDIA_FILTER_H
#define SN_MEDIA_FILTER_H

#include "base/memory.h"

typedef enum sn_filter { SN_FILTER_NEAREST, SN_FILTER_LANCZOS, SN_FILTER_BILINEAR, SN_FILTER_BICUBIC, SN_FILTER_BOX, SN_FILTER_HAMMING } sn_filter;

/* For each of `count` outputs: the inputs [begin, begin + length) and their weights, weight[output * most + i]. */
typedef struct sn_taps {
    int count, most;
    int *begin, *length;
    double *weight;
} sn_taps;

/* Room for `count` outputs of at most `most` inputs each; false without memory. */
bool sn_taps_new(int count, int most, sn_taps *taps);
void sn_taps_free(sn_taps *taps);

/* Pillow's weights for outputs [first, first + count) of `out` that lie evenly on the part [low, high) of `in` samples;
 * where there are fewer outputs than inputs the filter is stretched (antialias). Not for SN_FILTER_NEAREST. */
bool sn_taps_filter(sn_filter filter, int64_t in, double low, double high, int64_t out, int64_t first, int count, sn_taps *taps);

/* Lowest input that the taps read, and how many they span. */
int sn_taps_span(const sn_taps *taps, int *first);

#endif
