#include "solvers/fp_grid.h"

#include "solvers/log_event.h"

/* Sum over all cells of a field in the backend's memory. */
static PetscErrorCode Total(const MFGGrid *grid, const MFGBackend *b, const double *m,
                            double *total) {
  PetscFunctionBeginUser;
  PetscCall(b->level->sum(MFGBlockOwned(&grid->block), m, NULL, total));
  PetscCall(MFGGridSum(grid, 1, total));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Fail(MFGFokkerPlanckStats *stats, int level, double t, double tolerance) {
  PetscFunctionBeginUser;
  stats->level = level;
  PetscCall(PetscSNPrintf(stats->message, sizeof stats->message,
                          "Fokker-Planck step to level %d (t = %g): %s before the relative "
                          "residual was below %.1e; take smaller time steps, or change the solver "
                          "with -fp_ksp_...",
                          level, t, KSPConvergedReasons[stats->reason], tolerance));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Reserve(MFGLinearStep step, MFGFokkerPlanckPosition *p) {
  const int64_t owned = MFGBlockOwned(&MFGLinearStepGrid(step)->block);
  const MFGMemoryOps *memory = MFGLinearStepBackend(step)->memory;

  PetscFunctionBeginUser;
  if (p->change) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscMalloc1(owned, &p->change));
  p->flow = (MFGLevelChunk){.memory = memory, .count = owned};
  PetscCall(MFGMemoryAllocate(memory, 2 * owned, sizeof *p->work, &p->work));
  p->shift = p->change;
  if (!memory->is_host) PetscCall(MFGMemoryAllocate(memory, owned, sizeof *p->shift, &p->shift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGFokkerPlanckDeviceBytes(int64_t owned, int levels) {
  return (levels + 1 + 3) * owned * 8;
}

PetscErrorCode MFGFokkerPlanckPositionDestroy(MFGFokkerPlanckPosition *p) {
  PetscFunctionBeginUser;
  if (!p->change) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryFree(p->flow.memory, &p->work));
  if (!p->flow.memory->is_host) PetscCall(MFGMemoryFree(p->flow.memory, &p->shift));
  PetscCall(MFGLevelChunkDestroy(&p->flow));
  PetscCall(PetscFree(p->change));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFokkerPlanckState(MFGLinearStep step, MFGFokkerPlanckPosition *p,
                                    MFGState *state) {
  PetscFunctionBeginUser;
  PetscCall(Reserve(step, p));
  MFGStateInteger(state, "fp_level", p->solved, 1, MFGLinearStepSpec(step)->steps - 1);
  MFGStateInteger(state, "fp_krylov", p->stats.krylov, 0, PETSC_INT_MAX);
  MFGStateReals(state, "fp_defect", 1, &p->stats.defect);
  MFGStateFlow(state, "fp_change", 1, p->change);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Puts the solution into level n + 1, scaled to the mass. */
static PetscErrorCode AcceptLevel(MFGLinearStep step, MFGFokkerPlanckPosition *p, int n,
                                  double factor, const double *solution) {
  const MFGLevelAccept job = {.count = p->flow.count,
                              .u = solution,
                              .factor = factor,
                              .level = MFGLevelChunkAt(&p->flow, n + 1),
                              .shift = p->shift};
  MFGLevelRange range;

  PetscFunctionBeginUser;
  PetscCall(MFGLinearStepBackend(step)->level->accept(&job, &range));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The step to level n + 1 of a flow of this mass. */
static PetscErrorCode SolveLevel(MFGLinearStep step, MFGFokkerPlanckPosition *p, int n, double mass,
                                 PetscBool warm, double tolerance) {
  const MFGBackend *b = MFGLinearStepBackend(step);
  const MFGHJBSpec *spec = MFGLinearStepSpec(step);
  const int64_t owned = p->flow.count;
  const double *before = MFGLevelChunkAt(&p->flow, n);
  double *right = p->work, *solution = right + owned, reached;
  const MFGLevelRight last = {.count = owned, .dt = spec->dt, .level = before};
  const MFGLevelGuess guess = {.count = owned,
                               .base = warm ? MFGLevelChunkAt(&p->flow, n + 1) : before,
                               .shift = warm ? p->shift : NULL,
                               .second = before,
                               .third = before};
  MFGLinearStats linear = {0};

  PetscFunctionBeginUser;
  PetscCall(b->level->right_side(&last, right));
  PetscCall(MFGLinearStepSet(step, n));
  PetscCall(b->level->guess(&guess, solution));
  PetscCall(MFGLinearStepSolve(step, PETSC_TRUE, tolerance, right, solution, &linear));
  p->stats.krylov += linear.krylov;
  PetscCall(Total(MFGLinearStepGrid(step), b, solution, &reached));
  if (linear.reason >= 0 && !(reached > 0)) linear.reason = KSP_DIVERGED_NANORINF;
  if (linear.reason < 0) {
    p->stats.reason = linear.reason;
    PetscCall(Fail(&p->stats, n + 1, (n + 1) * spec->dt, tolerance));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  p->stats.defect = PetscMax(p->stats.defect, PetscAbsReal(mass / reached - 1));
  PetscCall(AcceptLevel(step, p, n, mass / reached, solution));
  p->solved = n + 1;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The steps of a chunk above the level solved last, or those before one that fails. */
static PetscErrorCode SweepChunk(MFGLinearStep step, MFGFokkerPlanckPosition *p, double mass,
                                 PetscBool warm, double tolerance, double *M) {
  const MFGMemoryOps *m = p->flow.memory;
  const int begin = p->solved,
            end = PetscMin(begin + MFGLinearStepChunk(step), MFGLinearStepSpec(step)->steps);

  PetscFunctionBeginUser;
  PetscCall(MFGLinearStepLoad(step, begin, end));
  MFGLevelChunkForget(&p->flow);
  PetscCall(MFGLevelChunkLoad(&p->flow, M, begin, end));
  if (!m->is_host)
    PetscCall(MFGMemoryCopy(m, p->flow.count, sizeof *M, MFG_COPY_FROM_HOST, p->change, p->shift));
  for (int n = begin; n < end && p->stats.reason >= 0; n++)
    PetscCall(SolveLevel(step, p, n, mass, warm, tolerance));
  PetscCall(MFGLevelChunkStore(&p->flow, M, begin + 1, p->solved));
  if (!m->is_host)
    PetscCall(MFGMemoryCopy(m, p->flow.count, sizeof *M, MFG_COPY_TO_HOST, p->shift, p->change));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFokkerPlanckSweepFrom(MFGLinearStep step, MFGFokkerPlanckPosition *p,
                                        const double *U, PetscBool warm, double tolerance,
                                        double *M, MFGFokkerPlanckStats *stats) {
  const MFGGrid *grid = MFGLinearStepGrid(step);
  const int steps = MFGLinearStepSpec(step)->steps;
  const int64_t owned = MFGBlockOwned(&grid->block);
  PetscBool stop = PETSC_FALSE;
  static PetscLogEvent event = -1;
  double mass;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("FPSweep", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(Reserve(step, p));
  PetscCall(Total(grid, MFGBackendOnHost(MFGLinearStepBackend(step)), M, &mass));
  if (!p->solved) {
    p->stats = (MFGFokkerPlanckStats){0};
    PetscCall(PetscArrayzero(p->change, owned));
  }
  MFGLinearStepSetFlow(step, U);
  while (p->solved < steps && p->stats.reason >= 0 && !stop) {
    PetscCall(SweepChunk(step, p, mass, warm, tolerance, M));
    if (p->pause && p->solved < steps && p->stats.reason >= 0)
      PetscCall(p->pause(p->context, &stop));
  }
  p->solved = 0;
  *stats = p->stats;
  if (grid->block.dim == 1 && !stop) {
    PetscCallMPI(MPI_Bcast(M, (PetscMPIInt)((steps + 1) * owned), MPI_DOUBLE, 0, grid->world));
    PetscCallMPI(MPI_Bcast(stats, sizeof *stats, MPI_BYTE, 0, grid->world));
  }
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFokkerPlanckSweep(MFGLinearStep step, const double *U, PetscBool warm,
                                    double tolerance, double *M, MFGFokkerPlanckStats *stats) {
  MFGFokkerPlanckPosition position = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGFokkerPlanckSweepFrom(step, &position, U, warm, tolerance, M, stats));
  PetscCall(MFGFokkerPlanckPositionDestroy(&position));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Mean and variance of weights w[n] at the places first + i h. */
static void Moments(int n, const double *w, double first, double h, double *mean,
                    double *variance) {
  double mass = 0, moment = 0, square = 0;
  for (int i = 0; i < n; i++) {
    mass += w[i];
    moment += w[i] * i;
  }
  const double center = moment / mass;
  for (int i = 0; i < n; i++) square += w[i] * (i - center) * (i - center);
  *mean = first + h * center;
  *variance = h * h * square / mass;
}

/* Cutting the circle below cell c puts the cells before it one turn up: w[c], .., w[c + n - 1] of
 * two turns. The sums of the cuts follow from one another; those of the best are taken again. */
static void Circle(const MFGBlock *b, int axis, const double *w, double *mean, double *variance) {
  const int n = b->cells[axis];
  double s0 = 0, s1 = 0, s2 = 0, least = PETSC_MAX_REAL;
  int best = 0;
  for (int i = 0; i < n; i++) {
    s0 += w[i];
    s1 += w[i] * i;
    s2 += w[i] * i * i;
  }
  for (int c = 0; c < n; c++) {
    const double v = s2 / s0 - (s1 / s0) * (s1 / s0);
    if (v < least) {
      least = v;
      best = c;
    }
    s1 += w[c] * n;
    s2 += w[c] * n * (n + 2. * c);
  }
  Moments(n, w + best, MFGCellCenter(b, axis, best), b->spacing[axis], mean, variance);
  if (*mean >= b->upper[axis]) *mean -= b->upper[axis] - b->lower[axis];
}

PetscErrorCode MFGFieldStatistics(const MFGGrid *grid, const double *m,
                                  MFGSampleStatistics *statistics) {
  const MFGBlock *b = &grid->block;
  double *marginal, *axis[MFG_MAX_DIM];
  int total = 0;

  PetscFunctionBeginUser;
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < MFG_MAX_DIM; k++) total += 2 * b->cells[k];
  PetscCall(PetscCalloc1(total, &marginal));
  axis[0] = marginal;
  for (int k = 1; k < MFG_MAX_DIM; k++) axis[k] = axis[k - 1] + 2 * b->cells[k - 1];
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++, m++) {
        axis[0][b->start[0] + i] += *m;
        axis[1][b->start[1] + j] += *m;
        axis[2][b->start[2] + k] += *m;
      }
  PetscCall(MFGGridSum(grid, total, marginal));
  for (int k = 0; k < b->dim; k++) {
    PetscCall(PetscArraycpy(axis[k] + b->cells[k], axis[k], b->cells[k]));
    if (b->boundary[k][0] == MFG_BOUNDARY_PERIODIC)
      Circle(b, k, axis[k], &statistics->mean[k], &statistics->variance[k]);
    else
      Moments(b->cells[k], axis[k], MFGCellCenter(b, k, 0), b->spacing[k], &statistics->mean[k],
              &statistics->variance[k]);
  }
  PetscCall(PetscFree(marginal));
  PetscFunctionReturn(PETSC_SUCCESS);
}
