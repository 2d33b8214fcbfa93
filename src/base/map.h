/* A hash map from byte strings to integers; keys are copied. Order of insertion is not kept. */
#ifndef SN_BASE_MAP_H
#define SN_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sn_map sn_map;

sn_map *sn_map_new(void);
void sn_map_free(sn_map *map);

/* Sets key to value; false when memory could not be had. An existing key is overwritten. */
bool sn_map_set(sn_map *map, const char *key, size_t length, int64_t value);

/* Whether the key is there; *value (may be NULL) gets its value. */
bool sn_map_get(const sn_map *map, const char *key, size_t length, int64_t *value);
size_t sn_map_count(const sn_map *map);

/* FNV-1a with a final mix: for tables and for content keys within one process. */
uint64_t sn_hash(const void *bytes, size_t length, uint64_t seed);

#endif
