/* Checkpoints as people have them: what is written reads back, folders are told apart, large files cost nothing. */
#include "unit/check.h"

#include "unit/make_zip.h"
#include "weights/gguf.h"
#include "weights/source.h"
#include "weights/writer.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/sensorium-test-XXXXXX";

static const char *in(const char *name) {
    static char path[4][300];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int make_folder(void **state) { return mkdtemp(folder) ? 0 : -1; }

static int remove_folder(void **state) {
    char *command = sn_format("rm -r '%s'", folder);
    int code = system(command);
    sn_free(command);
    return code;
}

static void write_text(const char *path, const char *text) {
    sn_error error = {0};
    assert_ok(sn_write_file(path, text, strlen(text), &error), error);
}

/* The message with which a path is refused. */
static const char *refusal(const char *path) {
    static sn_error error;
    sn_source *source;
    error = (sn_error){0};
    if (!sn_source_open(path, &source, &error)) fail_msg("%s was read", path);
    return error.message;
}

#define assert_says(message, words) \
    do {                            \
        const char *said = message; \
        if (!strstr(said, words)) fail_msg("\"%s\" does not say \"%s\"", said, words); \
    } while (0)

/* ---- what is written reads back ---- */

static void hear(void *context, int64_t bytes) {
    int64_t *told = context;
    told[2] += bytes <= told[0];
    told[0] = bytes, told[1]++;
}

static void test_gguf_comes_back(void **state) {
    float values[2 * 64];
    for (int i = 0; i < 128; i++) values[i] = sinf((float)i);
    sn_weight weight = sn_weight_view(SN_TYPE_F32, SN_SHAPE(2, 64), values);
    const sn_type types[] = {SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16, SN_TYPE_Q8_0, SN_TYPE_Q4_0};
    sn_gguf_tensor tensors[5];
    for (int i = 0; i < 5; i++) tensors[i] = (sn_gguf_tensor){sn_type_of(types[i])->name, types[i], &weight};
    const char *const words[] = {"<s>", "", "猫"}, *const architecture[] = {"llama"};
    const sn_gguf_pair pairs[] = {
        {"general.architecture", SN_GGUF_STRING, false, 1, architecture},
        {"llama.block_count", SN_GGUF_U32, false, 1, &(uint32_t){4000000000u}},
        {"llama.rope.freq_base", SN_GGUF_F32, false, 1, &(float){0.5f}},
        {"tokenizer.ggml.tokens", SN_GGUF_STRING, true, 3, words},
        {"tokenizer.ggml.token_type", SN_GGUF_I32, true, 2, (int32_t[]){-1, 7}},
        {"tied", SN_GGUF_BOOL, false, 1, &(bool){true}},
    };
    sn_error error = {0};
    sn_source *source;
    int64_t told[3] = {0}; /* bytes, calls, calls with less than the one before */
    assert_ok(sn_gguf_write_told(in("a.gguf"), pairs, 6, tensors, 5, hear, told, &error), error);
    assert_int_equal(told[0], 2 * 64 * (4 + 2 + 2) + 2 * 2 * (34 + 18));
    assert_int_equal(told[1], 10);
    assert_int_equal(told[2], 0);
    assert_ok(sn_source_open(in("a.gguf"), &source, &error), error);
    assert_int_equal(source->count, 5);
    for (int i = 0; i < 5; i++) {
        const sn_source_tensor *t = sn_source_find(source, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->type, types[i]);
        assert_true(sn_shape_equal(&t->shape, &weight.shape));
        char blocks[64 * 4];
        int64_t row;
        sn_type_bytes(types[i], 64, &row);
        for (int r = 0; r < 2; r++) {
            sn_type_of(types[i])->from_float(values + 64 * r, blocks, 64);
            assert_memory_equal(t->data + r * row, blocks, row);
        }
    }
    int64_t whole;
    double real;
    const char *text;
    size_t length;
    sn_gguf_value walk;
    assert_true(sn_gguf_integer(source->gguf, "llama.block_count", &whole) && whole == 4000000000);
    assert_true(sn_gguf_number(source->gguf, "llama.rope.freq_base", &real) && real == 0.5);
    assert_true(sn_gguf_text(source->gguf, "general.architecture", &text, &length) && length == 5 && memcmp(text, "llama", 5) == 0);
    assert_false(sn_gguf_integer(source->gguf, "general.architecture", &whole));
    assert_true(sn_gguf_find(source->gguf, "tokenizer.ggml.tokens", &walk));
    for (int i = 0; i < 3; i++) assert_true(sn_gguf_next_text(&walk, &text, &length) && length == strlen(words[i]) && memcmp(text, words[i], length) == 0);
    assert_false(sn_gguf_next_text(&walk, &text, &length));
    assert_true(sn_gguf_find(source->gguf, "tokenizer.ggml.token_type", &walk) && sn_gguf_next_integer(&walk, &whole) && whole == -1);
    sn_source_close(source);
    /* rows that blocks do not divide are refused, and nothing is left behind */
    sn_weight narrow = sn_weight_view(SN_TYPE_F32, SN_SHAPE(4, 24), values);
    assert_int_equal(sn_gguf_write(in("b.gguf"), NULL, 0, &(sn_gguf_tensor){"t", SN_TYPE_Q8_0, &narrow}, 1, &error), SN_ERROR_SUPPORT);
    assert_int_not_equal(access(in("b.gguf"), F_OK), 0);
}

static void test_npy_comes_back(void **state) {
    const int16_t values[6] = {1, -2, 3, -4, 5, -6};
    const sn_shape shapes[] = {SN_SHAPE(2, 3), SN_SHAPE(6), SN_SHAPE(1, 0, 5)};
    for (int i = 0; i < 3; i++) {
        sn_error error = {0};
        sn_source *source;
        assert_ok(sn_npy_write(in("x.npy"), &(sn_tensor_out){"x", SN_TYPE_I16, shapes[i], values}, &error), error);
        assert_ok(sn_source_open(in("x.npy"), &source, &error), error);
        const sn_source_tensor *t = sn_source_find(source, "x");
        assert_non_null(t);
        assert_int_equal(t->type, SN_TYPE_I16);
        assert_true(sn_shape_equal(&t->shape, &shapes[i]));
        assert_int_equal((t->data - source->files[0].data) % 64, 0);
        assert_memory_equal(t->data, values, t->bytes);
        sn_source_close(source);
    }
    sn_error error = {0};
    assert_int_equal(sn_npy_write(in("y.npy"), &(sn_tensor_out){"y", SN_TYPE_BF16, SN_SHAPE(2), values}, &error), SN_ERROR_SUPPORT);
}

/* Every block type reads back what its writer meant, within half a step of its scale. */
static void test_blocks_are_close(void **state) {
    float values[256], back[256];
    char blocks[256 * 4];
    for (int i = 0; i < 256; i++) values[i] = 3 * sinf((float)i) + (i == 77 ? 9 : 0);
    for (int type = 0; type < SN_TYPE_COUNT; type++) {
        const sn_type_traits *t = sn_type_of((sn_type)type);
        if (t->block == 1 || !t->from_float) continue;
        t->from_float(values, blocks, 256);
        t->to_float(blocks, back, 256);
        float step = type == SN_TYPE_Q8_0 ? 12.f / 127 : 12.f / 8;
        for (int i = 0; i < 256; i++) assert_true(fabsf(values[i] - back[i]) <= step);
    }
    float extremes[32] = {[3] = 1e-45f, [7] = -1e-45f};
    sn_type_of(SN_TYPE_Q4_0)->from_float(extremes, blocks, 32); /* 1/d is infinite: no trap, no overflow */
    sn_type_of(SN_TYPE_Q8_0)->from_float(extremes, blocks, 32);
}

/* ---- folders and downloads ---- */

static void test_what_is_no_checkpoint_is_named(void **state) {
    write_text(in("pointer.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 13\n");
    assert_says(refusal(in("pointer.safetensors")), "git lfs pull");
    write_text(in("m.safetensors.incomplete"), "xxxxxxxx{");
    assert_says(refusal(in("m.safetensors.incomplete")), "unfinished download");
    write_text(in("page.bin"), "<!DOCTYPE html><title>404</title>");
    assert_says(refusal(in("page.bin")), "web page");
    assert_says(refusal(in("absent.pth")), "absent.pth");
    sn_error error = {0};
    const float values[4] = {0};
    assert_ok(sn_safetensors_write(in("whole.safetensors"), &(sn_tensor_out){"t", SN_TYPE_F32, SN_SHAPE(4), values}, 1, &error), error);
    assert_int_equal(truncate(in("whole.safetensors"), 60), 0);
    assert_says(refusal(in("whole.safetensors")), "cut short");
    char tar[600] = {0};
    memcpy(tar + 257, "ustar", 5);
    assert_ok(sn_write_file(in("old.tar"), tar, sizeof tar, &error), error);
    assert_says(refusal(in("old.tar")), "tar archive");
}

static void test_folders_of_sharded_training(void **state) {
    const char *const names[] = {"mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "__0_0.distcp"};
    for (size_t i = 0; i < 3; i++) {
        char name[100];
        snprintf(name, sizeof name, "sharded%zu", i);
        assert_int_equal(mkdir(in(name), 0755), 0);
        snprintf(name, sizeof name, "sharded%zu/%s", i, names[i]);
        write_text(in(name), "x");
        snprintf(name, sizeof name, "sharded%zu", i);
        assert_says(refusal(in(name)), "gather it first");
    }
    assert_int_equal(mkdir(in("run"), 0755), 0);
    assert_int_equal(mkdir(in("run/global_step100"), 0755), 0);
    assert_says(refusal(in("run")), "gather it first");
}

static void test_indexes_are_checked(void **state) {
    static const struct {
        const char *file, *words;
    } cases[] = {{"../a.safetensors", "same folder"}, {"/etc/passwd", "same folder"}, {"a\\\\b", "same folder"}, {"..", "same folder"}, {"a.safetensors\\u0000", "same folder"},
                 {"model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors, which is not there"}};
    mkdir(in("index"), 0755);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"metadata\":{},\"weight_map\":{\"t\":\"%s\"}}", cases[i].file);
        write_text(in("index/model.safetensors.index.json"), text);
        assert_says(refusal(in("index")), cases[i].words);
    }
    sn_error error = {0};
    const float values[2] = {1, 2};
    assert_ok(sn_safetensors_write(in("index/a.safetensors"), &(sn_tensor_out){"t", SN_TYPE_F32, SN_SHAPE(2), values}, 1, &error), error);
    write_text(in("index/model.safetensors.index.json"), "{\"weight_map\":{\"t\":\"a.safetensors\",\"u\":\"a.safetensors\"}}");
    assert_says(refusal(in("index")), "tensor u");
    write_text(in("index/model.safetensors.index.json"), "{\"weight_map\":{\"t\":\"a.safetensors\"}}");
    sn_source *source;
    assert_ok(sn_source_open(in("index"), &source, &error), error);
    assert_int_equal(source->count, 1);
    sn_source_close(source);
}

/* Names are kept once for each tensor, and scalars beside the tensors can be seen. */
static void test_notes_of_a_training_checkpoint(void **state) {
    const char *goldens = getenv("SN_GOLDENS");
    char *path = sn_format("%s/components/formats/torch-zip/inputs/wrapped.pth", goldens);
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(path, &source, &error), error);
    static const char *const expected[][2] = {{"epoch", "3"}, {"big", "1180591620717411303424"}, {"neg", "-12345678901"}, {"f", "2.5"}, {"optimizer.param_groups.0.betas.1", "0.94999999999999996"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        size_t k = 0;
        while (k < source->num_notes && strcmp(source->notes[k].name, expected[i][0]) != 0) k++;
        if (k == source->num_notes) fail_msg("no note %s", expected[i][0]);
        assert_string_equal(source->notes[k].text, expected[i][1]);
    }
    sn_source_close(source);
    assert_int_equal(sn_source_open_at(path, "optimizer", &source, &error), SN_ERROR_INPUT);
    sn_free(path);
}

/* ---- size ---- */

static void test_a_file_of_13_gb_opens_at_once(void **state) {
    const int64_t rows = 1 << 20, columns = 3200, bytes = rows * columns * 4; /* 13.4 GB, all of it a hole */
    char header[200];
    int length = snprintf(header + 8, sizeof header - 8, "{\"big\":{\"dtype\":\"F32\",\"shape\":[%lld,%lld],\"data_offsets\":[0,%lld]}}", (long long)rows, (long long)columns, (long long)bytes);
    for (int i = 0; i < 8; i++) header[i] = (char)((int64_t)length >> 8 * i);
    int fd = open(in("big.safetensors"), O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || ftruncate(fd, 8 + length + bytes) != 0) {
        close(fd);
        skip(); /* a file system without room for holes */
    }
    assert_int_equal(write(fd, header, 8 + (size_t)length), 8 + length);
    close(fd);
    struct rusage before, after;
    struct timespec from, to;
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &from);
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(in("big.safetensors"), &source, &error), error);
    clock_gettime(CLOCK_MONOTONIC, &to);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(source->tensors[0].bytes, bytes);
    assert_true((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec) < 1);
    assert_true(after.ru_maxrss - before.ru_maxrss < 10000); /* KiB */
    float last = 1;
    memcpy(&last, source->tensors[0].data + bytes - 4, 4);
    assert_true(last == 0);
    sn_source_close(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_comes_back),
        cmocka_unit_test(test_npy_comes_back),
        cmocka_unit_test(test_blocks_are_close),
        cmocka_unit_test(test_what_is_no_checkpoint_is_named),
        cmocka_unit_test(test_folders_of_sharded_training),
        cmocka_unit_test(test_indexes_are_checked),
        cmocka_unit_test(test_notes_of_a_training_checkpoint),
        cmocka_unit_test(test_a_file_of_13_gb_opens_at_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
