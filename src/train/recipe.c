/* The schema of a recipe, its defaults and ranges. libcyaml reads it against the schema: a word that is not in it is an
 * error with its line. */
#include "train/recipe.h"

#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"
#include "runtime/engine.h"
#include "train/optimizer.h"

#include <cyaml/cyaml.h>
#include <ctype.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(type, key) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, key, 0, CYAML_UNLIMITED)
#define REAL(type, key) CYAML_FIELD_FLOAT(#key, CYAML_FLAG_OPTIONAL, type, key)
#define WHOLE(type, key) CYAML_FIELD_UINT(#key, CYAML_FLAG_OPTIONAL, type, key)
#define PART(key, fields) CYAML_FIELD_MAPPING(#key, CYAML_FLAG_OPTIONAL, sn_recipe, key, fields)

static const cyaml_schema_field_t fresh_vision_fields[] = {
    WHOLE(sn_recipe_fresh_vision, hidden_size), WHOLE(sn_recipe_fresh_vision, intermediate_size), WHOLE(sn_recipe_fresh_vision, layers), WHOLE(sn_recipe_fresh_vision, heads),
    WHOLE(sn_recipe_fresh_vision, image_size), WHOLE(sn_recipe_fresh_vision, patch_size), CYAML_FIELD_END};
static const cyaml_schema_field_t fresh_llm_fields[] = {
    WHOLE(sn_recipe_fresh_llm, hidden_size), WHOLE(sn_recipe_fresh_llm, intermediate_size), WHOLE(sn_recipe_fresh_llm, layers), WHOLE(sn_recipe_fresh_llm, heads),
    WHOLE(sn_recipe_fresh_llm, context), CYAML_FIELD_BOOL("tied", CYAML_FLAG_OPTIONAL, sn_recipe_fresh_llm, tied), CYAML_FIELD_END};
static const cyaml_schema_field_t fresh_opt_fields[] = {
    WHOLE(sn_recipe_fresh_opt, hidden_size), WHOLE(sn_recipe_fresh_opt, intermediate_size), WHOLE(sn_recipe_fresh_opt, layers), WHOLE(sn_recipe_fresh_opt, heads),
    WHOLE(sn_recipe_fresh_opt, context), CYAML_FIELD_END};
static const cyaml_schema_field_t fresh_retrieval_fields[] = {WHOLE(sn_recipe_fresh_retrieval, size), WHOLE(sn_recipe_fresh_retrieval, visual_tokens), CYAML_FIELD_END};
static const cyaml_schema_field_t fresh_fields[] = {
    CYAML_FIELD_MAPPING("opt", CYAML_FLAG_OPTIONAL, sn_recipe_fresh, opt, fresh_opt_fields),
    CYAML_FIELD_MAPPING("retrieval", CYAML_FLAG_OPTIONAL, sn_recipe_fresh, retrieval, fresh_retrieval_fields),
    CYAML_FIELD_MAPPING("vision", CYAML_FLAG_OPTIONAL, sn_recipe_fresh, vision, fresh_vision_fields), CYAML_FIELD_MAPPING("llm", CYAML_FLAG_OPTIONAL, sn_recipe_fresh, llm, fresh_llm_fields),
    CYAML_FIELD_BOOL("connector", CYAML_FLAG_OPTIONAL, sn_recipe_fresh, connector), CYAML_FIELD_END};

static const cyaml_schema_field_t model_fields[] = {
    TEXT(sn_recipe_model, path), TEXT(sn_recipe_model, llm), TEXT(sn_recipe_model, vision), TEXT(sn_recipe_model, connector),
    TEXT(sn_recipe_model, base), TEXT(sn_recipe_model, delta), TEXT(sn_recipe_model, tokenizer),
    CYAML_FIELD_MAPPING("fresh", CYAML_FLAG_OPTIONAL, sn_recipe_model, fresh, fresh_fields), CYAML_FIELD_END};

static const cyaml_schema_field_t data_fields[] = {
    CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER, sn_recipe_data, path, 1, CYAML_UNLIMITED), TEXT(sn_recipe_data, images),
    CYAML_FIELD_FLOAT_PTR("weight", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, sn_recipe_data, weight), CYAML_FIELD_END};
