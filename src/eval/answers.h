/* Metrics of short answers: VQA accuracy, ScienceQA's letters, POPE's yes and no. Texts are in UTF-8. */
#ifndef SN_EVAL_ANSWERS_H
#define SN_EVAL_ANSWERS_H

#include "base/error.h"

/* VQA accuracy's normalisers, as the official code has them; allocated, NULL without memory. The first is for
 * predictions alone: line ends and tabs become blanks, both ends are stripped. */
char *sn_vqa_strip(const char *text);
char *sn_vqa_punctuation(const char *text);
char *sn_vqa_digits_articles(const char *text);

/* 0..1: the mean over the annotators of min(1, equal answers of the others / 3). */
sn_status sn_vqa_accuracy(const char *prediction, const char *const *answers, int64_t count, double *out, sn_error *error);

/* Whether two texts are equal but for capitals and white space at both ends; *equal. */
sn_status sn_exact_match(const char *text, const char *answer, bool *equal, sn_error *error);

/* ScienceQA after LLaVA: the choice that a text names, 0 = A; -1 where it names none of so many. */
int sn_scienceqa_choice(const char *text, int64_t choices);

/* POPE: whether a text counts as yes. */
bool sn_pope_yes(const char *text);

/* Of a yes-or-no question set, "yes" being what is looked for. */
typedef struct sn_binary_scores {
    double accuracy, precision, recall, f1, yes_ratio;
} sn_binary_scores;
sn_binary_scores sn_binary_score(const bool *predicted, const bool *label, int64_t count);

#endif
