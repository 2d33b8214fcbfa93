/* The stack machine of pickle protocols 2 to 4, restricted. */
#include "weights/pickle.h"

#include <stdio.h>
#include <string.h>

enum { MAX_VALUES = 16 << 20, MAX_ITEMS = 32 << 20, MEMO_PAGE = 1 << 8 };

/* What a global on the list means when it is called. */
enum meaning { INERT, TORCHSCRIPT, DICT, TENSOR_V2, TENSOR_V1, PARAMETER, FROM_TYPE, STORAGE, STORED, DTYPE, SIZE, LIST, TUPLE, SET, ENCODE, FIRST };

static const struct known {
    const char *name;
    enum meaning meaning;
    sn_type type;
} known[] = {
    {"collections.OrderedDict", DICT, 0},
    {"torch._utils._rebuild_tensor_v2", TENSOR_V2, 0},
    {"torch._utils._rebuild_tensor", TENSOR_V1, 0},
    {"torch._utils._rebuild_parameter", PARAMETER, 0},
    {"torch._utils._rebuild_parameter_with_state", PARAMETER, 0},
    {"torch._tensor._rebuild_from_type_v2", FROM_TYPE, 0},
    {"torch.FloatStorage", STORAGE, SN_TYPE_F32},
    {"torch.DoubleStorage", STORAGE, SN_TYPE_F64},
    {"torch.HalfStorage", STORAGE, SN_TYPE_F16},
    {"torch.BFloat16Storage", STORAGE, SN_TYPE_BF16},
    {"torch.LongStorage", STORAGE, SN_TYPE_I64},
    {"torch.IntStorage", STORAGE, SN_TYPE_I32},
    {"torch.ShortStorage", STORAGE, SN_TYPE_I16},
    {"torch.CharStorage", STORAGE, SN_TYPE_I8},
    {"torch.ByteStorage", STORAGE, SN_TYPE_U8},
    {"torch.BoolStorage", STORAGE, SN_TYPE_BOOL},
    {"torch.storage.UntypedStorage", STORAGE, SN_TYPE_COUNT},
    {"torch.storage._load_from_bytes", STORED, 0}, /* tensors that Python's own pickle wrote */
    {"torch.float32", DTYPE, SN_TYPE_F32},
    {"torch.float64", DTYPE, SN_TYPE_F64},
    {"torch.float16", DTYPE, SN_TYPE_F16},
    {"torch.bfloat16", DTYPE, SN_TYPE_BF16},
    {"torch.int64", DTYPE, SN_TYPE_I64},
    {"torch.int32", DTYPE, SN_TYPE_I32},
    {"torch.int16", DTYPE, SN_TYPE_I16},
    {"torch.int8", DTYPE, SN_TYPE_I8},
    {"torch.uint8", DTYPE, SN_TYPE_U8},
    {"torch.bool", DTYPE, SN_TYPE_BOOL},
    {"torch.Size", SIZE, 0},
    {"torch.device", INERT, 0},
    {"torch.serialization._get_layout", INERT, 0},
    {"argparse.Namespace", INERT, 0},
    {"types.SimpleNamespace", INERT, 0},
    {"builtins.set", SET, 0}, {"__builtin__.set", SET, 0},
    {"builtins.frozenset", SET, 0}, {"__builtin__.frozenset", SET, 0},
    {"builtins.list", LIST, 0}, {"__builtin__.list", LIST, 0},
    {"builtins.tuple", TUPLE, 0}, {"__builtin__.tuple", TUPLE, 0},
    {"builtins.dict", DICT, 0}, {"__builtin__.dict", DICT, 0},
    {"builtins.bytearray", INERT, 0}, {"__builtin__.bytearray", INERT, 0},
    {"builtins.slice", INERT, 0}, {"__builtin__.slice", INERT, 0},
    {"builtins.complex", INERT, 0}, {"__builtin__.complex", INERT, 0},
    {"collections.defaultdict", INERT, 0},
    {"collections.Counter", INERT, 0},
    {"_codecs.encode", ENCODE, 0},
    {"torch.jit._pickle.build_intlist", LIST, 0}, /* constants of TorchScript modules */
    {"torch.jit._pickle.build_doublelist", LIST, 0},
    {"torch.jit._pickle.build_boollist", LIST, 0},
    {"torch.jit._pickle.build_tensorlist", LIST, 0},
    {"torch.jit._pickle.restore_type_tag", FIRST, 0},
    {"numpy.core.multiarray.scalar", INERT, 0}, {"numpy._core.multiarray.scalar", INERT, 0},
    {"numpy.core.multiarray._reconstruct", INERT, 0}, {"numpy._core.multiarray._reconstruct", INERT, 0},
    {"numpy.dtype", INERT, 0},
    {"numpy.ndarray", INERT, 0},
    {"pathlib.PosixPath", INERT, 0},
    {"yacs.config.CfgNode", INERT, 0},
    {"fvcore.common.config.CfgNode", INERT, 0},
};

