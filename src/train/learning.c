/* Patterns against the names of a model's parameters. */
#include "train/learning.h"

#include <fnmatch.h>
#include <string.h>

bool sn_name_fits(const char *pattern, const sn_store_entry *e) {
    return fnmatch(pattern, e->name, 0) == 0 || (e->published && fnmatch(pattern, e->published, 0) == 0);
}

const sn_stage *sn_stage_find(const sn_model *model, const char *name, sn_error *error) {
    for (const sn_stage *s = model->system->stages; s && s->name; s++)
        if (strcmp(s->name, name) == 0) return s;
    sn_fail(error, SN_ERROR_USAGE, "stage: found %s, which %s does not have", name, model->system->title);
    return NULL;
}

bool sn_stage_trains(const sn_stage *stage, const char *name) {
    for (const char *const *p = stage->trainable; *p; p++)
        if (fnmatch(*p, name, 0) == 0) return true;
    return false;
}

bool sn_learns(const sn_learning *l, const sn_stage *stage, const sn_store_entry *e, const sn_learning_group **group) {
    *group = NULL;
    for (int i = 0; i < l->num_freeze; i++)
        if (sn_name_fits(l->freeze[i], e)) return false;
    for (int i = 0; i < l->num_train; i++)
        if (sn_name_fits(l->train[i].pattern, e)) *group = &l->train[i];
    return l->num_train ? *group != NULL : sn_stage_trains(stage, e->name);
}

static bool fits_any(const char *pattern, const sn_model *model) {
    for (size_t i = 0; i < model->store->count; i++)
        if (sn_name_fits(pattern, model->store->entries[i])) return true;
    return false;
}

sn_status sn_learning_check(const sn_learning *l, const sn_model *model, const char **pattern, sn_error *error) {
    const char *odd = NULL, *word = NULL;
    for (int i = 0; i < l->num_train && !odd; i++)
        if (!fits_any(l->train[i].pattern, model)) odd = l->train[i].pattern, word = "train";
    for (int i = 0; i < l->num_freeze && !odd; i++)
        if (!fits_any(l->freeze[i], model)) odd = l->freeze[i], word = "freeze";
    if (pattern) *pattern = odd;
    if (!odd) return SN_OK;
    return sn_fail(error, SN_ERROR_USAGE, "%s: found %s, which fits no parameter of the model; `sensorium inspect --json` lists the tensors", word, odd);
}
