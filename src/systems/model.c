/* Recognising, opening, encoding. */
#include "systems/model.h"

#include "base/json.h"
#include "base/map.h"
#include "systems/parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

extern const sn_system sn_system_llava, sn_system_llama, sn_system_opt, sn_system_clip, sn_system_fromage;
const sn_system *const sn_systems[] = {&sn_system_llava, &sn_system_llama, &sn_system_fromage, &sn_system_opt, &sn_system_clip, NULL};

void sn_model_warn(sn_model *m, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *copy = sn_arena_strdup(m->arena, text);
    if (copy && sn_grow((void **)&m->warnings, &m->warning_capacity, m->num_warnings + 1, sizeof *m->warnings)) m->warnings[m->num_warnings++] = copy;
}

sn_status sn_model_source(sn_model *m, const char *path, sn_source **out, sn_error *error) {
    for (int i = 0; i < m->num_sources; i++)
        if (strcmp(m->sources[i]->path, path) == 0) {
            *out = m->sources[i];
            return SN_OK;
        }
    if (m->num_sources == SN_MAX_SOURCES) return sn_fail(error, SN_ERROR_INPUT, "%s: more than %d files", path, SN_MAX_SOURCES);
    sn_status status = sn_source_open(path, out, error);
    if (status) return status;
    m->sources[m->num_sources++] = *out;
    for (size_t i = 0; i < (*out)->num_warnings && i < 3; i++) sn_model_warn(m, "%s", (*out)->warnings[i]);
    return SN_OK;
}

sn_names *sn_model_names(sn_model *m, const sn_name_rule *rules, const char *canonical_prefix, const char *published_prefix, sn_source *const *sources,
                         int num_sources) {
    sn_source **kept = sn_arena_alloc(m->arena, (size_t)num_sources, sizeof *kept);
    char *prefix = sn_arena_strdup(m->arena, published_prefix);
    if (!kept || !prefix || m->num_names == SN_MAX_NAMES) return NULL;
    memcpy(kept, sources, (size_t)num_sources * sizeof *kept);
    m->names[m->num_names] = (sn_names){.rules = rules, .canonical_prefix = canonical_prefix, .published_prefix = prefix, .sources = kept, .num_sources = num_sources};
    return &m->names[m->num_names++];
}

bool sn_model_skip(sn_model *m, const sn_name_rule *rules, const char *prefix, sn_source *source) {
    sn_names *names = sn_model_names(m, rules, "unused.", prefix, &source, 1);
    if (names) names->partial = true;
    return names != NULL;
}

sn_status sn_model_json(const char *folder, const char *name, json_t **out, sn_error *error) {
    *out = NULL;
    char *path = sn_path_join(folder, name);
    if (!path) return sn_fail_memory(error);
    sn_status status = sn_is_file(path) ? sn_json_file(path, 64 << 20, out, error) : SN_OK;
    sn_free(path);
    return status;
}

static const char *main_path(const sn_model_files *f) { return f->main ? f->main : f->llm ? f->llm : f->delta ? f->delta : f->connector ? f->connector : f->vision; }

static sn_status named_system(const char *name, const sn_system **out, const char **why, sn_error *error) {
    sn_buf names = {0};
    for (int i = 0; sn_systems[i] && !*out; i++) {
        sn_buf_printf(&names, "%s%s", i ? ", " : "", sn_systems[i]->name);
        if (strcmp(sn_systems[i]->name, name) == 0) *out = sn_systems[i], *why = "--system says so";
    }
    sn_status status = *out ? SN_OK : sn_fail(error, SN_ERROR_USAGE, "system: found %s, expected one of %s", name, names.data ? names.data : "");
    sn_buf_free(&names);
    return status;
}

sn_status sn_system_recognise(const sn_model_files *files, const sn_system **out, const char **why, sn_error *error) {
    *out = NULL, *why = "";
    const char *path = main_path(files);
    if (!path) return sn_fail(error, SN_ERROR_USAGE, "no model was given");
    if (!sn_is_directory(path) && !sn_is_file(path)) return sn_fail(error, SN_ERROR_IO, "%s: no such file or folder", path);
    if (files->system) return named_system(files->system, out, why, error);
    const sn_system *rival = NULL;
    const char *rival_why = "", *seen = "";
    int most = 0;
    for (int i = 0; sn_systems[i]; i++) {
        int sure = sn_systems[i]->recognise(files, &seen);
        if (sure > most) most = sure, *out = sn_systems[i], *why = seen, rival = NULL;
        else if (sure && sure == most) rival = sn_systems[i], rival_why = seen;
    }
    if (!rival) return SN_OK;
    return sn_fail(error, SN_ERROR_INPUT, "%s: could be %s (%s) or %s (%s); say which with --system %s or --system %s", path, (*out)->title, *why, rival->title, rival_why,
                   (*out)->name, rival->name);
}

