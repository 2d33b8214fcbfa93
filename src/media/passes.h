/* The inner loops of the 8-bit resize: one line along its pixels, and one line out of several. Each output is
 * (2^21 + sum of pixel * weight) >> 22, clipped to 0..255, in 32-bit integers: the same on every machine. */
#ifndef SN_MEDIA_PASSES_H
#define SN_MEDIA_PASSES_H

#include "media/filter.h"

/* The horizontal loop reads lines in groups of four pixels, channel by channel: rrrr gggg bbbb aaaa, 16 bytes; a picture of fewer
 * channels leaves the last ones 0. */
enum { SN_PASS_GROUP = 4, SN_PASS_GROUP_BYTES = 16 };

/* Integer weights of one axis. `flat` has the plain ones [count, most]; `halves` (where the axis runs along a line) has them for
 * whole groups [count, groups, 2, 4], each weight as its high half and its low 12 bits, so that products are of 16 bits: zeros
 * stand before the first input's place in its group and behind the last one's. */
typedef struct sn_kernel {
    int count, most, channels, groups;
    int *begin, *length;
    int32_t *flat;
    int16_t *halves;
} sn_kernel;

/* From taps to fixed point with 22 bits behind the point; begins are counted from input `origin`. channels > 0: also the
 * halves. False without memory. */
bool sn_kernel_new(const sn_taps *taps, int origin, int channels, sn_kernel *kernel);
void sn_kernel_free(sn_kernel *kernel);

typedef struct sn_passes {
    /* Pixels of `channels` channels into the places [at, at + pixels) of a line in groups. */
    void (*pack)(const uint8_t *from, int pixels, int channels, int at, uint8_t *line);
    /* Outputs [from, to) of a line in groups, to out (which begins at output 0). */
    void (*horizontal)(const sn_kernel *kernel, int from, int to, const uint8_t *line, uint8_t *out);
    /* Bytes [0, bytes) of output `row`; lines[i] + offset is where input i begins. */
    void (*vertical)(const sn_kernel *kernel, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out);
} sn_passes;

/* The fastest for this machine. */
const sn_passes *sn_passes_of_cpu(void);

#endif