typedef struct machine {
    const char *where;
    const unsigned char *bytes;
    size_t size, at;
    sn_arena *arena;
    sn_error *error;
    sn_value **stack;
    size_t depth, stack_capacity;
    size_t *marks;
    size_t num_marks, mark_capacity;
    sn_value ***memo; /* pages, made when first written: a number in the file allocates one page and their list at most */
    size_t memo_pages, memo_capacity, memo_count;
    size_t num_values, num_items;
    sn_value *storages;
    bool inside; /* of a storage: there are no further ones in it */
} machine;

static sn_status broken(machine *m, const char *what) {
    return sn_fail(m->error, SN_ERROR_INPUT, "%s: pickle, byte %zu: %s", m->where, m->at, what);
}

static sn_status new_value(machine *m, sn_value_kind kind, sn_value **out) {
    if (++m->num_values > MAX_VALUES) return broken(m, "more than 16 million values");
    *out = sn_arena_alloc(m->arena, 1, sizeof **out);
    if (!*out) return sn_fail_memory(m->error);
    (*out)->kind = kind;
    return SN_OK;
}

static sn_status push(machine *m, sn_value *value) {
    if (m->depth >= MAX_VALUES) return broken(m, "more than 16 million values on the stack");
    if (!sn_grow((void **)&m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack))
        return sn_fail_memory(m->error);
    m->stack[m->depth++] = value;
    return SN_OK;
}

static sn_status push_new(machine *m, sn_value_kind kind, sn_value **out) {
    sn_status status = new_value(m, kind, out);
    return status ? status : push(m, *out);
}

/* Lowest stack height that values may be popped down to. */
static size_t floor_of(const machine *m) { return m->num_marks ? m->marks[m->num_marks - 1] : 0; }

static sn_status pop(machine *m, sn_value **out) {
    if (m->depth <= floor_of(m)) return broken(m, "the stack is empty");
    *out = m->stack[--m->depth];
    return SN_OK;
}

static sn_status top_of_kind(machine *m, sn_value **out) {
    if (m->depth <= floor_of(m)) return broken(m, "the stack is empty");
    *out = m->stack[m->depth - 1];
    return SN_OK;
}

static sn_status take(machine *m, size_t length, const unsigned char **out) {
    if (length > m->size - m->at) return broken(m, "a length beyond the end of the pickle");
    *out = m->bytes + m->at;
    m->at += length;
    return SN_OK;
}

static sn_status number(machine *m, int bytes, uint64_t *out) {
    const unsigned char *p;
    sn_status status = take(m, (size_t)bytes, &p);
    *out = 0;
    for (int i = bytes - 1; !status && i >= 0; i--) *out = *out << 8 | p[i];
    return status;
}

static sn_status line(machine *m, const char **out, size_t *length) {
    const unsigned char *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
    if (!end) return broken(m, "a line without an end");
    *out = (const char *)m->bytes + m->at;
    *length = (size_t)(end - (m->bytes + m->at));
    m->at += *length + 1;
    return SN_OK;
}

static sn_status append(machine *m, sn_value *list, sn_value *item) {
    if (++m->num_items > MAX_ITEMS) return broken(m, "more than 32 million items");
    if (list->u.list.count == list->u.list.capacity) {
        size_t capacity = list->u.list.capacity ? list->u.list.capacity * 2 : 4;
        sn_value **grown = sn_arena_alloc(m->arena, capacity, sizeof *grown);
        if (!grown) return sn_fail_memory(m->error);
        if (list->u.list.count) memcpy(grown, list->u.list.items, list->u.list.count * sizeof *grown);
        list->u.list.items = grown, list->u.list.capacity = capacity;
    }
    list->u.list.items[list->u.list.count++] = item;
    return SN_OK;
}

