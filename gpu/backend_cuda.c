#include <nvtx3/nvToolsExt.h>

#include <unistd.h>

#include "gpu/check.h"
#include "gpu/device.h"
#include "gpu/kernels.h"
#include "gpu/stream.h"
#include "solvers/backend.h"

/* Work memory at least doubles when it grows while an older one has to stay. */
#define RETIRED_MOST 48
#define WORK_LEAST (1 << 20)

/* Agents whose boxes are listed at a time (-agents_portion): half a gigabyte of work memory. */
#define PORTION (1 << 24)

/* Waits are short as a rule: only one that lasts is watched, and then sleeps in between. */
#define WATCH_FIRST 1000
#define WATCH_MICROSECONDS 50

/* What kernels tell the host. */
typedef struct {
  MFGLevelRange range;
  double sum;
  int drift_broken;
} Findings;

/* The GPU of this process. The tables of solvers/backend.h take no context: there is one GPU to a
 * rank. */
static struct {
  PetscBool ready;
  MFGStream stream; /* owned; that of the device */
  MFGDevice device;
  int64_t work_size;
  /* Recordings hold the address of the work memory: what was too small stays while there are any.
   */
  int recordings, retired_count;
  void *retired[RETIRED_MOST]; /* owned */
  Findings *seen;              /* owned; in the host's memory, written by kernels */
  char name[160];
  MFGDeviceWatch watch;
  void *watched;
  /* One for each carrier that ranks have asked for: detail[i] is that of backend[i]. */
  int backends;
  MFGBackend backend[2];
  char detail[2][400];
} gpu;

cudaStream_t MFGDeviceStream(void) {
  return gpu.device.stream;
}

const MFGDevice *MFGDeviceHere(void) {
  return &gpu.device;
}

void MFGDeviceSetWatch(MFGDeviceWatch watch, void *context) {
  gpu.watch = watch;
  gpu.watched = context;
}

