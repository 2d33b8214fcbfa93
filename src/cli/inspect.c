/* What is in a checkpoint or model, what it needs, what is missing.
 *
 * A single file that is no model of its own is listed tensor by tensor. A model is opened as every other command
 * opens it, but what does not fit is reported instead of refused. The facts are gathered into one JSON object;
 * `--json` prints it, otherwise a table is printed from the same object. */
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "base/cpu.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/terminal.h"
#include "compute/rows.h"
#include "generate/footprint.h"
#include "weights/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspection {
    sn_model_files files;
    bool json, tensors, verify, memory;
    int64_t context; /* positions of --memory; 0 = the model's window */
} inspection;

/* ---- facts ---- */

static json_t *shape_json(const sn_shape *shape) {
    json_t *list = json_array();
    for (int i = 0; i < shape->rank; i++) json_array_append_new(list, json_integer(shape->dim[i]));
    return list;
}

static json_t *names_json(const char *const *names, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, sn_json_text(names[i]));
    return list;
}

static json_t *list_json(const sn_bind_list *list) { return names_json(list->names, list->count); }

static void add_to(json_t *object, const char *key, int64_t amount) {
    json_object_set_new(object, key, json_integer(json_integer_value(json_object_get(object, key)) + amount));
}

static json_t *tensor_json(const char *name, sn_type type, const sn_shape *shape, const char *file) {
    return json_pack("{s:o, s:s, s:o, s:o}", "name", sn_json_text(name), "type", sn_type_of(type)->name, "shape", shape_json(shape), "file", sn_json_text(file));
}

static json_t *checkpoint_facts(const sn_source *source) {
    json_t *tensors = json_array(), *types = json_object();
    int64_t bytes = 0, values = 0;
    for (size_t i = 0; i < source->count; i++) {
        const sn_source_tensor *t = &source->tensors[i];
        json_array_append_new(tensors, tensor_json(t->name, t->type, &t->shape, t->file));
        add_to(types, sn_type_of(t->type)->name, sn_shape_count(&t->shape));
        bytes += t->bytes, values += sn_shape_count(&t->shape);
    }
    json_t *notes = json_object();
    for (size_t i = 0; i < source->num_notes; i++) json_object_set_new(notes, source->notes[i].name, sn_json_text(source->notes[i].text));
    for (size_t i = 0; source->gguf && i < source->gguf->count; i++)
        json_object_set_new(notes, source->gguf->values[i].key, sn_gguf_json(&source->gguf->values[i]));
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "file", sn_json_text(source->path), "kind", "checkpoint", "format", source->format, "parameters", (json_int_t)values,
                     "bytes", (json_int_t)bytes, "types", types, "warnings", names_json(source->warnings, source->num_warnings), "notes", notes, "tensors", tensors);
}

/* ---- --verify ---- */

/* Values that are no numbers, of one tensor. */
static sn_status count_not_finite(const sn_source_tensor *t, int64_t *nan, int64_t *infinite, sn_error *error) {
    const sn_type_traits *type = sn_type_of(t->type);
    int64_t count = sn_shape_count(&t->shape), part = (4096 / type->block) * type->block;
    float values[4096];
    void *copy = NULL;
    const unsigned char *bytes = t->contiguous && !t->swapped ? t->data : NULL;
    *nan = *infinite = 0;
    if (!type->is_float || !type->to_float || !count) return SN_OK;
    if (!bytes) {
        copy = sn_alloc((size_t)t->bytes + 1, 1);
        sn_status status = copy ? sn_source_copy(t, copy, error) : sn_fail_memory(error);
        if (status) {
            sn_free(copy);
            return status;
        }
        bytes = copy;
    }
    for (int64_t at = 0; at < count; at += part) {
        int64_t n = count - at < part ? count - at : part, from = 0;
        sn_type_bytes(t->type, at, &from);
        type->to_float(bytes + from, values, n);
        for (int64_t i = 0; i < n; i++) *nan += isnan(values[i]) != 0, *infinite += isinf(values[i]) != 0;
    }
    sn_free(copy);
    return SN_OK;
}

