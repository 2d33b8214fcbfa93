/* Table-driven reading of configuration files. */
#include "weights/config.h"

sn_status sn_config_read(const char *where, const json_t *object, const sn_config_field *fields, void *to, sn_error *error) {
    for (const sn_config_field *f = fields; f->key; f++) {
        if (f->required && !sn_json_at(object, f->key)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: missing", where, f->key);
        sn_status status;
        if (f->is_float) {
            double value = f->fallback;
            status = sn_json_number(where, object, f->key, f->low, f->high, &value, error);
            *(float *)((char *)to + f->place) = (float)value;
        } else {
            int64_t value = (int64_t)f->fallback;
            status = sn_json_integer(where, object, f->key, (int64_t)f->low, (int64_t)f->high, &value, error);
            *(int64_t *)((char *)to + f->place) = value;
        }
        if (status) return status;
    }
    return SN_OK;
}
