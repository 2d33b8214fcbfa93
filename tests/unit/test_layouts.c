/* How LLaVA and its parts are published: every layout gives the same parameters; what does not fit is named. */
#include "systems/llava.h"
#include "tests/unit/folders.h"
#include "weights/gguf.h"

#include <math.h>

static const char *const A = "llava/v15-generate/model", *const H = "llava/hf15-logits/model", *const D = "llava/v0-delta-generate/model", *const P = "llava/stage1-projector-file/model";

/* ---- opening ---- */

typedef struct opened {
    sn_engine *engine;
    sn_model *model;
} opened;

static opened open_files(place *p, const sn_model_files *files) {
    opened o;
    assert_ok(sn_engine_new(1, &o.engine, &p->error), p->error);
    assert_ok(sn_model_open(o.engine, files, &o.model, &p->error), p->error);
    return o;
}

static void close_model(opened o) {
    sn_model_close(o.model);
    sn_engine_free(o.engine);
}

/* Opening must fail, with these words in its one line. */
static void refuse(place *p, const sn_model_files *files, const char *words) {
    sn_engine *engine;
    sn_model *model;
    assert_ok(sn_engine_new(1, &engine, &p->error), p->error);
    sn_status status = sn_model_open(engine, files, &model, &p->error);
    if (!status) sn_model_close(model);
    sn_engine_free(engine);
    if (!status) fail_msg("opened, expected: %s", words);
    if (!strstr(p->error.message, words)) fail_msg("found: %s\nexpected: %s", p->error.message, words);
}

static sn_store_entry *parameter(opened o, const char *name) {
    sn_store_entry *e = sn_store_find(o.model->store, name);
    if (!e) fail_msg("no parameter %s", name);
    sn_error error = {0};
    assert_ok(sn_weight_ready(&e->weight, &error), error);
    return e;
}

static void same_parameters(opened a, opened b) {
    assert_int_equal(a.model->store->count, b.model->store->count);
    for (size_t i = 0; i < a.model->store->count; i++) {
        sn_weight *x = &parameter(a, a.model->store->entries[i]->name)->weight, *y = &parameter(b, a.model->store->entries[i]->name)->weight;
        assert_int_equal(x->rows, y->rows);
        for (int64_t r = 0; r < x->rows; r++) {
            float p[4096], q[4096];
            assert_in_range(x->columns, 1, 4096);
            sn_weight_row_floats(x, r, p);
            sn_weight_row_floats(y, r, q);
            assert_memory_equal(p, q, (size_t)x->columns * sizeof *p);
        }
    }
}

static bool warned(opened o, const char *words) {
    for (size_t i = 0; i < o.model->num_warnings; i++)
        if (strstr(o.model->warnings[i], words)) return true;
    return false;
}

/* ---- names ---- */

/* Key names of three ages of Hugging Face's library, and of wrappers around a model. */
static void test_names_by_age(void **state) {
    place *p = *state;
    static const char *const ages[][4] = {
        {"vision_tower.vision_model.", "multi_modal_projector.", "language_model.model.", "language_model."},
        {"model.vision_tower.vision_model.", "model.multi_modal_projector.", "model.language_model.", ""},
        {"model.vision_tower.", "model.multi_modal_projector.", "model.language_model.", ""},
        {"module.vision_tower.vision_model.", "module.multi_modal_projector.", "module.language_model.model.", "module.language_model."}};
    const char *source = golden(p, H);
    opened plain = open_files(p, &(sn_model_files){.main = source});
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        const char *dir = folder(p, sn_arena_format(p->arena, "age%zu", i));
        copy_small_files(p, source, dir);
        tensors *all = read_tensors(p, source);
        for (int k = 0; k < 3; k++) rename_tensors(p, all, ages[0][k], sn_arena_format(p->arena, "@%s", ages[i][k]));
        rename_tensors(p, all, "language_model.lm_head", sn_arena_format(p->arena, "@%slm_head", ages[i][3]));
        for (size_t k = 0; k < all->count; k++) all->list[k].name += all->list[k].name[0] == '@';
        write_tensors(p, dir, "model.safetensors", all);
        opened o = open_files(p, &(sn_model_files){.main = dir});
        assert_string_equal(o.model->layout, "Hugging Face");
        assert_int_equal(o.model->report.unexpected.count, 0);
        same_parameters(plain, o);
        close_model(o);
    }
    close_model(plain);
}

