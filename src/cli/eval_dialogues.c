/* VisDial's answers: every option is scored behind the picture and the dialogue so far, the likeliest comes first.
 *
 * The published script of FROMAGe holds the scores at each position against the token of that same position instead of
 * the next one, and looks up people's relevance one round too late. Both countings come from the same run here: the
 * right one, and, below "published", theirs. */
#include "cli/eval_options.h"

#include "eval/ranking.h"

#include <string.h>

/* ---- rounds ---- */

static json_t *list_of(const double *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static sn_status add_round(sn_option_scorer *s, const char *name, const sn_set_round *round, const char *context, sn_error *error) {
    sn_content parts[] = {{.is_media = true, .text = ""}, {.text = context, .begins = true}};
    double *loss = sn_alloc(2 * (size_t)round->num_options + 1, sizeof *loss);
    if (!loss) return sn_fail_memory(error);
    sn_status status = sn_score_options(s, &(sn_beginning){.parts = parts, .count = 2, .apart = true}, round->option, round->num_options, loss, loss + round->num_options, error);
    if (status) status = sn_evaluation_missing(s->e, name, status, error);
    else status = sn_results_add(s->e->results, name, json_pack("{s:o, s:o}", "losses", list_of(loss, round->num_options), "losses_unshifted", list_of(loss + round->num_options, round->num_options)), error);
    sn_free(loss);
    return status;
}

static void round_name(const sn_set_dialogue *d, int64_t r, char name[128]) { snprintf(name, 128, "dialogue %.64s round %lld", d->id, (long long)r + 1); }

/* The rounds of one dialogue; its picture is read where one of them is not among the results yet. */
static sn_status add_dialogue(sn_option_scorer *s, const sn_set_dialogue *d, sn_buf *context, sn_error *error) {
    sn_error why = {0};
    sn_status status = SN_OK, opened = SN_ERROR_USAGE; /* not yet */
    context->length = 0;
    for (int64_t r = 0; r < d->num_rounds && !status; r++) {
        const sn_set_round *round = &d->round[r];
        char name[128];
        round_name(d, r, name);
        sn_buf_printf(context, "%sQ: %s?", r ? "\n" : "", round->question);
        size_t length = context->length;
        sn_buf_puts(context, "\nA: ");
        if (context->failed) status = sn_fail_memory(error);
        if (!status && round->right >= 0 && !sn_evaluation_find(s->e, name)) {
            if (opened == SN_ERROR_USAGE) opened = sn_option_scorer_picture(s, &s->e->set.pictures[d->picture], &why);
            if (opened) sn_fail(error, opened, "%s", why.message);
            status = opened ? sn_evaluation_missing(s->e, name, opened, error) : add_round(s, name, round, context->data, error);
        }
        context->length = length;
        sn_buf_printf(context, "\nA: %s", round->answer ? round->answer : "");
        if (!status) status = sn_evaluation_step(s->e, error);
    }
    return status;
}

/* ---- numbers ---- */

typedef struct tally {
    const char *key; /* of the losses */
    int64_t *ranks, count, *order;
    double *loss, ndcg;
    int64_t num_ndcg;
} tally;

/* A round's order; false where it was left out. */
static sn_status order_of(const sn_evaluation *e, const sn_set_dialogue *d, int64_t r, tally *t, bool *there, sn_error *error) {
    char name[128];
    round_name(d, r, name);
    const json_t *item = sn_results_find(e->results, name), *list = json_object_get(item, t->key);
    *there = item && !json_object_get(item, "missing");
    if (!*there) return SN_OK;
    if ((int64_t)json_array_size(list) != d->round[r].num_options) return sn_fail(error, SN_ERROR_INPUT, "the result %s: expected %lld %s", name, (long long)d->round[r].num_options, t->key);
    for (int64_t i = 0; i < d->round[r].num_options; i++) t->loss[i] = json_number_value(json_array_get(list, (size_t)i));
    return sn_order(t->loss, d->round[r].num_options, true, t->order) ? SN_OK : sn_fail_memory(error);
}

static sn_status count_round(const sn_evaluation *e, int64_t i, int64_t r, bool published, tally *t, sn_error *error) {
    const sn_set_dialogue *d = &e->set.dialogues[i];
    const sn_set_round *round = &d->round[r];
    bool there;
    double ndcg = 0;
    sn_status status = order_of(e, d, r, t, &there, error);
    if (status || !there) return status;
    bool *right = sn_alloc((size_t)round->num_options, sizeof *right);
    if (!right) return sn_fail_memory(error);
    right[round->right] = true;
    t->ranks[t->count++] = sn_first_rank(t->order, round->num_options, right);
    sn_free(right);
    if (!round->relevance) return SN_OK;
    if (published) { /* the round after the one that the relevance is of */
        if (++r == d->num_rounds) d++, i++, r = 0;
        if (i == e->set.num_dialogues || d->round[r].num_options != round->num_options) return SN_OK;
        status = order_of(e, d, r, t, &there, error);
    }
    if (!status && there) status = sn_ndcg(t->order, round->num_options, round->relevance, &ndcg, error);
    if (!status && there) t->ndcg += ndcg, t->num_ndcg++;
    return status;
}

static sn_status count_all(const sn_evaluation *e, const char *key, bool published, json_t *metrics, int64_t *items, sn_error *error) {
    int64_t rounds = 0, most = 1;
    for (int64_t i = 0; i < e->set.num_dialogues; i++)
        for (int64_t r = 0; r < e->set.dialogues[i].num_rounds; r++, rounds++)
            if (e->set.dialogues[i].round[r].num_options > most) most = e->set.dialogues[i].round[r].num_options;
    tally t = {.key = key, .ranks = sn_alloc((size_t)rounds, sizeof *t.ranks), .order = sn_alloc((size_t)most, sizeof *t.order), .loss = sn_alloc((size_t)most, sizeof *t.loss)};
    sn_status status = t.ranks && t.order && t.loss ? SN_OK : sn_fail_memory(error);
    for (int64_t i = 0; i < e->set.num_dialogues; i++)
        for (int64_t r = 0; r < e->set.dialogues[i].num_rounds && !status; r++)
            if (e->set.dialogues[i].round[r].right >= 0) status = count_round(e, i, r, published, &t, error);
    if (!status) status = sn_evaluation_ranks(metrics, t.ranks, t.count, error);
    if (t.num_ndcg) sn_evaluation_put(metrics, "ndcg", t.ndcg / (double)t.num_ndcg), json_object_set_new(metrics, "ndcg_rounds", json_integer(t.num_ndcg));
    *items = t.count;
    sn_free(t.ranks);
    sn_free(t.order);
    sn_free(t.loss);
    return status;
}

/* ---- the task ---- */

static sn_status read_dialogues(sn_evaluation *e, const char *path, sn_error *error) {
    sn_status status = sn_set_dialogues(path, sn_argument(e->arguments, "relevance"), &e->set, error);
    if (status) return status;
    for (int64_t i = 0; i < e->set.num_dialogues; i++)
        for (int64_t r = 0; r < e->set.dialogues[i].num_rounds; r++)
            if (e->set.dialogues[i].round[r].right >= 0) return SN_OK;
    return sn_fail(error, SN_ERROR_INPUT, "%s: no round has gt_index: which option is right is not public", path);
}

static sn_status visdial(sn_evaluation *e, sn_error *error) {
    sn_option_scorer s;
    sn_buf context = {0};
    json_t *published = json_object();
    int64_t steps = 0;
    e->protocol = "options by the sum of their tokens' losses behind the picture and \"Q: …?\\nA: …\"; published: as FROMAGe's script counts, without the shift by one token";
    for (int64_t i = 0; i < e->set.num_dialogues; i++) steps += e->set.dialogues[i].num_rounds;
    sn_status status = sn_option_scorer_open(&s, e, error);
    sn_evaluation_begin(e, "rounds", steps);
    for (int64_t i = 0; i < e->set.num_dialogues && !status; i++) status = add_dialogue(&s, &e->set.dialogues[i], &context, error);
    if (!status && !published) status = sn_fail_memory(error);
    if (!status) status = count_all(e, "losses", false, e->metrics, &e->items, error);
    if (!status) status = count_all(e, "losses_unshifted", true, published, &e->items, error);
    if (!status) json_object_set(e->metrics, "published", published);
    json_decref(published);
    sn_buf_free(&context);
    sn_option_scorer_close(&s);
    return status;
}

const sn_evaluation_task sn_task_visdial = {.name = "visdial", .what = "rounds", .options = "relevance batch", .read = read_dialogues, .run = visdial};
