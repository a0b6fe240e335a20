/* Levels of a backward sweep in the memory of a backend: on the host one step at a time, elsewhere
 * a chunk of steps, of which all that is given is copied there before and what was solved is copied
 * back after. Part of solvers/hjb.h. */
#pragma once

#include "solvers/hjb.h"

typedef struct {
  const MFGBackend *backend; /* borrowed, as the next one */
  const MFGHJBSpec *spec;
  int64_t owned;
  int most;            /* steps of a chunk */
  double *source;      /* owned, [owned]; F of a step, on the host */
  double *shift;       /* owned, [owned]; what the level solved last has moved by, on the host */
  int first;           /* lowest level of the chunk */
  MFGLevelChunk value; /* U; current after Store until the next Load */
  MFGLevelChunk drift; /* the given one */
  double *costs;      /* F of the steps to the levels from `first` on: [..][owned], in the backend's
                         memory as the next one */
  double *difference; /* shift */
  int64_t costs_room, difference_room; /* owned numbers of each; 0: not owned */
} MFGHJBLevels;

PetscErrorCode MFGHJBLevelsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGHJBSpec *spec, MFGHJBLevels *levels);
PetscErrorCode MFGHJBLevelsDestroy(MFGHJBLevels *levels);

/* Makes the next chunk of steps ready where the levels from `solved` on are known: those to the
 * levels levels->first .. solved - 1. cold: first guesses need the last three. */
PetscErrorCode MFGHJBLevelsLoad(MFGHJBLevels *levels, int solved, PetscBool cold,
                                MFGSourceFunction source, void *context, double *U);
/* The levels and the shift of the chunk are those of U and of the host again; F of the step to
 * level `tried` goes to levels->source. */
PetscErrorCode MFGHJBLevelsStore(MFGHJBLevels *levels, int tried, double *U);

/* Of the chunk: F^{n+1}, in the backend's memory. */
const double *MFGHJBLevelsCost(const MFGHJBLevels *levels, int n);
