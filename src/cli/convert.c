/* sensorium convert IN OUT: a checkpoint of any readable kind as safetensors or GGUF, read back before it counts. */
#include "base/folder.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/convert_merge.h"
#include "decoders/llama_files.h"
#include "decoders/llama_gguf.h"
#include "systems/model.h"
#include "text/arrays.h"
#include "weights/writer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PAIRS = 32 };

typedef struct conversion {
    sn_arena *arena;
    sn_source *source;
    const char *folder; /* of a Hugging Face model, or NULL */
    sn_type type;       /* SN_TYPE_COUNT: as stored */
    sn_llama_config llama;
    bool to_gguf, from_gguf_llama, from_hf_llama;
    sn_gguf_tensor *tensors;
    sn_tokenizer *tokenizer;
    sn_weight **stored; /* of each tensor: the weight as its file has it */
    bool merges;
    sn_merge merge;
    size_t count;
    sn_progress progress;
    int64_t bytes; /* written so far */
    void *room;    /* of a tensor that is being written */
    sn_error *error;
} conversion;

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

/* LLaMA is the one model whose names and rows differ between the two worlds; anything else goes over as it is. */
static sn_status recognise(conversion *c) {
    const char *text;
    size_t length;
    if (c->source->gguf && sn_gguf_text(c->source->gguf, "general.architecture", &text, &length) && length == 5 && memcmp(text, "llama", 5) == 0 && !c->to_gguf) {
        c->from_gguf_llama = true;
        return sn_llama_config_gguf(c->source, &c->llama, c->error);
    }
    if (!c->to_gguf || !c->folder) return SN_OK;
    json_t *config;
    sn_status status = sn_model_json(c->folder, "config.json", &config, c->error);
    const char *type = sn_json_string(config, "model_type");
    if (!status && type && strcmp(type, "llama") == 0) {
        c->from_hf_llama = true;
        status = sn_llama_config_hf("config.json", config, &c->llama, c->error);
    }
    json_decref(config);
    return status;
}

/* The name in the other world by way of the canonical one; NULL where a table does not know it. */
static const char *rename_by(conversion *c, const sn_names *from, const sn_names *to, int num, const char *name, const char **canonical) {
    char number[16], path[512];
    for (int i = 0; i < num; i++) {
        size_t prefix = strlen(from[i].published_prefix);
        if (strncmp(name, from[i].published_prefix, prefix) != 0) continue;
        for (const sn_name_rule *r = from[i].rules; r->published; r++) {
            if (!r->canonical || !sn_name_match(r->published, name + prefix, number)) continue;
            if (!sn_name_fill("", r->canonical, number, path, sizeof path)) continue;
            *canonical = sn_arena_strdup(c->arena, path);
            for (int k = 0; k < num && *canonical; k++) {
                char published[512];
                if (sn_published_name(&to[k], path, published, sizeof published, NULL)) return sn_arena_strdup(c->arena, published);
            }
        }
    }
    return NULL;
}

static sn_status add(conversion *c, sn_source *source, const sn_source_tensor *t, const char *published) {
    static const sn_names hf[] = {{.rules = sn_llama_names_hf, .canonical_prefix = "", .published_prefix = "model."}, {.rules = sn_llama_head_hf, .canonical_prefix = "", .published_prefix = ""}};
    static const sn_names gguf[] = {{.rules = sn_llama_names_gguf, .canonical_prefix = "", .published_prefix = ""}, {.rules = sn_llama_names_gguf, .canonical_prefix = "", .published_prefix = ""}};
    const char *canonical = NULL, *name = published;
    sn_weight *w = sn_arena_alloc(c->arena, 1, sizeof *w), *stored = w;
    if (!w) return sn_fail_memory(c->error);
    sn_status status = sn_source_weight(source, t, c->arena, w, c->error);
    if (status) return status;
    sn_type type = c->type != SN_TYPE_COUNT && t->shape.rank > 1 ? c->type : w->type;
    if (c->type != SN_TYPE_COUNT && t->shape.rank <= 1 && c->to_gguf) type = SN_TYPE_F32; /* norms and biases stay exact */
    if (w->columns % sn_type_of(type)->block) type = w->columns % 32 == 0 ? SN_TYPE_Q8_0 : SN_TYPE_F16;
    if (c->merges && (status = sn_merge_into(&c->merge, published, w, type, &w, c->error))) return status;
    stored = w;
    if (c->from_hf_llama || c->from_gguf_llama) {
        const char *other = c->from_hf_llama ? rename_by(c, hf, gguf, 2, published, &canonical) : rename_by(c, gguf, hf, 2, published, &canonical);
        if (!other) return SN_OK; /* rotary tables and the like: made again by every reader */
        name = other;
        bool q = ends(canonical, "attention.q.weight"), k = ends(canonical, "attention.k.weight");
        if ((q || k) && !(w = sn_rotary_rows(c->arena, w, q ? c->llama.num_heads : c->llama.num_kv_heads, c->from_hf_llama))) return sn_fail_memory(c->error);
    }
    c->stored[c->count] = stored;
    c->tensors[c->count++] = (sn_gguf_tensor){name, type, w};
    return SN_OK;
}