/* A projector file under any prefix gives the same projector. */
static void test_projector_prefixes(void **state) {
    place *p = *state;
    static const char *const prefixes[] = {"model.mm_projector.", "mm_projector.", "base_model.model.model.mm_projector.", "module.model.mm_projector."};
    const char *llm = in(p, golden(p, P), "vicuna"), *vision = in(p, golden(p, P), "clip"), *pretrain = in(p, golden(p, P), "llava-pretrain");
    opened plain = open_files(p, &(sn_model_files){.llm = llm, .vision = vision, .connector = in(p, pretrain, "mm_projector.bin")});
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const char *dir = folder(p, sn_arena_format(p->arena, "prefix%zu", i));
        copy_small_files(p, pretrain, dir);
        tensors *all = read_tensors(p, in(p, pretrain, "mm_projector.bin"));
        rename_tensors(p, all, "model.mm_projector.", prefixes[i]);
        write_tensors(p, dir, "mm_projector.bin", all);
        opened o = open_files(p, &(sn_model_files){.llm = llm, .vision = vision, .connector = in(p, dir, "mm_projector.bin")});
        same_parameters(plain, o);
        close_model(o);
    }
    close_model(plain);
}

/* Empty, packed and misshapen projectors are named. */
static void test_projector_damage(void **state) {
    place *p = *state;
    const char *llm = in(p, golden(p, P), "vicuna"), *vision = in(p, golden(p, P), "clip"), *pretrain = in(p, golden(p, P), "llava-pretrain"), *dir = folder(p, "damage");
    sn_model_files files = {.llm = llm, .vision = vision, .connector = in(p, dir, "mm_projector.bin")};
    copy_small_files(p, pretrain, dir);
    tensors *all = read_tensors(p, in(p, pretrain, "mm_projector.bin"));
    const char *name = all->list[0].name;
    for (size_t i = 0; i < all->count; i++)
        if (strstr(all->list[i].name, "weight")) name = all->list[i].name;
    sn_tensor_out whole = *find_tensor(all, name);
    *find_tensor(all, name) = (sn_tensor_out){name, SN_TYPE_F32, SN_SHAPE(0), whole.data};
    write_tensors(p, dir, "mm_projector.bin", all);
    refuse(p, &files, sn_arena_format(p->arena, "%s: found [0], expected [%lld, %lld]; written by a sharded training run that did not gather", name, (long long)whole.shape.dim[0], (long long)whole.shape.dim[1]));
    *find_tensor(all, name) = (sn_tensor_out){name, SN_TYPE_U8, SN_SHAPE(480, 1), whole.data};
    write_tensors(p, dir, "mm_projector.bin", all);
    refuse(p, &files, sn_arena_format(p->arena, "%s: found [480, 1] of u8", name));
    drop_tensors(all, name);
    write_tensors(p, dir, "mm_projector.bin", all);
    refuse(p, &files, sn_arena_format(p->arena, "1 tensors missing: %s", name));
    set_key(p, dir, "config.json", "mm_hidden_size", "32");
    refuse(p, &files, "mm_hidden_size: found 32, but the tower's width is 24");
}

/* Names of both layouts in one file: neither is chosen. */
static void test_two_layouts(void **state) {
    place *p = *state;
    const char *dir = folder(p, "both");
    copy_small_files(p, golden(p, H), dir);
    tensors *all = read_tensors(p, golden(p, H));
    add_tensor(all, noise(p, "model.mm_projector.0.weight", SN_SHAPE(40, 24), 1));
    write_tensors(p, dir, "model.safetensors", all);
    refuse(p, &(sn_model_files){.main = dir}, "only one of them can be meant");
    const char *llama = folder(p, "llama"), *meta = golden(p, "components/llama/meta-two-shards-logits/model");
    copy_small_files(p, golden(p, "components/llama/batch-generate/model"), llama);
    copy_file(p, golden(p, "components/llama/batch-generate/model"), llama, "pytorch_model.bin");
    copy_file(p, meta, llama, "params.json");
    copy_file(p, meta, llama, "consolidated.00.pth");
    refuse(p, &(sn_model_files){.main = llama}, "holds a model in Hugging Face's layout (config.json) and one in Meta's (consolidated.00.pth)");
}

/* ---- the tower ---- */

