/* Every option is rendered behind the beginning; what all of them share is computed once, and each goes on in a fork of it,
 * several in one run. */
#include "cli/eval_options.h"

#include <math.h>
#include <string.h>

enum { FEATURES_KEPT = 16 << 20, MAX_BATCH = 64, BATCH_SCORES = 1 << 24 };

static void free_options(sn_option_scorer *s) {
    for (int64_t i = 0; i < s->options; i++) sn_ids_free(&s->option[i]);
    sn_free(s->option);
    s->option = NULL, s->options = 0;
}

static size_t common(const sn_ids *a, const sn_ids *b) {
    size_t n = 0;
    while (n < a->count && n < b->count && a->data[n] == b->data[n]) n++;
    return n;
}

/* The beginning, with an option behind it or (NULL) without. */
static sn_status render(const sn_option_scorer *s, const sn_beginning *b, const char *option, sn_ids *out, sn_error *error) {
    const sn_model *m = s->e->model;
    sn_content *parts = sn_alloc((size_t)b->count + 1, sizeof *parts);
    char *joined = option && !b->apart ? sn_format("%s%s", b->parts[b->count - 1].text, option) : NULL;
    sn_request request = {.prompt = parts, .num_prompt = b->count + (option && b->apart), .literal = true};
    sn_prompt prompt = {0};
    sn_status status = !parts || (option && !b->apart && !joined) ? sn_fail_memory(error) : SN_OK;
    if (!status) memcpy(parts, b->parts, (size_t)b->count * sizeof *parts);
    if (!status && joined) parts[b->count - 1].text = joined;
    if (!status && option && b->apart) parts[b->count] = (sn_content){.text = option, .begins = true};
    if (!status) status = m->system->prompt(m, &request, &prompt, error);
    if (!status && (int64_t)prompt.ids.count > m->lm.max_positions)
        status = sn_fail(error, SN_ERROR_INPUT, "the prompt with its option takes %zu positions, the model's window holds %lld", prompt.ids.count, (long long)m->lm.max_positions);
    if (!status) *out = prompt.ids, prompt.ids = (sn_ids){0};
    sn_prompt_free(&prompt);
    sn_free(joined);
    sn_free(parts);
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
    *loss = 0;
    if (unshifted) *unshifted = 0;
    for (int64_t i = 0; i < count; i++) {
        double log_sum = log_sum_of(scores + i * vocab, vocab);
        if (i + 1 < count) *loss += loss_of(scores + i * vocab, vocab, log_sum, ids[i + 1]);
        if (i && unshifted) *unshifted += loss_of(scores + i * vocab, vocab, log_sum, ids[i]);
    }
}

/* Options first .. first + n - 1 in one run, each in a fork of what they share. */
static sn_status score_batch(sn_option_scorer *s, size_t shared, int64_t first, int n, int64_t tokens, double *loss, double *unshifted, sn_error *error) {
    sn_sequence fork[MAX_BATCH] = {0};
    sn_lm_row rows[MAX_BATCH];
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
        sum_losses(scores + at * vocab, vocab, rows[i].ids, rows[i].count, &loss[first + i], unshifted ? &unshifted[first + i] : NULL);
        at += rows[i].count;
    }
    for (int i = 0; i < n; i++) sn_sequence_free(&s->session, &fork[i]);
    sn_free(scores);
    return status;
}

/* Brings the cache to the first `length` ids of a prompt. */
static sn_status advance(sn_option_scorer *s, const sn_ids *ids, size_t length, sn_error *error) {
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

static sn_status score_all(sn_option_scorer *s, size_t shared, double *loss, double *unshifted, sn_error *error) {
    int64_t most = BATCH_SCORES / s->session.lm.vocab_size;
    sn_status status = advance(s, &s->option[0], shared - 1, error);
    for (int64_t first = 0, next; first < s->options && !status; first = next) {
        int64_t tokens = 0;
        for (next = first; next < s->options && next < first + s->batch; next++) {
            int64_t more = (int64_t)(s->option[next].count - shared) + 1;
            if (next > first && tokens + more > most) break;
            tokens += more;
        }
        status = score_batch(s, shared, first, (int)(next - first), tokens, loss, unshifted, error);
    }
    return status;
}

sn_status sn_score_options(sn_option_scorer *s, const sn_beginning *beginning, const char *const *options, int64_t count, double *loss, double *unshifted, sn_error *error) {
    sn_ids context = {0};
    sn_status status = render(s, beginning, NULL, &context, error);
    size_t shared = context.count;
    free_options(s);
    s->option = sn_alloc((size_t)count, sizeof *s->option);
    if (!status && !s->option) status = sn_fail_memory(error);
    for (int64_t i = 0; i < count && !status; i++) {
        status = render(s, beginning, options[i], &s->option[s->options], error);
        if (status) break;
        size_t same = common(&context, &s->option[s->options++]);
        if (same < shared) shared = same; /* a tokenizer that joins the two texts */
    }
    sn_ids_free(&context);
    if (!status && shared < 1) status = sn_fail(error, SN_ERROR_INPUT, "the options share no beginning");
    return status ? status : score_all(s, shared, loss, unshifted, error);
}

/* ---- opening ---- */

sn_status sn_option_scorer_open(sn_option_scorer *s, sn_evaluation *e, sn_error *error) {
    sn_model *m = e->model;
    *s = (sn_option_scorer){.e = e, .batch = 16};
    if (!m->has_lm || !m->has_vision || !m->system->prompt) return sn_fail(error, SN_ERROR_SUPPORT, "%s: %s needs a language model that reads pictures", m->system->title, e->task->name);
    sn_status status = sn_argument_integer(e->arguments, "batch", 1, MAX_BATCH, &s->batch, error);
    if (!status) status = sn_pictures_new(m, FEATURES_KEPT, &s->pictures, error);
    if (!status) status = sn_lm_session_open(&s->session, m->engine, m->store, &m->lm, sn_engine_compute(m->engine, m->store), error);
    s->session.cancel = e->cancel;
    return status;
}

static void drop_picture(sn_option_scorer *s) {
    if (s->picture) sn_picture_drop(s->pictures, s->picture);
    s->picture = NULL, s->rows = NULL;
}

sn_status sn_option_scorer_picture(sn_option_scorer *s, const sn_set_picture *picture, sn_error *error) {
    char *path;
    drop_picture(s);
    sn_sequence_cut(&s->session, &s->sequence, 0);
    s->held.count = 0;
    sn_status status = sn_evaluation_path(s->e, picture, &path, error);
    if (!status) status = sn_picture_open(s->pictures, path, &s->e->image, &s->picture, error);
    if (!status) status = sn_picture_rows(s->pictures, s->picture, s->e->cancel, &s->rows, error);
    sn_free(path);
    return status;
}

void sn_option_scorer_close(sn_option_scorer *s) {
    if (s->pictures) drop_picture(s);
    free_options(s);
    sn_ids_free(&s->held);
    if (s->session.cache) sn_sequence_free(&s->session, &s->sequence);
    sn_lm_session_close(&s->session);
    sn_pictures_free(s->pictures);
}
