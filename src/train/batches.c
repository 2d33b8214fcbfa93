/* From data sets to batches. Samples are loaded (ids, labels, pixels) by threads of their own, ahead of the step that needs
 * them, and taken in the order in which the mixture draws them; one that cannot be used is counted, named and skipped, or
 * stops the run. */
#include "train/batches.h"

#include "base/cpu.h"
#include "base/file.h"
#include "media/image.h"
#include "train/exchange.h"
#include "train/objective.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, AHEAD_BYTES = 256 << 20 };

void sn_data_close(sn_training *t) {
    sn_loader_close(t->loader);
    for (int i = 0; i < t->num_sets; i++) sn_dataset_close(t->sets[i]);
    sn_free(t->sets);
    t->loader = NULL, t->sets = NULL, t->num_sets = 0;
}

sn_status sn_data_open(sn_training *t, sn_error *error) {
    const sn_recipe *r = t->recipe;
    sn_mixture *m = &t->state.mixture;
    t->sets = sn_alloc(r->data_count, sizeof *t->sets);
    if (!t->sets) return sn_fail_memory(error);
    *m = (sn_mixture){.num_sources = (int)r->data_count, .seed = r->seed};
    for (unsigned i = 0; i < r->data_count; i++) {
        sn_error inner = {0};
        sn_status status = sn_dataset_open(r->data[i].path, r->data[i].images, &t->sets[i], &inner);
        if (status) return sn_fail(error, status, "%s: %s%s", r->file, sn_recipe_line_with(r, r->data[i].path).text, inner.message);
        t->num_sets++;
        m->name[i] = r->data[i].path, m->count[i] = (int64_t)sn_dataset_count(t->sets[i]), m->weight[i] = r->data[i].weight ? *r->data[i].weight : 0;
        m->total += m->count[i];
    }
    t->samples = m->total;
    t->steps = r->steps ? r->steps : (t->samples * r->epochs + r->batch.size - 1) / r->batch.size;
    return SN_OK;
}

/* Places of the whole run: the last step of the last epoch takes what is left. */
static int64_t all_places(const sn_training *t) { return t->recipe->steps ? t->steps * t->recipe->batch.size : t->samples * t->recipe->epochs; }

sn_status sn_data_resume(sn_training *t, sn_error *error) {
    int64_t place = t->state.step * t->recipe->batch.size, *found = &t->state.mixture.state.place;
    if (place > all_places(t)) place = all_places(t);
    if (*found == 0) sn_mixture_seek(&t->state.mixture, place); /* a checkpoint of before places were kept */
    if (*found != place) return sn_fail(error, SN_ERROR_INPUT, "%s: its checkpoint of step %lld is at sample %lld, expected %lld: not a whole checkpoint", t->recipe->save.folder, (long long)t->state.step, (long long)*found, (long long)place);
    return SN_OK;
}

/* ---- one sample ---- */

/* How far a look at a sample goes: whether its pictures are there; whether they can be decoded; pixels for a pass. */
typedef enum sn_depth { SN_DEPTH_FILES, SN_DEPTH_DECODED, SN_DEPTH_PIXELS } sn_depth;

