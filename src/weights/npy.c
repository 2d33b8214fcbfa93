/* npy: a magic, a Python literal with exactly three keys, the data. npz: a zip archive of such files. The literal is
 * read by a reader that knows quoted strings, True, False and tuples of whole numbers; nothing is evaluated. */
#include "weights/npy.h"

#include "weights/source.h"
#include "weights/zip.h"

#include <stdio.h>
#include <string.h>

static const struct descr {
    const char *name;
    sn_type type;
} descrs[] = {{"f2", SN_TYPE_F16}, {"f4", SN_TYPE_F32}, {"f8", SN_TYPE_F64}, {"i1", SN_TYPE_I8}, {"i2", SN_TYPE_I16}, {"i4", SN_TYPE_I32}, {"i8", SN_TYPE_I64},
              {"u1", SN_TYPE_U8}, {"u2", SN_TYPE_U16}, {"u4", SN_TYPE_U32}, {"u8", SN_TYPE_U64}, {"b1", SN_TYPE_BOOL}};

typedef struct literal {
    const char *where, *at, *end;
    sn_error *error;
} literal;

static sn_status broken(const literal *l, const char *what) {
    return sn_fail(l->error, SN_ERROR_INPUT, "%s: npy header: %s", l->where, what);
}

static void blanks(literal *l) {
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\t' || *l->at == '\n')) l->at++;
}

/* Passes blanks, then the character if it is next. */
static bool accept(literal *l, char c) {
    blanks(l);
    if (l->at == l->end || *l->at != c) return false;
    l->at++;
    return true;
}

static bool quoted(literal *l, char text[32]) {
    char quote = accept(l, '\'') ? '\'' : accept(l, '"') ? '"' : 0;
    size_t n = 0;
    while (quote && l->at < l->end && *l->at != quote && n < 31) {
        if (*l->at == '\\') return false;
        text[n++] = *l->at++;
    }
    text[n] = 0;
    return quote && l->at < l->end && *l->at++ == quote;
}

static bool word(literal *l, const char *text) {
    blanks(l);
    size_t n = strlen(text);
    if ((size_t)(l->end - l->at) < n || memcmp(l->at, text, n) != 0) return false;
    l->at += n;
    return true;
}

static sn_status read_shape(literal *l, sn_shape *shape) {
    *shape = (sn_shape){0};
    if (!accept(l, '(')) return broken(l, "shape: expected a tuple");
    while (!accept(l, ')')) {
        int64_t dim = 0;
        int digits = 0;
        blanks(l);
        for (; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++, digits++)
            if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, *l->at - '0', &dim)) return broken(l, "shape: an impossible size");
        if (!digits) return broken(l, "shape: expected whole numbers");
        if (shape->rank == SN_MAX_RANK) return broken(l, "shape: more than 8 dimensions");
        shape->dim[shape->rank++] = dim;
        accept(l, 'L'); /* Python 2 */
        if (!accept(l, ',') && !(l->at < l->end && *l->at == ')')) return broken(l, "shape: expected , or )");
    }
    return SN_OK;
}

static sn_status read_descr(literal *l, sn_npy *out) {
    char text[32];
    if (!quoted(l, text)) return broken(l, "descr: expected a plain type, such as '<f4'");
    const char *name = text + (text[0] && strchr("<>|=", text[0]) ? 1 : 0);
    size_t i = 0, count = sizeof descrs / sizeof *descrs;
    while (i < count && strcmp(descrs[i].name, name) != 0) i++;
    if (i == count) return sn_fail(l->error, SN_ERROR_SUPPORT, "%s: npy header: descr: found %s, expected whole numbers, floats of 2 to 8 bytes, or bools", l->where, text);
    out->type = descrs[i].type;
    out->swapped = text[0] == '>' && sn_type_of(out->type)->bytes > 1;
    return SN_OK;
}

static sn_status read_literal(literal *l, sn_npy *out) {
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0;
    if (!accept(l, '{')) return broken(l, "expected a dictionary");
    while (!accept(l, '}')) {
        char key[32];
        if (!quoted(l, key) || !accept(l, ':')) return broken(l, "expected a key and a value");
        int which = strcmp(key, "descr") == 0 ? DESCR : strcmp(key, "fortran_order") == 0 ? ORDER : strcmp(key, "shape") == 0 ? SHAPE : 0;
        if (!which || (seen & which)) return broken(l, "expected exactly the keys descr, fortran_order, shape");
        seen |= which;
        sn_status status = which == DESCR ? read_descr(l, out) : which == SHAPE ? read_shape(l, &out->shape) : SN_OK;
        if (status) return status;
        if (which == ORDER) {
            out->fortran = word(l, "True");
            if (!out->fortran && !word(l, "False")) return broken(l, "fortran_order: expected True or False");
        }
        if (!accept(l, ',') && !(l->at < l->end && *l->at == '}')) return broken(l, "expected , or }");
    }
    blanks(l);
    if (l->at != l->end || seen != (DESCR | ORDER | SHAPE)) return broken(l, "expected exactly the keys descr, fortran_order, shape");
    return SN_OK;
}