static const char *authors(place *p, const char *path, bool with_tower, float factor) {
    const char *dir = folder(p, path), *source = in(p, golden(p, A), "llava");
    copy_small_files(p, source, dir);
    set_key(p, dir, "config.json", "mm_vision_tower", "\"someone/some-tower\"");
    tensors *all = read_tensors(p, source);
    tensors *clip = read_tensors(p, in(p, golden(p, A), "clip"));
    drop_tensors(clip, "text_");
    drop_tensors(clip, "logit_scale");
    drop_tensors(clip, "visual_projection");
    for (size_t i = 0; with_tower && i < clip->count; i++) {
        sn_tensor_out t = clip->list[i];
        float *values = sn_arena_alloc(p->arena, (size_t)sn_shape_count(&t.shape), sizeof *values);
        for (int64_t k = 0; k < sn_shape_count(&t.shape); k++) values[k] = factor * ((const float *)t.data)[k];
        t.name = sn_arena_format(p->arena, "model.vision_tower.vision_tower.%s", t.name), t.data = values;
        add_tensor(all, t);
    }
    write_tensors(p, dir, "model.safetensors", all);
    return dir;
}

static void copy_tower(place *p, const char *to) {
    const char *clip = in(p, golden(p, A), "clip");
    copy_small_files(p, clip, to);
    copy_file(p, clip, to, "pytorch_model.bin");
}

/* Beside the model, in --models, in the hub cache by refs/main; otherwise the error says what to give. */
static void test_tower_folder(void **state) {
    place *p = *state;
    const char *model = authors(p, "all/model", false, 1);
    sn_model_files files = {.main = model};
    setenv("HF_HUB_CACHE", in(p, p->path, "cache"), 1);
    setenv("HOME", p->path, 1);
    refuse(p, &files, "give its folder with --vision");
    const char *snapshot = folder(p, "cache/models--someone--some-tower/snapshots/5e1f");
    copy_tower(p, snapshot);
    folder(p, "cache/models--someone--some-tower/snapshots/0000");
    write_text(p, folder(p, "cache/models--someone--some-tower/refs"), "main", "5e1f\n");
    opened o = open_files(p, &files);
    assert_non_null(strstr(o.model->vision_from, "snapshots/5e1f"));
    close_model(o);
    copy_tower(p, folder(p, "elsewhere/some-tower"));
    files.models = in(p, p->path, "elsewhere");
    o = open_files(p, &files);
    assert_non_null(strstr(o.model->vision_from, "elsewhere/some-tower"));
    close_model(o);
    copy_tower(p, folder(p, "all/some-tower"));
    o = open_files(p, &files);
    assert_non_null(strstr(o.model->vision_from, "all/some-tower"));
    assert_int_equal(o.model->vision_blocks, 3);
    assert_int_equal(o.model->vision_blocks_run, 2);
    close_model(o);
    unsetenv("HF_HUB_CACHE");
}

static float first_class_value(opened o) { return *(const float *)parameter(o, "vision.class")->weight.part[0].data; }

/* A copy of the tower in the checkpoint is taken where it was trained, or where there is no other. */
static void test_tower_inside(void **state) {
    place *p = *state;
    const char *model = authors(p, "inside/model", true, 2);
    sn_model_files files = {.main = model, .heads = 4};
    opened plain = open_files(p, &(sn_model_files){.llm = in(p, golden(p, A), "llava"), .vision = in(p, golden(p, A), "clip")});
    float published = first_class_value(plain);
    close_model(plain);
    opened o = open_files(p, &files);
    assert_float_equal(first_class_value(o), 2 * published, 0);
    assert_non_null(strstr(o.model->vision_from, "the checkpoint itself"));
    close_model(o);
    files.heads = 0;
    refuse(p, &files, "give them with --heads");
    copy_tower(p, folder(p, "inside/some-tower"));
    o = open_files(p, &files);
    assert_float_equal(first_class_value(o), published, 0);
    assert_non_null(strstr(o.model->vision_from, "own copy is not used"));
    assert_int_equal(o.model->report.unexpected.count, 0);
    close_model(o);
    set_key(p, model, "config.json", "unfreeze_mm_vision_tower", "true");
    o = open_files(p, &files);
    assert_float_equal(first_class_value(o), 2 * published, 0);
    close_model(o);
}

