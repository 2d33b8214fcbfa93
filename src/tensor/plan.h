/* A plan: what of a graph is computed, by which kernels, and where every value lies.
 *
 * sn_plan_new keeps the nodes that the requested outputs need, gives each a place in one block of memory so
 * that places of values which are no longer needed are used again, and looks up the backend's kernels. A
 * plan never changes afterwards and can be run any number of times with other inputs. */
#ifndef SN_TENSOR_PLAN_H
#define SN_TENSOR_PLAN_H

#include "tensor/weight.h"

#include <stdatomic.h>

typedef struct sn_run sn_run;
typedef struct sn_plan sn_plan;

/* Computes node t of the run's plan. */
typedef void sn_kernel(const sn_run *run, sn_tensor t);
/* Bytes of scratch memory that the kernel wants while it runs. */
typedef size_t sn_scratch_size(const sn_plan *plan, sn_tensor t);

typedef struct sn_backend {
    const char *name;
    int real_bytes; /* 4, or 8 for the double reference */
    sn_type compute; /* f32; bf16: what the graph computed is rounded to it where it is multiplied with a weight */
    sn_kernel *kernel[SN_OP_COUNT];
    sn_scratch_size *scratch[SN_OP_COUNT]; /* NULL = none */
} sn_backend;

struct sn_plan {
    sn_graph *graph; /* owned */
    const sn_backend *backend;
    int threads;
    sn_tensor *steps;
    size_t num_steps;
    int64_t *place;   /* by tensor: byte offset of a node that owns memory, -1 otherwise */
    int64_t *scratch; /* by tensor: byte offset of its scratch */
    int32_t *together;  /* by step: so many steps from here on run in pieces of rows (below); 1 = this one alone */
    bool *in_pieces;    /* by tensor: its memory holds one piece of rows */
    size_t bytes;
};

/* Steps whose rows do not depend on each other (a feed-forward block) are run together, some of their rows at a time,
 * where that makes what lies between them much smaller. Kernels see only those rows (sn_run_matrix). */

/* Takes the graph (freed with the plan, or on error). Reports the graph's own error, if it has one. */
sn_status sn_plan_new(sn_graph *graph, const sn_backend *backend, int threads, const sn_tensor *outputs, int num_outputs,
                      sn_plan **out, sn_error *error);
void sn_plan_free(sn_plan *plan);

struct sn_kv_cache; /* compute/kv.h */

/* What a plan is run with. inputs by index of sn_input (real_bytes wide for f32 inputs), params by index of
 * sn_param. */
typedef struct sn_bindings {
    const void *const *inputs;
    sn_weight *const *params;
    struct sn_kv_cache *cache;
    const atomic_bool *cancel; /* looked at between steps; may be NULL */
    bool check;                /* look at every result: the first that is not finite is an error that names it */
    /* Called behind each step with the time it took; may be NULL. */
    void (*observe)(void *observer, const sn_run *run, sn_tensor t, double seconds);
    void *observer;
    /* Called behind each step, in their order, while later ones have still to run; may be NULL. */
    void (*finished)(void *listener, const sn_run *run, sn_tensor t);
    void *listener;
} sn_bindings;

struct sn_run {
    const sn_plan *plan;
    const sn_bindings *bind;
    char *memory; /* plan->bytes */
    int64_t all_rows, first_row, rows; /* of steps that run in pieces: all, and those of this piece; rows 0 = not in pieces */
};

/* Runs the steps in order. memory: plan->bytes, 64-byte aligned. The results lie where sn_run_data says. */
sn_status sn_plan_run(const sn_plan *plan, const sn_bindings *bindings, char *memory, sn_error *error);

/* First element of a tensor (f32 values are real_bytes wide). Parameters come as floats. */
void *sn_run_data(const sn_run *run, sn_tensor t);

/* A tensor as a matrix of rows with a common distance, in elements. */
typedef struct sn_matrix {
    void *data;
    int64_t rows, columns, stride;
} sn_matrix;
sn_matrix sn_run_matrix(const sn_run *run, sn_tensor t);

static inline void *sn_run_scratch(const sn_run *run, sn_tensor t) { return run->memory + run->plan->scratch[t]; }
static inline sn_weight *sn_run_weight(const sn_run *run, sn_tensor t) {
    return run->bind->params[run->plan->graph->nodes[t].index];
}

#endif
