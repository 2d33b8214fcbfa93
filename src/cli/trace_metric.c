/* `sensorium trace` for metrics: predictions and references of the request in, scores out. */
#include "cli/trace.h"
#include "eval/answers.h"
#include "eval/captions.h"
#include "eval/detection.h"
#include "eval/ranking.h"
#include "eval/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sn_status expected(sn_tracer *t, const char *what) { return sn_fail(t->error, SN_ERROR_INPUT, "request.json: expected %s", what); }

static void put(sn_tracer *t, const char *name, double value) { json_object_set_new(t->values, name, json_real(value)); }

static void put_each(sn_tracer *t, const char *name, const double *values, int64_t count, int64_t step) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i * step]));
    json_object_set_new(t->values, name, list);
}

/* ---- lists of numbers ---- */

/* A list of lists of `columns` numbers (0 = as many as the first has), row by row. */
static sn_status read_table(sn_tracer *t, const json_t *list, const char *name, int64_t *rows, int64_t *columns, double **out) {
    *rows = (int64_t)json_array_size(list);
    if (!*columns) *columns = (int64_t)json_array_size(json_array_get(list, 0));
    double *table = *out = sn_arena_alloc(t->arena, (size_t)(*rows * *columns) + 1, sizeof *table);
    if (!table) return sn_fail_memory(t->error);
    if (!*rows || !*columns) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: %s: expected a list of lists of numbers", name);
    for (int64_t i = 0; i < *rows; i++) {
        const json_t *row = json_array_get(list, (size_t)i);
        if ((int64_t)json_array_size(row) != *columns)
            return sn_fail(t->error, SN_ERROR_INPUT, "request.json: %s: row %lld has %zu numbers, expected %lld", name, (long long)i, json_array_size(row), (long long)*columns);
        for (int64_t j = 0; j < *columns; j++) {
            const json_t *value = json_array_get(row, (size_t)j);
            if (!json_is_number(value)) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: %s: row %lld: expected numbers", name, (long long)i);
            table[i * *columns + j] = json_number_value(value);
        }
    }
    return SN_OK;
}

/* ---- captions ---- */

static const char *const stem_examples[] = {
    "adjustment", "adoption", "agreed", "allowance", "caresses", "cease", "communism", "conditional", "conflated", "controlling", "digitizer", "dying", "effective", "electricity", "falling", "feed",
    "feudalism", "filing", "formality", "formative", "goodness", "happy", "hopefulness", "hopping", "lying", "motoring", "news", "operator", "plastered", "ponies", "radically", "rate", "relational",
    "revival", "roll", "sensitivity", "skis", "ties", "triplicate", "valenci", "vietnamization"};

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Every word of the texts, and Porter's own examples, with its stem. */
static sn_status put_stems(sn_tracer *t, const sn_captions *c) {
    json_t *seen = json_object(), *pairs = json_array();
    sn_words words = {0};
    bool ok = seen && pairs;
    for (size_t i = 0; i < sizeof stem_examples / sizeof *stem_examples; i++) json_object_set_new(seen, stem_examples[i], json_true());
    for (int64_t i = 0; i < c->count && ok; i++)
        for (int64_t r = -1; r < c->num_references[i] && ok; r++) {
            ok = sn_words_split(&words, r < 0 ? c->predictions[i] : c->references[i][r]);
            for (size_t w = 0; w < words.count && ok; w++) {
                char *word = sn_strndup(words.word[w].text, words.word[w].length);
                ok = word && json_object_set_new(seen, word, json_true()) == 0;
                sn_free(word);
            }
        }
    size_t count = json_object_size(seen), n = 0;
    const char **sorted = sn_arena_alloc(t->arena, count + 1, sizeof *sorted), *key;
    json_t *unused;
    ok = ok && sorted;
    if (ok) {
        json_object_foreach(seen, key, unused) sorted[n++] = key;
        qsort(sorted, n, sizeof *sorted, by_text);
    }
    for (size_t i = 0; i < n && ok; i++) {
        char *lower = sn_text_lower(sorted[i]), *stem = lower ? sn_alloc(strlen(lower) + 3, 1) : NULL;
        if (stem) sn_porter_stem(lower, stem), json_array_append_new(pairs, json_pack("[s,s]", sorted[i], stem));
        ok = stem != NULL;
        sn_free(lower);
        sn_free(stem);
    }
    json_object_set_new(t->values, "stem_pairs", pairs);
    json_decref(seen);
    sn_words_free(&words);
    return ok ? SN_OK : sn_fail_memory(t->error);
}

