/* What a gallery asks of a model: unit vectors, and a fingerprint of all that decides them. */
#include "gallery/private.h"

#include "base/map.h"
#include "systems/embed.h"

#include <string.h>

sn_status sn_gallery_model_of(sn_model *m, const sn_image_options *pictures, sn_gallery_model *out, sn_error *error) {
    const sn_embedder *e = m->system->embedder;
    *out = (sn_gallery_model){.model = m, .pictures = *pictures, .width = e ? e->width(m) : m->system->key ? m->lm.query_size : 0, .text = e ? e->text : NULL};
    if (out->width >= 1) return SN_OK;
    sn_buf others = {0};
    for (const sn_system *const *s = sn_systems; *s; s++)
        if ((*s)->embedder || (*s)->key) sn_buf_printf(&others, "%s%s", others.length ? ", " : "", (*s)->title);
    sn_status status = sn_fail(error, SN_ERROR_SUPPORT, "%s: these files give no vectors to compare; models that do, with all their parts: %s", m->system->title, others.data ? others.data : "none");
    sn_buf_free(&others);
    return status;
}

static sn_status unit(float *vector, int64_t width, sn_error *error) {
    return sn_unit(vector, width) ? SN_OK : sn_fail(error, SN_ERROR_NUMERIC, "its vector is zero or not finite");
}

sn_status sn_vector_of_pixels(const sn_gallery_model *g, const float *pixels, float *vector, sn_error *error) {
    sn_model *m = g->model;
    const sn_embedder *e = m->system->embedder;
    sn_status status = e ? e->pictures(m, pixels, 1, vector, error) : sn_model_keys(m, pixels, 1, vector, error);
    return status ? status : unit(vector, g->width, error);
}

sn_status sn_vector_of_picture(const sn_gallery_model *g, const char *path, float *vector, sn_error *error) {
    sn_model *m = g->model;
    sn_image image = {0};
    float *pixels = sn_alloc(3 * (size_t)m->image_size, (size_t)m->image_size * sizeof *pixels);
    sn_status status = pixels ? sn_image_open(path, &g->pictures, &image, error) : sn_fail_memory(error);
    if (!status) status = sn_image_process(&m->processor, &image, pixels, error);
    if (!status) status = sn_vector_of_pixels(g, pixels, vector, error);
    sn_image_free(&image);
    sn_free(pixels);
    return status;
}

sn_status sn_vector_of_text(const sn_gallery_model *g, const char *text, float *vector, sn_error *error) {
    if (!g->text) return sn_fail(error, SN_ERROR_SUPPORT, "%s gives no vectors of texts", g->model->system->title);
    sn_status status = g->text(g->model, text, vector, error);
    return status ? status : unit(vector, g->width, error);
}

/* ---- the fingerprint ---- */

static void add_sample(void *sample, const char *name, const sn_weight *weight, const float *row) { sn_sample_add(sample, name, weight, row); }

void sn_fingerprint_free(sn_fingerprint *f) { sn_buf_free(&f->sample); }

static void write_hash(const uint64_t hash[2], char text[33]) { snprintf(text, 33, "%016llx%016llx", (unsigned long long)hash[0], (unsigned long long)hash[1]); }

sn_status sn_fingerprint_of(sn_model *m, const sn_image_options *pictures, sn_fingerprint *out, sn_error *error) {
    uint64_t hash[2], form[2];
    sn_gallery_model g;
    *out = (sn_fingerprint){.pictures = *pictures};
    sn_status status = sn_gallery_model_of(m, pictures, &g, error);
    if (!status) status = sn_model_hash(m, hash, form, add_sample, &out->sample, error);
    if (!status && out->sample.failed) status = sn_fail_memory(error);
    if (status) {
        sn_fingerprint_free(out);
        return status;
    }
    const sn_image_processor *p = &m->processor;
    char text[512];
    snprintf(text, sizeof text, "%s %lld rule %d %d %d %d %d crop %d size %d %d pad %d filter %d %d scale %.9g mean %.9g %.9g %.9g std %.9g %.9g %.9g fill %.9g %.9g %.9g exif %d alpha %d %d %d",
             m->system->name, (long long)g.width, p->rule, p->shortest, p->longest, p->exact_width, p->exact_height, p->crop, p->width, p->height, p->pad_square, p->filter, p->order, p->rescale, p->mean[0],
             p->mean[1], p->mean[2], p->std[0], p->std[1], p->std[2], p->fill[0], p->fill[1], p->fill[2], pictures->exif_apply, pictures->alpha_white, pictures->alpha_keep, pictures->gray16_shift);
    for (int i = 0; i < 2; i++) form[i] = sn_hash(text, strlen(text), form[i]), hash[i] = sn_hash(&form[i], sizeof form[i], hash[i]);
    out->width = g.width;
    write_hash(hash, out->hash);
    write_hash(form, out->form);
    snprintf(out->title, sizeof out->title, "%s", m->system->title);
    return SN_OK;
}
