/* How an answer is generated. One table of names serves the command line, requests and recipes. */
#ifndef SN_GENERATE_OPTIONS_H
#define SN_GENERATE_OPTIONS_H

#include "base/error.h"

enum { SN_MAX_STOPS = 16, SN_MAX_EOS = 8 };

/* A sequence of ids and what is added to the score of its last one when its beginning is the end of what was said. */
typedef struct sn_word {
    const int32_t *ids;
    int count;
    float bias;
} sn_word;

typedef struct sn_generate_options {
    int max_new_tokens, min_new_tokens, min_length;
    double temperature; /* 0 = greedy */
    int top_k;          /* 0 = off */
    double top_p, min_p, typical_p, epsilon, eta; /* 1, 0, 1, 0, 0 = off */
    double repetition_penalty;                    /* 1 = off */
    int no_repeat_ngram;                          /* 0 = off */
    int num_beams;
    double length_penalty;
    int early_stopping; /* 0 false, 1 true, 2 "never" */
    bool beam_length_2023; /* lengths count the prompt, as in 2023 */
    int num_return;        /* hypotheses that beam search gives back, at most num_beams */
    int max_length;        /* of the ids list, with forced_eos: the last place gets that id; 0 = off */
    int32_t forced_eos;    /* -1 = off */
    const sn_word *bias, *bad_words; /* not owned; the bias of bad words is not looked at */
    int num_bias, num_bad_words;
    const int32_t *suppress; /* ids that are never chosen */
    int num_suppress;
    int32_t mark;            /* a token that asks for something (FROMAGe's [RET]), -1 = none: … */
    int mark_after;          /* … never among the first tokens, … */
    double mark_factor;      /* … then its raw score is multiplied, whatever its sign */
    uint64_t seed;
    int num_eos;
    int32_t eos[SN_MAX_EOS];
    int num_stops;
    const char *stops[SN_MAX_STOPS]; /* not owned */
} sn_generate_options;

sn_generate_options sn_generate_defaults(void);

/* Sets an option by name ("temperature", "0.2"); the error names the option, the range and what was found. */
sn_status sn_generate_set(sn_generate_options *options, const char *name, const char *value, sn_error *error);

#endif
