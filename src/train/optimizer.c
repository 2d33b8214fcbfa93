/* AdamW and SGD, in the order of operations of PyTorch's single-tensor code, so that the rounding is the same too. */
#include "train/optimizer.h"

#include <math.h>

float sn_clip_factor(const sn_optimizer_options *o, double norm) {
    double factor = o->max_grad_norm > 0 ? o->max_grad_norm / (norm + 1e-6) : 1;
    return factor < 1 ? (float)factor : 1;
}

static void adamw(const sn_optimizer_options *o, double lr, double decay, float clip, float *value, const float *gradient, int64_t count, sn_moments *s) {
    double bias1 = 1 - pow(o->beta1, (double)s->updates), bias2 = 1 - pow(o->beta2, (double)s->updates);
    float step = (float)(lr / bias1), root = (float)sqrt(bias2), keep = (float)(1 - lr * decay), eps = (float)o->eps;
    float weight1 = (float)(1 - o->beta1), beta2 = (float)o->beta2, weight2 = (float)(1 - o->beta2);
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] * clip;
        value[i] *= keep;
        s->m[i] = weight1 < 0.5f ? s->m[i] + weight1 * (g - s->m[i]) : g - (g - s->m[i]) * (1 - weight1); /* torch.lerp */
        s->v[i] = beta2 * s->v[i] + weight2 * g * g;
        value[i] -= step * s->m[i] / (sqrtf(s->v[i]) / root + eps);
    }
}

static void sgd(const sn_optimizer_options *o, double lr, double decay, float clip, float *value, const float *gradient, int64_t count, sn_moments *s) {
    float momentum = (float)o->momentum, rate = (float)lr, pull = (float)decay;
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] * clip + pull * value[i];
        if (momentum > 0) {
            s->m[i] = s->updates > 1 ? momentum * s->m[i] + g : g;
            g = o->nesterov ? g + momentum * s->m[i] : s->m[i];
        }
        value[i] -= rate * g;
    }
}

void sn_optimizer_step(const sn_optimizer_options *o, double lr, double decay, float clip, float *value, const float *gradient, int64_t count, sn_moments *s) {
    s->updates++;
    (o->kind == SN_OPTIMIZER_SGD ? sgd : adamw)(o, lr, decay, clip, value, gradient, count, s);
}
