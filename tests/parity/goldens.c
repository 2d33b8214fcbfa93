/* goldens PROGRAM CASES...: runs reference cases through `PROGRAM trace` and compares every expected tensor and
 * value within its stated tolerance. CASES are folders that hold request.json somewhere below. A case passes when
 * |ours - expected| <= atol + rtol |expected| for every element and all ids and texts are equal. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "weights/source.h"

#include <dirent.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct report {
    char text[400];
    int errors;
} report;

static void complain(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(report *r, const char *format, ...) {
    if (r->errors++) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->text, sizeof r->text, format, arguments);
    va_end(arguments);
}

/* The tolerance of a name: the longest key of `tolerance` that equals it or, ending in *, begins it. */
static void tolerance_of(const json_t *tolerance, const char *name, double *rtol, double *atol) {
    const json_t *best = json_object_get(tolerance, "default"), *value;
    const char *key;
    size_t longest = 0;
    json_object_foreach((json_t *)tolerance, key, value) {
        size_t n = strlen(key), stem = n && key[n - 1] == '*' ? n - 1 : n;
        bool fits = strcmp(key, name) == 0 || strncmp(key, name, stem) == 0;
        if (strcmp(key, "default") != 0 && n > longest && fits) best = value, longest = n;
    }
    *rtol = 1e-3, *atol = 2e-4;
    if (json_is_number(best)) *rtol = 0, *atol = json_number_value(best);
    else if (best) *rtol = json_number_value(json_object_get(best, "rtol")), *atol = json_number_value(json_object_get(best, "atol"));
}

static void compare_json(const json_t *want, const json_t *got, const json_t *tolerance, const char *where, report *r) {
    if (!got) {
        complain(r, "%s is missing", where);
    } else if (json_is_integer(want) && json_is_integer(got)) {
        if (json_integer_value(want) != json_integer_value(got)) complain(r, "%s: %lld is not %lld", where, (long long)json_integer_value(got), (long long)json_integer_value(want));
    } else if (json_is_number(want)) {
        double rtol, atol, a = json_number_value(want), b = json_number_value(got);
        tolerance_of(tolerance, where, &rtol, &atol);
        if (!json_is_number(got) || !(fabs(a - b) <= atol + rtol * fabs(a))) complain(r, "%s: %g is not %g", where, b, a);
    } else if (json_is_array(want)) {
        size_t n = json_array_size(want);
        if (!json_is_array(got) || json_array_size(got) != n) {
            complain(r, "%s: %zu items, not %zu", where, json_array_size(got), n);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            char inner[300];
            snprintf(inner, sizeof inner, "%.200s[%zu]", where, i);
            compare_json(json_array_get(want, i), json_array_get(got, i), tolerance, inner, r);
        }
    } else if (json_is_object(want)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)want, key, value) {
            char inner[300];
            snprintf(inner, sizeof inner, "%.150s%s%.100s", where, where[0] ? "." : "", key);
            compare_json(value, json_object_get(got, key), tolerance, inner, r);
        }
    } else if (!json_equal(want, got)) {
        complain(r, "%s differs", where);
    }
}

/* Element i of a tensor as a double; integers exactly up to 2^53. */
static double element(const sn_source_tensor *t, int64_t i) {
    const unsigned char *p = t->data + i * sn_type_of(t->type)->bytes;
    float f;
    int64_t l = 0;
    switch (t->type) {
    case SN_TYPE_F64: {
        double d;
        memcpy(&d, p, 8);
        return d;
    }
    case SN_TYPE_I64: memcpy(&l, p, 8); return (double)l;
    case SN_TYPE_I32: {
        int32_t v;
        memcpy(&v, p, 4);
        return v;
    }
    case SN_TYPE_I16: {
        int16_t v;
        memcpy(&v, p, 2);
        return v;
    }
    case SN_TYPE_I8: return (int8_t)*p;
    case SN_TYPE_U8:
    case SN_TYPE_BOOL: return *p;
    default: sn_type_of(t->type)->to_float(p, &f, 1); return (double)f;
    }
}

