/* A short list: a conversation has at most some dozens of pictures. */
#include "generate/pictures.h"

#include "media/data_url.h"

#include <string.h>

struct sn_pictures {
    sn_model *model;
    size_t limit;
    sn_picture *first;
    uint64_t clock;
    int64_t encoded;
};

sn_status sn_pictures_new(sn_model *model, size_t limit, sn_pictures **out, sn_error *error) {
    if (!(*out = sn_alloc(1, sizeof **out))) return sn_fail_memory(error);
    **out = (sn_pictures){.model = model, .limit = limit};
    return SN_OK;
}

static void picture_free(sn_picture *p) {
    sn_free(p->planes);
    sn_free(p->rows);
    sn_free(p);
}

void sn_pictures_free(sn_pictures *s) {
    while (s && s->first) {
        sn_picture *next = s->first->next;
        picture_free(s->first);
        s->first = next;
    }
    sn_free(s);
}

static size_t plane_bytes(const sn_pictures *s) { return 3 * (size_t)s->model->image_size * (size_t)s->model->image_size * sizeof(float); }
static size_t row_bytes(const sn_pictures *s) { return (size_t)s->model->media_positions * (size_t)s->model->lm.hidden_size * sizeof(float); }

/* Frees those that nobody holds, the one that was not used for longest first, until the rest fits. */
static void shrink(sn_pictures *s) {
    for (;;) {
        size_t bytes = 0;
        sn_picture **oldest = NULL;
        for (sn_picture **p = &s->first; *p; p = &(*p)->next) {
            if ((*p)->holders) continue;
            bytes += ((*p)->planes ? plane_bytes(s) : 0) + ((*p)->rows ? row_bytes(s) : 0);
            if (!oldest || (*p)->last_use < (*oldest)->last_use) oldest = p;
        }
        if (bytes <= s->limit) return;
        sn_picture *gone = *oldest;
        *oldest = gone->next;
        picture_free(gone);
    }
}

static sn_status read_planes(const sn_pictures *s, sn_image image, float **planes, sn_error *error) {
    *planes = sn_alloc(1, plane_bytes(s));
    sn_status status = *planes ? sn_image_process(&s->model->processor, &image, *planes, error) : sn_fail_memory(error);
    sn_image_free(&image);
    if (status) sn_free(*planes);
    return status;
}

/* Takes the image over. */
static sn_status hold(sn_pictures *s, sn_image image, sn_picture **out, sn_error *error) {
    float *planes;
    sn_status status = read_planes(s, image, &planes, error);
    if (status) return status;
    uint64_t key[2] = {sn_hash(planes, plane_bytes(s), 1), sn_hash(planes, plane_bytes(s), 2)};
    sn_picture *p = s->first;
    while (p && memcmp(p->key, key, sizeof key) != 0) p = p->next;
    if (p) {
        sn_free(planes);
    } else {
        if (!(p = sn_alloc(1, sizeof *p))) {
            sn_free(planes);
            return sn_fail_memory(error);
        }
        *p = (sn_picture){.key = {key[0], key[1]}, .planes = planes, .next = s->first};
        s->first = p;
    }
    p->holders++;
    *out = p;
    return SN_OK;
}

sn_status sn_picture_open(sn_pictures *s, const char *path, const sn_image_options *options, sn_picture **out, sn_error *error) {
    *out = NULL;
    if (!s->model->has_vision) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", sn_picture_name(path));
    sn_image image;
    sn_status status = sn_image_open(path, options, &image, error);
    return status ? status : hold(s, image, out, error);
}

sn_status sn_picture_decode(sn_pictures *s, const char *where, const void *bytes, size_t size, const sn_image_options *options, sn_picture **out, sn_error *error) {
    *out = NULL;
    if (!s->model->has_vision) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", where);
    sn_image image;
    sn_status status = sn_image_decode(where, bytes, size, options, &image, error);
    return status ? status : hold(s, image, out, error);
}

sn_status sn_picture_pixels(sn_pictures *s, const char *where, const uint8_t *rgb, int64_t width, int64_t height, sn_picture **out, sn_error *error) {
    *out = NULL;
    if (!s->model->has_vision) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", where);
    sn_image image;
    sn_status status = sn_image_new(where, width, height, 3, &image, error);
    if (status) return status;
    memcpy(image.pixels, rgb, (size_t)(width * height) * 3);
    return hold(s, image, out, error);
}

void sn_picture_drop(sn_pictures *s, sn_picture *p) {
    if (!p) return;
    p->last_use = ++s->clock;
    if (--p->holders == 0) shrink(s);
}

sn_status sn_picture_rows(sn_pictures *s, sn_picture *p, const atomic_bool *cancel, const float **rows, sn_error *error) {
    if (!p->rows) {
        float *made = sn_alloc(1, row_bytes(s));
        sn_status status = made ? sn_model_encode(s->model, p->planes, 1, cancel, made, error) : sn_fail_memory(error);
        if (status) {
            sn_free(made);
            return status;
        }
        s->encoded++;
        p->rows = made;
        sn_free(p->planes);
        p->planes = NULL;
    }
    *rows = p->rows;
    return SN_OK;
}

int64_t sn_pictures_encoded(const sn_pictures *s) { return s->encoded; }
