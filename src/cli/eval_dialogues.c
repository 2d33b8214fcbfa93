/* VisDial's answers: every option is scored behind the picture and the dialogue so far, the likeliest comes first.
 *
 * The published script of FROMAGe holds the scores at each position against the token of that same position instead of
 * the next one, and looks up people's relevance one round too late. Both countings come from the same run here: the
 * right one, and, below "published", theirs. */
#include "cli/eval.h"

#include "eval/ranking.h"
#include "generate/answer.h"
#include "generate/pictures.h"

#include <math.h>
#include <string.h>

enum { FEATURES_KEPT = 16 << 20, BATCH_ROWS = 16, BATCH_SCORES = 1 << 24 };

/* What the cache holds, between rounds: the picture and the dialogue so far. */
typedef struct scorer {
    sn_evaluation *e;
    sn_pictures *pictures;
    sn_lm_session session;
    sn_sequence sequence;
    sn_ids held;
    sn_ids *option;    /* [options] prompts with an option at their end */
    int64_t options, capacity;
    const float *rows; /* of the dialogue's picture */
    sn_buf context;
} scorer;

static void free_options(scorer *s) {
    for (int64_t i = 0; i < s->options; i++) sn_ids_free(&s->option[i]);
    sn_free(s->option);
    s->option = NULL, s->options = 0;
}

static size_t common(const sn_ids *a, const sn_ids *b) {
    size_t n = 0;
    while (n < a->count && n < b->count && a->data[n] == b->data[n]) n++;
    return n;
}

/* The prompt with so many of: the picture, the dialogue, an option. */
static sn_status render(const scorer *s, const char *option, sn_ids *out, sn_error *error) {
    const sn_model *m = s->e->model;
    sn_content parts[] = {{.is_media = true, .text = ""}, {.text = s->context.data, .begins = true}, {.text = option, .begins = true}};
    sn_request request = {.prompt = parts, .num_prompt = option ? 3 : 2, .literal = true};
    sn_prompt prompt;
    sn_status status = m->system->prompt(m, &request, &prompt, error);
    if (status) return status;
    if ((int64_t)prompt.ids.count > m->lm.max_positions)
        status = sn_fail(error, SN_ERROR_INPUT, "the dialogue takes %zu positions, the model's window holds %lld", prompt.ids.count, (long long)m->lm.max_positions);
    if (!status) *out = prompt.ids, prompt.ids = (sn_ids){0};
    sn_prompt_free(&prompt);
    return status;
}

/* ---- scores ---- */

/* -log p of an id, from the scores of one position. */
static double loss_of(const float *scores, int64_t vocab, double log_sum, int32_t id) { return id >= 0 && id < vocab ? log_sum - (double)scores[id] : 0; }

static double log_sum_of(const float *scores, int64_t vocab) {
    float best = scores[0], sum = 0;
    for (int64_t i = 1; i < vocab; i++) best = scores[i] > best ? scores[i] : best;
    double total = 0;
    for (int64_t i = 0; i < vocab; i += 256, sum = 0) {
        for (int64_t k = i; k < vocab && k < i + 256; k++) sum += expf(scores[k] - best);
        total += (double)sum;
    }
    return (double)best + log(total);
}

/* scores: at ids[0 .. count - 1], of which the first is the last of what all options share. */
static void sum_losses(const float *scores, int64_t vocab, const int32_t *ids, int64_t count, double *loss, double *unshifted) {
    *loss = *unshifted = 0;
    for (int64_t i = 0; i < count; i++) {
        double log_sum = log_sum_of(scores + i * vocab, vocab);
        if (i + 1 < count) *loss += loss_of(scores + i * vocab, vocab, log_sum, ids[i + 1]);
        if (i) *unshifted += loss_of(scores + i * vocab, vocab, log_sum, ids[i]);
    }
}

