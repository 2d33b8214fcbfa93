/* CLIP's vectors of pictures and texts, one engine run each. */
#include "systems/clip.h"
#include "systems/embed.h"

#include <string.h>

static int64_t width(const sn_model *m) {
    const sn_clip *c = m->own;
    return c->has_projection ? c->vision.projection_dim : 0;
}

static sn_status pictures(sn_model *m, const float *pixels, int count, float *vectors, sn_error *error) {
    sn_clip_image_program context = {m, count};
    sn_program *program;
    const char *result = "embed.image";
    sn_program_key key = {.owner = m->store, .part = "image", .a = count};
    sn_status status = sn_engine_program(m->engine, &key, sn_clip_build_image, &context, m->store, &result, 1, &program, error);
    return status ? status : sn_engine_run(m->engine, program, (const void *const[]){pixels}, NULL, NULL, (float *const[]){vectors}, error);
}

static sn_status run_text(sn_model *m, const sn_ids *ids, float *vector, sn_error *error) {
    const sn_clip *c = m->own;
    int32_t count = (int32_t)ids->count, starts[2] = {0, count}, at = count - 1;
    if (count < 1 || count > c->text.max_positions)
        return sn_fail(error, SN_ERROR_INPUT, "the text has %d tokens, the model takes %lld at most; shorten it", count, (long long)c->text.max_positions);
    int32_t *positions = sn_alloc((size_t)count, sizeof *positions);
    if (!positions) return sn_fail_memory(error);
    for (int32_t i = 0; i < count; i++) positions[i] = i;
    sn_clip_text_program context = {m, count, 1};
    sn_program *program;
    const char *result = "embed.text";
    sn_program_key key = {.owner = m->store, .part = "text", .a = count, .b = 1};
    sn_status status = sn_engine_program(m->engine, &key, sn_clip_build_text, &context, m->store, &result, 1, &program, error);
    if (!status) status = sn_engine_run(m->engine, program, (const void *const[]){ids->data, positions, starts, &at}, NULL, NULL, (float *const[]){vector}, error);
    sn_free(positions);
    return status;
}

static sn_status text(sn_model *m, const char *words, float *vector, sn_error *error) {
    const sn_clip *c = m->own;
    sn_ids ids = {0};
    if (!c->has_text || !m->tokenizer) return sn_fail(error, SN_ERROR_INPUT, "the model has %s", c->has_text ? "no tokenizer for its text half" : "no text half: only pictures can be looked for");
    sn_status status = sn_tokenizer_encode(m->tokenizer, words, strlen(words), NULL, SN_ENCODE_SPECIAL_ENDS, &ids, error);
    if (!status) status = run_text(m, &ids, vector, error);
    sn_ids_free(&ids);
    return status;
}

const sn_embedder sn_clip_embedder = {.width = width, .pictures = pictures, .text = text};
