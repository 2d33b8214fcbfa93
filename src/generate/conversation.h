/* A conversation: its messages, its pictures, and the keys and values that were computed so far.
 *
 * Each answer renders all messages through the template again and compares the ids, and for pictures their
 * content, with what the cache holds: only what lies behind the common beginning is computed. So a further turn
 * costs its own text, and a picture that differs is never taken for another one. */
#ifndef SN_GENERATE_CONVERSATION_H
#define SN_GENERATE_CONVERSATION_H

#include "generate/answer.h"
#include "generate/pictures.h"

typedef struct sn_conversation sn_conversation;

/* The pictures' cache may be shared by conversations of one model; both outlive the conversation. */
sn_status sn_conversation_new(sn_model *model, sn_pictures *pictures, sn_conversation **out, sn_error *error);
void sn_conversation_free(sn_conversation *conversation);

/* Another template than the model's own, by name (borrowed); NULL = its own. */
void sn_conversation_template(sn_conversation *conversation, const char *name);

/* A piece of a message: text, or a picture with the path that it is saved under. Texts of users are taken
 * literally: "<image>" typed by a person is text. */
typedef struct sn_piece {
    const char *text;
    sn_picture *picture;
} sn_piece;

/* Adds a message. Texts are copied, pictures held. A system message is the first or none. */
sn_status sn_conversation_add(sn_conversation *conversation, sn_role role, const sn_piece *pieces, int count, sn_error *error);
/* Back to n messages; the cache stays, as long as it is of use. */
void sn_conversation_cut(sn_conversation *conversation, int num_messages);
int sn_conversation_count(const sn_conversation *conversation);

typedef struct sn_turn {
    const sn_generate_options *options;
    sn_on_text *on_text; /* may be NULL */
    void (*on_id)(void *context, int64_t ids); /* ids chosen so far; may be NULL */
    void *context;
    const atomic_bool *cancel; /* may be NULL */
    const sn_finder *finder;   /* where pictures of the answer are found; may be NULL */
    int max_pictures;          /* of each that is asked for; 0 = 1 */
} sn_turn;

typedef struct sn_turn_result {
    sn_reply reply;
    int64_t prompt_positions; /* pictures included */
    int64_t picture_positions;
    int64_t cached_positions; /* of the prompt, that were not computed again */
    double seconds_pictures, seconds_first, seconds_total; /* encoding; until the first text; the whole turn */
} sn_turn_result;

/* Answers the messages, of which the last is a user's, and adds the answer to them (a cancelled one as far as it
 * came, unless it is empty). On failure the messages stay as they were. sn_reply_free(&out->reply) when done. */
sn_status sn_conversation_answer(sn_conversation *conversation, const sn_turn *turn, sn_turn_result *out, sn_error *error);

/* {"template", "messages": [{"role", "content": [{"type": "text", "text"} | {"type": "image", "path", "hash"}]}]} */
json_t *sn_conversation_json(const sn_conversation *conversation);
/* Adds the messages of such an object; relative paths are below `folder`. *changed counts the pictures whose
 * content is not the saved one. */
sn_status sn_conversation_read(sn_conversation *conversation, const char *where, const json_t *object, const char *folder, const sn_image_options *options, int *changed,
                               sn_error *error);

#endif