static sn_status load_picture(const sn_training *t, const sn_record *record, const char *images, const sn_sample *sample, int i, sn_depth depth, float *pixels, sn_error *error) {
    sn_image image = {0};
    sn_status status = SN_OK;
    const char *name = sample->media[i];
    char *path = record->num_pictures ? NULL : sn_path_join(images, name);
    if (record->num_pictures && depth == SN_DEPTH_FILES) return SN_OK;
    if (record->num_pictures) status = sn_image_decode(name, (const unsigned char *)record->pictures[i].bytes, record->pictures[i].size, NULL, &image, error);
    else if (!path) status = sn_fail_memory(error);
    else if (depth == SN_DEPTH_FILES) status = access(path, R_OK) == 0 ? SN_OK : sn_fail(error, SN_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
    else status = sn_image_open(path, NULL, &image, error);
    if (!status && depth == SN_DEPTH_PIXELS) status = sn_image_process(&t->model->processor, &image, pixels, error);
    sn_image_free(&image);
    sn_free(path);
    return status;
}

static sn_status load_pictures(const sn_training *t, const sn_record *record, const char *images, sn_depth depth, sn_loaded *out) {
    sn_sample *sample = &out->sample;
    size_t size = 3 * (size_t)t->model->image_size * (size_t)t->model->image_size;
    sn_status status = SN_OK;
    if (!sample->num_media) return SN_OK;
    if (!t->model->has_vision) return sn_fail(&out->error, SN_ERROR_INPUT, "%s: this model takes text alone", sample->media[0]);
    if (record->num_pictures && record->num_pictures != sample->num_media)
        return sn_fail(&out->error, SN_ERROR_INPUT, "found %d pictures in the shard, expected the %d of the conversation", record->num_pictures, sample->num_media);
    if (depth == SN_DEPTH_PIXELS && !(out->pixels = sn_alloc((size_t)sample->num_media * size, sizeof *out->pixels))) return sn_fail_memory(&out->error);
    for (int i = 0; i < sample->num_media && !status; i++)
        status = load_picture(t, record, images, sample, i, depth, out->pixels ? out->pixels + (size_t)i * size : NULL, &out->error);
    return status;
}

/* The recipe's max_length or the objective's own, as far as the model goes. */
static int64_t window_of(const sn_training *t) {
    int64_t wanted = t->recipe->max_length ? t->recipe->max_length : t->objective->max_length, most = t->model->lm.max_positions;
    return wanted && wanted < most ? wanted : most;
}

/* Ids and labels, cut to the window, and pictures as deep as asked. A sample without anything to learn is one that cannot
 * be used. */
static void load(const sn_training *t, sn_depth depth, sn_loaded *out) {
    const sn_dataset *set = t->sets[out->draw.source];
    const char *template = t->recipe->template ? t->recipe->template : t->trainer.stage->template, *id;
    sn_sample *sample = &out->sample;
    sn_record record;
    size_t window = (size_t)window_of(t);
    if ((out->status = sn_dataset_read(set, (size_t)out->draw.index, depth != SN_DEPTH_FILES, &record, &out->error))) return;
    if ((id = sn_json_string(record.object, "id")) && !(out->id = sn_strdup(id))) out->status = sn_fail_memory(&out->error);
    if (!out->status) out->status = t->model->system->sample(t->model, template, record.object, sample, &out->error);
    out->whole = (int64_t)sample->ids.count, out->whole_learnt = sn_sample_learnt(sample);
    if (!out->status && (out->cut = sample->ids.count > window)) sample->ids.count = sample->labels.count = window;
    if (!out->status) out->status = load_pictures(t, &record, sn_dataset_images(set), depth, out);
    if (!out->status && (out->mute = (out->learnt = sn_sample_learnt(sample)) == 0))
        out->status = sn_fail(&out->error, SN_ERROR_INPUT, "no learnt token in %zu positions%s%s", sample->ids.count, out->cut || sample->mute ? ": " : "",
                              sample->mute ? sample->mute : out->cut ? "the answer lies behind max_length, or the model's window" : "");
    for (int i = 0; i < sample->num_media; i++) sample->media[i] = NULL; /* they are the record's */
    sn_record_free(&record);
}

/* What a sample is called: by its id, or its number. */
static const char *name_of(const sn_loaded *l, char number[64]) {
    snprintf(number, 64, "number %lld", (long long)l->draw.number);
    return l->id ? l->id : number;
}

/* Names a sample whose end is not seen. */
static void tell_cut(const sn_training *t, const sn_loaded *l) {
    char number[64], how[200];
    int64_t kept = (int64_t)l->sample.ids.count;
    snprintf(how, sizeof how, "%lld of its %lld positions are kept (%s), and %lld of %lld learnt tokens", (long long)kept, (long long)l->whole,
             kept == t->model->lm.max_positions ? "the model's window" : "max_length", (long long)l->learnt, (long long)l->whole_learnt);
    if (t->hooks.on_cut) t->hooks.on_cut(t->hooks.context, name_of(l, number), how);
}

/* Counts and names a sample that is not used. */
static void skip(sn_training *t, const sn_loaded *l) {
    char number[64];
    const char *id = name_of(l, number);
    if (t->skips) json_array_append_new(t->skips, json_pack("[s, s]", id, l->error.message)); /* rank 0 names it, and all count it */
    else if (t->hooks.on_skip) t->hooks.on_skip(t->hooks.context, id, l->error.message);
    t->state.skipped += !t->skips;
}

/* Errors that are not the sample's. */
static bool fatal(sn_status status) { return status == SN_ERROR_MEMORY || status == SN_ERROR_USAGE; }

static sn_status too_many(const sn_training *t, int64_t dropped, int64_t of, sn_error *error) {
    const sn_recipe *r = t->recipe;
    if (r->broken == SN_BROKEN_SKIP || (double)dropped <= (r->broken == SN_BROKEN_STOP ? 0 : r->broken_share * (double)of)) return SN_OK;
    if (r->broken == SN_BROKEN_STOP) return sn_fail(error, SN_ERROR_INPUT, "%lld of %lld samples cannot be used, and the recipe says broken: stop", (long long)dropped, (long long)of);
    return sn_fail(error, SN_ERROR_INPUT, "%lld of %lld samples cannot be used, more than %g %% of them; mend the data, or say broken: skip or a larger broken_share", (long long)dropped, (long long)of, 100 * r->broken_share);
}

/* ---- a look at all of them ---- */

typedef struct survey {
    const sn_training *training;
    sn_depth depth;
    int64_t next;
} survey;

static sn_draw draw_next(void *context) {
    survey *s = context;
    return sn_mixture_find(&s->training->state.mixture, s->next++);
}

static void load_survey(const void *context, sn_loaded *out) {
    const survey *s = context;
    load(s->training, s->depth, out);
}

sn_status sn_training_survey(sn_training *t, bool decode, sn_data_report *out, sn_error *error) {
    survey s = {.training = t, .depth = decode ? SN_DEPTH_DECODED : SN_DEPTH_FILES};
    const sn_loader_work work = {.context = &s, .draw = draw_next, .load = load_survey};
    int64_t most_pictures = 0, skipped = t->state.skipped;
    sn_loader *loader;
    *out = (sn_data_report){.samples = t->samples};
    sn_status status = sn_loader_open(&work, sn_cpu_count(), 1024, t->samples, &loader, error);
    for (int64_t i = 0; i < t->samples && !status; i++) {
        sn_loaded l;
        sn_loader_take(loader, &l);
        out->without_labels += l.mute, out->broken += l.status && !l.mute, out->usable += !l.status, out->cut += l.cut;
        out->pictures += l.sample.num_media, out->learnt += l.learnt;
        if (l.sample.num_media > most_pictures) most_pictures = l.sample.num_media;
        if ((int64_t)l.sample.ids.count > out->longest) out->longest = (int64_t)l.sample.ids.count;
        if (l.status == SN_ERROR_USAGE) status = sn_fail(error, l.status, "%s: %s%s", t->recipe->file, sn_recipe_line_with(t->recipe, "template:").text, l.error.message); /* all that a sample has of the recipe */
        else if (fatal(l.status)) status = sn_fail(error, l.status, "%s", l.error.message);
        else if (l.status) skip(t, &l);
        else if (l.cut) tell_cut(t, &l);
        if (!l.status && t->hooks.on_sample) t->hooks.on_sample(t->hooks.context, l.id, &l.sample, l.learnt);
        sn_loaded_free(&l);
    }
    sn_loader_close(loader);
    t->state.skipped = skipped; /* the run's own count */
    if (status) return status;
    if (!out->usable && !out->broken) return sn_fail(error, SN_ERROR_INPUT, "no learnt token in %lld of %lld samples", (long long)t->samples, (long long)t->samples);
    if (!out->usable) return sn_fail(error, SN_ERROR_INPUT, "none of %lld samples can be used: %lld are broken, %lld without a learnt token", (long long)t->samples, (long long)out->broken, (long long)out->without_labels);
    return t->objective->memory(t, out->longest, most_pictures, &out->pass_memory, error);
}

sn_status sn_training_check_data(const sn_training *t, const sn_data_report *report, sn_error *error) {
    return too_many(t, report->without_labels + report->broken, report->samples, error);
}

/* Within the present epoch, or all of them: a sample that is broken is met once in each. */
sn_status sn_training_check_skipped(const sn_training *t, sn_error *error) {
    int64_t place = t->state.mixture.state.place;
    return too_many(t, t->state.skipped, t->samples * (place ? (place - 1) / t->samples + 1 : 1), error);
}

/* ---- the samples of a step ---- */

static void free_sample(sn_sample *sample) {
    sn_ids_free(&sample->ids);
    sn_ids_free(&sample->labels);
}

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
    sn_free(b->learnt_of);
    json_decref(b->ids);
    *b = (sn_batch){0};
}

