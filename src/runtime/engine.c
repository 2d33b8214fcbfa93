/* One compute thread, one block of memory, a small store of programs. */
#include "runtime/engine.h"

#include "base/cpu.h"
#include "compute/cpu/backend.h"
#include "compute/profile.h"
#include "runtime/trace.h"

#include <pthread.h>
#include <string.h>

enum { MAX_PROGRAMS = 64 };

struct sn_program {
    sn_program_key key;
    bool traced;
    sn_type compute;
    int running;   /* runs of it at present: it is not dropped then */
    uint64_t used; /* for dropping the one unused for longest */
    sn_plan *plan;
    sn_weight **params;
    sn_tensor *results;
    int num_results;
    int *in_order; /* results by the step that makes them */
    sn_tensor *named; /* outputs that only the trace asked for */
    const char **names;
    int num_named;
};

typedef struct job {
    void (*run)(void *context);
    void *context;
    bool done;
} job;

struct sn_engine {
    sn_compute compute;
    int threads;
    sn_trace *trace;
    sn_profile *profile;
    sn_program *programs[MAX_PROGRAMS];
    uint64_t clock;
    char *memory;
    size_t memory_bytes;
    pthread_t thread;
    pthread_mutex_t lock, turn; /* turn: one submitter at a time */
    pthread_mutex_t programs_lock;
    pthread_cond_t changed;
    job *pending;
    bool closing, started;
};

/* ---- the compute thread ---- */

