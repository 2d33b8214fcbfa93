/* Where the time of a plan's steps goes, and what they have to do at least.
 *
 * While a profile observes, every step is timed and its cost is added up by operator: multiplications and additions,
 * and the bytes of weights and cached keys and values that it must read once. Against a machine's measured limits
 * these say how much of it a run reaches (the cost model of the roofline: Williams et al., CACM 52(4), 2009). */
#ifndef SN_COMPUTE_PROFILE_H
#define SN_COMPUTE_PROFILE_H

#include "tensor/plan.h"

typedef struct sn_profile_entry {
    int64_t calls;
    double seconds;
    double operations; /* multiplications and additions, each counted as one */
    double bytes;      /* of weights and of the cache; activations are not counted */
} sn_profile_entry;

typedef struct sn_profile sn_profile;
struct sn_profile {
    sn_profile_entry op[SN_OP_COUNT];
};

/* Adds one step that took so long; `profile` is an sn_profile: the observer of sn_bindings. */
void sn_profile_step(void *profile, const sn_run *run, sn_tensor t, double seconds);
/* All operators together. */
sn_profile_entry sn_profile_total(const sn_profile *profile);
/* "linear", "attention", … */
const char *sn_op_name(sn_op op);

#endif
