/* Open addressing with linear probing; keys live in an arena. Each map hashes with a seed of its own, so that a file
 * cannot be made whose names all fall on one place. */
#include "base/map.h"

#include "base/memory.h"

#include <string.h>
#include <unistd.h>

typedef struct slot {
    const char *key;
    size_t length;
    uint64_t hash;
    int64_t value;
} slot;

struct sn_map {
    sn_arena *arena;
    slot *slots;
    size_t capacity, count;
    uint64_t seed;
};

uint64_t sn_hash(const void *bytes, size_t length, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < length; i++) h = (h ^ p[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

sn_map *sn_map_new(void) {
    sn_map *map = sn_alloc(1, sizeof *map);
    if (map && !(map->arena = sn_arena_new())) {
        sn_free(map);
        return NULL;
    }
    if (map && getentropy(&map->seed, sizeof map->seed) != 0) map->seed = (uintptr_t)map;
    return map;
}

void sn_map_free(sn_map *map) {
    if (!map) return;
    sn_arena_free(map->arena);
    sn_free(map->slots);
    sn_free(map);
}

static slot *find(const sn_map *map, const char *key, size_t length, uint64_t hash) {
    for (size_t i = hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        slot *s = &map->slots[i];
        if (!s->key || (s->hash == hash && s->length == length && memcmp(s->key, key, length) == 0)) return s;
    }
}

static bool widen(sn_map *map) {
    size_t capacity = map->capacity ? map->capacity * 2 : 64;
    slot *fresh = sn_alloc(capacity, sizeof *fresh);
    if (!fresh) return false;
    sn_map larger = {.slots = fresh, .capacity = capacity};
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].key) *find(&larger, map->slots[i].key, map->slots[i].length, map->slots[i].hash) = map->slots[i];
    sn_free(map->slots);
    map->slots = fresh, map->capacity = capacity;
    return true;
}

bool sn_map_set(sn_map *map, const char *key, size_t length, int64_t value) {
    if ((map->count + 1) * 4 > map->capacity * 3 && !widen(map)) return false;
    uint64_t hash = sn_hash(key, length, map->seed);
    slot *s = find(map, key, length, hash);
    if (!s->key) {
        char *copy = sn_arena_alloc(map->arena, length + 1, 1);
        if (!copy) return false;
        memcpy(copy, key, length);
        *s = (slot){.key = copy, .length = length, .hash = hash};
        map->count++;
    }
    s->value = value;
    return true;
}

bool sn_map_get(const sn_map *map, const char *key, size_t length, int64_t *value) {
    if (map->count == 0) return false;
    const slot *s = find(map, key, length, sn_hash(key, length, map->seed));
    if (!s->key) return false;
    if (value) *value = s->value;
    return true;
}

size_t sn_map_count(const sn_map *map) { return map->count; }
