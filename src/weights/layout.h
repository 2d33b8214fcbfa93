/* Layouts: how the authors' names become ours.
 *
 * A table of rules is written once beside the part it belongs to and composed by prefixes. A rule never moves
 * data: it names a tensor, or a block of its rows. What shards or deltas add is said by the binding. */
#ifndef SN_WEIGHTS_LAYOUT_H
#define SN_WEIGHTS_LAYOUT_H

#include "runtime/store.h"
#include "weights/lora.h"

typedef enum sn_join { SN_JOIN_ROWS, SN_JOIN_COLUMNS, SN_JOIN_FIRST } sn_join; /* of model-parallel shards */

/* In `parts`: the file's table may be longer than what is wanted, which begins at its row `part`. */
enum { SN_SOME_ROWS = -1 };

typedef struct sn_name_rule {
    const char *canonical; /* "layers.{l}.attention.q.weight"; NULL: published name is known and not wanted */
    const char *published; /* "layers.{l}.self_attn.q_proj.weight"; {l} is one number in both */
    int part, parts;       /* parts > 1: the part-th of that many equal blocks of rows (q, k, v in one matrix) */
    bool transposed;       /* stored [in, out] */
    sn_join join;
} sn_name_rule;

typedef struct sn_names {
    const sn_name_rule *rules; /* ends with published == NULL */
    const char *canonical_prefix, *published_prefix;
    sn_source *const *sources; /* shards of one model, usually one */
    int num_sources;
    sn_source *delta; /* added to sources[0]: t = base + delta; NULL = none */
    const sn_lora *lora; /* merged into what the sources hold; NULL = none */
    bool partial; /* tensors that the rules know and the graph does not ask for are no surprise (a tower's last layers) */
} sn_names;

/* What binding found: names, for `inspect` and for the error. Strings live in the store's arena. */
typedef struct sn_bind_list {
    const char **names;
    size_t count, capacity;
} sn_bind_list;
typedef struct sn_bind_report {
    sn_bind_list missing;
    sn_bind_list misshapen;  /* "name: found [0], expected [40, 24]" */
    sn_bind_list unexpected; /* in the files, and no rule knows them */
    sn_bind_list unused;     /* known, and this model does not need them */
} sn_bind_report;
void sn_bind_report_free(sn_bind_report *report);

/* What stands before `suffix` in the one tensor whose name is that suffix or ends in "." + suffix: how the names of a
 * part begin in this file ("model.", "language_model.model.", "module.model."). *prefix is NULL where there is no such
 * tensor; several are an error that names two. */
sn_status sn_source_prefix(const sn_source *source, const char *suffix, sn_arena *arena, const char **prefix, sn_error *error);

/* Blocks that the file holds: 1 + the greatest number behind `prefix` ("model.layers.") in a tensor's name. */
int64_t sn_source_count(const sn_source *source, const char *prefix);

/* Finds every parameter of the graph in the tables (the first that has it wins) and adds it to the store.
 * Parameters that are already in the store are left alone. With a report, missing and misshapen ones are
 * listed and SN_OK comes back; without one they are an error that names up to five of each. What cannot be used
 * (no numbers, shards or a delta that do not fit) counts as misshapen. */
sn_status sn_bind(sn_store *store, const sn_graph *graph, const sn_names *names, int num_names, sn_bind_report *report, sn_error *error);

/* The published name of a canonical one by these tables, into text; false where no rule fits. */
bool sn_published_name(const sn_names *names, const char *canonical, char *text, size_t size, const sn_name_rule **rule);

/* Whether text is the pattern with a number in the place of {l}; number gets its digits. And the other way round. */
bool sn_name_match(const char *pattern, const char *text, char number[16]);
bool sn_name_fill(const char *prefix, const char *pattern, const char *number, char *text, size_t size);

#endif
