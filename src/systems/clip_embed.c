/* CLIP's vectors of pictures and texts: one engine run for all pictures, one for all texts. */
#include "systems/clip.h"
#include "systems/embed.h"

#include <string.h>

static int64_t width(const sn_model *m) {
    const sn_clip *c = m->own;
    return c->has_projection ? c->vision.projection_dim : 0;
}

sn_status sn_clip_embed_pictures(sn_model *m, const float *pixels, int count, float *vectors, sn_error *error) {
    sn_clip_image_program context = {m, count};
    sn_program *program;
    const char *result = width(m) ? "embed.image" : "vision.pooled";
    sn_program_key key = {.owner = m->store, .part = "image", .a = count};
    sn_status status = sn_engine_program(m->engine, &key, sn_clip_build_image, &context, m->store, &result, 1, &program, error);
    return status ? status : sn_engine_run(m->engine, program, (const void *const[]){pixels}, NULL, NULL, (float *const[]){vectors}, error);
}

/* Adds one text's ids and their positions. */
static sn_status add_text(const sn_model *m, const char *text, sn_ids *ids, sn_ids *positions, sn_error *error) {
    const sn_clip *c = m->own;
    size_t begin = ids->count;
    sn_status status = sn_tokenizer_encode(m->tokenizer, text, strlen(text), NULL, SN_ENCODE_SPECIAL_ENDS, ids, error);
    int64_t length = (int64_t)(ids->count - begin);
    if (status) return status;
    if (length < 1 || length > c->text.max_positions)
        return sn_fail(error, SN_ERROR_INPUT, "the text has %lld tokens, the model takes %lld at most; shorten it", (long long)length, (long long)c->text.max_positions);
    for (int32_t i = 0; i < length; i++)
        if (!sn_ids_add(positions, i)) return sn_fail_memory(error);
    return SN_OK;
}

sn_status sn_clip_embed_texts(sn_model *m, const char *const *texts, int count, float *vectors, sn_error *error) {
    const sn_clip *c = m->own;
    if (!c->has_text || !m->tokenizer) return sn_fail(error, SN_ERROR_INPUT, "the model has %s", c->has_text ? "no tokenizer for its text half" : "no text half: only pictures can be looked for");
    sn_ids ids = {0}, positions = {0};
    int32_t *starts = sn_alloc((size_t)count + 1, sizeof *starts), *last = sn_alloc((size_t)count + 1, sizeof *last);
    sn_status status = starts && last ? SN_OK : sn_fail_memory(error);
    for (int i = 0; i < count && !status; i++) {
        status = add_text(m, texts[i], &ids, &positions, error);
        starts[i + 1] = (int32_t)ids.count, last[i] = (int32_t)ids.count - 1;
    }
    sn_clip_text_program context = {m, (int64_t)ids.count, count};
    sn_program *program;
    const char *result = "embed.text";
    sn_program_key key = {.owner = m->store, .part = "text", .a = (int64_t)ids.count, .b = count};
    if (!status) status = sn_engine_program(m->engine, &key, sn_clip_build_text, &context, m->store, &result, 1, &program, error);
    if (!status) status = sn_engine_run(m->engine, program, (const void *const[]){ids.data, positions.data, starts, last}, NULL, NULL, (float *const[]){vectors}, error);
    sn_ids_free(&ids);
    sn_ids_free(&positions);
    sn_free(starts);
    sn_free(last);
    return status;
}

static sn_status text(sn_model *m, const char *words, float *vector, sn_error *error) { return sn_clip_embed_texts(m, &words, 1, vector, error); }

const sn_embedder sn_clip_embedder = {.width = width, .pictures = sn_clip_embed_pictures, .text = text};
