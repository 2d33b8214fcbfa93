/* Caption metrics (specs of COCO's evaluation): BLEU 1-4, CIDEr-D, ROUGE-L, and METEOR on exact and stem matches. */
#ifndef SN_EVAL_CAPTIONS_H
#define SN_EVAL_CAPTIONS_H

#include "base/error.h"

/* Texts are tokenised: words between blanks. */
typedef struct sn_captions {
    int64_t count;
    const char *const *predictions;       /* [count] */
    const char *const *const *references; /* [count][num_references[i]] */
    const int64_t *num_references;        /* [count], each at least 1 */
} sn_captions;

/* Over the whole set, and for each caption. */
typedef struct sn_caption_scores {
    double bleu[4], cider, rouge_l, meteor_stem;
    double *bleu_each; /* [count, 4] */
    double *cider_each, *rouge_l_each, *meteor_stem_each;
} sn_caption_scores;

sn_status sn_captions_score(const sn_captions *captions, sn_caption_scores *out, sn_error *error);
void sn_caption_scores_free(sn_caption_scores *scores);

/* A caption's tokens with blanks between them ("tokenizer: builtin"): near to the Penn Treebank tokenizer of COCO's
 * evaluation, without the punctuation that it drops. NULL without memory. Freed by sn_free. */
char *sn_caption_tokens(const char *text);

#endif
