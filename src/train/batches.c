/* From data sets to batches. A sample is prepared (ids, labels, pixels) when a step needs it; one that cannot be used is
 * counted, named and skipped, or stops the run. */
#include "train/batches.h"

#include "base/file.h"
#include "generate/answer.h"
#include "train/objective.h"

#include <stdio.h>
#include <string.h>

void sn_data_close(sn_training *t) {
    for (int i = 0; i < t->num_sets; i++) sn_dataset_close(t->sets[i]);
    sn_free(t->sets);
}

sn_status sn_data_open(sn_training *t, sn_error *error) {
    const sn_recipe *r = t->recipe;
    t->sets = sn_alloc(r->data_count, sizeof *t->sets);
    if (!t->sets) return sn_fail_memory(error);
    for (unsigned i = 0; i < r->data_count; i++) {
        sn_status status = sn_dataset_open(r->data[i].path, r->data[i].images, &t->sets[i], error);
        if (status) return status;
        t->num_sets++;
        t->samples += (int64_t)sn_dataset_count(t->sets[i]);
    }
    t->steps = r->steps ? r->steps : (t->samples * r->epochs + r->batch.size - 1) / r->batch.size;
    return SN_OK;
}

/* ---- samples ---- */

static const json_t *sample_at(const sn_training *t, int64_t index, const sn_dataset **set) {
    for (int i = 0; i < t->num_sets; i++) {
        int64_t count = (int64_t)sn_dataset_count(t->sets[i]);
        if (index < count) {
            *set = t->sets[i];
            return sn_dataset_sample(t->sets[i], (size_t)index);
        }
        index -= count;
    }
    return NULL;
}

/* A sample's ids and labels, cut to the window, and its pictures. */
static sn_status prepare(const sn_training *t, int64_t index, bool pictures, sn_sample *sample, float **pixels, const char **id, bool *cut, sn_error *error) {
    const sn_dataset *set = NULL;
    const json_t *object = sample_at(t, index, &set);
    const char *template = t->recipe->template ? t->recipe->template : t->trainer.stage->template;
    size_t window = t->recipe->max_length ? t->recipe->max_length : t->objective->max_length ? t->objective->max_length : (size_t)t->model->lm.max_positions;
    char *paths[SN_MAX_MEDIA] = {0};
    *pixels = NULL, *cut = false;
    *id = sn_json_string(object, "id");
    sn_status status = t->model->system->sample(t->model, template, object, sample, error);
    if (status) return status;
    *cut = sample->ids.count > window;
    if (*cut) sample->ids.count = sample->labels.count = window;
    for (int i = 0; i < sample->num_media && pictures && !status; i++)
        if (!(paths[i] = sn_path_join(sn_dataset_images(set), sample->media[i]))) status = sn_fail_memory(error);
    if (!status && pictures) status = sn_load_pictures(t->model, (const char *const *)paths, sample->num_media, NULL, pixels, error);
    for (int i = 0; i < SN_MAX_MEDIA; i++) sn_free(paths[i]);
    return status;
}

static void free_sample(sn_sample *sample) {
    sn_ids_free(&sample->ids);
    sn_ids_free(&sample->labels);
}

/* Counts, names and skips; or lets the run stop, as the recipe says. */
static sn_status skip(sn_training *t, int64_t index, const char *id, sn_status status, sn_error *error) {
    char name[64];
    snprintf(name, sizeof name, "number %lld", (long long)index);
    if (t->hooks.on_skip) t->hooks.on_skip(t->hooks.context, id ? id : name, error->message);
    t->state.skipped++;
    return t->recipe->broken || status == SN_ERROR_MEMORY ? status : SN_OK;
}

static sn_status nothing_learnt(const sn_sample *sample, bool cut, sn_error *error) {
    return sn_fail(error, SN_ERROR_INPUT, cut ? "no learnt token within %zu positions: the answer lies behind max_length" : "no learnt token in %zu positions", sample->ids.count);
}

