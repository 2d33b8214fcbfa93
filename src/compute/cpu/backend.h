/* The CPU's backends: plain C in float and in double, and the fast one. */
#ifndef SN_COMPUTE_CPU_BACKEND_H
#define SN_COMPUTE_CPU_BACKEND_H

#include "base/cpu.h"
#include "tensor/plan.h"

/* Plain C for every operator: one source compiled twice. Float is the truth for fast kernels, double serves
 * finite differences. */
const sn_backend *sn_backend_reference(void);
const sn_backend *sn_backend_reference_double(void);
/* The float reference with products in f32 or bf16 (sn_backend.compute). */
const sn_backend *sn_backend_plain(sn_type compute);

/* The fastest kernels that this machine and SN_CPU allow; the reference's where there is no faster one. */
const sn_backend *sn_backend_cpu(sn_type compute);
/* Those of one level, which the machine must have. */
const sn_backend *sn_backend_at(sn_cpu_level level, sn_type compute);

#endif
