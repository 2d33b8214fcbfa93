/* One training step: the same graph as answering, with labels, its gradients, and the optimizer. */
#ifndef SN_TRAIN_STEP_H
#define SN_TRAIN_STEP_H

#include "train/lora.h"
#include "train/optimizer.h"

/* What learns: an f32 master, its gradient of the last step, the optimizer's moments. */
typedef struct sn_trainable {
    sn_store_entry *entry;
    sn_type stored; /* the type it came in */
    const sn_learning_group *group; /* its own lr and decay, or NULL */
    int64_t count;
    float *value, *gradient;
    float *pass; /* gradient of one pass, where several are added up */
    int64_t own_first, own_count; /* the values that this process moves: all, unless several share the work (train/share.h) */
    sn_moments moments; /* of those */
    sn_store_entry *table; /* the values are these rows of that table, the only ones that learn (new tokens); NULL = a whole parameter */
    const int32_t *rows;
    int num_rows;
    int64_t depth; /* the later a forward pass asks for it, the sooner a backward pass has its gradient */
    bool by_media; /* reached through pictures only: a step of texts leaves it alone */
    bool reached;  /* had a part in the present step */
} sn_trainable;

typedef struct sn_trainer {
    sn_model *model;
    const sn_stage *stage;
    sn_arena *arena;
    sn_trainable *trainables;
    size_t count;
    sn_lora_place lora; /* r 0 = no low-rank updates */
    bool recompute;   /* blocks are computed again in the backward pass: less memory, the same numbers */
    int64_t step;
    /* Called on the compute thread as soon as the gradient of a trainable is whole, while the pass still runs; may be NULL. */
    void (*on_gradient)(void *listener, size_t trainable);
    void *listener;
} sn_trainer;

/* Gives every parameter that learns an f32 master in the model's store. With low-rank updates the parts that hold their
 * targets do not learn themselves, unless `train` says so. What `learning` points at must outlive the trainer. */
sn_status sn_trainer_open(sn_model *model, const sn_learning *learning, sn_trainer *out, sn_error *error);
void sn_trainer_close(sn_trainer *trainer);

/* Tokens of a sample that are learnt: labels that some position predicts. */
int64_t sn_sample_learnt(const sn_sample *sample);

/* ---- for objectives: what every graph of a step has ---- */
/* First: low-rank updates (as sn_lora_begin gives them), blocks computed again. Last: gradients by all that learns, named grad.*, of
 * the loss [1], or of several numbers times the seed that is the last input; the one by `also` (may be SN_NONE) is given back. */
sn_lora_place *sn_trainer_begin(sn_graph *g, const sn_trainer *trainer);
sn_tensor sn_trainer_add_gradients(sn_graph *g, const sn_trainer *trainer, sn_tensor loss, sn_tensor also);
/* Runs a program whose results from number `first` on are the gradients, named grad.* in the order of the trainables; results[]
 * has their places, which are filled in here. With `add` they are added to those there are. Each is told to on_gradient; what
 * comes before `first` is told to on_other (may be NULL), as sn_engine_run_listening does. */
sn_status sn_trainer_run(sn_trainer *trainer, sn_program *program, const void *const *inputs, float **results, int first, bool add, sn_on_result *on_other, void *context, sn_error *error);

/* One pass: pixels [pictures, 3, H, W] in the order of the samples' media. loss = sum over the labelled tokens / count,
 * gradients likewise, added to those there are with `add`. count is that of the whole step (all passes, all processes),
 * so that the way it is cut does not change the result. */
typedef struct sn_pass {
    const sn_sample *samples;
    int num_samples;
    const float *pixels;
    int pictures;
    double count;
} sn_pass;
sn_status sn_trainer_gradients(sn_trainer *trainer, const sn_pass *pass, bool add, float *loss, sn_error *error);
/* The same pass again, looking for the first tensor that is not finite: its name is the error. */
sn_status sn_trainer_find_bad(sn_trainer *trainer, const sn_pass *pass, sn_error *error);
/* Bytes of the values inside such a pass over that many tokens, rows and pictures. Nothing runs. */
sn_status sn_trainer_memory(sn_trainer *trainer, int64_t tokens, int64_t rows, int64_t pictures, size_t *bytes, sn_error *error);

/* Joint norm of the gradients, before clipping; then one step of the optimizer as torch does it. Squares: of what this
 * process moves. */
double sn_trainer_squares(const sn_trainer *trainer);
double sn_trainer_norm(const sn_trainer *trainer);
void sn_trainer_update(sn_trainer *trainer, const sn_optimizer_options *options, double factor, double norm);

/* The first parameter with a value that is not finite, or NULL. */
const char *sn_trainer_bad_parameter(const sn_trainer *trainer);

#endif
