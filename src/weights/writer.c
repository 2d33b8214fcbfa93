/* Header sorted by element size and name, padded to 8 bytes, then the data in that order. */
#include "weights/writer.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static int by_size_and_name(const void *a, const void *b) {
    const sn_tensor_out *x = *(const sn_tensor_out *const *)a, *y = *(const sn_tensor_out *const *)b;
    int size = sn_type_of(y->type)->bytes - sn_type_of(x->type)->bytes;
    return size ? size : strcmp(x->name, y->name);
}

sn_status sn_safetensors_write(const char *path, const sn_tensor_out *tensors, size_t count, sn_error *error) { return sn_safetensors_write_given(path, tensors, count, NULL, NULL, error); }

sn_status sn_safetensors_write_given(const char *path, const sn_tensor_out *tensors, size_t count, sn_tensor_give *give, void *context, sn_error *error) {
    const sn_tensor_out **order = sn_alloc(count + 1, sizeof *order);
    json_t *root = json_object();
    char *header = NULL;
    sn_output *out = NULL;
    sn_status status = order && root ? SN_OK : sn_fail_memory(error);
    if (!status) json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt"));
    for (size_t i = 0; i < count && !status; i++) order[i] = &tensors[i];
    if (!status) qsort(order, count, sizeof *order, by_size_and_name);
    int64_t at = 0;
    for (size_t i = 0; i < count && !status; i++) {
        const sn_tensor_out *t = order[i];
        int64_t bytes;
        if (!sn_type_of(t->type)->safetensors || !sn_type_bytes(t->type, sn_shape_count(&t->shape), &bytes)) {
            status = sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: type %s cannot be written as safetensors", path, t->name, sn_type_of(t->type)->name);
            break;
        }
        json_t *shape = json_array();
        for (int d = 0; d < t->shape.rank; d++) json_array_append_new(shape, json_integer(t->shape.dim[d]));
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", sn_type_of(t->type)->safetensors, "shape", shape, "data_offsets", (json_int_t)at, (json_int_t)(at + bytes));
        if (!entry || json_object_set_new(root, t->name, entry)) status = sn_fail(error, SN_ERROR_INPUT, "%s: tensor name %s is not UTF-8", path, t->name);
        at += bytes;
    }
    if (!status && !(header = json_dumps(root, JSON_COMPACT))) status = sn_fail_memory(error);
    if (!status) status = sn_output_open(path, &out, error);
    if (!status) {
        uint64_t length = strlen(header), padded = (length + 7) & ~(uint64_t)7;
        unsigned char size[8];
        for (int i = 0; i < 8; i++) size[i] = (unsigned char)(padded >> 8 * i);
        status = sn_output_write(out, size, 8, error);
        if (!status) status = sn_output_write(out, header, length, error);
        if (!status) status = sn_output_write(out, "       ", padded - length, error);
    }
    for (size_t i = 0; i < count && !status; i++) {
        int64_t bytes = 0;
        sn_type_bytes(order[i]->type, sn_shape_count(&order[i]->shape), &bytes);
        const void *data = order[i]->data || !give ? order[i]->data : give(context, (size_t)(order[i] - tensors), error);
        status = data || !give ? sn_output_write(out, data, (size_t)bytes, error) : error->status;
    }
    if (!status) status = sn_output_commit(out, error);
    sn_output_close(out);
    free(header);
    json_decref(root);
    sn_free(order);
    return status;
}
