/* Pictures inside a text: data URLs (RFC 2397), data:[media type][;parameters][;base64],data. */
#ifndef SN_MEDIA_DATA_URL_H
#define SN_MEDIA_DATA_URL_H

#include "base/error.h"
#include "base/memory.h"

/* Whether a text that names a picture is one and not a path: it begins with "data:" in any case of letters. */
bool sn_is_data_url(const char *text);

/* What a message calls a picture: its path, or "data URL", for those are long. */
const char *sn_picture_name(const char *path);

/* The bytes, freed by sn_free. Media type and parameters are skipped, since a picture's type comes from its bytes. Base64
 * is taken as clients send it: of either alphabet (RFC 4648, sections 4 and 5), with or without padding, with blanks and
 * line breaks; %41 stands for a byte in both forms. The size is known, and refused beyond `limit`, before memory is taken.
 * Errors name the offset in the URL and never hold the URL. */
sn_status sn_data_url_read(const char *url, size_t limit, unsigned char **bytes, size_t *size, sn_error *error);

#endif