/* Options first .. first + n - 1 in one run, each in a fork of what they share. */
static sn_status score_batch(scorer *s, size_t shared, int64_t first, int n, int64_t tokens, double *loss, double *unshifted, sn_error *error) {
    sn_sequence fork[BATCH_ROWS] = {0};
    sn_lm_row rows[BATCH_ROWS];
    int64_t vocab = s->session.lm.vocab_size, at = 0;
    float *scores = sn_alloc((size_t)tokens, (size_t)vocab * sizeof *scores);
    sn_status status = scores ? SN_OK : sn_fail_memory(error);
    for (int i = 0; i < n && !status; i++) {
        const sn_ids *ids = &s->option[first + i];
        status = sn_sequence_fork(&s->session, &s->sequence, &fork[i], error);
        rows[i] = (sn_lm_row){.sequence = &fork[i], .ids = ids->data + shared - 1, .count = (int64_t)(ids->count - shared) + 1, .media = s->rows};
    }
    if (!status) status = sn_lm_extend(&s->session, rows, n, true, scores, error);
    for (int i = 0; i < n && !status; i++) {
        sum_losses(scores + at * vocab, vocab, rows[i].ids, rows[i].count, &loss[first + i], &unshifted[first + i]);
        at += rows[i].count;
    }
    for (int i = 0; i < n; i++) sn_sequence_free(&s->session, &fork[i]);
    sn_free(scores);
    return status;
}

/* Brings the cache to the first `length` ids of a prompt. */
static sn_status advance(scorer *s, const sn_ids *ids, size_t length, sn_error *error) {
    size_t same = common(&s->held, ids);
    if (same > length) same = length;
    sn_sequence_cut(&s->session, &s->sequence, (int32_t)same);
    s->held.count = same;
    if (same == length) return SN_OK;
    sn_status status = sn_lm_extend(&s->session, &(sn_lm_row){.sequence = &s->sequence, .ids = ids->data + same, .count = (int64_t)(length - same), .media = s->rows}, 1, false, NULL, error);
    for (size_t i = same; i < length && !status; i++)
        if (!sn_ids_add(&s->held, ids->data[i])) status = sn_fail_memory(error);
    if (status) s->held.count = 0, sn_sequence_cut(&s->session, &s->sequence, 0);
    return status;
}

static sn_status score_options(scorer *s, size_t shared, double *loss, double *unshifted, sn_error *error) {
    int64_t most = BATCH_SCORES / s->session.lm.vocab_size;
    sn_status status = advance(s, &s->option[0], shared - 1, error);
    for (int64_t first = 0, next; first < s->options && !status; first = next) {
        int64_t tokens = 0;
        for (next = first; next < s->options && next < first + BATCH_ROWS; next++) {
            int64_t more = (int64_t)(s->option[next].count - shared) + 1;
            if (next > first && tokens + more > most) break;
            tokens += more;
        }
        status = score_batch(s, shared, first, (int)(next - first), tokens, loss, unshifted, error);
    }
    return status;
}

/* ---- rounds ---- */

static sn_status score_round(scorer *s, const sn_set_round *round, double *loss, double *unshifted, sn_error *error) {
    sn_ids context = {0};
    sn_status status = render(s, NULL, &context, error);
    size_t shared = context.count;
    free_options(s);
    s->option = sn_alloc((size_t)round->num_options, sizeof *s->option);
    if (!status && !s->option) status = sn_fail_memory(error);
    for (int64_t i = 0; i < round->num_options && !status; i++) {
        status = render(s, round->option[i], &s->option[s->options], error);
        if (status) break;
        size_t same = common(&context, &s->option[s->options++]);
        if (same < shared) shared = same; /* a tokenizer that joins the two texts */
    }
    sn_ids_free(&context);
    if (!status && shared < 1) status = sn_fail(error, SN_ERROR_INPUT, "the options share no beginning");
    return status ? status : score_options(s, shared, loss, unshifted, error);
}

