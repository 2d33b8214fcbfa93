/* Linear layers into the shared space, and the length taken off the text's side. */
#include "connectors/retrieval.h"

#include "layers/block.h"

#include <stdio.h>

sn_tensor sn_retrieval_key(sn_graph *g, const sn_retrieval_config *c, sn_tensor pooled) {
    int32_t scope = sn_scope_enter(g, "retrieval");
    sn_tensor key = sn_linear_layer(g, "image", pooled, c->size, true);
    sn_scope_leave(g, scope);
    return key;
}

sn_tensor sn_retrieval_query(sn_graph *g, const sn_retrieval_config *c, const sn_tensor *hidden, int64_t depth, sn_tensor last) {
    int32_t scope = sn_scope_enter(g, "retrieval");
    sn_tensor sum = SN_NONE;
    for (int j = 0; j < c->num_layers; j++) {
        char name[32];
        snprintf(name, sizeof name, "text.%d", j);
        sn_tensor x = c->layer[j] == depth ? last : hidden[c->layer[j]];
        if (!c->text_identity) x = sn_linear_layer(g, name, x, c->size, true);
        sum = j ? sn_add(g, sum, x) : x;
    }
    sum = sn_norm_op(g, SN_NORM_L2, sum, SN_NONE, SN_NONE, 0);
    sn_scope_leave(g, scope);
    return sum;
}

sn_tensor sn_retrieval_scale(sn_graph *g) {
    int32_t scope = sn_scope_enter(g, "retrieval");
    sn_tensor scale = sn_param(g, "logit_scale", (sn_shape){0}, SN_INIT_ZERO);
    sn_scope_leave(g, scope);
    return scale;
}
