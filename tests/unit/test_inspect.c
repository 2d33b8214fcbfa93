/* sensorium inspect from outside: what it finds, what it says, and that its prediction of memory holds. */
#include "tests/unit/folders.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *program, *demo;

typedef struct outcome {
    int code;
    char *out, *err;
    json_t *json; /* of stdout, where it is JSON */
    long peak;    /* kB */
} outcome;

static outcome run(place *p, const char *const *arguments) {
    outcome o = {0};
    const char *files[] = {in(p, p->path, "stdout"), in(p, p->path, "stderr")};
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 2; i++) dup2(open(files[i], O_WRONLY | O_CREAT | O_TRUNC, 0600), i + 1);
        unsetenv("MALLOC_PERTURB_"); /* it would touch memory that is only reserved */
        execv(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status));
    o.code = WEXITSTATUS(status), o.peak = usage.ru_maxrss;
    size_t length;
    assert_ok(sn_read_file(files[0], 16 << 20, &o.out, &length, &p->error), p->error);
    o.json = json_loadb(o.out, length, 0, NULL);
    assert_ok(sn_read_file(files[1], 1 << 20, &o.err, &length, &p->error), p->error);
    if (o.code) { /* exactly one line that says why */
        assert_memory_equal(o.err, "sensorium: error: ", 18);
        assert_ptr_equal(strchr(o.err, '\n'), o.err + length - 1);
    } else {
        assert_string_equal(o.err, "");
    }
    return o;
}
#define RUN(p, ...) run(p, (const char *const[]){program, __VA_ARGS__, NULL})

static void done(outcome *o) {
    json_decref(o->json);
    sn_free(o->out);
    sn_free(o->err);
}

static int64_t number(outcome *o, const char *path) { return json_integer_value(sn_json_at(o->json, path)); }
static const char *text_at(outcome *o, const char *key, size_t i) { return json_string_value(json_array_get(json_object_get(o->json, key), i)); }

static void test_a_model(void **state) {
    place *p = *state;
    outcome o = RUN(p, "inspect", demo, "--json");
    assert_int_equal(o.code, 0);
    assert_string_equal(sn_json_string(o.json, "system"), "llava");
    assert_string_equal(sn_json_string(o.json, "why"), "config.json: model_type llava with a vision_config");
    assert_string_equal(sn_json_string(o.json, "layout"), "Hugging Face");
    assert_string_equal(sn_json_string(o.json, "template"), "hf");
    assert_string_equal(sn_json_string(o.json, "template_reason"), "Hugging Face layout");
    assert_string_equal(sn_json_string(o.json, "compute"), "f32");
    assert_int_equal(json_array_size(json_object_get(o.json, "parts")), 3);
    assert_int_equal(json_array_size(json_object_get(o.json, "missing")), 0);
    assert_int_equal(number(&o, "vision.blocks_stored"), 4);
    assert_int_equal(number(&o, "vision.blocks_run"), 4);
    assert_int_equal(number(&o, "media_positions"), 64);
    done(&o);
    o = RUN(p, "inspect", demo);
    assert_non_null(strstr(o.out, "4 blocks stored, features after block 3, 64 positions a picture"));
    done(&o);
}

/* One file that is no model of its own is listed. */
static void test_a_checkpoint(void **state) {
    place *p = *state;
    outcome o = RUN(p, "inspect", golden(p, "llava/stage1-projector-file/model/llava-pretrain/mm_projector.bin"), "--json");
    assert_int_equal(o.code, 0);
    assert_string_equal(sn_json_string(o.json, "kind"), "checkpoint");
    assert_int_equal(json_array_size(json_object_get(o.json, "tensors")), 2);
    done(&o);
    write_text(p, p->path, "text.safetensors", "not a checkpoint at all");
    o = RUN(p, "inspect", in(p, p->path, "text.safetensors"));
    assert_int_equal(o.code, 1);
    done(&o);
}

static const char *changed(place *p, const char *name, tensors **all) {
    const char *source = golden(p, "llava/hf15-logits/model"), *dir = folder(p, name);
    copy_small_files(p, source, dir);
    *all = read_tensors(p, source);
    return dir;
}

