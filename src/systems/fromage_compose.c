/* A FROMAGe and an OPT that were never published: fresh layers between an OPT and a CLIP, and a small OPT over a vocabulary
 * of one's own. Both are written as their authors would publish them. */
#include "systems/fromage_compose.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "decoders/opt_files.h"
#include "encoders/clip_files.h"
#include "systems/clip.h"
#include "systems/compose.h"
#include "systems/fromage.h"
#include "systems/parts.h"
#include "weights/writer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Takes over the object. */
static sn_status write_json(const char *folder, const char *name, json_t *object, sn_error *error) {
    char *path = sn_path_join(folder, name), *text = object ? json_dumps(object, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
    sn_status status = path && text ? sn_write_file(path, text, strlen(text), error) : sn_fail_memory(error);
    json_decref(object);
    free(text);
    sn_free(path);
    return status;
}

/* Every parameter of the graph under its published name, fresh. */
static sn_status add_fresh(sn_store *store, const sn_graph *g, const sn_names *names, int num_names, sn_type type, uint64_t seed, sn_error *error) {
    sn_status status = g->error.status ? sn_fail(error, g->error.status, "%s", g->error.message) : SN_OK;
    for (size_t i = 0; i < g->num_params && !status; i++) {
        const sn_parameter *p = &g->params[i];
        char published[512] = "";
        const sn_name_rule *rule;
        int n = 0;
        while (n < num_names && !sn_published_name(&names[n], p->name, published, sizeof published, &rule)) n++;
        if (n == num_names) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: has no published name", p->name);
        else status = sn_store_add_fresh_as(store, type, p->name, published, g->nodes[p->tensor].shape, p->init, seed, error);
    }
    return status;
}

/* As a PyTorch archive under `inside`, or as safetensors. */
static sn_status write_store(const sn_store *store, const char *folder, const char *name, const char *inside, sn_error *error) {
    char *path = sn_path_join(folder, name);
    sn_tensor_out *tensors = sn_alloc(store->count + 1, sizeof *tensors);
    sn_status status = path && tensors ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < store->count && !status; i++) {
        const sn_store_entry *e = store->entries[i];
        tensors[i] = (sn_tensor_out){e->published, e->weight.type, e->weight.shape, e->weight.owned};
    }
    if (!status) status = inside ? sn_torch_write(path, inside, tensors, store->count, error) : sn_safetensors_write(path, tensors, store->count, error);
    sn_free(tensors);
    sn_free(path);
    return status;
}

/* ---- OPT ---- */

/* OPT's first four ids; what was learnt follows, but for GPT-2's own end of text. */
static const char *const first_words[] = {"<s>", "<pad>", "</s>", "<unk>"};
enum { FIRST = sizeof first_words / sizeof *first_words, UNUSED = 2 }; /* and two rows in front of the positions, which nothing reads */

static sn_status write_words(const char *from, const char *to, int64_t *size, sn_error *error) {
    char *vocabulary = sn_path_join(from, "vocab.json"), *merges = sn_path_join(from, "merges.txt"), *copy = sn_path_join(to, "merges.txt"), *bytes = NULL;
    size_t length = 0;
    json_t *old = NULL, *words = json_object(), *value;
    const char *key;
    sn_status status = vocabulary && merges && copy && words ? SN_OK : sn_fail_memory(error);
    if (!status && !sn_is_file(merges)) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a byte-level vocabulary (vocab.json and merges.txt; sensorium tokenizer train --kind byte-level)", from);
    if (!status) status = sn_json_file(vocabulary, (size_t)1 << 28, &old, error);
    if (!status) status = sn_read_file(merges, (size_t)1 << 28, &bytes, &length, error);
    if (!status) status = sn_write_file(copy, bytes, length, error);
    for (int i = 0; i < FIRST && !status; i++) json_object_set_new(words, first_words[i], json_integer(i));
    json_object_foreach(old, key, value) {
        if (strcmp(key, "<|endoftext|>") != 0 && !json_object_get(words, key)) json_object_set_new(words, key, json_integer((json_int_t)json_object_size(words)));
    }
    *size = (int64_t)json_object_size(words);
    if (!status) status = write_json(to, "vocab.json", json_incref(words), error);
    if (!status)
        status = write_json(to, "tokenizer_config.json", json_pack("{s:b, s:b, s:s, s:s, s:s, s:s, s:s, s:s}", "add_bos_token", 1, "add_prefix_space", 0, "bos_token", "</s>", "eos_token", "</s>", "unk_token", "</s>",
                                                                   "pad_token", "<pad>", "errors", "replace", "tokenizer_class", "GPT2Tokenizer"), error);
    if (!status) status = write_json(to, "special_tokens_map.json", json_pack("{s:s, s:s, s:s, s:s}", "bos_token", "</s>", "eos_token", "</s>", "unk_token", "</s>", "pad_token", "<pad>"), error);
    json_decref(old);
    json_decref(words);
    sn_free(bytes);
    sn_free(vocabulary);
    sn_free(merges);
    sn_free(copy);
    return status;
}

