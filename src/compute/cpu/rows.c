/* Products of queries with stored rows, by one instruction set's kernels. */
#include "compute/cpu/kernels.h"
#include "compute/cpu/product.h"

size_t SN_NAME(sn_rows_scratch)(int64_t queries, int64_t rows, int64_t width) { return sn_product_scratch(queries, rows, width, 1); }

void SN_NAME(sn_rows_product)(const sn_weight *rows, const float *queries, int64_t count, float *scores, void *scratch) {
    sn_product product = {.m = count, .n = rows->rows, .k = rows->columns, .a = {.data = queries, .stride = rows->columns}, .b = {.weight = rows},
                          .c = scores, .c_stride = rows->rows};
    sn_product_run(&product, 1, scratch);
}
