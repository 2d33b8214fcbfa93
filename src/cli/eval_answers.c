/* Tasks of `sensorium eval` in which the model speaks: captions of pictures, answers to questions. */
#include "cli/eval.h"

#include "eval/answers.h"
#include "eval/captions.h"
#include "generate/answer.h"

#include <string.h>

enum { CAPTION_TOKENS = 64, PICTURE_FINDER_TOKENS = 32 }; /* longest captions; the second as FROMAGe's authors have it */

/* What is said to a request about a picture (or none), without blanks at both ends. */
static sn_status say(sn_evaluation *e, const sn_request *request, int64_t picture, const sn_generate_options *options, char **out, sn_error *error) {
    sn_model *m = e->model;
    sn_prompt prompt = {0};
    sn_reply reply = {0};
    char *path = NULL;
    float *pixels = NULL;
    *out = NULL;
    sn_status status = picture >= 0 ? sn_evaluation_path(e, &e->set.pictures[picture], &path, error) : SN_OK;
    if (!status && path) status = sn_load_pictures(m, (const char *const *)&path, 1, &e->image, &pixels, error);
    if (!status) status = m->system->prompt(m, request, &prompt, error);
    if (!status) status = sn_answer_prompt(&(sn_answer_request){.model = m, .prompt = &prompt, .pixels = pixels, .options = options, .cancel = e->cancel}, &reply, error);
    if (!status && reply.cancelled) status = sn_fail(error, SN_ERROR_CANCELLED, "cancelled");
    if (!status) {
        const char *text = reply.text.data ? reply.text.data : "";
        size_t end = strlen(text);
        while (end && strchr(" \t\r\n", text[end - 1])) end--;
        size_t begin = strspn(text, " \t\r\n");
        if (begin > end) begin = end;
        if (!(*out = sn_strndup(text + begin, end - begin))) status = sn_fail_memory(error);
    }
    sn_reply_free(&reply);
    sn_prompt_free(&prompt);
    sn_free(pixels);
    sn_free(path);
    return status;
}

/* A question through the model's template, a picture before it. */
static sn_status ask(sn_evaluation *e, const char *question, int64_t picture, const sn_generate_options *options, char **out, sn_error *error) {
    sn_content content[] = {{.is_media = true, .text = ""}, {.text = question}};
    sn_message message = {.role = SN_ROLE_USER, .content = picture >= 0 ? content : content + 1, .count = picture >= 0 ? 2 : 1};
    return say(e, &(sn_request){.messages = &message, .num_messages = 1, .literal = true}, picture, options, out, error);
}

static sn_status check_speaks(const sn_evaluation *e, bool sees, sn_error *error) {
    const sn_model *m = e->model;
    if (!m->has_lm || !m->system->prompt) return sn_fail(error, SN_ERROR_SUPPORT, "%s has no language model, which %s needs", m->system->title, e->task->name);
    return m->has_vision || !sees ? SN_OK : sn_fail(error, SN_ERROR_SUPPORT, "%s takes text alone; %s needs pictures", m->system->title, e->task->name);
}

/* ---- captions ---- */

static sn_status read_captions(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_captions(path, sn_argument(e->arguments, "split"), &e->set, error); }

static sn_status caption(sn_evaluation *e, int64_t picture, const sn_generate_options *options, char **out, sn_error *error) {
    const char *question = sn_argument(e->arguments, "prompt"), *behind = e->model->system->caption;
    if (question || !behind) return ask(e, question ? question : "Describe the picture.", picture, options, out, error);
    sn_content content[] = {{.is_media = true, .text = ""}, {.text = behind}};
    return say(e, &(sn_request){.prompt = content, .num_prompt = 2}, picture, options, out, error);
}

static sn_status add_caption(sn_evaluation *e, const char *name, int64_t i, const sn_generate_options *options, sn_error *error) {
    char *text;
    sn_status status = caption(e, i, options, &text, error);
    if (status) return sn_evaluation_missing(e, name, status, error);
    json_t *object = json_pack("{s:s}", "caption", text);
    sn_free(text);
    return sn_results_add(e->results, name, object, error);
}

static const char *tokens_of(sn_set *s, const char *text) {
    char *tokens = sn_caption_tokens(text);
    const char *copy = tokens ? sn_arena_strdup(s->arena, tokens) : NULL;
    sn_free(tokens);
    return copy;
}

