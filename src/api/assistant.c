/* Opening checkpoints, and what a picture becomes in them. */
#include "api/api.h"

#include "generate/pictures.h"

#include <string.h>

/* ---- files by role ---- */

struct sn_files {
    sn_arena *arena;
    sn_model_files paths;
};

sn_files *sn_files_new(void) {
    sn_files *files = sn_alloc(1, sizeof *files);
    if (files && !(files->arena = sn_arena_new())) {
        sn_free(files);
        return NULL;
    }
    return files;
}

void sn_files_free(sn_files *files) {
    if (!files) return;
    sn_arena_free(files->arena);
    sn_free(files);
}

sn_status sn_files_set(sn_files *files, const char *role, const char *path, sn_error *error) {
    sn_status status = sn_api_need(files, "sn_files_set", "files", error);
    if (!status) status = sn_api_need(role, "sn_files_set", "role", error);
    if (!status) status = sn_api_need(path, "sn_files_set", "path", error);
    if (status) return status;
    const struct {
        const char *name;
        const char **place;
    } roles[] = {{"main", &files->paths.main}, {"llm", &files->paths.llm}, {"vision", &files->paths.vision}, {"connector", &files->paths.connector},
                 {"base", &files->paths.base}, {"delta", &files->paths.delta}, {"tokenizer", &files->paths.tokenizer}, {"models", &files->paths.models}, {"system", &files->paths.system}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i].name, role) == 0) {
            char *copy = sn_arena_strdup(files->arena, path);
            if (!copy) return sn_fail_memory(error);
            *roles[i].place = copy;
            return SN_OK;
        }
    return sn_fail(error, SN_ERROR_USAGE, "sn_files_set: role: found \"%s\", expected main, llm, vision, connector, base, delta, tokenizer, models or system", role);
}

/* ---- assistants ---- */

sn_status sn_assistant_open(sn_context *context, const sn_files *files, sn_assistant **out, sn_error *error) {
    sn_status status = sn_api_need(out, "sn_assistant_open", "out", error);
    if (status) return status;
    *out = NULL;
    if ((status = sn_api_need(context, "sn_assistant_open", "context", error)) || (status = sn_api_need(files, "sn_assistant_open", "files", error)) ||
        (status = sn_api_enter(context, "sn_assistant_open", error)))
        return status;
    sn_assistant *a = sn_alloc(1, sizeof *a);
    if (a) {
        a->context = context;
        sn_api_progress(context, "open", 0, 1);
        status = sn_model_open(context->engine, &files->paths, &a->model, error);
    } else {
        status = sn_fail_memory(error);
    }
    for (size_t i = 0; !status && i < a->model->num_warnings && context->on_log; i++) context->on_log(context->log_user, a->model->warnings[i]);
    if (!status) sn_api_progress(context, "open", 1, 1);
    sn_api_leave(context);
    if (status) sn_free(a);
    else *out = a;
    return status;
}

sn_status sn_assistant_open_path(sn_context *context, const char *path, sn_assistant **out, sn_error *error) {
    if (out) *out = NULL;
    sn_status status = sn_api_need(path, "sn_assistant_open_path", "path", error);
    return status ? status : sn_assistant_open(context, &(sn_files){.paths = {.main = path}}, out, error);
}

void sn_assistant_close(sn_assistant *a) {
    if (!a) return;
    sn_model_close(a->model);
    sn_free(a);
}

const char *sn_assistant_system(const sn_assistant *a) { return a ? a->model->system->title : NULL; }
const char *sn_assistant_layout(const sn_assistant *a) { return a ? a->model->layout : NULL; }
const char *sn_assistant_reason(const sn_assistant *a) { return a ? a->model->why : NULL; }
bool sn_assistant_answers(const sn_assistant *a) { return a && a->model->has_lm && a->model->tokenizer && a->model->system->prompt; }
bool sn_assistant_sees(const sn_assistant *a) { return a && a->model->has_vision; }
int64_t sn_assistant_window(const sn_assistant *a) { return a && a->model->has_lm ? a->model->lm.max_positions : 0; }
int64_t sn_assistant_picture_positions(const sn_assistant *a) { return a ? a->model->media_positions : 0; }

/* ---- embeddings ---- */

struct sn_embedding {
    int64_t rows, columns;
    float *data;
};

static sn_status embed(sn_assistant *a, const char *path, const void *bytes, size_t size, sn_embedding **out, const char *function, sn_error *error) {
    sn_model *m = a->model;
    if (!m->system->encode || !m->has_lm || !m->has_vision) return sn_fail(error, SN_ERROR_SUPPORT, "%s: %s has no pictures in its language model", function, m->system->title);
    sn_pictures *pictures;
    sn_picture *picture = NULL;
    const float *rows;
    sn_embedding *e = sn_alloc(1, sizeof *e);
    if (e) *e = (sn_embedding){m->media_positions, m->lm.hidden_size, sn_alloc((size_t)m->media_positions, (size_t)m->lm.hidden_size * sizeof(float))};
    sn_status status = e && e->data ? sn_pictures_new(m, 0, &pictures, error) : sn_fail_memory(error);
    if (!status) {
        status = path ? sn_picture_open(pictures, path, &sn_api_pictures, &picture, error) : sn_picture_decode(pictures, "the picture", bytes, size, &sn_api_pictures, &picture, error);
        if (!status && !(status = sn_api_enter(a->context, function, error))) {
            status = sn_picture_rows(pictures, picture, NULL, &rows, error);
            sn_api_leave(a->context);
        }
        if (!status) memcpy(e->data, rows, (size_t)(e->rows * e->columns) * sizeof(float));
        sn_pictures_free(pictures);
    }
    if (status) sn_embedding_free(e);
    else *out = e;
    return status;
}

sn_status sn_embed_picture(sn_assistant *a, const char *path, sn_embedding **out, sn_error *error) {
    sn_status status = sn_api_need(out, "sn_embed_picture", "out", error);
    if (status) return status;
    *out = NULL;
    if ((status = sn_api_need(a, "sn_embed_picture", "assistant", error)) || (status = sn_api_need(path, "sn_embed_picture", "path", error))) return status;
    return embed(a, path, NULL, 0, out, "sn_embed_picture", error);
}

sn_status sn_embed_picture_bytes(sn_assistant *a, const void *bytes, size_t size, sn_embedding **out, sn_error *error) {
    sn_status status = sn_api_need(out, "sn_embed_picture_bytes", "out", error);
    if (status) return status;
    *out = NULL;
    if ((status = sn_api_need(a, "sn_embed_picture_bytes", "assistant", error)) || (status = sn_api_need(bytes, "sn_embed_picture_bytes", "bytes", error)))
        return status;
    return embed(a, NULL, bytes, size, out, "sn_embed_picture_bytes", error);
}

void sn_embedding_free(sn_embedding *e) {
    if (!e) return;
    sn_free(e->data);
    sn_free(e);
}

int64_t sn_embedding_rows(const sn_embedding *e) { return e ? e->rows : 0; }
int64_t sn_embedding_columns(const sn_embedding *e) { return e ? e->columns : 0; }
const float *sn_embedding_data(const sn_embedding *e) { return e ? e->data : NULL; }
