/* A language model as everyone else sees it: rows of tokens in, hidden states out.
 *
 * Tokens are packed [tokens]; row_starts say where each row begins, positions are those of the rotary or
 * position table. With a cache, page_table and lengths say where the rows' earlier keys lie (graph.h,
 * sn_attention); without one, rows attend within themselves, which is how models are trained. */
#ifndef SN_DECODERS_LM_H
#define SN_DECODERS_LM_H

#include "tensor/graph.h"

typedef struct sn_lm_inputs {
    sn_tensor positions;  /* i32 [tokens] */
    sn_tensor row_starts; /* i32 [rows + 1] */
    sn_tensor page_table; /* i32 [rows, pages], or SN_NONE: no cache */
    sn_tensor lengths;    /* i32 [rows] */
    sn_tensor *hidden;    /* [num_layers]: gets what enters each layer; may be NULL */
} sn_lm_inputs;

typedef struct sn_lm {
    int64_t hidden_size; /* of what embed gives and forward takes and gives */
    int64_t vocab_size, num_layers, num_kv_heads, head_dim, max_positions;
    const void *config;
    /* ids i32 [tokens] → [tokens, hidden] */
    sn_tensor (*embed)(sn_graph *g, const void *config, sn_tensor ids);
    /* x [tokens, hidden] → hidden states after the final norm [tokens, hidden]; names lm.hidden.{i} */
    sn_tensor (*forward)(sn_graph *g, const void *config, sn_tensor x, const sn_lm_inputs *in);
    /* the head's weight [vocab, hidden] */
    sn_tensor (*head)(sn_graph *g, const void *config);
    /* Where hidden states ask for something beside the next token (FROMAGe: for a picture), else NULL: what entered each
     * layer [num_layers] and the last hidden states → [tokens, query_size] */
    sn_tensor (*query)(sn_graph *g, const void *query_config, const sn_tensor *hidden, sn_tensor last);
    const void *query_config;
    int64_t query_size;
} sn_lm;

#endif