/* All tensors of the checkpoint, and what an adapter adds to them. */
static sn_status add_all(conversion *c, size_t *others) {
    sn_status status = SN_OK;
    for (size_t i = 0; !status && i < c->source->count; i++) {
        const char *name = c->source->tensors[i].name;
        sn_source *source = NULL;
        const sn_source_tensor *t = c->merges ? sn_merge_trained(&c->merge, name, &source) : NULL;
        if (!t) source = c->source, t = &c->source->tensors[i];
        bool packed = t->type == SN_TYPE_U8 && ends(name, ".weight");
        if (!sn_type_of(t->type)->to_float && !packed) (*others)++; /* whole numbers: no weights */
        else if (!(status = sn_source_check(t, c->error))) status = add(c, source, t, name);
    }
    const sn_source_tensor *t;
    sn_source *source;
    const char *name;
    for (size_t i = 0; !status && c->merges && (t = sn_merge_trained_at(&c->merge, i, &source, &name)); i++)
        if (!sn_source_find(c->source, name) && sn_type_of(t->type)->to_float) status = add(c, source, t, name);
    return status || !c->merges ? status : sn_merge_check(&c->merge, c->error);
}

/* ---- writing ---- */

typedef struct pairs {
    sn_gguf_pair list[MAX_PAIRS];
    size_t count;
    uint32_t whole[MAX_PAIRS];
    float real[MAX_PAIRS];
    const char *text[MAX_PAIRS];
} pairs;

static void put_whole(pairs *p, const char *key, int64_t value) {
    p->whole[p->count] = (uint32_t)value;
    p->list[p->count] = (sn_gguf_pair){.key = key, .type = SN_GGUF_U32, .count = 1, .values = &p->whole[p->count]};
    p->count++;
}

static void put_real(pairs *p, const char *key, float value) {
    p->real[p->count] = value;
    p->list[p->count] = (sn_gguf_pair){.key = key, .type = SN_GGUF_F32, .count = 1, .values = &p->real[p->count]};
    p->count++;
}

static void put_text(pairs *p, const char *key, const char *value) {
    p->text[p->count] = value;
    p->list[p->count] = (sn_gguf_pair){.key = key, .type = SN_GGUF_STRING, .count = 1, .values = &p->text[p->count]};
    p->count++;
}

/* tokenizer.ggml.*, where the model's tokenizer can be written so. */
static void put_vocabulary(conversion *c, pairs *p) {
    sn_vocabulary_arrays v;
    if (sn_tokenizer_open(c->folder, true, &c->tokenizer, NULL) || !sn_tokenizer_arrays(c->tokenizer, c->arena, &v)) return;
    const char **texts = sn_arena_alloc(c->arena, v.count, sizeof *texts);
    if (!texts) return;
    for (size_t i = 0; i < v.count; i++) texts[i] = v.pieces[i].text;
    put_text(p, "tokenizer.ggml.model", v.model);
    p->list[p->count++] = (sn_gguf_pair){.key = "tokenizer.ggml.tokens", .type = SN_GGUF_STRING, .is_array = true, .count = v.count, .values = texts};
    p->list[p->count++] = (sn_gguf_pair){.key = "tokenizer.ggml.scores", .type = SN_GGUF_F32, .is_array = true, .count = v.count, .values = v.scores};
    p->list[p->count++] = (sn_gguf_pair){.key = "tokenizer.ggml.token_type", .type = SN_GGUF_I32, .is_array = true, .count = v.count, .values = v.types};
    if (v.bos >= 0) put_whole(p, "tokenizer.ggml.bos_token_id", v.bos);
    if (v.eos >= 0) put_whole(p, "tokenizer.ggml.eos_token_id", v.eos);
    if (v.unk >= 0) put_whole(p, "tokenizer.ggml.unknown_token_id", v.unk);
}

