/* Results of an evaluation, item by item: one JSON object a line, so that a run that was stopped goes on.
 *
 * The first line says what was evaluated (model, task, data, options); a run with another first line is refused. Each
 * further line has "item", its name, once. A line is written at once and whole; a process that is killed loses at most
 * the one it was writing, and that one is made again. */
#ifndef SN_EVAL_RESULTS_H
#define SN_EVAL_RESULTS_H

#include "base/json.h"

typedef struct sn_results sn_results;

/* path NULL: in memory alone. identity (borrowed): the object of the first line. A file of another process that is
 * writing, of another identity, or one that is no such file at all is refused and stays as it is. */
sn_status sn_results_open(const char *path, const json_t *identity, sn_results **out, sn_error *error);
void sn_results_close(sn_results *results);

/* How many items the file had when it was opened. */
int64_t sn_results_resumed(const sn_results *results);

/* An item by its name, or NULL. */
const json_t *sn_results_find(const sn_results *results, const char *name);

/* Adds "item": name to the object, keeps it, and writes its line. The object is taken over, on failure too. */
sn_status sn_results_add(sn_results *results, const char *name, json_t *object, sn_error *error);

/* A vector as a JSON text, and back: false where the text is none of that width. */
json_t *sn_vector_json(const float *vector, int64_t width);
bool sn_vector_read(const json_t *text, int64_t width, float *vector);

#endif