/* Reads everything: checksums, and the tensors with values that are not finite. */
static sn_status verify(sn_source *const *sources, int num_sources, json_t **out, sn_error *error) {
    *out = json_array();
    sn_status status = *out ? SN_OK : sn_fail_memory(error);
    sn_progress progress;
    int64_t total = 0, done = 0;
    for (int s = 0; s < num_sources; s++) total += (int64_t)sources[s]->count;
    sn_progress_begin(&progress, stderr, "tensors read", "tensors", total);
    for (int s = 0; s < num_sources && !status; s++) {
        status = sn_source_verify(sources[s], error);
        for (size_t i = 0; i < sources[s]->count && !status; i++) {
            const sn_source_tensor *t = &sources[s]->tensors[i];
            int64_t nan, infinite;
            sn_progress_to(&progress, done++);
            status = count_not_finite(t, &nan, &infinite, error);
            if (!status && (nan || infinite))
                json_array_append_new(*out, json_pack("{s:o, s:o, s:I, s:I}", "name", sn_json_text(t->name), "file", sn_json_text(t->file), "nan", (json_int_t)nan, "infinite", (json_int_t)infinite));
        }
    }
    sn_progress_end(&progress);
    return status;
}

/* ---- --memory ---- */

/* The first large product reads the matrix library's code and makes its kernels: megabytes that are the process's. */
static void multiply_once(void) {
    enum { SIDE = 64 };
    sn_rows_kernel kernel = sn_rows_kernel_cpu();
    float *values = sn_alloc(3 * SIDE * SIDE, sizeof *values);
    void *scratch = sn_alloc(kernel.scratch(SIDE, SIDE, SIDE), 1);
    sn_weight rows = sn_weight_view(SN_TYPE_F32, SN_SHAPE(SIDE, SIDE), values);
    if (values && scratch) kernel.product(&rows, values + SIDE * SIDE, SIDE, values + 2 * SIDE * SIDE, scratch);
    sn_free(scratch);
    sn_free(values);
}

/* The process as it is now, with the model open and its plans made, and what an answer adds. */
static sn_status predict_memory(sn_model *m, int64_t context, json_t **out, sn_error *error) {
    sn_footprint f;
    int64_t window = m->has_lm ? m->lm.max_positions : 1, positions = context && context < window ? context : window;
    sn_status status = sn_footprint_of(m, positions, &f, error);
    if (status) return status;
    multiply_once();
    int64_t process = sn_process_memory("VmRSS");
    *out = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "context", (json_int_t)positions, "process", (json_int_t)process, "weights", (json_int_t)f.weights, "derived", (json_int_t)f.derived,
                     "floats", (json_int_t)f.floats, "plan", (json_int_t)f.plan, "cache", (json_int_t)f.cache, "buffers", (json_int_t)f.buffers, "peak", (json_int_t)(process + sn_footprint_total(&f)));
    return *out ? SN_OK : sn_fail_memory(error);
}

/* ---- facts of a model ---- */

/* The parameters by part: the first word of the canonical name. */
static json_t *parts_json(const sn_model *m) {
    json_t *parts = json_array();
    for (size_t i = 0; i < m->store->count; i++) {
        const sn_store_entry *e = m->store->entries[i];
        int length = (int)strcspn(e->name, ".");
        json_t *part = NULL, *p;
        size_t k;
        json_array_foreach(parts, k, p) if (json_string_length(json_object_get(p, "part")) == (size_t)length && strncmp(json_string_value(json_object_get(p, "part")), e->name, (size_t)length) == 0) part = p;
        if (!part) {
            part = json_pack("{s:o, s:i, s:i, s:i, s:i, s:{}}", "part", json_stringn(e->name, (size_t)length), "tensors", 0, "parameters", 0, "bytes", 0, "derived_bytes", 0, "types");
            json_array_append_new(parts, part);
        }
        int64_t count = sn_shape_count(&e->weight.shape), bytes = 0;
        sn_type_bytes(e->weight.type, count, &bytes);
        add_to(part, "tensors", 1);
        add_to(part, "parameters", count);
        add_to(part, e->weight.make ? "derived_bytes" : "bytes", bytes);
        add_to(json_object_get(part, "types"), sn_type_of(e->weight.type)->name, count);
    }
    return parts;
}

