/* JSON to requests. */
#include "cli/request.h"

#include "base/file.h"
#include "media/data_url.h"

#include <stdio.h>
#include <string.h>

static const char *path_in(sn_arena *arena, const char *folder, const char *name) {
    return name[0] == '/' ? sn_arena_strdup(arena, name) : sn_arena_format(arena, "%s/%s", folder, name);
}

static sn_status read_part(const char *where, const json_t *part, const char *folder, sn_arena *arena, sn_content *out, sn_error *error) {
    const char *type = sn_json_string(part, "type"), *text = sn_json_string(part, "text"), *path = sn_json_string(part, "path");
    if (!type) return sn_fail(error, SN_ERROR_INPUT, "%s: a content part has no type", where);
    if (strcmp(type, "text") == 0 && text) {
        *out = (sn_content){.text = sn_arena_strdup(arena, text)};
    } else if (strcmp(type, "image") == 0 && path) {
        *out = (sn_content){.is_media = true, .squash = sn_json_bool(part, "squash_224", false), .text = sn_is_data_url(path) ? sn_arena_strdup(arena, path) : path_in(arena, folder, path)};
    } else {
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: a content part of type %s without what it needs, or not supported", where, type);
    }
    return out->text ? SN_OK : sn_fail_memory(error);
}

/* A string, or a list of parts. */
static sn_status read_content(const char *where, const json_t *value, const char *folder, sn_arena *arena, const sn_content **out, int *count, sn_error *error) {
    size_t n = json_is_string(value) ? 1 : json_array_size(value);
    if (!json_is_string(value) && !json_is_array(value)) return sn_fail(error, SN_ERROR_INPUT, "%s: content: expected a string or a list of parts", where);
    sn_content *content = sn_arena_alloc(arena, n + 1, sizeof *content);
    if (!content) return sn_fail_memory(error);
    sn_status status = SN_OK;
    if (json_is_string(value)) content[0].text = sn_arena_strdup(arena, json_string_value(value));
    for (size_t i = 0; json_is_array(value) && i < n && !status; i++) status = read_part(where, json_array_get(value, i), folder, arena, &content[i], error);
    *out = content, *count = (int)n;
    return status;
}

sn_status sn_request_read(const char *where, const json_t *object, const char *folder, sn_arena *arena, sn_request *out, sn_error *error) {
    *out = (sn_request){0};
    const json_t *prompt = sn_json_at(object, "prompt"), *messages = sn_json_at(object, "messages");
    if (!prompt && !messages) prompt = sn_json_at(object, "inputs");
    if (prompt) return read_content(where, prompt, folder, arena, &out->prompt, &out->num_prompt, error);
    size_t n = json_array_size(messages);
    if (!json_is_array(messages) || n == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: expected messages or prompt", where);
    sn_message *list = sn_arena_alloc(arena, n, sizeof *list);
    if (!list) return sn_fail_memory(error);
    static const char *const roles[] = {[SN_ROLE_SYSTEM] = "system", [SN_ROLE_USER] = "user", [SN_ROLE_ASSISTANT] = "assistant"};
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = sn_json_string(m, "role");
        int r = 0;
        while (r < 3 && !(role && strcmp(role, roles[r]) == 0)) r++;
        if (r == 3) return sn_fail(error, SN_ERROR_INPUT, "%s: messages[%zu].role: expected system, user or assistant", where, i);
        list[i].role = (sn_role)r;
        sn_status status = read_content(where, json_object_get(m, "content"), folder, arena, &list[i].content, &list[i].count, error);
        if (status) return status;
    }
    out->messages = list, out->num_messages = (int)n;
    return SN_OK;
}

sn_status sn_request_files(const char *where, const json_t *object, const char *folder, sn_arena *arena, sn_model_files *out, sn_error *error) {
    *out = (sn_model_files){0};
    const json_t *roles = sn_json_at(object, "model");
    if (!roles) {
        out->main = sn_arena_format(arena, "%s/model", folder);
        return out->main ? SN_OK : sn_fail_memory(error);
    }
    struct { const char *name; const char **place; } known[] = {
        {"llm", &out->llm}, {"vision", &out->vision}, {"connector", &out->connector}, {"base", &out->base}, {"delta", &out->delta},
        {"tokenizer", &out->tokenizer}, {"dir", &out->main}, {"main", &out->main}, {"audio", &out->audio}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *path = sn_json_string(roles, known[i].name);
        if (path && !(*known[i].place = path_in(arena, folder, path))) return sn_fail_memory(error);
    }
    if (!json_is_object(roles)) return sn_fail(error, SN_ERROR_INPUT, "%s: model: expected an object of paths", where);
    return SN_OK;
}

sn_status sn_request_options(const char *where, const json_t *object, sn_generate_options *options, sn_error *error) {
    static const char *const names[] = {"max_new_tokens", "min_new_tokens", "min_length", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
                                        "repetition_penalty", "no_repeat_ngram_size", "num_beams", "length_penalty", "num_return_sequences", "max_length", "seed", "early_stopping", "min_word_tokens", "ret_scale_factor"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = sn_json_at(object, names[i]);
        if (!value) continue;
        char text[64];
        if (json_is_integer(value)) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value)) snprintf(text, sizeof text, "%.17g", json_real_value(value));
        else if (json_is_boolean(value)) snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
        else snprintf(text, sizeof text, "%s", json_is_string(value) ? json_string_value(value) : "?");
        sn_status status = sn_generate_set(options, names[i], text, error);
        if (status) return status;
    }
    const json_t *stop = sn_json_at(object, "stop");
    size_t n = json_is_string(stop) ? 1 : json_array_size(stop);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_is_string(stop) ? json_string_value(stop) : json_string_value(json_array_get(stop, i));
        if (!text || !text[0] || options->num_stops == SN_MAX_STOPS) return sn_fail(error, SN_ERROR_USAGE, "%s: stop: expected up to %d texts that are not empty", where, SN_MAX_STOPS);
        options->stops[options->num_stops++] = text;
    }
    return SN_OK;
}
