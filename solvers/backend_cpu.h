/* The CPU tables. The kernel files are compiled once per processor generation (CMakeLists.txt) with
 * MFG_VARIANT set, each defining its table under the variant's name; backend.c chooses at run time.
 * All variants give the same bits: no contraction, explicit fma. */
#pragma once

#include "solvers/backend.h"

#define MFG_PASTE_(a, b) a##_##b
#define MFG_PASTE(a, b) MFG_PASTE_(a, b)
#define MFG_VARIANT_NAME(name) MFG_PASTE(name, MFG_VARIANT)

#define MFG_DECLARE_VARIANT(variant)                                                               \
  extern const MFGAgentsOps MFGAgentsOps_CPU_##variant;                                            \
  extern const MFGDensityOps MFGDensityOps_CPU_##variant;                                          \
  extern const MFGGridOps MFGGridOps_CPU_##variant;                                                \
  extern const MFGStarOps MFGStarOps_CPU_##variant;                                                \
  extern const MFGLevelOps MFGLevelOps_CPU_##variant;                                              \
  PetscErrorCode MFGSort_CPU_##variant(const MFGSort *job);

PetscErrorCode MFGAxisSums_CPU(const MFGMarginals *job, const int64_t *marginals,
                               MFGAxisSums *sums);
PetscErrorCode MFGMarginals_CPU(const MFGMarginals *job, const int64_t *moments,
                                int64_t *marginals);

PetscErrorCode MFGGhosts_CPU(const MFGBlock *block, int fields, int mirror, const double *owned,
                             double *ghosted);

PetscErrorCode MFGStarTranspose_CPU(const MFGStarLevel *level, float *work,
                                    const MFGStarLevel *transposed);
PetscErrorCode MFGStarInvert_CPU(const MFGStarLevel *level, double *inverse);
PetscErrorCode MFGStarFinish_CPU(const MFGStarFinish *job);

/* Ghosts of periodic axes that the box has whole, corners included. */
void MFGStarWrap_CPU(const MFGBlock *block, float *field);

MFG_DECLARE_VARIANT(baseline)
#if defined(__x86_64__)
MFG_DECLARE_VARIANT(v3)
MFG_DECLARE_VARIANT(v4)
#endif
