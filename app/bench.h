/* What the benches share: timing and cases. */
#pragma once

#include "app/cli.h"
#include "app/problem.h"

#define MFG_BENCH_LATER_CALLS 5
#define MFG_BENCH_PATIENCE 3. /* seconds */

/* Wall seconds of the first call of a piece of work and the median of later ones; where the first
 * took longer than the patience there is no later one and it stands for them. */
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

/* Collective; the backend of the line is named. One estimate of standing agents, and sweeps of
 * moving ones, beside the direct sum; backward sweeps on the host and on a GPU. */
PetscErrorCode MFGBenchKDE(MPI_Comm comm, const MFGCommandLine *line);
PetscErrorCode MFGBenchSweep(MPI_Comm comm, const MFGCommandLine *line);
PetscErrorCode MFGBenchHJB(MPI_Comm comm, const MFGCommandLine *line);
