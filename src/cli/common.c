/* Tables and what they fill. */
#include "cli/common.h"

#include "base/base64.h"
#include "base/utf8.h"
#include "cli/terminal.h"

#include <string.h>

const sn_option sn_model_options[] = {
    {"llm", 0, "PATH", "the language model's folder"},
    {"vision", 0, "PATH", "the vision tower's folder or file"},
    {"connector", 0, "FILE", "a projector in a file of its own (mm_projector.bin)"},
    {"base", 0, "PATH", "the base model of a delta or of LoRA files"},
    {"delta", 0, "PATH", "a delta on the base model"},
    {"tokenizer", 0, "PATH", "another tokenizer's folder or file"},
    {"models", 0, "DIR", "where parts that a model names are looked for"},
    {"system", 0, "NAME", "what the files are, where they do not say it themselves"},
    {"heads", 0, "N", "heads of a vision tower whose file does not say it"},
    {"activation", 0, "NAME", "its activation, quick_gelu or gelu"},
    {0}};

sn_status sn_arguments_model(const sn_arguments *a, const char *main, sn_model_files *out, sn_error *error) {
    *out = (sn_model_files){.main = main, .llm = sn_argument(a, "llm"), .vision = sn_argument(a, "vision"), .connector = sn_argument(a, "connector"),
                            .base = sn_argument(a, "base"), .delta = sn_argument(a, "delta"), .tokenizer = sn_argument(a, "tokenizer"),
                            .models = sn_argument(a, "models"), .system = sn_argument(a, "system"), .activation = sn_argument(a, "activation")};
    sn_status status = sn_argument_integer(a, "heads", 1, 4096, &out->heads, error);
    if (status) return status;
    if (main || out->llm || out->base || out->delta || out->connector || out->vision) return SN_OK;
    return sn_fail(error, SN_ERROR_USAGE, "%s: expected MODEL; see `sensorium %s --help`", a->command, a->command);
}

const sn_option sn_generation_options[] = {
    {"temperature", 't', "T", "0 = always the likeliest token (default: the system's own)"},
    {"top-k", 0, "K", "draw among the K likeliest tokens"},
    {"top-p", 0, "P", "draw among the likeliest tokens that have P of the probability"},
    {"min-p", 0, "P", "draw among tokens with at least P times the likeliest one's probability"},
    {"repetition-penalty", 0, "R", "above 1: tokens that occurred become less likely"},
    {"beams", 0, "N", "beam search with N beams"},
    {"length-penalty", 0, "A", "of beam search: above 0 favours long answers"},
    {"seed", 0, "S", "of the random draws; the same seed gives the same answer"},
    {"max-tokens", 'n', "N", "longest answer (default 512)"},
    {"ret-scale-factor", 0, "F", "of models that find pictures: the score of asking for one is multiplied by this"},
    {"min-word-tokens", 0, "N", "of models that find pictures: none is asked for among the first N tokens"},
    {"stop", 0, "TEXT", "end the answer before this text; may be given several times"},
    {0}};

