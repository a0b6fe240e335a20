/* What the benches share: timing and cases. */
#pragma once

#include "app/problem.h"

#define MFG_BENCH_LATER_CALLS 5

/* Wall seconds of the first call of a piece of work and the median of later ones. */
typedef struct {
  double first, later;
} MFGBenchTiming;

typedef PetscErrorCode (*MFGBenchWork)(void *context);

/* Collective. The ranks start together and the slowest counts. */
PetscErrorCode MFGBenchTimeWork(MPI_Comm comm, MFGBenchWork work, void *context,
                                MFGBenchTiming *timing);

/* A shipped case with changes, ready to be solved; backend: auto, cpu or cuda, here and below. */
typedef struct {
  MFGConfig *config;
  MFGProblem problem;
} MFGBenchCase;

PetscErrorCode MFGBenchCaseCreate(MPI_Comm comm, const char *backend, const char *name, int count,
                                  const char *const sets[], MFGBenchCase *c);
PetscErrorCode MFGBenchCaseDestroy(MFGBenchCase *c);

/* One estimate of standing agents, and sweeps of moving ones, beside the direct sum. */
PetscErrorCode MFGBenchKDE(MPI_Comm comm, const char *backend);
PetscErrorCode MFGBenchSweep(MPI_Comm comm, const char *backend);
