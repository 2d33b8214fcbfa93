/* Version, errors, contexts: what a program needs before it opens anything. */
#include "api/api.h"

#include "base/cpu.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *sn_version(void) { return SN_VERSION; }

size_t sn_features(char *text, size_t size) {
    int length = snprintf(text, size, "kernels %s; built with %s", sn_cpu_level_name(sn_cpu_features().level), SN_FEATURES);
    return length > 0 ? (size_t)length : 0;
}

/* ---- errors ---- */

sn_error *sn_error_new(void) { return sn_alloc(1, sizeof(sn_error)); }
void sn_error_free(sn_error *error) { sn_free(error); }
sn_status sn_error_status(const sn_error *error) { return error ? error->status : SN_OK; }
const char *sn_error_message(const sn_error *error) { return error ? error->message : ""; }

sn_status sn_api_need(const void *pointer, const char *function, const char *argument, sn_error *error) {
    return pointer ? SN_OK : sn_fail(error, SN_ERROR_USAGE, "%s: %s: found NULL", function, argument);
}

sn_status sn_api_need_text(const char *text, const char *function, const char *argument, sn_error *error) {
    size_t at;
    sn_status status = sn_api_need(text, function, argument, error);
    if (!status && !sn_utf8_valid(text, strlen(text), &at))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: %s: byte %zu is no UTF-8", function, argument, at);
    return status;
}

/* ---- contexts ---- */

sn_status sn_context_new(int threads, sn_context **out, sn_error *error) {
    sn_status status = sn_api_need(out, "sn_context_new", "out", error);
    if (status) return status;
    *out = NULL;
    if (threads < 0) return sn_fail(error, SN_ERROR_USAGE, "sn_context_new: threads: found %d, expected 0 or more", threads);
    sn_context *c = sn_alloc(1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&c->turn, &attributes);
    pthread_mutexattr_destroy(&attributes);
    status = sn_engine_new(threads, &c->engine, error);
    if (!status) sn_engine_set_compute(c->engine, SN_COMPUTE_AUTO);
    if (status) sn_context_free(c);
    else *out = c;
    return status;
}

sn_status sn_context_set_compute(sn_context *c, const char *type, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_context_set_compute", "context", error);
    if (!status) status = sn_api_need(type, "sn_context_set_compute", "type", error);
    if (status) return status;
    static const char *const words[] = {[SN_COMPUTE_F32] = "f32", [SN_COMPUTE_BF16] = "bf16", [SN_COMPUTE_AUTO] = "auto"};
    for (int i = 0; i < 3; i++)
        if (strcmp(words[i], type) == 0) {
            sn_engine_set_compute(c->engine, (sn_compute)i);
            return SN_OK;
        }
    return sn_fail(error, SN_ERROR_USAGE, "sn_context_set_compute: type: found \"%s\", expected f32, bf16 or auto", type);
}

void sn_context_free(sn_context *c) {
    if (!c) return;
    sn_engine_free(c->engine);
    pthread_mutex_destroy(&c->turn);
    sn_free(c);
}

void sn_context_set_log(sn_context *c, sn_log_callback *on_log, void *user) {
    if (c) c->on_log = on_log, c->log_user = user;
}

void sn_context_set_progress(sn_context *c, sn_progress_callback *on_progress, void *user) {
    if (c) c->on_progress = on_progress, c->progress_user = user;
}

sn_status sn_api_enter(sn_context *c, const char *function, sn_error *error) {
    if (pthread_mutex_lock(&c->turn) == EDEADLK)
        return sn_fail(error, SN_ERROR_USAGE, "%s: called from a callback of the same context", function);
    return SN_OK;
}

void sn_api_leave(sn_context *c) { pthread_mutex_unlock(&c->turn); }

void sn_api_progress(const sn_context *c, const char *what, int64_t done, int64_t total) {
    if (c->on_progress) c->on_progress(c->progress_user, what, done, total);
}
