/* What a progress line says. */
#include "base/progress.h"
#include "tests/unit/check.h"

#include <string.h>

static void expect(int64_t total, int64_t done, double seconds, const char *text) {
    sn_progress p;
    char line[80];
    sn_progress_begin(&p, NULL, "questions", "q", total);
    sn_progress_line(&p, done, seconds, line);
    assert_string_equal(line, text);
}

static void test_lines(void **state) {
    expect(200, 50, 10, "questions 50 of 200 (25 %), 5 q/s, 0:30 left");
    expect(200, 200, 10, "questions 200 of 200 (100 %), 20 q/s, 0:00 left");
    expect(100000, 10, 10, "questions 10 of 100000 (0 %), 1 q/s, 27:46:30 left");
    expect(200, 0, 3, "questions 0 of 200 (0 %), 0 q/s, ? left");
    expect(0, 30, 10, "questions 30, 3 q/s");
}

/* What an earlier run did says nothing about this one's speed. */
static void test_going_on(void **state) {
    sn_progress p;
    char line[80];
    sn_progress_begin(&p, NULL, "questions", "q", 200);
    for (int i = 0; i < 100; i++) sn_progress_had(&p);
    sn_progress_line(&p, 110, 10, line);
    assert_string_equal(line, "questions 110 of 200 (55 %), 1 q/s, 1:30 left");
    assert_float_equal(sn_progress_left(&p, 110, 10), 90, 1e-9);
    assert_float_equal(sn_progress_left(&p, 100, 10), -1, 0);
    p.note = "loss 2.5";
    sn_progress_line(&p, 110, 10, line);
    assert_string_equal(line, "questions 110 of 200 (55 %), 1 q/s, 1:30 left, loss 2.5");
}

/* Where there is no terminal nothing is written, however long it takes. */
static void test_silent_without_terminal(void **state) {
    char buffer[64] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    sn_progress p;
    sn_progress_begin(&p, file, "questions", "q", 10);
    p.begun -= 100;
    sn_progress_to(&p, 5);
    sn_progress_end(&p);
    rewind(file);
    assert_int_equal(fread(buffer, 1, sizeof buffer, file), 0);
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_going_on), cmocka_unit_test(test_silent_without_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
