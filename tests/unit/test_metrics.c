/* Metrics on examples small enough to check by hand; the published programs' numbers are in the reference cases
 * components/metrics. */
#include "base/memory.h"
#include "eval/answers.h"
#include "eval/captions.h"
#include "eval/detection.h"
#include "eval/ranking.h"
#include "eval/words.h"
#include "tests/unit/check.h"

#include <math.h>

static void test_stems(void **state) {
    static const char *const pairs[][2] = {{"caresses", "caress"}, {"ponies", "poni"}, {"ties", "tie"}, {"died", "die"}, {"feed", "feed"}, {"agreed", "agre"}, {"hopping", "hop"}, {"falling", "fall"},
                                           {"filing", "file"}, {"happy", "happi"}, {"enjoy", "enjoy"}, {"relational", "relat"}, {"radically", "radic"}, {"skies", "sky"}, {"as", "as"}, {"", ""}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char stem[16];
        sn_porter_stem(pairs[i][0], stem);
        assert_string_equal(stem, pairs[i][1]);
    }
}

/* A caption equal to its reference is perfect; an empty one is worth nothing, and breaks nothing. */
static void test_captions(void **state) {
    const char *one[] = {"a red car on the road"}, *two[] = {"two dogs run in the snow", "dogs"};
    const char *predictions[] = {"a red car on the road", ""};
    const char *const *references[] = {one, two};
    sn_captions captions = {2, predictions, references, (int64_t[]){1, 2}};
    sn_caption_scores s;
    sn_error error = {0};
    assert_ok(sn_captions_score(&captions, &s, &error), error);
    assert_true(fabs(s.bleu_each[3] - 1) < 1e-6 && fabs(s.cider_each[0] - 10) < 1e-6 && fabs(s.rouge_l_each[0] - 1) < 1e-9);
    assert_true(fabs(s.meteor_stem_each[0] - (1 - 0.5 / 216)) < 1e-9); /* one run of six words */
    assert_true(s.bleu_each[7] < 1e-9 && s.cider_each[1] == 0 && s.rouge_l_each[1] == 0 && s.meteor_stem_each[1] == 0);
    sn_caption_scores_free(&s);
    captions.num_references = (int64_t[]){1, 0};
    assert_int_equal(sn_captions_score(&captions, &s, &error), SN_ERROR_INPUT);
    captions.count = 0;
    assert_int_equal(sn_captions_score(&captions, &s, &error), SN_ERROR_INPUT);
}

/* Four of ten annotators agree: each of them has three others, so all count in full; three of ten: only seven do. */
static void test_vqa(void **state) {
    const char *four[] = {"Red", "red", "red", "red", "red", "blue", "a", "b", "c", "d"}, *three[] = {"red", "red", "red", "x", "y", "z", "a", "b", "c", "d"};
    double accuracy;
    sn_error error = {0};
    assert_ok(sn_vqa_accuracy("\n The red!", four, 10, &accuracy, &error), error);
    assert_true(accuracy == 1);
    assert_ok(sn_vqa_accuracy("red", three, 10, &accuracy, &error), error);
    assert_true(fabs(accuracy - 0.9) < 1e-12);
    assert_ok(sn_vqa_accuracy("red", NULL, 0, &accuracy, &error), error);
    assert_true(accuracy == 0);
}

static void test_choices(void **state) {
    static const struct { const char *text; int64_t choices; int want; } cases[] = {
        {" C ", 3, 2}, {"B. because", 4, 1}, {"So. The answer is C. And The answer is D.", 4, 2}, {"The answer is F. The answer is B", 4, 1}, {"E", 4, -1}, {"", 4, -1}, {"\nA", 4, -1}, {"A\nB", 4, 0},
        {"A.", 4, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_int_equal(sn_scienceqa_choice(cases[i].text, cases[i].choices), cases[i].want);
    static const struct { const char *text; bool yes; } pope[] = {{"No, there is none", false}, {"Yes. no", true}, {"It is,no", true}, {"it is, not", false}, {"NO", true}, {"", true}, {"no.", false}, {"nothing", true}};
    for (size_t i = 0; i < sizeof pope / sizeof *pope; i++) assert_int_equal(sn_pope_yes(pope[i].text), pope[i].yes);
    sn_binary_scores none = sn_binary_score(NULL, NULL, 0);
    assert_true(none.accuracy == 0 && none.f1 == 0);
}

static void test_orders(void **state) {
    double scores[] = {0.5, 0.9, 0.5, 0.1}, ap, ndcg, median;
    bool labels[] = {false, true, true, false};
    int64_t order[4], ranks[] = {1, 0, 4, 3};
    sn_error error = {0};
    assert_true(sn_order(scores, 4, false, order));
    assert_true(order[0] == 1 && order[1] == 0 && order[2] == 2 && order[3] == 3);
    assert_int_equal(sn_first_rank(order, 4, labels), 1);
    assert_true(fabs(sn_average_precision_at(order, 4, labels) - (1 + 2.0 / 3) / 2) < 1e-12);
    assert_ok(sn_average_precision(scores, labels, 4, &ap, &error), error); /* the two of equal score enter together */
    assert_true(fabs(ap - (0.5 * 1 + 0.5 * 2 / 3)) < 1e-12);
    assert_ok(sn_ndcg(order, 4, (double[]){0, 0, 1, 0.5}, &ndcg, &error), error);
    assert_true(ndcg == 0); /* neither of the first two places has a gain */
    assert_true(sn_recall_at(ranks, 4, 3) == 0.5 && fabs(sn_mean_reciprocal(ranks, 4) - (1 + 0.25 + 1.0 / 3) / 4) < 1e-12);
    assert_ok(sn_median_rank(ranks, 4, &median, &error), error);
    assert_true(median == 3 && fabs(sn_mean_rank(ranks, 4) - 8.0 / 3) < 1e-12);
    assert_true(sn_in_top(scores, 4, 0, 2) && !sn_in_top(scores, 4, 2, 2));
}

static void test_boxes(void **state) {
    double a[] = {0, 0, 10, 10}, b[] = {5, 0, 10, 10}, far[] = {20, 20, 1, 1};
    assert_true(fabs(sn_box_overlap(a, b, false) - 50.0 / 150) < 1e-12 && sn_box_overlap(a, b, true) == 0.5 && sn_box_overlap(a, far, false) == 0);
    sn_true_box truth[] = {{1, 1, {0, 0, 10, 10}, 100, false}, {1, 1, {50, 50, 40, 40}, 1600, false}};
    sn_found_box found[] = {{1, 1, {0, 0, 10, 10}, 0.9}, {1, 2, {50, 50, 40, 40}, 0.8}};
    sn_detection_scores s;
    sn_error error = {0};
    assert_ok(sn_detection_score(truth, 2, found, 2, &s, &error), error);
    assert_true(fabs(s.ap_small - 1) < 1e-9 && s.ap_medium == 0 && s.ap_large == -1 && s.ar100 == 0.5);
    assert_true(fabs(s.ap - 51.0 / 101) < 1e-9); /* precision 1 up to a recall of one half */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stems),   cmocka_unit_test(test_captions), cmocka_unit_test(test_vqa),
                                       cmocka_unit_test(test_choices), cmocka_unit_test(test_orders),   cmocka_unit_test(test_boxes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
