/* The boxes that the density plan chooses beside all others: bench_boxes [-only NUMBER] [-repeats
 * r]
 * [-sorted]. Per case one row for each number of times that all cells are halved and one for the
 * plan's choice: milliseconds of a level, best of the repeats, of the work that boxes change and of
 * all with the agents' step. Agents in no order, or sorted by cell. */
#include <petscsys.h>
#include <petsctime.h>

#include "solvers/kde.h"
#include "solvers/particle_point.h"

#define STEPS 4

typedef struct {
  int dim, cells[3];
  int64_t agents;
  double h[3], tolerance; /* h in cells */
} Case;

static const Case cases[] = {
    {1, {100}, 50000, {2}, 1e-6},
    {1, {100}, 50000, {2}, 1e-10},
    {1, {100}, 50000, {2}, 1e-14},
    {1, {1000}, 20000, {6}, 1e-10},
    {2, {64, 64}, 20000, {2, 2}, 1e-6},
    {2, {64, 64}, 20000, {2, 2}, 1e-10},
    {2, {64, 64}, 20000, {2, 2}, 1e-14},
    {2, {256, 256}, 1000000, {2, 2}, 1e-6},
    {2, {256, 256}, 1000000, {2, 2}, 1e-10},
    {2, {256, 256}, 1000000, {2, 2}, 1e-14},
    {2, {64, 64}, 1000000, {2, 2}, 1e-6},
    {2, {64, 64}, 1000000, {.8, .8}, 1e-10},
    {2, {64, 64}, 300000, {3, .8}, 1e-8},
    {3, {48, 24, 24}, 200000, {2, 2, 2}, 1e-6},
    {3, {48, 24, 24}, 200000, {2, 2, 2}, 1e-10},
    {3, {48, 24, 24}, 200000, {2, 2, 2}, 1e-14},
    {3, {16, 16, 16}, 1000000, {2, 2, 2}, 1e-6},
    {3, {16, 16, 16}, 1000000, {2, 2, 2}, 1e-10},
    {3, {24, 24, 24}, 1000000, {3, 3, 1}, 1e-6},
    {3, {8, 8, 8}, 1000000, {2, 2, 2}, 1e-10},
};

typedef struct {
  double deposit, convolve, walk; /* ms of a level */
} Times;

static double Uniform(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (double)(*state >> 11) * 0x1p-53;
}