static PetscErrorCode FreeRetired(void) {
  PetscFunctionBeginUser;
  while (gpu.retired_count) MFGCallCUDA(cudaFree(gpu.retired[--gpu.retired_count]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Starts the kernels of an operation, as a range in a profile. */
#define RUN(name, call)                                                                            \
  do {                                                                                             \
    nvtxRangePushA(name);                                                                          \
    const cudaError_t error_ = (call);                                                             \
    nvtxRangePop();                                                                                \
    MFGCallCUDA(error_);                                                                           \
  } while (0)

/* What kernels found since the last time, once they are done. */
static PetscErrorCode CheckFindings(void) {
  PetscFunctionBeginUser;
  const int broken = *(volatile int *)&gpu.seen->drift_broken;
  gpu.seen->drift_broken = 0;
  PetscCheck(!broken, PETSC_COMM_SELF, PETSC_ERR_FP, MFG_DRIFT_BROKEN);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Allocate_CUDA(size_t bytes, void **memory) {
  size_t available, all;

  PetscFunctionBeginUser;
  const cudaError_t error = cudaMalloc(memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    MFGCallCUDA(cudaMemGetInfo(&available, &all));
    SETERRQ(PETSC_COMM_SELF, PETSC_ERR_MEM,
            "%.1f MiB wanted on the GPU, %.1f of %.1f MiB are free%s", (double)bytes / 1048576,
            (double)available / 1048576, (double)all / 1048576, MFGCUDARemedy(error));
  }
  MFGCallCUDA(error);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Waits for the stream, where other ranks take part in its work for as long as the watch agrees. */
static PetscErrorCode Wait(void) {
  const double start = MPI_Wtime();
  cudaError_t state = cudaErrorNotReady;

  PetscFunctionBeginUser;
  if (!gpu.watch) {
    MFGCallCUDA(cudaStreamSynchronize(gpu.device.stream));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (int asked = 0; state == cudaErrorNotReady; asked++) {
    state = cudaStreamQuery(gpu.device.stream);
    if (state != cudaErrorNotReady || asked < WATCH_FIRST) continue;
    PetscCall(gpu.watch(gpu.watched, MPI_Wtime() - start));
    (void)usleep(WATCH_MICROSECONDS);
  }
  MFGCallCUDA(state);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for the work of an operation. */
static PetscErrorCode ReserveWork(int64_t bytes) {
  PetscFunctionBeginUser;
  if (bytes <= gpu.work_size) PetscFunctionReturn(PETSC_SUCCESS);
  bytes = PetscMax(bytes, gpu.recordings ? 2 * gpu.work_size : WORK_LEAST);
  PetscCall(Wait());
  if (gpu.device.work) gpu.retired[gpu.retired_count++] = gpu.device.work;
  gpu.device.work = NULL;
  gpu.work_size = 0;
  if (!gpu.recordings) PetscCall(FreeRetired());
  PetscCall(Allocate_CUDA((size_t)bytes, &gpu.device.work));
  gpu.work_size = bytes;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Release_CUDA(void *memory) {
  PetscFunctionBeginUser;
  PetscCall(Wait());
  MFGCallCUDA(cudaFree(memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Zero_CUDA(void *memory, size_t bytes) {
  PetscFunctionBeginUser;
  MFGCallCUDA(cudaMemsetAsync(memory, 0, bytes, gpu.device.stream));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Synchronize_CUDA(void) {
  PetscFunctionBeginUser;
  PetscCall(Wait());
  PetscCall(CheckFindings());
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Pageable memory of the host is read before the call returns. One that fills it does not return
 * before all that comes first is done: if another rank is dead, never. So the wait is ours. */
static PetscErrorCode Copy_CUDA(void *to, const void *from, size_t bytes,
                                MFGCopyDirection direction) {
  static const enum cudaMemcpyKind kinds[] = {[MFG_COPY_WITHIN] = cudaMemcpyDeviceToDevice,
                                              [MFG_COPY_FROM_HOST] = cudaMemcpyHostToDevice,
                                              [MFG_COPY_TO_HOST] = cudaMemcpyDeviceToHost};

  PetscFunctionBeginUser;
  if (direction == MFG_COPY_TO_HOST) PetscCall(Wait());
  MFGCallCUDA(cudaMemcpyAsync(to, from, bytes, kinds[direction], gpu.device.stream));
  if (direction == MFG_COPY_TO_HOST) PetscCall(Synchronize_CUDA());
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Available_CUDA(size_t *bytes) {
  size_t all;

  PetscFunctionBeginUser;
  MFGCallCUDA(cudaMemGetInfo(bytes, &all));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RecordBegin_CUDA(void) {
  PetscFunctionBeginUser;
  MFGCallCUDA(cudaStreamBeginCapture(gpu.device.stream, cudaStreamCaptureModeThreadLocal));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RecordEnd_CUDA(void **recording) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;

  PetscFunctionBeginUser;
  MFGCallCUDA(cudaStreamEndCapture(gpu.device.stream, &graph));
  MFGCallCUDA(cudaGraphInstantiate(&executable, graph, 0));
  MFGCallCUDA(cudaGraphDestroy(graph));
  gpu.recordings++;
  *recording = executable;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Replay_CUDA(void *recording) {
  PetscFunctionBeginUser;
  RUN("replay", cudaGraphLaunch(recording, gpu.device.stream));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Forget_CUDA(void *recording) {
  PetscFunctionBeginUser;
  PetscCall(Wait());
  MFGCallCUDA(cudaGraphExecDestroy(recording));
  if (!--gpu.recordings) PetscCall(FreeRetired());
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGMemoryOps MFGMemoryOps_CUDA = {.name = "device",
                                        .allocate = Allocate_CUDA,
                                        .release = Release_CUDA,
                                        .zero = Zero_CUDA,
                                        .copy = Copy_CUDA,
                                        .synchronize = Synchronize_CUDA,
                                        .record_begin = RecordBegin_CUDA,
                                        .record_end = RecordEnd_CUDA,
                                        .replay = Replay_CUDA,
                                        .forget = Forget_CUDA,
                                        .available = Available_CUDA};

static PetscErrorCode CopySlabs_CUDA(int count, const MFGSlab slabs[], void *fields,
                                     void *const buffers[], int back) {
  PetscFunctionBeginUser;
  RUN(back ? "unpack slabs" : "pack slabs",
      MFGLaunchCopySlabs(count, slabs, fields, buffers, back, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Depart_CUDA(const MFGTransit *transit, const MFGAgentRange *agents,
                                  const int64_t *leavers) {
  PetscFunctionBeginUser;
  RUN("depart", MFGLaunchDepart(transit, agents, leavers, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Pack_CUDA(const MFGTransit *transit, int axis, void *const message[2]) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGPackWork(transit)));
  RUN("pack", MFGLaunchPack(transit, axis, message, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Unpack_CUDA(const MFGTransit *transit, const void *const message[2]) {
  PetscFunctionBeginUser;
  RUN("unpack", MFGLaunchUnpack(transit, message, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CountStrays_CUDA(const MFGTransit *transit, int axis) {
  PetscFunctionBeginUser;
  RUN("count strays", MFGLaunchCountStrays(transit, axis, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Arrive_CUDA(const MFGTransit *transit, const MFGAgentRange *agents) {
  PetscFunctionBeginUser;
  RUN("arrive", MFGLaunchArrive(transit, agents, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGTransitOps MFGTransitOps_CUDA = {.name = "cuda",
                                          .copy_slabs = CopySlabs_CUDA,
                                          .depart = Depart_CUDA,
                                          .pack = Pack_CUDA,
                                          .unpack = Unpack_CUDA,
                                          .count_strays = CountStrays_CUDA,
                                          .arrive = Arrive_CUDA};

static PetscErrorCode Sample_CUDA(const MFGSample *job) {
  PetscFunctionBeginUser;
  RUN("sample", MFGLaunchSample(job, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Scan_CUDA(const MFGScan *job) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGScanWork(job, &gpu.device)));
  RUN("scan", MFGLaunchScan(job, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Deposit_CUDA(const MFGBlock *domain, const MFGAgentRange *agents,
                                   const MFGMomentShape *shape, const MFGExtent *extent,
                                   int64_t *moments) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGDepositWork(domain, agents, shape, extent, &gpu.device)));
  RUN("deposit", MFGLaunchDeposit(domain, agents, shape, extent, moments, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sort_CUDA(const MFGSort *job) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGSortWork(job)));
  RUN("sort", MFGLaunchSort(job, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static int64_t Work_CUDA(const MFGScan *job) {
  const MFGSort sort = {.domain = job->domain, .agents = job->agents};
  const int64_t work = PetscMax(MFGScanWork(job, &gpu.device), MFGSortWork(&sort));
  return PetscMax(work, WORK_LEAST);
}

/* A sort within a sweep does not pay: on an H100 it takes two steps of 1e7 agents on 512^2 cells
 * (2 of .9 ms) and three of 1e8 on 1024^2 (31 of 9 ms). One before all sweeps does: a step takes
 * 1.14 and 14 ms of agents in no order, and of those sorted .92 and 9 ms where noise of 4 cells a
 * step has moved them since, 1.07 and 11.2 ms after three steps of 32 cells. */
static const MFGAgentsOps agentsOps = {.name = "cuda",
                                       .sample = Sample_CUDA,
                                       .scan = Scan_CUDA,
                                       .deposit = Deposit_CUDA,
                                       .sort = Sort_CUDA,
                                       .work = Work_CUDA};

static PetscErrorCode Convolve_CUDA(const MFGConvolution *job, const int64_t *moments,
                                    double *density) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGConvolveWork(job)));
  RUN("convolve", MFGLaunchConvolve(job, moments, density, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Marginals_CUDA(const MFGMarginals *job, const int64_t *moments,
                                     int64_t *marginals) {
  PetscFunctionBeginUser;
  RUN("marginals", MFGLaunchMarginals(job, moments, marginals, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AxisSums_CUDA(const MFGMarginals *job, const int64_t *marginals,
                                    MFGAxisSums *sums) {
  PetscFunctionBeginUser;
  RUN("axis sums", MFGLaunchAxisSums(job, marginals, sums, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Direct_CUDA(const MFGBlock *block, int64_t count,
                                  const double *const position[], const double bandwidth[],
                                  double *density) {
  PetscFunctionBeginUser;
  RUN("direct", MFGLaunchDirect(block, count, position, bandwidth, density, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGDensityOps densityOps = {.name = "cuda",
                                         .convolve = Convolve_CUDA,
                                         .marginals = Marginals_CUDA,
                                         .axis_sums = AxisSums_CUDA,
                                         .direct = Direct_CUDA,
                                         .work = MFGConvolveWork};

static PetscErrorCode HJBResidual_CUDA(const MFGHJBStep *step, const double *u, double *residual) {
  PetscFunctionBeginUser;
  RUN("residual", MFGLaunchHJBResidual(step, u, residual, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBJacobian_CUDA(const MFGHJBStep *step, const double *u, double *values) {
  PetscFunctionBeginUser;
  RUN("jacobian", MFGLaunchHJBJacobian(step, u, values, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBJacobianChange_CUDA(const MFGHJBStep *step, const double *u,
                                             const double *w, double *values) {
  PetscFunctionBeginUser;
  RUN("jacobian change", MFGLaunchHJBJacobianChange(step, u, w, values, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBCoefficients_CUDA(const MFGHJBStep *step, const double *u,
                                           const MFGStarLevel *level) {
  PetscFunctionBeginUser;
  RUN("coefficients", MFGLaunchHJBCoefficients(step, u, level, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DriftFromValue_CUDA(const MFGHJBStep *step, const double *u, double *drift) {
  PetscFunctionBeginUser;
  RUN("drift", MFGLaunchDriftFromValue(step, u, drift, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coupling_CUDA(const MFGCoupling *f, int64_t n, const double *m,
                                    double *value) {
  PetscFunctionBeginUser;
  RUN("coupling", MFGLaunchCoupling(f, n, m, value, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Ghosts_CUDA(const MFGBlock *block, int fields, int mirror,
                                  const double *owned, double *ghosted) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchGhosts(block, fields, mirror, owned, ghosted, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MirrorDrift_CUDA(const MFGBlock *box, int levels, double *drift) {
  PetscFunctionBeginUser;
  RUN("mirror drift", MFGLaunchMirrorDrift(box, levels, drift, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LevelGuess_CUDA(const MFGLevelGuess *job, double *u) {
  PetscFunctionBeginUser;
  RUN("guess", MFGLaunchLevelGuess(job, u, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LevelAccept_CUDA(const MFGLevelAccept *job, MFGLevelRange *range) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGLevelAcceptWork(job->count)));
  RUN("accept", MFGLaunchLevelAccept(job, &gpu.device));
  PetscCall(Synchronize_CUDA());
  *range = gpu.seen->range;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LevelRight_CUDA(const MFGLevelRight *job, double *right) {
  PetscFunctionBeginUser;
  RUN("right side", MFGLaunchLevelRight(job, right, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LevelAdd_CUDA(int64_t count, const double *x, double weight, const double *y,
                                    double *sum) {
  PetscFunctionBeginUser;
  RUN("add", MFGLaunchLevelAdd(count, x, weight, y, sum, &gpu.device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode LevelSum_CUDA(int64_t count, const double *x, const double *weight,
                                    double *sum) {
  PetscFunctionBeginUser;
  PetscCall(ReserveWork(MFGLevelSumWork(count)));
  RUN("sum", MFGLaunchLevelSum(count, x, weight, &gpu.device));
  PetscCall(Synchronize_CUDA());
  *sum = gpu.seen->sum;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGLevelOps levelOps = {.name = "cuda",
                                     .guess = LevelGuess_CUDA,
                                     .accept = LevelAccept_CUDA,
                                     .right_side = LevelRight_CUDA,
                                     .add = LevelAdd_CUDA,
                                     .sum = LevelSum_CUDA};

static const MFGGridOps gridOps = {.name = "cuda",
                                   .hjb_residual = HJBResidual_CUDA,
                                   .hjb_jacobian = HJBJacobian_CUDA,
                                   .drift_from_value = DriftFromValue_CUDA,
                                   .coupling = Coupling_CUDA,
                                   .hjb_jacobian_change = HJBJacobianChange_CUDA,
                                   .hjb_coefficients = HJBCoefficients_CUDA,
                                   .mirror_drift = MirrorDrift_CUDA,
                                   .ghosts = Ghosts_CUDA};

/* The backend with this carrier, of which *text says something for the log. */
static const MFGBackend *BackendWith(const MFGCarrier *carrier, const char *text) {
  int i = 0;
  while (i < gpu.backends && gpu.backend[i].carrier != carrier) i++;
  if (i == gpu.backends) {
    (void)snprintf(gpu.detail[i], sizeof gpu.detail[i], "%s%s%s", gpu.name, *text ? "; " : "",
                   text);
    gpu.backend[gpu.backends++] = (MFGBackend){.name = "cuda",
                                               .detail = gpu.detail[i],
                                               .memory = &MFGMemoryOps_CUDA,
                                               .carrier = carrier,
                                               .vectors = gpu.stream.vectors,
                                               .dimensions = MFG_MAX_DIM,
                                               .single = PETSC_TRUE,
                                               .agents = &agentsOps,
                                               .density = &densityOps,
                                               .grid = &gridOps,
                                               .star = &MFGStarOps_CUDA,
                                               .level = &levelOps};
  }
  return &gpu.backend[i];
}

static PetscErrorCode Finalize(void) {
  PetscFunctionBeginUser;
  MFGCallCUDA(cudaStreamSynchronize(gpu.device.stream));
  PetscCall(FreeRetired());
  MFGCallCUDA(cudaFree(gpu.device.work));
  MFGCallCUDA(cudaFreeHost(gpu.seen));
  PetscCall(MFGStreamDestroy(&gpu.stream));
  memset(&gpu, 0, sizeof gpu);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SetUp(int number) {
  struct cudaDeviceProp properties;
  PetscInt portion = PORTION;

  PetscFunctionBeginUser;
  PetscCall(MFGStreamCreate(number, &gpu.stream));
  gpu.device.stream = gpu.stream.stream;
  MFGCallCUDA(cudaGetDeviceProperties(&properties, number));
  MFGCallCUDA(cudaHostAlloc((void **)&gpu.seen, sizeof *gpu.seen, cudaHostAllocMapped));
  memset(gpu.seen, 0, sizeof *gpu.seen);
  gpu.device.drift_broken = &gpu.seen->drift_broken;
  gpu.device.range = &gpu.seen->range;
  gpu.device.sum = &gpu.seen->sum;
  gpu.device.multiprocessors = properties.multiProcessorCount;
  gpu.device.shared = (int)properties.sharedMemPerBlockOptin;
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-agents_portion", &portion, NULL));
  PetscCheck(portion > 0 && portion % 32 == 0 && portion <= PORTION, PETSC_COMM_SELF,
             PETSC_ERR_USER_INPUT,
             "-agents_portion %" PetscInt_FMT ": take a multiple of 32 up to %d", portion, PORTION);
  gpu.device.portion = portion;
  PetscCall(PetscSNPrintf(gpu.name, sizeof gpu.name, "%s, %d multiprocessors, %.0f GiB",
                          properties.name, properties.multiProcessorCount,
                          (double)properties.totalGlobalMem / 1073741824));
  PetscCall(PetscRegisterFinalize(Finalize));
  gpu.ready = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RankOnNode(MPI_Comm comm, PetscMPIInt *rank) {
  MPI_Comm node;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
  PetscCallMPI(MPI_Comm_rank(node, rank));
  PetscCallMPI(MPI_Comm_free(&node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBackendFind_CUDA(MPI_Comm comm, const MFGBackend **backend, const char **why) {
  const MFGCarrier *carrier;
  PetscMPIInt rank;
  int count = 0;
  char text[200];

  PetscFunctionBeginUser;
  *backend = NULL;
  *why = NULL;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found) (void)cudaGetLastError();
  /* The worst rank decides for all: 2 no driver, 1 no GPU. */
  int missing = found == cudaErrorInsufficientDriver ? 2 : found || !count ? 1 : 0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &missing, 1, MPI_INT, MPI_MAX, comm));
  if (missing == 2)
    *why =
        "no NVIDIA driver is loaded, or one older than this program's CUDA: see nvidia-smi, update "
        "the driver, or take backend cpu or auto";
  else if (missing == 1)
    *why = "a rank sees no GPU: ask the job for one per rank (e.g. --gpus-per-node), see "
           "CUDA_VISIBLE_DEVICES, or take backend cpu or auto";
  if (missing) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(RankOnNode(comm, &rank));
  if (!gpu.ready) PetscCall(SetUp(rank % count));
  PetscCall(MFGCarrierChoose_CUDA(comm, &carrier, sizeof text, text));
  *backend = BackendWith(carrier, text);
  PetscFunctionReturn(PETSC_SUCCESS);
}