sn_status sn_npy_header(const char *where, const unsigned char *bytes, size_t size, sn_npy *out, sn_error *error) {
    *out = (sn_npy){0};
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) return sn_fail(error, SN_ERROR_INPUT, "%s: found no npy magic", where);
    int major = bytes[6];
    size_t before = major == 1 ? 10 : 12, length = bytes[8] | (size_t)bytes[9] << 8;
    if (major < 1 || major > 3) return sn_fail(error, SN_ERROR_SUPPORT, "%s: found npy version %d, expected 1 to 3", where, major);
    if (major > 1 && size >= 12) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size < before || length > size - before || length > SN_NPY_MAX_HEADER - before)
        return sn_fail(error, SN_ERROR_INPUT, "%s: npy header of %zu bytes, which is not there (cut short?)", where, length);
    literal l = {where, (const char *)bytes + before, (const char *)bytes + before + length, error};
    sn_status status = read_literal(&l, out);
    if (status) return status;
    int64_t count = 1;
    for (int i = 0; i < out->shape.rank; i++)
        if (__builtin_mul_overflow(count, out->shape.dim[i], &count)) return broken(&l, "shape: an impossible size");
    if (sn_shape_count(&out->shape) < 0 || !sn_type_bytes(out->type, count, &out->bytes)) return broken(&l, "shape: an impossible size");
    if (out->shape.rank == 0) out->shape = SN_SHAPE(1);
    out->begin = (int64_t)(before + length);
    return SN_OK;
}

/* Adds an array whose data begin at `data` (in a mapped file) or at npy->begin of a zip entry. */
static sn_status add_array(sn_source *source, const char *path, const char *name, const sn_npy *npy, const unsigned char *data, const sn_zip *zip,
                           const sn_zip_entry *entry, sn_error *error) {
    sn_source_tensor t = {.name = name, .type = npy->type, .shape = npy->shape, .file = path, .data = data, .zip = zip, .entry = entry, .offset = npy->begin,
                          .bytes = npy->bytes, .swapped = npy->swapped, .contiguous = !npy->fortran || npy->shape.rank < 2 || npy->bytes == 0};
    int64_t stride = 1;
    for (int i = 0; i < t.shape.rank && !t.contiguous; i++) t.stride[i] = stride, stride *= t.shape.dim[i];
    return sn_source_add(source, &t, error);
}

sn_status sn_npy_read(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    sn_npy npy;
    sn_status status = sn_source_map(source, path, &file, error);
    if (!status) status = sn_npy_header(path, file.data, file.size < SN_NPY_MAX_HEADER ? file.size : SN_NPY_MAX_HEADER, &npy, error);
    if (status) return status;
    if (npy.bytes > (int64_t)file.size - npy.begin)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %lld bytes of data, the shape needs %lld (cut short?)", path, (long long)((int64_t)file.size - npy.begin), (long long)npy.bytes);
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    char name[256];
    snprintf(name, sizeof name, "%.*s", dot && dot > base ? (int)(dot - base) : (int)strlen(base), base);
    return add_array(source, path, name, &npy, file.data + npy.begin, NULL, NULL, error);
}

static sn_status read_member(sn_source *source, const char *path, const sn_zip *zip, const sn_zip_entry *entry, unsigned char *header, sn_error *error) {
    size_t length = strlen(entry->name);
    char name[256], where[600];
    if (length < 5 || length - 4 >= sizeof name || strcmp(entry->name + length - 4, ".npy") != 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: expected only arrays (.npy)", path, entry->name);
    snprintf(name, sizeof name, "%.*s", (int)(length - 4), entry->name);
    snprintf(where, sizeof where, "%s: %s", path, entry->name);
    int64_t got;
    sn_npy npy;
    sn_status status = sn_zip_peek(zip, entry, header, SN_NPY_MAX_HEADER, &got, error);
    if (!status) status = sn_npy_header(where, header, (size_t)got, &npy, error);
    if (status) return status;
    if (npy.bytes > entry->size - npy.begin || (entry->deflated && npy.bytes != entry->size - npy.begin))
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %lld bytes of data, the shape needs %lld", where, (long long)(entry->size - npy.begin), (long long)npy.bytes);
    return add_array(source, path, name, &npy, entry->deflated ? NULL : entry->data + npy.begin, zip, entry, error);
}

sn_status sn_npz_read(sn_source *source, const char *path, const sn_zip *zip, sn_error *error) {
    unsigned char *header = sn_alloc(SN_NPY_MAX_HEADER, 1);
    sn_status status = header ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < sn_zip_count(zip) && !status; i++) status = read_member(source, path, zip, sn_zip_entry_at(zip, i), header, error);
    sn_free(header);
    return status;
}