static sn_status read_captions(sn_tracer *t, sn_captions *out) {
    const json_t *predictions = sn_json_at(t->request, "predictions"), *references = sn_json_at(t->request, "references");
    size_t n = json_array_size(predictions);
    const char **texts = sn_arena_alloc(t->arena, n + 1, sizeof *texts), ***lists = sn_arena_alloc(t->arena, n + 1, sizeof *lists);
    int64_t *counts = sn_arena_alloc(t->arena, n + 1, sizeof *counts);
    if (!texts || !lists || !counts) return sn_fail_memory(t->error);
    if (!n || json_array_size(references) != n) return expected(t, "as many lists of references as predictions");
    for (size_t i = 0; i < n; i++) {
        const json_t *list = json_array_get(references, i);
        counts[i] = (int64_t)json_array_size(list);
        lists[i] = sn_arena_alloc(t->arena, (size_t)counts[i] + 1, sizeof **lists);
        if (!lists[i]) return sn_fail_memory(t->error);
        if (!(texts[i] = json_string_value(json_array_get(predictions, i)))) return expected(t, "texts as predictions");
        for (int64_t r = 0; r < counts[i]; r++)
            if (!(lists[i][r] = json_string_value(json_array_get(list, (size_t)r)))) return expected(t, "texts as references");
    }
    *out = (sn_captions){(int64_t)n, texts, (const char *const *const *)lists, counts};
    return SN_OK;
}

static sn_status captions(sn_tracer *t) {
    sn_captions c;
    sn_caption_scores s;
    sn_status status = read_captions(t, &c);
    if (!status) status = sn_captions_score(&c, &s, t->error);
    if (status) return status;
    put_each(t, "bleu", s.bleu, 4, 1);
    put(t, "cider", s.cider);
    put(t, "rouge_l", s.rouge_l);
    put(t, "meteor_stem", s.meteor_stem);
    put_each(t, "bleu1_each", s.bleu_each, c.count, 4);
    put_each(t, "bleu4_each", s.bleu_each + 3, c.count, 4);
    put_each(t, "cider_each", s.cider_each, c.count, 1);
    put_each(t, "rouge_l_each", s.rouge_l_each, c.count, 1);
    put_each(t, "meteor_stem_each", s.meteor_stem_each, c.count, 1);
    sn_caption_scores_free(&s);
    return put_stems(t, &c);
}

/* ---- items: a prediction and what it is held against ---- */

typedef struct group_sums {
    json_t *sum, *count; /* objects by group name */
} group_sums;

static void add_to(json_t *object, const char *name, double value) { json_object_set_new(object, name, json_real(json_number_value(json_object_get(object, name)) + value)); }

/* A group's name may be a text or a number; an item without one is in no group. */
static void group_add(group_sums *g, const json_t *name, double value) {
    char number[32];
    if (!g->sum) g->sum = json_object(), g->count = json_object();
    if (json_is_integer(name)) snprintf(number, sizeof number, "%lld", (long long)json_integer_value(name));
    else if (!json_is_string(name)) return;
    const char *key = json_is_string(name) ? json_string_value(name) : number;
    add_to(g->sum, key, value);
    add_to(g->count, key, 1);
}

static json_t *group_means(group_sums *g, double scale, bool round) {
    json_t *out = json_object(), *sum;
    const char *name;
    json_object_foreach(g->sum, name, sum) {
        double mean = scale * json_real_value(sum) / json_real_value(json_object_get(g->count, name));
        json_object_set_new(out, name, json_real(round ? sn_round2(mean) : mean));
    }
    json_decref(g->sum);
    json_decref(g->count);
    return out;
}