/* The tower and projector of H as an mmproj file, without the tower's last block. */
static const char *mmproj(place *p, const char *name, int blocks, uint32_t block_count, int32_t feature_layer) {
    static const char *const parts[][2] = {
        {"embeddings.class_embedding", "class_embd"}, {"embeddings.patch_embedding", "patch_embd"}, {"embeddings.position_embedding", "position_embd"}, {"pre_layrnorm", "pre_ln"}, {"post_layernorm", "post_ln"},
        {"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"}, {"self_attn.out_proj", "attn_out"}, {"layer_norm1", "ln1"}, {"layer_norm2", "ln2"},
        {"mlp.fc1", "ffn_up"}, {"mlp.fc2", "ffn_down"}, {"encoder.layers.", "blk."}, {"vision_tower.vision_model.", "v."}, {"multi_modal_projector.linear_1", "mm.0"}, {"multi_modal_projector.linear_2", "mm.2"}};
    tensors *all = read_tensors(p, golden(p, H));
    drop_tensors(all, "language_model");
    drop_tensors(all, "position_ids");
    for (int b = 2; b >= blocks; b--) drop_tensors(all, sn_arena_format(p->arena, "encoder.layers.%d.", b));
    sn_gguf_tensor out[256];
    for (size_t i = 0; i < all->count; i++) {
        const char *text = all->list[i].name;
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            const char *at = strstr(text, parts[k][0]);
            if (at) text = sn_arena_format(p->arena, "%.*s%s%s", (int)(at - text), text, parts[k][1], at + strlen(parts[k][0]));
        }
        sn_weight *weight = sn_arena_alloc(p->arena, 1, sizeof *weight);
        *weight = sn_weight_view(SN_TYPE_F32, all->list[i].shape, all->list[i].data);
        out[i] = (sn_gguf_tensor){text, SN_TYPE_F32, weight};
    }
    const char *architecture = "clip";
    const uint32_t sizes[] = {24, 52, block_count, 4, 56, 14};
    static const char *const keys[] = {"clip.vision.embedding_length", "clip.vision.feed_forward_length", "clip.vision.block_count", "clip.vision.attention.head_count", "clip.vision.image_size", "clip.vision.patch_size"};
    sn_gguf_pair pairs[8] = {{.key = "general.architecture", .type = SN_GGUF_STRING, .count = 1, .values = &architecture}};
    size_t n = 1;
    for (size_t i = 0; i < 6; i++) pairs[n++] = (sn_gguf_pair){.key = keys[i], .type = SN_GGUF_U32, .count = 1, .values = &sizes[i]};
    if (feature_layer) pairs[n++] = (sn_gguf_pair){.key = "clip.vision.feature_layer", .type = SN_GGUF_I32, .is_array = true, .count = 1, .values = &feature_layer};
    const char *path = in(p, p->path, name);
    assert_ok(sn_gguf_write(path, pairs, n, out, all->count, &p->error), p->error);
    return path;
}

static void encode(place *p, opened o, float *rows) {
    sn_tensor_out pixels = noise(p, "pixels", SN_SHAPE(3, 56, 56), 7);
    assert_ok(sn_model_encode(o.model, pixels.data, 1, NULL, rows, &p->error), p->error);
}

/* Every block of such a file runs, unless it names another layer: one too few is a little worse and goes unnoticed. */
static void test_mmproj(void **state) {
    place *p = *state;
    enum { ROWS = 16, WIDTH = 40 };
    float published[ROWS * WIDTH], found[ROWS * WIDTH];
    opened o = open_files(p, &(sn_model_files){.main = golden(p, H)});
    encode(p, o, published);
    close_model(o);
    const char *paths[] = {mmproj(p, "two.gguf", 2, 2, 0), mmproj(p, "three.gguf", 3, 3, -2)};
    for (int i = 0; i < 2; i++) {
        o = open_files(p, &(sn_model_files){.main = golden(p, H), .vision = paths[i]});
        assert_int_equal(o.model->vision_blocks, 2 + i);
        assert_int_equal(o.model->vision_blocks_run, 2);
        assert_int_equal(o.model->report.unexpected.count, 0);
        encode(p, o, found);
        assert_memory_equal(published, found, sizeof found);
        close_model(o);
    }
    refuse(p, &(sn_model_files){.main = golden(p, H), .vision = mmproj(p, "short.gguf", 2, 3, 0)}, "clip.vision.block_count: found 3, but the file holds 2 blocks");
}