/* Captions that are there, with the references of their pictures. which[i]: picture of caption i. */
static sn_status gather(sn_evaluation *e, sn_captions *out, int64_t **which, sn_error *error) {
    sn_set *s = &e->set;
    size_t n = (size_t)s->num_pictures + 1;
    const char **said = sn_arena_alloc(s->arena, n, sizeof *said), ***references = sn_arena_alloc(s->arena, n, sizeof *references);
    int64_t *counts = sn_arena_alloc(s->arena, n, sizeof *counts), *place = sn_arena_alloc(s->arena, n, sizeof *place);
    *which = sn_arena_alloc(s->arena, n, sizeof **which);
    *out = (sn_captions){.predictions = said, .references = (const char *const *const *)references, .num_references = counts};
    if (!said || !references || !counts || !place || !*which) return sn_fail_memory(error);
    for (int64_t i = 0; i < s->num_pictures; i++) {
        char *name = sn_format("picture %s", s->pictures[i].id);
        const json_t *item = name ? sn_results_find(e->results, name) : NULL;
        const char *text = item ? sn_json_string(item, "caption") : NULL;
        sn_free(name);
        place[i] = text ? out->count : -1;
        if (!text) continue;
        if (!(said[out->count] = tokens_of(s, text))) return sn_fail_memory(error);
        (*which)[out->count++] = i;
    }
    for (int64_t i = 0; i < s->num_captions; i++)
        if (place[s->captions[i].picture] >= 0) counts[place[s->captions[i].picture]]++;
    for (int64_t i = 0; i < out->count; i++)
        if (!(references[i] = sn_arena_alloc(s->arena, (size_t)counts[i] + 1, sizeof **references))) return sn_fail_memory(error);
        else counts[i] = 0;
    for (int64_t i = 0; i < s->num_captions; i++) {
        int64_t at = place[s->captions[i].picture];
        if (at >= 0 && !(references[at][counts[at]++] = tokens_of(s, s->captions[i].text))) return sn_fail_memory(error);
    }
    return SN_OK;
}

static sn_status put_each(sn_evaluation *e, const sn_captions *c, const int64_t *which, const sn_caption_scores *scores, sn_error *error) {
    sn_status status = SN_OK;
    for (int64_t i = 0; i < c->count && !status; i++) {
        char *name = sn_format("scores of picture %s", e->set.pictures[which[i]].id);
        if (!name) return sn_fail_memory(error);
        if (!sn_results_find(e->results, name))
            status = sn_results_add(e->results, name, json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "bleu1", scores->bleu_each[4 * i], "bleu2", scores->bleu_each[4 * i + 1], "bleu3", scores->bleu_each[4 * i + 2],
                                                                "bleu4", scores->bleu_each[4 * i + 3], "cider", scores->cider_each[i], "rouge_l", scores->rouge_l_each[i], "meteor_stem", scores->meteor_stem_each[i]),
                                    error);
        sn_free(name);
    }
    return status;
}

static sn_status score_captions(sn_evaluation *e, sn_error *error) {
    sn_captions c;
    int64_t *which;
    sn_caption_scores scores;
    sn_status status = gather(e, &c, &which, error);
    if (status || !c.count) return status;
    if ((status = sn_captions_score(&c, &scores, error))) return status;
    for (int k = 0; k < 4; k++) sn_evaluation_put(e->metrics, (const char *const[]){"bleu1", "bleu2", "bleu3", "bleu4"}[k], scores.bleu[k]);
    sn_evaluation_put(e->metrics, "cider", scores.cider);
    sn_evaluation_put(e->metrics, "rouge_l", scores.rouge_l);
    sn_evaluation_put(e->metrics, "meteor_stem", scores.meteor_stem);
    e->items = c.count;
    status = put_each(e, &c, which, &scores, error);
    sn_caption_scores_free(&scores);
    return status;
}

static sn_status captions(sn_evaluation *e, sn_error *error) {
    sn_generate_options options = e->generation;
    bool finds = e->model->query_id >= 0;
    sn_status status = check_speaks(e, true, error);
    if (!sn_argument_given(e->arguments, "max-tokens")) options.max_new_tokens = finds ? PICTURE_FINDER_TOKENS : CAPTION_TOKENS;
    if (finds && !sn_argument_given(e->arguments, "min-word-tokens")) options.mark_after = options.max_new_tokens; /* a caption asks for no picture */
    e->protocol = "greedy unless options say otherwise; tokenizer: builtin (near to the Penn Treebank's); cider is CIDEr-D with this set's document frequencies; meteor_stem has no synonyms";
    sn_evaluation_begin(e, "captions", e->set.num_pictures);
    for (int64_t i = 0; i < e->set.num_pictures && !status; i++) {
        char *name = sn_format("picture %s", e->set.pictures[i].id);
        if (!name) status = sn_fail_memory(error);
        if (!status && !sn_evaluation_find(e, name)) status = add_caption(e, name, i, &options, error);
        sn_free(name);
        if (!status) status = sn_evaluation_step(e, error);
    }
    return status ? status : score_captions(e, error);
}

