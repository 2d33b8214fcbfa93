/* What a language model asks for when it has read texts and pictures and then its token for a picture (FROMAGe's [RET]). */
#ifndef SN_GENERATE_ASK_H
#define SN_GENERATE_ASK_H

#include "media/image.h"
#include "systems/model.h"

/* The vector [lm.query_size] of length 1. The token is put behind, where the request does not end with it. rows: of all
 * pictures in the request, one after the other; NULL: they are read (as `pictures` says; NULL = the usual way) and encoded. */
sn_status sn_ask_for_picture(sn_model *model, const sn_request *request, const sn_image_options *pictures, const float *rows, float *vector, sn_error *error);
/* The same for one text. */
sn_status sn_ask_in_words(sn_model *model, const char *text, float *vector, sn_error *error);

#endif
