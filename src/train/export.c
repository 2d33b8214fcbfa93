/* What a run leaves for others to read: a projector, a whole model, an adapter. */
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "systems/compose.h"
#include "train/checkpoint.h"
#include "weights/lora.h"
#include "weights/writer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Tensors on their way to a file. */
typedef struct outgoing {
    sn_arena *arena;
    sn_tensor_out *tensors;
    size_t count;
} outgoing;

/* Written aside, read back, counted, and only then in the place of what was there before. torch: a PyTorch archive, under the
 * key `inside` where that is not NULL. */
static sn_status write_as(const char *path, const outgoing *out, bool torch, const char *inside, sn_error *error) {
    char *aside = sn_format("%s.new", path);
    sn_source *back = NULL;
    if (!aside) return sn_fail_memory(error);
    sn_status status = torch ? sn_torch_write(aside, inside, out->tensors, out->count, error) : sn_safetensors_write(aside, out->tensors, out->count, error);
    if (!status) status = sn_source_open(aside, &back, error);
    if (!status && back->count != out->count) status = sn_fail(error, SN_ERROR_IO, "%s: wrote %zu tensors, read %zu back; what was there before stays", path, out->count, back->count);
    for (size_t i = 0; i < out->count && !status; i++) {
        const sn_source_tensor *t = sn_source_find(back, out->tensors[i].name);
        if (!t || t->type != out->tensors[i].type || !sn_shape_equal(&t->shape, &out->tensors[i].shape))
            status = sn_fail(error, SN_ERROR_IO, "%s: %s was not read back as it was written; what was there before stays", path, out->tensors[i].name);
    }
    sn_source_close(back);
    if (!status && rename(aside, path) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    if (status) remove(aside);
    sn_free(aside);
    return status;
}

static sn_status write_checked(const char *path, const outgoing *out, bool torch, sn_error *error) { return write_as(path, out, torch, NULL, error); }

static void *stored_bytes(sn_arena *arena, sn_type type, const float *values, int64_t count) {
    int64_t bytes = 0;
    void *to = sn_type_bytes(type, count, &bytes) ? sn_arena_alloc(arena, (size_t)bytes, 1) : NULL;
    if (to) sn_type_of(type)->from_float(values, to, count);
    return to;
}

static sn_status add(outgoing *out, const char *name, sn_type type, sn_shape shape, const float *values, sn_error *error) {
    if (!sn_type_of(type)->from_float) return sn_fail(error, SN_ERROR_SUPPORT, "%s: cannot be written as %s", name, sn_type_of(type)->name);
    void *bytes = stored_bytes(out->arena, type, values, sn_shape_count(&shape));
    if (!name || !bytes) return sn_fail_memory(error);
    out->tensors[out->count++] = (sn_tensor_out){name, type, shape, bytes};
    return SN_OK;
}

static sn_status start(outgoing *out, size_t most, sn_error *error) {
    *out = (outgoing){.arena = sn_arena_new(), .tensors = sn_alloc(most + 1, sizeof *out->tensors)};
    return out->arena && out->tensors ? SN_OK : sn_fail_memory(error);
}

static void finish(outgoing *out) {
    sn_free(out->tensors);
    sn_arena_free(out->arena);
}

/* ---- whole models ---- */

/* A weight with its update, in the type it is stored in. */
static sn_status add_merged(const sn_trainer *t, sn_store_entry *e, outgoing *out, sn_rounding *rounding, sn_error *error) {
    size_t name = strlen(e->name) - strlen(".weight");
    char *a = sn_arena_format(out->arena, "%.*s.lora_A.weight", (int)name, e->name), *b = sn_arena_format(out->arena, "%.*s.lora_B.weight", (int)name, e->name);
    const sn_store_entry *down = a ? sn_store_find(t->model->store, a) : NULL, *up = b ? sn_store_find(t->model->store, b) : NULL;
    sn_type type = e->weight.type;
    int64_t bytes = 0;
    if (!down || !up) return sn_fail_memory(error);
    if (!sn_type_of(type)->from_float || sn_type_of(type)->block > 1)
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: low-rank updates are not merged into %s; export the adapter, or convert the base to f32, f16 or bf16 first", e->published, sn_type_of(type)->name);
    void *to = sn_type_bytes(type, sn_shape_count(&e->weight.shape), &bytes) ? sn_arena_alloc(out->arena, (size_t)bytes, 1) : NULL;
    sn_status status = to ? sn_weight_ready(&e->weight, error) : sn_fail_memory(error);
    if (!status) status = sn_lora_merge(&e->weight, &down->weight, &up->weight, t->lora.scale, type, to, rounding, error);
    if (!status) out->tensors[out->count++] = (sn_tensor_out){e->published, type, e->weight.shape, to};
    return status;
}

static bool written(const outgoing *out, const char *name) {
    for (size_t i = 0; i < out->count; i++)
        if (strcmp(out->tensors[i].name, name) == 0) return true;
    return false;
}

/* What learnt: a parameter as it is, or a table with those of its rows that did. */
static sn_status add_learnt(outgoing *out, const sn_trainable *p, sn_error *error) {
    if (!p->rows) return add(out, p->entry->published, p->stored, p->entry->weight.shape, p->value, error);
    const sn_weight *w = &p->table->weight;
    int64_t bytes = 0, row_bytes = 0;
    bool fits = sn_type_of(w->type)->from_float && sn_type_bytes(w->type, w->columns, &row_bytes) && sn_type_bytes(w->type, w->rows * w->columns, &bytes);
    if (!fits) return sn_fail(error, SN_ERROR_SUPPORT, "%s: cannot be written as %s", p->table->published, sn_type_of(w->type)->name);
    char *to = sn_arena_alloc(out->arena, (size_t)bytes, 1);
    if (!to) return sn_fail_memory(error);
    for (int64_t r = 0; r < w->rows; r++) memcpy(to + r * row_bytes, sn_weight_row(w, r), (size_t)row_bytes);
    for (int k = 0; k < p->num_rows; k++) sn_type_of(w->type)->from_float(p->value + k * w->columns, to + p->rows[k] * row_bytes, w->columns);
    out->tensors[out->count++] = (sn_tensor_out){p->table->published, w->type, w->shape, to};
    return SN_OK;
}

/* The config.json of a folder that has one. */
static sn_status copy_config(const char *from, const char *folder, sn_error *error) {
    char *source = from ? sn_path_join(from, "config.json") : NULL, *to = sn_path_join(folder, "config.json"), *bytes = NULL;
    size_t length = 0;
    sn_status status = source && sn_is_file(source) ? sn_read_file(source, 16 << 20, &bytes, &length, error) : SN_OK;
    if (!status && bytes) status = to ? sn_write_file(to, bytes, length, error) : sn_fail_memory(error);
    sn_free(bytes);
    sn_free(source);
    sn_free(to);
    return status;
}

/* What makes weights a model that opens: configuration and tokenizer; beside a projector the configuration alone. The one
 * beside the projector that a run began with says what that is. */
static sn_status copy_description(const char *folder, const sn_export *to, bool whole, sn_error *error) {
    sn_status status = SN_OK;
    for (size_t i = 0; i < sizeof to->folders / sizeof *to->folders && !status; i++)
        if (to->folders[i] && sn_is_directory(to->folders[i])) status = whole ? sn_copy_configuration(to->folders[i], folder, error) : copy_config(to->folders[i], folder, error);
    char *beside = to->connector ? sn_path_parent(to->connector) : NULL;
    if (!status && beside) status = copy_config(beside, folder, error);
    sn_free(beside);
    return status;
}

static sn_status export_model(const char *folder, const sn_trainer *t, bool hf, sn_export *to, sn_error *error) {
    sn_source *source = t->model->sources[0];
    outgoing out;
    sn_rounding rounding = {0};
    sn_status status = start(&out, 2 * t->count + source->count, error);
    for (size_t i = 0; i < t->count && !status; i++) {
        const sn_trainable *p = &t->trainables[i];
        if (!sn_is_lora(p->entry)) status = add_learnt(&out, p, error);
        const char *mark = strstr(p->entry->name, ".lora_A.weight");
        char *target = mark && !status ? sn_arena_format(out.arena, "%.*s.weight", (int)(mark - p->entry->name), p->entry->name) : NULL;
        sn_store_entry *e = target ? sn_store_find(t->model->store, target) : NULL;
        if (e) status = add_merged(t, e, &out, &rounding, error);
    }
    for (size_t i = 0; i < source->count && !status; i++) { /* the tensors that did not learn, as they are */
        const sn_source_tensor *s = &source->tensors[i];
        if (written(&out, s->name) || !sn_type_of(s->type)->to_float) continue;
        if (!s->data || !s->contiguous) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s is stored as a view; convert the model first", s->file, s->name);
        out.tensors[out.count++] = (sn_tensor_out){s->name, s->type, s->shape, s->data};
    }
    if (!status && !(to->path = sn_path_join(folder, "model.safetensors"))) status = sn_fail_memory(error);
    if (!status) status = write_checked(to->path, &out, false, error);
    to->lost = sn_rounding_lost(&rounding);
    if (!status && !hf) status = copy_description(folder, to, true, error);
    if (!status && hf && sn_is_directory(source->path)) status = sn_copy_configuration(source->path, folder, error);
    finish(&out);
    return status;
}

static sn_status export_connector(const char *folder, const sn_trainer *t, sn_export *to, sn_error *error) {
    outgoing out;
    sn_status status = start(&out, t->count, error);
    for (size_t i = 0; i < t->count && !status; i++) status = add_learnt(&out, &t->trainables[i], error);
    if (!status && !(to->path = sn_path_join(folder, "mm_projector.bin"))) status = sn_fail_memory(error);
    if (!status) status = write_checked(to->path, &out, true, error);
    if (!status) status = copy_description(folder, to, false, error);
    finish(&out);
    return status;
}

/* ---- what was trained beside frozen models ---- */

/* In the type it came in; what does not learn is as it was. */
static sn_status add_entry(outgoing *out, const sn_trainer *t, sn_store_entry *e, const char *name, sn_error *error) {
    sn_type type = e->weight.type;
    int64_t count = sn_shape_count(&e->weight.shape);
    sn_status status = sn_weight_ready(&e->weight, error);
    float *values = status ? NULL : sn_alloc((size_t)count, sizeof *values);
    if (!status && !values) status = sn_fail_memory(error);
    for (size_t i = 0; i < t->count; i++)
        if (t->trainables[i].entry == e) type = t->trainables[i].stored;
    for (int64_t r = 0; r < e->weight.rows && !status; r++) sn_weight_row_floats(&e->weight, r, values + r * e->weight.columns);
    if (!status) status = add(out, name, type, e->weight.shape, values, error);
    sn_free(values);
    return status;
}

/* A tower that learnt: a folder of its own in Hugging Face's layout. */
static sn_status export_tower(const char *folder, const sn_trainer *t, sn_error *error) {
    outgoing out;
    char *place = sn_path_join(folder, "visual_model"), *path = place ? sn_path_join(place, "model.safetensors") : NULL;
    sn_status status = start(&out, t->model->store->count, error);
    if (!status && !path) status = sn_fail_memory(error);
    if (!status) status = sn_make_folder(place, error);
    for (size_t i = 0; i < t->model->store->count && !status; i++) {
        sn_store_entry *e = t->model->store->entries[i];
        if (strncmp(e->name, "vision.", 7) == 0) status = add_entry(&out, t, e, e->published, error);
    }
    if (!status) status = sn_copy_configuration(t->model->vision_from, place, error);
    if (!status) status = write_checked(path, &out, false, error);
    finish(&out);
    sn_free(place);
    sn_free(path);
    return status;
}

/* What the system's first stage trains, whether it learnt or not, and what else the checkpoint held that is in use. */
static sn_status export_trained(const char *folder, const sn_trainer *t, sn_export *to, sn_error *error) {
    const sn_system *system = t->model->system;
    const size_t distributed = strlen("module.");
    outgoing out;
    bool tower = false;
    sn_status status = start(&out, t->model->store->count, error);
    for (size_t i = 0; i < t->count; i++) tower |= strncmp(t->trainables[i].entry->name, "vision.", 7) == 0;
    for (size_t i = 0; i < t->model->store->count && !status; i++) {
        sn_store_entry *e = t->model->store->entries[i];
        bool own = sn_stage_trains(&system->stages[0], e->name);
        for (size_t j = 0; j < t->count && !own; j++) own = sn_stage_trains(&system->stages[0], t->trainables[j].entry->name) && e->file[0] && strcmp(e->file, t->trainables[j].entry->file) == 0;
        if (own) status = add_entry(&out, t, e, e->published + (strncmp(e->published, "module.", distributed) == 0 ? distributed : 0), error);
    }
    if (!status && !(to->path = sn_path_join(folder, system->checkpoint))) status = sn_fail_memory(error);
    if (!status && tower) status = export_tower(folder, t, error);
    if (!status) status = system->arguments(t->model, folder, tower ? "visual_model" : NULL, error);
    if (!status) status = write_as(to->path, &out, true, "state_dict", error);
    finish(&out);
    return status;
}

/* ---- adapters ---- */

static sn_status write_json(const char *folder, const char *name, json_t *object, sn_error *error) {
    char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL, *path = sn_path_join(folder, name);
    sn_status status = text && path ? sn_write_file(path, text, strlen(text), error) : sn_fail_memory(error);
    free(text);
    sn_free(path);
    json_decref(object);
    return status;
}

/* adapter_config.json: target_modules are the last parts of the layers' names, as PEFT matches them. */
static sn_status write_adapter_config(const char *folder, const sn_trainer *t, const char *base, sn_error *error) {
    json_t *modules = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const char *published = t->trainables[i].entry->published, *mark = strstr(published, ".lora_A.weight");
        if (!mark) continue;
        const char *begin = mark;
        while (begin > published && begin[-1] != '.') begin--;
        json_t *module = json_stringn(begin, (size_t)(mark - begin)), *other;
        size_t k;
        bool there = false;
        json_array_foreach(modules, k, other) there |= json_equal(other, module);
        if (there) json_decref(module);
        else json_array_append_new(modules, module);
    }
    return write_json(folder, "adapter_config.json",
                      json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:s, s:b, s:b, s:o}", "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", base ? base : "", "r",
                                (json_int_t)t->lora.r, "lora_alpha", t->lora.alpha, "lora_dropout", t->lora.dropout, "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "target_modules", modules),
                      error);
}

