/* Writing aside, renaming; reading back with every name and shape checked. */
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/json.h"
#include "weights/writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 3, STATE_LIMIT = 16 << 20 };

static const char *const kinds[] = {"value", "m", "v"};

static float *part_of(const sn_trainable *t, int kind) { return kind == 0 ? t->value : kind == 1 ? t->moments.m : t->moments.v; }

/* Moments of which other processes have pieces: one tensor at a time is whole, while it is written. */
typedef struct gathering {
    sn_share *share;
    float *whole;
} gathering;

static const void *gather(void *context, size_t index, sn_error *error) {
    const gathering *g = context;
    return sn_share_collect(g->share, index / 3, index % 3 == 2, g->whole, error) ? NULL : g->whole;
}

static void remove_folder(const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *file = sn_path_join(path, e->d_name);
        if (file) unlink(file);
        sn_free(file);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

/* The number of a folder called step-N (whole) or step-N.part; -1 for other names. */
static int64_t step_of(const char *name, bool *part) {
    char *end;
    if (strncmp(name, "step-", 5) != 0) return -1;
    long long n = strtoll(name + 5, &end, 10);
    *part = strcmp(end, ".part") == 0;
    return end > name + 5 && (*end == 0 || *part) && n >= 0 ? n : -1;
}

static int descending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (y > x) - (y < x);
}

/* Whole checkpoints, newest first; unfinished ones are removed. */
static int64_t *list_steps(const char *folder, size_t *count) {
    size_t capacity = 0;
    int64_t *steps = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        bool part;
        int64_t step = step_of(e->d_name, &part);
        if (step < 0) continue;
        char *path = sn_path_join(folder, e->d_name);
        if (part && path) remove_folder(path);
        else if (sn_grow((void **)&steps, &capacity, *count + 1, sizeof *steps)) steps[(*count)++] = step;
        sn_free(path);
    }
    if (dir) closedir(dir);
    if (*count) qsort(steps, *count, sizeof *steps, descending);
    return steps;
}

static void sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) fsync(fd), close(fd);
}

static sn_status write_parameters(const char *path, const sn_trainer *t, sn_share *share, sn_error *error) {
    gathering g = {.share = share};
    int64_t largest = 0;
    sn_arena *arena = sn_arena_new();
    sn_tensor_out *tensors = sn_alloc(3 * t->count + 1, sizeof *tensors);
    sn_status status = arena && tensors ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < t->count && !status; i++)
        for (int k = 0; k < 3; k++)
            tensors[3 * i + (size_t)k] = (sn_tensor_out){sn_arena_format(arena, "%s/%s", kinds[k], t->trainables[i].entry->name), SN_TYPE_F32, t->trainables[i].entry->weight.shape, share && k ? NULL : part_of(&t->trainables[i], k)};
    for (size_t i = 0; i < t->count; i++) largest = t->trainables[i].count > largest ? t->trainables[i].count : largest;
    if (!status && share && !(g.whole = sn_alloc((size_t)largest + 1, sizeof *g.whole))) status = sn_fail_memory(error);
    if (!status) status = sn_safetensors_write_given(path, tensors, 3 * t->count, gather, &g, error);
    sn_free(g.whole);
    sn_free(tensors);
    sn_arena_free(arena);
    return status;
}

/* How far the data are: the next place, and of each source how much it has given. */
static json_t *data_state(const sn_mixture *m) {
    json_t *sources = json_array();
    for (int i = 0; i < m->num_sources; i++)
        json_array_append_new(sources, json_pack("{s:s, s:I, s:I}", "path", m->name[i], "samples", (json_int_t)m->count[i], "given", (json_int_t)m->state.given[i]));
    return json_pack("{s:I, s:o}", "place", (json_int_t)m->state.place, "sources", sources);
}