static void *compute(void *context) {
    sn_engine *e = context;
    pthread_mutex_lock(&e->lock);
    while (!e->closing) {
        job *j = e->pending;
        if (!j || j->done) {
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        pthread_mutex_unlock(&e->lock);
        j->run(j->context);
        pthread_mutex_lock(&e->lock);
        j->done = true;
        pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* Runs on the compute thread and waits. */
static void submit(sn_engine *e, void (*run)(void *), void *context) {
    job j = {.run = run, .context = context};
    pthread_mutex_lock(&e->turn);
    pthread_mutex_lock(&e->lock);
    e->pending = &j;
    pthread_cond_broadcast(&e->changed);
    while (!j.done) pthread_cond_wait(&e->changed, &e->lock);
    e->pending = NULL;
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_unlock(&e->turn);
}

sn_status sn_engine_new(int threads, sn_engine **out, sn_error *error) {
    *out = NULL;
    sn_engine *e = sn_alloc(1, sizeof *e);
    if (!e) return sn_fail_memory(error);
    e->threads = threads > 0 ? threads : sn_cpu_count();
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->turn, NULL);
    pthread_mutex_init(&e->programs_lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 8 << 20);
    e->started = pthread_create(&e->thread, &attributes, compute, e) == 0;
    pthread_attr_destroy(&attributes);
    if (!e->started) {
        sn_engine_free(e);
        return sn_fail(error, SN_ERROR_MEMORY, "cannot start the compute thread");
    }
    *out = e;
    return SN_OK;
}

static void free_program(sn_program *p) {
    if (!p) return;
    sn_plan_free(p->plan);
    sn_free(p->params);
    sn_free(p->results);
    sn_free(p->in_order);
    sn_free(p->named);
    sn_free(p->names);
    sn_free(p);
}

void sn_engine_free(sn_engine *e) {
    if (!e) return;
    if (e->started) {
        pthread_mutex_lock(&e->lock);
        e->closing = true;
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    for (int i = 0; i < MAX_PROGRAMS; i++) free_program(e->programs[i]);
    sn_free(e->memory);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->turn);
    pthread_mutex_destroy(&e->programs_lock);
    pthread_cond_destroy(&e->changed);
    sn_free(e);
}

int sn_engine_threads(const sn_engine *e) { return e->threads; }
size_t sn_engine_memory(const sn_engine *e) { return e->memory_bytes; }
void sn_engine_set_trace(sn_engine *e, sn_trace *trace) { e->trace = trace; }
void sn_engine_set_profile(sn_engine *e, sn_profile *profile) { e->profile = profile; }
sn_trace *sn_engine_trace(const sn_engine *e) { return e->trace; }
void sn_engine_set_compute(sn_engine *e, sn_compute compute) { e->compute = compute; }

sn_type sn_engine_compute(const sn_engine *e, const sn_store *store) {
    if (e->compute != SN_COMPUTE_AUTO) return e->compute == SN_COMPUTE_BF16 ? SN_TYPE_BF16 : SN_TYPE_F32;
    return sn_store_main_type(store) == SN_TYPE_BF16 ? SN_TYPE_BF16 : SN_TYPE_F32;
}

/* ---- programs ---- */

static bool same_key(const sn_program *p, const sn_program_key *k, bool traced, sn_type compute) {
    return p->compute == compute && p->key.owner == k->owner && strcmp(p->key.part, k->part) == 0 && p->key.a == k->a && p->key.b == k->b && p->key.c == k->c && p->traced == traced;
}

static sn_status bind_params(sn_program *p, const sn_graph *g, sn_store *store, sn_error *error) {
    p->params = sn_alloc(g->num_params + 1, sizeof *p->params);
    if (!p->params) return sn_fail_memory(error);
    for (size_t i = 0; i < g->num_params; i++) {
        sn_store_entry *entry = sn_store_find(store, g->params[i].name);
        if (!entry) return sn_fail(error, SN_ERROR_INPUT, "the model has no parameter %s", g->params[i].name);
        p->params[i] = &entry->weight;
    }
    return SN_OK;
}

static sn_status order_results(sn_program *p, const sn_graph *g, sn_error *error) {
    p->in_order = sn_alloc((size_t)p->num_results + 1, sizeof *p->in_order);
    if (!p->in_order) return sn_fail_memory(error);
    for (int i = 0; i < p->num_results; i++) {
        int at = i;
        for (; at > 0 && g->nodes[p->results[p->in_order[at - 1]]].base > g->nodes[p->results[i]].base; at--) p->in_order[at] = p->in_order[at - 1];
        p->in_order[at] = i;
    }
    return SN_OK;
}

static sn_status build_program(sn_engine *e, const sn_program_key *key, sn_build *build, const void *context, sn_store *store,
                               const char *const *results, int num_results, sn_program *p, sn_error *error) {
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    build(g, context);
    p->key = *key, p->traced = e->trace != NULL, p->num_results = num_results;
    p->results = sn_alloc((size_t)num_results + 1, sizeof *p->results);
    p->named = sn_alloc(g->num_names + 1, sizeof *p->named);
    p->names = sn_alloc(g->num_names + 1, sizeof *p->names);
    sn_tensor *outputs = sn_alloc(g->num_names + (size_t)num_results + 1, sizeof *outputs);
    sn_status status = !p->results || !p->named || !p->names || !outputs ? sn_fail_memory(error) : SN_OK;
    int n = 0;
    for (int i = 0; i < num_results && !status && !g->error.status; i++) {
        p->results[i] = outputs[n++] = sn_contiguous(g, sn_find(g, results[i]));
        if (!p->results[i] && !g->error.status) status = sn_fail(error, SN_ERROR_USAGE, "the graph of %s has no result %s", key->part, results[i]);
    }
    if (!status && !g->error.status) status = order_results(p, g, error);
    size_t num_names = g->num_names;
    for (size_t i = 0; i < num_names && !status && e->trace; i++)
        if (sn_trace_wants(e->trace, g->names[i].name)) {
            p->names[p->num_named] = g->names[i].name;
            p->named[p->num_named++] = outputs[n++] = sn_contiguous(g, g->names[i].tensor);
        }
    if (!status && !g->error.status) status = bind_params(p, g, store, error);
    if (status) {
        sn_graph_free(g);
    } else {
        status = sn_plan_new(g, sn_backend_cpu(p->compute), e->threads, outputs, n, &p->plan, error);
    }
    sn_free(outputs);
    return status;
}

/* With the lock held. */
static sn_status find_or_build(sn_engine *e, const sn_program_key *key, sn_build *build, const void *context, sn_store *store,
                               const char *const *results, int num_results, sn_program **out, sn_error *error) {
    sn_type compute = sn_engine_compute(e, store);
    int slot = -1;
    for (int i = 0; i < MAX_PROGRAMS; i++) {
        sn_program *p = e->programs[i];
        if (p && same_key(p, key, e->trace != NULL, compute)) {
            p->used = ++e->clock;
            *out = p;
            return SN_OK;
        }
        bool free_slot = !p || p->running == 0, worse = slot < 0 || (e->programs[slot] && (!p || p->used < e->programs[slot]->used));
        if (free_slot && worse) slot = i;
    }
    if (slot < 0) return sn_fail(error, SN_ERROR_SUPPORT, "%d programs are running; expected fewer at a time", MAX_PROGRAMS);
    sn_program *p = sn_alloc(1, sizeof *p);
    if (!p) return sn_fail_memory(error);
    p->compute = compute;
    sn_status status = build_program(e, key, build, context, store, results, num_results, p, error);
    if (status) {
        free_program(p);
        return status;
    }
    free_program(e->programs[slot]);
    e->programs[slot] = p;
    p->used = ++e->clock;
    *out = p;
    return SN_OK;
}

sn_status sn_engine_program(sn_engine *e, const sn_program_key *key, sn_build *build, const void *context, sn_store *store,
                            const char *const *results, int num_results, sn_program **out, sn_error *error) {
    pthread_mutex_lock(&e->programs_lock);
    sn_status status = find_or_build(e, key, build, context, store, results, num_results, out, error);
    pthread_mutex_unlock(&e->programs_lock);
    return status;
}

void sn_engine_forget(sn_engine *e, const void *owner) {
    pthread_mutex_lock(&e->programs_lock);
    for (int i = 0; i < MAX_PROGRAMS; i++) {
        if (!e->programs[i] || e->programs[i]->key.owner != owner) continue;
        free_program(e->programs[i]);
        e->programs[i] = NULL;
    }
    pthread_mutex_unlock(&e->programs_lock);
}

size_t sn_program_memory(const sn_program *p) { return p->plan->bytes; }
int sn_program_inputs(const sn_program *p) { return p->plan->graph->num_inputs; }
const sn_shape *sn_program_result_shape(const sn_program *p, int i) { return &p->plan->graph->nodes[p->results[i]].shape; }

typedef struct run_job {
    sn_engine *engine;
    sn_program *program;
    sn_bindings bindings;
    float *const *results;
    sn_on_result *on_result;
    void *context;
    int given; /* results so far, of those in order */
    sn_error *error;
    sn_status status;
} run_job;

static sn_status prepare(sn_engine *e, sn_program *p, sn_error *error) {
    for (size_t i = 0; i < p->plan->graph->num_params; i++) {
        sn_status status = sn_weight_ready(p->params[i], error);
        if (status) return status;
    }
    if (e->memory_bytes >= p->plan->bytes && e->memory) return SN_OK;
    sn_free(e->memory);
    e->memory_bytes = 0;
    e->memory = sn_alloc(p->plan->bytes ? p->plan->bytes : 64, 1);
    if (!e->memory) return sn_fail_memory(error);
    e->memory_bytes = p->plan->bytes;
    sn_memory_huge(e->memory, e->memory_bytes);
    return SN_OK;
}

/* Hands out the results that are made by steps up to that of t. Steps run in the order of their tensors. */
static void give_results(void *context, const sn_run *run, sn_tensor t) {
    run_job *j = context;
    const sn_program *p = j->program;
    for (; j->given < p->num_results; j->given++) {
        int i = p->in_order[j->given];
        sn_tensor result = p->results[i];
        if (p->plan->graph->nodes[result].base > t) return;
        if (!j->results || !j->results[i]) continue;
        memcpy(j->results[i], sn_run_data(run, result), (size_t)sn_shape_count(sn_program_result_shape(p, i)) * sizeof(float));
        if (j->on_result) j->on_result(j->context, i);
    }
}

static void run_on_thread(void *context) {
    run_job *j = context;
    sn_program *p = j->program;
    j->status = prepare(j->engine, p, j->error);
    if (!j->status) j->status = sn_plan_run(p->plan, &j->bindings, j->engine->memory, j->error);
    if (j->status) return;
    sn_run run = {.plan = p->plan, .bind = &j->bindings, .memory = j->engine->memory};
    give_results(j, &run, (sn_tensor)p->plan->graph->num_nodes);
    for (int i = 0; i < p->num_named && j->engine->trace; i++)
        sn_trace_put(j->engine->trace, p->names[i], SN_TYPE_F32, p->plan->graph->nodes[p->named[i]].shape, sn_run_data(&run, p->named[i]));
}

static void count_run(sn_engine *e, sn_program *p, int change) {
    pthread_mutex_lock(&e->programs_lock);
    p->running += change;
    pthread_mutex_unlock(&e->programs_lock);
}

static sn_status run_program(sn_engine *e, sn_program *p, const sn_bindings *bindings, float *const *results, sn_on_result *on_result, void *context, sn_error *error) {
    run_job j = {.engine = e, .program = p, .results = results, .on_result = on_result, .context = context, .error = error, .bindings = *bindings};
    if (on_result) j.bindings.finished = give_results, j.bindings.listener = &j;
    if (e->profile) j.bindings.observe = sn_profile_step, j.bindings.observer = e->profile;
    count_run(e, p, 1);
    submit(e, run_on_thread, &j);
    count_run(e, p, -1);
    return j.status;
}

sn_status sn_engine_run(sn_engine *e, sn_program *p, const void *const *inputs, sn_kv_cache *cache, const atomic_bool *cancel,
                        float *const *results, sn_error *error) {
    return run_program(e, p, &(sn_bindings){.inputs = inputs, .params = p->params, .cache = cache, .cancel = cancel}, results, NULL, NULL, error);
}

sn_status sn_engine_run_listening(sn_engine *e, sn_program *p, const void *const *inputs, float *const *results, sn_on_result *on_result, void *context, sn_error *error) {
    return run_program(e, p, &(sn_bindings){.inputs = inputs, .params = p->params}, results, on_result, context, error);
}

sn_status sn_engine_check(sn_engine *e, sn_program *p, const void *const *inputs, sn_kv_cache *cache, sn_error *error) {
    sn_status status = run_program(e, p, &(sn_bindings){.inputs = inputs, .params = p->params, .cache = cache, .check = true}, NULL, NULL, NULL, error);
    return status ? status : sn_fail(error, SN_ERROR_NUMERIC, "a result was not finite, but not when it was computed again");
}
