/* What every unit test includes: cmocka in its required order. */
#ifndef SN_TESTS_CHECK_H
#define SN_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Fails with the message of a sensorium error. */
#define assert_ok(call, error) \
    do {                       \
        if (call) fail_msg("%s", (error).message); \
    } while (0)

#endif