static const cyaml_schema_value_t data_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sn_recipe_data, data_fields)};

#define MAYBE(type, key) CYAML_FIELD_FLOAT_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, key) /* NULL: not given */
static const cyaml_strval_t optimizers[] = {{"adamw", SN_OPTIMIZER_ADAMW}, {"sgd", SN_OPTIMIZER_SGD}};
static const cyaml_schema_field_t optimizer_fields[] = {
    CYAML_FIELD_ENUM("name", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe_optimizer, name, optimizers, 2), REAL(sn_recipe_optimizer, momentum),
    CYAML_FIELD_BOOL("nesterov", CYAML_FLAG_OPTIONAL, sn_recipe_optimizer, nesterov), MAYBE(sn_recipe_optimizer, lr), REAL(sn_recipe_optimizer, beta1), REAL(sn_recipe_optimizer, beta2), REAL(sn_recipe_optimizer, eps),
    REAL(sn_recipe_optimizer, weight_decay), REAL(sn_recipe_optimizer, max_grad_norm), REAL(sn_recipe_optimizer, connector_lr), CYAML_FIELD_END};

static const cyaml_schema_field_t group_fields[] = {
    CYAML_FIELD_STRING_PTR("pattern", CYAML_FLAG_POINTER, sn_recipe_group, pattern, 1, CYAML_UNLIMITED),
    MAYBE(sn_recipe_group, lr), MAYBE(sn_recipe_group, weight_decay), CYAML_FIELD_END};
static const cyaml_schema_value_t group_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sn_recipe_group, group_fields)};
static const cyaml_schema_value_t pattern_entry = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, CYAML_UNLIMITED)};

static const cyaml_strval_t exports[] = {{"adapter", SN_EXPORT_ADAPTER}, {"merged", SN_EXPORT_MERGED}, {"both", SN_EXPORT_BOTH}};
static const cyaml_schema_field_t lora_fields[] = {
    CYAML_FIELD_UINT("r", CYAML_FLAG_DEFAULT, sn_recipe_lora, r), REAL(sn_recipe_lora, alpha), REAL(sn_recipe_lora, dropout),
    CYAML_FIELD_SEQUENCE("targets", CYAML_FLAG_POINTER, sn_recipe_lora, targets, &pattern_entry, 1, 64),
    CYAML_FIELD_ENUM("export", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe_lora, export, exports, 3), CYAML_FIELD_END};
static const cyaml_strval_t counts[] = {{"global", 0}, {"micro", 1}};
static const cyaml_strval_t contrasts[] = {{"step", 0}, {"micro", 1}};
static const cyaml_strval_t gathers[] = {{"all", 0}, {"own", 1}};
static const cyaml_schema_field_t loss_fields[] = {
    CYAML_FIELD_ENUM("count", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe_loss, count, counts, 2), MAYBE(sn_recipe_loss, captioning), MAYBE(sn_recipe_loss, retrieval),
    MAYBE(sn_recipe_loss, joined), CYAML_FIELD_ENUM("contrast", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe_loss, contrast, contrasts, 2),
    CYAML_FIELD_ENUM("gather", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe_loss, gather, gathers, 2), CYAML_FIELD_END};

static const cyaml_strval_t schedules[] = {{"constant", SN_SCHEDULE_CONSTANT}, {"linear", SN_SCHEDULE_LINEAR}, {"cosine", SN_SCHEDULE_COSINE}, {"step", SN_SCHEDULE_STEP}};
static const cyaml_schema_field_t schedule_fields[] = {
    CYAML_FIELD_ENUM("name", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_schedule, name, schedules, 4), REAL(sn_schedule, warmup_ratio), WHOLE(sn_schedule, warmup_steps),
    WHOLE(sn_schedule, every), REAL(sn_schedule, factor), WHOLE(sn_schedule, steps), CYAML_FIELD_END};

