/* Errors.
 *
 * A function that can fail returns sn_status and takes an sn_error that it fills with one line for a
 * person: the file, the field, what was found, what was expected, what to do. Nothing in the library
 * prints or ends the process. Control characters and broken UTF-8 are replaced, so that a message made
 * from a hostile file stays one harmless line. */
#ifndef SN_BASE_ERROR_H
#define SN_BASE_ERROR_H

#include "sensorium/types.h"

struct sn_error {
    sn_status status;
    char message[1024];
};

/* Fills *error (which may be NULL) and returns status, so that `return sn_fail(error, …)` reads well. */
sn_status sn_fail(sn_error *error, sn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of a message that a lower layer has left. */
sn_status sn_fail_prefix(sn_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message for memory that could not be had. */
sn_status sn_fail_memory(sn_error *error);

#endif