static json_t *list_of(const double *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static sn_status add_round(scorer *s, const char *name, const sn_set_round *round, sn_error *error) {
    double *loss = sn_alloc(2 * (size_t)round->num_options + 1, sizeof *loss);
    if (!loss) return sn_fail_memory(error);
    sn_status status = score_round(s, round, loss, loss + round->num_options, error);
    if (status) status = sn_evaluation_missing(s->e, name, status, error);
    else status = sn_results_add(s->e->results, name, json_pack("{s:o, s:o}", "losses", list_of(loss, round->num_options), "losses_unshifted", list_of(loss + round->num_options, round->num_options)), error);
    sn_free(loss);
    return status;
}

static void round_name(const sn_set_dialogue *d, int64_t r, char name[128]) { snprintf(name, 128, "dialogue %.64s round %lld", d->id, (long long)r + 1); }

/* The picture's rows, once a dialogue. */
static sn_status open_picture(scorer *s, const sn_set_dialogue *d, sn_picture **picture, sn_error *error) {
    char *path;
    *picture = NULL;
    sn_sequence_cut(&s->session, &s->sequence, 0);
    s->held.count = 0;
    sn_status status = sn_evaluation_path(s->e, &s->e->set.pictures[d->picture], &path, error);
    if (!status) status = sn_picture_open(s->pictures, path, &s->e->image, picture, error);
    if (!status) status = sn_picture_rows(s->pictures, *picture, s->e->cancel, &s->rows, error);
    sn_free(path);
    return status;
}

static sn_status add_dialogue(scorer *s, const sn_set_dialogue *d, sn_error *error) {
    sn_picture *picture = NULL;
    sn_error why = {0};
    sn_status status = SN_OK, opened = SN_ERROR_USAGE; /* not yet */
    s->context.length = 0;
    for (int64_t r = 0; r < d->num_rounds && !status; r++) {
        const sn_set_round *round = &d->round[r];
        char name[128];
        round_name(d, r, name);
        sn_buf_printf(&s->context, "%sQ: %s?", r ? "\n" : "", round->question);
        size_t length = s->context.length;
        sn_buf_puts(&s->context, "\nA: ");
        if (s->context.failed) status = sn_fail_memory(error);
        if (!status && round->right >= 0 && !sn_evaluation_find(s->e, name)) {
            if (opened == SN_ERROR_USAGE) opened = open_picture(s, d, &picture, &why);
            if (opened) sn_fail(error, opened, "%s", why.message);
            status = opened ? sn_evaluation_missing(s->e, name, opened, error) : add_round(s, name, round, error);
        }
        s->context.length = length;
        sn_buf_printf(&s->context, "\nA: %s", round->answer ? round->answer : "");
        if (!status) status = sn_evaluation_step(s->e, error);
    }
    if (picture) sn_picture_drop(s->pictures, picture);
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

static sn_status read_dialogues(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_dialogues(path, sn_argument(e->arguments, "relevance"), &e->set, error); }

static sn_status visdial(sn_evaluation *e, sn_error *error) {
    sn_model *m = e->model;
    scorer s = {.e = e};
    json_t *published = json_object();
    int64_t steps = 0;
    if (!m->has_lm || !m->has_vision || !m->system->prompt) return sn_fail(error, SN_ERROR_SUPPORT, "%s: visdial needs a language model that reads pictures", m->system->title);
    e->protocol = "options by the sum of their tokens' losses behind the picture and \"Q: …?\\nA: …\"; published: as FROMAGe's script counts, without the shift by one token";
    for (int64_t i = 0; i < e->set.num_dialogues; i++) steps += e->set.dialogues[i].num_rounds;
    sn_status status = published ? sn_pictures_new(m, FEATURES_KEPT, &s.pictures, error) : sn_fail_memory(error);
    if (!status) status = sn_lm_session_open(&s.session, m->engine, m->store, &m->lm, sn_engine_compute(m->engine, m->store), error);
    s.session.cancel = e->cancel;
    sn_evaluation_begin(e, "rounds", steps);
    for (int64_t i = 0; i < e->set.num_dialogues && !status; i++) status = add_dialogue(&s, &e->set.dialogues[i], error);
    if (!status) status = count_all(e, "losses", false, e->metrics, &e->items, error);
    if (!status) status = count_all(e, "losses_unshifted", true, published, &e->items, error);
    if (!status) json_object_set(e->metrics, "published", published);
    json_decref(published);
    free_options(&s);
    sn_ids_free(&s.held);
    sn_buf_free(&s.context);
    if (s.session.cache) sn_sequence_free(&s.session, &s.sequence);
    sn_lm_session_close(&s.session);
    sn_pictures_free(s.pictures);
    return status;
}

const sn_evaluation_task sn_task_visdial = {.name = "visdial", .what = "rounds", .read = read_dialogues, .run = visdial};
