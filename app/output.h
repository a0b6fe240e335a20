/* result.h5 (parallel HDF5, CF-1.10) and its XDMF sidecar. */
#pragma once

#include "app/config.h"
#include "app/watch.h"
#include "solvers/grid.h"

#define MFG_LAYOUT_VERSION "1.0"

/* One entry per outer iteration. */
typedef struct {
  int iteration, stage; /* stage: 1, 2, ..; 0 where there is but one */
  PetscBool on_grid;    /* no agents moved */
  double density_residual, value_residual;
  PetscInt newton_iterations, krylov_iterations;
  double exploitability;  /* NaN: not measured */
  PetscInt linear_sweeps; /* of Newton's method, before this map */
  PetscInt fp_iterations; /* on the grid: linear iterations of the forward sweep, */
  double mass_defect;     /* and largest |1 - factor| that restored the mass of a level */
  double seconds_hjb, seconds_particles, seconds_density, seconds_other;
  double mass, minimum; /* of the density: mass at T, smallest value over all levels */
} MFGConvergenceEntry;

/* Everything a result holds; all borrowed. Flows have levels 0..steps. */
typedef struct {
  const MFGGrid *grid;
  const MFGConfig *config;
  const double *M, *U;   /* [steps + 1][owned] */
  const double *control; /* [steps + 1][dim][owned] or NULL */
  int iterations;
  const MFGConvergenceEntry *convergence;
  const double *cost, *mean, *variance, *mass,
      *exit_flux;          /* [steps+1], mean/variance [steps+1][dim] */
  int64_t samples;         /* agents in path; 0: none */
  const double *path;      /* [steps + 1][samples][dim] */
  const int64_t *id;       /* [samples] */
  const char *status;      /* finished, interrupted, failed */
  const char *stop_reason; /* converged, max_iterations, floor, diverged, ... */
  const char *backend;
  const char *command_line;
  const char *parent_uuid; /* of the result it started from, or NULL */
  const char *history;     /* of all parts of the run, newest first; NULL: the command line, now */
} MFGResult;

/* Collective on grid->world. Writes directory/result.h5 whole to a temporary name, then renames it,
 * and result.xmf; levels thinned by config->output.every, first and last always there. *bytes
 * written. Errors: PETSC_ERR_FILE_WRITE with the file and the reason (disk full, no permission). */
PetscErrorCode MFGResultWrite(const char *directory, const MFGResult *result, int64_t *bytes);

/* Collective on grid->world. The flow of densities M of an earlier result, interpolated to this
 * grid and these time levels (multilinear in space and time, then scaled to mass 1 at every level):
 * M[steps + 1][owned]. *parent_uuid is the caller's (PetscFree). Errors of the file go to `errors`.
 * `watch`, or NULL, is asked between two levels: MFGWatchSetup. */
PetscErrorCode MFGResultReadFlow(const char *file, const MFGGrid *grid, MFGWatch *watch,
                                 double horizon, int steps, double *M, char **parent_uuid,
                                 MFGConfigErrors *errors);

/* Collective. Name, version, commit and libraries of this program, on rank 0. */
PetscErrorCode MFGPrintVersion(MPI_Comm comm, FILE *stream);
