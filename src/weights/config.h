/* A part's configuration as a table: which field, which key, what holds where the key is absent, which range. The
 * values are checked once, here, and are trusted afterwards. */
#ifndef SN_WEIGHTS_CONFIG_H
#define SN_WEIGHTS_CONFIG_H

#include "base/json.h"

typedef struct sn_config_field {
    const char *key;   /* path of keys; NULL ends the table */
    size_t place;      /* offsetof an int64_t, or a float where is_float */
    bool is_float, required;
    double fallback, low, high;
} sn_config_field;

/* Sizes of a model: nothing published is beyond these. */
enum { SN_CONFIG_MAX = 1 << 20, SN_CONFIG_LAYERS = 4096 };
#define SN_CONFIG_SIZE(type, field, key, fallback) {key, offsetof(type, field), false, false, fallback, 1, SN_CONFIG_MAX}
#define SN_CONFIG_DEPTH(type, field, key, fallback) {key, offsetof(type, field), false, false, fallback, 1, SN_CONFIG_LAYERS}
#define SN_CONFIG_NEED(type, field, key) {key, offsetof(type, field), false, true, 0, 1, SN_CONFIG_MAX}
#define SN_CONFIG_REAL(type, field, key, fallback, low, high) {key, offsetof(type, field), true, false, fallback, low, high}

/* Reads the fields of `object` (a part of the file `where`) into a struct. */
sn_status sn_config_read(const char *where, const json_t *object, const sn_config_field *fields, void *to, sn_error *error);

#endif
