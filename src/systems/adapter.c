/* adapter_config.json: rank and scale of every update, and what is not supported. */
#include "systems/adapter.h"

#include "systems/parts.h"
#include "text/pattern.h"

#include <math.h>
#include <string.h>

sn_status sn_adapter_file(const char *folder, char **path, sn_error *error) {
    *path = sn_path_join(folder, sn_folder_holds(folder, "adapter_model.safetensors") ? "adapter_model.safetensors" : "adapter_model.bin");
    if (!*path) return sn_fail_memory(error);
    if (sn_is_file(*path)) return SN_OK;
    sn_free(*path);
    *path = NULL;
    return sn_fail(error, SN_ERROR_INPUT, "%s: adapter_config.json without adapter_model.bin or adapter_model.safetensors", folder);
}

/* ---- patterns: modules with a rank or an alpha of their own ---- */

enum { MAX_PATTERNS = 4096, MAX_MODULE = 512 };

typedef struct pattern {
    sn_pattern *regex;
    double value;
} pattern;

typedef struct patterns {
    pattern *list;
    size_t count;
} patterns;

static void free_patterns(patterns *p) {
    for (size_t i = 0; i < p->count; i++) sn_pattern_free(p->list[i].regex);
    sn_free(p->list);
    *p = (patterns){0};
}

static sn_status read_patterns(const json_t *config, const char *field, double low, double high, patterns *out, sn_error *error) {
    json_t *object = sn_json_at(config, field), *value;
    const char *key;
    *out = (patterns){0};
    if (!object || json_is_null(object)) return SN_OK;
    if (!json_is_object(object) || json_object_size(object) > MAX_PATTERNS) return sn_fail(error, SN_ERROR_INPUT, "adapter_config.json: %s: expected an object of at most %d patterns", field, MAX_PATTERNS);
    if (!(out->list = sn_alloc(json_object_size(object) + 1, sizeof *out->list))) return sn_fail_memory(error);
    json_object_foreach(object, key, value) {
        double number = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(number >= low && number <= high)) return sn_fail(error, SN_ERROR_INPUT, "adapter_config.json: %s: %s: expected a number from %g to %g", field, key, low, high);
        char *whole = sn_format("^(?:.*\\.)?(?:%s)$", key), *where = sn_format("adapter_config.json: %s: %s", field, key);
        sn_status status = whole && where ? sn_pattern_regex(where, whole, strlen(whole), &out->list[out->count].regex, error) : sn_fail_memory(error);
        sn_free(whole);
        sn_free(where);
        if (status) return status;
        out->list[out->count++].value = number;
    }
    return SN_OK;
}

/* The value of the first pattern that fits, otherwise that of all. */
static double value_for(const patterns *p, const char *module, double otherwise, bool *failed) {
    for (size_t i = 0; i < p->count; i++) {
        sn_search s;
        size_t begin, end;
        sn_search_begin(&s, p->list[i].regex, module, strlen(module));
        bool found = sn_search_next(&s, &begin, &end);
        *failed |= s.failed;
        sn_search_end(&s);
        if (found) return p->list[i].value;
    }
    return otherwise;
}

/* ---- names and sizes ---- */

static const char *mark_of(const char *name) {
    const char *mark = strstr(name, ".lora_A");
    size_t n = mark ? strlen(mark) : 0, ending = strlen(".weight");
    return n >= strlen(".lora_A.weight") && strcmp(mark + n - ending, ".weight") == 0 ? mark : NULL;
}