static json_t *describe_opt(const sn_opt_config *c) {
    return json_pack("{s:[s], s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:b, s:b, s:f, s:f}", "architectures", "OPTForCausalLM", "model_type", "opt", "activation_function", "relu",
                     "do_layer_norm_before", 1, "dtype", "float32", "hidden_size", (json_int_t)c->hidden_size, "word_embed_proj_dim", (json_int_t)c->embed_size, "ffn_dim", (json_int_t)c->intermediate_size,
                     "num_hidden_layers", (json_int_t)c->num_layers, "num_attention_heads", (json_int_t)c->num_heads, "vocab_size", (json_int_t)c->vocab_size, "max_position_embeddings",
                     (json_int_t)c->max_positions, "bos_token_id", 2, "eos_token_id", 2, "pad_token_id", 1, "enable_bias", 1, "tie_word_embeddings", 1, "dropout", 0.0, "attention_dropout", 0.0);
}

sn_status sn_opt_compose(const sn_opt_config *sizes, const char *tokenizer, uint64_t seed, const char *folder, sn_error *error) {
    sn_opt_config c = *sizes;
    c.embed_size = c.hidden_size, c.norm_before = c.final_norm = true, c.activation = SN_UNARY_RELU;
    if (c.hidden_size < 1 || c.num_layers < 1 || c.num_heads < 1 || c.intermediate_size < 1 || c.max_positions < 1 || c.hidden_size % c.num_heads)
        return sn_fail(error, SN_ERROR_USAGE, "fresh.opt: expected hidden_size (a multiple of heads), intermediate_size, layers, heads, context");
    if (!tokenizer) return sn_fail(error, SN_ERROR_USAGE, "model.tokenizer: missing; a fresh language model needs a vocabulary");
    sn_graph *g = sn_graph_new();
    sn_store *store = sn_store_new();
    int64_t words = 0;
    sn_status status = g && store ? sn_make_folder(folder, error) : sn_fail_memory(error);
    if (!status) status = write_words(tokenizer, folder, &words, error);
    c.vocab_size = (words + 2 + 7) / 8 * 8; /* room for <|image|> and [RET], as OPT has spare rows */
    c.max_positions += UNUSED;
    sn_lm lm = sn_opt(&c);
    if (!status) sn_lm_parameters(g, &lm);
    const sn_names names[] = {{.rules = sn_opt_names_hf, .canonical_prefix = "decoder.", .published_prefix = "model.decoder."}};
    if (!status) status = add_fresh(store, g, names, 1, SN_TYPE_F32, seed, error);
    c.max_positions -= UNUSED;
    if (!status) status = write_json(folder, "config.json", describe_opt(&c), error);
    if (!status) status = write_store(store, folder, "model.safetensors", NULL, error); /* last: a folder with weights is whole */
    sn_store_free(store);
    sn_graph_free(g);
    return status;
}

/* ---- FROMAGe ---- */

/* Where the arguments find a part: its absolute path. A tower inside a LLaVA gets a folder of its own. */
static sn_status place_tower(sn_engine *engine, const char *vision, const char *folder, char **out, sn_error *error) {
    sn_model *model = NULL;
    char *own = sn_path_join(folder, "visual_model");
    sn_status status = own ? sn_model_open(engine, &(sn_model_files){.main = vision}, &model, error) : sn_fail_memory(error);
    bool inside = !status && strcmp(model->system->name, "clip") != 0;
    sn_model_close(model);
    if (!status && inside) status = sn_compose_tower(engine, vision, own, error);
    if (!status && !(*out = realpath(inside ? own : vision, NULL))) status = sn_fail(error, SN_ERROR_IO, "%s: %s", inside ? own : vision, strerror(errno));
    sn_free(own);
    return status;
}

static void list_parameters(sn_graph *g, const sn_fromage *c, int64_t depth) {
    sn_tensor pooled = sn_input(g, SN_TYPE_F32, SN_SHAPE(1, c->vision.hidden_size)), last = sn_input(g, SN_TYPE_F32, SN_SHAPE(1, c->opt.embed_size));
    sn_projector(g, &c->projector, pooled);
    sn_retrieval_key(g, &c->retrieval, pooled);
    sn_retrieval_query(g, &c->retrieval, NULL, depth, last);
    sn_retrieval_scale(g);
    sn_param(g, "retrieval.row", SN_SHAPE(1, c->opt.embed_size), SN_INIT_NORMAL);
}

