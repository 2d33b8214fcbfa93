/* Names that every header of the library uses. */
#ifndef SENSORIUM_TYPES_H
#define SENSORIUM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SN_API __attribute__((visibility("default")))
#else
#define SN_API
#endif

/* Outcome of a call. SN_OK is zero; everything else comes with a message in the sn_error. */
typedef enum sn_status {
    SN_OK = 0,
    SN_ERROR_USAGE,     /* the caller's arguments or options make no sense */
    SN_ERROR_INPUT,     /* a file, picture, request or text is not what it should be */
    SN_ERROR_IO,        /* the operating system could not read or write */
    SN_ERROR_MEMORY,    /* memory could not be had */
    SN_ERROR_SUPPORT,   /* sound, but not supported by this version */
    SN_ERROR_NUMERIC,   /* a result is not finite */
    SN_ERROR_CANCELLED, /* the caller asked to stop */
} sn_status;

typedef struct sn_error sn_error;

#endif
