/* The engine: who runs plans.
 *
 * It owns the thread that computes, the plans that were made, and the memory they run in. Everyone else
 * submits work and waits. Programs are kept by key, so that a decode step builds its graph once. */
#ifndef SN_RUNTIME_ENGINE_H
#define SN_RUNTIME_ENGINE_H

#include "compute/kv.h"
#include "runtime/store.h"
#include "tensor/plan.h"

typedef struct sn_engine sn_engine;
typedef struct sn_program sn_program;
typedef struct sn_trace sn_trace;
typedef struct sn_profile sn_profile; /* compute/profile.h */

/* threads 0 = as many as this process may use (affinity, cgroup quota). */
sn_status sn_engine_new(int threads, sn_engine **out, sn_error *error);
void sn_engine_free(sn_engine *engine);
int sn_engine_threads(const sn_engine *engine);

/* What dense products are computed in. auto: bf16 for models stored in bf16, f32 for all others. It is a property of the
 * run, never of the machine: where a processor has no bf16 the rounded values are multiplied as f32. At first f32. Programs
 * made before keep theirs. */
typedef enum sn_compute { SN_COMPUTE_F32, SN_COMPUTE_BF16, SN_COMPUTE_AUTO } sn_compute;
void sn_engine_set_compute(sn_engine *engine, sn_compute compute);
/* f32 or bf16: what that comes to for a model. */
sn_type sn_engine_compute(const sn_engine *engine, const sn_store *store);

/* Named tensors of the runs go to this sink while it is set; NULL = off. */
void sn_engine_set_trace(sn_engine *engine, sn_trace *trace);
sn_trace *sn_engine_trace(const sn_engine *engine);

/* Every step of the runs is timed into this profile while it is set; NULL = off. */
void sn_engine_set_profile(sn_engine *engine, sn_profile *profile);

/* Builds a graph and names its results with sn_name. */
typedef void sn_build(sn_graph *graph, const void *context);

typedef struct sn_program_key {
    const void *owner; /* store + part: what the graph belongs to */
    const char *part;
    int64_t a, b, c; /* tokens, rows, … */
} sn_program_key;

/* The program of that key, built when it is not there yet: its parameters are looked up in the store, `results`
 * are the names whose values are wanted. Valid until the engine is freed, its owner is forgotten, or 64 programs later,
 * counting those of all threads; several may ask and run at once. */
sn_status sn_engine_program(sn_engine *engine, const sn_program_key *key, sn_build *build, const void *context, sn_store *store,
                            const char *const *results, int num_results, sn_program **out, sn_error *error);

/* Drops the programs of an owner that goes away: another may come to lie at its address. */
void sn_engine_forget(sn_engine *engine, const void *owner);

/* Runs it: inputs in the order in which the graph made them; results are copied to results[i] where not NULL. */
sn_status sn_engine_run(sn_engine *engine, sn_program *program, const void *const *inputs, sn_kv_cache *cache,
                        const atomic_bool *cancel, float *const *results, sn_error *error);
/* The same, and `on_result` is called for each result that results[] takes, on the compute thread, as soon as its value is there:
 * most of the graph may still have to run. */
typedef void sn_on_result(void *context, int result);
sn_status sn_engine_run_listening(sn_engine *engine, sn_program *program, const void *const *inputs, float *const *results, sn_on_result *on_result,
                                  void *context, sn_error *error);
/* The same, looking for the first step whose result is not finite: its name is the error. */
sn_status sn_engine_check(sn_engine *engine, sn_program *program, const void *const *inputs, sn_kv_cache *cache, sn_error *error);

/* Bytes that a run needs for the values inside the graph. */
size_t sn_program_memory(const sn_program *program);

/* Number of inputs and shape of a result. */
int sn_program_inputs(const sn_program *program);
const sn_shape *sn_program_result_shape(const sn_program *program, int result);

/* Bytes that the plans' shared memory has grown to. */
size_t sn_engine_memory(const sn_engine *engine);

#endif