/* ---- LoRA ---- */

enum { RANK = 4 };

static const char *adapter(place *p, const char *path, const char *infix, int64_t width) {
    const char *dir = folder(p, path), *source = in(p, golden(p, A), "llava");
    tensors *lora = sn_arena_alloc(p->arena, 1, sizeof *lora), *rest = read_tensors(p, source);
    for (int l = 0; l < 2; l++)
        for (int k = 0; k < 2; k++) {
            const char *module = sn_arena_format(p->arena, "base_model.model.model.layers.%d.self_attn.%c_proj", l, k ? 'v' : 'q');
            add_tensor(lora, noise(p, sn_arena_format(p->arena, "%s.lora_A%s.weight", module, infix), SN_SHAPE(RANK, width), (unsigned)(10 * l + k)));
            add_tensor(lora, noise(p, sn_arena_format(p->arena, "%s.lora_B%s.weight", module, infix), SN_SHAPE(40, RANK), (unsigned)(10 * l + k + 5)));
        }
    write_tensors(p, dir, "adapter_model.bin", lora);
    copy_file(p, source, dir, "config.json");
    write_text(p, dir, "adapter_config.json", "{\"r\": 4, \"lora_alpha\": 8, \"base_model_name_or_path\": \"lmsys/another-base\"}");
    size_t kept = 0;
    for (size_t i = 0; i < rest->count; i++)
        if (strstr(rest->list[i].name, "mm_projector")) rest->list[kept++] = rest->list[i];
    rest->count = kept;
    rename_tensors(p, rest, "model.", "base_model.model.model.");
    write_tensors(p, dir, "non_lora_trainables.bin", rest);
    return dir;
}

/* W + alpha / r * B A, with and without ".default" in the names. */
static void test_lora(void **state) {
    place *p = *state;
    const char *base = in(p, golden(p, A), "llava"), *vision = in(p, golden(p, A), "clip");
    opened plain = open_files(p, &(sn_model_files){.llm = base, .vision = vision});
    const char *dirs[] = {adapter(p, "lora", "", 40), adapter(p, "default", ".default", 40)};
    for (int d = 0; d < 2; d++) {
        opened o = open_files(p, &(sn_model_files){.main = dirs[d], .base = base, .vision = vision});
        tensors *lora = read_tensors(p, in(p, dirs[d], "adapter_model.bin"));
        assert_true(warned(o, "made for the base model lmsys/another-base"));
        assert_int_equal(o.model->report.unexpected.count, 0);
        const char *infix = d ? ".default" : "";
        const float *a = find_tensor(lora, sn_arena_format(p->arena, "base_model.model.model.layers.1.self_attn.v_proj.lora_A%s.weight", infix))->data;
        const float *b = find_tensor(lora, sn_arena_format(p->arena, "base_model.model.model.layers.1.self_attn.v_proj.lora_B%s.weight", infix))->data;
        sn_weight *w = &parameter(plain, "decoder.layers.1.attention.v.weight")->weight, *merged = &parameter(o, "decoder.layers.1.attention.v.weight")->weight;
        for (int64_t r = 0; r < 40; r++)
            for (int64_t c = 0; c < 40; c++) {
                double sum = 0;
                for (int64_t k = 0; k < RANK; k++) sum += (double)b[r * RANK + k] * a[k * 40 + c];
                assert_float_equal(((const float *)sn_weight_row(merged, r))[c], ((const float *)sn_weight_row(w, r))[c] + 2 * sum, 1e-6);
            }
        /* what has no update stays a view */
        assert_null(parameter(o, "decoder.layers.1.attention.k.weight")->weight.make);
        close_model(o);
    }
    close_model(plain);
}

