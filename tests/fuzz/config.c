/* config.json: parsed, and read through a table with ranges. */
#include "fuzz/fuzz.h"

#include "weights/config.h"

typedef struct part {
    int64_t hidden_size, num_layers;
    float eps;
} part;

static const sn_config_field fields[] = {
    SN_CONFIG_NEED(part, hidden_size, "hidden_size"),
    SN_CONFIG_SIZE(part, num_layers, "text_config.num_hidden_layers", 32),
    SN_CONFIG_REAL(part, eps, "rms_norm_eps", 1e-6, 0, 1),
    {0},
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    json_t *root;
    part to;
    if (sn_json_file(path_of(bytes, size), 1 << 20, &root, &error)) return 0;
    if (!sn_config_read("fuzz", root, fields, &to, &error) && (to.hidden_size < 1 || to.hidden_size > SN_CONFIG_MAX)) abort();
    json_decref(root);
    return 0;
}