const sn_evaluation_task sn_task_captions = {.name = "captions", .what = "pictures", .generates = true, .options = "split prompt", .read = read_captions, .run = captions};

/* ---- answers ---- */

static sn_status read_questions(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_questions(path, &e->set, error); }

static sn_status add_answer(sn_evaluation *e, const char *name, const sn_set_question *q, sn_error *error) {
    char *text;
    double accuracy = 0;
    sn_status status = ask(e, q->text, q->picture, &e->generation, &text, error);
    if (status) return sn_evaluation_missing(e, name, status, error);
    bool exact = false;
    for (int64_t i = 0; i < q->num_answers && !exact && !status; i++) status = sn_exact_match(text, q->answer[i], &exact, error);
    if (!status && q->num_answers > 1) status = sn_vqa_accuracy(text, q->answer, q->num_answers, &accuracy, error);
    json_t *object = json_pack("{s:s, s:b}", "answer", text, "exact", exact);
    if (q->num_answers > 1) json_object_set_new(object, "vqa_accuracy", json_real(accuracy));
    sn_free(text);
    if (!status) return sn_results_add(e->results, name, object, error);
    json_decref(object);
    return status;
}

typedef struct share {
    double sum;
    int64_t count;
} share;

static void add_share(json_t *sums, const char *kind, double value) {
    json_t *both = json_object_get(sums, kind);
    if (!both) json_object_set_new(sums, kind, both = json_pack("[f,I]", 0.0, (json_int_t)0));
    json_array_set_new(both, 0, json_real(json_number_value(json_array_get(both, 0)) + value));
    json_array_set_new(both, 1, json_integer(json_integer_value(json_array_get(both, 1)) + 1));
}

static void put_kinds(json_t *metrics, json_t *sums) {
    const char *kind;
    json_t *both, *kinds = json_object();
    json_object_foreach(sums, kind, both) sn_evaluation_put(kinds, kind, json_number_value(json_array_get(both, 0)) / json_number_value(json_array_get(both, 1)));
    if (json_object_size(kinds)) json_object_set(metrics, "exact_by_kind", kinds);
    json_decref(kinds);
}

static sn_status count_answers(sn_evaluation *e, sn_error *error) {
    share exact = {0}, vqa = {0};
    json_t *kinds = json_object();
    if (!kinds) return sn_fail_memory(error);
    for (int64_t i = 0; i < e->set.num_questions; i++) {
        const sn_set_question *q = &e->set.questions[i];
        char *name = sn_format("question %s", q->id);
        const json_t *item = name ? sn_results_find(e->results, name) : NULL, *accuracy = json_object_get(item, "vqa_accuracy");
        sn_free(name);
        if (!item || json_object_get(item, "missing")) continue;
        bool right = sn_json_bool(item, "exact", false);
        exact.sum += right, exact.count++;
        if (accuracy) vqa.sum += json_number_value(accuracy), vqa.count++;
        if (q->kind) add_share(kinds, q->kind, right);
    }
    if (exact.count) sn_evaluation_put(e->metrics, "exact", exact.sum / (double)exact.count);
    if (vqa.count) sn_evaluation_put(e->metrics, "vqa_accuracy", vqa.sum / (double)vqa.count);
    put_kinds(e->metrics, kinds);
    e->items = exact.count;
    json_decref(kinds);
    return SN_OK;
}

static sn_status answers(sn_evaluation *e, sn_error *error) {
    sn_status status = check_speaks(e, e->set.num_pictures > 0, error);
    e->protocol = "exact: equal to an answer, but for capitals and blanks at both ends; vqa_accuracy where several people answered";
    sn_evaluation_begin(e, "questions", e->set.num_questions);
    for (int64_t i = 0; i < e->set.num_questions && !status; i++) {
        const sn_set_question *q = &e->set.questions[i];
        char *name = sn_format("question %s", q->id);
        if (!name) status = sn_fail_memory(error);
        if (!status && !sn_evaluation_find(e, name)) status = add_answer(e, name, q, error);
        sn_free(name);
        if (!status) status = sn_evaluation_step(e, error);
    }
    return status ? status : count_answers(e, error);
}

const sn_evaluation_task sn_task_answers = {.name = "answers", .what = "questions", .generates = true, .read = read_questions, .run = answers};
