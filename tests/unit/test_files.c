/* Files that appear whole or not at all: over an older one, beside what a killed process left, from many writers at once. */
#include "base/file.h"
#include "base/memory.h"
#include "tests/unit/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/files-XXXXXX";

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int count_and_remove(bool remove) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char *path = sn_path_join(folder, e->d_name);
        if (remove) unlink(path);
        sn_free(path);
        count++;
    }
    closedir(dir);
    return count;
}

static int teardown(void **state) {
    (void)state;
    count_and_remove(true);
    return rmdir(folder);
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(const char *path, const char *text) {
    char *data;
    size_t size;
    sn_error error = {0};
    assert_ok(sn_read_file(path, 1 << 20, &data, &size, &error), error);
    assert_string_equal(data, text);
    sn_free(data);
}

static void test_what_a_killed_writer_left_is_taken_over(void **state) {
    (void)state;
    char *path = sn_path_join(folder, "report"), *left = sn_path_join(folder, "report.part");
    sn_error error = {0};
    assert_ok(sn_write_file(path, "one", 3, &error), error);
    put(left, "whole, but never moved to its place");
    assert_ok(sn_write_file(path, "two", 3, &error), error);
    expect(path, "two");
    assert_int_equal(count_and_remove(true), 1);
    sn_free(path);
    sn_free(left);
}

static void test_an_output_that_is_not_committed_leaves_the_older_file(void **state) {
    (void)state;
    char *path = sn_path_join(folder, "weights");
    sn_error error = {0};
    sn_output *out;
    put(path, "older");
    assert_ok(sn_output_open(path, &out, &error), error);
    assert_ok(sn_output_write(out, "newer", 5, &error), error);
    sn_output_close(out);
    expect(path, "older");
    assert_int_equal(count_and_remove(true), 1);
    sn_free(path);
}

static void test_a_folder_in_the_way_is_named(void **state) {
    (void)state;
    char *path = sn_path_join(folder, "taken");
    sn_error error = {0};
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(sn_write_file(path, "x", 1, &error), SN_ERROR_IO);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(count_and_remove(false), 0);
    sn_free(path);
}

/* Four processes write the same file over and over: all succeed, the file is one of theirs, and nothing else is left. */
static void test_many_writers(void **state) {
    (void)state;
    char *path = sn_path_join(folder, "shared");
    for (int w = 0; w < 4; w++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child) continue;
        char text[] = {(char)('a' + w), (char)('a' + w), 0};
        sn_error error = {0};
        for (int i = 0; i < 200; i++)
            if (sn_write_file(path, text, 2, &error)) _exit(1);
        _exit(0);
    }
    for (int w = 0; w < 4; w++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    char *data;
    size_t size;
    sn_error error = {0};
    assert_ok(sn_read_file(path, 16, &data, &size, &error), error);
    assert_int_equal(size, 2);
    assert_true(data[0] >= 'a' && data[0] <= 'd' && data[0] == data[1]);
    sn_free(data);
    assert_int_equal(count_and_remove(true), 1);
    sn_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_killed_writer_left_is_taken_over),
        cmocka_unit_test(test_an_output_that_is_not_committed_leaves_the_older_file),
        cmocka_unit_test(test_a_folder_in_the_way_is_named),
        cmocka_unit_test(test_many_writers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
