/* Published galleries: a large array is searched where it is mapped; a list of tensors that is damaged anywhere is refused, or
 * read, and nothing else. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "systems/fromage.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/sn-gallery-XXXXXX";

static void add_text(sn_buf *out, const char *text) {
    uint32_t length = (uint32_t)strlen(text);
    sn_buf_add(out, "X", 1);
    sn_buf_add(out, &length, 4);
    sn_buf_puts(out, text);
}

/* {"embeddings": array [rows, width] of float32, "paths": [...]}; the array's bytes are a hole in the file, but for its last row. */
static void write_sparse(int32_t rows, int32_t width) {
    sn_buf head = {0}, tail = {0};
    uint64_t bytes = (uint64_t)rows * (uint64_t)width * 4;
    sn_buf_add(&head, "\x80\x04}", 3);
    add_text(&head, "embeddings");
    sn_buf_puts(&head, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n");
    sn_buf_add(&head, "K\0\x85" "C\1b\x87R(K\1J", 12);
    sn_buf_add(&head, &rows, 4);
    sn_buf_add(&head, "J", 1);
    sn_buf_add(&head, &width, 4);
    sn_buf_puts(&head, "\x86" "cnumpy\ndtype\n");
    add_text(&head, "f4");
    sn_buf_puts(&head, "\x89\x88\x87R(K\x03");
    add_text(&head, "<");
    sn_buf_add(&head, "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89\x8e", 19);
    sn_buf_add(&head, &bytes, 8);
    sn_buf_puts(&tail, "tbs");
    add_text(&tail, "paths");
    sn_buf_puts(&tail, "](");
    for (int32_t i = 0; i < rows; i++) {
        char text[32];
        snprintf(text, sizeof text, "http://a/%d.png", i);
        add_text(&tail, text);
    }
    sn_buf_puts(&tail, "es.");
    int fd = open(path, O_WRONLY | O_TRUNC);
    float *last = malloc((size_t)width * sizeof *last);
    for (int32_t i = 0; i < width; i++) last[i] = 0.5f;
    assert_true(fd >= 0 && write(fd, head.data, head.length) == (ssize_t)head.length);
    assert_true(pwrite(fd, last, (size_t)width * 4, (off_t)(head.length + bytes) - width * 4) == width * 4);
    assert_true(pwrite(fd, tail.data, tail.length, (off_t)(head.length + bytes)) == (ssize_t)tail.length);
    close(fd);
    free(last);
    sn_buf_free(&head);
    sn_buf_free(&tail);
}

static void test_mapped(void **state) {
    enum { ROWS = 1200, WIDTH = 1 << 16 }; /* 315 MB */
    sn_model model = {.lm.query_size = WIDTH};
    sn_error error = {0};
    sn_finder finder;
    char *where;
    float row[8];
    (void)state;
    write_sparse(ROWS, WIDTH);
    int64_t before = sn_process_memory("RssAnon");
    assert_ok(sn_fromage_gallery(&model, path, &finder, &error), error);
    assert_in_range(sn_process_memory("RssAnon") - before, 0, 20 << 20);
    assert_int_equal(finder.rows.rows, ROWS);
    sn_type_of(SN_TYPE_F32)->to_float(sn_weight_row(&finder.rows, ROWS - 1), row, 8);
    assert_true(row[7] == 0.5f && finder.scale[0] == 0 && fabsf(finder.scale[ROWS - 1] - 1 / 128.0f) < 1e-6f);
    assert_ok(finder.path(&finder, ROWS - 1, &where, &error), error);
    assert_string_equal(where, "http://a/1199.png");
    sn_free(where);
    sn_finder_close(&finder);
}

static void write_bytes(const char *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void test_damaged(void **state) {
    sn_model model = {.lm.query_size = 24};
    char *bytes;
    size_t size;
    int read = 0, refused = 0;
    sn_error error = {0};
    sn_finder finder;
    (void)state;
    char *from = sn_format("%s/../data/galleries/tensors-bf16.pkl", getenv("SN_GOLDENS"));
    assert_ok(sn_read_file(from, 1 << 20, &bytes, &size, &error), error);
    for (size_t cut = 0; cut < size; cut += 211) { /* short */
        write_bytes(bytes, cut);
        assert_int_not_equal(sn_fromage_gallery(&model, path, &finder, &error), SN_OK);
        assert_non_null(strstr(error.message, path));
    }
    for (size_t at = 0; at < size; at += 11) { /* or with one bit another */
        bytes[at] ^= (char)(1 << at % 8);
        write_bytes(bytes, size);
        bytes[at] ^= (char)(1 << at % 8);
        sn_status status = sn_fromage_gallery(&model, path, &finder, &error);
        if (!status) sn_finder_close(&finder);
        *(status ? &refused : &read) += 1;
    }
    assert_true(read > 50 && refused > 50);
    sn_free(bytes);
    sn_free(from);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mapped), cmocka_unit_test(test_damaged)};
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