static void compare_tensors(const char *want_path, const char *got_path, const json_t *tolerance, report *r) {
    sn_source *want, *got = NULL;
    sn_error error = {0};
    if (sn_source_open(want_path, &want, &error)) {
        complain(r, "%s", error.message);
        return;
    }
    if (sn_source_open(got_path, &got, &error)) complain(r, "%s", error.message);
    for (size_t k = 0; got && k < want->count; k++) {
        const sn_source_tensor *w = &want->tensors[k], *g = sn_source_find(got, w->name);
        char a[96], b[96];
        if (!g) {
            complain(r, "%s is missing", w->name);
            continue;
        }
        if (!sn_shape_equal(&w->shape, &g->shape)) {
            complain(r, "%s: shape %s is not %s", w->name, sn_shape_text(&g->shape, a), sn_shape_text(&w->shape, b));
            continue;
        }
        double rtol = 0, atol = 0, worst = 0;
        if (sn_type_of(w->type)->is_float) tolerance_of(tolerance, w->name, &rtol, &atol);
        int64_t count = sn_shape_count(&w->shape), out = 0;
        for (int64_t i = 0; i < count; i++) {
            double x = element(w, i), y = element(g, i);
            if (fabs(x - y) <= atol + rtol * fabs(x) || x == y || (isnan(x) && isnan(y))) continue;
            out++;
            if (!(fabs(x - y) <= worst)) worst = fabs(x - y);
        }
        if (out) complain(r, "%s: %lld of %lld out, worst %.2e", w->name, (long long)out, (long long)count, worst);
    }
    sn_source_close(want);
    sn_source_close(got);
}

/* Runs PROGRAM trace; what it says on stderr becomes the complaint. */
static bool run_trace(const char *program, const char *folder, const char *out, report *r) {
    char *argv[] = {(char *)program, "trace", (char *)folder, "-o", (char *)out, NULL};
    char *log = sn_format("%s/stderr", out);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log, 0x241 /* O_WRONLY | O_CREAT | O_TRUNC */, 0600);
    pid_t child;
    int status = -1;
    if (posix_spawn(&child, program, &actions, NULL, argv, environ) == 0) waitpid(child, &status, 0);
    posix_spawn_file_actions_destroy(&actions);
    char *text = NULL;
    size_t size;
    if (status && !sn_read_file(log, 1 << 16, &text, &size, NULL)) complain(r, "exit %d: %.200s", WEXITSTATUS(status), text);
    sn_free(text);
    unlink(log);
    sn_free(log);
    return status == 0;
}

static bool run_case(const char *program, const char *folder) {
    report r = {0};
    char out[] = "/tmp/goldens-XXXXXX";
    if (!mkdtemp(out)) return false;
    char *expected_path = sn_path_join(folder, "expected.json"), *want = sn_path_join(folder, "expected.safetensors");
    char *value_path = sn_path_join(out, "actual.json"), *got = sn_path_join(out, "actual.safetensors");
    json_t *expected = NULL, *actual = NULL;
    sn_error error = {0};
    if (run_trace(program, folder, out, &r)) {
        if (sn_json_file(expected_path, 64 << 20, &expected, &error) || sn_json_file(value_path, 64 << 20, &actual, &error)) complain(&r, "%s", error.message);
        const json_t *tolerance = json_object_get(expected, "tolerance");
        if (actual) compare_json(json_object_get(expected, "values"), actual, tolerance, "", &r);
        if (sn_is_file(want)) compare_tensors(want, got, tolerance, &r);
    }
    printf("%s %s%s%s\n", r.errors ? "not ok" : "ok", folder, r.errors ? ": " : "", r.text);
    unlink(value_path);
    unlink(got);
    rmdir(out);
    json_decref(expected);
    json_decref(actual);
    sn_free(expected_path);
    sn_free(want);
    sn_free(value_path);
    sn_free(got);
    return r.errors == 0;
}

static void run_all(const char *program, const char *folder, int *passed, int *failed) {
    char *request = sn_path_join(folder, "request.json");
    bool is_case = sn_is_file(request);
    sn_free(request);
    if (is_case) {
        ++*(run_case(program, folder) ? passed : failed);
        return;
    }
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *path = names[i]->d_name[0] == '.' ? NULL : sn_path_join(folder, names[i]->d_name);
        if (path && sn_is_directory(path)) run_all(program, path, passed, failed);
        sn_free(path);
        free(names[i]);
    }
    if (n >= 0) free(names);
}

int main(int argc, char **argv) {
    int passed = 0, failed = 0;
    for (int i = 2; i < argc; i++) run_all(argv[1], argv[i], &passed, &failed);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
