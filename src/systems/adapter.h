/* Adapters as PEFT leaves them: a folder with adapter_config.json and adapter_model.safetensors or adapter_model.bin. */
#ifndef SN_SYSTEMS_ADAPTER_H
#define SN_SYSTEMS_ADAPTER_H

#include "weights/lora.h"

typedef struct sn_adapter {
    sn_lora lora;
    const char *made_for; /* the base that the configuration names, where the one that is given has another name; or NULL */
} sn_adapter;

/* The file of its tensors, which an adapter must have: allocated. */
sn_status sn_adapter_file(const char *folder, char **path, sn_error *error);

/* Reads the configuration for the tensors of that file, which update tensors of `base`, a checkpoint that lies at base_path.
 * How the names begin is seen from the names. rank_pattern and alpha_pattern give single modules a rank and an alpha of their
 * own: the first expression counts that fits the module's name, or what stands behind some dot of it, to its end.
 * Strings live in the arena, the sources must outlive the adapter. */
sn_status sn_adapter_read(const char *folder, sn_source *source, const sn_source *base, const char *base_path, sn_arena *arena, sn_adapter *out, sn_error *error);

#endif
