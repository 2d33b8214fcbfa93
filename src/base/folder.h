/* Folders for what is written. */
#ifndef SN_BASE_FOLDER_H
#define SN_BASE_FOLDER_H

#include "base/error.h"

/* Makes a folder, and those that it lies in, unless they are there. */
sn_status sn_make_folder(const char *path, sn_error *error);

#endif
