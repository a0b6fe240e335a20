/* Small fixed inputs whose instructions are counted: no arguments. Under callgrind the cost
 * of each function below, divided by the work that it prints, is a figure of instructions.txt;
 * count_instructions.py compares them. */
#include "solvers/fp_grid.h"
#include "solvers/hjb.h"
#include "solvers/particles.h"

#define APART __attribute__((noinline))

typedef struct {
  const MFGBackend *backend;
  MFGGrid grid;
  int dim, steps;
  int64_t agents;
} Case;

static PetscErrorCode Open(int dim, int cells, MFGBoundary boundary, Case *c) {
  const int n[] = {cells, cells, cells};
  const double lower[] = {0, 0, 0}, upper[] = {1, 1, 1};
  const MFGBoundary faces[][2] = {{boundary, boundary}, {boundary, boundary}, {boundary, boundary}};

  PetscFunctionBeginUser;
  c->dim = dim;
  PetscCall(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &c->backend));
  PetscCall(MFGGridCreate(PETSC_COMM_WORLD, dim, n, lower, upper, faces, &c->grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A bump off the middle, different on each axis. */
static double Bump(const MFGBlock *b, int64_t cell) {
  double q = 0;
  for (int k = 0; k < b->dim; cell /= b->cells[k++]) {
    const double d = MFGCellCenter(b, k, (int)(cell % b->cells[k])) - 0.4 - 0.05 * k;
    q += (20 + 5 * k) * d * d;
  }
  return exp(-q);
}

static PetscErrorCode Wind(void *context, int begin, int end, double *drift) {
  const MFGBlock *b = (const MFGBlock *)context;

  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < MFGBlockCells(b); i++) *drift++ = 0.3 * (k + 1) - 0.5 * Bump(b, i);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SweepOf(Case *c,
                              PetscErrorCode (*counted)(MFGParticles, MFGDensityPlan, Case *,
                                                        double *, MFGSampleStatistics *)) {
  const MFGBlock *b = &c->grid.block;
  MFGParticlesSpec spec = {
      .count = c->agents, .seed = 1, .nu = 0.02, .dt = 0.02, .steps = c->steps};
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGSampleStatistics *statistics;
  double *m0, *M, *h;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc4(MFGBlockCells(b), &m0, (c->steps + 1) * MFGBlockCells(b), &M,
                         (c->steps + 1) * c->dim, &h, c->steps + 1, &statistics));
  for (int64_t i = 0; i < MFGBlockCells(b); i++) m0[i] = Bump(b, i);
  for (int i = 0; i < (c->steps + 1) * c->dim; i++) h[i] = 2 * b->spacing[i % c->dim];
  spec.initial_density = m0;
  PetscCall(MFGParticlesCreate(&c->grid, c->backend, &spec, &particles));
  PetscCall(MFGDensityPlanCreate(&c->grid, c->backend, MFG_DENSITY_MOMENTS, c->agents, 1e-6,
                                 c->steps + 1, h, &plan));
  PetscCall(counted(particles, plan, c, M, statistics));
  PetscCall(MFGDensityPlanDestroy(&plan));
  PetscCall(MFGParticlesDestroy(&particles));
  PetscCall(PetscFree4(m0, M, h, statistics));
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define SWEEP(d)                                                                                   \
  APART PetscErrorCode CountSweep##d##D(MFGParticles p, MFGDensityPlan plan, Case *c, double *M,   \
                                        MFGSampleStatistics *statistics) {                         \
    return MFGParticlesSweep(p, plan, 0, Wind, &c->grid.block, M, statistics);                     \
  }
PetscErrorCode CountSweep1D(MFGParticles, MFGDensityPlan, Case *, double *, MFGSampleStatistics *);
PetscErrorCode CountSweep2D(MFGParticles, MFGDensityPlan, Case *, double *, MFGSampleStatistics *);
PetscErrorCode CountSweep3D(MFGParticles, MFGDensityPlan, Case *, double *, MFGSampleStatistics *);
SWEEP(1)
SWEEP(2)
SWEEP(3)

/* Agents evenly over the box. */
APART PetscErrorCode CountDeposit(Case *c, const MFGAgentRange *agents, const MFGMomentShape *shape,
                                  int64_t *moments);
APART PetscErrorCode CountDeposit(Case *c, const MFGAgentRange *agents, const MFGMomentShape *shape,
                                  int64_t *moments) {
  return MFGBackendDeposit(c->backend, &c->grid.block, agents, shape, NULL, moments);
}

APART PetscErrorCode CountConvolve(MFGDensityPlan plan, const int64_t *moments, double *density);
APART PetscErrorCode CountConvolve(MFGDensityPlan plan, const int64_t *moments, double *density) {
  return MFGDensityEvaluate(plan, 0, 1, NULL, NULL, moments, density);
}

static PetscErrorCode Estimate(Case *c, int64_t *terms) {
  const MFGBlock *b = &c->grid.block;
  const double h[] = {2 * b->spacing[0], 2 * b->spacing[1]};
  MFGAgentRange agents = {.id_stride = 1, .count = c->agents};
  MFGDensityPlan plan;
  int64_t *moments;
  double *density;

  PetscFunctionBeginUser;
  PetscCall(MFGDensityPlanCreate(&c->grid, c->backend, MFG_DENSITY_MOMENTS, c->agents, 1e-6, 1, h,
                                 &plan));
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  *terms = MFGMomentTerms(2, shape.order);
  for (int k = 0; k < 2; k++) {
    PetscCall(PetscMalloc1(c->agents, &agents.position[k]));
    for (int64_t i = 0; i < c->agents; i++)
      agents.position[k][i] =
          ((double)((uint64_t)i * (k ? 40503u : 1) % c->agents) + .5) / (double)c->agents;
  }
  PetscCall(PetscCalloc1(MFGBlockCells(b) * MFGMomentNumbers(2, &shape), &moments));
  PetscCall(PetscMalloc1(MFGBlockCells(b), &density));
  PetscCall(CountDeposit(c, &agents, &shape, moments));
  PetscCall(CountConvolve(plan, moments, density));
  for (int k = 0; k < 2; k++) PetscCall(PetscFree(agents.position[k]));
  PetscCall(PetscFree(moments));
  PetscCall(PetscFree(density));
  PetscCall(MFGDensityPlanDestroy(&plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Source(void *context, int level, double *source) {
  const MFGBlock *b = (const MFGBlock *)context;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < MFGBlockCells(b); i++) source[i] = (1 + 0.01 * level) * Bump(b, i);
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define HJB(d)                                                                                     \
  APART PetscErrorCode CountHJB##d##D(MFGHJB hjb, Case *c, const double *terminal, double *U,      \
                                      MFGHJBStats *stats) {                                        \
    return MFGHJBSweep(hjb, Source, &c->grid.block, terminal, PETSC_FALSE, 1e-8, U, stats);        \
  }
PetscErrorCode CountHJB1D(MFGHJB, Case *, const double *, double *, MFGHJBStats *);
PetscErrorCode CountHJB2D(MFGHJB, Case *, const double *, double *, MFGHJBStats *);
PetscErrorCode CountHJB3D(MFGHJB, Case *, const double *, double *, MFGHJBStats *);
HJB(1)
HJB(2)
HJB(3)

static PetscErrorCode Say(const char *function, const char *unit, int64_t work) {
  PetscFunctionBeginUser;
  PetscCall(PetscPrintf(PETSC_COMM_WORLD, "%s %lld %s\n", function, (long long)work, unit));
  PetscFunctionReturn(PETSC_SUCCESS);
}

APART PetscErrorCode CountFokkerPlanck2D(MFGLinearStep step, const double *U, double *M,
                                         MFGFokkerPlanckStats *stats);
APART PetscErrorCode CountFokkerPlanck2D(MFGLinearStep step, const double *U, double *M,
                                         MFGFokkerPlanckStats *stats) {
  return MFGFokkerPlanckSweep(step, U, PETSC_FALSE, 1e-12, M, stats);
}

/* The density that follows the value of the HJB sweep. */
static PetscErrorCode FokkerPlanckOf(Case *c, const MFGHJBSpec *spec, const double *U) {
  const int64_t cells = MFGBlockCells(&c->grid.block);
  MFGLinearStep step;
  MFGFokkerPlanckStats stats;
  double *M;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1((c->steps + 1) * cells, &M));
  for (int64_t i = 0; i < cells; i++) M[i] = 1 + Bump(&c->grid.block, i);
  PetscCall(MFGLinearStepCreate(&c->grid, c->backend, spec, &step));
  PetscCall(CountFokkerPlanck2D(step, U, M, &stats));
  PetscCheck(stats.reason >= 0, PETSC_COMM_SELF, PETSC_ERR_NOT_CONVERGED, "%s", stats.message);
  PetscCall(Say("CountFokkerPlanck2D", "cell-levels", cells * c->steps));
  PetscCall(MFGLinearStepDestroy(&step));
  PetscCall(PetscFree(M));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBOf(Case *c, PetscErrorCode (*counted)(MFGHJB, Case *, const double *,
                                                               double *, MFGHJBStats *)) {
  const int64_t cells = MFGBlockCells(&c->grid.block);
  const MFGHJBSpec spec = {
      .dt = 0.01, .nu = 0.05, .steps = c->steps, .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}};
  MFGHJB hjb;
  MFGHJBStats stats;
  double *terminal, *U;

  PetscFunctionBeginUser;
  PetscCall(PetscCalloc2(cells, &terminal, (c->steps + 1) * cells, &U));
  for (int64_t i = 0; i < cells; i++) terminal[i] = 2 * Bump(&c->grid.block, i);
  PetscCall(MFGHJBCreate(&c->grid, c->backend, &spec, &hjb));
  PetscCall(counted(hjb, c, terminal, U, &stats));
  PetscCheck(stats.reason >= 0, PETSC_COMM_SELF, PETSC_ERR_NOT_CONVERGED, "%s", stats.message);
  if (c->dim == 2) PetscCall(FokkerPlanckOf(c, &spec, U));
  PetscCall(MFGHJBDestroy(&hjb));
  PetscCall(PetscFree2(terminal, U));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CountSweeps(void) {
  PetscErrorCode (*const counted[])(MFGParticles, MFGDensityPlan, Case *, double *,
                                    MFGSampleStatistics *) = {CountSweep1D, CountSweep2D,
                                                              CountSweep3D};
  static const char *const names[] = {"CountSweep1D", "CountSweep2D", "CountSweep3D"};
  static const int cells[] = {100, 32, 12};

  PetscFunctionBeginUser;
  for (int d = 1; d <= 3; d++) {
    Case c = {.agents = 20000, .steps = 4};
    PetscCall(Open(d, cells[d - 1], MFG_BOUNDARY_NOFLUX, &c));
    PetscCall(SweepOf(&c, counted[d - 1]));
    PetscCall(Say(names[d - 1], "agent-steps", c.agents * c.steps));
    PetscCall(MFGGridDestroy(&c.grid));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CountEstimate(void) {
  Case c = {.agents = 50000};
  int64_t terms = 0;

  PetscFunctionBeginUser;
  PetscCall(Open(2, 48, MFG_BOUNDARY_PERIODIC, &c));
  PetscCall(Estimate(&c, &terms));
  PetscCall(Say("CountDeposit", "deposited moments", c.agents * terms));
  PetscCall(Say("CountConvolve", "cells", MFGBlockCells(&c.grid.block)));
  PetscCall(MFGGridDestroy(&c.grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CountHJBs(void) {
  PetscErrorCode (*const counted[])(MFGHJB, Case *, const double *, double *,
                                    MFGHJBStats *) = {CountHJB1D, CountHJB2D, CountHJB3D};
  static const char *const names[] = {"CountHJB1D", "CountHJB2D", "CountHJB3D"};
  static const int cells[] = {400, 64, 16};

  PetscFunctionBeginUser;
  for (int d = 1; d <= 3; d++) {
    Case c = {.steps = 4};
    PetscCall(Open(d, cells[d - 1], MFG_BOUNDARY_PERIODIC, &c));
    PetscCall(HJBOf(&c, counted[d - 1]));
    PetscCall(Say(names[d - 1], "cell-levels", MFGBlockCells(&c.grid.block) * c.steps));
    PetscCall(MFGGridDestroy(&c.grid));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the figures depend on. */
static PetscErrorCode PrintHow(void) {
  const MFGBackend *backend;

  PetscFunctionBeginUser;
  PetscCall(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &backend));
  PetscCall(PetscPrintf(PETSC_COMM_WORLD, "compiler %s, kernels %s\n", MFG_COMPILER_NAME,
                        backend->detail));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int main(int argc, char **argv) {
  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(PrintHow());
  PetscCall(CountSweeps());
  PetscCall(CountEstimate());
  PetscCall(CountHJBs());
  PetscCall(PetscFinalize());
  return 0;
}
