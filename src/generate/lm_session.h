/* Rows of tokens through a language model with a paged cache.
 *
 * A sequence is a counted list of pages. Forking copies the list; the first write to a shared page copies that
 * page. So beams share their prompt, and nothing moves when they are reordered. */
#ifndef SN_GENERATE_LM_SESSION_H
#define SN_GENERATE_LM_SESSION_H

#include "decoders/lm.h"
#include "runtime/engine.h"

typedef struct sn_lm_session {
    sn_engine *engine;
    sn_store *store;
    sn_lm lm;
    sn_kv_cache *cache;
    const atomic_bool *cancel; /* may be NULL */
} sn_lm_session;

typedef struct sn_sequence {
    int32_t *pages;
    size_t num_pages, capacity;
    int32_t length; /* positions in the cache */
} sn_sequence;

/* What is appended to one row: ids, where an id of -1 - i stands for row i of `media` [.., hidden]. */
typedef struct sn_lm_row {
    sn_sequence *sequence;
    const int32_t *ids;
    int64_t count;
    const float *media;
} sn_lm_row;

sn_status sn_lm_session_open(sn_lm_session *session, sn_engine *engine, sn_store *store, const sn_lm *lm, sn_type cache_type, sn_error *error);
void sn_lm_session_close(sn_lm_session *session);

void sn_sequence_free(sn_lm_session *session, sn_sequence *sequence);
sn_status sn_sequence_fork(sn_lm_session *session, const sn_sequence *from, sn_sequence *to, sn_error *error);

/* Forgets all positions from `length` on. */
void sn_sequence_cut(sn_lm_session *session, sn_sequence *sequence, int32_t length);

/* Appends to the rows. logits: [rows, vocab] after each row's last token, or with all_positions [tokens, vocab];
 * may be NULL. All rows or none advance. */
sn_status sn_lm_extend(sn_lm_session *session, const sn_lm_row *rows, int num_rows, bool all_positions, float *logits, sn_error *error);

/* Appends likewise; what the hidden states ask for: [rows, query_size] or [tokens, query_size], vectors of length 1. */
sn_status sn_lm_extend_query(sn_lm_session *session, const sn_lm_row *rows, int num_rows, bool all_positions, float *queries, sn_error *error);

/* Bytes that the graph of appending `tokens` to one row needs for its values, `media` of them rows. Nothing runs. */
sn_status sn_lm_extend_memory(sn_lm_session *session, int64_t tokens, int64_t media, size_t *bytes, sn_error *error);

#endif
