/* mutate COUNT CASE...: damages the files of reference cases, one at a time and in many ways, and asks each damaged
 * model or picture a question. Whatever happens, it must come back: with an answer in UTF-8, or with one line that
 * says what is wrong; within a second or two, within a gigabyte, and (under the sanitizers) without a wrong access
 * or a leak. The damage follows from the number of the try alone, so that a failure can be repeated. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"
#include "sensorium/sensorium.h"

#include <ctype.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 64, SECONDS = 20 }; /* generous: the machine may be busy; what does not end takes for ever */

typedef struct dice {
    uint64_t key, at;
} dice;

static size_t roll(dice *d, size_t sides) { return sides ? sn_philox_at(d->key, 0, d->at++).word[0] % sides : 0; }

/* Most of what can go wrong stands at the beginning (headers) or at the end (directories) of a file. */
static size_t place(dice *d, size_t size) {
    size_t window = size < 4096 ? size : 4096;
    switch (roll(d, 3)) {
    case 0: return roll(d, size);
    case 1: return roll(d, window);
    default: return size - window + roll(d, window);
    }
}

static void put_number(dice *d, sn_buf *out, const char *bytes, size_t size) {
    static const char *const numbers[] = {"-1", "0", "1", "1048576", "9223372036854775807", "99999999999999999999", "1e308", "null", "\"x\"", "[]", "0.5"};
    size_t at = place(d, size), tries = 0;
    while (tries++ < size && !isdigit((unsigned char)bytes[at])) at = (at + 1) % size;
    size_t end = at;
    while (end < size && isdigit((unsigned char)bytes[end])) end++;
    sn_buf_add(out, bytes, at);
    sn_buf_puts(out, numbers[roll(d, sizeof numbers / sizeof *numbers)]);
    sn_buf_add(out, bytes + end, size - end);
}

static void damage(dice *d, sn_buf *out, const char *bytes, size_t size) {
    static const unsigned char values[] = {0, 0xff, 0x7f, 0x80, '"', '{', '.', 1};
    size_t at = place(d, size), length = 1 + roll(d, 1 + roll(d, size - at));
    if (size == 0) return;
    if (at + length > size) length = size - at;
    switch (roll(d, 6)) {
    case 0: /* cut off */
        sn_buf_add(out, bytes, at);
        break;
    case 1: /* taken out */
        sn_buf_add(out, bytes, at);
        sn_buf_add(out, bytes + at + length, size - at - length);
        break;
    case 2: /* said twice */
        sn_buf_add(out, bytes, at + length);
        sn_buf_add(out, bytes + at, size - at);
        break;
    case 3: put_number(d, out, bytes, size); break;
    default: /* a few bytes changed */
        sn_buf_add(out, bytes, size);
        for (size_t n = 1 + roll(d, 8); n > 0 && out->data; n--)
            out->data[place(d, size)] = (char)(roll(d, 2) ? values[roll(d, sizeof values)] : (unsigned char)roll(d, 256));
    }
}

/* ---- one question ---- */

static bool one_line(const char *text) {
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20) return false;
    return text[0] && sn_utf8_valid(text, strlen(text), NULL);
}

static bool ask(const char *folder, const json_t *roles, const char *picture) {
    sn_error *error = sn_error_new();
    sn_context *context = NULL;
    sn_files *files = sn_files_new();
    sn_assistant *assistant = NULL;
    sn_options *options = sn_options_new();
    sn_chat *chat = NULL;
    sn_status status = sn_context_new(1, &context, error);
    const char *role;
    json_t *path;
    json_object_foreach((json_t *)roles, role, path) {
        char *full = sn_path_join(folder, json_string_value(path));
        if (!status) status = sn_files_set(files, role, full, error);
        sn_free(full);
    }
    if (!status && !json_object_size(roles)) {
        char *full = sn_path_join(folder, "model");
        status = sn_files_set(files, "main", full, error);
        sn_free(full);
    }
    if (!status) status = sn_options_set(options, "max_new_tokens", "2", error);
    if (!status) status = sn_assistant_open(context, files, &assistant, error);
    if (!status) status = sn_chat_new(assistant, options, &chat, error);
    if (!status) status = sn_chat_add_picture(chat, picture, error);
    if (!status) status = sn_chat_add_text(chat, "What is it?", error);
    if (!status) status = sn_chat_answer(chat, NULL, NULL, error);
    bool good = status ? one_line(sn_error_message(error)) && sn_error_status(error) == status
                       : sn_utf8_valid(sn_chat_part_text(chat, 0), strlen(sn_chat_part_text(chat, 0)), NULL);
    if (!good) printf("status %d, error \"%s\"\n", (int)status, sn_error_message(error));
    else printf("  %s\n", status ? sn_error_message(error) : "answered");
    sn_chat_free(chat);
    sn_options_free(options);
    sn_assistant_close(assistant);
    sn_files_free(files);
    sn_context_free(context);
    sn_error_free(error);
    return good;
}