static sn_status export_adapter(const char *folder, const sn_trainer *t, sn_export *to, sn_error *error) {
    outgoing updates, rest;
    char *place = sn_path_join(folder, "adapter"), *model = place ? sn_path_join(place, "adapter_model.safetensors") : NULL, *others = place ? sn_path_join(place, "non_lora_trainables.bin") : NULL;
    sn_status status = start(&updates, t->count, error), second = start(&rest, t->count, error);
    if (!status) status = second;
    if (!status && !others) status = sn_fail_memory(error);
    if (!status) status = sn_make_folder(place, error);
    for (size_t i = 0; i < t->count && !status; i++) {
        const sn_trainable *p = &t->trainables[i];
        bool update = sn_is_lora(p->entry);
        const char *name = update ? p->entry->published : sn_arena_format(rest.arena, "base_model.model.%s", p->entry->published);
        status = add(update ? &updates : &rest, name, p->stored, p->entry->weight.shape, p->value, error);
    }
    if (!status) status = write_checked(model, &updates, false, error);
    if (!status && rest.count) status = write_checked(others, &rest, true, error);
    if (!status) status = write_adapter_config(place, t, to->base, error);
    if (!status) status = copy_config(to->base, place, error); /* it says that this is LLaVA */
    finish(&updates);
    finish(&rest);
    sn_free(model);
    sn_free(others);
    if (!status && !to->path) to->path = place;
    else sn_free(place);
    return status;
}

sn_status sn_checkpoint_export(const char *folder, const sn_trainer *t, sn_export *to, sn_error *error) {
    bool hf = t->model->layout && strcmp(t->model->layout, "Hugging Face") == 0, connector = !hf; /* a folder of one file stays one */
    sn_status status = SN_OK;
    for (size_t i = 0; i < t->count; i++) connector &= strncmp(t->trainables[i].entry->name, "projector.", 10) == 0 || t->trainables[i].rows;
    to->path = NULL, to->lost = 0;
    if (t->lora.r && to->adapter) status = export_adapter(folder, t, to, error);
    if (!status && (!t->lora.r || to->merged)) {
        sn_free(to->path);
        status = t->model->system->checkpoint ? export_trained(folder, t, to, error) : connector ? export_connector(folder, t, to, error) : export_model(folder, t, hf, to, error);
    }
    if (status) {
        sn_free(to->path);
        to->path = NULL;
    }
    return status;
}
