/* Time of one forward sweep: bench_sweep [-dim 1|2] [-agents N] [-cells n] [-steps s] [-tolerance
 * t]
 * [-repeats r]. Without options the reference workload of the field: 1D, 50,000 agents, 100 cells,
 * 50 steps. Prints the best of the repeats, the parts, and the error against the direct sum. */
#include <petscsys.h>
#include <petsctime.h>

#include "solvers/particles.h"

typedef struct {
  int dim, cells, steps, repeats;
  int64_t agents;
  double tolerance, h_cells;
} Case;

static PetscErrorCode Swirl(void *context, int begin, int end, double *drift) {
  const MFGBlock *b = context;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int c = 0; c < b->dim; c++)
      for (int64_t i = 0; i < MFGBlockCells(b); i++) {
        const double x = MFGCellCenter(b, 0, (int)(i % b->cells[0]));
        const double y = b->dim > 1 ? MFGCellCenter(b, 1, (int)(i / b->cells[0])) : 0.3;
        *drift++ = c ? 0.3 * sin(3 * x) - (y - 0.5) : 0.6 - x + 0.1 * y;
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BumpCreate(const MFGBlock *b, double **m0) {
  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(MFGBlockCells(b), m0));
  for (int64_t i = 0; i < MFGBlockCells(b); i++) {
    double q = 0;
    for (int k = 0, c = (int)i; k < b->dim; c /= b->cells[k++]) {
      const double d = MFGCellCenter(b, k, c % b->cells[k]) - 0.4;
      q += 50 * d * d;
    }
    (*m0)[i] = exp(-q);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  double sweep, scan, walk, deposit, convolve;
} Times;

#define BEST(best, call)                                                                           \
  do {                                                                                             \
    PetscLogDouble start_, stop_;                                                                  \
    PetscCallMPI(MPI_Barrier(PETSC_COMM_WORLD));                                                   \
    PetscCall(PetscTime(&start_));                                                                 \
    PetscCall(call);                                                                               \
    PetscCall(PetscTime(&stop_));                                                                  \
    best = PetscMin(best, stop_ - start_);                                                         \
  } while (0)

static PetscErrorCode Measure(const Case *c, const MFGGrid *grid, const MFGBackend *backend,
                              MFGParticles particles, MFGDensityPlan plan, double *M,
                              MFGSampleStatistics *statistics, Times *best) {
  const int64_t cells = MFGBlockCells(&grid->block);
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  const int numbers = MFGMomentNumbers(c->dim, &shape);
  MFGBlock whole = grid->block;
  MFGScan scan = {.nu = 0.045, .dt = 1.0 / c->steps, .level_end = c->steps, .key = {.seed = 1}};
  double *drift;
  int64_t *moments;

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) whole.start[k] = 0, whole.count[k] = whole.cells[k];
  scan.domain = whole;
  scan.agents = (MFGAgentRange){.id_stride = 1, .count = c->agents};
  for (int k = 0; k < c->dim; k++) PetscCall(PetscMalloc1(c->agents, &scan.agents.position[k]));
  PetscCall(PetscMalloc1(c->steps * c->dim * cells, &drift));
  PetscCall(PetscCalloc1(c->steps * cells * numbers, &moments));
  PetscCall(Swirl(&whole, 0, c->steps, drift));
  scan.drift = drift;
  scan.moments = moments;
  for (int r = 0; r < c->repeats; r++) {
    BEST(best->sweep, MFGParticlesSweep(particles, plan, 0, Swirl, &whole, M, statistics));
    for (int k = 0; k < c->dim; k++)
      for (int64_t i = 0; i < c->agents; i++)
        scan.agents.position[k][i] =
            (double)((uint64_t)i * (k ? 40503u : 1) % c->agents) / c->agents;
    scan.shape = shape;
    BEST(best->scan, MFGBackendScan(backend, &scan));
    scan.shape.order = 0;
    BEST(best->walk, MFGBackendScan(backend, &scan));
    BEST(best->deposit, MFGBackendDeposit(backend, &whole, &scan.agents, &shape, NULL, moments));
    BEST(best->convolve, MFGDensityEvaluate(plan, 0, 1, NULL, NULL, moments, M));
  }
  for (int k = 0; k < c->dim; k++) PetscCall(PetscFree(scan.agents.position[k]));
  PetscCall(PetscFree(drift));
  PetscCall(PetscFree(moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Plan(const Case *c, const MFGGrid *grid, const MFGBackend *backend,
                           MFGDensityMethod method, MFGDensityPlan *plan) {
  double *h;
  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1((c->steps + 1) * c->dim, &h));
  for (int i = 0; i < (c->steps + 1) * c->dim; i++)
    h[i] = c->h_cells * grid->block.spacing[i % c->dim];
  PetscCall(
      MFGDensityPlanCreate(grid, backend, method, c->agents, c->tolerance, c->steps + 1, h, plan));
  PetscCall(PetscFree(h));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Run(const Case *c) {
  const int cells[] = {c->cells, c->cells};
  const double lower[] = {0, 0}, upper[] = {1, 1};
  const MFGBoundary walls[][2] = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};
  const MFGBackend *backend;
  MFGGrid grid;
  MFGDensityPlan plan, direct;
  MFGParticles particles;
  Times t = {1e9, 1e9, 1e9, 1e9, 1e9};
  double *m0, *M, *D, error = 0, largest = 0;
  MFGSampleStatistics *statistics;

  PetscFunctionBeginUser;
  PetscCall(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &backend));
  PetscCall(MFGGridCreate(PETSC_COMM_WORLD, c->dim, cells, lower, upper, walls, &grid));
  PetscCall(BumpCreate(&grid.block, &m0));
  PetscCall(Plan(c, &grid, backend, MFG_DENSITY_MOMENTS, &plan));
  PetscCall(Plan(c, &grid, backend, MFG_DENSITY_DIRECT, &direct));
  const MFGParticlesSpec spec = {.count = c->agents,
                                 .seed = 1,
                                 .initial_density = m0,
                                 .nu = 0.045,
                                 .dt = 1.0 / c->steps,
                                 .steps = c->steps};
  PetscCall(MFGParticlesCreate(&grid, backend, &spec, &particles));
  const int64_t values = (c->steps + 1) * MFGBlockOwned(&grid.block);
  PetscCall(PetscMalloc3(values, &M, values, &D, c->steps + 1, &statistics));
  PetscCall(Measure(c, &grid, backend, particles, plan, M, statistics, &t));
  const double unit = 1e9 / ((double)c->agents * c->steps);
  PetscCall(PetscPrintf(PETSC_COMM_WORLD, "%s, %dD, %lld agents, %d cells, %d steps, p = %d\n",
                        backend->detail, c->dim, (long long)c->agents, c->cells, c->steps,
                        MFGDensityPlanShape(plan).order));
  PetscCall(
      PetscPrintf(PETSC_COMM_WORLD,
                  "sweep %.2f ms = %.2f ns per agent and step; scan %.2f, random and push %.2f,"
                  " deposit %.2f ns; convolution %.3f ms a level\n",
                  1e3 * t.sweep, unit * t.sweep, unit * t.scan, unit * t.walk,
                  1e9 * t.deposit / (double)c->agents, 1e3 * t.convolve));
  if ((double)c->agents * c->cells * c->steps <= 1e9) {
    PetscCall(MFGParticlesSweep(particles, plan, 0, Swirl, &grid.block, M, statistics));
    PetscCall(MFGParticlesSweep(particles, direct, 0, Swirl, &grid.block, D, statistics));
    for (int64_t i = 0; i < values; i++) {
      error = PetscMax(error, fabs(M[i] - D[i]));
      largest = PetscMax(largest, D[i]);
    }
    PetscCall(PetscPrintf(PETSC_COMM_WORLD, "largest error against the direct sum: %.2e\n",
                          error / largest));
  }
  PetscCall(PetscFree3(M, D, statistics));
  PetscCall(PetscFree(m0));
  PetscCall(MFGParticlesDestroy(&particles));
  PetscCall(MFGDensityPlanDestroy(&plan));
  PetscCall(MFGDensityPlanDestroy(&direct));
  PetscCall(MFGGridDestroy(&grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int main(int argc, char **argv) {
  Case c = {.dim = 1, .cells = 100, .steps = 50, .repeats = 20, .tolerance = 1e-10, .h_cells = 2};
  PetscInt agents = 50000, dim = c.dim, cells = c.cells, steps = c.steps, repeats = c.repeats;

  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-dim", &dim, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-agents", &agents, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-cells", &cells, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-steps", &steps, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-repeats", &repeats, NULL));
  PetscCall(PetscOptionsGetReal(NULL, NULL, "-tolerance", &c.tolerance, NULL));
  PetscCall(PetscOptionsGetReal(NULL, NULL, "-bandwidth_cells", &c.h_cells, NULL));
  c.dim = (int)dim, c.cells = (int)cells, c.steps = (int)steps, c.repeats = (int)repeats;
  c.agents = agents;
  PetscCall(Run(&c));
  PetscCall(PetscFinalize());
  return 0;
}
