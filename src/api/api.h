/* What stands behind the handles of include/sensorium/sensorium.h. The rooms below are used as they are; this room
 * checks arguments, copies what callers hand in, and makes computations of one context take turns. */
#ifndef SN_API_API_H
#define SN_API_API_H

#include "generate/options.h"
#include "media/image.h"
#include "sensorium/sensorium.h"
#include "systems/model.h"

#include <pthread.h>

struct sn_context {
    sn_engine *engine;
    pthread_mutex_t turn; /* error-checking: a callback that calls back in is told so */
    sn_log_callback *on_log;
    sn_progress_callback *on_progress;
    void *log_user, *progress_user;
};

struct sn_assistant {
    sn_context *context;
    sn_model *model;
};

struct sn_options {
    sn_generate_options generate; /* its stops point into the arena */
    bool own_temperature;         /* none was set: the system's own */
    const char *template_name;    /* NULL = the model's own */
    sn_image_options pictures;    /* as people expect them: turned by EXIF, alpha over white */
    sn_arena *arena;
};

/* NULL arguments and text that is not UTF-8 are refused by name. */
sn_status sn_api_need(const void *pointer, const char *function, const char *argument, sn_error *error);
sn_status sn_api_need_text(const char *text, const char *function, const char *argument, sn_error *error);

/* Around everything that computes in a context. */
sn_status sn_api_enter(sn_context *context, const char *function, sn_error *error);
void sn_api_leave(sn_context *context);
void sn_api_progress(const sn_context *context, const char *what, int64_t done, int64_t total);

extern const sn_image_options sn_api_pictures; /* the defaults */

/* A copy that lives by itself; NULL options = the defaults. */
sn_status sn_api_options_copy(const sn_options *options, sn_options *out, sn_error *error);

#endif
