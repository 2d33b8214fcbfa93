/* Draws by counter: nothing is kept but how far each source is. */
#include "train/mixture.h"

#include "base/random.h"
#include "data/dataset.h"

bool sn_mixture_weighted(const sn_mixture *m) {
    for (int i = 0; i < m->num_sources; i++)
        if (m->weight[i] > 0) return true;
    return false;
}

sn_draw sn_mixture_find(const sn_mixture *m, int64_t number) {
    sn_draw draw = {.index = number, .number = number};
    while (draw.source + 1 < m->num_sources && draw.index >= m->count[draw.source]) draw.index -= m->count[draw.source++];
    return draw;
}

/* The source at a place: a number below the sum of the weights, of 53 random bits. */
static int drawn_source(const sn_mixture *m, int64_t place) {
    enum { STREAM = 0x6d69 }; /* apart from the shuffles of the same seed */
    sn_philox random = sn_philox_at(m->seed, STREAM, (uint64_t)place);
    double sum = 0, at = (double)(((uint64_t)random.word[0] << 32 | random.word[1]) >> 11) * 0x1p-53;
    for (int i = 0; i < m->num_sources; i++) sum += m->weight[i];
    at *= sum;
    int source = m->num_sources - 1;
    for (int i = 0; i < m->num_sources; i++) {
        if (at < m->weight[i]) return i;
        at -= m->weight[i];
    }
    while (m->weight[source] <= 0) source--; /* rounding has led past the last one */
    return source;
}

sn_draw sn_mixture_next(sn_mixture *m) {
    int64_t place = m->state.place++;
    sn_draw draw;
    if (!sn_mixture_weighted(m)) {
        draw = sn_mixture_find(m, (int64_t)sn_shuffled(m->seed, (uint64_t)(place / m->total), (uint64_t)(place % m->total), (uint64_t)m->total));
        m->state.given[draw.source]++;
    } else {
        draw = (sn_draw){.source = drawn_source(m, place)};
        int64_t count = m->count[draw.source], given = m->state.given[draw.source]++;
        /* a key of its own, so that two sources of one size do not walk in step */
        uint64_t key = m->seed + 0x9e3779b97f4a7c15u * (uint64_t)(draw.source + 1);
        draw.index = draw.number = (int64_t)sn_shuffled(key, (uint64_t)(given / count), (uint64_t)(given % count), (uint64_t)count);
        for (int i = 0; i < draw.source; i++) draw.number += m->count[i];
    }
    draw.place = place;
    return draw;
}

void sn_mixture_seek(sn_mixture *m, int64_t place) {
    m->state = (sn_mixture_state){0};
    while (m->state.place < place) sn_mixture_next(m);
}
