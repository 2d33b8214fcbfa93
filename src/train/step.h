/* One training step: the same graph as answering, with labels, its gradients, and AdamW. */
#ifndef SN_TRAIN_STEP_H
#define SN_TRAIN_STEP_H

#include "systems/model.h"

typedef struct sn_optimizer_options {
    double lr, beta1, beta2, eps, weight_decay;
    double max_grad_norm; /* joint norm of all gradients; 0 = off */
    double connector_lr;  /* of the connector's parameters (LLaVA's mm_projector_lr); 0 = lr */
} sn_optimizer_options;

/* What learns: an f32 master, its gradient of the last step, AdamW's moments. */
typedef struct sn_trainable {
    sn_store_entry *entry;
    sn_type stored; /* the type it came in */
    int64_t count;
    float *value, *gradient, *m, *v;
    float *pass; /* gradient of one pass, where several are added up */
} sn_trainable;

typedef struct sn_trainer {
    sn_model *model;
    const sn_stage *stage;
    sn_trainable *trainables;
    size_t count;
    int64_t step;
} sn_trainer;

/* Gives every parameter of the stage an f32 master in the model's store. */
sn_status sn_trainer_open(sn_model *model, const char *stage, sn_trainer *out, sn_error *error);
void sn_trainer_close(sn_trainer *trainer);

/* Tokens of a sample that are learnt: labels that some position predicts. */
int64_t sn_sample_learnt(const sn_sample *sample);

/* One pass: pixels [pictures, 3, H, W] in the order of the samples' media. loss = sum over the labelled tokens / count,
 * gradients likewise, added to those there are with `add`. count is that of the whole step (all passes, all processes),
 * so that the way it is cut does not change the result. */
sn_status sn_trainer_gradients(sn_trainer *trainer, const sn_sample *samples, int num_samples, const float *pixels, int pictures, int64_t count,
                               bool add, float *loss, sn_error *error);
/* Joint norm of the gradients, before clipping; then one AdamW step as torch does it. */
double sn_trainer_norm(const sn_trainer *trainer);
void sn_trainer_update(sn_trainer *trainer, const sn_optimizer_options *options, double norm);

#endif
