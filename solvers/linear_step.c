#include "solvers/linear_step.h"

#include "solvers/multigrid.h"
#include "solvers/star.h"
#include "solvers/tridiagonal.h"
#include "solvers/vectors.h"

struct MFGLinearStep_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed; arrays are in its memory */
  MFGHJBSpec spec;
  int chunk;
  const double *U;                    /* borrowed */
  const MFGLevelChunk *value, *drift; /* in use: one's own, or those shared, which are borrowed */
  const MFGLevelChunk *shared_value, *shared_drift; /* or NULL */
  MFGLevelChunk own_value, own_drift;               /* owned, as all below */
  KSP ksp;
  Mat jacobian;
  Vec u, right; /* hold the caller's arrays during a call */
  MFGVectorRoom u_room, right_room;
  MFGStarGhosts ghosts;
  Mat change; /* NULL until wanted, like its ghosts */
  MFGStarGhosts direction;
  double *values; /* [2 dim + 1][owned] */
  double *work;   /* of Excess; NULL until wanted */
  int64_t work_room;
};

static PetscErrorCode CreateSolver(MFGLinearStep s) {
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(KSPCreate(s->grid->comm, &s->ksp));
  PetscCall(KSPSetOptionsPrefix(s->ksp, "fp_"));
  PetscCall(KSPSetOperators(s->ksp, s->jacobian, s->jacobian));
  PetscCall(KSPGetPC(s->ksp, &pc));
  PetscCall(KSPSetDM(s->ksp, s->grid->da));
  PetscCall(KSPSetDMActive(s->ksp, KSP_DMACTIVE_ALL, PETSC_FALSE));
  PetscCall(KSPSetTolerances(s->ksp, PETSC_CURRENT, PETSC_CURRENT, PETSC_CURRENT, 10000));
  if (s->grid->block.dim == 1) {
    PetscCall(MFGTridiagonalRegister());
    PetscCall(KSPSetType(s->ksp, KSPPREONLY));
    PetscCall(PCSetType(pc, "tridiagonal"));
  } else {
    PetscCall(MFGMultigridDefaults(s->ksp));
  }
  PetscCall(KSPSetFromOptions(s->ksp));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const MFGHJBSpec *spec, MFGLinearStep *step) {
  const int64_t owned = MFGBlockOwned(&grid->block);
  PetscBool star;
  MFGLinearStep s;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&s));
  s->grid = grid;
  s->spec = *spec;
  PetscCall(MFGStarMatrixCreate(grid, backend, "fp_", &s->jacobian));
  PetscCall(MFGStarMatrixSetDiffusion(s->jacobian, spec->nu));
  PetscCall(MFGStarMatrixIs(s->jacobian, &star));
  s->backend = star && grid->block.dim > 1 ? backend : MFGBackendOnHost(backend);
  const MFGMemoryOps *memory = s->backend->memory;
  s->chunk = memory->is_host ? 1 : spec->steps;
  s->own_value = (MFGLevelChunk){.memory = memory, .count = owned};
  s->own_drift = MFGHJBSpecChunk(spec, &grid->block, memory);
  PetscCall(MFGVectorCreate(grid, s->backend, &s->u));
  PetscCall(VecDuplicate(s->u, &s->right));
  PetscCall(MFGStarGhostsCreate(grid, s->backend, &s->ghosts));
  PetscCall(
      MFGMemoryAllocate(memory, owned * (2 * grid->block.dim + 1), sizeof *s->values, &s->values));
  PetscCall(CreateSolver(s));
  *step = s;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepDestroy(MFGLinearStep *step) {
  MFGLinearStep s;

  PetscFunctionBeginUser;
  if (!step || !*step) PetscFunctionReturn(PETSC_SUCCESS);
  s = *step;
  PetscCall(MFGLevelChunkDestroy(&s->own_value));
  PetscCall(MFGLevelChunkDestroy(&s->own_drift));
  PetscCall(KSPDestroy(&s->ksp));
  PetscCall(MatDestroy(&s->jacobian));
  PetscCall(MatDestroy(&s->change));
  PetscCall(MFGStarGhostsDestroy(&s->direction));
  PetscCall(VecDestroy(&s->u));
  PetscCall(VecDestroy(&s->right));
  PetscCall(MFGVectorRoomDestroy(s->backend, &s->u_room));
  PetscCall(MFGVectorRoomDestroy(s->backend, &s->right_room));
  PetscCall(MFGStarGhostsDestroy(&s->ghosts));
  PetscCall(MFGMemoryFree(s->backend->memory, &s->values));
  PetscCall(MFGMemoryFree(s->backend->memory, &s->work));
  PetscCall(PetscFree(*step));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Flexible GMRES takes 10 to 20 iterations, each keeps two vectors. */
int64_t MFGLinearStepBytes(int dim, int64_t owned) {
  return owned * (dim == 1 ? 12 * 8 + 3 * (8 + 12 + 16) : 46 * 8 + (2 * dim + 1) * 32 + 32);
}

int64_t MFGLinearStepDeviceBytes(const MFGHJBSpec *spec, int dim, int64_t owned, int levels) {
  const int64_t drift = spec->drift_levels > 1 ? levels : spec->drift_levels;
  return MFGLinearStepBytes(dim, owned) + (levels + dim * drift + 3) * owned * 8;
}

const MFGGrid *MFGLinearStepGrid(MFGLinearStep step) {
  return step->grid;
}

const MFGHJBSpec *MFGLinearStepSpec(MFGLinearStep step) {
  return &step->spec;
}

const MFGBackend *MFGLinearStepBackend(MFGLinearStep step) {
  return step->backend;
}

void MFGLinearStepSetChunk(MFGLinearStep s, int levels) {
  if (!s->backend->memory->is_host) s->chunk = PetscMin(levels, s->spec.steps);
}

int MFGLinearStepChunk(MFGLinearStep step) {
  return step->chunk;
}

void MFGLinearStepShare(MFGLinearStep s, const MFGLevelChunk *value, const MFGLevelChunk *drift) {
  const PetscBool same = (PetscBool)(value->memory == s->backend->memory);
  s->shared_value = same ? value : NULL;
  s->shared_drift = same ? drift : NULL;
}

void MFGLinearStepSetFlow(MFGLinearStep s, const double *U) {
  s->U = U;
  MFGLevelChunkForget(&s->own_value);
}

/* The levels of another's where they are there, else of one's own. */
static PetscErrorCode Find(const MFGLevelChunk *shared, MFGLevelChunk *own, const double *flow,
                           int begin, int end, const MFGLevelChunk **found) {
  PetscFunctionBeginUser;
  *found = shared && MFGLevelChunkHas(shared, flow, begin, end - 1) ? shared : own;
  if (*found == own) PetscCall(MFGLevelChunkLoad(own, flow, begin, end - 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepLoad(MFGLinearStep s, int begin, int end) {
  PetscFunctionBeginUser;
  PetscCall(Find(s->shared_value, &s->own_value, s->U, begin, end, &s->value));
  PetscCall(Find(s->shared_drift, &s->own_drift, MFGHJBSpecFlow(&s->spec), begin, end, &s->drift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static MFGHJBStep StepAt(MFGLinearStep s, int level) {
  return MFGHJBSpecStep(&s->spec, &s->grid->block, MFGLevelChunkAt(s->drift, level));
}

PetscErrorCode MFGLinearStepSet(MFGLinearStep s, int level) {
  const MFGHJBStep step = StepAt(s, level);
  const double *ghosted;

  PetscFunctionBeginUser;
  PetscCall(MFGStarGhostsFill(s->ghosts, MFGLevelChunkAt(s->value, level), &ghosted));
  PetscCall(MFGBackendHJBJacobian(s->backend, &step, ghosted, s->values));
  PetscCall(MFGStarMatrixSetValues(s->jacobian, s->values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* product = A x, or A^T x. */
static PetscErrorCode Multiply(MFGLinearStep s, Mat A, PetscBool transpose, const double *x,
                               double *product) {
  PetscFunctionBeginUser;
  PetscCall(MFGVectorTake(s->u, s->backend, &s->u_room, PETSC_TRUE, x));
  PetscCall(MFGVectorTake(s->right, s->backend, &s->right_room, PETSC_FALSE, product));
  PetscCall(transpose ? MatMultTranspose(A, s->u, s->right) : MatMult(A, s->u, s->right));
  PetscCall(MFGVectorReturn(s->right, s->backend, &s->right_room, PETSC_TRUE, product));
  PetscCall(MFGVectorReturn(s->u, s->backend, &s->u_room, PETSC_FALSE, NULL));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepMultiply(MFGLinearStep s, PetscBool transpose, const double *x,
                                     double *product) {
  PetscFunctionBeginUser;
  PetscCall(Multiply(s, s->jacobian, transpose, x, product));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepChange(MFGLinearStep s, int level, const double *w, const double *m,
                                   double *product) {
  const MFGHJBStep step = StepAt(s, level);
  const double *ghosted, *direction;

  PetscFunctionBeginUser;
  if (!s->change) {
    PetscCall(MFGStarMatrixCreate(s->grid, s->backend, "fp_", &s->change));
    PetscCall(MFGStarGhostsCreate(s->grid, s->backend, &s->direction));
  }
  PetscCall(MFGStarGhostsFill(s->ghosts, MFGLevelChunkAt(s->value, level), &ghosted));
  PetscCall(MFGStarGhostsFill(s->direction, w, &direction));
  PetscCall(MFGBackendHJBJacobianChange(s->backend, &step, ghosted, direction, s->values));
  PetscCall(MFGStarMatrixSetValues(s->change, s->values));
  PetscCall(Multiply(s, s->change, PETSC_TRUE, m, product));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Residual(MFGLinearStep s, const MFGHJBStep *step, const double *u,
                               double *residual) {
  const double *ghosted;

  PetscFunctionBeginUser;
  PetscCall(MFGStarGhostsFill(s->ghosts, u, &ghosted));
  PetscCall(MFGBackendHJBResidual(s->backend, step, ghosted, residual));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* R(v) with U^{n+1} = v and R(u) with U^{n+1} = u: the terms in 1/dt, which cancel, leave no
 * rounding errors. */
PetscErrorCode MFGLinearStepExcess(MFGLinearStep s, int level, const double *v, double *excess) {
  const int64_t owned = MFGBlockOwned(&s->grid->block);
  const MFGLevelOps *ops = s->backend->level;
  const double *u = MFGLevelChunkAt(s->value, level);
  MFGHJBStep step = StepAt(s, level);

  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryReserve(s->backend->memory, 3 * owned, sizeof *s->work, &s->work_room, &s->work));
  double *zero = s->work, *change = zero + owned, *other = change + owned;
  PetscCall(MFGMemoryZero(s->backend->memory, owned, sizeof *zero, zero));
  step.source = zero;
  step.next = v;
  PetscCall(Residual(s, &step, v, excess));
  step.next = u;
  PetscCall(Residual(s, &step, u, other));
  PetscCall(ops->add(owned, excess, -1, other, excess));
  PetscCall(ops->add(owned, v, -1, u, change));
  PetscCall(MFGLinearStepSet(s, level));
  PetscCall(MFGLinearStepMultiply(s, PETSC_FALSE, change, other));
  const MFGLevelRight tangent = {
      .count = owned, .dt = s->spec.dt, .weight = -1, .level = change, .source = other};
  PetscCall(ops->right_side(&tangent, zero));
  PetscCall(ops->add(owned, excess, 1, zero, excess));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepSolve(MFGLinearStep s, PetscBool transpose, double tolerance,
                                  const double *right, double *x, MFGLinearStats *stats) {
  KSPType type;
  PetscBool direct;
  PetscInt krylov;

  PetscFunctionBeginUser;
  PetscCall(KSPGetType(s->ksp, &type));
  PetscCall(PetscStrcmp(type, KSPPREONLY, &direct));
  PetscCall(KSPSetInitialGuessNonzero(s->ksp, (PetscBool)!direct));
  PetscCall(KSPSetTolerances(s->ksp, tolerance, PETSC_CURRENT, PETSC_CURRENT, PETSC_CURRENT));
  PetscCall(MFGVectorTake(s->u, s->backend, &s->u_room, PETSC_TRUE, x));
  PetscCall(MFGVectorTake(s->right, s->backend, &s->right_room, PETSC_TRUE, right));
  PetscCall(transpose ? KSPSolveTranspose(s->ksp, s->right, s->u)
                      : KSPSolve(s->ksp, s->right, s->u));
  PetscCall(MFGVectorReturn(s->right, s->backend, &s->right_room, PETSC_FALSE, NULL));
  PetscCall(MFGVectorReturn(s->u, s->backend, &s->u_room, PETSC_TRUE, x));
  PetscCall(KSPGetConvergedReason(s->ksp, &stats->reason));
  PetscCall(KSPGetIterationNumber(s->ksp, &krylov));
  stats->krylov += krylov;
  PetscFunctionReturn(PETSC_SUCCESS);
}