/* How often each parameter was moved is part of the optimizer's state. Freed by free. */
static char *state_text(const sn_trainer *t, const sn_training_state *state) {
    char recipe[20], rest[20];
    snprintf(recipe, sizeof recipe, "%016" PRIx64, state->recipe);
    snprintf(rest, sizeof rest, "%016" PRIx64, state->rest);
    json_t *updates = json_array();
    for (size_t i = 0; i < t->count; i++) json_array_append_new(updates, json_integer(t->trainables[i].moments.updates));
    json_t *root = json_pack("{s:i, s:I, s:I, s:s, s:s, s:o, s:o}", "version", VERSION, "step", (json_int_t)state->step, "skipped", (json_int_t)state->skipped, "recipe", recipe, "rest", rest, "data", data_state(&state->mixture), "updates", updates);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

static sn_status write_whole(const char *folder, const sn_trainer *t, sn_share *share, const sn_training_state *state, unsigned keep, sn_error *error) {
    char *whole = sn_format("%s/step-%" PRId64, folder, state->step), *part = sn_format("%s/step-%" PRId64 ".part", folder, state->step);
    char *parameters = part ? sn_path_join(part, "parameters.safetensors") : NULL, *json = part ? sn_path_join(part, "state.json") : NULL;
    char *text = state_text(t, state);
    sn_status status = whole && part && parameters && json && text ? SN_OK : sn_fail_memory(error);
    if (!status) {
        remove_folder(part);
        if (mkdir(part, 0755) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", part, strerror(errno));
    }
    if (!status) status = write_parameters(parameters, t, share, error);
    if (!status) status = sn_write_file(json, text, strlen(text), error);
    if (!status) {
        sync_folder(part);
        remove_folder(whole);
        if (rename(part, whole) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", whole, strerror(errno));
        sync_folder(folder);
    }
    if (status && part) remove_folder(part);
    size_t count = 0;
    int64_t *steps = status ? NULL : list_steps(folder, &count);
    for (size_t i = keep; i < count; i++) {
        char *old = sn_format("%s/step-%" PRId64, folder, steps[i]);
        if (old) remove_folder(old);
        sn_free(old);
    }
    sn_free(steps);
    sn_free(whole);
    sn_free(part);
    sn_free(parameters);
    sn_free(json);
    free(text);
    return status;
}

/* The mixture's state, for the sources that the recipe opened. Checkpoints of version 2 have none: their step says it. */
static sn_status read_data(const char *path, const json_t *root, sn_mixture *m, sn_error *error) {
    const json_t *data = json_object_get(root, "data"), *sources = json_object_get(data, "sources");
    sn_mixture_state state = {0};
    int64_t sum = 0;
    sn_status status = SN_OK;
    if (!data) return SN_OK;
    if (json_array_size(sources) != (size_t)m->num_sources)
        return sn_fail(error, SN_ERROR_INPUT, "%s: data.sources: found %zu, expected the recipe's %d", path, json_array_size(sources), m->num_sources);
    for (int i = 0; i < m->num_sources && !status; i++) {
        const json_t *one = json_array_get(sources, (size_t)i);
        int64_t samples = -1;
        status = sn_json_integer(path, one, "samples", 0, INT64_MAX, &samples, error);
        if (!status && samples != m->count[i])
            status = sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %lld samples, expected the %lld that it had when the run was stopped; with other data begin again in another save.folder or with --fresh", path, m->name[i], (long long)m->count[i], (long long)samples);
        if (!status) status = sn_json_integer(path, one, "given", 0, INT32_MAX * (int64_t)4096, &state.given[i], error);
        sum += state.given[i];
    }
    if (!status) status = sn_json_integer(path, root, "data.place", 0, INT64_MAX, &state.place, error);
    if (!status && sum != state.place) status = sn_fail(error, SN_ERROR_INPUT, "%s: data: the sources have given %lld samples, expected %lld: not a whole checkpoint", path, (long long)sum, (long long)state.place);
    if (!status) m->state = state;
    return status;
}

sn_status sn_checkpoint_write(const char *folder, const sn_trainer *t, sn_share *share, const sn_training_state *state, unsigned keep, sn_error *error) {
    const char *bad = sn_trainer_bad_parameter(t);
    if (bad) return sn_fail(error, SN_ERROR_NUMERIC, "step %" PRId64 ": %s holds values that are not finite; no checkpoint is written of it; the last one stays: with --new-rates a lower optimizer.lr goes on from it", state->step, bad);
    if (sn_share_rank(share) > 0) return sn_share_serve(share, error);
    sn_error lost = {0};
    sn_status status = write_whole(folder, t, share, state, keep, error);
    if (sn_share_collect_end(share, &lost) && !status) status = sn_fail(error, lost.status, "%s", lost.message);
    return status;
}

static sn_status read_state(const char *path, const json_t *root, uint64_t recipe, sn_trainer *t, sn_training_state *state, sn_error *error) {
    const char *hash = sn_json_string(root, "recipe"), *rest = sn_json_string(root, "rest");
    int64_t version = 0;
    sn_status status = sn_json_integer(path, root, "version", 1, INT64_MAX, &version, error);
    if (!status && version > VERSION) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: version: found %" PRId64 ", expected at most %d: a later sensorium has written it", path, version, VERSION);
    if (!status) status = sn_json_integer(path, root, "step", 0, INT64_MAX, &state->step, error);
    if (!status) status = sn_json_integer(path, root, "skipped", 0, INT64_MAX, &state->skipped, error);
    state->recipe = hash ? strtoull(hash, NULL, 16) : 0;
    bool kin = rest && state->rest && strtoull(rest, NULL, 16) == state->rest;
    if (!status && state->recipe != recipe && kin && !state->new_rates)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: this checkpoint belongs to another recipe: its rates (optimizer.lr, connector_lr, weight_decay, max_grad_norm, schedule, those of train) differ; --new-rates goes on from it with the new ones; or use another save.folder or --fresh", path);
    else if (!status && state->recipe != recipe && !kin)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: this checkpoint belongs to another recipe (data, batch, optimizer, schedule or seed differ); use another save.folder or --fresh", path);
    if (!status) state->recipe = recipe;
    if (!status) status = read_data(path, root, &state->mixture, error);
    const json_t *updates = sn_json_at(root, "updates");
    if (!status && json_array_size(updates) != t->count)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: updates: found %zu numbers, expected %zu: not a whole checkpoint of this model", path, json_array_size(updates), t->count);
    for (size_t i = 0; i < t->count && !status; i++) t->trainables[i].moments.updates = json_integer_value(json_array_get(updates, i));
    return status;
}

/* The whole value, or what this process keeps of a moment. */
static void take(sn_trainable *t, int kind, const float *whole) {
    if (kind == 0) memcpy(t->value, whole, (size_t)t->count * sizeof *whole);
    else memcpy(part_of(t, kind), whole + t->own_first, (size_t)t->own_count * sizeof *whole);
}

static sn_status read_parameters(const char *path, sn_trainer *t, sn_error *error) {
    sn_source *source;
    sn_status status = sn_source_open(path, &source, error);
    if (status) return status;
    for (size_t i = 0; i < t->count && !status; i++)
        for (int k = 0; k < 3 && !status; k++) {
            char name[600];
            snprintf(name, sizeof name, "%s/%s", kinds[k], t->trainables[i].entry->name);
            const sn_source_tensor *tensor = sn_source_find(source, name);
            if (!tensor || tensor->type != SN_TYPE_F32 || !sn_shape_equal(&tensor->shape, &t->trainables[i].entry->weight.shape))
                status = sn_fail(error, SN_ERROR_INPUT, "%s: %s: missing or of another shape: not a whole checkpoint of this model", path, name);
            else
                take(&t->trainables[i], k, (const float *)(const void *)tensor->data);
        }
    if (!status && source->count != 3 * t->count) status = sn_fail(error, SN_ERROR_INPUT, "%s: found %zu tensors, expected %zu", path, source->count, 3 * t->count);
    sn_source_close(source);
    return status;
}

sn_status sn_checkpoint_read(const char *folder, sn_trainer *t, uint64_t recipe, sn_training_state *state, bool *found, sn_error *error) {
    size_t count;
    int64_t *steps = list_steps(folder, &count);
    *found = count > 0;
    sn_status status = SN_OK;
    if (count) {
        char *parameters = sn_format("%s/step-%" PRId64 "/parameters.safetensors", folder, steps[0]), *json = sn_format("%s/step-%" PRId64 "/state.json", folder, steps[0]);
        json_t *root = NULL;
        status = parameters && json ? sn_json_file(json, STATE_LIMIT, &root, error) : sn_fail_memory(error);
        bool damaged = status != SN_OK;
        if (!status) status = read_state(json, root, recipe, t, state, error);
        if (!status && (status = read_parameters(parameters, t, error))) damaged = true;
        if (damaged && status != SN_ERROR_MEMORY && count > 1) { /* never silently: steps that were done would be done again */
            sn_error inner = *error;
            sn_fail(error, status, "%s; take %s/step-%" PRId64 " away, and the run goes on from step-%" PRId64, inner.message, folder, steps[0], steps[1]);
        }
        t->step = state->step;
        json_decref(root);
        sn_free(parameters);
        sn_free(json);
    }
    sn_free(steps);
    return status;
}
