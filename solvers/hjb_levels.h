/* Levels of a backward sweep in the memory of a backend. On the host they are the caller's own
 * arrays, one step at a time; elsewhere a chunk of steps, of which all that is given is copied
 * there before and what was solved is copied back after. Part of solvers/hjb.h. */
#pragma once

#include "solvers/hjb.h"

typedef struct {
  const MFGBackend *backend; /* borrowed, as the next two */
  const MFGHJBSpec *spec;
  const MFGBlock *block;
  int64_t owned;
  int most;        /* steps of a chunk */
  double *source;  /* owned, [owned]; F of a step, on the host */
  double *shift;   /* owned, [owned]; what the level solved last has moved by, on the host */
  double *U;       /* borrowed; of the sweep, on the host */
  int first, last; /* levels of U that are in `values` */
  PetscBool kept;  /* with the numbers that U has, after Store */
  double *values;  /* [last - first + 1][owned], in the backend's memory, as all below */
  double *costs;   /* F of the steps to the levels from `first` on: [..][owned] */
  double *drift;   /* given, of the levels from `first` on, or the constant one; may be NULL */
  int drift_first, drift_count; /* which levels those are, where it is not constant */
  double *difference;           /* shift */
  int64_t values_room, costs_room, drift_room, difference_room; /* owned numbers of each; 0: not
                                                                   owned */
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
PetscErrorCode MFGHJBLevelsStore(MFGHJBLevels *levels, int tried);

/* U^n in the backend's memory as the last Store found it there; NULL where it is not. */
const double *MFGHJBLevelsKept(const MFGHJBLevels *levels, const double *U, int n);

/* Of the chunk: U^n, F^{n+1} and the given drift of level n, or NULL; in the backend's memory. */
double *MFGHJBLevelsValue(const MFGHJBLevels *levels, int n);
const double *MFGHJBLevelsCost(const MFGHJBLevels *levels, int n);
const double *MFGHJBLevelsDrift(const MFGHJBLevels *levels, int n);
