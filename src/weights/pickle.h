/* A restricted unpickler: it can build containers and tensors and nothing else.
 *
 * There is no Python here. A global name is looked up in a fixed list and only ever means "a dict", "a tensor
 * of this storage", or an inert object that keeps its arguments; nothing is imported or called. Every opcode
 * checks the stack, every length is checked against the bytes that are left, values are counted. */
#ifndef SN_WEIGHTS_PICKLE_H
#define SN_WEIGHTS_PICKLE_H

#include "base/memory.h"
#include "tensor/graph.h"

typedef enum sn_value_kind {
    SN_VALUE_NONE,
    SN_VALUE_BOOL,
    SN_VALUE_INT,
    SN_VALUE_FLOAT,
    SN_VALUE_TEXT,  /* str; also integers beyond int64, in decimal */
    SN_VALUE_BYTES,
    SN_VALUE_LIST,
    SN_VALUE_TUPLE,
    SN_VALUE_DICT,  /* items: key, value, key, value … */
    SN_VALUE_SET,
    SN_VALUE_GLOBAL,
    SN_VALUE_STORAGE,
    SN_VALUE_TENSOR,
    SN_VALUE_OBJECT, /* inert: what was given to it */
} sn_value_kind;

typedef struct sn_value sn_value;

/* A view of a storage; its bounds are proven. */
typedef struct sn_pickled_tensor {
    sn_value *storage;
    sn_type type;
    int64_t offset; /* in elements, as the strides */
    sn_shape shape;
    int64_t stride[SN_MAX_RANK];
} sn_pickled_tensor;

struct sn_value {
    sn_value_kind kind;
    bool visited; /* for walks: containers can contain themselves */
    union {
        bool truth;
        int64_t integer;
        double number;
        struct { const char *data; size_t length; } text;
        struct { sn_value **items; size_t count, capacity; } list;
        struct { const char *name; int meaning; sn_type type; } global;
        /* bytes: numel counts bytes; data: of a storage that lies in the pickle itself (its key is "") */
        struct { const char *key; sn_type type; bool bytes; int64_t numel; const unsigned char *data; sn_value *next; } storage;
        sn_pickled_tensor *tensor;
        struct { const char *name; sn_value *arguments, *state; } object;
    } u;
};

typedef struct sn_pickle {
    sn_value *top;
    sn_value *storages; /* every mention of a storage that lies elsewhere, chained by u.storage.next, the last first */
    size_t used;        /* bytes up to and with STOP */
} sn_pickle;

/* Reads one pickle that ends in STOP. The text stays referred to; values live in the arena. `where` names the source in
 * errors. At most 16 million values and 32 million places in containers are made, whatever the file says. */
sn_status sn_pickle_read(const char *where, const unsigned char *bytes, size_t size, sn_arena *arena, sn_pickle *out, sn_error *error);

/* The values of a tensor whose storage lies in the pickle, as floats, in the order of its shape; false where it lies
 * elsewhere. to: room for sn_shape_count(&tensor->shape). */
bool sn_pickled_floats(const sn_pickled_tensor *tensor, float *to);

/* The value of a text key in a dict, or NULL. */
sn_value *sn_value_get(const sn_value *dict, const char *key);
bool sn_value_is_text(const sn_value *value, const char *text);

#endif
