/* Which linear layers get a low-rank update, and how it stands in the graph. */
#include "train/lora.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

bool sn_is_lora(const sn_store_entry *e) { return strstr(e->name, ".lora_A.weight") || strstr(e->name, ".lora_B.weight"); }

/* Names of all weights that linear layers multiply with. */
typedef struct linears {
    sn_arena *arena;
    const char **names;
    size_t count, capacity;
} linears;

static sn_tensor note_linear(sn_graph *g, const void *context, const char *weight, sn_tensor x, sn_tensor y) {
    linears *l = (linears *)(uintptr_t)context;
    if (sn_grow((void **)&l->names, &l->capacity, l->count + 1, sizeof *l->names)) l->names[l->count++] = sn_arena_strdup(l->arena, weight);
    return y;
}

/* A target fits a weight's name with or without ".weight"; with `ends`, also what stands behind some dot of it. */
static bool fits_target(const char *pattern, const char *name, bool ends) {
    char text[512];
    size_t n = strlen(name), tail = strlen(".weight");
    if (n >= sizeof text) return false;
    memcpy(text, name, n + 1);
    if (fnmatch(pattern, text, 0) == 0) return true;
    if (n > tail && strcmp(text + n - tail, ".weight") == 0) text[n - tail] = 0;
    for (const char *at = text; at; at = ends && strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
        if (fnmatch(pattern, at, 0) == 0) return true;
    return false;
}

static sn_status add_update(sn_model *m, const sn_store_entry *e, const sn_learning *l, sn_error *error) {
    size_t name = strlen(e->name) - strlen(".weight"), published = strlen(e->published);
    if (published > 7 && strcmp(e->published + published - 7, ".weight") == 0) published -= 7;
    sn_status status = SN_OK;
    for (int k = 0; k < 2 && !status; k++) {
        char *own = sn_format("%.*s.lora_%c.weight", (int)name, e->name, "AB"[k]), *theirs = sn_format("base_model.model.%.*s.lora_%c.weight", (int)published, e->published, "AB"[k]);
        sn_shape shape = k ? SN_SHAPE(e->weight.rows, l->lora->r) : SN_SHAPE(l->lora->r, e->weight.columns);
        status = own && theirs ? sn_store_add_fresh(m->store, own, theirs, shape, k ? SN_INIT_ZERO : SN_INIT_UNIFORM, l->seed, error) : sn_fail_memory(error);
        sn_free(own);
        sn_free(theirs);
    }
    return status;
}

/* Adds A and B for every linear that a target fits; parts[] gets the first words of the targets' names. */
sn_status sn_lora_add(sn_model *m, const sn_learning *l, sn_arena *arena, const char **parts, size_t most, sn_error *error) {
    linears all = {.arena = arena};
    const sn_stage *stage = sn_stage_find(m, l->stage, error);
    if (!stage) return SN_ERROR_USAGE;
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    g->around = note_linear, g->around_context = &all;
    m->system->parameters(g, m);
    sn_graph_free(g);
    sn_status status = SN_OK;
    for (int t = 0; t < l->lora->num_targets && !status; t++) {
        bool found = false;
        for (size_t i = 0; i < all.count && !status; i++) {
            sn_store_entry *e = sn_store_find(m->store, all.names[i]);
            char *a = sn_format("%.*s.lora_A.weight", (int)(strlen(all.names[i]) - strlen(".weight")), all.names[i]);
            /* "q_proj" does not mean the layers of a tower that stays frozen */
            bool ends = e && sn_stage_trains(stage, e->name);
            if (!e || !a || !(fits_target(l->lora->targets[t], e->name, ends) || fits_target(l->lora->targets[t], e->published, ends))) {
                sn_free(a);
                continue;
            }
            found = true;
            if (!sn_store_find(m->store, a)) status = add_update(m, e, l, error);
            sn_free(a);
            size_t length = strcspn(e->name, "."), p = 0;
            while (p < most && parts[p] && (strlen(parts[p]) != length || strncmp(parts[p], e->name, length) != 0)) p++;
            if (p < most && !parts[p]) parts[p] = sn_arena_format(arena, "%.*s", (int)length, e->name);
        }
        if (!found && !status)
            status = sn_fail(error, SN_ERROR_USAGE, "lora.targets: found %s, which fits no linear layer of the model; `sensorium inspect --json` lists the tensors", l->lora->targets[t]);
    }
    sn_free(all.names);
    return status;
}

sn_lora_place *sn_lora_begin(sn_graph *g, const sn_lora_place *t) {
    sn_lora_place *own = t->r ? sn_arena_alloc(g->arena, 1, sizeof *own) : NULL;
    if (t->r && !own) sn_graph_fail(g, "out of memory");
    if (!own) return NULL;
    *own = *t;
    g->around = sn_lora_around, g->around_context = own;
    return own;
}

void sn_lora_token_key(int64_t place, int64_t position, int32_t key[2]) { key[0] = (int32_t)position, key[1] = (int32_t)place; }
void sn_lora_picture_key(int64_t place, int64_t picture, int32_t key[2]) { key[0] = (int32_t)(-1 - picture), key[1] = (int32_t)place; }

/* The input of A: while learning some of its values are zeroed, other ones for every layer. */
static sn_tensor dropped(sn_graph *g, const sn_lora_place *t, const char *weight, sn_tensor x) {
    bool of_picture = strncmp(weight, "vision.", 7) == 0 || strncmp(weight, "projector.", 10) == 0;
    sn_tensor keys = of_picture ? t->picture_keys : t->token_keys;
    return keys && t->dropout > 0 ? sn_dropout(g, x, keys, (float)t->dropout, (uint32_t)sn_hash(weight, strlen(weight), t->seed)) : x;
}

/* y + scale · B A x, where the store holds A and B of this weight. */
sn_tensor sn_lora_around(sn_graph *g, const void *context, const char *weight, sn_tensor x, sn_tensor y) {
    const sn_lora_place *t = context;
    size_t length = strlen(weight), tail = strlen(".weight");
    if (length <= tail || strcmp(weight + length - tail, ".weight") != 0) return y;
    char *a = sn_arena_format(g->arena, "%.*s.lora_A.weight", (int)(length - tail), weight), *b = sn_arena_format(g->arena, "%.*s.lora_B.weight", (int)(length - tail), weight);
    const sn_store_entry *down = a ? sn_store_find(t->store, a) : NULL, *up = b ? sn_store_find(t->store, b) : NULL;
    if (!down || !up) return y;
    int32_t scope = g->scope;
    g->scope = 0; /* the names are whole */
    sn_tensor first = sn_param(g, down->name, down->weight.shape, SN_INIT_UNIFORM), second = sn_param(g, up->name, up->weight.shape, SN_INIT_ZERO);
    g->scope = scope;
    return sn_add(g, y, sn_scale(g, sn_linear(g, sn_linear(g, dropped(g, t, weight, x), first, SN_NONE), second, SN_NONE), t->scale));
}
