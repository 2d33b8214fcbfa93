/* Times single parts for bench/parts.py, whose words these are; each answer is one line of JSON.
 *   parts tokenize VOCABULARY TEXTS REPEATS [IDS]   texts end in NUL; IDS: their ids as int32, each list behind its count
 *   parts picture FILE SIZE REPEATS                 decoding alone, CLIP's chain alone, both */
#include "media/image.h"
#include "media/processor.h"
#include "systems/gguf_vocabulary.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of this thread's processor time: everything here is one thread, and another program's share does not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double least(double a, double b) { return a < b ? a : b; }

static sn_status encode_all(const sn_tokenizer *t, const char *texts, size_t size, FILE *out, size_t *count, sn_error *error) {
    sn_ids ids = {0};
    sn_status status = SN_OK;
    *count = 0;
    for (size_t at = 0; at < size && !status; at += strlen(texts + at) + 1) {
        ids.count = 0;
        status = sn_tokenizer_encode(t, texts + at, strlen(texts + at), NULL, SN_ENCODE_NO_SPECIAL, &ids, error);
        int32_t length = (int32_t)ids.count;
        if (out && (fwrite(&length, sizeof length, 1, out) != 1 || fwrite(ids.data, sizeof *ids.data, ids.count, out) != ids.count))
            status = sn_fail(error, SN_ERROR_IO, "the ids cannot be written");
        *count += ids.count;
    }
    sn_ids_free(&ids);
    return status;
}

static sn_status tokenize(char **argument, int count, sn_error *error) {
    sn_tokenizer *t = NULL;
    char *texts = NULL;
    size_t size = 0, ids = 0;
    double best = 1e9;
    sn_status status = sn_open_any_tokenizer(argument[0], false, &t, error);
    if (!status) status = sn_read_file(argument[1], 1u << 30, &texts, &size, error);
    if (!status && (!size || texts[size - 1])) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected texts that end in NUL", argument[1]);
    FILE *out = !status && count > 3 ? fopen(argument[3], "wb") : NULL;
    if (out) status = encode_all(t, texts, size, out, &ids, error);
    if (out && fclose(out)) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write", argument[3]);
    for (int i = 0; !status && i < atoi(argument[2]); i++) {
        double begun = now();
        status = encode_all(t, texts, size, NULL, &ids, error);
        best = least(best, now() - begun);
    }
    if (!status) printf("{\"seconds\": %.6f, \"ids\": %zu}\n", best, ids);
    sn_free(texts);
    sn_tokenizer_close(t);
    return status;
}

static sn_status picture(char **argument, int count, sn_error *error) {
    sn_image_processor processor = sn_image_processor_clip(atoi(argument[1]));
    float *planes = malloc((size_t)3 * (size_t)processor.width * (size_t)processor.height * sizeof *planes);
    double decoding = 1e9, chain = 1e9, whole = 1e9;
    sn_status status = planes ? SN_OK : sn_fail_memory(error);
    for (int i = 0; !status && i < atoi(argument[2]); i++) {
        sn_image image = {0};
        double begun = now();
        status = sn_image_open(argument[0], &(sn_image_options){.alpha_white = true}, &image, error);
        double decoded = now();
        if (!status) status = sn_image_process(&processor, &image, planes, error);
        double ended = now();
        sn_image_free(&image);
        decoding = least(decoding, decoded - begun), chain = least(chain, ended - decoded), whole = least(whole, ended - begun);
    }
    if (!status) printf("{\"decode\": %.6f, \"process\": %.6f, \"whole\": %.6f}\n", decoding, chain, whole);
    free(planes);
    return status;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int arguments;
        sn_status (*run)(char **argument, int count, sn_error *error);
    } parts[] = {{"tokenize", 3, tokenize}, {"picture", 3, picture}};
    sn_error error = {0};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && argc > 1; i++) {
        if (strcmp(argv[1], parts[i].name) != 0 || argc - 2 < parts[i].arguments) continue;
        if (!parts[i].run(argv + 2, argc - 2, &error)) return 0;
        fprintf(stderr, "parts: %s\n", error.message);
        return 1;
    }
    fputs("usage: see the beginning of bench/parts.c, or bench/parts.py\n", stderr);
    return 2;
}
