/* A synthetic result: a crowd that moves and a value function, by formulas that test_output_read.py
 * repeats. Blocks of unequal size, an asymmetric grid, levels not divisible by `every`. */
#pragma once

#include "app/output.h"
#include "tests/mfg_test.h"

#include <math.h>

typedef struct {
  MFGGrid grid;
  MFGConfig config;
  MFGResult result;
  double *M, *U, *control, *cost, *mean, *variance, *path;
  int64_t *id;
  MFGConvergenceEntry *history;
} Fixture;

static double Density(int dim, double t, double x, double y, double z) {
  const double cx = 0.5 + 0.8 * t, cy = -0.1 + 0.3 * t * t, cz = 1.5 - 0.3 * t, s = 0.15;
  if (dim == 1) return exp(-(x - cx) * (x - cx) / (2 * s * s)) / (s * 2.5066282746310002);
  const double plane = exp(-((x - cx) * (x - cx) + 2 * (y - cy) * (y - cy)) / (2 * s * s)) *
                       sqrt(2) / (6.283185307179586 * s * s);
  if (dim == 2) return plane;
  return plane * exp(-3 * (z - cz) * (z - cz) / (2 * s * s)) * sqrt(3) / (s * 2.5066282746310002);
}

/* In 1D and 2D the others are y = 0 and z = 1.2. */
static double Value(double t, double x, double y, double z) {
  return (1.5 - t) *
             ((x - 1.3) * (x - 1.3) + 0.5 * (y - 0.2) * (y - 0.2) + 0.25 * (z - 1.2) * (z - 1.2)) +
         0.1 * x * y + 0.05 * x * (z - 1.2);
}

static void FillLevel(Fixture *f, int n) {
  const MFGBlock *b = &f->grid.block;
  const int64_t owned = MFGBlockOwned(b);
  const double t = f->config.time.horizon * n / f->config.time.steps;
  int64_t c = 0;
  for (; c < owned; c++) {
    const int i = (int)(c % b->count[0]), j = (int)(c / b->count[0] % b->count[1]);
    const int k = (int)(c / b->count[0] / b->count[1]);
    const double x = MFGCellCenter(b, 0, b->start[0] + i);
    const double y = b->dim > 1 ? MFGCellCenter(b, 1, b->start[1] + j) : 0;
    const double z = b->dim > 2 ? MFGCellCenter(b, 2, b->start[2] + k) : 1.2;
    const double velocity[] = {-((1.5 - t) * 2 * (x - 1.3) + 0.1 * y + 0.05 * (z - 1.2)),
                               -((1.5 - t) * (y - 0.2) + 0.1 * x),
                               -((1.5 - t) * 0.5 * (z - 1.2) + 0.05 * x)};
    f->M[n * owned + c] = Density(b->dim, t, x, y, z);
    f->U[n * owned + c] = Value(t, x, y, z);
    for (int axis = 0; axis < b->dim; axis++)
      f->control[(n * b->dim + axis) * owned + c] = velocity[axis];
  }
  const double mean[] = {0.5 + 0.8 * t, -0.1 + 0.3 * t * t, 1.5 - 0.3 * t};
  for (int k = 0; k < b->dim; k++) {
    f->mean[n * b->dim + k] = mean[k];
    f->variance[n * b->dim + k] = 0.15 * 0.15 / (k + 1);
    for (int j = 0; j < f->result.samples; j++)
      f->path[(n * f->result.samples + j) * b->dim + k] =
          f->mean[n * b->dim + k] + 0.01 * (j - 2) * (1 + k);
  }
  f->cost[n] = 1 + t;
}

static void FixtureCreate(Fixture *f, int dim, const int cells[], int steps, int every,
                          int iterations, int samples) {
  const double lower[] = {0, -0.5, 1}, upper[] = {2, 0.75, 1.75};
  const MFGBoundary boundary[3][2] = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                      {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                      {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};
  memset(f, 0, sizeof *f);
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, boundary, &f->grid));
  const int64_t owned = MFGBlockOwned(&f->grid.block), levels = steps + 1;
  f->config = (MFGConfig){.path = "case.yaml",
                          .title = "Synthetic crowd",
                          .text = "domain: {lower: [0], upper: [2]}\n",
                          .hash = "0123456789abcdef",
                          .dim = dim,
                          .time = {.horizon = 1, .steps = steps},
                          .dynamics = {.sigma = 0.3},
                          .hamiltonian = {.control_cost = 1, .exponent = 2},
                          .agents = {.count = 50000, .seed = 7},
                          .output = {.every = every}};
  MFG_OK(PetscMalloc5(levels * owned, &f->M, levels * owned, &f->U, levels * dim * owned,
                      &f->control, levels, &f->cost, levels * dim, &f->mean));
  MFG_OK(PetscMalloc4(levels * dim, &f->variance, levels * samples * dim, &f->path, samples, &f->id,
                      iterations, &f->history));
  f->result = (MFGResult){.grid = &f->grid,
                          .config = &f->config,
                          .M = f->M,
                          .U = f->U,
                          .iterations = iterations,
                          .convergence = f->history,
                          .cost = f->cost,
                          .mean = f->mean,
                          .variance = f->variance,
                          .mass = f->cost,
                          .samples = samples,
                          .path = f->path,
                          .id = f->id,
                          .status = "finished",
                          .stop_reason = "converged",
                          .backend = "cpu",
                          .command_line = "nashflow run case.yaml",
                          .parent_uuid = NULL};
  for (int n = 0; n < levels; n++) FillLevel(f, n);
  for (int j = 0; j < samples; j++) f->id[j] = 10 * j;
  for (int i = 0; i < iterations; i++)
    f->history[i] = (MFGConvergenceEntry){.iteration = i + 1,
                                          .density_residual = pow(0.3, i),
                                          .value_residual = 0.1 * pow(0.3, i),
                                          .newton_iterations = 2 * i,
                                          .krylov_iterations = 30 + i,
                                          .seconds_hjb = 0.5,
                                          .mass = 1};
}

static void FixtureDestroy(Fixture *f) {
  MFG_OK(PetscFree5(f->M, f->U, f->control, f->cost, f->mean));
  MFG_OK(PetscFree4(f->variance, f->path, f->id, f->history));
  MFG_OK(MFGGridDestroy(&f->grid));
}

/* -dir NAME of the command line, and a name in it. */
static void PathIn(const char *name, char path[PETSC_MAX_PATH_LEN]) {
  char directory[PETSC_MAX_PATH_LEN] = ".";
  MFG_OK(PetscOptionsGetString(NULL, NULL, "-dir", directory, sizeof directory, NULL));
  MFG_OK(PetscSNPrintf(path, PETSC_MAX_PATH_LEN, "%s/%s", directory, name));
}
