/* The table of options: name, place, range. */
#include "generate/options.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

sn_generate_options sn_generate_defaults(void) {
    return (sn_generate_options){.max_new_tokens = 512, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .num_beams = 1, .num_return = 1, .length_penalty = 1, .forced_eos = -1, .mark = -1, .mark_factor = 1};
}

static const struct entry {
    const char *name;
    size_t place;
    bool whole;
    double low, high;
} table[] = {
    {"max_new_tokens", offsetof(sn_generate_options, max_new_tokens), true, 1, 1 << 20},
    {"min_new_tokens", offsetof(sn_generate_options, min_new_tokens), true, 0, 1 << 20},
    {"min_length", offsetof(sn_generate_options, min_length), true, 0, 1 << 20},
    {"temperature", offsetof(sn_generate_options, temperature), false, 0, 100},
    {"top_k", offsetof(sn_generate_options, top_k), true, 0, 1 << 24},
    {"top_p", offsetof(sn_generate_options, top_p), false, 0, 1},
    {"min_p", offsetof(sn_generate_options, min_p), false, 0, 1},
    {"typical_p", offsetof(sn_generate_options, typical_p), false, 0, 1},
    {"epsilon_cutoff", offsetof(sn_generate_options, epsilon), false, 0, 1},
    {"eta_cutoff", offsetof(sn_generate_options, eta), false, 0, 1},
    {"repetition_penalty", offsetof(sn_generate_options, repetition_penalty), false, 0.01, 100},
    {"no_repeat_ngram_size", offsetof(sn_generate_options, no_repeat_ngram), true, 0, 1 << 20},
    {"num_beams", offsetof(sn_generate_options, num_beams), true, 1, 16},
    {"num_return_sequences", offsetof(sn_generate_options, num_return), true, 1, 16},
    {"max_length", offsetof(sn_generate_options, max_length), true, 1, 1 << 24},
    {"min_word_tokens", offsetof(sn_generate_options, mark_after), true, 0, 1 << 20},
    {"ret_scale_factor", offsetof(sn_generate_options, mark_factor), false, -1000, 1000},
    {"length_penalty", offsetof(sn_generate_options, length_penalty), false, -100, 100},
};

sn_status sn_generate_set(sn_generate_options *o, const char *name, const char *value, sn_error *error) {
    if (strcmp(name, "seed") == 0) {
        char *end;
        errno = 0;
        unsigned long long seed = strtoull(value, &end, 10);
        if (!value[0] || *end || errno || value[0] == '-') return sn_fail(error, SN_ERROR_USAGE, "seed: found \"%s\", expected a whole number from 0", value);
        o->seed = seed;
        return SN_OK;
    }
    if (strcmp(name, "early_stopping") == 0) {
        static const char *const words[] = {"false", "true", "never"};
        for (int i = 0; i < 3; i++)
            if (strcmp(value, words[i]) == 0) {
                o->early_stopping = i;
                return SN_OK;
            }
        return sn_fail(error, SN_ERROR_USAGE, "early_stopping: found \"%s\", expected true, false or never", value);
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct entry *e = &table[i];
        if (strcmp(e->name, name) != 0) continue;
        char *end;
        locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* 0.2 is 0.2 in every locale */
        double number = strtod_l(value, &end, c);
        freelocale(c);
        if (!value[0] || *end || !(number >= e->low && number <= e->high) || (e->whole && number != (double)(long long)number))
            return sn_fail(error, SN_ERROR_USAGE, "%s: found \"%s\", expected %s from %g to %g", name, value, e->whole ? "a whole number" : "a number", e->low, e->high);
        if (e->whole) *(int *)((char *)o + e->place) = (int)number;
        else *(double *)((char *)o + e->place) = number;
        return SN_OK;
    }
    return sn_fail(error, SN_ERROR_USAGE, "there is no option %s", name);
}