static const char *const vqa_examples[] = {
    "yes", "no", "2", "two", "a red car", "the red car", "red", "Red.", "it's", "its", "dont know", "don't know", "3:30", "1,000", "1000", "10.5", "U.S.", "left/right", "left", "tv-stand", "t-shirt",
    "t shirt", "none", "0", "an apple", "apple ", "black and white", "black & white", "black, white", "(b)", "yes\n", "\tno", "what?", "what ?", "St. John", "5.0", "$5", "isnt", "one", "One", "a",
    "the", "", "wouldnt've", "ten", "Eight cats", "e.g. this", "3.", ".5", "x;y", "; x", "[x]", "\"quoted\"", "under_score", "a-b -c", "1,2,3", "1, 2"};

/* What the normalisers make of some answers. */
static sn_status put_normalised(sn_tracer *t) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < sizeof vqa_examples / sizeof *vqa_examples && ok; i++) {
        char *stripped = sn_vqa_strip(vqa_examples[i]), *plain = stripped ? sn_vqa_punctuation(stripped) : NULL, *whole = plain ? sn_vqa_digits_articles(plain) : NULL;
        ok = whole && json_array_append_new(list, json_pack("[s,s,s]", vqa_examples[i], plain, whole)) == 0;
        sn_free(stripped);
        sn_free(plain);
        sn_free(whole);
    }
    json_object_set_new(t->values, "normalised", list);
    return ok ? SN_OK : sn_fail_memory(t->error);
}

/* An answer is a text, or an object with `answer`. */
static sn_status vqa_item(sn_tracer *t, const json_t *item, double *accuracy) {
    const json_t *list = json_object_get(item, "answers");
    size_t n = json_array_size(list);
    const char **answers = sn_arena_alloc(t->arena, n + 1, sizeof *answers), *prediction = json_string_value(json_object_get(item, "prediction"));
    if (!answers) return sn_fail_memory(t->error);
    if (!prediction || !n) return expected(t, "items with prediction and answers");
    for (size_t i = 0; i < n; i++) {
        const json_t *answer = json_array_get(list, i);
        if (!(answers[i] = json_string_value(json_is_object(answer) ? json_object_get(answer, "answer") : answer))) return expected(t, "texts as answers");
    }
    return sn_vqa_accuracy(prediction, answers, (int64_t)n, accuracy, t->error);
}

static sn_status vqa(sn_tracer *t) {
    const json_t *items = sn_json_at(t->request, "items"), *item;
    group_sums question = {0}, answer = {0}, all = {0};
    json_t *each = json_array(), *name = json_string("overall");
    sn_status status = json_array_size(items) ? SN_OK : expected(t, "items");
    size_t i;
    json_array_foreach(items, i, item) {
        double accuracy;
        if (!status) status = vqa_item(t, item, &accuracy);
        if (status) break;
        json_array_append_new(each, json_real(sn_round2(100 * accuracy)));
        group_add(&all, name, accuracy);
        group_add(&question, json_object_get(item, "question_type"), accuracy);
        group_add(&answer, json_object_get(item, "answer_type"), accuracy);
    }
    json_t *overall = group_means(&all, 100, true);
    if (!status) json_object_update(t->values, overall);
    json_decref(overall);
    json_decref(name);
    json_object_set_new(t->values, "per_question_type", group_means(&question, 100, true));
    json_object_set_new(t->values, "per_answer_type", group_means(&answer, 100, true));
    json_object_set_new(t->values, "each", each);
    return status ? status : put_normalised(t);
}

