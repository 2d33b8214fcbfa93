/* What the fuzz targets share. libFuzzer calls LLVMFuzzerTestOneInput with bytes; readers want a file, so the bytes are
 * put into one that has no name. */
#ifndef SN_TESTS_FUZZ_H
#define SN_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A path at which the bytes can be opened until the next call. */
static inline const char *path_of(const uint8_t *bytes, size_t size) {
    static char path[32];
    static int fd = -1;
    if (fd >= 0) close(fd);
    fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

#endif
