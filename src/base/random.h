/* Random numbers by counter (Philox 4x32-10, Salmon et al., SC 2011): the same key and counter give the same
 * numbers, whatever the thread, the batch and the order. */
#ifndef SN_BASE_RANDOM_H
#define SN_BASE_RANDOM_H

#include <stdint.h>

typedef struct sn_philox {
    uint32_t word[4];
} sn_philox;

sn_philox sn_philox_at(uint64_t key, uint64_t counter_high, uint64_t counter_low);

/* A key that is kept as two words of 32 bits, the low one first. */
static inline uint64_t sn_random_key(const int32_t words[2]) { return (uint64_t)(uint32_t)words[1] << 32 | (uint32_t)words[0]; }

/* Uniform in [0, 1) with 24 bits; standard normal (Box-Muller). `stream` tells draws of one key apart. */
float sn_uniform(uint64_t key, uint64_t stream, uint64_t index);
float sn_normal(uint64_t key, uint64_t stream, uint64_t index);

#endif