static PetscErrorCode Best(double *best, double start, double levels) {
  PetscLogDouble now;
  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  *best = PetscMin(*best, 1e3 * (now - start) / levels);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Measure(const MFGGrid *grid, const MFGBackend *backend, MFGDensityPlan plan,
                              MFGScan *scan, int repeats, Times *t) {
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  const int64_t cells = MFGBlockCells(&grid->block),
                field = cells * MFGMomentNumbers(grid->block.dim, &shape);
  PetscLogDouble start;
  double *density, with = 1e9;

  PetscFunctionBeginUser;
  *t = (Times){1e9, 1e9, 1e9};
  PetscCall(PetscMalloc2(STEPS * field, &scan->moments, cells, &density));
  for (int r = 0; r < repeats; r++) {
    scan->shape = (MFGMomentShape){0};
    PetscCall(PetscTime(&start));
    PetscCall(MFGBackendScan(backend, scan));
    PetscCall(Best(&t->walk, start, STEPS));
    scan->shape = shape;
    PetscCall(PetscTime(&start));
    PetscCall(PetscArrayzero(scan->moments, STEPS * field));
    PetscCall(MFGBackendScan(backend, scan));
    PetscCall(Best(&with, start, STEPS));
    PetscCall(PetscTime(&start));
    PetscCall(MFGDensityEvaluate(plan, 0, 1, NULL, NULL, scan->moments, density));
    PetscCall(Best(&t->convolve, start, 1));
  }
  t->deposit = with - t->walk;
  PetscCall(PetscFree2(scan->moments, density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Run(const Case *c, int repeats, PetscBool sorted) {
  const double lower[] = {0, 0, 0}, upper[] = {1, 1, 1};
  const MFGBoundary round[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                  {MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                  {MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC}};
  const MFGBackend *backend;
  MFGGrid grid;
  double h[3], *drift;
  uint64_t seed = 1;

  PetscFunctionBeginUser;
  PetscCall(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
  PetscCall(MFGGridCreate(PETSC_COMM_SELF, c->dim, c->cells, lower, upper, round, &grid));
  for (int k = 0; k < c->dim; k++) h[k] = c->h[k] * grid.block.spacing[k];
  MFGScan scan = {.domain = grid.block,
                  .agents = {.id_stride = 1, .count = c->agents},
                  .nu = 1e-5,
                  .dt = 1,
                  .level_end = STEPS};
  for (int k = 0; k < c->dim; k++) {
    PetscCall(PetscMalloc1(c->agents, &scan.agents.position[k]));
    for (int64_t i = 0; i < c->agents; i++) {
      int64_t cell = i * MFGBlockCells(&grid.block) / c->agents;
      for (int l = 0; l < k; l++) cell /= c->cells[l];
      const double u = Uniform(&seed);
      scan.agents.position[k][i] = sorted ? ((double)(cell % c->cells[k]) + u) / c->cells[k] : u;
    }
  }
  PetscCall(PetscCalloc1(STEPS * c->dim * MFGBlockCells(&grid.block), &drift));
  scan.drift = drift;
  PetscCall(PetscPrintf(PETSC_COMM_SELF,
                        "%dD, %lld agents, %d x %d x %d cells, h = %g %g %g cells, tolerance %g\n",
                        c->dim, (long long)c->agents, c->cells[0], c->cells[1], c->cells[2],
                        c->h[0], c->h[1], c->h[2], c->tolerance));
  for (int row = 0; row < 5; row++) {
    const int all[3] = {row, row * (c->dim > 1), row * (c->dim > 2)};
    MFGDensityPlan plan;
    Times t;
    PetscCall(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, c->agents,
                                         c->tolerance, 1, h, row < 4 ? all : NULL, &plan));
    const MFGMomentShape s = MFGDensityPlanShape(plan);
    if (MFGBlockCells(&grid.block) * MFGMomentNumbers(c->dim, &s) < 100000000) {
      PetscCall(Measure(&grid, backend, plan, &scan, repeats, &t));
      PetscCall(PetscPrintf(PETSC_COMM_SELF,
                            "  %s boxes %d %d %d order %2d numbers %6d: deposit %9.3f convolution "
                            "%9.3f both %9.3f with step %9.3f ms\n",
                            row < 4 ? "    " : "plan", 1 << s.halvings[0], 1 << s.halvings[1],
                            1 << s.halvings[2], s.order, MFGMomentNumbers(c->dim, &s), t.deposit,
                            t.convolve, t.deposit + t.convolve, t.deposit + t.convolve + t.walk));
    }
    PetscCall(MFGDensityPlanDestroy(&plan));
  }
  for (int k = 0; k < c->dim; k++) PetscCall(PetscFree(scan.agents.position[k]));
  PetscCall(PetscFree(drift));
  PetscCall(MFGGridDestroy(&grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int main(int argc, char **argv) {
  PetscInt only = -1, repeats = 5;
  PetscBool sorted = PETSC_FALSE;

  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-only", &only, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-repeats", &repeats, NULL));
  PetscCall(PetscOptionsGetBool(NULL, NULL, "-sorted", &sorted, NULL));
  for (PetscInt i = 0; i < (PetscInt)PETSC_STATIC_ARRAY_LENGTH(cases); i++)
    if (only < 0 || i == only) PetscCall(Run(&cases[i], (int)repeats, sorted));
  PetscCall(PetscFinalize());
  return 0;
}
