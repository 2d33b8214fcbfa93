/* A folder and the folders around it. */
#include "base/folder.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

sn_status sn_make_folder(const char *path, sn_error *error) {
    char *place = sn_strdup(path);
    if (!place) return sn_fail_memory(error);
    for (char *slash = place; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(place, 0755); /* where that cannot be, the last one says why */
        *slash = '/';
    }
    sn_free(place);
    if (mkdir(path, 0755) == 0 || (errno == EEXIST && sn_is_directory(path))) return SN_OK;
    return sn_fail(error, SN_ERROR_IO, "%s: cannot make the folder: %s", path, strerror(errno));
}
