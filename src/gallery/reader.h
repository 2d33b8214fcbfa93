/* Pictures decoded ahead: plain threads read and preprocess files while the engine works on the ones before. Results come in
 * the order in which files were handed in; a file that cannot be read takes its place in the order with its error. */
#ifndef SN_GALLERY_READER_H
#define SN_GALLERY_READER_H

#include "gallery/gallery.h"

typedef struct sn_reader sn_reader;

sn_status sn_reader_new(const sn_gallery_model *model, sn_reader **out, sn_error *error);
void sn_reader_free(sn_reader *reader);

/* Whether another file can be handed in before one is taken out. */
bool sn_reader_has_room(const sn_reader *reader);
/* The path must live until its result is taken; `what` comes back with it. */
void sn_reader_add(sn_reader *reader, const char *path, void *what);
/* Waits for the oldest: its pixel values [3, size, size], valid until the next call, or its error. False where none is left. */
bool sn_reader_next(sn_reader *reader, void **what, const float **pixels, sn_status *status, sn_error *error);

#endif