static sn_status scienceqa(sn_tracer *t) {
    const json_t *items = sn_json_at(t->request, "items"), *item;
    group_sums sets = {0}, subjects = {0}, grades = {0};
    json_t *parsed = json_array(), *all = json_string("accuracy"), *with = json_string("image_accuracy"), *without = json_string("no_image_accuracy");
    json_t *low = json_string("1-6"), *high = json_string("7-12");
    sn_status status = json_array_size(items) ? SN_OK : expected(t, "items");
    size_t i;
    json_array_foreach(items, i, item) {
        const char *text = json_string_value(json_object_get(item, "prediction")); /* a missing one is wrong */
        const json_t *grade = json_object_get(item, "grade");
        int choice = text ? sn_scienceqa_choice(text, json_integer_value(json_object_get(item, "choices"))) : -1;
        double right = choice >= 0 && choice == json_integer_value(json_object_get(item, "answer"));
        json_array_append_new(parsed, json_integer(choice));
        group_add(&sets, all, right);
        group_add(&sets, json_is_true(json_object_get(item, "image")) ? with : without, right);
        group_add(&subjects, json_object_get(item, "subject"), right);
        if (json_is_integer(grade)) group_add(&grades, json_integer_value(grade) <= 6 ? low : high, right);
    }
    json_t *means = group_means(&sets, 100, false);
    json_object_update(t->values, means);
    json_decref(means);
    json_object_set_new(t->values, "by_subject", group_means(&subjects, 100, false));
    json_object_set_new(t->values, "by_grade", group_means(&grades, 100, false));
    json_object_set_new(t->values, "parsed", parsed);
    json_decref(all), json_decref(with), json_decref(without), json_decref(low), json_decref(high);
    return status;
}

static sn_status pope(sn_tracer *t) {
    const json_t *items = sn_json_at(t->request, "items"), *item;
    size_t n = json_array_size(items), i;
    bool *predicted = sn_arena_alloc(t->arena, n + 1, sizeof *predicted), *label = sn_arena_alloc(t->arena, n + 1, sizeof *label);
    json_t *parsed = json_array();
    if (!predicted || !label) return sn_fail_memory(t->error);
    if (!n) return expected(t, "items");
    json_array_foreach(items, i, item) {
        const char *text = json_string_value(json_object_get(item, "prediction")), *wanted = json_string_value(json_object_get(item, "label"));
        if (!wanted) return expected(t, "items with a label, yes or no");
        predicted[i] = sn_pope_yes(text ? text : ""), label[i] = strcmp(wanted, "no") != 0;
        json_array_append_new(parsed, json_string(predicted[i] ? "yes" : "no"));
    }
    sn_binary_scores s = sn_binary_score(predicted, label, (int64_t)n);
    json_object_set_new(t->values, "parsed", parsed);
    put(t, "accuracy", s.accuracy), put(t, "precision", s.precision), put(t, "recall", s.recall), put(t, "f1", s.f1), put(t, "yes_ratio", s.yes_ratio);
    return SN_OK;
}

/* ---- orders ---- */

static sn_status put_ranks(sn_tracer *t, const int64_t *ranks, int64_t count) {
    static const int64_t cuts[] = {1, 5, 10, 20};
    json_t *list = json_array();
    double median;
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_integer(ranks[i]));
    json_object_set_new(t->values, "ranks", list);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        char name[32];
        snprintf(name, sizeof name, "recall@%lld", (long long)cuts[i]);
        put(t, name, sn_recall_at(ranks, count, cuts[i]));
    }
    put(t, "mrr", sn_mean_reciprocal(ranks, count));
    put(t, "mean_rank", sn_mean_rank(ranks, count));
    sn_status status = sn_median_rank(ranks, count, &median, t->error);
    put(t, "median_rank", status ? 0 : median);
    return status;
}

