/* The interface to the compute devices: five tables of coarse operations on plain data.
 *
 * Arrays live in the memory the table names. The MFGBackend... wrappers check sizes, log a PETSc
 * event and dispatch; callers use only them. `auto` is resolved by MFGBackendGet. */
#pragma once

#include <petscvec.h>

#include "solvers/backend_jobs.h"
#include "solvers/exchange.h"
#include "solvers/level_point.h"

typedef struct {
  const char *name;
  PetscErrorCode (*sample)(const MFGSample *job);
  PetscErrorCode (*scan)(const MFGScan *job);
  /* Moments of the agents where they are, in the box `domain`, added to moments[extent][boxes]
   * [terms]. The extent contains `domain`; NULL: it is `domain`. */
  PetscErrorCode (*deposit)(const MFGBlock *domain, const MFGAgentRange *agents,
                            const MFGMomentShape *shape, const MFGExtent *extent, int64_t *moments);
  PetscErrorCode (*sort)(const MFGSort *job); /* may be NULL: then agents stay as they are */
  PetscBool sort_pays; /* within a sweep too, not only once before all of them */
  /* Bytes of the memory that a scan, a deposit and a sort of its agents work with besides their
   * arrays; NULL: none. Of the job's arrays only `leavers` is asked for, whether it is NULL. */
  int64_t (*work)(const MFGScan *job);
} MFGAgentsOps;

typedef struct {
  const char *name;
  /* moments[levels][extent][boxes][terms] -> density of the box, [levels][owned]. */
  PetscErrorCode (*convolve)(const MFGConvolution *job, const int64_t *moments, double *density);
  /* Of moments[levels][extent][boxes][terms], added to marginals[levels][MFGMarginalCount]. */
  PetscErrorCode (*marginals)(const MFGMarginals *job, const int64_t *moments, int64_t *marginals);
  /* Of marginals[levels][MFGMarginalCount], over the boxes of each axis: sums[levels][dim]. */
  PetscErrorCode (*axis_sums)(const MFGMarginals *job, const int64_t *marginals, MFGAxisSums *sums);
  /* The exact sum over all positions [axis][count], in the order given. */
  PetscErrorCode (*direct)(const MFGBlock *block, int64_t count, const double *const position[],
                           const double bandwidth[], double *density);
  /* Bytes of the memory that a convolution works with besides its arrays, from its block, shape,
   * number of levels, largest radius and extent; NULL: not asked for. */
  int64_t (*work)(const MFGConvolution *job);
} MFGDensityOps;

typedef struct {
  const char *name;
  /* u is U^n with one ghost cell on each side of every used axis (walls: the mirrored value). */
  PetscErrorCode (*hjb_residual)(const MFGHJBStep *step, const double *u, double *residual);
  /* [2 dim + 1][owned]: diagonal, then low and high neighbour per axis; across a wall 0, its value
   * added to the diagonal. */
  PetscErrorCode (*hjb_jacobian)(const MFGHJBStep *step, const double *u, double *values);
  /* b - H_p at central differences: [dim][owned]; the normal component at a wall uses the mirror.
   */
  PetscErrorCode (*drift_from_value)(const MFGHJBStep *step, const double *u, double *drift);
  PetscErrorCode (*coupling)(const MFGCoupling *f, int64_t n, const double *m, double *value);
  /* The change of hjb_jacobian's values when u changes in the direction w, ghosted like u. */
  PetscErrorCode (*hjb_jacobian_change)(const MFGHJBStep *step, const double *u, const double *w,
                                        double *values);
  /* The matrix of hjb_jacobian into level->c and level->d. */
  PetscErrorCode (*hjb_coefficients)(const MFGHJBStep *step, const double *u,
                                     const MFGStarLevel *level);
  /* Fields [owned] into arrays with ghosts, one after the other. Beyond walls: the value of the
   * cell beside them where `mirror`, else as it was; on periodic axes that the block has whole:
   * wrapped; else as it was, to be exchanged. Ghosts beyond two faces may be anything. */
  PetscErrorCode (*ghosts)(const MFGBlock *block, int fields, int mirror, const double *owned,
                           double *ghosted);
  /* drift[levels][dim][box with a rim of one cell]: beyond walls as MFGDriftInRim says. */
  PetscErrorCode (*mirror_drift)(const MFGBlock *box, int levels, double *drift);
} MFGGridOps;