/* Why no system knows these files: a file that cannot be read says so better than "unknown". */
static sn_status explain_unknown(const char *path, sn_error *error) {
    json_t *config = NULL;
    sn_status status = SN_OK;
    if (sn_is_directory(path)) {
        if ((status = sn_model_json(path, "config.json", &config, error))) return status;
        const char *type = sn_json_string(config, "model_type");
        if (!config && sn_folder_holds(path, "state.json") && sn_folder_holds(path, "parameters.safetensors"))
            return sn_fail(error, SN_ERROR_INPUT, "%s: a checkpoint that `sensorium train` goes on from, not a model: `sensorium train RECIPE --export` leaves the newest one of a run as its result", path);
        status = config ? sn_fail(error, SN_ERROR_SUPPORT, "%s/config.json: model_type: found %s, which is none of the systems; `--system` says what it is", path, type ? type : "nothing")
                        : sn_fail(error, SN_ERROR_INPUT, "%s: not recognised as any of the systems: found no config.json that names one", path);
        json_decref(config);
        return status;
    }
    sn_source *source;
    if ((status = sn_source_open(path, &source, error))) return status;
    sn_source_close(source);
    return sn_fail(error, SN_ERROR_INPUT, "%s: a checkpoint, but not recognised as any of the systems; the folder with its config.json is wanted", path);
}

/* One line with a few names; `inspect` lists all. */
static sn_status refuse_misfits(sn_model *m, sn_error *error) {
    const sn_bind_list *missing = &m->report.missing, *misshapen = &m->report.misshapen, *unexpected = &m->report.unexpected;
    if (unexpected->count) sn_model_warn(m, "%zu tensors are not used (%s%s)", unexpected->count, unexpected->names[0], unexpected->count > 1 ? ", …" : "");
    if (!missing->count && !misshapen->count) return SN_OK;
    sn_buf text = {0};
    for (size_t i = 0; i < misshapen->count && i < 3; i++) sn_buf_printf(&text, "%s%s", i ? "; " : "", misshapen->names[i]);
    if (misshapen->count > 3) sn_buf_printf(&text, "; %zu more do not fit", misshapen->count - 3);
    if (missing->count) {
        sn_buf_printf(&text, "%s%zu tensors missing: ", text.length ? "; " : "", missing->count);
        for (size_t i = 0; i < missing->count && i < 3; i++) sn_buf_printf(&text, "%s%s", i ? ", " : "", missing->names[i]);
        if (missing->count > 3) sn_buf_puts(&text, ", …");
    }
    sn_status status = sn_fail(error, SN_ERROR_INPUT, "%s: %s", m->num_sources ? m->sources[0]->path : "model", text.data ? text.data : "tensors do not fit");
    sn_buf_free(&text);
    return status;
}

/* Systems speak of "config.json: key"; a person wants to know whose. */
static void name_config(const char *folder, sn_error *error) {
    char message[sizeof error->message];
    if (!error || !folder || strncmp(error->message, "config.json:", 12) != 0) return;
    memcpy(message, error->message, sizeof message);
    sn_fail(error, error->status, "%s/%s", folder, message);
}

static sn_status open_model(sn_engine *engine, const sn_model_files *files, bool inspect, sn_model **out, sn_error *error) {
    *out = NULL;
    const sn_system *best;
    const char *best_why, *main = main_path(files);
    sn_status status = sn_system_recognise(files, &best, &best_why, error);
    if (status) return status;
    if (!best) return explain_unknown(main, error);
    sn_model *m = sn_alloc(1, sizeof *m);
    if (!m) return sn_fail_memory(error);
    m->system = best, m->engine = engine, m->why = best_why, m->media_id = m->query_id = m->cut_id = -1;
    m->arena = sn_arena_new();
    m->store = sn_store_new();
    sn_graph *g = sn_graph_new();
    status = m->arena && m->store && g ? best->open(m, files, error) : sn_fail_memory(error);
    if (status) name_config(main, error);
    if (!status) {
        best->parameters(g, m);
        status = sn_bind(m->store, g, m->names, m->num_names, &m->report, error);
    }
    if (!status && best->check) status = best->check(m, error);
    if (!status && !inspect) status = refuse_misfits(m, error);
    sn_graph_free(g);
    if (status)
        sn_model_close(m);
    else
        *out = m;
    return status;
}

sn_status sn_model_open(sn_engine *engine, const sn_model_files *files, sn_model **out, sn_error *error) {
    return open_model(engine, files, false, out, error);
}