static json_t *model_facts(const sn_model *m, bool with_tensors) {
    json_t *o = json_object(), *files = json_array();
    const sn_bind_report *r = &m->report;
    for (int i = 0; i < m->num_sources; i++) json_array_append_new(files, sn_json_text(m->sources[i]->path));
    json_object_set_new(o, "system", json_string(m->system->name));
    json_object_set_new(o, "title", json_string(m->system->title));
    json_object_set_new(o, "paper", json_string(m->system->paper));
    json_object_set_new(o, "why", sn_json_text(m->why));
    json_object_set_new(o, "layout", json_string(m->layout ? m->layout : ""));
    json_object_set_new(o, "files", files);
    if (m->template_name) {
        json_object_set_new(o, "template", json_string(m->template_name));
        json_object_set_new(o, "template_reason", sn_json_text(m->template_reason));
    }
    json_object_set_new(o, "compute", json_string(sn_type_of(sn_engine_compute(m->engine, m->store))->name));
    if (m->has_lm)
        json_object_set_new(o, "language_model", json_pack("{s:I, s:I, s:I, s:I}", "layers", (json_int_t)m->lm.num_layers, "hidden_size", (json_int_t)m->lm.hidden_size,
                                                           "vocabulary", (json_int_t)m->lm.vocab_size, "window", (json_int_t)m->lm.max_positions));
    if (m->has_vision)
        json_object_set_new(o, "vision", json_pack("{s:o, s:I, s:I, s:I}", "from", sn_json_text(m->vision_from ? m->vision_from : ""), "blocks_stored", (json_int_t)m->vision_blocks, "blocks_run",
                                                   (json_int_t)m->vision_blocks_run, "image_size", (json_int_t)m->image_size));
    if (m->media_positions) json_object_set_new(o, "media_positions", json_integer(m->media_positions));
    if (m->tokenizer) json_object_set_new(o, "tokenizer", json_pack("{s:s, s:i}", "engine", sn_tokenizer_about(m->tokenizer)->engine, "tokens", sn_tokenizer_about(m->tokenizer)->vocab_size));
    json_object_set_new(o, "parts", parts_json(m));
    json_object_set_new(o, "missing", list_json(&r->missing));
    json_object_set_new(o, "misshapen", list_json(&r->misshapen));
    json_object_set_new(o, "unexpected", list_json(&r->unexpected));
    json_object_set_new(o, "unused", list_json(&r->unused));
    json_object_set_new(o, "warnings", names_json(m->warnings, m->num_warnings));
    if (!with_tensors) return o;
    json_t *tensors = json_array();
    for (size_t i = 0; i < m->store->count; i++) {
        const sn_store_entry *e = m->store->entries[i];
        json_t *t = tensor_json(e->published, e->weight.type, &e->weight.shape, e->file);
        json_object_set_new(t, "parameter", json_string(e->name));
        json_array_append_new(tensors, t);
    }
    json_object_set_new(o, "tensors", tensors);
    return o;
}

/* ---- the table ---- */

/* Names come from files: control characters would reach the terminal. */
static void put(const char *text) {
    size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        uint32_t point;
        int bytes = sn_utf8_decode(text + at, length - at, &point);
        bool plain = bytes && point >= 0x20 && !(point >= 0x7f && point < 0xa0);
        if (plain) fwrite(text + at, 1, (size_t)bytes, stdout);
        else putchar('?');
        at += bytes ? (size_t)bytes : 1;
    }
}

static void put_line(const char *label, const json_t *facts, const char *key) {
    const char *value = sn_json_string(facts, key);
    if (!value) return;
    printf("%-12s ", label);
    put(value);
    putchar('\n');
}

static void put_list(const char *label, const json_t *facts, const char *key, size_t most) {
    const json_t *list = json_object_get(facts, key), *item;
    size_t i;
    json_array_foreach(list, i, item) {
        if (i == most) {
            printf("%-12s and %zu more (--json lists all)\n", label, json_array_size(list) - most);
            return;
        }
        printf("%-12s ", label);
        put(json_string_value(item));
        putchar('\n');
    }
}

static void put_types(const json_t *types) {
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)types, key, value) printf("%s%s", n++ ? " " : "", key);
}

static const char *in_units(double bytes, char text[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    while (bytes >= 10000 && u < 4) bytes /= 1000, u++;
    snprintf(text, 32, "%.*f %s", u && bytes < 100 ? 1 : 0, bytes, units[u]);
    return text;
}

static int64_t number(const json_t *object, const char *key) { return json_integer_value(sn_json_at(object, key)); }

static void put_tensors(const json_t *facts) {
    size_t i, k;
    json_t *t, *d;
    json_array_foreach(json_object_get(facts, "tensors"), i, t) {
        printf("  %-5s [", sn_json_string(t, "type"));
        json_array_foreach(json_object_get(t, "shape"), k, d) printf("%s%lld", k ? ", " : "", (long long)json_integer_value(d));
        printf("] ");
        put(sn_json_string(t, "name"));
        putchar('\n');
    }
}

static void put_verified(const json_t *facts) {
    const json_t *list = json_object_get(facts, "not_finite"), *t;
    size_t i;
    if (list && !json_array_size(list)) printf("%-12s every checksum is right, every value is finite\n", "verified");
    json_array_foreach(list, i, t) {
        printf("%-12s %lld NaN, %lld infinite in ", "not finite", (long long)number(t, "nan"), (long long)number(t, "infinite"));
        put(sn_json_string(t, "name"));
        putchar('\n');
    }
}

static void put_memory(const json_t *facts) {
    static const char *const parts[][2] = {{"process", "the program with the model open"}, {"weights", "mapped files, as far as they are read"}, {"derived", "weights that are made"},
                                           {"floats", "float copies of small weights"}, {"plan", "values inside the largest graph"}, {"cache", "keys and values"},
                                           {"buffers", "pixels, rows, logits"}, {"peak", "in all"}};
    const json_t *memory = json_object_get(facts, "memory");
    char size[32];
    if (!memory) return;
    printf("memory for a prompt of %lld positions\n", (long long)number(memory, "context"));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) printf("  %-10s %10s  %s\n", parts[i][0], in_units((double)number(memory, parts[i][0]), size), parts[i][1]);
}