static const cyaml_schema_field_t batch_fields[] = {WHOLE(sn_recipe_batch, size), WHOLE(sn_recipe_batch, micro), CYAML_FIELD_END};
static const cyaml_schema_field_t save_fields[] = {TEXT(sn_recipe_save, folder), WHOLE(sn_recipe_save, every), WHOLE(sn_recipe_save, keep), REAL(sn_recipe_save, minutes), CYAML_FIELD_END};
static const cyaml_strval_t broken_words[] = {{"few", SN_BROKEN_FEW}, {"skip", SN_BROKEN_SKIP}, {"stop", SN_BROKEN_STOP}};

static const cyaml_strval_t computes[] = {{"f32", SN_COMPUTE_F32}, {"bf16", SN_COMPUTE_BF16}};

static const cyaml_schema_field_t recipe_fields[] = {
    CYAML_FIELD_MAPPING("model", CYAML_FLAG_DEFAULT, sn_recipe, model, model_fields),
    CYAML_FIELD_STRING_PTR("stage", CYAML_FLAG_POINTER, sn_recipe, stage, 1, CYAML_UNLIMITED),
    TEXT(sn_recipe, template),
    CYAML_FIELD_SEQUENCE("data", CYAML_FLAG_POINTER, sn_recipe, data, &data_entry, 1, 64),
    CYAML_FIELD_SEQUENCE("train", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, sn_recipe, train, &group_entry, 1, 64),
    CYAML_FIELD_SEQUENCE("freeze", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, sn_recipe, freeze, &pattern_entry, 1, 64),
    PART(lora, lora_fields),
    PART(loss, loss_fields),
    CYAML_FIELD_ENUM("compute", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe, compute, computes, 2),
    CYAML_FIELD_BOOL("recompute", CYAML_FLAG_OPTIONAL, sn_recipe, recompute),
    PART(optimizer, optimizer_fields),
    PART(schedule, schedule_fields),
    PART(batch, batch_fields),
    WHOLE(sn_recipe, epochs),
    WHOLE(sn_recipe, steps),
    WHOLE(sn_recipe, max_length),
    WHOLE(sn_recipe, seed),
    CYAML_FIELD_ENUM("broken", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, sn_recipe, broken, broken_words, 3),
    REAL(sn_recipe, broken_share),
    WHOLE(sn_recipe, workers),
    PART(save, save_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, sn_recipe, recipe_fields)};

static void *memory(void *context, void *old, size_t size) {
    (void)context;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, size);
}

/* libcyaml explains itself line by line; the last two lines say what and where. */
static void collect(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    char line[300];
    if (level < CYAML_LOG_ERROR) return;
    vsnprintf(line, sizeof line, format, arguments);
    const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
    while (*text == ' ') text++;
    size_t length = strcspn(text, "\n");
    sn_buf *out = context;
    if (strncmp(text, "Backtrace", 9) == 0 || out->length > 400) return;
    sn_buf_printf(out, "%s%.*s", out->length ? "; " : "", (int)length, text);
}

static cyaml_config_t config_of(sn_buf *log) {
    return (cyaml_config_t){.log_fn = collect, .log_ctx = log, .mem_fn = memory, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_DEFAULT};
}

void sn_recipe_free(sn_recipe *recipe) {
    sn_buf log = {0};
    if (recipe) sn_free(recipe->file);
    cyaml_config_t config = config_of(&log);
    cyaml_free(&config, &schema, recipe, 0);
    sn_buf_free(&log);
}

/* ---- overrides ---- */

