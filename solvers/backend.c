#include "solvers/backend.h"

#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"
#include "solvers/log_event.h"

#define CPU_BACKEND(variant, text)                                                                 \
  {                                                                                                \
    .name = "cpu", .detail = text, .memory = &MFGMemoryOps_Host, .carrier = &MFGCarrier_Host,      \
    .dimensions = MFG_MAX_DIM, .single = PETSC_TRUE, .agents = &MFGAgentsOps_CPU_##variant,        \
    .density = &MFGDensityOps_CPU_##variant, .grid = &MFGGridOps_CPU_##variant,                    \
    .star = &MFGStarOps_CPU_##variant, .level = &MFGLevelOps_CPU_##variant                         \
  }

static const MFGBackend backendBaseline = CPU_BACKEND(baseline, "baseline");
#if defined(__x86_64__)
static const MFGBackend backendV3 = CPU_BACKEND(v3, "x86-64-v3 (AVX2)");
static const MFGBackend backendV4 = CPU_BACKEND(v4, "x86-64-v4 (AVX-512)");
#endif

/* MFG_CPU=baseline|v3 asks for an older instruction set than the processor has: for tests. */
static const MFGBackend *ChooseCPU(void) {
  const char *wish = getenv("MFG_CPU");
#if defined(__x86_64__)
  const int any = !wish || !*wish;
  __builtin_cpu_init();
  if ((any || !strcmp(wish, "v4")) && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return &backendV4;
  if ((any || strcmp(wish, "baseline")) && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return &backendV3;
#else
  (void)wish;
#endif
  return &backendBaseline;
}

/* Not there in programs that are not linked with gpu/. */
#pragma weak MFGBackendFind_CUDA

PetscErrorCode MFGBackendFind(MPI_Comm comm, const MFGBackend **cuda, const char **why) {
  PetscFunctionBeginUser;
  *cuda = NULL;
  *why = "it is not compiled in: build where nvcc is on PATH (CMake option MFG_CUDA), or take "
         "backend cpu or auto";
  if (MFGBackendFind_CUDA) PetscCall(MFGBackendFind_CUDA(comm, cuda, why));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendGet(MPI_Comm comm, const char *name, const MFGBackend **backend) {
  const char *why;

  PetscFunctionBeginUser;
  if (!strcmp(name, "cuda")) {
    PetscCall(MFGBackendFind(comm, backend, &why));
    PetscCheck(*backend, comm, PETSC_ERR_SUP, "there is no backend cuda here: %s", why);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCheck(!strcmp(name, "auto") || !strcmp(name, "cpu"), comm, PETSC_ERR_ARG_UNKNOWN_TYPE,
             "unknown backend '%s'; there are: auto, cpu, cuda", name);
  *backend = ChooseCPU();
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGBackend *MFGBackendOnHost(const MFGBackend *backend) {
  return backend->memory->is_host ? backend : ChooseCPU();
}

static PetscErrorCode CheckStep(const MFGBackend *b, const MFGHJBStep *step) {
  const MFGBlock *block = &step->block;

  PetscFunctionBeginUser;
  PetscCheck(b->grid, PETSC_COMM_SELF, PETSC_ERR_SUP, "backend '%s' has no grid operators",
             b->name);
  PetscCheck(block->dim >= 1 && block->dim <= MFG_MAX_DIM, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "HJB step on a grid of %d dimensions, not 1 to %d",
             block->dim, MFG_MAX_DIM);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    PetscCheck(k < block->dim ? block->count[k] > 0 : block->count[k] == 1, PETSC_COMM_SELF,
               PETSC_ERR_ARG_OUTOFRANGE, "HJB step on %d cells along axis %d of %d",
               block->count[k], k, block->dim);
  PetscCheck(step->dt > 0 && step->nu >= 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "HJB step with dt = %g (> 0) and nu = %g (>= 0)", step->dt, step->nu);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendHJBResidual(const MFGBackend *b, const MFGHJBStep *step, const double *u,
                                     double *residual) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckStep(b, step));
  PetscCall(MFGLogEvent("MFGHJBResidual", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->hjb_residual(step, u, residual));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendHJBJacobian(const MFGBackend *b, const MFGHJBStep *step, const double *u,
                                     double *values) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckStep(b, step));
  PetscCall(MFGLogEvent("MFGHJBJacobian", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->hjb_jacobian(step, u, values));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendHJBCoefficients(const MFGBackend *b, const MFGHJBStep *step,
                                         const double *u, const MFGStarLevel *level) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckStep(b, step));
  PetscCheck(MFGBlockOwned(&level->block) == MFGBlockOwned(&step->block), PETSC_COMM_SELF,
             PETSC_ERR_ARG_SIZ, "coefficients of %lld cells for an HJB step on %lld",
             (long long)MFGBlockOwned(&level->block), (long long)MFGBlockOwned(&step->block));
  PetscCall(MFGLogEvent("MFGHJBCoefficients", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->hjb_coefficients(step, u, level));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendHJBJacobianChange(const MFGBackend *b, const MFGHJBStep *step,
                                           const double *u, const double *w, double *values) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckStep(b, step));
  PetscCall(MFGLogEvent("MFGHJBJacobian", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->hjb_jacobian_change(step, u, w, values));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendDriftFromValue(const MFGBackend *b, const MFGHJBStep *step,
                                        const double *u, double *drift) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckStep(b, step));
  PetscCall(MFGLogEvent("MFGDriftFromValue", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->drift_from_value(step, u, drift));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendCoupling(const MFGBackend *b, const MFGCoupling *f, int64_t n,
                                  const double *m, double *value) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCheck(b->grid, PETSC_COMM_SELF, PETSC_ERR_SUP, "backend '%s' has no grid operators",
             b->name);
  PetscCall(MFGLogEvent("MFGCoupling", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->grid->coupling(f, n, m, value));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckAgents(const MFGBlock *domain, const MFGAgentRange *agents) {
  PetscFunctionBeginUser;
  PetscCheck(domain->dim >= 1 && domain->dim <= MFG_MAX_DIM, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "agents in %d dimensions, not 1 to %d", domain->dim,
             MFG_MAX_DIM);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    PetscCheck(domain->start[k] >= 0 && domain->count[k] > 0 &&
                   domain->start[k] + domain->count[k] <= domain->cells[k],
               PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "agents in the cells %d to %d along axis %d, which has %d", domain->start[k],
               domain->start[k] + domain->count[k] - 1, k, domain->cells[k]);
  PetscCheck(agents->count >= 0 && (agents->id || (agents->first_id >= 0 && agents->id_stride > 0)),
             PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "no range of agents: first %lld, stride %lld, count %lld", (long long)agents->first_id,
             (long long)agents->id_stride, (long long)agents->count);
  for (int k = 0; k < domain->dim && agents->count; k++)
    PetscCheck(!agents->position[k] != !agents->offset[k], PETSC_COMM_SELF, PETSC_ERR_ARG_INCOMP,
               "agents with positions on axis %d %s: either in double or in single precision", k,
               agents->position[k] ? "twice" : "missing");
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The cells of the moments: NULL or zero where they are those of the box. */
static PetscErrorCode CheckExtent(const MFGBlock *domain, const MFGMomentShape *shape,
                                  const MFGExtent *extent) {
  PetscFunctionBeginUser;
  if (!extent || !extent->count[0]) PetscFunctionReturn(PETSC_SUCCESS);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    PetscCheck(extent->start[k] <= domain->start[k] &&
                   extent->start[k] + extent->count[k] >= domain->start[k] + domain->count[k],
               PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "moments of the cells %d to %d along axis %d: they lack some of the box, %d to %d",
               extent->start[k], extent->start[k] + extent->count[k] - 1, k, domain->start[k],
               domain->start[k] + domain->count[k] - 1);
  const int boxes = MFGMomentBoxes(shape);
  PetscCheck(MFGExtentCells(extent) < INT_MAX / boxes, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "moments of %lld cells with %d boxes each on one rank: take more ranks",
             (long long)MFGExtentCells(extent), boxes);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From a rank's box agents can go no further than one step. */
static PetscErrorCode CheckBox(const MFGScan *job) {
  PetscFunctionBeginUser;
  const int whole = MFGBlockOwned(&job->domain) == MFGBlockCells(&job->domain);
  PetscCheck(whole || (job->leavers && job->ghosted), PETSC_COMM_SELF, PETSC_ERR_ARG_INCOMP,
             "a scan of a rank's box needs the drift with ghosts and a list for the agents that "
             "leave it");
  PetscCheck(!job->leavers || job->level_end == job->level_begin + 1, PETSC_COMM_SELF,
             PETSC_ERR_ARG_INCOMP,
             "agents leave the box after each step, but the scan has the steps from %d to %d",
             job->level_begin, job->level_end);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckShape(int dim, const MFGMomentShape *s) {
  PetscFunctionBeginUser;
  PetscCheck(s->order >= 0 && s->order <= MFG_ORDER_MAX, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "moments of order %d: it must lie between 0 and %d", s->order, MFG_ORDER_MAX);
  PetscCheck(s->scale >= 0 && s->scale <= 51, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "moments scaled by 2^%d: the exponent must lie between 0 and 51", s->scale);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int most = k < dim ? MFG_HALVINGS_MAX : 0;
    PetscCheck(s->halvings[k] >= 0 && s->halvings[k] <= most, PETSC_COMM_SELF,
               PETSC_ERR_ARG_OUTOFRANGE,
               "cells halved %d times along axis %d: it must lie between 0 and %d", s->halvings[k],
               k, most);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendSample(const MFGBackend *b, const MFGSample *job) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckAgents(&job->domain, &job->agents));
  PetscCheck(job->weight > 0 && job->total > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "nothing to sample: %lld agents, total weight %lld", (long long)job->total,
             (long long)job->weight);
  PetscCall(MFGLogEvent("MFGSample", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->agents->sample(job));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendScan(const MFGBackend *b, const MFGScan *job) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckAgents(&job->domain, &job->agents));
  PetscCall(CheckShape(job->domain.dim, &job->shape));
  PetscCheck(0 <= job->level_begin && job->level_begin <= job->level_end, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "no levels: %d to %d", job->level_begin, job->level_end);
  PetscCheck(job->dt > 0 && job->nu >= 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "dt = %g must be > 0 and nu = %g >= 0", job->dt, job->nu);
  PetscCall(CheckBox(job));
  PetscCall(CheckExtent(&job->domain, &job->shape, &job->extent));
  PetscCall(MFGLogEvent("MFGScan", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->agents->scan(job));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendDeposit(const MFGBackend *b, const MFGBlock *domain,
                                 const MFGAgentRange *agents, const MFGMomentShape *shape,
                                 const MFGExtent *extent, int64_t *moments) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckAgents(domain, agents));
  PetscCall(CheckShape(domain->dim, shape));
  PetscCall(CheckExtent(domain, shape, extent));
  PetscCall(MFGLogEvent("MFGDeposit", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->agents->deposit(domain, agents, shape, extent, moments));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendSort(const MFGBackend *b, const MFGSort *job) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckAgents(&job->domain, &job->agents));
  PetscCheck(job->agents.id || !job->agents.count, PETSC_COMM_SELF, PETSC_ERR_ARG_INCOMP,
             "agents without ids cannot be sorted: they would lose their numbers");
  PetscCheck(job->agents.count <= UINT32_MAX, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld agents to be sorted, more than 2^32 - 1: take more ranks",
             (long long)job->agents.count);
  if (!b->agents->sort) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGLogEvent("MFGSort", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->agents->sort(job));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckDensityBlock(const MFGBlock *b) {
  PetscFunctionBeginUser;
  PetscCheck(b->dim >= 1 && b->dim <= MFG_MAX_DIM, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "densities in %d dimensions, not 1 to %d", b->dim, MFG_MAX_DIM);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    PetscCheck(b->start[k] >= 0 && b->count[k] >= 0 && b->start[k] + b->count[k] <= b->cells[k],
               PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "no box of the grid: %d cells from %d on along axis %d of %d cells", b->count[k],
               b->start[k], k, b->cells[k]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Every cell that the widest kernel reaches from the box must be among the moments. */
static PetscErrorCode CheckReach(const MFGConvolution *job) {
  const MFGBlock *b = &job->block;
  const MFGExtent e = MFGExtentOrWhole(b, &job->extent);

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) {
    const int r = job->radius[k], end = b->start[k] + b->count[k] + r;
    for (int n = 0; n < job->levels; n++)
      PetscCheck(job->kernel[n].radius[k] <= r, PETSC_COMM_SELF, PETSC_ERR_ARG_INCOMP,
                 "the kernel of level %d reaches %d cells along axis %d, the largest radius is "
                 "said to be %d",
                 n, job->kernel[n].radius[k], k, r);
    for (int i = b->start[k] - r; i < end; i++) {
      int mirrored;
      const int place = MFGMomentPosition(b, &e, k, i, &mirrored);
      PetscCheck(place >= 0 && place < e.count[k], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
                 "the kernel reaches cell %d of axis %d, the moments cover %d cells from %d on: "
                 "they must reach %d cells beyond the box, or cover the whole axis",
                 i, k, e.count[k], e.start[k], r);
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendConvolve(const MFGBackend *b, const MFGConvolution *job,
                                  const int64_t *moments, double *density) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckShape(job->block.dim, &job->shape));
  PetscCheck(job->agents > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "the density of %lld agents", (long long)job->agents);
  PetscCall(CheckDensityBlock(&job->block));
  PetscCall(CheckReach(job));
  PetscCall(MFGLogEvent("MFGConvolve", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->density->convolve(job, moments, density));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendMarginals(const MFGBackend *b, const MFGMarginals *job,
                                   const int64_t *moments, int64_t *marginals) {
  const MFGBlock *box = &job->box;
  const MFGExtent e = MFGExtentOrWhole(&job->domain, &job->extent);
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCheck(job->shape.order >= 3, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "statistics need moments of order 3 or more, not %d", job->shape.order);
  for (int k = 0; k < job->domain.dim; k++)
    PetscCheck(box->start[k] >= e.start[k] &&
                   box->start[k] + box->count[k] <= e.start[k] + e.count[k],
               PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "a box of %d cells from %d on along axis %d, the moments cover %d from %d on",
               box->count[k], box->start[k], k, e.count[k], e.start[k]);
  PetscCall(MFGLogEvent("MFGMarginals", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->density->marginals(job, moments, marginals));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendAxisSums(const MFGBackend *b, const MFGMarginals *job,
                                  const int64_t *marginals, MFGAxisSums *sums) {
  PetscFunctionBeginUser;
  PetscCall(b->density->axis_sums(job, marginals, sums));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendDirect(const MFGBackend *b, const MFGBlock *block, int64_t count,
                                const double *const position[], const double bandwidth[],
                                double *density) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(CheckDensityBlock(block));
  PetscCheck(count > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "the density of %lld agents",
             (long long)count);
  PetscCall(MFGLogEvent("MFGDirect", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(b->density->direct(block, count, position, bandwidth, density));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}