/* What stands before the base's own name, and behind ".lora_A": from the first update whose module the base has. */
static sn_status find_names(sn_lora *lora, const sn_source *base, sn_arena *arena, sn_error *error) {
    for (size_t i = 0; i < lora->source->count; i++) {
        const char *name = lora->source->tensors[i].name, *mark = mark_of(name);
        for (const char *at = mark ? name : NULL; at && at < mark; at = strchr(at, '.') + 1) {
            char *weight = sn_format("%.*s.weight", (int)(mark - at), at);
            bool there = weight && sn_source_find(base, weight);
            sn_free(weight);
            if (!there) continue;
            size_t rest = strlen(mark) - strlen(".lora_A") - strlen(".weight");
            lora->prefix = sn_arena_format(arena, "%.*s", (int)(at - name), name);
            lora->infix = sn_arena_format(arena, "%.*s", (int)rest, mark + strlen(".lora_A"));
            return lora->prefix && lora->infix ? SN_OK : sn_fail_memory(error);
        }
    }
    return sn_fail(error, SN_ERROR_INPUT, "%s: found no lora_A of a tensor of %s", lora->source->path, base->path);
}

/* PEFT looks at a module's name in the model that it wraps as base_model.model. */
static sn_status find_sizes(const json_t *config, sn_lora *lora, sn_arena *arena, sn_error *error) {
    static const char wrapper[] = "base_model.model.";
    double alpha = 8; /* PEFT's defaults */
    int64_t rank = 8;
    bool root = sn_json_bool(config, "use_rslora", false), failed = false;
    patterns ranks = {0}, alphas = {0};
    sn_lora_size *sizes = sn_arena_alloc(arena, lora->source->count + 1, sizeof *sizes);
    sn_status status = sizes ? sn_json_integer("adapter_config.json", config, "r", 1, 1 << 16, &rank, error) : sn_fail_memory(error);
    if (!status) status = sn_json_number("adapter_config.json", config, "lora_alpha", 0, 1e6, &alpha, error);
    if (!status) status = read_patterns(config, "rank_pattern", 1, 1 << 16, &ranks, error);
    if (!status) status = read_patterns(config, "alpha_pattern", 0, 1e6, &alphas, error);
    for (size_t i = 0; i < lora->source->count && !status; i++) {
        const char *name = lora->source->tensors[i].name, *mark = mark_of(name);
        if (mark && strncmp(name, wrapper, strlen(wrapper)) == 0) name += strlen(wrapper);
        if (!mark || mark - name >= MAX_MODULE) continue; /* longer than the name of any tensor that is looked for */
        char module[MAX_MODULE];
        memcpy(module, name, (size_t)(mark - name));
        module[mark - name] = 0;
        sizes[i].rank = (int64_t)value_for(&ranks, module, (double)rank, &failed);
        double r = (double)sizes[i].rank;
        sizes[i].scale = (float)(value_for(&alphas, module, alpha, &failed) / (root ? sqrt(r) : r));
        if (failed) status = sn_fail(error, SN_ERROR_INPUT, "adapter_config.json: rank_pattern or alpha_pattern: an expression costs too much on %s", module);
    }
    free_patterns(&ranks);
    free_patterns(&alphas);
    lora->sizes = sizes;
    return status;
}

sn_status sn_adapter_read(const char *folder, sn_source *source, const sn_source *base, const char *base_path, sn_arena *arena, sn_adapter *out, sn_error *error) {
    static const char *const switches[] = {"fan_in_fan_out", "use_dora"};
    json_t *config = NULL;
    *out = (sn_adapter){.lora.source = source};
    sn_status status = sn_model_json(folder, "adapter_config.json", &config, error);
    if (!status && !config) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no adapter_config.json", folder);
    for (size_t i = 0; i < 2 && !status; i++)
        if (sn_json_bool(config, switches[i], false)) status = sn_fail(error, SN_ERROR_SUPPORT, "adapter_config.json: %s: found true, expected false", switches[i]);
    if (!status) status = find_names(&out->lora, base, arena, error);
    if (!status) status = find_sizes(config, &out->lora, arena, error);
    const char *named = sn_json_string(config, "base_model_name_or_path");
    char *wanted = named && named[0] ? sn_path_name(named) : NULL, *given = sn_path_name(base_path);
    if (!status && wanted && given && strcmp(wanted, given) != 0) out->made_for = sn_arena_strdup(arena, named);
    sn_free(wanted);
    sn_free(given);
    json_decref(config);
    return status;
}