/* The word of a recipe by its path ("optimizer.lr", "data.0.weight"): its schema, and in `place` where its value lies. NULL: there is none. */
static const cyaml_schema_value_t *find_word(const cyaml_schema_value_t *mapping, char *base, const char *path, void **place) {
    for (const cyaml_schema_field_t *f = mapping->mapping.fields; f->key; f++) {
        size_t length = strlen(f->key);
        if (strncmp(f->key, path, length) != 0 || (path[length] && path[length] != '.')) continue;
        const cyaml_schema_value_t *value = &f->value;
        const char *rest = path[length] ? path + length + 1 : NULL;
        char *at = base + f->data_offset;
        if (value->type == CYAML_SEQUENCE) {
            char *end = NULL;
            unsigned long index = rest ? strtoul(rest, &end, 10) : 0;
            if (!rest || end == rest || (*end && *end != '.') || index >= *(unsigned *)(base + f->count_offset)) return NULL;
            value = value->sequence.entry;
            at = *(char **)at + index * (value->flags & CYAML_FLAG_POINTER ? sizeof(char *) : value->data_size);
            rest = *end ? end + 1 : NULL;
        }
        *place = at;
        if (value->type == CYAML_MAPPING) return rest ? find_word(value, at, rest, place) : NULL;
        return rest ? NULL : value;
    }
    return NULL;
}

static sn_status set_number(const cyaml_schema_value_t *word, void *place, const char *text, const char *set, sn_error *error) {
    char *end = NULL;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double number = strtod_l(text, &end, c);
    freelocale(c);
    bool whole = word->type == CYAML_UINT, pointer = word->flags & CYAML_FLAG_POINTER;
    if (!*text || *end || (whole && !(number >= 0 && number <= 4294967295.0 && number == (double)(unsigned)number)))
        return sn_fail(error, SN_ERROR_USAGE, "--set %s: expected a %snumber", set, whole ? "whole " : "");
    if (whole) {
        *(unsigned *)place = (unsigned)number;
        return SN_OK;
    }
    if (pointer && !*(double **)place && !(*(double **)place = malloc(sizeof(double)))) return sn_fail_memory(error);
    *(pointer ? *(double **)place : (double *)place) = number;
    return SN_OK;
}

static sn_status apply(sn_recipe *r, const char *set, sn_error *error) {
    const char *text = strchr(set, '=');
    if (!text) return sn_fail(error, SN_ERROR_USAGE, "--set %s: expected NAME=VALUE", set);
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)(text++ - set), set);
    void *place = NULL;
    const cyaml_schema_value_t *word = find_word(&schema, (char *)r, name, &place);
    sn_buf known = {0};
    if (!word) return sn_fail(error, SN_ERROR_USAGE, "--set %s: there is no such word in a recipe, or it holds other words", set);
    if (word->type == CYAML_UINT || word->type == CYAML_FLOAT) return set_number(word, place, text, set, error);
    if (word->type == CYAML_STRING) {
        free(*(char **)place);
        *(char **)place = strdup(text);
        return *(char **)place ? SN_OK : sn_fail_memory(error);
    }
    if (word->type == CYAML_BOOL) {
        *(bool *)place = strcmp(text, "true") == 0;
        return *(bool *)place || strcmp(text, "false") == 0 ? SN_OK : sn_fail(error, SN_ERROR_USAGE, "--set %s: expected true or false", set);
    }
    for (uint32_t i = 0; i < word->enumeration.count; i++) {
        if (strcmp(text, word->enumeration.strings[i].str) == 0) {
            *(int *)place = (int)word->enumeration.strings[i].val;
            sn_buf_free(&known);
            return SN_OK;
        }
        sn_buf_printf(&known, "%s%s", i ? ", " : "", word->enumeration.strings[i].str);
    }
    sn_status status = sn_fail(error, SN_ERROR_USAGE, "--set %s: expected one of %s", set, known.data ? known.data : "");
    sn_buf_free(&known);
    return status;
}

/* ---- lines ---- */

static sn_recipe_line line_text(int number) {
    sn_recipe_line line = {""};
    if (number) snprintf(line.text, sizeof line.text, "line %d: ", number);
    return line;
}

sn_recipe_line sn_recipe_line_with(const sn_recipe *r, const char *text) {
    char *bytes;
    size_t length;
    int line = 0, found = 0;
    if (sn_read_file(r->file, 1 << 20, &bytes, &length, NULL)) return line_text(0);
    for (char *at = bytes; at && !found;) {
        char *next = strchr(at, '\n');
        if (next) *next++ = 0;
        line++;
        char *comment = strstr(at, " #");
        if (comment) *comment = 0;
        if (at[0] != '#' && strstr(at, text)) found = line;
        at = next;
    }
    sn_free(bytes);
    return line_text(found);
}

