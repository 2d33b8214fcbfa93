/* An opened model of any system, and what a system is (design, section 3).
 *
 * A system says which parts it has, how they are joined, how it is published, its prompt and its training stages.
 * The list of systems serves the command line, the server, the trainer and the tests alike. */
#ifndef SN_SYSTEMS_MODEL_H
#define SN_SYSTEMS_MODEL_H

#include "decoders/lm.h"
#include "media/processor.h"
#include "runtime/engine.h"
#include "systems/prompt.h"
#include "text/tokenizer.h"
#include "weights/layout.h"

/* Paths by role; NULL where a role is not given. */
typedef struct sn_model_files {
    const char *main, *llm, *vision, *connector, *base, *delta, *tokenizer, *audio;
    const char *models; /* a folder where parts that a model names are looked for */
    const char *system; /* what the files are, where they do not say it themselves */
    int64_t heads;          /* of a tower whose file does not say it; 0 = not given */
    const char *activation; /* likewise: "gelu", "quick_gelu" */
} sn_model_files;

enum { SN_MAX_SOURCES = 16, SN_MAX_NAMES = 16 };

typedef struct sn_model sn_model;
typedef struct sn_embedder sn_embedder; /* systems/embed.h */
typedef struct sn_finder sn_finder;     /* systems/finder.h */

/* A stage of a system's training: which parameters learn. */
typedef struct sn_stage {
    const char *name;
    const char *const *trainable; /* canonical names with * for any text; NULL ends */
    /* Rows of the token table that learn beside them: at most `most` ids, their number; NULL = none. */
    int (*rows)(const sn_model *model, int32_t *ids, int most);
    const char *template;  /* of a sample's text where the recipe names none; NULL: the system has no templates */
    const char *objective; /* what is minimised, by the name it has in train/objective.c; NULL: the loss of the next token */
} sn_stage;

/* One labelled sequence for training: ids (negative = media rows), labels (-100 = not learnt). */
typedef struct sn_sample {
    sn_ids ids;
    sn_ids labels;
    int num_media;
    const char *media[SN_MAX_MEDIA]; /* paths, borrowed */
    const char *mute; /* why nothing of it is learnt, where the system knows; NULL otherwise */
    bool uneven;      /* the authors' code counts its turns otherwise than it encodes them, and learns nothing of it */
    int64_t place;    /* in its run: what is drawn for one sample differs from what is drawn for another */
} sn_sample;

typedef struct sn_system {
    const char *name, *title, *paper;
    /* How sure it is that these files are its own, 0 = not at all; *why says what was seen. */
    int (*recognise)(const sn_model_files *files, const char **why);
    /* Fills the model: sources, configuration, names, tokenizer, processor. */
    sn_status (*open)(sn_model *model, const sn_model_files *files, sn_error *error);
    void (*close)(sn_model *model);
    /* All parts once, without data: this is where the list of parameters comes from. */
    sn_build *parameters;
    /* What only the bound weights can tell (a delta on the wrong base); may be NULL. */
    sn_status (*check)(const sn_model *model, sn_error *error);
    /* pixels [pictures, 3, H, W] → [pictures, media_positions, hidden]; names vision.output, connector.output */
    sn_tensor (*encode)(sn_graph *graph, const sn_model *model, sn_tensor pixels);
    /* pixels → [pictures, lm.query_size]: what a gallery keeps of a picture, not normalised; NULL where there is none */
    sn_tensor (*key)(sn_graph *graph, const sn_model *model, sn_tensor pixels);
    /* both of the same pictures, their tower run once; training needs it where there are keys */
    void (*encode_and_key)(sn_graph *graph, const sn_model *model, sn_tensor pixels, sn_tensor *rows, sn_tensor *key);
    /* A gallery as it was published with the system: a file, a pattern of names, or a folder of them. NULL where there are none. */
    sn_status (*gallery)(const sn_model *model, const char *path, sn_finder *out, sn_error *error);
    sn_status (*prompt)(const sn_model *model, const sn_request *request, sn_prompt *out, sn_error *error);
    double temperature; /* of the answers that its published script gives */
    const char *caption;   /* stands behind a picture whose caption is wanted; NULL: it is asked for in words */
    int evaluation_square; /* its authors' evaluation makes pictures that wide and high, whatever their shape; 0 = it does not */
    const sn_embedder *embedder; /* its vectors for galleries; NULL where it has none */
    const sn_stage *stages;
    sn_status (*sample)(const sn_model *model, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error);
    /* A model published as a file of what was trained beside frozen models: that file's name, and what writes the arguments
     * beside it (tower: where a tower that learnt was written, or NULL). NULL: whole models, or a projector. */
    const char *checkpoint;
    sn_status (*arguments)(const sn_model *model, const char *folder, const char *tower, sn_error *error);
} sn_system;

