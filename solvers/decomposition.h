/* Which division of the agents is faster: a model of one step of a sweep. It decides nothing that
 * changes a result. */
#pragma once

#include "solvers/hints.h"

typedef struct {
  double seconds[2];  /* of a step, by MFGDecomposition; domain: 0 where not possible */
  double imbalance;   /* largest over mean number of agents per box at t = 0 */
  PetscBool possible; /* more than one box, each at least as wide as the kernel reaches */
  MFGDecomposition choice;
  char reason[256]; /* for people, with the figures */
} MFGDecompositionModel;

const char *MFGDecompositionName(MFGDecomposition decomposition);

/* Not collective; the same on all ranks that give the same. m0: whole field. layout->decomposition
 * is not looked at; its radius is that of the widest kernel that can come. hints NULL: nothing is
 * predicted, and the choice is replicated. */
MFGDecompositionModel MFGDecompositionChoose(const MFGSweepLayout *layout, const double *m0,
                                             const MFGHints *hints);

/* Seconds of one step of a sweep on the rank in the middle, which has neighbours on all sides:
 *
 *   replicated  S agent + products product + 2 (R - 1)/R reduction / reduce + gather (R - 1) / swap
 *   domain      S imbalance resident + products product + (halo + migration + gather) / swap
 *                 + axes message
 *
 * and for both the bytes of moments and drift over the memory bandwidth, and where the backend's
 * memory is not the host's those of drift and density over that of copies between the two. S:
 * agents per rank; bytes as MFGSweepBytes counts them; level 0 counts as a step. */
double MFGDecompositionSeconds(const MFGSweepLayout *layout, MFGDecomposition decomposition,
                               double imbalance, const MFGHints *hints);

/* Seconds of one estimate of agents that stand still, replicated:
 *
 *   S deposit + products product + 2 (R - 1)/R reduction / reduce
 *
 * and the bytes of the moments over the memory bandwidth. */
double MFGEstimateSeconds(const MFGSweepLayout *layout, const MFGHints *hints);
