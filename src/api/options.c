/* Options by name: those of generation from their table, and those that concern a chat as a whole. */
#include "api/api.h"

#include <string.h>

const sn_image_options sn_api_pictures = {.exif_apply = true, .alpha_white = true};

sn_options *sn_options_new(void) {
    sn_options *o = sn_alloc(1, sizeof *o);
    if (o && sn_api_options_copy(NULL, o, NULL)) {
        sn_free(o);
        return NULL;
    }
    return o;
}

void sn_options_free(sn_options *o) {
    if (!o) return;
    sn_arena_free(o->arena);
    sn_free(o);
}

sn_status sn_api_options_copy(const sn_options *from, sn_options *to, sn_error *error) {
    *to = (sn_options){.generate = from ? from->generate : sn_generate_defaults(), .own_temperature = from ? from->own_temperature : true, .pictures = from ? from->pictures : sn_api_pictures, .arena = sn_arena_new()};
    if (!to->arena) return sn_fail_memory(error);
    bool whole = true;
    for (int i = 0; i < to->generate.num_stops; i++) whole &= (to->generate.stops[i] = sn_arena_strdup(to->arena, from->generate.stops[i])) != NULL;
    if (from && from->template_name) whole &= (to->template_name = sn_arena_strdup(to->arena, from->template_name)) != NULL;
    if (whole) return SN_OK;
    sn_arena_free(to->arena);
    to->arena = NULL;
    return sn_fail_memory(error);
}

static sn_status add_stop(sn_options *o, const char *value, sn_error *error) {
    /* one place is left for the template's own */
    if (!value[0] || o->generate.num_stops >= SN_MAX_STOPS - 1) return sn_fail(error, SN_ERROR_USAGE, "stop: expected up to %d texts that are not empty", SN_MAX_STOPS - 1);
    char *copy = sn_arena_strdup(o->arena, value);
    if (!copy) return sn_fail_memory(error);
    o->generate.stops[o->generate.num_stops++] = copy;
    return SN_OK;
}

static sn_status set_template(sn_options *o, const char *value, sn_error *error) {
    char *copy = sn_arena_strdup(o->arena, value);
    if (!copy) return sn_fail_memory(error);
    o->template_name = copy;
    return SN_OK;
}

static sn_status set_word(bool *place, const char *name, const char *value, const char *yes, const char *no, sn_error *error) {
    bool is_yes = strcmp(value, yes) == 0;
    if (!is_yes && strcmp(value, no) != 0) return sn_fail(error, SN_ERROR_USAGE, "%s: found \"%s\", expected %s or %s", name, value, yes, no);
    *place = is_yes;
    return SN_OK;
}

static sn_status set_exif(sn_options *o, const char *value, sn_error *error) {
    return set_word(&o->pictures.exif_apply, "exif", value, "apply", "ignore", error);
}

static sn_status set_alpha(sn_options *o, const char *value, sn_error *error) {
    return set_word(&o->pictures.alpha_white, "alpha", value, "white", "drop", error);
}

static const struct entry {
    const char *name;
    sn_status (*set)(sn_options *o, const char *value, sn_error *error);
} entries[] = {{"stop", add_stop}, {"template", set_template}, {"exif", set_exif}, {"alpha", set_alpha}};

sn_status sn_options_set(sn_options *o, const char *name, const char *value, sn_error *error) {
    sn_status status = sn_api_need(o, "sn_options_set", "options", error);
    if (!status) status = sn_api_need_text(name, "sn_options_set", "name", error);
    if (!status) status = sn_api_need_text(value, "sn_options_set", "value", error);
    if (status) return status;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(entries[i].name, name) == 0) return entries[i].set(o, value, error);
    status = sn_generate_set(&o->generate, name, value, error);
    if (!status && strcmp(name, "temperature") == 0) o->own_temperature = false;
    return status;
}
