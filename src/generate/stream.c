/* Stop strings are looked for in the text, never in ids. */
#include "generate/stream.h"

#include <string.h>

void sn_text_stream_begin(sn_text_stream *s, const sn_tokenizer *tokenizer, const char *const *stops, int num_stops) {
    *s = (sn_text_stream){.stops = stops, .num_stops = num_stops};
    sn_detokenizer_begin(&s->detokenizer, tokenizer, true);
}

void sn_text_stream_free(sn_text_stream *s) {
    sn_buf rest = {0};
    sn_detokenizer_end(&s->detokenizer, &rest);
    sn_buf_free(&rest);
    sn_buf_free(&s->text);
}

static const char *find(const char *text, size_t length, const char *what) { return memmem(text, length, what, strlen(what)); }

/* Cuts at the earliest stop string, the longest of those that begin there. */
static bool cut(sn_text_stream *s) {
    size_t place = SIZE_MAX;
    for (int i = 0; i < s->num_stops && s->text.length; i++) {
        const char *at = find(s->text.data, s->text.length, s->stops[i]);
        size_t offset = at ? (size_t)(at - s->text.data) : SIZE_MAX;
        if (!at || offset > place || (offset == place && strlen(s->stops[i]) <= strlen(s->stopped_by))) continue;
        place = offset;
        s->stopped_by = s->stops[i];
    }
    if (place == SIZE_MAX) return false;
    s->text.length = place;
    s->text.data[place] = 0;
    return true;
}

bool sn_text_stream_push(sn_text_stream *s, int32_t id) {
    sn_detokenizer_push(&s->detokenizer, id, &s->text);
    return cut(s);
}

bool sn_text_stream_push_text(sn_text_stream *s, const char *text, size_t length) {
    sn_buf_add(&s->text, text, length);
    return cut(s);
}

void sn_text_stream_end(sn_text_stream *s) {
    if (s->stopped_by) return;
    s->ended = true;
    sn_detokenizer_end(&s->detokenizer, &s->text);
    cut(s);
}

/* Bytes at the end that are the longest proper prefix of some stop string. */
static size_t held(const sn_text_stream *s) {
    size_t most = 0;
    for (int i = 0; i < s->num_stops && !s->stopped_by && !s->ended; i++) {
        size_t n = strlen(s->stops[i]) - 1;
        if (n > s->text.length) n = s->text.length;
        for (; n > most; n--)
            if (memcmp(s->text.data + s->text.length - n, s->stops[i], n) == 0) most = n;
    }
    return most;
}

const char *sn_text_stream_next(sn_text_stream *s, size_t *length) {
    size_t sure = s->text.length - held(s);
    *length = sure > s->given ? sure - s->given : 0;
    const char *from = s->text.data ? s->text.data + s->given : "";
    s->given += *length;
    return from;
}