/* Matrices of the star stencil (solvers/star.h) and the passes of a multigrid cycle on them. */
typedef struct {
  const char *name;
  /* y[owned] = A x, or A^T x; x ghosted. values[2 dim + 1][ghosted]: diagonal, then low and high
   * neighbour per axis, across a wall 0 and beyond it too; A^T takes those in the ghosts. */
  PetscErrorCode (*product)(const MFGBlock *block, const double *values, int transpose,
                            const double *x, double *y);
  /* The same matrix into level->c and level->d. */
  PetscErrorCode (*scale)(const double *values, const MFGStarLevel *level);
  /* Coarse coefficients: row sums and what is not diffusion are averages over the faces of the
   * groups, per volume; diffusion is that of the coarse grid. */
  PetscErrorCode (*coarsen)(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                            const MFGStarLevel *coarse);
  /* The matrix of densities, mass over width w of the cells: c_s,i of it is w_j d_j c_-s,j over
   * w_i d_i, j the neighbour s of i and -s the way back. In two steps, between which the ghosts of
   * work[2 dim][ghosted] are exchanged: into work, where transposed is NULL; from there to
   * transposed->c. */
  PetscErrorCode (*transpose)(const MFGStarLevel *level, float *work,
                              const MFGStarLevel *transposed);
  /* inverse[cells][cells] of the matrix of a level that is whole in the box and has at most
   * MFG_STAR_DIRECT_CELLS cells: by Gauss-Jordan, which an M-matrix allows without pivots. */
  PetscErrorCode (*invert)(const MFGStarLevel *level, double *inverse);
  /* b[owned] = vector[owned] / d, or (back) the vector from a ghosted field. */
  PetscErrorCode (*convert)(const MFGStarLevel *level, double *vector, float *field, int back);
  /* Where ghosted fields are written, the ghosts of periodic axes that the box has whole are too.
   *
   * One sweep of Jacobi damped by `weight`, next = x + weight (b - D^{-1} A x): x and next ghosted,
   * b [owned] is the right side over d; x = NULL stands for 0. */
  PetscErrorCode (*smooth)(const MFGStarLevel *level, float weight, const float *b, const float *x,
                           float *next);
  /* Right side of the coarse level, over its d: the average of the residual over each group. */
  PetscErrorCode (*restrict_residual)(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                      const MFGStarLevel *coarse, const float *b, const float *x,
                                      float *coarse_b);
  /* x += the coarse field, interpolated linearly per axis; both ghosted. */
  PetscErrorCode (*correct)(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                            const MFGStarLevel *coarse, const float *coarse_x, float *x);
  /* The first level's x from its b: one cycle on all of them, on a single level the solution by the
   * inverse. More than one where the first has at most finish_cells cells, in all at most
   * MFG_STAR_FINISH_LEVELS. */
  PetscErrorCode (*finish)(const MFGStarFinish *job);
  int64_t finish_cells;
} MFGStarOps;

/* Levels of a sweep in time: fields of `count` cells. */
typedef struct {
  const char *name;
  PetscErrorCode (*guess)(const MFGLevelGuess *job, double *u);
  /* *range (in the host's memory): of the new level and of |shift|. */
  PetscErrorCode (*accept)(const MFGLevelAccept *job, MFGLevelRange *range);
  /* What a linear step is solved for. */
  PetscErrorCode (*right_side)(const MFGLevelRight *job, double *right);
  /* sum = x + weight y; it may be x or y. */
  PetscErrorCode (*add)(int64_t count, const double *x, double weight, const double *y,
                        double *sum);
  /* *sum (in the host's memory): of x, or of x weight where that is not NULL, in the order of
   * solvers/level_point.h. */
  PetscErrorCode (*sum)(int64_t count, const double *x, const double *weight, double *sum);
} MFGLevelOps;

