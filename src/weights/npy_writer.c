/* npy, version 1.0: the header as numpy writes it, padded so that the data begin at a multiple of 64. */
#include "base/file.h"
#include "weights/writer.h"

#include <string.h>

static const char *const descrs[SN_TYPE_COUNT] = {
    [SN_TYPE_F16] = "<f2", [SN_TYPE_F32] = "<f4", [SN_TYPE_F64] = "<f8", [SN_TYPE_I8] = "|i1", [SN_TYPE_I16] = "<i2", [SN_TYPE_I32] = "<i4",
    [SN_TYPE_I64] = "<i8", [SN_TYPE_U8] = "|u1", [SN_TYPE_U16] = "<u2", [SN_TYPE_U32] = "<u4", [SN_TYPE_U64] = "<u8", [SN_TYPE_BOOL] = "|b1"};

sn_status sn_npy_write(const char *path, const sn_tensor_out *tensor, sn_error *error) {
    int64_t bytes;
    if (!descrs[tensor->type] || !sn_type_bytes(tensor->type, sn_shape_count(&tensor->shape), &bytes))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: type %s cannot be written as npy", path, sn_type_of(tensor->type)->name);
    sn_buf header = {0};
    sn_output *out = NULL;
    sn_buf_add(&header, "\x93NUMPY\1\0\0\0", 10);
    sn_buf_printf(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (", descrs[tensor->type]);
    for (int i = 0; i < tensor->shape.rank; i++)
        sn_buf_printf(&header, "%lld%s", (long long)tensor->shape.dim[i], tensor->shape.rank == 1 ? "," : i + 1 < tensor->shape.rank ? ", " : "");
    sn_buf_puts(&header, "), }");
    while (!header.failed && (header.length + 1) % 64) sn_buf_puts(&header, " ");
    sn_buf_puts(&header, "\n");
    sn_status status = header.failed ? sn_fail_memory(error) : sn_output_open(path, &out, error);
    if (!status) {
        header.data[8] = (char)(header.length - 10), header.data[9] = (char)((header.length - 10) >> 8);
        status = sn_output_write(out, header.data, header.length, error);
    }
    if (!status) status = sn_output_write(out, tensor->data, (size_t)bytes, error);
    if (!status) status = sn_output_commit(out, error);
    sn_output_close(out);
    sn_buf_free(&header);
    return status;
}
