/* Samples loaded ahead of need by threads of their own, handed over in the order in which they were drawn: how many
 * threads there are changes no sample, no order and no error. */
#ifndef SN_TRAIN_LOADER_H
#define SN_TRAIN_LOADER_H

#include "systems/model.h"
#include "train/mixture.h"

/* A sample that is ready for a pass, or the reason why it is not. */
typedef struct sn_loaded {
    sn_draw draw;
    sn_status status;
    sn_error error;
    sn_sample sample;
    float *pixels; /* [pictures, 3, H, W], or NULL */
    char *id;      /* or NULL */
    int64_t learnt;
    int64_t whole, whole_learnt; /* positions, and learnt ones, before its end was cut off */
    bool cut;      /* longer than the window */
    bool mute;     /* whole, but without a learnt token */
} sn_loaded;
void sn_loaded_free(sn_loaded *loaded);

/* What is loaded: `draw` is called in order, one call at a time; `load` by all threads at once, and fills everything but
 * out->draw. */
typedef struct sn_loader_work {
    void *context;
    sn_draw (*draw)(void *context);
    void (*load)(const void *context, sn_loaded *out);
} sn_loader_work;

typedef struct sn_loader sn_loader;

/* workers threads (at least 1) keep up to `ahead` samples ready; at most `count` are drawn at all. */
sn_status sn_loader_open(const sn_loader_work *work, int workers, int ahead, int64_t count, sn_loader **out, sn_error *error);

/* The next sample, waited for where it is not ready; sn_loaded_free. At most `count` times. */
void sn_loader_take(sn_loader *loader, sn_loaded *out);

/* Lets every thread finish the sample at hand, joins it, and drops what was not taken. */
void sn_loader_close(sn_loader *loader);

#endif