/* What a file holds beside tensors; long values (vocabularies) are cut. */
static void put_notes(const json_t *facts) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(facts, "notes"), key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        printf("%-12s ", "note");
        put(key);
        if (text && strlen(text) > 60) strcpy(text + 57, "...");
        printf(" = ");
        put(text ? text : "");
        putchar('\n');
        free(text);
    }
}

static void put_checkpoint(const json_t *facts) {
    char size[32];
    put_line("checkpoint", facts, "file");
    put_line("format", facts, "format");
    printf("%-12s %zu, %lld values, %s (", "tensors", json_array_size(json_object_get(facts, "tensors")), (long long)number(facts, "parameters"), in_units((double)number(facts, "bytes"), size));
    put_types(json_object_get(facts, "types"));
    printf(")\n");
    put_notes(facts);
    put_list("warning", facts, "warnings", 20);
    put_verified(facts);
    put_tensors(facts);
}

static void put_model(const json_t *facts) {
    char size[32];
    printf("%-12s %s (%s)\n", "system", sn_json_string(facts, "title"), sn_json_string(facts, "paper"));
    put_line("recognised", facts, "why");
    put_line("layout", facts, "layout");
    put_list("files", facts, "files", 20);
    if (sn_json_string(facts, "template")) printf("%-12s %s (%s)\n", "template", sn_json_string(facts, "template"), sn_json_string(facts, "template_reason"));
    put_line("compute", facts, "compute");
    if (sn_json_at(facts, "tokenizer")) printf("%-12s %s, %lld tokens\n", "tokenizer", sn_json_string(facts, "tokenizer.engine"), (long long)number(facts, "tokenizer.tokens"));
    if (sn_json_at(facts, "language_model"))
        printf("%-12s %lld layers of %lld, table of %lld rows, window of %lld positions\n", "decoder", (long long)number(facts, "language_model.layers"),
               (long long)number(facts, "language_model.hidden_size"), (long long)number(facts, "language_model.vocabulary"), (long long)number(facts, "language_model.window"));
    if (sn_json_at(facts, "vision")) {
        printf("%-12s %lld x %lld pixels, %lld blocks stored, features after block %lld", "tower", (long long)number(facts, "vision.image_size"), (long long)number(facts, "vision.image_size"),
               (long long)number(facts, "vision.blocks_stored"), (long long)number(facts, "vision.blocks_run") - 1);
        if (number(facts, "media_positions")) printf(", %lld positions a picture", (long long)number(facts, "media_positions"));
        putchar('\n');
        if (sn_json_string(facts, "vision.from")[0]) put_line("tower from", json_object_get(facts, "vision"), "from");
    }
    printf("\n%-12s %8s %15s %10s  types\n", "part", "tensors", "parameters", "size");
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(facts, "parts"), i, p) {
        printf("%-12s %8lld %15lld %10s  ", sn_json_string(p, "part"), (long long)number(p, "tensors"), (long long)number(p, "parameters"),
               in_units((double)(number(p, "bytes") + number(p, "derived_bytes")), size));
        put_types(json_object_get(p, "types"));
        putchar('\n');
    }
    putchar('\n');
    put_list("missing", facts, "missing", 20);
    put_list("misshapen", facts, "misshapen", 20);
    put_list("unexpected", facts, "unexpected", 20);
    if (json_array_size(json_object_get(facts, "unused"))) printf("%-12s %zu tensors that this model does not need (--json lists them)\n", "unused", json_array_size(json_object_get(facts, "unused")));
    put_list("warning", facts, "warnings", 20);
    put_verified(facts);
    put_memory(facts);
    put_tensors(facts);
}

/* ---- the command ---- */

