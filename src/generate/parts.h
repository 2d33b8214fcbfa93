/* An answer as parts: text, and pictures of a gallery where the model asked for them. */
#ifndef SN_GENERATE_PARTS_H
#define SN_GENERATE_PARTS_H

#include "generate/lm_session.h"
#include "systems/finder.h"
#include "systems/model.h"
#include "vectors/search.h"

typedef struct sn_part {
    bool is_picture;
    char *text;       /* or the picture's path */
    int64_t row;      /* of the gallery */
    float similarity; /* cosine */
} sn_part;

typedef struct sn_parts {
    sn_part *items;
    size_t count, capacity;
    float *queries; /* [num_queries, query_size] of length 1 */
    int num_queries;
    int short_of;   /* pictures that were asked for and are not in the gallery */
    char **left_out; /* "PATH: why": better ones that could not be shown */
    size_t num_left_out, left_out_capacity;
} sn_parts;
void sn_parts_free(sn_parts *parts);

typedef struct sn_parts_request {
    sn_model *model;
    sn_lm_session *session;
    const sn_sequence *sequence; /* holds a beginning of the ids */
    const int32_t *ids;          /* prompt and answer; -1 - i is row i of media */
    int64_t count, from;         /* the answer begins there (0: the prompt itself is looked at) */
    const float *media;
    const sn_finder *finder; /* NULL: pictures are asked for, and none is found */
    int max_queries, max_pictures; /* of an answer; of a query */
    /* Whether the picture can be shown; the next best takes its place. NULL: files that can be decoded, and every address. */
    bool (*usable)(const void *context, const char *path);
    const void *context;
} sn_parts_request;

/* Cut at the first new line, at most max_queries queries; each gives its text, then its pictures; what follows the last is
 * dropped. Without a query: one text. A query as the very last id is looked up like any other. A picture is not given
 * twice while there are others. */
sn_status sn_answer_parts(const sn_parts_request *request, sn_parts *out, sn_error *error);

/* One text and nothing else. */
sn_status sn_parts_text(sn_parts *out, const char *text, size_t length, sn_error *error);

/* The best of all rows, as many as hits holds: `seen` (one bit a row) come last. *found: how many there are. */
sn_status sn_find_rows(const sn_finder *finder, const float *query, const uint64_t *seen, int64_t k, sn_hit *hits, int64_t *found, sn_error *error);

#endif