/* Whether a line has that word as a key, in front of a comment. */
static bool has_key(const char *line, const char *key) {
    size_t length = strlen(key);
    for (const char *hit = strstr(line, key); hit; hit = strstr(hit + 1, key))
        if ((hit == line || (!isalnum((unsigned char)hit[-1]) && hit[-1] != '_')) && hit[length] == ':' && !memchr(line, '#', (size_t)(hit - line))) return true;
    return false;
}

/* The line that gives a word ("optimizer.lr") its value. */
static sn_recipe_line line_of(const sn_recipe *r, const char *word) {
    char *bytes, part[64];
    size_t length;
    const char *dot = strchr(word, '.'), *key = dot ? dot + 1 : word;
    bool inside = !dot; /* the part that holds the word */
    int line = 0, found = 0;
    snprintf(part, sizeof part, "%.*s", dot ? (int)(dot - word) : 0, word);
    if (sn_read_file(r->file, 1 << 20, &bytes, &length, NULL)) return line_text(0);
    for (char *at = bytes; at && !found;) {
        char *next = strchr(at, '\n'), *from = at;
        if (next) *next++ = 0;
        line++;
        bool begins = isalpha((unsigned char)at[0]);
        if (begins && dot && (inside = strncmp(at, part, strlen(part)) == 0 && at[strlen(part)] == ':')) from = at + strlen(part);
        if (inside && (dot || begins) && has_key(from, key)) found = line;
        at = next;
    }
    sn_free(bytes);
    return line_text(found);
}

/* ---- ranges ---- */

/* The error of a word: its line, where the file gives it. */
static sn_status refuse(const sn_recipe *r, const char *word, sn_error *error, const char *format, ...) __attribute__((format(printf, 4, 5)));
static sn_status refuse(const sn_recipe *r, const char *word, sn_error *error, const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return sn_fail(error, SN_ERROR_USAGE, "%s: %s%s: %s", r->file, line_of(r, word).text, word, text);
}

