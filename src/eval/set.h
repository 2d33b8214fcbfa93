/* Benchmarks in their own files: what is asked, about which pictures, and what is right.
 *
 * One struct holds any of them; only the lists of its kind are filled. Files are hostile: every id is looked up, every
 * index checked, nothing is there twice. Texts and ids live in the set's arena. */
#ifndef SN_EVAL_SET_H
#define SN_EVAL_SET_H

#include "base/json.h"
#include "base/map.h"
#include "base/memory.h"

enum { SN_SET_NAMES = 6 };

/* A picture: its id in the annotations, and the names that its file may have below the folder of pictures, likeliest
 * first. A name without an ending is tried with those that pictures have. */
typedef struct sn_set_picture {
    const char *id, *name[SN_SET_NAMES]; /* NULL ends */
} sn_set_picture;

typedef struct sn_set_caption {
    const char *id, *text;
    int64_t picture;
} sn_set_caption;

/* Pictures and captions in turn; what is looked for is the last picture. */
typedef struct sn_set_story {
    const char *id;
    int64_t count;
    const char **caption; /* [count] */
    int64_t *picture;     /* [count] */
} sn_set_story;

typedef struct sn_set_round {
    const char *question, *answer; /* answer NULL: not public */
    const char **option;           /* [num_options] */
    int64_t num_options, right;    /* right: index of the option, -1 = not public */
    double *relevance;             /* [num_options], or NULL */
} sn_set_round;

typedef struct sn_set_dialogue {
    const char *id;
    int64_t picture, num_rounds;
    sn_set_round *round;
} sn_set_dialogue;

typedef struct sn_set_question {
    const char *id, *text, *kind; /* kind: what accuracies are told apart by, or NULL */
    int64_t picture;              /* -1 = none */
    int64_t num_answers;
    const char **answer; /* [num_answers] */
} sn_set_question;

/* A picture and which of the set's classes is right. */
typedef struct sn_set_label {
    const char *id;
    int64_t picture, right;
} sn_set_label;

typedef struct sn_set {
    sn_arena *arena;
    const char *layout; /* for people */
    sn_set_picture *pictures;
    sn_set_caption *captions;
    sn_set_story *stories;
    sn_set_dialogue *dialogues;
    sn_set_question *questions;
    sn_set_label *labels;
    int64_t num_pictures, num_captions, num_stories, num_dialogues, num_questions, num_labels;
    const char *before, *behind, **classes; /* of labels: the prompt's texts around the picture; [num_classes] */
    int64_t num_classes;
    int64_t without; /* pictures that nothing is said about: left out */
} sn_set;

/* COCO's captions (images, annotations), Karpathy's splits (dataset_coco.json, dataset_flickr30k.json, …), tab-separated
 * lines (picture, caption) or JSON lines {"image", "caption"}, by the name's end. split: of Karpathy's; NULL = "test". */
sn_status sn_set_captions(const char *path, const char *split, sn_set *out, sn_error *error);
/* VIST's stories in sequence (sis/val.story-in-sequence.json). */
sn_status sn_set_stories(const char *path, sn_set *out, sn_error *error);
/* VisDial v1.0 (visdial_1.0_val.json). relevance: the dense annotations (visdial_1.0_val_dense_annotations.json), or NULL. */
sn_status sn_set_dialogues(const char *path, const char *relevance, sn_set *out, sn_error *error);
/* A question a line: question or text, answer or answers, image or scene; question_id or id, kind, category or language. */
sn_status sn_set_questions(const char *path, sn_set *out, sn_error *error);
/* Classes to rank: {"prompt": "<image>Output: ", "classes": [texts], "images": [{"image", "label"}]}; label: a class, or its
 * number from 0. */
sn_status sn_set_classes(const char *path, sn_set *out, sn_error *error);
void sn_set_free(sn_set *set);

/* Only the first n pictures with their captions or labels, stories, dialogues or questions, and the pictures that belong to them. */
void sn_set_limit(sn_set *set, int64_t n);

/* ---- for the readers ---- */

enum { SN_SET_MAX_FILE = 1 << 30 };

/* An object or a list. */
sn_status sn_set_json(const char *path, json_t **out, sn_error *error);
/* Every line of a file that is not empty: `each` gets it with its number from 1. */
sn_status sn_set_lines(const char *path, sn_status (*each)(void *context, int64_t number, const char *line, size_t length, sn_error *error), void *context, sn_error *error);
/* A text or a whole number, as a text; NULL where it is something else or there is no memory. */
const char *sn_set_id(sn_set *set, const json_t *value);
/* Grows a list in steps of its own; NULL without memory. */
sn_set_picture *sn_set_add_picture(sn_set *set, size_t *capacity);
/* The picture of that name, which is its id, too: added where `known` (names to indices) does not have it. */
sn_status sn_set_named_picture(sn_set *set, sn_map *known, size_t *capacity, const char *name, int64_t *index, sn_error *error);
/* A text without NUL inside, or NULL. */
const char *sn_set_text(const json_t *value);

#endif