/* ---- a case whose files are links but for the damaged one ---- */

typedef struct tree {
    char *files[MAX_FILES]; /* relative to the case */
    int count;
} tree;

static void list(tree *t, const char *root, const char *below) {
    char *folder = sn_path_join(root, below);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char *name = sn_path_join(below, e->d_name), *path = sn_path_join(root, name);
        if (sn_is_directory(path)) list(t, root, name);
        else if (t->count < MAX_FILES) t->files[t->count++] = sn_strdup(name);
        sn_free(name);
        sn_free(path);
    }
    if (dir) closedir(dir);
    sn_free(folder);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Makes or removes the links; folders are made as they are needed. */
static void link_all(const tree *t, const char *root, const char *copy, bool make) {
    for (int i = 0; i < t->count; i++) {
        char *from = sn_path_join(root, t->files[i]), *to = sn_path_join(copy, t->files[i]);
        char *whole = realpath(from, NULL);
        for (char *slash = make ? strchr(to + strlen(copy) + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
            *slash = 0;
            mkdir(to, 0700);
            *slash = '/';
        }
        if (make && symlink(whole, to)) perror(to);
        if (!make) unlink(to);
        for (char *slash; !make && (slash = strrchr(to, '/')) && slash > to + strlen(copy);) {
            *slash = 0;
            rmdir(to);
        }
        free(whole);
        sn_free(from);
        sn_free(to);
    }
    if (!make) rmdir(copy);
}

static bool try(const char *root, const char *copy, const char *file, const json_t *roles, uint64_t number) {
    dice d = {.key = number};
    char *from = sn_path_join(root, file), *to = sn_path_join(copy, file), *picture = sn_path_join(copy, "inputs/a.png");
    char *bytes = NULL, *whole = realpath(from, NULL);
    size_t size = 0;
    sn_buf changed = {0};
    struct timespec before, after;
    sn_error *error = sn_error_new();
    bool good = !sn_read_file(from, 64 << 20, &bytes, &size, error);
    if (good) damage(&d, &changed, bytes, size);
    unlink(to);
    good = good && !sn_write_file(to, changed.data ? changed.data : "", changed.length, error);
    printf("%s, try %llu\n", file, (unsigned long long)number);
    clock_gettime(CLOCK_MONOTONIC, &before);
    good = good && ask(copy, roles, picture);
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (after.tv_sec - before.tv_sec > SECONDS) good = false, printf("it took %ld seconds\n", (long)(after.tv_sec - before.tv_sec));
    unlink(to);
    if (symlink(whole, to)) perror(to);
    sn_error_free(error);
    sn_buf_free(&changed);
    sn_free(bytes);
    free(whole);
    sn_free(from);
    sn_free(to);
    sn_free(picture);
    return good;
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0, failed = 0;
#if !defined(__SANITIZE_ADDRESS__) /* whose shadow takes terabytes of addresses */
    setrlimit(RLIMIT_AS, &(struct rlimit){1 << 30, 1 << 30});
#endif
    setvbuf(stdout, NULL, _IOLBF, 0); /* the last line tells which try crashed */
    for (int c = 2; c < argc; c++) {
        tree t = {0};
        char copy[] = "/tmp/sensorium-malformed-XXXXXX";
        list(&t, argv[c], "model");
        list(&t, argv[c], "inputs");
        qsort(t.files, (size_t)t.count, sizeof *t.files, by_name);
        char *path = sn_path_join(argv[c], "request.json");
        json_t *request = json_load_file(path, 0, NULL);
        const json_t *roles = json_object_get(request, "model");
        if (!mkdtemp(copy) || !request) return 1;
        link_all(&t, argv[c], copy, true);
        for (int i = 0; i < t.count; i++)
            for (int n = 0; n < count; n++) failed += !try(argv[c], copy, t.files[i], roles, (uint64_t)n);
        link_all(&t, argv[c], copy, false);
        for (int i = 0; i < t.count; i++) sn_free(t.files[i]);
        sn_free(path);
        json_decref(request);
    }
    printf("%d failed\n", failed);
    return failed || argc < 3;
}