sn_status sn_model_inspect(sn_engine *engine, const sn_model_files *files, sn_model **out, sn_error *error) {
    return open_model(engine, files, true, out, error);
}

void sn_model_close(sn_model *m) {
    if (!m) return;
    if (m->system->close) m->system->close(m);
    sn_tokenizer_close(m->tokenizer);
    sn_bind_report_free(&m->report);
    sn_engine_forget(m->engine, m->store);
    sn_store_free(m->store);
    for (int i = 0; i < m->num_sources; i++) sn_source_close(m->sources[i]);
    sn_free(m->warnings);
    sn_arena_free(m->arena);
    sn_free(m);
}

typedef struct encode_context {
    const sn_model *model;
    int pictures;
} encode_context;

static void build_encode(sn_graph *g, const void *context) {
    const encode_context *c = context;
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(c->pictures, 3, c->model->image_size, c->model->image_size));
    c->model->system->encode(g, c->model, pixels);
}

static sn_status encode_program(sn_model *m, int pictures, sn_program **out, sn_error *error) {
    encode_context context = {m, pictures};
    sn_program_key key = {.owner = m->store, .part = "encode", .a = pictures};
    const char *result = "connector.output";
    return sn_engine_program(m->engine, &key, build_encode, &context, m->store, &result, 1, out, error);
}

sn_status sn_model_encode(sn_model *m, const float *pixels, int pictures, const atomic_bool *cancel, float *rows, sn_error *error) {
    sn_program *program;
    sn_status status = encode_program(m, pictures, &program, error);
    return status ? status : sn_engine_run(m->engine, program, (const void *const[]){pixels}, NULL, cancel, &rows, error);
}

static void build_keys(sn_graph *g, const void *context) {
    const encode_context *c = context;
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(c->pictures, 3, c->model->image_size, c->model->image_size));
    sn_name(g, c->model->system->key(g, c->model, pixels), "embed.image");
}

sn_status sn_model_keys(sn_model *m, const float *pixels, int pictures, float *keys, sn_error *error) {
    if (!m->system->key) return sn_fail(error, SN_ERROR_USAGE, "%s finds no pictures", m->system->title);
    encode_context context = {m, pictures};
    sn_program *program;
    const char *result = "embed.image";
    sn_program_key key = {.owner = m->store, .part = "keys", .a = pictures};
    sn_status status = sn_engine_program(m->engine, &key, build_keys, &context, m->store, &result, 1, &program, error);
    return status ? status : sn_engine_run(m->engine, program, (const void *const[]){pixels}, NULL, NULL, &keys, error);
}

sn_status sn_model_encode_memory(sn_model *m, int pictures, size_t *bytes, sn_error *error) {
    sn_program *program;
    sn_status status = encode_program(m, pictures, &program, error);
    if (!status) *bytes = sn_program_memory(program);
    return status;
}

/* ---- which weights these are ---- */

enum { SAMPLED_ROWS = 16 };

typedef struct hasher {
    uint64_t *values, *form;
    sn_first_row *first;
    void *context;
} hasher;

static sn_status hash_weight(const hasher *h, sn_store_entry *e, sn_error *error) {
    sn_weight *w = &e->weight;
    sn_status status = sn_weight_ready(w, error);
    if (status) return status;
    float *row = sn_alloc((size_t)w->columns + 1, sizeof *row);
    if (!row) return sn_fail_memory(error);
    for (int i = 0; i < 2; i++) h->form[i] = sn_hash(e->name, strlen(e->name), h->form[i]), h->form[i] = sn_hash(&w->shape, sizeof w->shape, h->form[i]);
    int64_t rows = w->rows < SAMPLED_ROWS ? w->rows : SAMPLED_ROWS;
    for (int64_t r = 0; r < rows; r++) {
        sn_weight_row_floats(w, r * w->rows / rows, row);
        for (int i = 0; i < 2; i++) h->values[i] = sn_hash(row, (size_t)w->columns * sizeof *row, h->values[i]);
        if (r == 0 && h->first) h->first(h->context, e->name, w, row);
    }
    sn_free(row);
    return SN_OK;
}

sn_status sn_model_hash(const sn_model *m, uint64_t values[2], uint64_t form[2], sn_first_row *first, void *context, sn_error *error) {
    hasher h = {.values = values, .form = form, .first = first, .context = context};
    sn_status status = SN_OK;
    for (int i = 0; i < 2; i++) values[i] = (uint64_t)i + 1, form[i] = (uint64_t)i + 3;
    for (size_t i = 0; i < m->store->count && !status; i++) status = hash_weight(&h, m->store->entries[i], error);
    return status;
}
