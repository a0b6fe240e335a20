/* The multigrid operations of MFGGridOps on the CPU, one set per processor generation. */
#pragma once

#include "solvers/backend_cpu.h"

PetscErrorCode MFG_VARIANT_NAME(MFGStarSmooth_CPU)(const MFGStarLevel *level, float weight,
                                                   const float *b, const float *x, float *next);
PetscErrorCode MFG_VARIANT_NAME(MFGStarRestrict_CPU)(const MFGStarLevel *level,
                                                     const MFGStarTransfer *transfer,
                                                     const MFGStarLevel *coarse, const float *b,
                                                     const float *x, float *coarse_b);
PetscErrorCode MFG_VARIANT_NAME(MFGStarCorrect_CPU)(const MFGStarLevel *level,
                                                    const MFGStarTransfer *transfer,
                                                    const MFGStarLevel *coarse,
                                                    const float *coarse_x, float *x);
PetscErrorCode MFG_VARIANT_NAME(MFGStarCoarsen_CPU)(const MFGStarLevel *level,
                                                    const MFGStarTransfer *transfer,
                                                    const MFGStarLevel *coarse);
