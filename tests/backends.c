#include "tests/backends.h"

#include <unistd.h>

#include "solvers/backend_cpu.h"
#include "tests/mfg_test.h"

#define LOANS_MOST 256

/* Arrays of the host that an operation has on the device. */
typedef struct {
  int count;
  struct {
    void *here, *there;
    size_t bytes;
    PetscBool written;
  } loan[LOANS_MOST];
} Loans;

typedef enum { READ, WRITE } Use;

static const MFGBackend *device; /* borrowed; set by MFGTestBackend */

/* `pointer` is the address of a pointer to an array of the host; it gets the address on the device,
 * NULL where the array has no elements. */
static PetscErrorCode Lend(Loans *l, Use use, int64_t count, size_t size, void *pointer) {
  void *here = *(void **)pointer, *there = NULL;

  PetscFunctionBeginUser;
  if (here && count > 0) {
    PetscCheck(l->count < LOANS_MOST, PETSC_COMM_SELF, PETSC_ERR_PLIB, "too many arrays");
    PetscCall(MFGMemoryAllocate(device->memory, count, size, &there));
    PetscCall(MFGMemoryCopy(device->memory, count, size, MFG_COPY_FROM_HOST, here, there));
    l->loan[l->count].here = here;
    l->loan[l->count].there = there;
    l->loan[l->count].bytes = (size_t)count * size;
    l->loan[l->count++].written = (PetscBool)(use == WRITE);
  }
  *(void **)pointer = there;
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define LEND(use, array, count) PetscCall(Lend(&l, use, count, sizeof *(array), &(array)))

/* Gives all back; `error` is what the operation returned. */
static PetscErrorCode Return(Loans *l, PetscErrorCode error) {
  PetscFunctionBeginUser;
  for (int i = 0; i < l->count; i++) {
    if (!error && l->loan[i].written)
      error = MFGMemoryCopy(device->memory, (int64_t)l->loan[i].bytes, 1, MFG_COPY_TO_HOST,
                            l->loan[i].there, l->loan[i].here);
    PetscCall(MFGMemoryFree(device->memory, &l->loan[i].there));
  }
  if (!error) error = MFGMemorySynchronize(device->memory);
  PetscFunctionReturn(error);
}

static PetscErrorCode LendAgents(Loans *l, Use use, MFGAgentRange *a) {
  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(Lend(l, use, a->count, sizeof(double), &a->position[k]));
    PetscCall(Lend(l, use, a->count, sizeof(float), &a->offset[k]));
  }
  PetscCall(Lend(l, use, a->count, sizeof(int64_t), &a->id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Numbers of one level of moments. */
static int64_t Moments(const MFGBlock *box, const MFGMomentShape *shape, const MFGExtent *extent) {
  const int64_t cells = extent && extent->count[0] ? MFGExtentCells(extent) : MFGBlockOwned(box);
  return shape->order ? cells * MFGMomentNumbers(box->dim, shape) : 0;
}

static PetscErrorCode Sample(const MFGSample *given) {
  MFGSample job = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendAgents(&l, WRITE, &job.agents));
  LEND(READ, job.cumulative, MFGBlockCells(&job.domain));
  PetscCall(Return(&l, device->agents->sample(&job)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Scan(const MFGScan *given) {
  const int64_t levels = given->level_end - given->level_begin;
  MFGScan job = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendAgents(&l, WRITE, &job.agents));
  LEND(READ, job.drift,
       levels * job.domain.dim *
           (job.ghosted ? MFGGhostedCells(&job.domain) : MFGBlockCells(&job.domain)));
  LEND(WRITE, job.moments, levels * Moments(&job.domain, &job.shape, &job.extent));
  LEND(WRITE, job.leavers, 1 + job.agents.count);
  PetscCall(Return(&l, device->agents->scan(&job)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Deposit(const MFGBlock *domain, const MFGAgentRange *given,
                              const MFGMomentShape *shape, const MFGExtent *extent,
                              int64_t *moments) {
  MFGAgentRange agents = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendAgents(&l, READ, &agents));
  LEND(WRITE, moments, Moments(domain, shape, extent));
  PetscCall(Return(&l, device->agents->deposit(domain, &agents, shape, extent, moments)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sort(const MFGSort *given) {
  MFGSort job = *given;
  uint64_t *column = job.column;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendAgents(&l, WRITE, &job.agents));
  LEND(READ, job.place, job.agents.count);
  LEND(READ, job.start, MFGBlockOwned(&job.domain) + 1);
  LEND(READ, column, job.agents.count);
  job.column = column;
  PetscCall(Return(&l, device->agents->sort(&job)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGAgentsOps agentsOps = {
    .name = "cuda", .sample = Sample, .scan = Scan, .deposit = Deposit, .sort = Sort};

static PetscErrorCode Convolve(const MFGConvolution *given, const int64_t *moments,
                               double *density) {
  enum { LEVELS_MOST = LOANS_MOST / MFG_MAX_DIM - 1 };
  MFGConvolution job = *given;
  MFGDensityKernel kernel[LEVELS_MOST];
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCheck(job.levels <= LEVELS_MOST, PETSC_COMM_SELF, PETSC_ERR_SUP, "%d levels, more than %d",
             job.levels, LEVELS_MOST);
  job.kernel = kernel;
  for (int n = 0; n < job.levels; n++) {
    kernel[n] = given->kernel[n];
    for (int k = 0; k < MFG_MAX_DIM; k++)
      LEND(READ, kernel[n].weights[k],
           k < job.block.dim
               ? (int64_t)(job.shape.order << job.shape.halvings[k]) * (2 * kernel[n].radius[k] + 1)
               : 0);
  }
  LEND(READ, moments, job.levels * MFGMomentField(&job.block, &job.shape, &job.extent));
  LEND(WRITE, density, job.levels * MFGBlockOwned(&job.block));
  PetscCall(Return(&l, device->density->convolve(&job, moments, density)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Marginals(const MFGMarginals *job, const int64_t *moments,
                                int64_t *marginals) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, moments, job->levels * MFGMomentField(&job->domain, &job->shape, &job->extent));
  LEND(WRITE, marginals, job->levels * MFGMarginalCount(&job->domain, &job->shape));
  PetscCall(Return(&l, device->density->marginals(job, moments, marginals)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AxisSums(const MFGMarginals *job, const int64_t *marginals,
                               MFGAxisSums *sums) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, marginals, job->levels * MFGMarginalCount(&job->domain, &job->shape));
  LEND(WRITE, sums, job->levels * job->domain.dim);
  PetscCall(Return(&l, device->density->axis_sums(job, marginals, sums)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Direct(const MFGBlock *block, int64_t count, const double *const given[],
                             const double bandwidth[], double *density) {
  const double *position[MFG_MAX_DIM] = {NULL};
  Loans l = {0};

  PetscFunctionBeginUser;
  for (int k = 0; k < block->dim; k++) {
    position[k] = given[k];
    LEND(READ, position[k], count);
  }
  LEND(WRITE, density, MFGBlockOwned(block));
  PetscCall(Return(&l, device->density->direct(block, count, position, bandwidth, density)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGDensityOps densityOps = {.name = "cuda",
                                         .convolve = Convolve,
                                         .marginals = Marginals,
                                         .axis_sums = AxisSums,
                                         .direct = Direct};

static PetscErrorCode LendStep(Loans *l, MFGHJBStep *step, const double **u) {
  const int64_t owned = MFGBlockOwned(&step->block);

  PetscFunctionBeginUser;
  PetscCall(Lend(l, READ, owned, sizeof(double), &step->next));
  PetscCall(Lend(l, READ, owned, sizeof(double), &step->source));
  PetscCall(Lend(l, READ, step->block.dim * owned, sizeof(double), &step->drift));
  PetscCall(Lend(l, READ, MFGGhostedCells(&step->block), sizeof(double), u));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An operation (step, u) -> `numbers` for each cell. */
#define STEP_OPERATION(function, operation, numbers)                                               \
  static PetscErrorCode function(const MFGHJBStep *given, const double *u, double *out) {          \
    MFGHJBStep step = *given;                                                                      \
    Loans l = {0};                                                                                 \
    PetscFunctionBeginUser;                                                                        \
    PetscCall(LendStep(&l, &step, &u));                                                            \
    LEND(WRITE, out, (numbers)*MFGBlockOwned(&step.block));                                        \
    PetscCall(Return(&l, device->grid->operation(&step, u, out)));                                 \
    PetscFunctionReturn(PETSC_SUCCESS);                                                            \
  }
STEP_OPERATION(Residual, hjb_residual, 1)
STEP_OPERATION(Jacobian, hjb_jacobian, 2 * step.block.dim + 1)
STEP_OPERATION(Drift, drift_from_value, step.block.dim)

static PetscErrorCode JacobianChange(const MFGHJBStep *given, const double *u, const double *w,
                                     double *values) {
  MFGHJBStep step = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendStep(&l, &step, &u));
  LEND(READ, w, MFGGhostedCells(&step.block));
  LEND(WRITE, values, (2 * step.block.dim + 1) * MFGBlockOwned(&step.block));
  PetscCall(Return(&l, device->grid->hjb_jacobian_change(&step, u, w, values)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coupling(const MFGCoupling *f, int64_t n, const double *m, double *value) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, m, n);
  LEND(WRITE, value, n);
  PetscCall(Return(&l, device->grid->coupling(f, n, m, value)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Ghosts(const MFGBlock *b, int fields, int mirror, const double *owned,
                             double *ghosted) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, owned, fields * MFGBlockOwned(b));
  LEND(WRITE, ghosted, fields * MFGGhostedCells(b));
  PetscCall(Return(&l, device->grid->ghosts(b, fields, mirror, owned, ghosted)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LendLevel(Loans *l, Use use, MFGStarLevel *level) {
  const MFGBlock *b = &level->block;

  PetscFunctionBeginUser;
  for (int s = 0; s < 2 * b->dim; s++) {
    PetscCall(Lend(l, use, MFGBlockOwned(b), sizeof(float), &level->c[s]));
  }
  PetscCall(Lend(l, use, MFGBlockOwned(b), sizeof(float), &level->d));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coefficients(const MFGHJBStep *given, const double *u,
                                   const MFGStarLevel *given_level) {
  MFGHJBStep step = *given;
  MFGStarLevel level = *given_level;
  Loans l = {0};

  PetscFunctionBeginUser;
  PetscCall(LendStep(&l, &step, &u));
  PetscCall(LendLevel(&l, WRITE, &level));
  PetscCall(Return(&l, device->grid->hjb_coefficients(&step, u, &level)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MirrorDrift(const MFGBlock *box, int levels, double *drift) {
  static const int one[MFG_MAX_DIM] = {1, 1, 1};
  const MFGExtent rim = MFGBlockWidened(box, one);
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(WRITE, drift, levels * box->dim * MFGExtentCells(&rim));
  PetscCall(Return(&l, device->grid->mirror_drift(box, levels, drift)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGGridOps gridOps = {.name = "cuda",
                                   .hjb_residual = Residual,
                                   .hjb_jacobian = Jacobian,
                                   .drift_from_value = Drift,
                                   .coupling = Coupling,
                                   .hjb_jacobian_change = JacobianChange,
                                   .hjb_coefficients = Coefficients,
                                   .ghosts = Ghosts,
                                   .mirror_drift = MirrorDrift};

static PetscErrorCode Guess(const MFGLevelGuess *given, double *u) {
  MFGLevelGuess job = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, job.base, job.count);
  LEND(READ, job.shift, job.count);
  LEND(READ, job.second, job.count);
  LEND(READ, job.third, job.count);
  LEND(WRITE, u, job.count);
  PetscCall(Return(&l, device->level->guess(&job, u)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Accept(const MFGLevelAccept *given, MFGLevelRange *range) {
  MFGLevelAccept job = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, job.u, job.count);
  LEND(WRITE, job.level, job.count);
  LEND(WRITE, job.shift, job.count);
  PetscCall(Return(&l, device->level->accept(&job, range)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RightSide(const MFGLevelRight *given, double *right) {
  MFGLevelRight job = *given;
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, job.level, job.count);
  LEND(READ, job.source, job.count);
  LEND(WRITE, right, job.count);
  PetscCall(Return(&l, device->level->right_side(&job, right)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Add(int64_t count, const double *x, double weight, const double *y,
                          double *sum) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, x, count);
  LEND(READ, y, count);
  LEND(WRITE, sum, count);
  PetscCall(Return(&l, device->level->add(count, x, weight, y, sum)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sum(int64_t count, const double *x, const double *weight, double *sum) {
  Loans l = {0};

  PetscFunctionBeginUser;
  LEND(READ, x, count);
  LEND(READ, weight, count);
  PetscCall(Return(&l, device->level->sum(count, x, weight, sum)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGLevelOps levelOps = {.name = "cuda",
                                     .guess = Guess,
                                     .accept = Accept,
                                     .right_side = RightSide,
                                     .add = Add,
                                     .sum = Sum};

static const MFGBackend onDevice = {.name = "cuda",
                                    .detail = "on arrays of the host",
                                    .memory = &MFGMemoryOps_Host,
                                    .carrier = &MFGCarrier_Host,
                                    .dimensions = MFG_MAX_DIM,
                                    .single = PETSC_TRUE,
                                    .agents = &agentsOps,
                                    .density = &densityOps,
                                    .grid = &gridOps,
                                    .level = &levelOps};

PetscBool MFGTestOnDevice(void) {
  const char *name = getenv("MFG_TEST_BACKEND");
  return (PetscBool)(name && !strcmp(name, "cuda"));
}

PetscErrorCode MFGTestSkip(int *exit_code) {
  const MFGBackend *cuda;
  const char *why;

  PetscFunctionBeginUser;
  *exit_code = 0;
  if (!MFGTestOnDevice()) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGBackendFind(PETSC_COMM_WORLD, &cuda, &why));
  if (!cuda) {
    *exit_code = getenv("MFG_TEST_REQUIRE_GPU") ? 1 : MFG_SKIPPED;
    PetscCall(
        PetscPrintf(PETSC_COMM_WORLD, "%s: %s\n", *exit_code == 1 ? "failed" : "skipped", why));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* PETSc's objects on a device, which end after the driver, fail at the exit with codes of their
 * own; and the launcher drops what it has not read when the ranks end. */
static void LeaveAtOnce(void) {
  _exit(1);
}

void MFGTestAbort(void) {
  (void)fflush(NULL);
  (void)usleep(300000);
  (void)atexit(LeaveAtOnce);
  MPI_Abort(PETSC_COMM_WORLD, 1);
}

PetscErrorCode MFGTestBackend(MPI_Comm comm, const MFGBackend **backend) {
  PetscFunctionBeginUser;
  PetscCall(MFGBackendGet(comm, MFGTestOnDevice() ? "cuda" : "cpu", backend));
  if (!MFGTestOnDevice()) PetscFunctionReturn(PETSC_SUCCESS);
  device = *backend;
  *backend = &onDevice;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscBool MFGTestBrief(void) {
  return (PetscBool)(MFGTestOnDevice() && !getenv("MFG_TEST_FULL"));
}

const MFGBackend *MFGTestMemory(void) {
  const MFGBackend *backend;
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, MFGTestOnDevice() ? "cuda" : "cpu", &backend));
  return backend;
}

#define VARIANT(variant)                                                                           \
  {                                                                                                \
    .name = "cpu", .memory = &MFGMemoryOps_Host, .carrier = &MFGCarrier_Host,                      \
    .dimensions = MFG_MAX_DIM, .agents = &MFGAgentsOps_CPU_##variant,                              \
    .density = &MFGDensityOps_CPU_##variant, .grid = &MFGGridOps_CPU_##variant,                    \
    .star = &MFGStarOps_CPU_##variant, .level = &MFGLevelOps_CPU_##variant                         \
  }

int MFGTestBackends(const MFGBackend *backends[MFG_TEST_BACKENDS_MOST]) {
  static const MFGBackend baseline = VARIANT(baseline);
  int count = 0;

  if (MFGTestOnDevice()) return !MFGTestBackend(PETSC_COMM_SELF, &backends[0]);
  backends[count++] = &baseline;
#if defined(__x86_64__)
  static const MFGBackend v3 = VARIANT(v3), v4 = VARIANT(v4);
  if (__builtin_cpu_supports("avx2")) backends[count++] = &v3;
  if (__builtin_cpu_supports("avx512dq")) backends[count++] = &v4;
#endif
  return count;
}