static float *values_of(sn_store *store, const char *name) {
    sn_store_entry *e = sn_store_find(store, name);
    return e ? (float *)e->weight.owned : NULL;
}

/* The temperature begins at 0.07; the row of [RET] as it stands in OPT's table, among the rows that no word has. */
static sn_status set_beginning(sn_store *store, sn_model *opt, int64_t query_id, sn_error *error) {
    const sn_store_entry *table = sn_store_find(opt->store, "decoder.embed.weight");
    float *scale = values_of(store, "retrieval.logit_scale"), *row = values_of(store, "retrieval.row");
    if (!table || !scale || !row || query_id >= table->weight.rows) return sn_fail(error, SN_ERROR_INPUT, "the table of the language model has no row for [RET] (number %lld)", (long long)query_id);
    *scale = logf(1 / 0.07f);
    sn_status status = sn_weight_ready((sn_weight *)&table->weight, error);
    if (!status) sn_weight_row_floats(&table->weight, query_id, row);
    return status;
}

sn_status sn_fromage_compose(sn_engine *engine, const sn_fromage_composition *w, const char *folder, sn_error *error) {
    const sn_names names[] = {{.rules = sn_fromage_names_projector, .canonical_prefix = "projector.", .published_prefix = "model."},
                              {.rules = sn_fromage_names_row, .canonical_prefix = "retrieval.", .published_prefix = ""},
                              {.rules = sn_fromage_names_retrieval, .canonical_prefix = "retrieval.", .published_prefix = "model."}};
    sn_model *opt = NULL, *tower = NULL;
    char *llm = w->llm ? realpath(w->llm, NULL) : NULL, *vision = NULL;
    sn_fromage c = {.visual_tokens = w->visual_tokens};
    sn_graph *g = sn_graph_new();
    sn_store *store = sn_store_new();
    sn_status status = g && store ? SN_OK : sn_fail_memory(error);
    if (!status && (!w->llm || !w->vision)) status = sn_fail(error, SN_ERROR_USAGE, "fresh.retrieval: expected model.llm, the folder of an OPT, and model.vision, that of a CLIP");
    if (!status && !llm) status = sn_fail(error, SN_ERROR_IO, "%s: %s", w->llm, strerror(errno));
    if (!status) status = sn_make_folder(folder, error);
    if (!status) status = sn_model_open(engine, &(sn_model_files){.main = llm}, &opt, error);
    if (!status && strcmp(opt->system->name, "opt") != 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected an OPT, found %s", w->llm, opt->system->title);
    if (!status) status = place_tower(engine, w->vision, folder, &vision, error);
    if (!status) status = sn_model_open(engine, &(sn_model_files){.main = vision}, &tower, error);
    if (!status) {
        c.vision = ((const sn_clip *)tower->own)->vision, c.opt = *(const sn_opt_config *)opt->lm.config;
        c.projector = (sn_projector_config){.in = c.vision.hidden_size, .out = c.visual_tokens * c.opt.embed_size, .depth = 1, .bias = true};
        c.retrieval = (sn_retrieval_config){.size = w->size, .num_layers = 1, .layer = {c.opt.num_layers}};
        list_parameters(g, &c, c.opt.num_layers);
        status = add_fresh(store, g, names, 3, SN_TYPE_F32, w->seed, error);
    }
    int32_t image, query = -1;
    if (!status) status = sn_tokenizer_add(opt->tokenizer, "<|image|>", true, &image, error);
    if (!status) status = sn_tokenizer_add(opt->tokenizer, "[RET]", false, &query, error);
    if (!status) status = set_beginning(store, opt, query, error);
    if (!status)
        status = write_json(folder, "model_args.json", json_pack("{s:s, s:b, s:s, s:b, s:I, s:I, s:[i], s:i}", "opt_version", llm, "freeze_lm", 1, "visual_encoder", vision, "freeze_vm", 1, "n_visual_tokens",
                                                                 (json_int_t)c.visual_tokens, "shared_emb_dim", (json_int_t)w->size, "text_emb_layers", -1, "retrieval_token_idx", query), error);
    if (!status) status = write_store(store, folder, "pretrained_ckpt.pth.tar", "state_dict", error); /* last */
    sn_model_close(opt);
    sn_model_close(tower);
    sn_store_free(store);
    sn_graph_free(g);
    free(llm);
    free(vision);
    return status;
}
