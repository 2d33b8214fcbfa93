/* FROMAGe (Koh et al., arXiv 2301.13823): pictures and texts in any order through a frozen OPT; where it says [RET], the
 * hidden state there finds a picture. */
#include "systems/fromage.h"

#include "systems/parts.h"

#include <string.h>

/* ---- the model ---- */

static sn_tensor pooled(sn_graph *g, const sn_fromage *c, sn_tensor pixels) {
    return sn_clip_vision_pooled(g, &c->vision, sn_clip_vision_hidden(g, &c->vision, pixels, c->vision.num_layers));
}

static sn_tensor visual_tokens(sn_graph *g, const sn_fromage *c, sn_tensor v, int64_t pictures) {
    sn_name(g, v, "vision.output");
    sn_tensor rows = sn_reshape(g, sn_projector(g, &c->projector, v), SN_SHAPE(pictures, c->visual_tokens, c->opt.embed_size));
    sn_name(g, rows, "connector.output");
    return rows;
}

/* vision.output = the class token after its norm; connector.output = its visual tokens, side by side in one product. */
static sn_tensor encode(sn_graph *g, const sn_model *m, sn_tensor pixels) { return visual_tokens(g, m->own, pooled(g, m->own, pixels), sn_dim(g, pixels, 0)); }

static sn_tensor key(sn_graph *g, const sn_model *m, sn_tensor pixels) { return sn_retrieval_key(g, &((const sn_fromage *)m->own)->retrieval, pooled(g, m->own, pixels)); }

static void encode_and_key(sn_graph *g, const sn_model *m, sn_tensor pixels, sn_tensor *rows, sn_tensor *key) {
    const sn_fromage *c = m->own;
    sn_tensor v = pooled(g, c, pixels);
    *rows = visual_tokens(g, c, v, sn_dim(g, pixels, 0)), *key = sn_retrieval_key(g, &c->retrieval, v);
}

static void parameters(sn_graph *g, const void *context) {
    const sn_model *m = context;
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(1, 3, m->image_size, m->image_size));
    encode(g, m, pixels);
    key(g, m, pixels);
    sn_retrieval_scale(g);
    sn_lm_parameters(g, &m->lm);
    sn_param(g, "retrieval.row", SN_SHAPE(1, m->lm.hidden_size), SN_INIT_NORMAL); /* [RET]'s of the token table */
}

/* ---- prompts ---- */

/* Ids of one text. In a person's words special tokens are plain text, but [RET] is how a picture is asked for. */
static sn_status add_text(const sn_model *m, const char *text, bool literal, sn_ids *out, sn_error *error) {
    size_t length = strlen(text);
    unsigned char *plain = literal ? sn_alloc(length + 1, 1) : NULL;
    if (literal && !plain) return sn_fail_memory(error);
    if (plain) memset(plain, 1, length);
    for (const char *at = text; plain && (at = strstr(at, "[RET]")); at += 5) memset(plain + (at - text), 0, 5);
    sn_status status = sn_tokenizer_encode(m->tokenizer, text, length, plain, 0, out, error);
    sn_free(plain);
    return status;
}

/* </s> stands in front of the first text, even behind a picture; nothing stands between the parts. */
static sn_status add_part(const sn_model *m, const sn_content *part, const char *before, const char *behind, bool literal, bool *begun, sn_prompt *out, sn_error *error) {
    if (part->is_media) {
        if (out->num_media == SN_MAX_MEDIA) return sn_fail(error, SN_ERROR_INPUT, "more than %d pictures in one conversation", SN_MAX_MEDIA);
        for (int64_t i = 0; i < m->media_positions; i++)
            if (!sn_ids_add(&out->ids, -1 - (int32_t)(out->num_media * m->media_positions + i))) return sn_fail_memory(error);
        out->media[out->num_media++] = part->text;
        return SN_OK;
    }
    if ((!*begun || part->begins) && !sn_ids_add(&out->ids, sn_tokenizer_about(m->tokenizer)->bos)) return sn_fail_memory(error);
    *begun = true;
    char *text = sn_format("%s%s%s", before, part->text, behind);
    sn_status status = text ? add_text(m, text, literal, &out->ids, error) : sn_fail_memory(error);
    sn_free(text);
    return status;
}

/* A message: "Q: …\nA:" for a person, as visual dialogues are written; an answer stands between as it was given. */
static sn_status add_message(const sn_model *m, const sn_message *message, bool literal, bool *begun, sn_prompt *out, sn_error *error) {
    int first = -1, last = -1;
    sn_status status = SN_OK;
    for (int i = 0; i < message->count; i++)
        if (!message->content[i].is_media) last = i, first = first < 0 ? i : first;
    const char *end = last >= 0 ? message->content[last].text : "";
    bool asks = message->role == SN_ROLE_USER && strlen(end) >= 5 && strcmp(end + strlen(end) - 5, "[RET]") == 0; /* for a picture, at once: taken as it stands */
    for (int i = 0; i < message->count && !status; i++) {
        const char *before = i != first || asks ? "" : message->role == SN_ROLE_USER ? "Q: " : message->role == SN_ROLE_ASSISTANT ? " " : "";
        const char *behind = i != last || asks ? "" : message->role == SN_ROLE_USER ? "\nA:" : "\n";
        status = add_part(m, &message->content[i], before, behind, literal, begun, out, error);
    }
    return status;
}

static sn_status prompt(const sn_model *m, const sn_request *request, sn_prompt *out, sn_error *error) {
    bool begun = false;
    sn_status status = SN_OK;
    *out = (sn_prompt){0};
    for (int i = 0; i < request->num_prompt && !status; i++) status = add_part(m, &request->prompt[i], "", "", request->literal, &begun, out, error);
    for (int i = 0; i < request->num_messages && !status; i++) status = add_message(m, &request->messages[i], request->literal, &begun, out, error);
    if (!status && !begun) status = sn_fail(error, SN_ERROR_INPUT, "the prompt holds pictures alone; FROMAGe needs a text beside them");
    if (status) sn_prompt_free(out);
    return status;
}

static const char *const multitask[] = {"projector.*", "retrieval.*", NULL};
static const sn_stage stages[] = {{.name = "multitask", .trainable = multitask, .objective = "multitask"}, {0}};

const sn_system sn_system_fromage = {
    .name = "fromage", .title = "FROMAGe", .paper = "arXiv 2301.13823", .recognise = sn_fromage_recognise, .open = sn_fromage_open, .check = sn_fromage_check,
    .parameters = parameters, .encode = encode, .key = key, .gallery = sn_fromage_gallery, .encode_and_key = encode_and_key, .prompt = prompt, .caption = "", .evaluation_square = 224, .stages = stages,
    .sample = sn_fromage_sample, .checkpoint = "pretrained_ckpt.pth.tar", .arguments = sn_fromage_arguments};