/* Everything that does not fit is named at once. */
static void test_what_does_not_fit(void **state) {
    place *p = *state;
    tensors *all;
    const char *dir = changed(p, "misfit", &all);
    drop_tensors(all, "layers.1.mlp.up_proj");
    find_tensor(all, "multi_modal_projector.linear_1.bias")->shape = SN_SHAPE(0);
    *find_tensor(all, "language_model.model.norm.weight") = noise(p, "language_model.model.norm.weight", SN_SHAPE(48), 1);
    add_tensor(all, noise(p, "strange\x1b[31m", SN_SHAPE(2), 1));
    write_tensors(p, dir, "model.safetensors", all);
    outcome o = RUN(p, "inspect", dir, "--json");
    assert_int_equal(o.code, 1);
    assert_string_equal(text_at(&o, "missing", 0), "language_model.model.layers.1.mlp.up_proj.weight");
    assert_string_equal(text_at(&o, "misshapen", 0), "multi_modal_projector.linear_1.bias: found [0], expected [40]; written by a sharded training run that did not gather");
    assert_string_equal(text_at(&o, "misshapen", 1), "language_model.model.norm.weight: found [48], expected [40]");
    assert_string_equal(text_at(&o, "unexpected", 0), "strange\x1b[31m");
    assert_int_equal(json_array_size(json_object_get(o.json, "missing")) + json_array_size(json_object_get(o.json, "misshapen")) + json_array_size(json_object_get(o.json, "unexpected")), 4);
    done(&o);
    o = RUN(p, "inspect", dir);
    assert_int_equal(o.code, 1);
    assert_null(strchr(o.out, 0x1b)); /* a name cannot steer the terminal */
    done(&o);
}

static void test_verify(void **state) {
    place *p = *state;
    tensors *all;
    const char *dir = changed(p, "nan", &all);
    float *values = (float *)(uintptr_t)find_tensor(all, "language_model.model.layers.0.self_attn.q_proj.weight")->data;
    values[3] = __builtin_nanf(""), values[7] = __builtin_inff(), values[8] = -__builtin_inff();
    write_tensors(p, dir, "model.safetensors", all);
    outcome o = RUN(p, "inspect", dir, "--verify", "--json");
    assert_int_equal(o.code, 1);
    json_t *found = json_array_get(json_object_get(o.json, "not_finite"), 0);
    assert_string_equal(sn_json_string(found, "name"), "language_model.model.layers.0.self_attn.q_proj.weight");
    assert_int_equal(json_integer_value(json_object_get(found, "nan")), 1);
    assert_int_equal(json_integer_value(json_object_get(found, "infinite")), 2);
    done(&o);
    /* a changed byte of a storage is seen by its checksum */
    char *bytes;
    size_t size;
    const char *path = in(p, p->path, "damaged.bin");
    assert_ok(sn_read_file(golden(p, "llava/stage1-projector-file/model/llava-pretrain/mm_projector.bin"), 1 << 20, &bytes, &size, &p->error), p->error);
    assert_ok(sn_write_file(path, bytes, size, &p->error), p->error);
    o = RUN(p, "inspect", path, "--verify");
    assert_int_equal(o.code, 0);
    done(&o);
    bytes[size / 2] ^= 1;
    assert_ok(sn_write_file(path, bytes, size, &p->error), p->error);
    o = RUN(p, "inspect", path, "--verify");
    assert_int_equal(o.code, 1);
    done(&o);
    sn_free(bytes);
}

/* The prediction is within a tenth of what an answer takes, for a short and for a long prompt. */
static void test_memory(void **state) {
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the sanitizer's own memory is not predicted */
#endif
    place *p = *state;
    char question[2048] = "";
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 60 && i; k++) strcat(question, "What is at the top left? ");
        outcome chat = RUN(p, "chat", demo, "-i", in(p, demo, "scenes/000.png"), i ? question : "Describe the picture.", "-t", "0", "-n", "2", "--json", "--threads", "1");
        assert_int_equal(chat.code, 0);
        outcome o = RUN(p, "inspect", demo, "--memory", "--json", "--context", sn_arena_format(p->arena, "%lld", (long long)number(&chat, "usage.prompt_tokens")));
        double ratio = (double)number(&o, "memory.peak") / 1024 / (double)chat.peak;
        if (ratio < 0.9 || ratio > 1.1) fail_msg("predicted %lld kB, measured %ld kB", (long long)number(&o, "memory.peak") / 1024, chat.peak);
        done(&o);
        done(&chat);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    program = argv[1], demo = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_model, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_a_checkpoint, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_verify, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_memory, place_setup, place_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
