/* PyTorch's zip form of a dictionary of tensors, as torch.save writes it: stored entries aligned to 64 bytes, a pickle of
 * protocol 2 that names one storage for each tensor. Old tools read nothing else. */
#include "weights/writer.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

typedef struct archive {
    sn_output *out;
    sn_buf directory;
    uint64_t at, entries;
    sn_error *error;
} archive;

static void little(unsigned char *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (unsigned char)(value >> 8 * i);
}

static sn_status put(archive *a, const void *bytes, size_t length) {
    a->at += length;
    return sn_output_write(a->out, bytes, length, a->error);
}

/* One stored entry; its data begin at a multiple of 64, padding lies in the extra field. Sizes are kept below 4 GiB,
 * beyond which the classic fields end. */
static sn_status add_entry(archive *a, const char *name, const void *data, size_t size) {
    static const unsigned char zeros[64] = {0};
    unsigned char local[30] = {'P', 'K', 3, 4}, central[46] = {'P', 'K', 1, 2};
    size_t name_length = strlen(name), padding = (64 - (a->at + 30 + name_length + 4) % 64) % 64;
    if (size > 0xfffffffe || a->at > 0xfffffffe) return sn_fail(a->error, SN_ERROR_SUPPORT, "%s: more than 4 GB; write safetensors instead", name);
    uint32_t crc = (uint32_t)crc32_z(0, data, size);
    uint64_t begin = a->at;
    little(local + 4, 20, 2), little(local + 14, crc, 4), little(local + 18, size, 4), little(local + 22, size, 4);
    little(local + 26, name_length, 2), little(local + 28, padding + 4, 2);
    unsigned char extra[4] = {'F', 'B'}; /* the padding field that torch itself writes */
    little(extra + 2, padding, 2);
    little(central + 4, 20, 2), little(central + 6, 20, 2), little(central + 16, crc, 4), little(central + 20, size, 4), little(central + 24, size, 4);
    little(central + 28, name_length, 2), little(central + 42, begin, 4);
    sn_buf_add(&a->directory, central, sizeof central);
    sn_buf_puts(&a->directory, name);
    a->entries++;
    sn_status status = put(a, local, sizeof local);
    if (!status) status = put(a, name, name_length);
    if (!status) status = put(a, extra, 4);
    if (!status) status = put(a, zeros, padding);
    return status ? status : put(a, data, size);
}

static sn_status finish(archive *a) {
    unsigned char end[22] = {'P', 'K', 5, 6};
    little(end + 8, a->entries, 2), little(end + 10, a->entries, 2), little(end + 12, a->directory.length, 4), little(end + 16, a->at, 4);
    if (a->directory.failed) return sn_fail_memory(a->error);
    if (a->entries > 0xffff || a->at > 0xfffffffe) return sn_fail(a->error, SN_ERROR_SUPPORT, "too much for one archive; write safetensors instead");
    sn_status status = put(a, a->directory.data, a->directory.length);
    return status ? status : put(a, end, sizeof end);
}

/* ---- the pickle ---- */

static void text(sn_buf *p, const char *value) {
    unsigned char head[5] = {'X'};
    little(head + 1, strlen(value), 4);
    sn_buf_add(p, head, 5);
    sn_buf_puts(p, value);
}

static void integer(sn_buf *p, int64_t value) {
    unsigned char bytes[10];
    if (value >= 0 && value < 256) bytes[0] = 'K', bytes[1] = (unsigned char)value, sn_buf_add(p, bytes, 2);
    else if (value >= 0 && value < 0x7fffffff) bytes[0] = 'J', little(bytes + 1, (uint64_t)value, 4), sn_buf_add(p, bytes, 5);
    else bytes[0] = 0x8a, bytes[1] = 8, little(bytes + 2, (uint64_t)value, 8), sn_buf_add(p, bytes, 10);
}

static void tuple(sn_buf *p, const int64_t *values, int n) {
    sn_buf_puts(p, "(");
    for (int i = 0; i < n; i++) integer(p, values[i]);
    sn_buf_puts(p, "t");
}

static const char *storage_class(sn_type type) {
    switch (type) {
    case SN_TYPE_F32: return "FloatStorage";
    case SN_TYPE_F64: return "DoubleStorage";
    case SN_TYPE_F16: return "HalfStorage";
    case SN_TYPE_BF16: return "BFloat16Storage";
    case SN_TYPE_I64: return "LongStorage";
    case SN_TYPE_I32: return "IntStorage";
    default: return NULL;
    }
}

/* name → _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()) */
static void tensor(sn_buf *p, const sn_tensor_out *t, size_t number) {
    char key[24];
    int64_t stride[SN_MAX_RANK], step = 1;
    for (int i = t->shape.rank - 1; i >= 0; i--) stride[i] = step, step *= t->shape.dim[i];
    snprintf(key, sizeof key, "%zu", number);
    text(p, t->name);
    sn_buf_puts(p, "ctorch._utils\n_rebuild_tensor_v2\n((");
    text(p, "storage");
    sn_buf_printf(p, "ctorch\n%s\n", storage_class(t->type));
    text(p, key);
    text(p, "cpu");
    integer(p, sn_shape_count(&t->shape));
    sn_buf_puts(p, "tQ");
    integer(p, 0);
    tuple(p, t->shape.dim, t->shape.rank);
    tuple(p, stride, t->shape.rank);
    sn_buf_puts(p, "\x89" "ccollections\nOrderedDict\n)RtR");
}

sn_status sn_torch_write(const char *path, const char *inside, const sn_tensor_out *tensors, size_t count, sn_error *error) {
    archive a = {.error = error};
    sn_buf pickle = {0};
    sn_buf_puts(&pickle, "\x80\x02}");
    if (inside) text(&pickle, inside), sn_buf_puts(&pickle, "}");
    sn_buf_puts(&pickle, "(");
    for (size_t i = 0; i < count; i++) {
        if (!storage_class(tensors[i].type)) {
            sn_buf_free(&pickle);
            return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: type %s cannot be written as PyTorch", path, tensors[i].name, sn_type_of(tensors[i].type)->name);
        }
        tensor(&pickle, &tensors[i], i);
    }
    sn_buf_puts(&pickle, inside ? "us." : "u.");
    sn_status status = pickle.failed ? sn_fail_memory(error) : sn_output_open(path, &a.out, error);
    if (!status) status = add_entry(&a, "archive/data.pkl", pickle.data, pickle.length);
    if (!status) status = add_entry(&a, "archive/byteorder", "little", 6);
    for (size_t i = 0; i < count && !status; i++) {
        char name[48];
        int64_t bytes = 0;
        snprintf(name, sizeof name, "archive/data/%zu", i);
        sn_type_bytes(tensors[i].type, sn_shape_count(&tensors[i].shape), &bytes);
        status = add_entry(&a, name, tensors[i].data, (size_t)bytes);
    }
    if (!status) status = add_entry(&a, "archive/version", "3\n", 2);
    if (!status) status = finish(&a);
    if (!status) status = sn_output_commit(a.out, error);
    sn_output_close(a.out);
    sn_buf_free(&a.directory);
    sn_buf_free(&pickle);
    return status;
}