/* Whether a place belongs to this process: each has the same part of every step. */
static bool own_place(const sn_training *t, int64_t place) {
    unsigned from, to, at = (unsigned)(place % t->recipe->batch.size);
    sn_exchange_places(t, t->recipe->batch.size, &from, &to);
    return from <= at && at < to;
}

/* How many of the places from that one on, where a step begins, to the end of the run do. */
static int64_t own_places(const sn_training *t, int64_t place) {
    unsigned size = t->recipe->batch.size, from, to;
    sn_exchange_places(t, size, &from, &to);
    int64_t left = all_places(t) - place, rest = left % size;
    return left / size * (to - from) + (rest <= from ? 0 : rest < to ? rest - from : to - from);
}

static sn_draw draw_ahead(void *context) {
    sn_training *t = context;
    sn_draw draw = sn_mixture_next(&t->ahead);
    while (!own_place(t, draw.place)) draw = sn_mixture_next(&t->ahead);
    return draw;
}

static void load_pixels(const void *context, sn_loaded *out) { load(context, SN_DEPTH_PIXELS, out); }

/* Threads and samples that are kept ready: as many as two steps take, within a number of bytes. */
static sn_status start_loader(sn_training *t, sn_error *error) {
    const sn_loader_work work = {.context = t, .draw = draw_ahead, .load = load_pixels};
    int workers = t->recipe->workers ? (int)t->recipe->workers : sn_cpu_count() / 4;
    size_t bytes = 3 * sizeof(float) * (size_t)t->model->image_size * (size_t)t->model->image_size + 1, fit = AHEAD_BYTES / bytes, ahead = 2 * (size_t)t->recipe->batch.size;
    t->ahead = t->state.mixture;
    return sn_loader_open(&work, workers < 1 ? 1 : workers > MOST_WORKERS ? MOST_WORKERS : workers, (int)(ahead < fit ? ahead : fit), own_places(t, t->ahead.state.place), &t->loader, error);
}

