/* What the tasks of `sensorium trace` share: the case, its request, where tensors and values go. */
#ifndef SN_CLI_TRACE_H
#define SN_CLI_TRACE_H

#include "base/json.h"
#include "runtime/engine.h"
#include "runtime/trace.h"
#include "systems/model.h"
#include "train/step.h"

typedef struct sn_tracer {
    const char *folder; /* of the case */
    json_t *request, *options, *values;
    sn_arena *arena;
    sn_engine *engine;
    sn_model *model; /* NULL for tasks that need none */
    sn_trace trace;
    sn_error *error;
} sn_tracer;

typedef struct sn_trace_task {
    const char *name;
    bool needs_model;
    const char *key; /* the request must have this key; NULL = none */
    sn_status (*run)(sn_tracer *t);
} sn_trace_task;

/* Tasks in files of their own. */
sn_status sn_trace_load(sn_tracer *t);     /* every tensor of files of any format */
sn_status sn_trace_quantize(sn_tracer *t); /* a tensor in block types, bytes and values */
sn_status sn_trace_table_generate(sn_tracer *t); /* search, processors, stop strings, choices over a table of logits */
sn_status sn_trace_metric(sn_tracer *t);         /* scores of predictions against references */
sn_status sn_trace_image(sn_tracer *t);          /* decoding, resizing, chains */

sn_status sn_trace_generate_parts(sn_tracer *t); /* an answer with pictures of a gallery */
sn_status sn_trace_retrieve(sn_tracer *t);       /* a gallery's order by queries */

sn_status sn_trace_multitask(sn_tracer *t);      /* training steps of FROMAGe */

/* The optimizer that a request asks for. */
sn_status sn_trace_optimizer(sn_tracer *t, sn_optimizer_options *options);

/* How pictures are taken: options.exif (apply | ignore), alpha (white | drop), gray16 (shift | clip) and resize_order (horizontal |
 * auto) of the request; what is absent is as the published code has it. `order` may be NULL. */
sn_status sn_trace_picture_options(const sn_tracer *t, sn_image_options *options, sn_resize_order *order);
sn_status sn_trace_tokenize(sn_tracer *t);       /* texts to ids and back, by each tokenizer of a folder */

#endif
