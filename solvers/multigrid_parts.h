/* The parts of the preconditioner (solvers/multigrid.h): its levels, and the cycle on them. */
#pragma once

#include "solvers/exchange.h"
#include "solvers/recording.h"
#include "solvers/star.h"
#include "solvers/vectors.h"

#define MFG_MULTIGRID_LEVELS 40

typedef struct {
  int divisions[MFG_MAX_DIM];
  MFGExchange exchange;       /* owned, as all below; NULL where the box is the whole level */
  double *width[MFG_MAX_DIM]; /* [cells], in cells of the finest level; on the host */
  PetscBool gather;           /* the next level has the same cells, whole on every rank */
  /* For the matrix and for the transposed one, whose c alone are others. Arrays lie in the
   * backend's memory: */
  MFGStarStage stage[2];
  float *tables, *numbers, *transposed;
} MFGMultigridLevel;

/* What is done again and again with the same arrays. */
typedef enum {
  MFG_MULTIGRID_COARSEN,
  MFG_MULTIGRID_TRANSPOSE,
  MFG_MULTIGRID_CYCLE,
  MFG_MULTIGRID_TRANSPOSED_CYCLE,
  MFG_MULTIGRID_WORKS
} MFGMultigridWork;

typedef struct {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  PetscInt pairs;
  PetscReal weights[2];
  int count, finish; /* levels; those from `finish` on are done in one go */
  MFGMultigridLevel level[MFG_MULTIGRID_LEVELS];
  /* Owned, as all below, in the backend's memory; of the matrix and the transposed one. */
  MFGStarStage *last[2]; /* [count - finish] */
  double *inverse[2];    /* of the last level's matrix */
  float *work;           /* for transposition; NULL before the first */
  PetscBool has_transposed;
  MFGRecording recording[MFG_MULTIGRID_WORKS];
  MFGVectorRoom right, solution;
} MFGMultigrid;

/* Cells and box of a level. */
static inline const MFGBlock *MFGMultigridBox(const MFGMultigridLevel *l) {
  return &l->stage[0].level.block;
}

/* Collective on grid->comm. All levels for a matrix whose scaled form and diffusion nu / h_k^2
 * these are; grid and backend have been set. */
PetscErrorCode MFGMultigridCreateLevels(MFGMultigrid *m, const MFGStarLevel *scaled,
                                        const double diffusion[]);
/* Room for the transposed matrices, once. */
PetscErrorCode MFGMultigridReserveTransposed(MFGMultigrid *m);
PetscErrorCode MFGMultigridDestroyLevels(MFGMultigrid *m);

/* Collective on grid->comm. COARSEN: coefficients of all levels from those of the finest;
 * TRANSPOSE: of the transposed ones from these; CYCLE: the finest level's x from its b. */
PetscErrorCode MFGMultigridDo(MFGMultigrid *m, MFGMultigridWork work);
