/* Names of the adapter become names of the base; what fits nothing is an error and nothing is written. */
#include "cli/convert_merge.h"

#include "systems/compose.h"
#include "systems/parts.h"

#include <string.h>

static bool is_update(const sn_source_tensor *t) { return strstr(t->name, ".lora_") != NULL; }

static bool holds(const sn_source *source, const char *words) {
    for (size_t i = 0; i < source->count; i++)
        if (strstr(source->tensors[i].name, words)) return true;
    return false;
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), k = strlen(with);
    return n >= k && strcmp(name + n - k, with) == 0;
}

/* What was trained whole takes the place of a tensor of the same shape; tables may have grown by tokens. */
static sn_status check_trained(const sn_source *source, const sn_source_tensor *t, const sn_source_tensor *base, sn_error *error) {
    char found[96], expected[96];
    bool table = ends(t->name, "embed_tokens.weight") || ends(t->name, "lm_head.weight"), fits = !base || base->shape.rank == t->shape.rank;
    sn_status status = sn_source_check(t, error);
    for (int i = table; base && fits && i < base->shape.rank; i++) fits = base->shape.dim[i] == t->shape.dim[i];
    if (status) return sn_fail_prefix(error, "%s", source->path);
    return fits ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %s, expected the base's %s", source->path, t->name, sn_shape_text(&t->shape, found), sn_shape_text(&base->shape, expected));
}

/* LLaVA trains the projector beside the updates: that of the base, where it has one, is not the one that belongs to them. */
static sn_status check_projector(sn_merge *m, const sn_source *base, sn_error *error) {
    json_t *config;
    sn_source *source;
    const char *name;
    sn_status status = SN_OK;
    bool projector = false;
    const sn_source_tensor *t;
    for (size_t i = 0; !status && (t = sn_merge_trained_at(m, i, &source, &name)); i++) {
        projector |= strstr(name, "mm_projector.") != NULL;
        status = check_trained(source, t, sn_source_find(base, name), error);
    }
    for (size_t i = 0; !status && projector && i < base->count; i++)
        if (strstr(base->tensors[i].name, "mm_projector.") && !sn_merge_trained(m, base->tensors[i].name, &source))
            status = sn_fail(error, SN_ERROR_INPUT, "%s: %s is missing: the other tensors of the projector that was trained are there", m->folder, base->tensors[i].name);
    if (status || (status = sn_model_json(m->folder, "config.json", &config, error))) return status;
    if (!status && sn_json_at(config, "mm_vision_tower") && !m->trained && !holds(m->updates, "mm_projector."))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: projector missing: non_lora_trainables.bin, which training writes beside adapter_model.bin, is not there", m->folder);
    json_decref(config);
    return status;
}

sn_status sn_merge_open(const char *folder, const sn_source *base, const char *base_path, sn_arena *arena, sn_merge *m, sn_error *error) {
    char *path = NULL, *trained = sn_path_join(folder, "non_lora_trainables.bin");
    *m = (sn_merge){.folder = folder, .arena = arena};
    sn_status status = trained ? sn_adapter_file(folder, &path, error) : sn_fail_memory(error);
    if (!status && base->gguf) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: adapters name the tensors of Hugging Face's layout; convert the GGUF file to safetensors, merge, and convert it back", base_path);
    if (!status) status = sn_source_open(path, &m->updates, error);
    if (!status) status = sn_adapter_read(folder, m->updates, base, base_path, arena, &m->adapter, error);
    if (!status && sn_is_file(trained)) status = sn_source_open(trained, &m->trained, error);
    if (!status && !(m->taken = sn_arena_alloc(arena, m->updates->count + 1, sizeof *m->taken))) status = sn_fail_memory(error);
    if (!status) status = check_projector(m, base, error);
    sn_free(path);
    sn_free(trained);
    if (status) sn_merge_close(m);
    return status;
}

void sn_merge_close(sn_merge *m) {
    sn_source_close(m->updates);
    sn_source_close(m->trained);
    m->updates = m->trained = NULL;
}

/* A trained tensor's name in the base. */
static const char *base_name(const sn_merge *m, const char *name) {
    size_t prefix = strlen(m->adapter.lora.prefix);
    return strncmp(name, m->adapter.lora.prefix, prefix) == 0 ? name + prefix : name;
}

const sn_source_tensor *sn_merge_trained_at(sn_merge *m, size_t i, sn_source **source, const char **name) {
    sn_source *const sources[] = {m->trained, m->updates};
    for (int k = 0; k < 2; k++)
        for (size_t t = 0; sources[k] && t < sources[k]->count; t++) {
            const sn_source_tensor *tensor = &sources[k]->tensors[t];
            if (is_update(tensor) || i-- > 0) continue;
            *source = sources[k], *name = base_name(m, tensor->name);
            return tensor;
        }
    return NULL;
}

const sn_source_tensor *sn_merge_trained(sn_merge *m, const char *name, sn_source **source) {
    const char *found;
    for (size_t i = 0;; i++) {
        const sn_source_tensor *t = sn_merge_trained_at(m, i, source, &found);
        if (!t || strcmp(found, name) == 0) return t;
    }
}

sn_status sn_merge_into(sn_merge *m, const char *name, sn_weight *weight, sn_type type, sn_weight **out, sn_error *error) {
    sn_update update;
    *out = weight;
    sn_status status = sn_lora_find(&m->adapter.lora, name, &weight->shape, m->arena, &update, error);
    if (status || !update.from[0]) return status;
    for (int i = 0; i < 2; i++) m->taken[update.from[i] - m->updates->tensors] = true;
    m->count++;
    if (!(*out = sn_arena_alloc(m->arena, 1, sizeof **out))) return sn_fail_memory(error);
    return sn_lora_weight(weight, &update, type, &m->rounding, m->arena, *out, error);
}

sn_status sn_merge_check(const sn_merge *m, sn_error *error) {
    for (size_t i = 0; i < m->updates->count; i++)
        if (is_update(&m->updates->tensors[i]) && !m->taken[i]) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: updates nothing in the base model", m->folder, m->updates->tensors[i].name);
    return SN_OK;
}

sn_status sn_merge_configuration(const sn_merge *m, const char *base, const char *folder, sn_error *error) {
    char *from = sn_path_join(m->folder, "config.json"), *to = sn_path_join(folder, "config.json"), *bytes = NULL;
    size_t length = 0;
    sn_status status = from && to ? sn_copy_configuration(base, folder, error) : sn_fail_memory(error);
    if (!status && sn_is_file(from)) {
        status = sn_read_file(from, 16 << 20, &bytes, &length, error);
        if (!status) status = sn_write_file(to, bytes, length, error);
    }
    sn_free(bytes);
    sn_free(from);
    sn_free(to);
    return status;
}
