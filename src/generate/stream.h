/* The text of an answer while it grows: whole characters only, nothing that may still become a stop string. */
#ifndef SN_GENERATE_STREAM_H
#define SN_GENERATE_STREAM_H

#include "text/tokenizer.h"

typedef struct sn_text_stream {
    sn_detokenizer detokenizer;
    sn_buf text;         /* all that is decided, up to the stop string */
    size_t given;        /* bytes of text that sn_text_stream_next has handed out */
    const char *const *stops;
    int num_stops;
    bool ended;
    const char *stopped_by; /* the stop string that ended it, or NULL */
} sn_text_stream;

void sn_text_stream_begin(sn_text_stream *s, const sn_tokenizer *tokenizer, const char *const *stops, int num_stops);
void sn_text_stream_free(sn_text_stream *s);

/* Takes an id; true when a stop string is complete: the text then ends before it. */
bool sn_text_stream_push(sn_text_stream *s, int32_t id);
/* The same for text at hand. */
bool sn_text_stream_push_text(sn_text_stream *s, const char *text, size_t length);
/* No more ids: what was held is text. */
void sn_text_stream_end(sn_text_stream *s);
/* The new text that may be shown, as a view valid until the next push. */
const char *sn_text_stream_next(sn_text_stream *s, size_t *length);

#endif