static void test_lora_damage(void **state) {
    place *p = *state;
    const char *base = in(p, golden(p, A), "llava"), *vision = in(p, golden(p, A), "clip"), *dir = adapter(p, "lora", "", 40);
    sn_model_files files = {.main = dir, .base = base, .vision = vision};
    refuse(p, &(sn_model_files){.main = dir, .vision = vision}, "LoRA files need their base model");
    tensors *lora = read_tensors(p, in(p, dir, "adapter_model.bin"));
    sn_tensor_out *b = find_tensor(lora, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    sn_tensor_out whole = *b;
    b->shape = SN_SHAPE(0);
    write_tensors(p, dir, "adapter_model.bin", lora);
    refuse(p, &files, "are empty; written by a sharded training run that did not gather");
    *b = whole;
    add_tensor(lora, noise(p, "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", SN_SHAPE(RANK, 40), 3));
    write_tensors(p, dir, "adapter_model.bin", lora);
    refuse(p, &files, "layers.7.self_attn.q_proj.lora_A.weight: updates nothing in the base model");
    const char *narrow = adapter(p, "narrow", "", 48);
    files.main = narrow;
    refuse(p, &files, "do not fit the base's [40, 40]; another base model?");
    unlink(in(p, narrow, "non_lora_trainables.bin"));
    refuse(p, &files, "projector missing");
}

/* ---- deltas ---- */

static void test_delta_on_the_wrong_base(void **state) {
    place *p = *state;
    const char *base = in(p, golden(p, D), "llama"), *delta = in(p, golden(p, D), "LLaVA-7b-delta-v0"), *vision = in(p, golden(p, D), "clip"), *other = folder(p, "other");
    sn_model_files files = {.base = base, .delta = delta, .vision = vision};
    close_model(open_files(p, &files));
    /* the same as MODEL --base */
    close_model(open_files(p, &(sn_model_files){.main = delta, .base = base, .vision = vision}));
    refuse(p, &(sn_model_files){.delta = delta, .vision = vision}, "give it with --base");
    copy_small_files(p, base, other);
    tensors *all = read_tensors(p, base);
    sn_tensor_out *norm = find_tensor(all, "model.norm.weight"), whole = *norm;
    *norm = noise(p, "model.norm.weight", whole.shape, 1);
    for (int64_t i = 0; i < whole.shape.dim[0]; i++) ((float *)(uintptr_t)norm->data)[i] = 9;
    write_tensors(p, other, "model.safetensors", all);
    files.base = other;
    refuse(p, &files, "this is not the base model that the delta was made from");
    *norm = whole;
    *find_tensor(all, "model.embed_tokens.weight") = noise(p, "model.embed_tokens.weight", SN_SHAPE(601, 40), 2);
    *find_tensor(all, "lm_head.weight") = noise(p, "lm_head.weight", SN_SHAPE(601, 40), 3);
    write_tensors(p, other, "model.safetensors", all);
    refuse(p, &files, "wrong base model: its table has 601 rows, LLaMA's vocabulary 600 tokens");
    all = read_tensors(p, base);
    drop_tensors(all, "layers.1.mlp.up_proj");
    write_tensors(p, other, "model.safetensors", all);
    refuse(p, &files, "model.layers.1.mlp.up_proj.weight: in the delta, but not in the base model");
}

/* ---- templates, ids, configurations ---- */

/* The name of the folder does not decide what evidence decides, and where it decides it is said. */
static void test_template_does_not_hang_on_the_folder(void **state) {
    place *p = *state;
    static const char *const names[] = {"01", "llama-2-x", "mpt", "my.model.v0"};
    const char *source = in(p, golden(p, A), "llava"), *vision = in(p, golden(p, A), "clip");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *dir = folder(p, names[i]);
        copy_small_files(p, source, dir);
        write_tensors(p, dir, "model.safetensors", read_tensors(p, source));
        opened o = open_files(p, &(sn_model_files){.main = dir, .vision = vision});
        assert_string_equal(o.model->template_name, "llava_v1");
        assert_non_null(strstr(o.model->template_reason, "mm_projector_type"));
        close_model(o);
    }
    const char *linear = folder(p, "llava-llama-2-7b"), *v1 = in(p, golden(p, "llava/v1-linear-logits/model"), "llava");
    copy_small_files(p, v1, linear);
    copy_file(p, v1, linear, "model.safetensors");
    opened o = open_files(p, &(sn_model_files){.main = linear, .vision = in(p, golden(p, "llava/v1-linear-logits/model"), "clip")});
    assert_string_equal(o.model->template_name, "llava_llama_2");
    assert_non_null(strstr(o.model->template_reason, "folder's name"));
    close_model(o);
}

