/* Philox 4x32-10. */
#include "base/random.h"

#include <math.h>

sn_philox sn_philox_at(uint64_t key, uint64_t high, uint64_t low) {
    uint32_t c[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * c[0], p1 = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
    return (sn_philox){{c[0], c[1], c[2], c[3]}};
}

float sn_uniform(uint64_t key, uint64_t stream, uint64_t index) {
    return (float)(sn_philox_at(key, stream, index / 4).word[index % 4] >> 8) * 0x1p-24f;
}

float sn_normal(uint64_t key, uint64_t stream, uint64_t index) {
    sn_philox p = sn_philox_at(key, stream, index / 2);
    const uint32_t *w = p.word + 2 * (index % 2);
    double u = ((double)w[0] + 1) * 0x1p-32, v = (double)w[1] * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}