struct sn_model {
    const sn_system *system;
    sn_engine *engine;
    sn_store *store;
    sn_arena *arena;
    sn_source *sources[SN_MAX_SOURCES];
    int num_sources;
    sn_names names[SN_MAX_NAMES];
    int num_names;
    sn_bind_report report;
    sn_tokenizer *tokenizer;
    bool has_lm, has_vision;
    sn_lm lm;
    int64_t image_size, media_positions; /* rows that one picture takes in the language model */
    int64_t vision_blocks, vision_blocks_run; /* in the tower's file; of them up to the selected layer */
    const char *vision_from;                  /* where the tower was found, for people */
    sn_image_processor processor;
    bool ids_known;    /* the prompt's ids count for penalties (Hugging Face's layout) */
    int32_t media_id;  /* … and a picture's rows count as this id */
    int32_t query_id;  /* the token whose hidden state finds a picture, -1 = none; … */
    float query_scale; /* … scores are this times the cosine … */
    int32_t cut_id;    /* … and what follows this token (a new line) is no part of an answer */
    bool strip_answer; /* blanks at both ends of an answer are no part of it */
    int num_eos;
    int32_t eos[8];
    const char *layout;                   /* "Hugging Face", "authors' directory", … */
    const char *why;                      /* what was recognised */
    const char *template_name, *template_reason;
    const char **warnings;
    size_t num_warnings, warning_capacity;
    void *own; /* the system's configuration */
};

extern const sn_system *const sn_systems[]; /* ends with NULL */

/* Which system these files are, and what was seen that says so; NULL in *out where none knows them. Two systems that
 * are equally sure are an error that names both. */
sn_status sn_system_recognise(const sn_model_files *files, const sn_system **out, const char **why, sn_error *error);

/* Opens the files as the system they are. Missing or misshapen tensors are an error here. */
sn_status sn_model_open(sn_engine *engine, const sn_model_files *files, sn_model **out, sn_error *error);
/* The same, but what does not fit is left in model->report (for `inspect`). */
sn_status sn_model_inspect(sn_engine *engine, const sn_model_files *files, sn_model **out, sn_error *error);
void sn_model_close(sn_model *model);
/* Hashes of the weights. values: of rows spread over each, so two models that differ anywhere by training differ in it; form:
 * of names and shapes. first (or NULL) gets the first row of each weight. */
typedef void sn_first_row(void *context, const char *name, const sn_weight *weight, const float *row);
sn_status sn_model_hash(const sn_model *model, uint64_t values[2], uint64_t form[2], sn_first_row *first, void *context, sn_error *error);

/* ---- for systems ---- */
void sn_model_warn(sn_model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));
sn_status sn_model_source(sn_model *model, const char *path, sn_source **out, sn_error *error);
/* Adds a table: tensors canonical_prefix + … of that source. NULL without memory. */
sn_names *sn_model_names(sn_model *model, const sn_name_rule *rules, const char *canonical_prefix, const char *published_prefix, sn_source *const *sources,
                         int num_sources);
/* Names under a prefix that are known and not needed. False without memory. */
bool sn_model_skip(sn_model *model, const sn_name_rule *rules, const char *prefix, sn_source *source);
/* config.json of a folder, or NULL in *out where there is none. */
sn_status sn_model_json(const char *folder, const char *name, json_t **out, sn_error *error);

/* pixel_values [pictures, 3, size, size] → connector output [pictures * media_positions, hidden]. SN_ERROR_CANCELLED soon after
 * *cancel (which may be NULL) became true. */
sn_status sn_model_encode(sn_model *model, const float *pixels, int pictures, const atomic_bool *cancel, float *rows, sn_error *error);
/* pixel_values [pictures, 3, size, size] → keys of a gallery [pictures, lm.query_size]. */
sn_status sn_model_keys(sn_model *model, const float *pixels, int pictures, float *keys, sn_error *error);
/* Bytes that the graph of that needs for its values. Nothing runs. */
sn_status sn_model_encode_memory(sn_model *model, int pictures, size_t *bytes, sn_error *error);

#endif
