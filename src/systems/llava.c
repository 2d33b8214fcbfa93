/* LLaVA (Liu et al., arXiv 2304.08485 and 2310.03744): CLIP's patches through a projector into the place of the
 * picture in LLaMA's sequence. */
#include "systems/llava.h"

#include "systems/parts.h"

#include <string.h>

/* ---- the model ---- */

/* vision.output = a hidden state of the tower, without the class token; connector.output = its projection. */
static sn_tensor encode(sn_graph *g, const sn_model *m, sn_tensor pixels) {
    const sn_llava *c = m->own;
    sn_tensor features = sn_clip_vision_hidden(g, &c->vision, pixels, c->select_layer);
    if (!c->keep_class) features = sn_slice(g, features, 1, 1, sn_clip_patches(&c->vision));
    sn_name(g, features, "vision.output");
    sn_tensor rows = sn_projector(g, &c->projector, features);
    sn_name(g, rows, "connector.output");
    return rows;
}

static void parameters(sn_graph *g, const void *context) {
    const sn_model *m = context;
    encode(g, m, sn_input(g, SN_TYPE_F32, SN_SHAPE(1, 3, m->image_size, m->image_size)));
    sn_lm_parameters(g, &m->lm);
}

/* The last two rows of a projector file's token table take the place of the model's, as the published code puts them. */
static sn_status put_marks(const sn_model *m, const sn_source_tensor *marks, sn_error *error) {
    enum { MARKS = 2 };
    sn_store_entry *table = sn_store_find(m->store, "decoder.embed.weight");
    sn_weight *w = table ? &table->weight : NULL;
    const sn_type_traits *from = sn_type_of(marks->type), *to = w ? sn_type_of(w->type) : NULL;
    if (!w || w->make || marks->shape.rank != 2 || marks->shape.dim[0] < MARKS || marks->shape.dim[1] != w->columns || !from->to_float || from->block > 1 || !to->from_float || !marks->data || !marks->contiguous)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected at least 2 rows of %lld numbers for <im_start> and <im_end>", marks->file, marks->name, w ? (long long)w->columns : 0);
    sn_weight_part *last = &w->part[w->num_parts - 1];
    if (sn_tokenizer_find(m->tokenizer, "<im_start>") != w->rows - MARKS || sn_tokenizer_find(m->tokenizer, "<im_end>") != w->rows - 1 || w->num_parts == SN_MAX_PARTS || last->rows <= MARKS)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: holds trained rows of <im_start> and <im_end>, which are not the last two tokens of the language model", marks->file, marks->name);
    int64_t row_bytes = 0, count = MARKS * w->columns;
    float *values = sn_arena_alloc(m->arena, (size_t)count, sizeof *values);
    void *rows = sn_type_bytes(w->type, w->columns, &row_bytes) ? sn_arena_alloc(m->arena, MARKS * (size_t)row_bytes, 1) : NULL;
    if (!values || !rows) return sn_fail_memory(error);
    from->to_float((const char *)marks->data + (marks->shape.dim[0] - MARKS) * w->columns * from->bytes, values, count);
    to->from_float(values, rows, count);
    last->rows -= MARKS;
    w->part[w->num_parts++] = (sn_weight_part){.data = rows, .rows = MARKS, .row_bytes = row_bytes};
    return SN_OK;
}

/* A delta on the wrong base, or one that nothing was added to. */
static sn_status check(const sn_model *m, sn_error *error) {
    const sn_llava *c = m->own;
    sn_status status = c->marks ? put_marks(m, c->marks, error) : SN_OK;
    return status ? status : sn_check_final_norm(m, c->code_of_may_2023, error);
}

/* ---- prompts ---- */

static sn_status prompt(const sn_model *m, const sn_request *request, sn_prompt *out, sn_error *error) {
    const sn_llava *c = m->own;
    const sn_template *t = c->template;
    if (request->template_name && !(t = sn_template_find(request->template_name, c->code_of_may_2023))) {
        sn_buf names = {0};
        sn_template_names(&names);
        sn_status status = sn_fail(error, SN_ERROR_USAGE, "template: found %s, expected one of %s", request->template_name, names.data ? names.data : "");
        sn_buf_free(&names);
        return status;
    }
    sn_prompt_text text = {.one_text = c->one_text};
    for (int i = 0; i < request->num_prompt; i++) {
        if (request->prompt[i].is_media) sn_prompt_text_media(&text, request->prompt[i].text);
        else sn_prompt_text_add(&text, request->prompt[i].text, request->literal);
    }
    bool wrapped = c->use_im_start_end && sn_tokenizer_find(m->tokenizer, "<im_start>") >= 0;
    if (request->num_messages) sn_template_render(t, request, wrapped ? "<im_start>" : "", wrapped ? "<im_end>" : "", &text);
    sn_status status = sn_prompt_encode(&text, m->tokenizer, m->media_positions, out, error);
    sn_prompt_text_free(&text);
    if (!status && request->num_messages) out->stop = t->stop;
    return status;
}

static const char *const stage1[] = {"projector.*", NULL};
static const char *const stage2[] = {"projector.*", "decoder.*", NULL};
static const char *const whole[] = {"vision.*", "projector.*", "decoder.*", NULL}; /* no stage of the paper: for parts that begin fresh */

/* Stage 1 teaches the marks around a picture too, where the model has them; all other rows stay. */
static int mark_rows(const sn_model *m, int32_t *ids, int most) {
    static const char *const marks[] = {"<im_start>", "<im_end>"};
    int n = 0;
    for (int i = 0; i < 2 && n < most && ((const sn_llava *)m->own)->use_im_start_end; i++)
        if ((ids[n] = sn_tokenizer_find(m->tokenizer, marks[i])) >= 0) n++;
    return n;
}

static const sn_stage stages[] = {{"stage1", stage1, mark_rows, "plain", NULL}, {"stage2", stage2, NULL, "v1", NULL}, {"whole", whole, NULL, "v1", NULL}, {0}};

const sn_system sn_system_llava = {
    .name = "llava", .title = "LLaVA", .paper = "arXiv 2304.08485, 2310.03744", .recognise = sn_llava_recognise, .open = sn_llava_open,
    .parameters = parameters, .check = check, .encode = encode, .prompt = prompt, .temperature = 0.2, .stages = stages, .sample = sn_llava_sample};