static sn_status check(const char *path, sn_recipe *r, sn_error *error) {
    sn_recipe_optimizer *o = &r->optimizer;
    if (o->beta1 == 0) o->beta1 = 0.9;
    if (o->beta2 == 0) o->beta2 = 0.999;
    if (o->eps == 0) o->eps = 1e-8;
    if (r->batch.size == 0) r->batch.size = 1;
    if (r->batch.micro == 0 || r->batch.micro > r->batch.size) r->batch.micro = r->batch.size;
    if (r->epochs == 0) r->epochs = 1;
    if (r->save.keep == 0) r->save.keep = 2;
    if (r->broken_share == 0) r->broken_share = 0.01;
    if (r->lora.alpha == 0) r->lora.alpha = r->lora.r;
    if (r->schedule.factor == 0) r->schedule.factor = 0.1;
    const sn_recipe_loss *l = &r->loss;
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"optimizer.lr", *o->lr, 0, 10}, {"optimizer.beta1", o->beta1, 0, 0.9999999}, {"optimizer.beta2", o->beta2, 0, 0.9999999}, {"optimizer.eps", o->eps, 1e-30, 1},
                  {"optimizer.weight_decay", o->weight_decay, 0, 10}, {"optimizer.max_grad_norm", o->max_grad_norm, 0, 1e9}, {"optimizer.connector_lr", o->connector_lr, 0, 10},
                  {"schedule.warmup_ratio", r->schedule.warmup_ratio, 0, 1}, {"schedule.every", r->schedule.every, r->schedule.name == SN_SCHEDULE_STEP, 4294967295.0}, {"schedule.factor", r->schedule.factor, 0, 1},
                  {"loss.captioning", l->captioning ? *l->captioning : 1, 0, 1e6}, {"loss.retrieval", l->retrieval ? *l->retrieval : 1, 0, 1e6}, {"loss.joined", l->joined ? *l->joined : 0, 0, 1},
                  {"batch.size", r->batch.size, 1, 65536}, {"optimizer.momentum", o->momentum, 0, 0.9999999}, {"lora.r", r->lora.r, r->lora.targets_count ? 1 : 0, 65536},
                  {"lora.alpha", r->lora.alpha, 0, 1e6}, {"lora.dropout", r->lora.dropout, 0, 0.99}, {"save.minutes", r->save.minutes, 0, 1e6}, {"broken_share", r->broken_share, 0, 1}, {"workers", r->workers, 0, 64}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return refuse(r, ranges[i].name, error, "found %g, expected %g to %g", ranges[i].value, ranges[i].low, ranges[i].high);
    unsigned weighted = 0;
    for (unsigned i = 0; i < r->data_count; i++) {
        const double *weight = r->data[i].weight;
        weighted += weight != NULL;
        if (weight && !(*weight >= 1e-9 && *weight <= 1e9)) return sn_fail(error, SN_ERROR_USAGE, "%s: %sdata: %s: weight: found %g, expected 1e-9 to 1e9", path, sn_recipe_line_with(r, r->data[i].path).text, r->data[i].path, *weight);
    }
    if (weighted && weighted < r->data_count) return refuse(r, "data", error, "%u of %u sources have a weight; give all of them one, or none", weighted, r->data_count);
    for (unsigned i = 0; i < r->train_count; i++) {
        const sn_recipe_group *g = &r->train[i];
        if ((g->lr && !(*g->lr >= 0 && *g->lr <= 10)) || (g->weight_decay && !(*g->weight_decay >= 0 && *g->weight_decay <= 10)))
            return sn_fail(error, SN_ERROR_USAGE, "%s: %strain: %s: lr and weight_decay: expected 0 to 10", path, sn_recipe_line_with(r, g->pattern).text, g->pattern);
    }
    if (o->nesterov && o->momentum == 0) return refuse(r, "optimizer.nesterov", error, "needs optimizer.momentum");
    if (!r->save.folder) return sn_fail(error, SN_ERROR_USAGE, "%s: save.folder: missing; it is where checkpoints and the result go", path);
    return SN_OK;
}

/* libcyaml tells of a key the place of what stands before it: its own line is looked for from there on. */
static sn_status refuse_key(const char *path, char *bytes, const char *log, sn_error *error) {
    static const struct { const char *begins, *why; } kinds[] = {{"Unexpected key: ", "there is no such word in this place of a recipe"}, {"Mapping field already seen: ", "stands here a second time"}};
    const char *place = strstr(log, "(line: ");
    int from = place ? atoi(place + strlen("(line: ")) : 0, line = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strncmp(log, kinds[i].begins, strlen(kinds[i].begins)) != 0) continue;
        const char *key = log + strlen(kinds[i].begins);
        char *word = sn_strndup(key, strcspn(key, ";"));
        for (char *at = bytes, *next; word && at; at = next) {
            if ((next = strchr(at, '\n'))) *next++ = 0;
            if (++line >= from && has_key(at, word)) break;
        }
        sn_status status = word ? sn_fail(error, SN_ERROR_USAGE, "%s: line %d: %s: %s", path, line, word, kinds[i].why) : sn_fail_memory(error);
        sn_free(word);
        return status;
    }
    return sn_fail(error, SN_ERROR_USAGE, "%s: %s", path, log);
}

sn_status sn_recipe_read(const char *path, const char *const *set, int num_set, sn_recipe **out, sn_error *error) {
    char *bytes;
    size_t length;
    *out = NULL;
    sn_status status = sn_read_file(path, 1 << 20, &bytes, &length, error);
    if (status) return status;
    sn_buf log = {0};
    cyaml_config_t config = config_of(&log);
    sn_recipe *r = NULL;
    cyaml_err_t code = cyaml_load_data((const uint8_t *)bytes, length, &config, &schema, (cyaml_data_t **)&r, NULL);
    if (code != CYAML_OK) status = refuse_key(path, bytes, log.length ? log.data : cyaml_strerror(code), error);
    else if (!r) status = sn_fail(error, SN_ERROR_USAGE, "%s: the recipe is empty", path);
    sn_free(bytes);
    sn_buf_free(&log);
    if (status) return status;
    if (!(r->file = sn_strdup(path))) status = sn_fail_memory(error);
    for (int i = 0; i < num_set && !status; i++) status = apply(r, set[i], error);
    if (!status && !r->optimizer.lr) status = sn_fail(error, SN_ERROR_USAGE, "%s: optimizer.lr: missing", path);
    if (!status) status = check(path, r, error);
    if (status) sn_recipe_free(r);
    else *out = r;
    return status;
}