static sn_status retrieval(sn_tracer *t) {
    int64_t queries, items = 0, gain_rows;
    double *similarity, *gain = NULL, map = 0, ndcg = 0;
    const json_t *relevant = sn_json_at(t->request, "relevant"), *gains = sn_json_at(t->request, "gain");
    sn_status status = read_table(t, sn_json_at(t->request, "similarity"), "similarity", &queries, &items, &similarity);
    if (!status && gains) status = read_table(t, gains, "gain", &gain_rows, &items, &gain);
    if (status) return status;
    if ((int64_t)json_array_size(relevant) != queries || (gain && gain_rows != queries)) return expected(t, "relevant and gain for each query");
    int64_t *ranks = sn_arena_alloc(t->arena, (size_t)queries, sizeof *ranks), *order = sn_arena_alloc(t->arena, (size_t)items, sizeof *order);
    bool *is_relevant = sn_arena_alloc(t->arena, (size_t)items, 1);
    if (!ranks || !order || !is_relevant) return sn_fail_memory(t->error);
    for (int64_t q = 0; q < queries && !status; q++) {
        const json_t *list = json_array_get(relevant, (size_t)q);
        memset(is_relevant, 0, (size_t)items);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *index = json_array_get(list, i);
            if (!json_is_integer(index) || json_integer_value(index) < 0 || json_integer_value(index) >= items) return expected(t, "relevant: indices of items");
            is_relevant[json_integer_value(index)] = true;
        }
        if (!sn_order(similarity + q * items, items, false, order)) return sn_fail_memory(t->error);
        ranks[q] = sn_first_rank(order, items, is_relevant);
        map += sn_average_precision_at(order, items, is_relevant) / (double)queries;
        double one = 0;
        if (gain) status = sn_ndcg(order, items, gain + q * items, &one, t->error);
        ndcg += one / (double)queries;
    }
    put(t, "map", map);
    if (gain) put(t, "ndcg", ndcg);
    return status ? status : put_ranks(t, ranks, queries);
}

/* {losses [questions][candidates], gt_index [questions], gt_relevance [questions][candidates]}; the lowest loss is first. */
static sn_status visdial(sn_tracer *t) {
    const char *name = sn_json_string(t->request, "predictions");
    char *path = name ? sn_path_join(t->folder, name) : NULL;
    json_t *data = NULL;
    sn_status status = !name ? expected(t, "predictions: a file") : !path ? sn_fail_memory(t->error) : sn_json_file(path, 1 << 30, &data, t->error);
    int64_t questions, candidates = 0, rows = 0;
    double *losses, *gain = NULL, ndcg = 0;
    const json_t *right = sn_json_at(data, "gt_index"), *relevance = sn_json_at(data, "gt_relevance");
    if (!status) status = read_table(t, sn_json_at(data, "losses"), "losses", &questions, &candidates, &losses);
    if (!status && relevance) status = read_table(t, relevance, "gt_relevance", &rows, &candidates, &gain);
    if (!status && ((int64_t)json_array_size(right) != questions || (gain && rows != questions))) status = expected(t, "gt_index and gt_relevance for each question");
    int64_t *ranks = status ? NULL : sn_arena_alloc(t->arena, (size_t)questions, sizeof *ranks), *order = status ? NULL : sn_arena_alloc(t->arena, (size_t)candidates, sizeof *order);
    bool *is_right = status ? NULL : sn_arena_alloc(t->arena, (size_t)candidates, 1);
    if (!status && (!ranks || !order || !is_right)) status = sn_fail_memory(t->error);
    for (int64_t q = 0; !status && q < questions; q++) {
        const json_t *index = json_array_get(right, (size_t)q);
        double one = 0;
        if (!json_is_integer(index) || json_integer_value(index) < 0 || json_integer_value(index) >= candidates) status = expected(t, "gt_index: indices of candidates");
        else if (!sn_order(losses + q * candidates, candidates, true, order)) status = sn_fail_memory(t->error);
        if (status) break;
        memset(is_right, 0, (size_t)candidates);
        is_right[json_integer_value(index)] = true;
        ranks[q] = sn_first_rank(order, candidates, is_right);
        if (gain) status = sn_ndcg(order, candidates, gain + q * candidates, &one, t->error);
        ndcg += one / (double)questions;
    }
    if (!status && gain) put(t, "ndcg", ndcg);
    if (!status) status = put_ranks(t, ranks, questions);
    json_decref(data);
    sn_free(path);
    return status;
}

/* ---- classes, perplexity ---- */