static void on_bytes(void *context, int64_t bytes) { sn_progress_to(&((conversion *)context)->progress, bytes >> 20); }

static sn_status write_gguf(conversion *c, const char *out) {
    pairs p = {.count = 0};
    const sn_llama_config *l = &c->llama;
    put_text(&p, "general.architecture", c->from_hf_llama ? "llama" : "tensors");
    if (c->from_hf_llama) {
        put_whole(&p, "llama.block_count", l->num_layers);
        put_whole(&p, "llama.context_length", l->max_positions);
        put_whole(&p, "llama.embedding_length", l->hidden_size);
        put_whole(&p, "llama.feed_forward_length", l->intermediate_size);
        put_whole(&p, "llama.attention.head_count", l->num_heads);
        put_whole(&p, "llama.attention.head_count_kv", l->num_kv_heads);
        put_whole(&p, "llama.attention.key_length", l->head_dim);
        put_whole(&p, "llama.attention.value_length", l->head_dim);
        put_whole(&p, "llama.rope.dimension_count", l->head_dim);
        put_whole(&p, "llama.vocab_size", l->vocab_size);
        put_real(&p, "llama.attention.layer_norm_rms_epsilon", l->rms_norm_eps);
        put_real(&p, "llama.rope.freq_base", l->rope_theta);
        put_vocabulary(c, &p);
        if (l->rope_scale != 1) put_text(&p, "llama.rope.scaling.type", "linear"), put_real(&p, "llama.rope.scaling.factor", 1 / l->rope_scale);
    }
    return sn_gguf_write_told(out, p.list, p.count, c->tensors, c->count, on_bytes, c, c->error);
}

/* Blocks are opened in safetensors, which has no type for them. */
static sn_type written_type(const conversion *c, size_t i) {
    sn_type type = c->tensors[i].type;
    return c->to_gguf || sn_type_of(type)->safetensors ? type : SN_TYPE_F32;
}

/* The values of one tensor: as they are, or converted in `room`, which the next one takes over. */
static const void *give(void *context, size_t index, sn_error *error) {
    conversion *c = context;
    sn_weight *w = c->tensors[index].weight;
    sn_type type = written_type(c, index);
    int64_t bytes = 0;
    sn_progress_to(&c->progress, c->bytes >> 20);
    if (sn_weight_ready(w, error)) return NULL;
    sn_type_bytes(type, w->columns, &bytes);
    c->bytes += w->rows * bytes;
    if (type == w->type && w->part[0].row_bytes == bytes && w->num_parts < 2) return w->part[0].data;
    sn_free(c->room);
    float *row = sn_alloc((size_t)w->columns + 1, sizeof *row);
    char *copy = c->room = sn_alloc((size_t)w->rows + 1, (size_t)bytes + 1);
    if (!row || !copy) sn_fail_memory(error);
    for (int64_t r = 0; row && copy && r < w->rows; r++) {
        sn_weight_row_floats(w, r, row);
        sn_type_of(type)->from_float(row, copy + r * bytes, w->columns);
    }
    bool ok = row && copy;
    sn_free(row);
    return ok ? copy : NULL;
}

static sn_status write_safetensors(conversion *c, const char *out) {
    sn_tensor_out *tensors = sn_arena_alloc(c->arena, c->count + 1, sizeof *tensors);
    if (!tensors) return sn_fail_memory(c->error);
    for (size_t i = 0; i < c->count; i++) tensors[i] = (sn_tensor_out){c->tensors[i].name, written_type(c, i), c->tensors[i].weight->shape, NULL};
    return sn_safetensors_write_given(out, tensors, c->count, give, c, c->error);
}

