/* Optimizers: the same numbers as PyTorch's for the same gradients, to f32 rounding. */
#ifndef SN_TRAIN_OPTIMIZER_H
#define SN_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sn_optimizer_kind { SN_OPTIMIZER_ADAMW, SN_OPTIMIZER_SGD } sn_optimizer_kind;

/* AdamW (Loshchilov & Hutter, arXiv 1711.05101): lr, beta1, beta2, eps, weight_decay. SGD: lr, momentum, nesterov,
 * weight_decay (added to the gradient, as PyTorch does). */
typedef struct sn_optimizer_options {
    sn_optimizer_kind kind;
    double lr, beta1, beta2, eps, weight_decay;
    double momentum;
    bool nesterov;
    double max_grad_norm; /* joint norm of all gradients; 0 = off */
    double connector_lr;  /* of the connector's parameters (LLaVA's mm_projector_lr); 0 = lr */
} sn_optimizer_options;

/* What one tensor, or a piece of one, keeps between steps. m: AdamW's first moment, SGD's momentum; v: AdamW's second.
 * updates: how often it was moved so far. */
typedef struct sn_moments {
    float *m, *v;
    int64_t updates;
} sn_moments;

/* Factor that brings gradients of that joint norm to max_grad_norm, as torch.nn.utils.clip_grad_norm_. */
float sn_clip_factor(const sn_optimizer_options *options, double norm);

/* Moves count values by their gradients times `clip`. lr and decay are those of this tensor. */
void sn_optimizer_step(const sn_optimizer_options *options, double lr, double decay, float clip, float *value, const float *gradient, int64_t count, sn_moments *moments);

#endif
