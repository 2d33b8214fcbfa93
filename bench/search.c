/* Times exact search over a file of rows; bench/search.py sets it beside FAISS.
 *   search ROWS.f32 WIDTH QUERIES.f32 K f32|f16 REPEATS
 * Prints seconds, a line a search; bytes per second at which the rows are read where nothing is done with them; rows found, a
 * line a query. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/probe.h"
#include "vectors/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    sn_mapping data, asked;
    sn_error error = {0};
    if (argc != 7 || sn_map_file(argv[1], &data, &error) || sn_map_file(argv[3], &asked, &error)) return fprintf(stderr, "search: %s\n", argc == 7 ? error.message : "six arguments"), 1;
    int64_t width = atoll(argv[2]), k = atoll(argv[4]), rows = (int64_t)data.size / 4 / width, queries = (int64_t)asked.size / 4 / width;
    sn_type type = sn_type_by_name(argv[5]);
    void *stored = sn_alloc((size_t)(rows * width), (size_t)sn_type_of(type)->bytes);
    sn_hit *hits = sn_alloc((size_t)(queries * k), sizeof *hits);
    int64_t *found = sn_alloc((size_t)queries, sizeof *found);
    if (!stored || !hits || !found) return fprintf(stderr, "search: no memory\n"), 1;
    sn_type_of(type)->from_float((const float *)data.data, stored, rows * width);
    sn_weight weight = sn_weight_view(type, SN_SHAPE(rows, width), stored);
    sn_search search = {.rows = &weight, .k = k};
    for (int i = 0; i < atoi(argv[6]); i++) {
        double begun = sn_seconds();
        if (sn_search_rows(&search, (const float *)asked.data, queries, hits, found, NULL, &error)) return fprintf(stderr, "search: %s\n", error.message), 1;
        printf("%.9f\n", sn_seconds() - begun);
    }
    sn_store_entry entry = {.weight = weight}, *entries[] = {&entry};
    printf("%.0f\n", sn_probe_read(&(sn_store){.entries = entries, .count = 1}, sn_cpu_count()));
    for (int64_t i = 0; i < queries * k; i++) printf("%lld%c", (long long)hits[i].row, i % k == k - 1 ? '\n' : ' ');
    sn_free(stored);
    sn_free(hits);
    sn_free(found);
    sn_unmap_file(&data);
    sn_unmap_file(&asked);
    return 0;
}
