/* Linear, then (depth - 1) times GELU and linear. */
#include "connectors/projector.h"

#include "layers/block.h"

#include <stdio.h>

sn_tensor sn_projector(sn_graph *g, const sn_projector_config *c, sn_tensor x) {
    int32_t scope = sn_scope_enter(g, "projector");
    for (int i = 0; i < c->depth; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (i > 0) x = sn_unary_op(g, SN_UNARY_GELU, x);
        x = sn_linear_layer(g, name, x, c->out, c->bias);
    }
    sn_scope_leave(g, scope);
    return x;
}
