#include "solvers/hjb.h"

#include "solvers/log_event.h"
#include "solvers/multigrid.h"
#include "solvers/star.h"
#include "solvers/tridiagonal.h"

struct MFGHJB_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGHJBSpec spec;
  SNES snes; /* owned, as all below */
  Mat jacobian;
  Vec u, residual; /* [owned] */
  MFGStarGhosts ghosts;
  double *values;     /* [2 dim + 1][owned]; NULL until products with the Jacobian are needed */
  PetscBool products; /* the solver in use needs them */
  double *source;     /* F of the level, [owned] */
  double *shift;      /* first guess less the value it starts from, [owned] */
  MFGHJBStep step;    /* the level being solved */
  double bound;       /* of max |residual| dt, for convergence */
  double rounding;    /* max |residual| dt that rounding errors alone can make */
  double norm_start, norm; /* max |residual| dt of the first guess and of the last iterate */
  int solved;              /* lowest level that the sweep under way has solved; 0: none is */
  MFGHJBStats stats;       /* of that sweep so far */
  MFGPauseFunction pause;  /* or NULL */
  void *pause_context;
  PetscLogEvent sweep_event, drift_event;
};

static PetscErrorCode FormResidual(SNES snes, Vec u, Vec residual, void *context) {
  MFGHJB hjb = (MFGHJB)context;
  const double *owned, *ghosted;
  double *r;

  PetscFunctionBeginUser;
  (void)snes;
  PetscCall(VecGetArrayRead(u, &owned));
  PetscCall(MFGStarGhostsFill(hjb->ghosts, owned, &ghosted));
  PetscCall(VecRestoreArrayRead(u, &owned));
  PetscCall(VecGetArrayWrite(residual, &r));
  PetscCall(MFGBackendHJBResidual(hjb->backend, &hjb->step, ghosted, r));
  PetscCall(VecRestoreArrayWrite(residual, &r));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Where each Newton step is one multigrid cycle, nothing multiplies by the Jacobian: it is made in
 * the form the cycle takes. */
static PetscErrorCode NoteProducts(MFGHJB hjb) {
  SNESLineSearch search;
  KSP ksp;
  PC pc;
  PetscBool star, only, multigrid, full;

  PetscFunctionBeginUser;
  PetscCall(SNESGetKSP(hjb->snes, &ksp));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(SNESGetLineSearch(hjb->snes, &search));
  PetscCall(MFGStarMatrixIs(hjb->jacobian, &star));
  PetscCall(PetscObjectTypeCompare((PetscObject)ksp, KSPPREONLY, &only));
  PetscCall(PetscObjectTypeCompare((PetscObject)pc, "multigrid", &multigrid));
  PetscCall(PetscObjectTypeCompare((PetscObject)search, SNESLINESEARCHNONE, &full));
  hjb->products = (PetscBool) !(star && only && multigrid && full);
  if (hjb->products && !hjb->values)
    PetscCall(PetscMalloc1(MFGBlockOwned(&hjb->grid->block) * (2 * hjb->grid->block.dim + 1),
                           &hjb->values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode FormJacobian(SNES snes, Vec u, Mat A, Mat P, void *context) {
  MFGHJB hjb = (MFGHJB)context;
  const MFGStarLevel *scaled;
  const double *owned, *ghosted;

  PetscFunctionBeginUser;
  (void)snes;
  PetscCall(VecGetArrayRead(u, &owned));
  PetscCall(MFGStarGhostsFill(hjb->ghosts, owned, &ghosted));
  PetscCall(VecRestoreArrayRead(u, &owned));
  if (hjb->products) {
    PetscCall(MFGBackendHJBJacobian(hjb->backend, &hjb->step, ghosted, hjb->values));
    PetscCall(MFGStarMatrixSetValues(P, hjb->values));
  } else {
    PetscCall(MFGStarMatrixGetScaledWrite(P, &scaled));
    PetscCall(MFGBackendHJBCoefficients(hjb->backend, &hjb->step, ghosted, scaled));
  }
  if (A != P) {
    PetscCall(MatAssemblyBegin(A, MAT_FINAL_ASSEMBLY));
    PetscCall(MatAssemblyEnd(A, MAT_FINAL_ASSEMBLY));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Below the tolerance, or no longer falling at the level of rounding errors, which a strict
 * tolerance on a fine grid cannot get below. */
static PetscErrorCode TestConvergence(SNES snes, PetscInt it, PetscReal xnorm, PetscReal step,
                                      PetscReal fnorm, SNESConvergedReason *reason, void *context) {
  MFGHJB hjb = (MFGHJB)context;
  const double previous = hjb->norm;
  Vec residual;
  PetscReal norm;

  PetscFunctionBeginUser;
  (void)xnorm;
  (void)step;
  PetscCall(SNESGetFunction(snes, &residual, NULL, NULL));
  PetscCall(VecNorm(residual, NORM_INFINITY, &norm));
  hjb->norm = norm * hjb->step.dt;
  if (it == 0) hjb->norm_start = hjb->norm;
  *reason = SNES_CONVERGED_ITERATING;
  if (PetscIsInfOrNanReal(fnorm))
    *reason = SNES_DIVERGED_FUNCTION_NANORINF;
  else if (hjb->norm <= hjb->bound)
    *reason = SNES_CONVERGED_FNORM_ABS;
  else if (it > 0 && hjb->norm > 0.5 * previous && hjb->norm <= 100 * hjb->rounding)
    *reason = SNES_CONVERGED_USER;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CreateSolver(MFGHJB hjb) {
  SNESLineSearch search;
  KSP ksp;
  PC pc;
  PetscBool star;

  PetscFunctionBeginUser;
  PetscCall(SNESCreate(hjb->grid->comm, &hjb->snes));
  PetscCall(SNESSetOptionsPrefix(hjb->snes, "hjb_"));
  PetscCall(SNESSetFunction(hjb->snes, hjb->residual, FormResidual, hjb));
  PetscCall(SNESSetJacobian(hjb->snes, hjb->jacobian, hjb->jacobian, FormJacobian, hjb));
  PetscCall(SNESSetConvergenceTest(hjb->snes, TestConvergence, hjb, NULL));
  PetscCall(SNESSetTolerances(hjb->snes, 0, 0, 0, 50, PETSC_UNLIMITED));
  PetscCall(SNESSetType(hjb->snes, SNESNEWTONLS));
  PetscCall(SNESGetLineSearch(hjb->snes, &search));
  PetscCall(SNESLineSearchSetType(search, SNESLINESEARCHNONE));
  PetscCall(SNESGetKSP(hjb->snes, &ksp));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(KSPSetDM(ksp, hjb->grid->da));
  PetscCall(KSPSetDMActive(ksp, KSP_DMACTIVE_ALL, PETSC_FALSE));
  PetscCall(MFGTridiagonalRegister());
  PetscCall(MFGMultigridRegister());
  PetscCall(MFGStarMatrixIs(hjb->jacobian, &star));
  if (star || hjb->grid->block.dim == 1) {
    PetscCall(KSPSetType(ksp, KSPPREONLY));
    PetscCall(PCSetType(pc, star ? "multigrid" : "tridiagonal"));
  } else {
    PetscCall(KSPSetType(ksp, KSPBCGS));
    PetscCall(PCSetType(pc, PCJACOBI));
  }
  PetscCall(KSPSetTolerances(ksp, 1e-2, PETSC_CURRENT, PETSC_CURRENT, 10000));
  PetscCall(SNESSetFromOptions(hjb->snes));
  PetscCall(NoteProducts(hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBCreate(const MFGGrid *grid, const MFGBackend *backend, const MFGHJBSpec *spec,
                            MFGHJB *out) {
  const int64_t owned = MFGBlockOwned(&grid->block);
  MFGHJB hjb;

  PetscFunctionBeginUser;
  PetscCheck(spec->dt > 0 && spec->nu >= 0 && spec->steps >= 1, grid->world,
             PETSC_ERR_ARG_OUTOFRANGE, "HJB with dt = %g (> 0), nu = %g (>= 0), %d steps (>= 1)",
             spec->dt, spec->nu, spec->steps);
  PetscCheck(spec->drift_levels == 0 || spec->drift_levels == 1 ||
                 spec->drift_levels == spec->steps + 1,
             grid->world, PETSC_ERR_ARG_SIZ, "given drift on %d levels, not 0, 1 or %d",
             spec->drift_levels, spec->steps + 1);
  PetscCall(PetscNew(&hjb));
  hjb->grid = grid;
  hjb->backend = backend;
  hjb->spec = *spec;
  hjb->step = (MFGHJBStep){
      .block = grid->block, .dt = spec->dt, .nu = spec->nu, .hamiltonian = spec->hamiltonian};
  PetscCall(DMCreateGlobalVector(grid->da, &hjb->u));
  PetscCall(VecDuplicate(hjb->u, &hjb->residual));
  PetscCall(MFGStarGhostsCreate(grid, backend, &hjb->ghosts));
  PetscCall(PetscMalloc2(owned, &hjb->source, owned, &hjb->shift));
  PetscCall(MFGStarMatrixCreate(grid, backend, "hjb_", &hjb->jacobian));
  PetscCall(MFGStarMatrixSetDiffusion(hjb->jacobian, spec->nu));
  PetscCall(CreateSolver(hjb));
  PetscCall(MFGLogEvent("HJBSweep", &hjb->sweep_event));
  PetscCall(MFGLogEvent("HJBDrift", &hjb->drift_event));
  *out = hjb;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBDestroy(MFGHJB *hjb) {
  PetscFunctionBeginUser;
  if (!hjb || !*hjb) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(SNESDestroy(&(*hjb)->snes));
  PetscCall(MatDestroy(&(*hjb)->jacobian));
  PetscCall(VecDestroy(&(*hjb)->u));
  PetscCall(VecDestroy(&(*hjb)->residual));
  PetscCall(MFGStarGhostsDestroy(&(*hjb)->ghosts));
  PetscCall(PetscFree((*hjb)->values));
  PetscCall(PetscFree2((*hjb)->source, (*hjb)->shift));
  PetscCall(PetscFree(*hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Iterates of the solver; in 1D an entry of the matrix is one of the kernel's values, of the matrix
 * with its column, and of the order of both; else the levels of the cycle, in single precision. */
int64_t MFGHJBBytes(int dim, int64_t owned) {
  return owned * (dim == 1 ? 18 * 8 + 3 * (8 + 12 + 16) : 12 * 8 + (2 * dim + 1) * 6 + 32);
}

static const double *GivenDrift(const MFGHJB hjb, int level) {
  return MFGHJBSpecDrift(&hjb->spec, &hjb->grid->block, level);
}

/* Widens extremes[2] = {-min, max} by n values. */
static void Extremes(int64_t n, const double *u, double extremes[2]) {
  double low = -extremes[0], high = extremes[1];
  for (int64_t i = 0; i < n; i++) {
    low = u[i] < low ? u[i] : low;
    high = u[i] > high ? u[i] : high;
  }
  extremes[0] = -low;
  extremes[1] = high;
}

/* Makes step n -> the one being solved: costs of level n + 1, drift and unknowns of level n. */
static PetscErrorCode PrepareLevel(MFGHJB hjb, int n, MFGSourceFunction source, void *context,
                                   double tolerance, const double *next, MFGHJBStats *stats) {
  const MFGBlock *b = &hjb->grid->block;
  double extremes[] = {-PETSC_MAX_REAL, -PETSC_MAX_REAL}, stiffness = 1;

  PetscFunctionBeginUser;
  PetscCall(source(context, n + 1, hjb->source));
  hjb->step.next = next;
  hjb->step.source = hjb->source;
  hjb->step.drift = GivenDrift(hjb, n);
  Extremes(MFGBlockOwned(b), next, extremes);
  PetscCall(MFGGridMax(hjb->grid, 2, extremes));
  stats->minimum = PetscMin(stats->minimum, -extremes[0]);
  stats->maximum = PetscMax(stats->maximum, extremes[1]);
  for (int k = 0; k < b->dim; k++)
    stiffness += 4 * hjb->spec.nu * hjb->spec.dt / (b->spacing[k] * b->spacing[k]);
  hjb->rounding = PETSC_MACHINE_EPSILON * stiffness *
                  PetscMax(PetscAbsReal(extremes[0]), PetscAbsReal(extremes[1]));
  hjb->bound = PetscMax(tolerance * PetscMax(1., extremes[0] + extremes[1]), 4 * hjb->rounding);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Newton from guess + shift (shift may be NULL). */
static PetscErrorCode Solve(MFGHJB hjb, const double *guess, const double *shift,
                            MFGHJBStats *stats) {
  const int64_t owned = MFGBlockOwned(&hjb->grid->block);
  PetscInt newton, krylov;
  double *u;

  PetscFunctionBeginUser;
  PetscCall(VecGetArrayWrite(hjb->u, &u));
  for (int64_t i = 0; i < owned; i++) u[i] = guess[i] + (shift ? shift[i] : 0);
  PetscCall(VecRestoreArrayWrite(hjb->u, &u));
  hjb->norm_start = hjb->norm = NAN;
  PetscCall(SNESSolve(hjb->snes, NULL, hjb->u));
  PetscCall(SNESGetConvergedReason(hjb->snes, &stats->reason));
  PetscCall(SNESGetIterationNumber(hjb->snes, &newton));
  PetscCall(SNESGetLinearSolveIterations(hjb->snes, &krylov));
  stats->newton += newton;
  stats->krylov += krylov;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The second attempt: from the level just solved, with a line search that backtracks and, where a
 * Newton step was one multigrid cycle, linear systems solved. */
static PetscErrorCode SolveSafely(MFGHJB hjb, const double *next, MFGHJBStats *stats) {
  const PetscBool cycles = (PetscBool)!hjb->products;
  SNESLineSearch search;
  SNESLineSearchType type;
  char *usual;
  KSP ksp;

  PetscFunctionBeginUser;
  PetscCall(SNESGetKSP(hjb->snes, &ksp));
  PetscCall(SNESGetLineSearch(hjb->snes, &search));
  PetscCall(SNESLineSearchGetType(search, &type));
  PetscCall(PetscStrallocpy(type, &usual));
  PetscCall(SNESLineSearchSetType(search, SNESLINESEARCHBT));
  if (cycles) PetscCall(KSPSetType(ksp, KSPFGMRES));
  PetscCall(NoteProducts(hjb));
  PetscCall(Solve(hjb, next, NULL, stats));
  PetscCall(SNESLineSearchSetType(search, usual));
  if (cycles) PetscCall(KSPSetType(ksp, KSPPREONLY));
  PetscCall(NoteProducts(hjb));
  PetscCall(PetscFree(usual));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscBool AllFinite(int64_t n, const double *x) {
  for (int64_t i = 0; x && i < n; i++)
    if (PetscIsInfOrNanReal(x[i])) return PETSC_FALSE;
  return PETSC_TRUE;
}

/* Tells people what failed; a NaN is traced to the field that brought it in. */
static PetscErrorCode DescribeFailure(MFGHJB hjb, int n, MFGHJBStats *stats) {
  const MFGBlock *b = &hjb->grid->block;
  const int64_t owned = MFGBlockOwned(b);
  const char *field = NULL;
  double bad[] = {!AllFinite(owned, hjb->step.source), !AllFinite(owned, hjb->step.next),
                  !AllFinite(b->dim * owned, hjb->step.drift)};

  PetscFunctionBeginUser;
  PetscCall(MFGGridMax(hjb->grid, 3, bad));
  if (bad[2] > 0) field = "the given drift";
  if (bad[1] > 0) field = n + 1 == hjb->spec.steps ? "the terminal cost" : "the value function";
  if (bad[0] > 0) field = "the running cost";
  stats->level = n;
  stats->norm_start = hjb->norm_start;
  stats->norm_end = hjb->norm;
  if (field)
    PetscCall(PetscSNPrintf(stats->message, sizeof stats->message,
                            "HJB step to level %d (t = %g): %s holds a NaN or an infinity", n,
                            n * hjb->spec.dt, field));
  else
    PetscCall(PetscSNPrintf(
        stats->message, sizeof stats->message,
        "HJB step to level %d (t = %g): %s, residual * dt %.3g -> %.3g, wanted %.3g; take smaller "
        "time steps, or change the solver with -hjb_...",
        n, n * hjb->spec.dt, SNESConvergedReasons[stats->reason], hjb->norm_start, hjb->norm,
        hjb->bound));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Stores the new level, remembers how far it moved. */
static PetscErrorCode AcceptLevel(MFGHJB hjb, const double *u, double *level, MFGHJBStats *stats) {
  const int64_t owned = MFGBlockOwned(&hjb->grid->block);
  double change = stats->change;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < owned; i++) {
    const double shift = u[i] - level[i];
    hjb->shift[i] = shift;
    level[i] = u[i];
    change = PetscMax(change, PetscAbsReal(shift));
  }
  stats->change = change;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The shift from the level just solved to the parabola, or line, through it and those solved before
 * (16% fewer cycles by the parabola than by the line in 100 levels of T1, 3% in 20). */
static void Extrapolate(MFGHJB hjb, int solved, const double *next) {
  const int64_t owned = MFGBlockOwned(&hjb->grid->block);
  const double *second = next + (solved > 0 ? owned : 0);
  const double *third = second + (solved > 1 ? owned : 0);
  const double curvature = solved > 1;

  for (int64_t i = 0; i < owned; i++)
    hjb->shift[i] = next[i] - second[i] + curvature * (next[i] - 2 * second[i] + third[i]);
}

static PetscErrorCode SolveLevel(MFGHJB hjb, int n, PetscBool warm, double *level,
                                 const double *next, MFGHJBStats *stats) {
  const double *u;

  PetscFunctionBeginUser;
  if (!warm) Extrapolate(hjb, hjb->spec.steps - 1 - n, next);
  PetscCall(Solve(hjb, warm ? level : next, hjb->shift, stats));
  if (stats->reason < 0) PetscCall(SolveSafely(hjb, next, stats));
  if (stats->reason < 0) {
    PetscCall(DescribeFailure(hjb, n, stats));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  stats->reason = SNES_CONVERGED_ITERATING;
  PetscCall(VecGetArrayRead(hjb->u, &u));
  PetscCall(AcceptLevel(hjb, u, level, stats));
  PetscCall(VecRestoreArrayRead(hjb->u, &u));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBSweep(MFGHJB hjb, MFGSourceFunction source, void *context,
                           const double *terminal, PetscBool warm, double tolerance, double *U,
                           MFGHJBStats *stats) {
  const MFGGrid *grid = hjb->grid;
  const int64_t owned = MFGBlockOwned(&grid->block);
  const int steps = hjb->spec.steps;
  double last[3] = {-PETSC_MAX_REAL, -PETSC_MAX_REAL, 0};
  PetscBool stop = PETSC_FALSE;

  PetscFunctionBeginUser;
  PetscCall(PetscLogEventBegin(hjb->sweep_event, 0, 0, 0, 0));
  if (!hjb->solved) {
    hjb->stats = (MFGHJBStats){.minimum = PETSC_MAX_REAL, .maximum = -PETSC_MAX_REAL};
    PetscCall(AcceptLevel(hjb, terminal, U + steps * owned, &hjb->stats));
    hjb->solved = steps;
  }
  for (int n = hjb->solved - 1; n >= 0 && hjb->stats.reason >= 0 && !stop; n--) {
    const double *next = U + (n + 1) * owned;
    PetscCall(PrepareLevel(hjb, n, source, context, tolerance, next, &hjb->stats));
    PetscCall(SolveLevel(hjb, n, warm, U + n * owned, next, &hjb->stats));
    hjb->solved = n;
    if (hjb->pause && n && hjb->stats.reason >= 0) PetscCall(hjb->pause(hjb->pause_context, &stop));
  }
  hjb->solved = 0;
  *stats = hjb->stats;
  if (stop) {
    PetscCall(PetscLogEventEnd(hjb->sweep_event, 0, 0, 0, 0));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (stats->reason >= 0) Extremes(owned, U, last);
  last[2] = stats->change;
  PetscCall(MFGGridMax(grid, 3, last));
  stats->minimum = PetscMin(stats->minimum, -last[0]);
  stats->maximum = PetscMax(stats->maximum, last[1]);
  stats->change = last[2];
  if (grid->block.dim == 1) {
    PetscCallMPI(MPI_Bcast(U, (PetscMPIInt)((steps + 1) * owned), MPI_DOUBLE, 0, grid->world));
    PetscCallMPI(MPI_Bcast(stats, sizeof *stats, MPI_BYTE, 0, grid->world));
  }
  PetscCall(PetscLogEventEnd(hjb->sweep_event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGHJBSetPause(MFGHJB hjb, MFGPauseFunction pause, void *context) {
  hjb->pause = pause;
  hjb->pause_context = context;
}

PetscErrorCode MFGHJBState(MFGHJB hjb, MFGState *state) {
  MFGHJBStats *s = &hjb->stats;

  PetscFunctionBeginUser;
  PetscCall(MFGGridMax(hjb->grid, 1, &s->change));
  MFGStateInteger(state, "hjb_level", hjb->solved, 1, hjb->spec.steps);
  MFGStateInteger(state, "hjb_newton", s->newton, 0, PETSC_INT_MAX);
  MFGStateInteger(state, "hjb_krylov", s->krylov, 0, PETSC_INT_MAX);
  MFGStateReals(state, "hjb_change", 1, &s->change);
  MFGStateReals(state, "hjb_minimum", 1, &s->minimum);
  MFGStateReals(state, "hjb_maximum", 1, &s->maximum);
  MFGStateFlow(state, "hjb_shift", 1, hjb->shift);
  PetscFunctionReturn(PETSC_SUCCESS);
}

double *MFGHJBSource(MFGHJB hjb) {
  return hjb->source;
}

PetscErrorCode MFGHJBDrift(MFGHJB hjb, int begin, int end, const double *U, double *drift) {
  const int64_t owned = MFGBlockOwned(&hjb->grid->block);
  const double *ghosted;

  PetscFunctionBeginUser;
  PetscCall(PetscLogEventBegin(hjb->drift_event, 0, 0, 0, 0));
  for (int n = begin; n < end; n++, drift += hjb->grid->block.dim * owned) {
    hjb->step.drift = GivenDrift(hjb, n);
    PetscCall(MFGStarGhostsFill(hjb->ghosts, U + n * owned, &ghosted));
    PetscCall(MFGBackendDriftFromValue(hjb->backend, &hjb->step, ghosted, drift));
  }
  PetscCall(PetscLogEventEnd(hjb->drift_event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}
