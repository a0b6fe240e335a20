/* Which division of the agents is faster: a model of one step of a sweep. It decides nothing that
 * changes a result. */
#pragma once

#include "solvers/particles.h"

typedef struct {
  double seconds[2];  /* of a step, by MFGDecomposition */
  double imbalance;   /* largest over mean number of agents per box at t = 0 */
  PetscBool possible; /* every box is at least as wide as the kernel reaches */
  MFGDecomposition choice;
  char reason[256]; /* for people, with the figures */
} MFGDecompositionModel;

const char *MFGDecompositionName(MFGDecomposition decomposition);

/* Not collective; the same on all ranks. m0: whole field. layout->decomposition is not looked at;
 * its radius is that of the widest kernel that can come. */
MFGDecompositionModel MFGDecompositionChoose(const MFGSweepLayout *layout, const double *m0);