/* Moves everything above the height `from` of the stack into a list-like value. */
static sn_status move_above(machine *m, size_t from, sn_value *into) {
    sn_status status = SN_OK;
    for (size_t i = from; i < m->depth && !status; i++) status = append(m, into, m->stack[i]);
    m->depth = from;
    return status;
}

/* Where the items of an opcode begin: above the last mark, which is taken off, or the last `count` values. */
static sn_status items_from(machine *m, bool marked, size_t count, size_t *from) {
    if (marked && !m->num_marks) return broken(m, "no mark on the stack");
    if (!marked && m->depth - floor_of(m) < count) return broken(m, "the stack is empty");
    *from = marked ? m->marks[--m->num_marks] : m->depth - count;
    return SN_OK;
}

static sn_status push_text(machine *m, sn_value_kind kind, size_t length) {
    const unsigned char *p;
    sn_value *value;
    sn_status status = take(m, length, &p);
    if (!status) status = push_new(m, kind, &value);
    if (!status) value->u.text.data = (const char *)p, value->u.text.length = length;
    return status;
}

/* ---- memo ---- */

static sn_status memo_put(machine *m, uint64_t key, sn_value *value) {
    if (key >= MAX_VALUES) return broken(m, "a memo number beyond 16 million");
    if (!sn_grow((void **)&m->memo, &m->memo_capacity, key / MEMO_PAGE + 1, sizeof *m->memo)) return sn_fail_memory(m->error);
    while (m->memo_pages <= key / MEMO_PAGE) m->memo[m->memo_pages++] = NULL;
    sn_value ***page = &m->memo[key / MEMO_PAGE];
    if (!*page && !(*page = sn_arena_alloc(m->arena, MEMO_PAGE, sizeof **page))) return sn_fail_memory(m->error);
    if (!(*page)[key % MEMO_PAGE]) m->memo_count++;
    (*page)[key % MEMO_PAGE] = value;
    return SN_OK;
}

static sn_status memo_get(machine *m, uint64_t key) {
    sn_value **page = key / MEMO_PAGE < m->memo_pages ? m->memo[key / MEMO_PAGE] : NULL;
    if (!page || !page[key % MEMO_PAGE]) return broken(m, "a memo entry that was never made");
    return push(m, page[key % MEMO_PAGE]);
}

/* ---- globals ---- */

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static sn_status push_global(machine *m, const char *module, size_t module_length, const char *name, size_t name_length) {
    char path[402];
    if (module_length > 400 || name_length > 400 - module_length || memchr(module, 0, module_length) || memchr(name, 0, name_length))
        return broken(m, "an impossible global name");
    snprintf(path, sizeof path, "%.*s.%.*s", (int)module_length, module, (int)name_length, name);
    sn_value *value;
    sn_status status = push_new(m, SN_VALUE_GLOBAL, &value);
    if (status) return status;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(path, known[i].name) == 0) {
            value->u.global.name = known[i].name, value->u.global.meaning = known[i].meaning, value->u.global.type = known[i].type;
            return SN_OK;
        }
    value->u.global.meaning = begins(path, "omegaconf.") ? INERT : TORCHSCRIPT;
    if (!begins(path, "omegaconf.") && !begins(path, "__torch__."))
        return sn_fail(m->error, SN_ERROR_INPUT,
                       "%s: pickle, byte %zu: it refers to %s, which is not on the list of harmless names; the file is refused and nothing was run",
                       m->where, m->at, path);
    m->num_items += strlen(path) / sizeof(sn_value *); /* copies of names are paid for like items */
    if (m->num_items > MAX_ITEMS) return broken(m, "more than 32 million items");
    value->u.global.name = sn_arena_strdup(m->arena, path);
    return value->u.global.name ? SN_OK : sn_fail_memory(m->error);
}

/* ---- tensors ---- */

static bool integer_of(const sn_value *v, int64_t *out) {
    if (v->kind != SN_VALUE_INT) return false;
    *out = v->u.integer;
    return true;
}

