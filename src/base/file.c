/* Mapping, reading and writing of files. */
#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_regular(const char *path, struct stat *info, sn_error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        sn_fail(error, SN_ERROR_IO, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (fstat(fd, info) != 0 || !S_ISREG(info->st_mode)) {
        sn_fail(error, SN_ERROR_IO, "%s: found %s, expected a regular file", path,
                S_ISDIR(info->st_mode) ? "a directory" : "a special file");
        close(fd);
        return -1;
    }
    return fd;
}

sn_status sn_map_file(const char *path, sn_mapping *out, sn_error *error) {
    struct stat info;
    *out = (sn_mapping){0};
    int fd = open_regular(path, &info, error);
    if (fd < 0) return SN_ERROR_IO;
    if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            int why = errno;
            close(fd);
            return sn_fail(error, SN_ERROR_IO, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size,
                           strerror(why));
        }
        out->data = data, out->size = (size_t)info.st_size;
    }
    close(fd);
    return SN_OK;
}

void sn_unmap_file(sn_mapping *mapping) {
    if (mapping->data) munmap((void *)mapping->data, mapping->size);
    *mapping = (sn_mapping){0};
}

sn_status sn_read_file(const char *path, size_t limit, char **data, size_t *size, sn_error *error) {
    struct stat info;
    int fd = open_regular(path, &info, error);
    if (fd < 0) return SN_ERROR_IO;
    size_t want = (size_t)info.st_size, got = 0;
    if (want > limit) {
        close(fd);
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %zu bytes, expected at most %zu", path, want, limit);
    }
    char *bytes = sn_alloc(want + 1, 1);
    if (!bytes) {
        close(fd);
        return sn_fail_memory(error);
    }
    while (got < want) {
        ssize_t n = read(fd, bytes + got, want - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        got += (size_t)n;
    }
    close(fd);
    bytes[got] = 0;
    *data = bytes, *size = got;
    return SN_OK;
}

bool sn_is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool sn_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

char *sn_path_join(const char *directory, const char *name) {
    size_t length = strlen(directory);
    const char *slash = length && directory[length - 1] == '/' ? "" : "/";
    return name[0] == '/' ? sn_strdup(name) : sn_format("%s%s%s", directory, slash, name);
}

char *sn_path_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return sn_strdup(".");
    return slash == path ? sn_strdup("/") : sn_strndup(path, (size_t)(slash - path));
}

char *sn_path_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return sn_strndup(path + begin, end - begin);
}

struct sn_output {
    char *path, *aside;
    int fd;
    bool nameless; /* the file has no name until it is whole: a process that is killed leaves nothing */
    bool committed;
};

static _Atomic int64_t fail_at;

void sn_output_fail_at(int64_t n) { atomic_store(&fail_at, n); }

static bool must_fail(void) {
    return atomic_load(&fail_at) > 0 && atomic_fetch_sub(&fail_at, 1) == 1;
}

sn_status sn_output_open(const char *path, sn_output **out, sn_error *error) {
    *out = NULL;
    sn_output *o = sn_alloc(1, sizeof *o);
    if (!o) return sn_fail_memory(error);
    o->fd = -1;
    o->path = sn_strdup(path);
    char *folder = sn_path_parent(path);
    o->fd = folder ? open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644) : -1;
    o->nameless = o->fd >= 0;
    sn_free(folder);
    o->aside = sn_format(o->nameless ? "%s.part" : "%s.part-XXXXXX", path);
    if (!o->path || !o->aside) {
        sn_output_close(o);
        return sn_fail_memory(error);
    }
    if (o->fd < 0) o->fd = mkostemp(o->aside, O_CLOEXEC); /* a file system without nameless files */
    if (o->fd < 0) {
        sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
        sn_output_close(o);
        return SN_ERROR_IO;
    }
    if (!o->nameless) fchmod(o->fd, 0644);
    *out = o;
    return SN_OK;
}

sn_status sn_output_write(sn_output *out, const void *bytes, size_t length, sn_error *error) {
    const char *p = bytes;
    while (length) {
        ssize_t n = must_fail() ? (errno = ENOSPC, -1) : write(out->fd, p, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", out->path, strerror(errno));
        p += n, length -= (size_t)n;
    }
    return SN_OK;
}

/* Removes what stands at path if its writer was killed before it could move it: a living one holds a lock on it, and is
 * waited for. */
static void clear_aside(const char *path) {
    struct stat locked, there;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX) == 0 && fstat(fd, &locked) == 0 && lstat(path, &there) == 0 && locked.st_ino == there.st_ino && locked.st_dev == there.st_dev) unlink(path);
    close(fd);
}

/* Gives a nameless file its place. Over an older file it goes by a name beside it, always the same one, so that what a
 * killed process leaves there lasts until the next one writes this file. */
static bool place_nameless(const sn_output *out) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", out->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, out->path, AT_SYMLINK_FOLLOW) == 0) return true;
    if (errno != EEXIST || flock(out->fd, LOCK_EX) != 0) return false;
    for (int i = 0; linkat(AT_FDCWD, self, AT_FDCWD, out->aside, AT_SYMLINK_FOLLOW) != 0; i++) {
        if (errno != EEXIST || i == 1000) return false;
        clear_aside(out->aside);
    }
    if (rename(out->aside, out->path) == 0) return true;
    int why = errno;
    unlink(out->aside);
    errno = why;
    return false;
}

sn_status sn_output_commit(sn_output *out, sn_error *error) {
    bool placed = fsync(out->fd) == 0 && (out->nameless ? place_nameless(out) : rename(out->aside, out->path) == 0);
    if (!placed) return sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", out->path, strerror(errno));
    out->committed = true;
    return SN_OK;
}

void sn_output_close(sn_output *out) {
    if (!out) return;
    if (out->fd >= 0) {
        close(out->fd);
        if (!out->committed && !out->nameless && out->aside) unlink(out->aside);
    }
    sn_free(out->path);
    sn_free(out->aside);
    sn_free(out);
}

sn_status sn_write_file(const char *path, const void *bytes, size_t length, sn_error *error) {
    sn_output *out;
    sn_status status = sn_output_open(path, &out, error);
    if (status) return status;
    status = sn_output_write(out, bytes, length, error);
    if (!status) status = sn_output_commit(out, error);
    sn_output_close(out);
    return status;
}
