/* A ring of places. The caller fills them at one end and empties them at the other; each thread takes the next place that
 * nobody has begun. */
#include "gallery/reader.h"

#include "base/cpu.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_THREADS = 8, PLACES = 2 * MOST_THREADS };

typedef struct place {
    const char *path;
    void *what;
    float *pixels;
    sn_status status;
    sn_error error;
    bool done;
} place;

struct sn_reader {
    const sn_gallery_model *model;
    place places[PLACES];
    int size;                      /* places in use of them */
    uint64_t added, begun, taken; /* files so far; file n is in place n % size */
    pthread_t threads[MOST_THREADS];
    int num_threads;
    bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
};

static sn_status read_picture(const sn_gallery_model *g, const char *path, float *pixels, sn_error *error) {
    sn_image image = {0};
    sn_status status = sn_image_open(path, &g->pictures, &image, error);
    if (!status) status = sn_image_process(&g->model->processor, &image, pixels, error);
    sn_image_free(&image);
    return status;
}

static void *work(void *context) {
    sn_reader *r = context;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5); /* the engine goes first; Linux keeps this by thread */
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        while (!r->stop && r->begun == r->added) pthread_cond_wait(&r->work, &r->mutex);
        if (r->stop) break;
        place *p = &r->places[r->begun++ % (uint64_t)r->size];
        pthread_mutex_unlock(&r->mutex);
        p->status = read_picture(r->model, p->path, p->pixels, &p->error);
        pthread_mutex_lock(&r->mutex);
        p->done = true;
        pthread_cond_signal(&r->done);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

sn_status sn_reader_new(const sn_gallery_model *model, sn_reader **out, sn_error *error) {
    int64_t side = model->model->image_size;
    int threads = sn_cpu_count() / 4;
    sn_reader *r = *out = sn_alloc(1, sizeof *r);
    if (!r) return sn_fail_memory(error);
    r->model = model;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->done, NULL);
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    r->size = 2 * threads;
    sn_status status = SN_OK;
    for (int i = 0; i < r->size && !status; i++)
        if (!(r->places[i].pixels = sn_alloc(3 * (size_t)side, (size_t)side * sizeof(float)))) status = sn_fail_memory(error);
    for (int i = 0; i < threads && !status; i++) {
        if (pthread_create(&r->threads[i], NULL, work, r) == 0) r->num_threads++;
        else if (i == 0) status = sn_fail(error, SN_ERROR_MEMORY, "cannot start a thread that reads pictures");
    }
    if (status) {
        sn_reader_free(r);
        *out = NULL;
    }
    return status;
}

void sn_reader_free(sn_reader *r) {
    if (!r) return;
    pthread_mutex_lock(&r->mutex);
    r->stop = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->mutex);
    for (int i = 0; i < r->num_threads; i++) pthread_join(r->threads[i], NULL);
    for (int i = 0; i < r->size; i++) sn_free(r->places[i].pixels);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->mutex);
    sn_free(r);
}

bool sn_reader_has_room(const sn_reader *r) { return r->added - r->taken < (uint64_t)r->size - 1; } /* the one taken last is still looked at */

void sn_reader_add(sn_reader *r, const char *path, void *what) {
    pthread_mutex_lock(&r->mutex);
    place *p = &r->places[r->added % (uint64_t)r->size];
    p->path = path, p->what = what, p->done = false, p->error = (sn_error){0};
    r->added++;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mutex);
}

bool sn_reader_next(sn_reader *r, void **what, const float **pixels, sn_status *status, sn_error *error) {
    if (r->taken == r->added) return false;
    place *p = &r->places[r->taken++ % (uint64_t)r->size];
    pthread_mutex_lock(&r->mutex);
    while (!p->done) pthread_cond_wait(&r->done, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
    *what = p->what, *pixels = p->pixels, *status = p->status;
    if (p->status && error) *error = p->error;
    return true;
}