/* A line with the megabytes that are written. */
static sn_status write_file(conversion *c, const char *out) {
    int64_t total = 0, bytes;
    for (size_t i = 0; i < c->count; i++)
        if (sn_type_bytes(written_type(c, i), sn_shape_count(&c->tensors[i].weight->shape), &bytes)) total += bytes;
    sn_progress_begin(&c->progress, stderr, "MB written", "MB", total >> 20);
    sn_status status = c->to_gguf ? write_gguf(c, out) : write_safetensors(c, out);
    sn_progress_end(&c->progress);
    return status;
}

/* Whether a tensor that was read back holds, row by row, the bytes that were to be written. */
static sn_status same_rows(conversion *c, sn_weight *wrote, sn_weight *read, bool *same) {
    int64_t row_bytes = 0;
    *same = wrote->rows == read->rows && wrote->columns == read->columns && sn_type_bytes(read->type, read->columns, &row_bytes);
    float *values = sn_alloc((size_t)wrote->columns + 1, sizeof *values);
    void *blocks = sn_alloc((size_t)row_bytes + 1, 1);
    for (int64_t r = 0; values && blocks && *same && r < wrote->rows; r++) {
        const void *expected = sn_weight_row(wrote, r);
        if (read->type != wrote->type) {
            sn_weight_row_floats(wrote, r, values);
            sn_type_of(read->type)->from_float(values, blocks, wrote->columns);
            expected = blocks;
        }
        *same = memcmp(expected, sn_weight_row(read, r), (size_t)row_bytes) == 0;
    }
    sn_status status = values && blocks ? SN_OK : sn_fail_memory(c->error);
    sn_free(values);
    sn_free(blocks);
    return status;
}

/* What was written, still aside, is opened and every tensor compared. */
static sn_status read_back(conversion *c, const char *aside, const char *out) {
    sn_source *back;
    sn_status status = sn_source_open(aside, &back, c->error);
    if (status) return status;
    sn_progress progress;
    sn_progress_begin(&progress, stderr, "tensors read back", "tensors", (int64_t)c->count);
    for (size_t i = 0; i < c->count && !status; i++) {
        sn_progress_to(&progress, (int64_t)i);
        const sn_source_tensor *t = sn_source_find(back, c->tensors[i].name);
        sn_weight read = {0};
        bool same = false;
        if (t) status = sn_source_weight(back, t, c->arena, &read, c->error);
        if (t && !status && !(status = sn_weight_ready(&read, c->error))) status = same_rows(c, c->tensors[i].weight, &read, &same);
        if (!status && !same) status = sn_fail(c->error, SN_ERROR_IO, "%s: tensor %s did not come back as it was written", out, c->tensors[i].name);
        sn_weight_release(&read);
    }
    sn_progress_end(&progress);
    if (!status && back->count != c->count) status = sn_fail(c->error, SN_ERROR_IO, "%s: wrote %zu tensors, found %zu", out, c->count, back->count);
    sn_source_close(back);
    return status;
}

/* Written aside, read back, counted, and only then in the place of what was there before. */
static sn_status write_checked(conversion *c, const char *out) {
    char *aside = sn_format("%s.new", out);
    if (!aside) return sn_fail_memory(c->error);
    sn_status status = write_file(c, aside);
    if (!status) status = read_back(c, aside, out);
    if (!status && rename(aside, out) != 0) status = sn_fail(c->error, SN_ERROR_IO, "%s: cannot write: %s", out, strerror(errno));
    if (status) unlink(aside);
    sn_free(aside);
    return status;
}

/* A merged model as other tools open it: a folder. The checkpoint comes first: where it cannot be written nothing changes. */
static sn_status write_folder(conversion *c, const char *in, const char *out) {
    if (!c->folder) return sn_fail(c->error, SN_ERROR_USAGE, "%s: the configuration of a folder comes from the base's, and %s is a file; expected a name that ends in .safetensors or .gguf", out, in);
    struct stat a, b;
    sn_status status = sn_make_folder(out, c->error);
    if (status) return status;
    if (stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) return sn_fail(c->error, SN_ERROR_USAGE, "%s: is the base itself; expected another folder", out);
    char *path = sn_path_join(out, "model.safetensors");
    status = path ? write_checked(c, path) : sn_fail_memory(c->error);
    if (!status) status = sn_merge_configuration(&c->merge, in, out, c->error);
    sn_free(path);
    return status;
}