static sn_status print_facts(json_t *facts, bool as_json, void (*put_table)(const json_t *facts), sn_error *error) {
    if (!facts) return sn_fail_memory(error);
    char *text = as_json ? json_dumps(facts, JSON_INDENT(1)) : NULL;
    if (as_json && text) puts(text);
    else if (!as_json) put_table(facts);
    sn_status status = as_json && !text ? sn_fail_memory(error) : SN_OK;
    free(text);
    json_decref(facts);
    return status ? status : sn_print_status(error);
}

static sn_status inspect_checkpoint(const inspection *in, sn_error *error) {
    sn_source *source;
    json_t *bad = NULL;
    sn_status status = sn_source_open(in->files.main, &source, error);
    if (!status && in->verify) status = verify(&source, 1, &bad, error);
    size_t num_bad = json_array_size(bad);
    if (!status) {
        json_t *facts = checkpoint_facts(source);
        if (bad) json_object_set(facts, "not_finite", bad);
        status = print_facts(facts, in->json, put_checkpoint, error);
    }
    if (!status && num_bad) status = sn_fail(error, SN_ERROR_INPUT, "%zu tensors hold values that are not finite", num_bad);
    json_decref(bad);
    sn_source_close(source);
    return status;
}

static sn_status inspect_model(const inspection *in, bool *printed, sn_error *error) {
    sn_engine *engine;
    sn_model *m = NULL;
    json_t *bad = NULL, *memory = NULL;
    sn_status status = sn_engine_new(0, &engine, error);
    if (!status) sn_engine_set_compute(engine, SN_COMPUTE_AUTO);
    if (!status) status = sn_model_inspect(engine, &in->files, &m, error);
    size_t num_misfits = status ? 0 : m->report.missing.count + m->report.misshapen.count;
    if (!status && in->memory && !num_misfits) status = predict_memory(m, in->context, &memory, error);
    if (!status && in->verify) status = verify(m->sources, m->num_sources, &bad, error);
    size_t num_bad = json_array_size(bad);
    if (!status) {
        json_t *facts = model_facts(m, in->tensors);
        if (memory) json_object_set(facts, "memory", memory);
        if (bad) json_object_set(facts, "not_finite", bad);
        status = print_facts(facts, in->json, put_model, error);
        *printed = true;
    }
    if (!status && num_misfits) status = sn_fail(error, SN_ERROR_INPUT, "%zu tensors missing, %zu misshapen", m->report.missing.count, m->report.misshapen.count);
    if (!status && num_bad) status = sn_fail(error, SN_ERROR_INPUT, "%zu tensors hold values that are not finite", num_bad);
    json_decref(memory);
    json_decref(bad);
    sn_model_close(m);
    sn_engine_free(engine);
    return status;
}

static sn_status run(const sn_arguments *arguments, sn_error *error) {
    inspection in = {.json = sn_argument_given(arguments, "json"), .tensors = sn_argument_given(arguments, "tensors"), .verify = sn_argument_given(arguments, "verify"),
                     .memory = sn_argument_given(arguments, "memory")};
    const sn_system *system;
    const char *why;
    bool printed = false;
    sn_status status = sn_arguments_model(arguments, arguments->plain[0], &in.files, error);
    if (!status) status = sn_argument_integer(arguments, "context", 1, 1 << 24, &in.context, error);
    if (!status) status = sn_system_recognise(&in.files, &system, &why, error);
    if (status) return status;
    bool one_file = in.files.main && sn_is_file(in.files.main);
    if (system || !one_file) status = inspect_model(&in, &printed, error);
    /* a fine file that is named like a part of a model, and holds too little of it */
    return one_file && (!system || (status && !printed)) ? inspect_checkpoint(&in, error) : status;
}

static const sn_option options[] = {{"tensors", 0, NULL, "every tensor with its shape"}, {"verify", 0, NULL, "read everything: checksums, NaN and infinities by tensor"},
                                    {"memory", 0, NULL, "what an answer will take of memory at its peak"}, {"context", 0, "N", "… for a prompt of N positions (default: the whole window)"},
                                    {"json", 0, NULL, "the same facts for programs"}, {0}};

const sn_command sn_command_inspect = {
    .name = "inspect", .summary = "what is in a model or checkpoint, what it needs, what is missing", .plain = "[MODEL]", .max_plain = 1,
    .details = "MODEL is a model's folder, or one checkpoint file, whose tensors are then listed. A model in several places is\n"
               "named by its parts. Exit status 1 when tensors are missing or misshapen, or the files cannot be read.",
    .example = "sensorium inspect models/demo", .tables = (const sn_option *const[]){options, sn_model_options, NULL}, .run = run};
