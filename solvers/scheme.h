/* The steps of the scheme from T to 0: what the backward sweep, its linearisation and the forward
 * sweep of the density on the grid have in common. */
#pragma once

#include "solvers/backend.h"
#include "solvers/level_chunk.h"

typedef struct {
  double dt, nu;
  int steps;
  MFGHamiltonian hamiltonian;
  int drift_levels;    /* 0: no given drift; 1: constant in time; steps + 1 */
  const double *drift; /* borrowed; b, [drift_levels][dim][owned], on the host */
} MFGHJBSpec;

/* The given drift of a level, or NULL. */
static inline const double *MFGHJBSpecDrift(const MFGHJBSpec *s, const MFGBlock *b, int level) {
  if (s->drift_levels == 0) return NULL;
  return s->drift + (s->drift_levels == 1 ? 0 : level * b->dim * MFGBlockOwned(b));
}

/* The given drift of all levels, or NULL. */
static inline const double *MFGHJBSpecFlow(const MFGHJBSpec *s) {
  return s->drift_levels ? s->drift : NULL;
}

/* For levels of it, of which none are there yet. */
static inline MFGLevelChunk MFGHJBSpecChunk(const MFGHJBSpec *s, const MFGBlock *b,
                                            const MFGMemoryOps *memory) {
  return (MFGLevelChunk){.memory = memory,
                         .count = b->dim * MFGBlockOwned(b),
                         .constant = (PetscBool)(s->drift_levels == 1)};
}

/* A step without its costs: `next` and `source` are NULL. */
static inline MFGHJBStep MFGHJBSpecStep(const MFGHJBSpec *s, const MFGBlock *b,
                                        const double *drift) {
  return (MFGHJBStep){
      .block = *b, .dt = s->dt, .nu = s->nu, .hamiltonian = s->hamiltonian, .drift = drift};
}