/* (storage, offset, size, stride, …): all bounds are checked against the storage's length. */
static sn_status make_tensor(machine *m, const sn_value *arguments, sn_value **out) {
    if (arguments->u.list.count < 4 || arguments->u.list.items[0]->kind != SN_VALUE_STORAGE)
        return broken(m, "a tensor without storage, offset, size and stride");
    sn_value **a = arguments->u.list.items, *size = a[2], *stride = a[3];
    int64_t offset;
    if (!integer_of(a[1], &offset) || offset < 0 || size->kind != SN_VALUE_TUPLE || stride->kind != SN_VALUE_TUPLE ||
        size->u.list.count != stride->u.list.count || size->u.list.count > SN_MAX_RANK)
        return broken(m, "a tensor whose size and stride do not fit");
    sn_status status = new_value(m, SN_VALUE_TENSOR, out);
    if (status) return status;
    sn_pickled_tensor *t = (*out)->u.tensor = sn_arena_alloc(m->arena, 1, sizeof *t);
    if (!t) return sn_fail_memory(m->error);
    m->num_items += sizeof *t / sizeof(sn_value *);
    if (m->num_items > MAX_ITEMS) return broken(m, "more than 32 million items");
    t->storage = a[0], t->offset = offset, t->type = a[0]->u.storage.type;
    t->shape.rank = (int)size->u.list.count;
    int64_t count = 1, last = offset, numel = a[0]->u.storage.numel;
    for (size_t i = 0; i < size->u.list.count; i++) {
        int64_t n, s, reach;
        if (!integer_of(size->u.list.items[i], &n) || !integer_of(stride->u.list.items[i], &s) || n < 0 || s < 0 ||
            __builtin_mul_overflow(count, n, &count) || __builtin_mul_overflow(n ? n - 1 : 0, s, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return broken(m, "a tensor with an impossible size or stride");
        t->shape.dim[i] = n, t->stride[i] = s;
    }
    if (count > (int64_t)1 << 48) return broken(m, "a tensor of more than 2^48 values");
    if (!a[0]->u.storage.bytes && (count == 0 ? offset > numel : last >= numel)) return broken(m, "a tensor that reaches beyond its storage");
    return SN_OK;
}

/* ("storage", class, key, location, numel) */
static sn_status push_storage(machine *m) {
    sn_value *id, *value;
    sn_status status = pop(m, &id);
    if (status) return status;
    sn_value **a = id->u.list.items;
    if (id->kind != SN_VALUE_TUPLE || id->u.list.count < 5 || !sn_value_is_text(a[0], "storage") || a[1]->kind != SN_VALUE_GLOBAL ||
        a[1]->u.global.meaning != STORAGE || a[2]->kind != SN_VALUE_TEXT || a[4]->kind != SN_VALUE_INT || a[4]->u.integer < 0)
        return broken(m, "a persistent id that is no storage");
    if (id->u.list.count > 5 && a[5]->kind != SN_VALUE_NONE)
        return broken(m, "a storage that is a part of another (PyTorch before 0.4), which is not read; save the file again with a newer PyTorch");
    size_t length = a[2]->u.text.length;
    const char *key = a[2]->u.text.data;
    for (size_t i = 0; i < length; i++)
        if (key[i] < '0' || key[i] > '9') return broken(m, "a storage key that is no number");
    if (length == 0 || length > 20) return broken(m, "a storage key that is no number");
    if ((status = push_new(m, SN_VALUE_STORAGE, &value))) return status;
    value->u.storage.key = sn_arena_format(m->arena, "%.*s", (int)length, key);
    value->u.storage.bytes = a[1]->u.global.type == SN_TYPE_COUNT;
    value->u.storage.type = value->u.storage.bytes ? SN_TYPE_U8 : a[1]->u.global.type;
    value->u.storage.numel = a[4]->u.integer;
    value->u.storage.next = m->storages;
    m->storages = value;
    return value->u.storage.key ? SN_OK : sn_fail_memory(m->error);
}

static sn_status read_one(const char *where, const unsigned char *bytes, size_t size, sn_arena *arena, bool inside, sn_pickle *out, sn_error *error);

/* A storage as PyTorch's form of before 1.6 has it, whole within the pickle: five pickles (a magic number, the version, what
 * the machine was, the storage, the list of its key), the number of elements, the elements. */
static sn_status read_stored(machine *m, const unsigned char *bytes, size_t size, sn_value *out) {
    enum { MAGIC, VERSION, MACHINE, STORED_ONE, KEYS, NUM };
    sn_pickle part[NUM];
    size_t at = 0;
    int64_t length = 0;
    uint64_t numel = 0;
    sn_arena *arena = sn_arena_new();
    sn_status status = arena ? SN_OK : sn_fail_memory(m->error);
    for (int i = 0; i < NUM && !status; i++) {
        status = read_one(m->where, bytes + at, size - at, arena, true, &part[i], m->error);
        at += part[i].used;
    }
    const sn_value *little = status ? NULL : sn_value_get(part[MACHINE].top, "little_endian"), *version = status ? NULL : part[VERSION].top, *stored = status ? NULL : part[STORED_ONE].top;
    if (!status && (version->kind != SN_VALUE_INT || version->u.integer != 1001 || !little || little->kind != SN_VALUE_BOOL || !little->u.truth || stored->kind != SN_VALUE_STORAGE))
        status = broken(m, "a tensor's bytes that are no storage of PyTorch");
    if (!status && (size - at < 8 || !sn_type_bytes(stored->u.storage.type, stored->u.storage.numel, &length))) status = broken(m, "a tensor's bytes that end early");
    for (int i = 7; i >= 0 && !status; i--) numel = numel << 8 | bytes[at + (size_t)i];
    if (!status && (numel != (uint64_t)stored->u.storage.numel || (uint64_t)length > size - at - 8)) status = broken(m, "a tensor's bytes that end early");
    if (!status) {
        out->u.storage = stored->u.storage;
        out->u.storage.key = "", out->u.storage.next = NULL, out->u.storage.data = bytes + at + 8;
    }
    sn_arena_free(arena);
    return status;
}

/* ---- calls that are none ---- */

static sn_status dict_of(machine *m, const sn_value *arguments, sn_value **out) {
    sn_status status = new_value(m, SN_VALUE_DICT, out);
    if (status || arguments->u.list.count == 0) return status;
    const sn_value *pairs = arguments->u.list.items[0];
    if (arguments->u.list.count > 1 || (pairs->kind != SN_VALUE_LIST && pairs->kind != SN_VALUE_TUPLE)) return broken(m, "a dict made of something else than pairs");
    for (size_t i = 0; i < pairs->u.list.count && !status; i++) {
        const sn_value *pair = pairs->u.list.items[i];
        if ((pair->kind != SN_VALUE_LIST && pair->kind != SN_VALUE_TUPLE) || pair->u.list.count != 2)
            return broken(m, "a dict made of something else than pairs");
        status = append(m, *out, pair->u.list.items[0]);
        if (!status) status = append(m, *out, pair->u.list.items[1]);
    }
    return status;
}

static sn_status container_of(machine *m, sn_value_kind kind, const sn_value *arguments, sn_value **out) {
    sn_status status = new_value(m, kind, out);
    if (status || arguments->u.list.count == 0) return status;
    const sn_value *items = arguments->u.list.items[0];
    if (arguments->u.list.count > 1 || (items->kind != SN_VALUE_LIST && items->kind != SN_VALUE_TUPLE)) return broken(m, "a container made of something else than a list");
    for (size_t i = 0; i < items->u.list.count && !status; i++) status = append(m, *out, items->u.list.items[i]);
    return status;
}

static sn_status reduce(machine *m, const sn_value *global, sn_value *arguments, int depth, sn_value **out) {
    if (global->kind != SN_VALUE_GLOBAL || arguments->kind != SN_VALUE_TUPLE) return broken(m, "a call of something that cannot be called");
    sn_value **a = arguments->u.list.items;
    size_t count = arguments->u.list.count;
    switch ((enum meaning)global->u.global.meaning) {
    case DICT: return dict_of(m, arguments, out);
    case TENSOR_V2:
    case TENSOR_V1: return make_tensor(m, arguments, out);
    case PARAMETER:
        if (count < 1 || a[0]->kind != SN_VALUE_TENSOR) return broken(m, "a parameter without a tensor");
        *out = a[0];
        return SN_OK;
    case FROM_TYPE: /* (function, type, arguments, state): the function applied to the arguments */
        if (count < 3 || depth > 4) return broken(m, "a broken tensor subclass");
        return reduce(m, a[0], a[2], depth + 1, out);
    case SIZE:
    case TUPLE: return container_of(m, SN_VALUE_TUPLE, arguments, out);
    case LIST: return container_of(m, SN_VALUE_LIST, arguments, out);
    case SET: return container_of(m, SN_VALUE_SET, arguments, out);
    case ENCODE:
        if (count < 1 || a[0]->kind != SN_VALUE_TEXT) return broken(m, "encode without a text");
        *out = a[0];
        return SN_OK;
    case FIRST:
        if (count < 1) return broken(m, "a call without arguments");
        *out = a[0];
        return SN_OK;
    case INERT:
    case TORCHSCRIPT: {
        sn_status status = new_value(m, SN_VALUE_OBJECT, out);
        if (!status) (*out)->u.object.name = global->u.global.name, (*out)->u.object.arguments = arguments;
        return status;
    }
    case STORED: {
        if (m->inside || count < 1 || a[0]->kind != SN_VALUE_BYTES) return broken(m, "a tensor whose bytes are none (protocol 2 of Python's pickle is not read; save with protocol 4)");
        sn_status status = new_value(m, SN_VALUE_STORAGE, out);
        return status ? status : read_stored(m, (const unsigned char *)a[0]->u.text.data, a[0]->u.text.length, *out);
    }
    case STORAGE:
    case DTYPE: break;
    }
    return broken(m, "a call of something that cannot be called");
}

static sn_status call(machine *m) {
    sn_value *arguments, *global, *result;
    sn_status status = pop(m, &arguments);
    if (!status) status = pop(m, &global);
    if (!status) status = reduce(m, global, arguments, 0, &result);
    return status ? status : push(m, result);
}

static sn_status build(machine *m) {
    sn_value *state, *object;
    sn_status status = pop(m, &state);
    if (!status) status = top_of_kind(m, &object);
    if (status) return status;
    if (object->kind == SN_VALUE_OBJECT) {
        object->u.object.state = state;
        return SN_OK;
    }
    /* an OrderedDict carries _metadata this way, a tensor its Python attributes: both ignored */
    if (object->kind == SN_VALUE_DICT || object->kind == SN_VALUE_TENSOR) return SN_OK;
    return broken(m, "BUILD on something that has no state");
}

/* SETITEM(S), APPEND(S), ADDITEMS: what the items are added to lies below them. Items of an inert mapping or list
 * are of no use here. */
static sn_status add_items(machine *m, sn_value_kind kind, bool marked) {
    size_t from;
    sn_status status = items_from(m, marked, kind == SN_VALUE_DICT ? 2 : 1, &from);
    if (status) return status;
    if (from <= floor_of(m)) return broken(m, "the stack is empty");
    sn_value *into = m->stack[from - 1];
    if (kind == SN_VALUE_DICT && (m->depth - from) % 2) return broken(m, "a key without a value");
    if (into->kind == SN_VALUE_OBJECT) {
        m->depth = from;
        return SN_OK;
    }
    if (into->kind != kind) return broken(m, kind == SN_VALUE_DICT ? "items set on something that is no dict" : "items added to something that is no list");
    return move_above(m, from, into);
}

/* TUPLE, LIST, DICT, FROZENSET and the tuples of one to three. */
static sn_status push_container(machine *m, sn_value_kind kind, bool marked, size_t count) {
    sn_value *container;
    size_t from;
    sn_status status = items_from(m, marked, count, &from);
    if (!status) status = new_value(m, kind, &container);
    if (!status && kind == SN_VALUE_DICT && (m->depth - from) % 2) return broken(m, "a key without a value");
    if (!status) status = move_above(m, from, container);
    return status ? status : push(m, container);
}

/* An integer beyond int64: in decimal up to 256 bits, beyond that its bytes. Nothing here computes with it. */
static sn_status push_large(machine *m, const unsigned char *p, uint64_t length) {
    unsigned char magnitude[32];
    char digits[84];
    size_t at = sizeof digits;
    sn_value *value;
    bool negative = p[length - 1] & 0x80;
    sn_status status = push_new(m, length > sizeof magnitude ? SN_VALUE_BYTES : SN_VALUE_TEXT, &value);
    if (status) return status;
    value->u.text.data = (const char *)p, value->u.text.length = length;
    if (length > sizeof magnitude) return SN_OK;
    unsigned carry = negative;
    for (size_t i = 0; i < length; i++) {
        carry += negative ? (unsigned char)~p[i] : p[i];
        magnitude[i] = (unsigned char)carry, carry >>= 8;
    }
    for (bool more = true; more;) { /* divide by ten until nothing is left */
        unsigned rest = 0;
        more = false;
        for (size_t i = length; i-- > 0;) {
            rest = rest << 8 | magnitude[i];
            magnitude[i] = (unsigned char)(rest / 10), rest %= 10;
            more = more || magnitude[i];
        }
        digits[--at] = (char)('0' + rest);
    }
    if (negative) digits[--at] = '-';
    value->u.text.length = sizeof digits - at;
    value->u.text.data = sn_arena_format(m->arena, "%.*s", (int)value->u.text.length, digits + at);
    return value->u.text.data ? SN_OK : sn_fail_memory(m->error);
}

static sn_status push_long(machine *m, int length_bytes) {
    uint64_t length;
    const unsigned char *p;
    sn_value *value;
    sn_status status = number(m, length_bytes, &length);
    if (!status) status = take(m, length, &p);
    if (status) return status;
    if (length > 8) return push_large(m, p, length);
    uint64_t bits = length && p[length - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = length; i-- > 0;) bits = bits << 8 | p[i];
    if ((status = push_new(m, SN_VALUE_INT, &value))) return status;
    value->u.integer = (int64_t)bits;
    return SN_OK;
}

static sn_status push_integer(machine *m, int bytes, bool is_signed) {
    uint64_t bits;
    sn_value *value;
    sn_status status = number(m, bytes, &bits);
    if (!status) status = push_new(m, SN_VALUE_INT, &value);
    if (!status) value->u.integer = is_signed ? (int64_t)(int32_t)bits : (int64_t)bits;
    return status;
}

static sn_status push_sized_text(machine *m, sn_value_kind kind, int length_bytes) {
    uint64_t length;
    sn_status status = number(m, length_bytes, &length);
    return status ? status : push_text(m, kind, length);
}

static sn_status step(machine *m, unsigned char op) {
    sn_value *value;
    uint64_t n;
    sn_status status;
    switch (op) {
    case 0x80: /* PROTO */
        status = number(m, 1, &n);
        return status ? status : n >= 2 && n <= 4 ? SN_OK : broken(m, "a protocol other than 2 to 4");
    case 0x95: /* FRAME */
        status = number(m, 8, &n);
        return status ? status : n <= m->size - m->at ? SN_OK : broken(m, "a frame beyond the end");
    case '(':
        if (m->num_marks >= MAX_VALUES) return broken(m, "more than 16 million marks");
        if (!sn_grow((void **)&m->marks, &m->mark_capacity, m->num_marks + 1, sizeof *m->marks)) return sn_fail_memory(m->error);
        m->marks[m->num_marks++] = m->depth;
        return SN_OK;
    case '0': return pop(m, &value);
    case '1':
        if (!m->num_marks) return broken(m, "no mark on the stack");
        m->depth = m->marks[--m->num_marks];
        return SN_OK;
    case '2':
        status = top_of_kind(m, &value);
        return status ? status : push(m, value);
    case 'N': return push_new(m, SN_VALUE_NONE, &value);
    case 0x88:
    case 0x89:
        status = push_new(m, SN_VALUE_BOOL, &value);
        if (!status) value->u.truth = op == 0x88;
        return status;
    case 'J': return push_integer(m, 4, true);
    case 'K': return push_integer(m, 1, false);
    case 'M': return push_integer(m, 2, false);
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'G': {
        const unsigned char *p;
        if ((status = take(m, 8, &p)) || (status = push_new(m, SN_VALUE_FLOAT, &value))) return status;
        uint64_t bits = 0;
        for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
        memcpy(&value->u.number, &bits, sizeof bits);
        return SN_OK;
    }
    case 'U':
    case 0x8c: return push_sized_text(m, SN_VALUE_TEXT, 1);
    case 'T':
    case 'X': return push_sized_text(m, SN_VALUE_TEXT, 4);
    case 0x8d: return push_sized_text(m, SN_VALUE_TEXT, 8);
    case 'C': return push_sized_text(m, SN_VALUE_BYTES, 1);
    case 'B': return push_sized_text(m, SN_VALUE_BYTES, 4);
    case 0x8e: return push_sized_text(m, SN_VALUE_BYTES, 8);
    case ')': return push_new(m, SN_VALUE_TUPLE, &value);
    case ']': return push_new(m, SN_VALUE_LIST, &value);
    case '}': return push_new(m, SN_VALUE_DICT, &value);
    case 0x8f: return push_new(m, SN_VALUE_SET, &value);
    case 0x85:
    case 0x86:
    case 0x87: return push_container(m, SN_VALUE_TUPLE, false, op - 0x84);
    case 't': return push_container(m, SN_VALUE_TUPLE, true, 0);
    case 'l': return push_container(m, SN_VALUE_LIST, true, 0);
    case 'd': return push_container(m, SN_VALUE_DICT, true, 0);
    case 0x91: return push_container(m, SN_VALUE_SET, true, 0);
    case 'a':
    case 'e': return add_items(m, SN_VALUE_LIST, op == 'e');
    case 0x90: return add_items(m, SN_VALUE_SET, true);
    case 's':
    case 'u': return add_items(m, SN_VALUE_DICT, op == 'u');
    case 'q':
    case 'r':
    case 0x94:
        n = m->memo_count;
        status = op == 0x94 ? SN_OK : number(m, op == 'q' ? 1 : 4, &n);
        if (!status) status = top_of_kind(m, &value);
        return status ? status : memo_put(m, n, value);
    case 'h':
    case 'j':
        status = number(m, op == 'h' ? 1 : 4, &n);
        return status ? status : memo_get(m, n);
    case 'c': {
        const char *module, *name;
        size_t module_length, name_length;
        if ((status = line(m, &module, &module_length)) || (status = line(m, &name, &name_length))) return status;
        return push_global(m, module, module_length, name, name_length);
    }
    case 0x93: {
        sn_value *module, *name;
        if ((status = pop(m, &name)) || (status = pop(m, &module))) return status;
        if (module->kind != SN_VALUE_TEXT || name->kind != SN_VALUE_TEXT) return broken(m, "a global whose name is no text");
        return push_global(m, module->u.text.data, module->u.text.length, name->u.text.data, name->u.text.length);
    }
    case 'R':
    case 0x81: return call(m);
    case 'b': return build(m);
    case 'Q': return push_storage(m);
    }
    return sn_fail(m->error, SN_ERROR_INPUT, "%s: pickle, byte %zu: opcode 0x%02x is not accepted", m->where, m->at - 1, op);
}

static sn_status read_one(const char *where, const unsigned char *bytes, size_t size, sn_arena *arena, bool inside, sn_pickle *out, sn_error *error) {
    *out = (sn_pickle){0};
    machine m = {.where = where, .bytes = bytes, .size = size, .arena = arena, .error = error, .inside = inside};
    sn_status status = SN_OK;
    bool stopped = false;
    while (!status && !stopped) {
        if (m.at >= m.size) {
            status = broken(&m, "it ends without STOP");
        } else {
            unsigned char op = m.bytes[m.at++];
            stopped = op == '.';
            if (!stopped) status = step(&m, op);
        }
    }
    if (!status && (m.depth != 1 || m.num_marks)) status = broken(&m, "it does not end with exactly one value");
    if (!status) *out = (sn_pickle){m.stack[0], m.storages, m.at};
    sn_free(m.stack);
    sn_free(m.marks);
    sn_free(m.memo);
    return status;
}

sn_status sn_pickle_read(const char *where, const unsigned char *bytes, size_t size, sn_arena *arena, sn_pickle *out, sn_error *error) {
    return read_one(where, bytes, size, arena, false, out, error);
}

bool sn_pickled_floats(const sn_pickled_tensor *t, float *to) {
    const unsigned char *data = t->storage->u.storage.data;
    const sn_type_traits *type = sn_type_of(t->type);
    int64_t count = sn_shape_count(&t->shape), at[SN_MAX_RANK] = {0};
    if (!data || t->storage->u.storage.bytes || !type->to_float) return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t place = t->offset;
        for (int d = 0; d < t->shape.rank; d++) place += at[d] * t->stride[d];
        type->to_float(data + place * type->bytes, to + i, 1);
        for (int d = t->shape.rank - 1; d >= 0 && ++at[d] == t->shape.dim[d]; d--) at[d] = 0;
    }
    return true;
}

bool sn_value_is_text(const sn_value *value, const char *text) {
    return value->kind == SN_VALUE_TEXT && value->u.text.length == strlen(text) && memcmp(value->u.text.data, text, strlen(text)) == 0;
}

sn_value *sn_value_get(const sn_value *dict, const char *key) {
    if (dict->kind != SN_VALUE_DICT) return NULL;
    for (size_t i = dict->u.list.count; i >= 2; i -= 2)
        if (sn_value_is_text(dict->u.list.items[i - 2], key)) return dict->u.list.items[i - 1];
    return NULL;
}
