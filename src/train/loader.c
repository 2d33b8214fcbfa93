/* A ring of samples: workers draw and fill, the step takes from the other end. The lock is held for drawing and handing
 * over alone. */
#include "train/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct slot {
    bool ready;
    sn_loaded loaded;
} slot;

struct sn_loader {
    sn_loader_work work;
    slot *slots;
    int ahead, workers;
    int64_t drawn, taken, count;
    bool stop;
    pthread_mutex_t lock;
    pthread_cond_t room, ready; /* a slot became free; a sample became ready */
    pthread_t *threads;
};

void sn_loaded_free(sn_loaded *l) {
    sn_ids_free(&l->sample.ids);
    sn_ids_free(&l->sample.labels);
    sn_free(l->pixels);
    sn_free(l->id);
    *l = (sn_loaded){0};
}

static void *work(void *context) {
    sn_loader *l = context;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5); /* the step goes first; Linux keeps this by thread */
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->drawn < l->count && l->drawn >= l->taken + l->ahead) pthread_cond_wait(&l->room, &l->lock);
        if (l->stop || l->drawn >= l->count) break;
        slot *s = &l->slots[l->drawn++ % l->ahead];
        s->loaded = (sn_loaded){.draw = l->work.draw(l->work.context)};
        pthread_mutex_unlock(&l->lock);
        l->work.load(l->work.context, &s->loaded);
        pthread_mutex_lock(&l->lock);
        s->ready = true;
        pthread_cond_signal(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

sn_status sn_loader_open(const sn_loader_work *what, int workers, int ahead, int64_t count, sn_loader **out, sn_error *error) {
    sn_loader *l = sn_alloc(1, sizeof *l);
    *out = NULL;
    if (!l) return sn_fail_memory(error);
    l->work = *what, l->count = count;
    l->ahead = ahead > workers ? ahead : workers;
    l->slots = sn_alloc((size_t)l->ahead, sizeof *l->slots);
    l->threads = sn_alloc((size_t)workers, sizeof *l->threads);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->ready, NULL);
    while (l->slots && l->threads && l->workers < workers && pthread_create(&l->threads[l->workers], NULL, work, l) == 0) l->workers++;
    if (l->workers == 0) {
        sn_loader_close(l);
        return sn_fail(error, SN_ERROR_MEMORY, "cannot start a thread that loads samples");
    }
    *out = l;
    return SN_OK;
}

void sn_loader_take(sn_loader *l, sn_loaded *out) {
    slot *s = &l->slots[l->taken % l->ahead];
    pthread_mutex_lock(&l->lock);
    while (!s->ready) pthread_cond_wait(&l->ready, &l->lock);
    *out = s->loaded;
    *s = (slot){0};
    l->taken++;
    pthread_cond_signal(&l->room);
    pthread_mutex_unlock(&l->lock);
}

void sn_loader_close(sn_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->workers; i++) pthread_join(l->threads[i], NULL);
    for (int i = 0; l->slots && i < l->ahead; i++) sn_loaded_free(&l->slots[i].loaded);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->room);
    pthread_cond_destroy(&l->ready);
    sn_free(l->slots);
    sn_free(l->threads);
    sn_free(l);
}