sn_status sn_batch_load(sn_training *t, sn_batch *b, sn_error *error) {
    unsigned size = t->recipe->batch.size;
    sn_mixture *m = &t->state.mixture;
    *b = (sn_batch){.samples = sn_alloc(size, sizeof *b->samples), .pixels = sn_alloc(size, sizeof *b->pixels), .ids = json_array()};
    sn_status status = b->samples && b->pixels && b->ids ? SN_OK : sn_fail_memory(error);
    if (!status && !t->loader) status = start_loader(t, error);
    for (unsigned i = 0; i < size && !status && m->state.place < all_places(t); i++) {
        sn_loaded l;
        if (!own_place(t, sn_mixture_next(m).place)) continue;
        sn_loader_take(t->loader, &l);
        if (l.status) {
            skip(t, &l);
            if (fatal(l.status)) status = sn_fail(error, l.status, "%s", l.error.message);
            sn_loaded_free(&l);
            continue;
        }
        json_array_append_new(b->ids, l.id ? json_string(l.id) : json_integer(l.draw.number));
        b->samples[b->count] = l.sample, b->samples[b->count].place = l.draw.place, b->pixels[b->count] = l.pixels;
        b->learnt += l.learnt, b->tokens += (int64_t)l.sample.ids.count, b->pictures += l.sample.num_media, b->count++;
        l.sample = (sn_sample){0}, l.pixels = NULL; /* the batch's now */
        sn_loaded_free(&l);
    }
    if (status) sn_batch_free(b);
    return status;
}

void sn_data_rewind(sn_training *t, const sn_mixture_state *state) {
    sn_loader_close(t->loader);
    t->loader = NULL, t->state.mixture.state = *state;
}

int sn_batch_next(const sn_training *t, const sn_batch *b, int from) {
    int micro = (int)t->recipe->batch.micro, border = micro - (b->before + from) % micro;
    return b->count - from < border ? b->count - from : border;
}

/* Tokens learnt in the pass of one process that holds that sample. */
static int64_t learnt_around(const sn_batch *b, int micro, int sample) {
    int64_t learnt = 0;
    for (int i = sample - sample % micro; i < b->total && i < sample - sample % micro + micro; i++) learnt += b->learnt_of[i];
    return learnt;
}

sn_status sn_batch_pass(const sn_training *t, const sn_batch *b, int from, int n, sn_pass *pass, sn_error *error) {
    size_t size = 3 * (size_t)t->model->image_size * (size_t)t->model->image_size;
    int pictures = 0;
    for (int i = from; i < from + n; i++) pictures += b->samples[i].num_media;
    float *pixels = sn_alloc((size_t)pictures * size + 1, sizeof *pixels);
    if (!pixels) return sn_fail_memory(error);
    for (int i = from, at = 0; i < from + n; i++) {
        if (b->samples[i].num_media) memcpy(pixels + (size_t)at * size, b->pixels[i], (size_t)b->samples[i].num_media * size * sizeof *pixels);
        at += b->samples[i].num_media;
    }
    /* every pass divides by the tokens of the whole step; by the rule of 2023, by its own and by the number of passes */
    int micro = (int)t->recipe->batch.micro, passes = (b->total + micro - 1) / micro;
    *pass = (sn_pass){.samples = b->samples + from, .num_samples = n, .pixels = pixels, .pictures = pictures, .count = t->recipe->loss.count ? (double)learnt_around(b, micro, b->before + from) * passes : (double)b->learnt};
    return SN_OK;
}

