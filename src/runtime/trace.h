/* The trace sink: named tensors of a run, kept for `trace` and for tests. */
#ifndef SN_RUNTIME_TRACE_H
#define SN_RUNTIME_TRACE_H

#include "tensor/graph.h"

typedef struct sn_traced {
    char *name;
    sn_type type; /* f32 or i64 */
    sn_shape shape;
    void *data;
} sn_traced;

struct sn_trace {
    sn_traced *tensors;
    size_t count, capacity;
    bool (*wanted)(const char *name); /* NULL = everything */
    /* Rows of the packed tokens of the present run: tensors named lm.* of so many tokens are laid out
     * [rows, longest row, …] with zeros behind the shorter ones. */
    const int32_t *row_starts;
    int rows;
    bool failed;
};
typedef struct sn_trace sn_trace;

void sn_trace_free(sn_trace *trace);
/* Whether the name is wanted and not there yet: of several runs, the first counts. */
bool sn_trace_wants(const sn_trace *trace, const char *name);
/* Copies; a later tensor of the same name is ignored. */
void sn_trace_put(sn_trace *trace, const char *name, sn_type type, sn_shape shape, const void *data);
const sn_traced *sn_trace_find(const sn_trace *trace, const char *name);

#endif