typedef struct {
  const char *name;           /* "cpu" */
  const char *detail;         /* e.g. the instruction set chosen */
  const MFGMemoryOps *memory; /* where arrays live */
  const MFGCarrier *carrier;  /* between the ranks, in this memory */
  VecType vectors;            /* PETSc's in this memory; NULL: PETSc's are the host's */
  int dimensions;             /* at most */
  PetscBool single;           /* takes positions in single precision */
  const MFGAgentsOps *agents;
  const MFGDensityOps *density;
  const MFGGridOps *grid;
  const MFGStarOps *star;
  const MFGLevelOps *level;
} MFGBackend;

/* What operations say of a drift with numbers that are not finite. */
#define MFG_DRIFT_BROKEN                                                                           \
  "the drift is not finite: the value function has diverged, or the given drift is not defined "   \
  "everywhere; take a shorter time step or a larger viscosity"

/* Collective on comm. `name` is auto, cpu or cuda. Errors: an unknown name (the message lists the
 * names), a known one that cannot be had (the message says why and what to do). */
PetscErrorCode MFGBackendGet(MPI_Comm comm, const char *name, const MFGBackend **backend);

/* Collective on comm. The backend cuda, or NULL and why there is none on some rank and what to do.
 */
PetscErrorCode MFGBackendFind(MPI_Comm comm, const MFGBackend **cuda, const char **why);

/* The same, defined by gpu/backend_cuda.c in programs that it is linked with. The GPU of a rank is
 * number (rank on its node) mod (visible GPUs), set up at the first call and given back by
 * PetscFinalize; the tables of operations are the process's own. */
PetscErrorCode MFGBackendFind_CUDA(MPI_Comm comm, const MFGBackend **cuda, const char **why);

/* The backend itself where its arrays are the host's, else that of the CPU. */
const MFGBackend *MFGBackendOnHost(const MFGBackend *backend);

PetscErrorCode MFGBackendSample(const MFGBackend *b, const MFGSample *job);
PetscErrorCode MFGBackendScan(const MFGBackend *b, const MFGScan *job);
PetscErrorCode MFGBackendDeposit(const MFGBackend *b, const MFGBlock *domain,
                                 const MFGAgentRange *agents, const MFGMomentShape *shape,
                                 const MFGExtent *extent, int64_t *moments);
PetscErrorCode MFGBackendSort(const MFGBackend *b, const MFGSort *job);
PetscErrorCode MFGBackendConvolve(const MFGBackend *b, const MFGConvolution *job,
                                  const int64_t *moments, double *density);
PetscErrorCode MFGBackendMarginals(const MFGBackend *b, const MFGMarginals *job,
                                   const int64_t *moments, int64_t *marginals);
PetscErrorCode MFGBackendAxisSums(const MFGBackend *b, const MFGMarginals *job,
                                  const int64_t *marginals, MFGAxisSums *sums);
PetscErrorCode MFGBackendDirect(const MFGBackend *b, const MFGBlock *block, int64_t count,
                                const double *const position[], const double bandwidth[],
                                double *density);
PetscErrorCode MFGBackendHJBResidual(const MFGBackend *b, const MFGHJBStep *step, const double *u,
                                     double *residual);
PetscErrorCode MFGBackendHJBJacobian(const MFGBackend *b, const MFGHJBStep *step, const double *u,
                                     double *values);
PetscErrorCode MFGBackendHJBJacobianChange(const MFGBackend *b, const MFGHJBStep *step,
                                           const double *u, const double *w, double *values);
PetscErrorCode MFGBackendDriftFromValue(const MFGBackend *b, const MFGHJBStep *step,
                                        const double *u, double *drift);
PetscErrorCode MFGBackendCoupling(const MFGBackend *b, const MFGCoupling *f, int64_t n,
                                  const double *m, double *value);

/* `ghosts` and the operations on stars and levels are called through the tables: one is too short
 * to log. */
PetscErrorCode MFGBackendHJBCoefficients(const MFGBackend *b, const MFGHJBStep *step,
                                         const double *u, const MFGStarLevel *level);