/* Three sources name the special ids; the tokenizer's hold, further ends are taken from all. */
static void test_special_ids(void **state) {
    place *p = *state;
    const char *source = golden(p, H), *dir = folder(p, "ids");
    copy_small_files(p, source, dir);
    copy_file(p, source, dir, "model.safetensors");
    sn_model_files files = {.main = dir};
    set_key(p, dir, "config.json", "bos_token_id", "0");
    set_key(p, dir, "config.json", "eos_token_id", "1");
    set_key(p, dir, "config.json", "text_config.eos_token_id", "1");
    set_key(p, dir, "tokenizer_config.json", "bos_token", "\"\"");
    opened o = open_files(p, &files);
    assert_true(warned(o, "the tokenizer's are used"));
    assert_int_equal(o.model->num_warnings, 1);
    assert_int_equal(o.model->num_eos, 1);
    assert_int_equal(o.model->eos[0], 2);
    close_model(o);
    set_key(p, dir, "config.json", "bos_token_id", "1");
    set_key(p, dir, "config.json", "eos_token_id", "2");
    set_key(p, dir, "config.json", "text_config.eos_token_id", "50");
    write_text(p, dir, "generation_config.json", "{\"eos_token_id\": [2, 60, -1]}");
    o = open_files(p, &files);
    assert_int_equal(o.model->num_warnings, 0);
    assert_int_equal(o.model->num_eos, 3);
    assert_int_equal(o.model->eos[1], 50);
    assert_int_equal(o.model->eos[2], 60);
    close_model(o);
    set_key(p, dir, "added_tokens.json", "<x>", "640");
    refuse(p, &files, "token <x> has id 640, the table 640 rows");
}

/* Sizes that cannot be are refused with their key, at once, before anything is built from them. */
static void test_hostile_configurations(void **state) {
    place *p = *state;
    static const struct { const char *key, *value, *words; } cases[] = {
        {"text_config.num_hidden_layers", "1000000000", "num_hidden_layers: found 1000000000, expected 1 to 4096"},
        {"text_config.num_hidden_layers", "4000", "number of layers: found 4000, but"},
        {"text_config.num_hidden_layers", "3", "9 tensors missing: language_model.model.layers.2."},
        {"text_config.hidden_size", "-40", "hidden_size: found -40"},
        {"text_config.hidden_size", "40.5", "hidden_size: expected a whole number"},
        {"text_config.hidden_size", "\"40\"", "hidden_size: expected a whole number"},
        {"text_config.hidden_size", "48", "linear_1.weight: found [40, 24], expected [48, 24]"},
        {"text_config.vocab_size", "1e300", "vocab_size: expected a whole number"},
        {"text_config.vocab_size", "602", "found [640, 40], expected [602, 40]"},
        {"text_config.num_attention_heads", "0", "num_attention_heads: found 0"},
        {"text_config.num_attention_heads", "7", "do not fit"},
        {"text_config.model_type", "\"mistral\"", "model_type: found mistral, expected llama"},
        {"vision_config.num_hidden_layers", "4096", "num_hidden_layers: found 4096, but"},
        {"vision_config.image_size", "5000", "image_size: found 5000"},
        {"vision_config.patch_size", "0", "patch_size: found 0"},
        {"vision_config.model_type", "\"siglip_vision_model\"", "found siglip_vision_model"},
        {"vision_feature_layer", "-9", "lies outside the tower's 3 layers"},
        {"vision_config", "[]", "expected the objects vision_config and text_config"},
        {"text_config", "7", "expected the objects vision_config and text_config"},
        {"model_type", "\"llava_next\"", "found llava_next"},
    };
    const char *source = golden(p, H), *dir = folder(p, "hostile");
    copy_small_files(p, source, dir);
    copy_file(p, source, dir, "model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_file(p, source, dir, "config.json");
        set_key(p, dir, "config.json", cases[i].key, cases[i].value);
        refuse(p, &(sn_model_files){.main = dir}, cases[i].words);
    }
    write_text(p, dir, "config.json", "[1, 2]");
    refuse(p, &(sn_model_files){.main = dir}, "expected a JSON object");
    unlink(in(p, dir, "config.json"));
    refuse(p, &(sn_model_files){.main = dir}, "found no config.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_by_age, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_projector_prefixes, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_projector_damage, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_two_layouts, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_tower_folder, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_tower_inside, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_mmproj, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_lora, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_lora_damage, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_delta_on_the_wrong_base, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_template_does_not_hang_on_the_folder, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_special_ids, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_hostile_configurations, place_setup, place_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