sn_status sn_training_survey(sn_training *t, sn_data_report *out, sn_error *error) {
    int64_t most_pictures = 0;
    *out = (sn_data_report){.samples = t->samples};
    for (int64_t i = 0; i < t->samples; i++) {
        sn_sample sample = {0};
        float *pixels;
        const char *id;
        bool cut;
        sn_status status = prepare(t, i, false, &sample, &pixels, &id, &cut, error);
        int64_t learnt = status ? 0 : sn_sample_learnt(&sample);
        if (!status && !learnt) status = nothing_learnt(&sample, cut, error), out->without_labels++;
        else if (status) out->broken++;
        else out->usable++;
        out->cut += cut;
        out->pictures += sample.num_media;
        if (sample.num_media > most_pictures) most_pictures = sample.num_media;
        if ((int64_t)sample.ids.count > out->longest) out->longest = (int64_t)sample.ids.count;
        out->learnt += learnt;
        free_sample(&sample);
        if (status) skip(t, i, id, status, error);
    }
    t->state.skipped = 0;
    *error = (sn_error){0};
    if (!out->usable) return sn_fail(error, SN_ERROR_INPUT, "no learnt token in %lld of %lld samples", (long long)t->samples, (long long)t->samples);
    return t->objective->memory(t, out->longest, most_pictures, &out->pass_memory, error);
}

/* ---- the samples of a step ---- */

void sn_batch_cut(sn_batch *b, int count) {
    for (int i = count; i < b->count; i++) {
        free_sample(&b->samples[i]);
        sn_free(b->pixels[i]);
    }
    if (b->count > count) b->count = count;
}

void sn_batch_free(sn_batch *b) {
    sn_batch_cut(b, 0);
    sn_free(b->samples);
    sn_free(b->pixels);
    json_decref(b->ids);
    *b = (sn_batch){0};
}

sn_status sn_batch_load(sn_training *t, int64_t step, sn_batch *b, sn_error *error) {
    unsigned size = t->recipe->batch.size;
    *b = (sn_batch){.samples = sn_alloc(size, sizeof *b->samples), .pixels = sn_alloc(size, sizeof *b->pixels), .ids = json_array()};
    sn_status status = b->samples && b->pixels && b->ids ? SN_OK : sn_fail_memory(error);
    for (unsigned i = 0; i < size && !status; i++) {
        int64_t place = step * size + i, epoch = place / t->samples;
        if (!t->recipe->steps && epoch >= t->recipe->epochs) break; /* the last step takes what is left */
        int64_t index = (int64_t)sn_shuffled(t->recipe->seed, (uint64_t)epoch, (uint64_t)(place % t->samples), (uint64_t)t->samples);
        sn_sample *sample = &b->samples[b->count];
        const char *id = NULL;
        bool cut;
        *sample = (sn_sample){0};
        status = prepare(t, index, true, sample, &b->pixels[b->count], &id, &cut, error);
        int64_t learnt = status ? 0 : sn_sample_learnt(sample);
        if (!status && !learnt) status = nothing_learnt(sample, cut, error);
        if (status) {
            sn_free(b->pixels[b->count]);
            free_sample(sample);
            status = skip(t, index, id, status, error);
            continue;
        }
        json_array_append_new(b->ids, id ? json_string(id) : json_integer(index));
        b->learnt += learnt, b->tokens += (int64_t)sample->ids.count, b->count++;
    }
    if (status) sn_batch_free(b);
    return status;
}

sn_status sn_batch_pass(const sn_training *t, const sn_batch *b, int from, int n, sn_pass *pass, sn_error *error) {
    size_t size = 3 * (size_t)t->model->image_size * (size_t)t->model->image_size;
    int64_t learnt = 0;
    int pictures = 0;
    for (int i = from; i < from + n; i++) pictures += b->samples[i].num_media, learnt += sn_sample_learnt(&b->samples[i]);
    float *pixels = sn_alloc((size_t)pictures * size + 1, sizeof *pixels);
    if (!pixels) return sn_fail_memory(error);
    for (int i = from, at = 0; i < from + n; i++) {
        if (b->samples[i].num_media) memcpy(pixels + (size_t)at * size, b->pixels[i], (size_t)b->samples[i].num_media * size * sizeof *pixels);
        at += b->samples[i].num_media;
    }
    /* every pass divides by the tokens of the whole step; by the rule of 2023, by its own and by the number of passes */
    int micro = (int)t->recipe->batch.micro, passes = (b->count + micro - 1) / micro;
    *pass = (sn_pass){.samples = b->samples + from, .num_samples = n, .pixels = pixels, .pictures = pictures, .count = t->recipe->loss.count ? (double)learnt * passes : (double)b->learnt};
    return SN_OK;
}