static sn_status check_arguments(const char *out, const char *type, bool folder, conversion *c, sn_error *error) {
    if (!c->to_gguf && !folder && !ends(out, ".safetensors")) return sn_fail(error, SN_ERROR_USAGE, "%s: expected a name that ends in .safetensors or .gguf", out);
    if (type && ((c->type = sn_type_by_name(type)) == SN_TYPE_COUNT || !sn_type_of(c->type)->from_float))
        return sn_fail(error, SN_ERROR_USAGE, "--type: found %s, expected f32, f16, bf16, q8_0 or q4_0", type);
    if (type && !c->to_gguf && !sn_type_of(c->type)->safetensors) return sn_fail(error, SN_ERROR_USAGE, "--type: safetensors files hold no %s; write a .gguf", type);
    return SN_OK;
}

static void close_conversion(conversion *c) {
    for (size_t i = 0; i < c->count; i++) {
        sn_weight_release(c->stored[i]);
        if (c->tensors[i].weight != c->stored[i]) sn_weight_release(c->tensors[i].weight);
    }
    sn_free(c->room);
    sn_tokenizer_close(c->tokenizer);
    sn_merge_close(&c->merge);
    sn_source_close(c->source);
    sn_arena_free(c->arena);
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    const char *in = a->plain[0], *out = a->plain[1], *type = sn_argument(a, "type"), *adapter = sn_argument(a, "merge");
    conversion c = {.to_gguf = ends(out, ".gguf"), .type = SN_TYPE_COUNT, .error = error, .folder = sn_is_directory(in) ? in : NULL, .merges = adapter != NULL};
    bool folder = adapter && !c.to_gguf && !ends(out, ".safetensors");
    sn_status status = check_arguments(out, type, folder, &c, error);
    if (status) return status;
    c.arena = sn_arena_new();
    status = c.arena ? sn_source_open(in, &c.source, error) : sn_fail_memory(error);
    if (!status) status = recognise(&c);
    if (!status && adapter) status = sn_merge_open(adapter, c.source, in, c.arena, &c.merge, error);
    if (!status && c.merge.adapter.made_for) fprintf(stderr, "sensorium: warning: adapter_config.json: made for the base model %s, given is %s\n", c.merge.adapter.made_for, in);
    size_t most = status ? 0 : c.source->count + (c.merge.trained ? c.merge.trained->count : 0) + (c.merge.updates ? c.merge.updates->count : 0), others = 0;
    if (!status) c.tensors = sn_arena_alloc(c.arena, most + 1, sizeof *c.tensors), c.stored = sn_arena_alloc(c.arena, most + 1, sizeof *c.stored);
    if (!status && (!c.tensors || !c.stored)) status = sn_fail_memory(error);
    if (!status) status = add_all(&c, &others);
    if (!status && !c.count) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no floating-point tensors to convert", in);
    if (!status) status = folder ? write_folder(&c, in, out) : write_checked(&c, out);
    if (!status) printf("%s: %zu tensors%s\n", out, c.count, c.from_hf_llama || c.from_gguf_llama ? ", LLaMA's names and row order changed" : "");
    if (!status && others) printf("%zu tensors of whole numbers were left out\n", others);
    if (!status && adapter) printf("%zu low-rank updates merged, %.3g %% of them lost by rounding\n", c.merge.count, 100 * sn_rounding_lost(&c.merge.rounding));
    close_conversion(&c);
    return status;
}

static const sn_option options[] = {{"type", 't', "TYPE", "f32, f16, bf16, q8_0 or q4_0 for matrices (default: as stored)"},
                                    {"merge", 0, "ADAPTER", "adds PEFT's low-rank updates in this folder, in f32, rounded once"},
                                    {0}};
static const sn_option *const tables[] = {options, NULL};

const sn_command sn_command_convert = {
    .name = "convert", .summary = "a checkpoint as safetensors or GGUF", .plain = "IN OUT", .min_plain = 2, .max_plain = 2,
    .details = "IN is a file or folder that `sensorium inspect` reads; OUT ends in .safetensors or .gguf. A LLaMA in Hugging Face's\n"
               "layout becomes a GGUF file with llama.cpp's names and row order, and back. With --merge OUT may be a folder, too:\n"
               "the whole model as other tools open it. What was written is read back before it takes an older file's place.",
    .example = "sensorium convert models/demo model.gguf -t q8_0", .tables = tables, .run = run};
