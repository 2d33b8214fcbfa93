/* The key-value part of GGUF files: hyper-parameters, tokenizer, names.
 *
 * A source that was opened from a GGUF file carries it as source->gguf. Values stay in the mapped file; nothing is
 * copied until it is asked for. */
#ifndef SN_WEIGHTS_GGUF_H
#define SN_WEIGHTS_GGUF_H

#include "base/memory.h"
#include "base/json.h"
#include "weights/source.h"

typedef enum sn_gguf_type {
    SN_GGUF_U8,
    SN_GGUF_I8,
    SN_GGUF_U16,
    SN_GGUF_I16,
    SN_GGUF_U32,
    SN_GGUF_I32,
    SN_GGUF_F32,
    SN_GGUF_BOOL,
    SN_GGUF_STRING,
    SN_GGUF_ARRAY,
    SN_GGUF_U64,
    SN_GGUF_I64,
    SN_GGUF_F64,
    SN_GGUF_TYPES,
} sn_gguf_type;

/* One value, or a walk over the elements of an array: `at` is the next element, `left` how many there are. */
typedef struct sn_gguf_value {
    const char *key;
    sn_gguf_type type; /* of the elements where is_array */
    bool is_array;
    uint64_t left; /* 1 for a scalar */
    const unsigned char *at;
} sn_gguf_value;

typedef struct sn_gguf {
    uint32_t version;
    sn_gguf_value *values;
    size_t count;
    sn_map *index;
} sn_gguf;

/* The value of a key; false where it is absent. The copy can be walked. */
bool sn_gguf_find(const sn_gguf *gguf, const char *key, sn_gguf_value *out);

/* The next element of a walk, false at its end or where the type does not fit: whole numbers and bools as int64
 * (u64 beyond it does not fit), any number as double, strings (UTF-8, not terminated, in the file). */
bool sn_gguf_next_integer(sn_gguf_value *walk, int64_t *out);
bool sn_gguf_next_number(sn_gguf_value *walk, double *out);
bool sn_gguf_next_text(sn_gguf_value *walk, const char **text, size_t *length);
/* The next element of an array of arrays, itself a walk. */
bool sn_gguf_next_array(sn_gguf_value *walk, sn_gguf_value *inner);

/* Scalars by key; false where absent or of another type. */
bool sn_gguf_integer(const sn_gguf *gguf, const char *key, int64_t *out);
bool sn_gguf_number(const sn_gguf *gguf, const char *key, double *out);
bool sn_gguf_text(const sn_gguf *gguf, const char *key, const char **text, size_t *length);

/* A value as JSON; whole numbers beyond 2^53 become decimal text, since JSON readers round them. NULL without memory. */
json_t *sn_gguf_json(const sn_gguf_value *value);

/* The number that GGUF files give a tensor type, -1 where they have none. */
int sn_gguf_type_number(sn_type type);

#endif
