/* How an answer is generated (generation.md). One table of names serves the command line, requests and recipes. */
#ifndef SN_GENERATE_OPTIONS_H
#define SN_GENERATE_OPTIONS_H

#include "base/error.h"

enum { SN_MAX_STOPS = 16, SN_MAX_EOS = 8 };

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
    bool beam_length_2023; /* generation.md 3.2 */
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
