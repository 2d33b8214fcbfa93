/* The inner loops of the 8-bit resize: one line along its pixels, and one line out of several. Each output is
 * (2^21 + sum of pixel * weight) >> 22, clipped to 0..255, in 32-bit integers: the same on every machine. */
#ifndef SN_MEDIA_PASSES_H
#define SN_MEDIA_PASSES_H

#include "media/filter.h"

/* Values that the horizontal loop takes at once: whole pixels of 1, 2, 3 or 4 channels. */
enum { SN_PASS_BLOCK = 24 };

/* Integer weights of one axis. `flat` has the plain ones [count, most]; `wide` (where the axis runs along a line) repeats each
 * weight for every channel and fills up with zeros to whole blocks [count, blocks * SN_PASS_BLOCK]. */
typedef struct sn_kernel {
    int count, most, channels, blocks;
    int *begin, *length;
    int32_t *flat, *wide;
} sn_kernel;

/* From taps to fixed point with 22 bits behind the point; begins are counted from input `origin`. channels > 0: also the wide
 * form. False without memory. */
bool sn_kernel_new(const sn_taps *taps, int origin, int channels, sn_kernel *kernel);
void sn_kernel_free(sn_kernel *kernel);

typedef struct sn_passes {
    void (*widen)(const uint8_t *from, size_t count, int32_t *to);
    /* Outputs [from, to) of a line, to out (which begins at output 0). Behind the line up to most * channels + SN_PASS_BLOCK values more are read, and do not count. */
    void (*horizontal)(const sn_kernel *kernel, int from, int to, const int32_t *line, uint8_t *out);
    /* Bytes [0, bytes) of output `row`; lines[i] + offset is where input i begins. */
    void (*vertical)(const sn_kernel *kernel, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out);
} sn_passes;

/* The fastest for this machine. */
const sn_passes *sn_passes_of_cpu(void);

#endif