static sn_status put_multilabel(sn_tracer *t, const double *scores, int64_t items, int64_t classes) {
    int64_t rows, with = 0;
    double *labels, sum = 0;
    sn_status status = read_table(t, sn_json_at(t->request, "labels"), "labels", &rows, &classes, &labels);
    if (!status && rows != items) status = expected(t, "labels for each row of scores");
    if (status) return status;
    double *column = sn_arena_alloc(t->arena, (size_t)items, sizeof *column), *each = sn_arena_alloc(t->arena, (size_t)classes, sizeof *each);
    bool *set = sn_arena_alloc(t->arena, (size_t)items, 1);
    if (!column || !each || !set) return sn_fail_memory(t->error);
    for (int64_t c = 0; c < classes && !status; c++) {
        bool any = false;
        for (int64_t i = 0; i < items; i++) column[i] = scores[i * classes + c], set[i] = labels[i * classes + c] != 0, any = any || set[i];
        status = sn_average_precision(column, set, items, &each[c], t->error);
        if (any) sum += each[c], with++;
    }
    put_each(t, "ap_each", each, classes, 1);
    put(t, "multilabel_map", with ? sum / (double)with : 0);
    return status;
}

static sn_status put_top(sn_tracer *t, const double *scores, int64_t items, int64_t classes) {
    const json_t *wanted = sn_json_at(t->request, "class"), *metric;
    size_t m;
    if ((int64_t)json_array_size(wanted) != items) return expected(t, "a class for each row of scores");
    json_array_foreach(sn_json_at(t->request, "metrics"), m, metric) {
        const char *name = json_string_value(metric);
        int64_t k = name && strncmp(name, "top", 3) == 0 ? strtoll(name + 3, NULL, 10) : 0, right = 0;
        for (int64_t i = 0; i < items && k > 0; i++) {
            int64_t class = json_integer_value(json_array_get(wanted, (size_t)i));
            if (class < 0 || class >= classes) return expected(t, "class: indices of the columns of scores");
            right += sn_in_top(scores + i * classes, classes, class, k);
        }
        if (k > 0) put(t, name, (double)right / (double)items);
    }
    return SN_OK;
}

/* Over all texts together: the mean of means would weigh a short text like a long one. */
static sn_status perplexity(sn_tracer *t) {
    const json_t *nll = sn_json_at(t->request, "nll"), *mask = sn_json_at(t->request, "mask"), *row, *value;
    double sum = 0, count = 0;
    size_t i, j;
    json_array_foreach(nll, i, row) {
        const json_t *kept = json_array_get(mask, i);
        if (mask && json_array_size(kept) != json_array_size(row)) return expected(t, "a mask of the shape of nll");
        json_array_foreach(row, j, value) {
            double weight = mask ? json_number_value(json_array_get(kept, j)) : 1;
            if (weight != 0) sum += weight * json_number_value(value), count += weight;
        }
    }
    if (!(count > 0)) return expected(t, "nll of at least one token that is not masked");
    put(t, "mean_nll", sum / count);
    put(t, "perplexity", exp(sum / count));
    return SN_OK;
}

static sn_status classification(sn_tracer *t) {
    int64_t items, classes = 0;
    double *scores;
    sn_status status = read_table(t, sn_json_at(t->request, "scores"), "scores", &items, &classes, &scores);
    if (!status && sn_json_at(t->request, "labels")) status = put_multilabel(t, scores, items, classes);
    if (!status && sn_json_at(t->request, "class")) status = put_top(t, scores, items, classes);
    return status;
}

/* ---- boxes ---- */

static bool read_box(const json_t *object, double box[4]) {
    const json_t *list = json_object_get(object, "bbox");
    if (json_array_size(list) != 4) return false;
    for (size_t i = 0; i < 4; i++) {
        if (!json_is_number(json_array_get(list, i))) return false;
        box[i] = json_number_value(json_array_get(list, i));
    }
    return json_is_integer(json_object_get(object, "image_id")) && json_is_integer(json_object_get(object, "category_id"));
}

