/* This machine's limits, measured: how fast memory is read and how fast f32 numbers are multiplied and added. */
#ifndef SN_CLI_PROBE_H
#define SN_CLI_PROBE_H

#include "runtime/store.h"

/* Bytes per second at which `threads` threads read the model's own weights, or, where those are smaller than a cache,
 * 256 MiB of fresh memory; the best of some passes. 0 without memory. */
double sn_probe_read(const sn_store *store, int threads);

/* Multiplications and additions per second of `threads` threads in registers alone, at the widest vectors that the
 * program uses on this machine (SN_CPU counts). */
double sn_probe_multiply(int threads);

#endif
