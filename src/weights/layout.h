/* Layouts: how the authors' names become ours (decisions D9, D13).
 *
 * A table of rules is written once beside the part it belongs to and composed by prefixes. A rule never moves
 * data: it names a tensor, or a block of its rows. What shards or deltas add is said by the binding. */
#ifndef SN_WEIGHTS_LAYOUT_H
#define SN_WEIGHTS_LAYOUT_H

#include "runtime/store.h"
#include "weights/source.h"

typedef enum sn_join { SN_JOIN_ROWS, SN_JOIN_COLUMNS, SN_JOIN_FIRST } sn_join; /* of model-parallel shards */

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
    sn_source *delta; /* added to sources[0]: t = base + delta (llava.md 4.4); NULL = none */
} sn_names;

/* What binding found: names, for `inspect` and for the error. Strings live in the store's arena. */
typedef struct sn_bind_report {
    const char **missing, **misshapen, **unexpected;
    size_t num_missing, num_misshapen, num_unexpected;
    size_t missing_capacity, misshapen_capacity, unexpected_capacity;
} sn_bind_report;
void sn_bind_report_free(sn_bind_report *report);

/* Finds every parameter of the graph in the tables (the first that has it wins) and adds it to the store.
 * Parameters that are already in the store are left alone. With a report, missing and misshapen ones are
 * listed and SN_OK comes back; without one they are an error that names up to five of each. */
sn_status sn_bind(sn_store *store, const sn_graph *graph, const sn_names *names, int num_names, sn_bind_report *report, sn_error *error);

/* The published name of a canonical one by these tables, into text; false where no rule fits. */
bool sn_published_name(const sn_names *names, const char *canonical, char *text, size_t size, const sn_name_rule **rule);

#endif