static sn_status detection(sn_tracer *t) {
    const json_t *annotations = sn_json_at(t->request, "annotations"), *detections = sn_json_at(t->request, "detections"), *item;
    size_t num_truth = json_array_size(annotations), num_found = json_array_size(detections), i;
    sn_true_box *truth = sn_arena_alloc(t->arena, num_truth + 1, sizeof *truth);
    sn_found_box *found = sn_arena_alloc(t->arena, num_found + 1, sizeof *found);
    if (!truth || !found) return sn_fail_memory(t->error);
    json_array_foreach(annotations, i, item) {
        sn_true_box *b = &truth[i];
        const json_t *area = json_object_get(item, "area");
        if (!read_box(item, b->box)) return expected(t, "annotations with image_id, category_id and bbox");
        b->image = json_integer_value(json_object_get(item, "image_id")), b->category = json_integer_value(json_object_get(item, "category_id"));
        b->area = json_is_number(area) ? json_number_value(area) : b->box[2] * b->box[3];
        b->crowd = json_number_value(json_object_get(item, "iscrowd")) != 0;
    }
    json_array_foreach(detections, i, item) {
        sn_found_box *b = &found[i];
        if (!read_box(item, b->box)) return expected(t, "detections with image_id, category_id, bbox and score");
        b->image = json_integer_value(json_object_get(item, "image_id")), b->category = json_integer_value(json_object_get(item, "category_id"));
        b->score = json_number_value(json_object_get(item, "score"));
    }
    sn_detection_scores s;
    sn_status status = sn_detection_score(truth, (int64_t)num_truth, found, (int64_t)num_found, &s, t->error);
    if (status) return status;
    put(t, "AP", s.ap), put(t, "AP50", s.ap50), put(t, "AP75", s.ap75), put(t, "APs", s.ap_small), put(t, "APm", s.ap_medium), put(t, "APl", s.ap_large);
    put(t, "AR1", s.ar1), put(t, "AR10", s.ar10), put(t, "AR100", s.ar100), put(t, "ARs", s.ar_small), put(t, "ARm", s.ar_medium), put(t, "ARl", s.ar_large);
    return SN_OK;
}

/* ---- the task ---- */

/* Which metrics a function computes; it runs once, whichever of them are asked for. */
static const struct {
    sn_status (*run)(sn_tracer *t);
    const char *names[8];
} metrics[] = {
    {captions, {"bleu", "cider", "rouge_l", "meteor_stem"}},
    {vqa, {"vqa_accuracy"}},
    {scienceqa, {"scienceqa"}},
    {pope, {"pope"}},
    {retrieval, {"recall", "map", "mrr", "median_rank", "mean_rank", "ndcg"}},
    {classification, {"multilabel_map", "top"}},
    {perplexity, {"perplexity"}},
    {detection, {"coco_map"}},
};
enum { NUM_METRICS = sizeof metrics / sizeof *metrics };

/* "top3" is "top", "recall@5" is "recall". */
static int metric_of(const char *name) {
    for (int m = 0; m < NUM_METRICS; m++)
        for (int i = 0; i < 8 && metrics[m].names[i]; i++) {
            size_t length = strlen(metrics[m].names[i]);
            if (strncmp(name, metrics[m].names[i], length) == 0 && strspn(name + length, "@0123456789") == strlen(name + length)) return m;
        }
    return -1;
}

sn_status sn_trace_metric(sn_tracer *t) {
    const json_t *list = sn_json_at(t->request, "metrics"), *item;
    const char *benchmark = sn_json_string(t->request, "benchmark");
    bool wanted[NUM_METRICS] = {0};
    if (benchmark && strcmp(benchmark, "visdial") == 0) return visdial(t);
    if (benchmark) return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: benchmark: found %s, expected visdial", benchmark);
    if (!json_array_size(list)) return expected(t, "metrics: a list of names");
    size_t i;
    json_array_foreach(list, i, item) {
        int m = json_is_string(item) ? metric_of(json_string_value(item)) : -1;
        if (m < 0) return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: metrics: found %s, which is not supported", json_is_string(item) ? json_string_value(item) : "no name");
        wanted[m] = true;
    }
    sn_status status = SN_OK;
    for (int m = 0; m < NUM_METRICS && !status; m++)
        if (wanted[m]) status = metrics[m].run(t);
    return status;
}
