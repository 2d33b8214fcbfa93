/* Classes of pictures, ranked by a language model: the sum of -log p over a class's tokens behind the prompt. */
#include "cli/eval_options.h"

#include "eval/ranking.h"

#include <string.h>

static sn_status read_classes(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_classes(path, &e->set, error); }

static sn_status add_label(sn_option_scorer *s, const char *name, const sn_set_label *label, double *loss, int64_t *order, sn_error *error) {
    const sn_set *set = &s->e->set;
    sn_content parts[] = {{.text = set->before}, {.is_media = true, .text = ""}, {.text = set->behind}};
    bool front = !*set->before;
    sn_status status = sn_option_scorer_picture(s, &set->pictures[label->picture], error);
    if (!status) status = sn_score_options(s, &(sn_beginning){.parts = parts + front, .count = 3 - front}, set->classes, set->num_classes, loss, NULL, error);
    if (status) return sn_evaluation_missing(s->e, name, status, error);
    if (!sn_order(loss, set->num_classes, true, order)) return sn_fail_memory(error);
    bool *right = sn_alloc((size_t)set->num_classes, sizeof *right);
    json_t *losses = json_array();
    if (right) right[label->right] = true;
    for (int64_t i = 0; i < set->num_classes; i++) json_array_append_new(losses, json_real(loss[i]));
    json_t *object = right ? json_pack("{s:s, s:I, s:O}", "class", set->classes[order[0]], "rank", (json_int_t)sn_first_rank(order, set->num_classes, right), "losses", losses) : NULL;
    json_decref(losses);
    sn_free(right);
    return sn_results_add(s->e->results, name, object, error);
}

static sn_status rank_labels(sn_option_scorer *s, double *loss, int64_t *order, int64_t *ranks, sn_error *error) {
    sn_evaluation *e = s->e;
    sn_status status = SN_OK;
    for (int64_t i = 0; i < e->set.num_labels && !status; i++) {
        const sn_set_label *label = &e->set.labels[i];
        char *name = sn_format("image %s", label->id);
        if (!name) status = sn_fail_memory(error);
        if (!status && !sn_evaluation_find(e, name)) status = add_label(s, name, label, loss, order, error);
        const json_t *item = status ? NULL : sn_results_find(e->results, name), *rank = json_object_get(item, "rank");
        if (json_is_integer(rank)) ranks[e->items++] = json_integer_value(rank);
        sn_free(name);
        if (!status) status = sn_evaluation_step(e, error);
    }
    return status;
}

static sn_status classify(sn_evaluation *e, sn_error *error) {
    const sn_set *set = &e->set;
    sn_option_scorer s;
    double *loss = sn_alloc((size_t)set->num_classes, sizeof *loss);
    int64_t *order = sn_alloc((size_t)set->num_classes, sizeof *order), *ranks = sn_alloc((size_t)set->num_labels, sizeof *ranks);
    sn_status status = sn_option_scorer_open(&s, e, error);
    e->protocol = "classes by the sum of their tokens' losses behind the prompt; equal sums: the one that the file names first";
    if (!status && (!loss || !order || !ranks)) status = sn_fail_memory(error);
    sn_evaluation_begin(e, "images", set->num_labels);
    if (!status) status = rank_labels(&s, loss, order, ranks, error);
    if (!status) {
        sn_evaluation_put(e->metrics, "accuracy", sn_recall_at(ranks, e->items, 1));
        if (set->num_classes > 5) sn_evaluation_put(e->metrics, "accuracy@5", sn_recall_at(ranks, e->items, 5));
        json_object_set_new(e->metrics, "classes", json_integer(set->num_classes));
    }
    sn_option_scorer_close(&s);
    sn_free(loss);
    sn_free(order);
    sn_free(ranks);
    return status;
}

const sn_evaluation_task sn_task_classify = {.name = "classify", .what = "images", .options = "batch", .read = read_classes, .run = classify};