uint64_t sn_recipe_hash(const sn_recipe *r) {
    sn_buf text = {0};
    sn_buf_printf(&text, "%s|%s|%a %a %a %a %a %a %a|%d %a|%u|%u %u %u %u", r->stage, r->template ? r->template : "", r->optimizer.lr ? *r->optimizer.lr : 0, r->optimizer.beta1, r->optimizer.beta2,
                  r->optimizer.eps, r->optimizer.weight_decay, r->optimizer.max_grad_norm, r->optimizer.connector_lr, r->schedule.name, r->schedule.warmup_ratio, r->batch.size,
                  r->epochs, r->steps, r->max_length, r->seed);
    for (unsigned i = 0; i < r->data_count; i++) {
        sn_buf_printf(&text, "|%s", r->data[i].path);
        if (r->data[i].weight) sn_buf_printf(&text, " %a", *r->data[i].weight);
    }
    for (unsigned i = 0; i < r->train_count; i++)
        sn_buf_printf(&text, "|%s %a %a", r->train[i].pattern, r->train[i].lr ? *r->train[i].lr : -1.0, r->train[i].weight_decay ? *r->train[i].weight_decay : -1.0);
    for (unsigned i = 0; i < r->freeze_count; i++) sn_buf_printf(&text, "|freeze %s", r->freeze[i]);
    for (unsigned i = 0; i < r->lora.targets_count; i++) sn_buf_printf(&text, "|lora %s %u %a", r->lora.targets[i], r->lora.r, r->lora.alpha);
    if (r->lora.dropout > 0) sn_buf_printf(&text, "|dropout %a", r->lora.dropout);
    if (r->optimizer.name) sn_buf_printf(&text, "|sgd %a %d", r->optimizer.momentum, r->optimizer.nesterov);
    if (r->compute) sn_buf_printf(&text, "|bf16");
    if (r->loss.count) sn_buf_printf(&text, "|micro %u", r->batch.micro);
    const double *const scales[] = {r->loss.captioning, r->loss.retrieval, r->loss.joined};
    for (int i = 0; i < 3; i++)
        if (scales[i]) sn_buf_printf(&text, "|loss %d %a", i, *scales[i]);
    if (r->loss.contrast) sn_buf_printf(&text, "|contrast %u", r->batch.micro);
    if (r->loss.gather) sn_buf_printf(&text, "|gather own");
    if (r->schedule.warmup_steps || r->schedule.name == SN_SCHEDULE_STEP) sn_buf_printf(&text, "|steps %u %u %a", r->schedule.warmup_steps, r->schedule.every, r->schedule.factor);
    if (r->schedule.steps) sn_buf_printf(&text, "|schedule %u", r->schedule.steps);
    uint64_t hash = text.data ? sn_hash(text.data, text.length, 1) : 0;
    sn_buf_free(&text);
    return hash;
}

uint64_t sn_recipe_hash_but_rates(const sn_recipe *r) {
    sn_recipe rest = *r;
    sn_recipe_group *groups = sn_alloc(r->train_count + 1, sizeof *groups);
    if (!groups) return 0;
    for (unsigned i = 0; i < r->train_count; i++) groups[i] = (sn_recipe_group){.pattern = r->train[i].pattern};
    rest.train = groups, rest.schedule = (sn_schedule){0};
    rest.optimizer.lr = NULL;
    rest.optimizer.connector_lr = rest.optimizer.weight_decay = rest.optimizer.max_grad_norm = 0;
    uint64_t hash = sn_recipe_hash(&rest);
    sn_free(groups);
    return hash;
}