sn_status sn_arguments_generation(const sn_arguments *a, sn_generate_options *o, sn_error *error) {
    static const struct { const char *option, *name; } names[] = {
        {"temperature", "temperature"}, {"top-k", "top_k"}, {"top-p", "top_p"}, {"min-p", "min_p"}, {"repetition-penalty", "repetition_penalty"},
        {"beams", "num_beams"}, {"length-penalty", "length_penalty"}, {"seed", "seed"}, {"max-tokens", "max_new_tokens"},
        {"ret-scale-factor", "ret_scale_factor"}, {"min-word-tokens", "min_word_tokens"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = sn_argument(a, names[i].option);
        sn_status status = value ? sn_generate_set(o, names[i].name, value, error) : SN_OK;
        if (status) return status;
    }
    const char *stop;
    for (int i = 0; (stop = sn_argument_at(a, "stop", i)); i++) {
        if (!stop[0] || !sn_utf8_valid(stop, strlen(stop), NULL) || o->num_stops == SN_MAX_STOPS)
            return sn_fail(error, SN_ERROR_USAGE, "%s: --stop: expected up to %d texts in UTF-8 that are not empty", a->command, SN_MAX_STOPS);
        o->stops[o->num_stops++] = stop;
    }
    return SN_OK;
}

const sn_option sn_picture_options[] = {
    {"exif", 0, "apply|ignore", "turn pictures as their EXIF orientation says (default apply)"},
    {"alpha", 0, "white|drop", "lay transparent pictures over white (default), or drop their alpha"},
    {0}};

sn_status sn_arguments_pictures(const sn_arguments *a, sn_image_options *o, sn_error *error) {
    int exif = 0, alpha = 0;
    sn_status status = sn_argument_word(a, "exif", (const char *const[]){"apply", "ignore", NULL}, &exif, error);
    if (!status) status = sn_argument_word(a, "alpha", (const char *const[]){"white", "drop", NULL}, &alpha, error);
    *o = (sn_image_options){.exif_apply = exif == 0, .alpha_white = alpha == 0};
    return status;
}

sn_status sn_read_standard_input(size_t limit, sn_buf *out, sn_error *error) {
    char chunk[1 << 16];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0 && !out->failed) {
        if (out->length + n > limit) return sn_fail(error, SN_ERROR_INPUT, "standard input: found more than %zu bytes", limit);
        sn_buf_add(out, chunk, n);
    }
    if (ferror(stdin)) return sn_fail(error, SN_ERROR_IO, "standard input: cannot read");
    return out->failed ? sn_fail_memory(error) : SN_OK;
}

sn_status sn_arguments_standard_picture(const sn_arguments *a, const char *const *names, const char *taken, sn_buf *url, sn_error *error) {
    const char *path;
    int asked = 0;
    for (; *names; names++)
        for (int i = 0; (path = sn_argument_at(a, *names, i)); i++) asked += strcmp(path, "-") == 0;
    if (!asked) return SN_OK;
    if (asked > 1) return sn_fail(error, SN_ERROR_USAGE, "%s: found \"-\" for %d pictures; standard input is one", a->command, asked);
    if (taken) return sn_fail(error, SN_ERROR_USAGE, "%s: \"-\": standard input cannot be a picture: %s", a->command, taken);
    if (sn_is_terminal(stdin)) return sn_fail(error, SN_ERROR_USAGE, "%s: \"-\": standard input is a terminal, expected a picture from a pipe or a file", a->command);
    sn_buf bytes = {0};
    sn_image image = {0};
    sn_status status = sn_read_standard_input(SN_MAX_IMAGE_FILE, &bytes, error);
    /* decoded here once, so that what is wrong is said of standard input and before a model is loaded */
    if (!status) status = sn_image_decode("standard input", (const unsigned char *)(bytes.data ? bytes.data : ""), bytes.length, NULL, &image, error);
    if (!status) sn_buf_puts(url, "data:;base64,");
    if (!status) sn_base64_add(url, bytes.data, bytes.length);
    sn_image_free(&image);
    sn_buf_free(&bytes);
    return status || !url->failed ? status : sn_fail_memory(error);
}

const char *sn_picture_argument(const char *path, const sn_buf *url) { return url->length && strcmp(path, "-") == 0 ? url->data : path; }

const sn_option sn_engine_options[] = {{"threads", 0, "N", "threads that compute (default: as many as this process may use)"}, {0}};

const sn_option sn_compute_options[] = {{"compute", 0, "TYPE", "what is multiplied: f32, bf16, or auto (default: bf16 for models stored in it, else f32)"}, {0}};

sn_status sn_arguments_compute(const sn_arguments *a, sn_compute *compute, sn_error *error) {
    static const char *const words[] = {[SN_COMPUTE_F32] = "f32", [SN_COMPUTE_BF16] = "bf16", [SN_COMPUTE_AUTO] = "auto", NULL};
    int word = SN_COMPUTE_AUTO;
    sn_status status = sn_argument_word(a, "compute", words, &word, error);
    *compute = (sn_compute)word;
    return status;
}

sn_status sn_arguments_threads(const sn_arguments *a, int *threads, sn_error *error) {
    int64_t number = 0;
    sn_status status = sn_argument_integer(a, "threads", 0, 1024, &number, error);
    *threads = (int)number;
    return status;
}
