#include <nccl.h>
#include <unistd.h>

#include "gpu/check.h"
#include "gpu/device.h"

/* Seconds that a rank waits for the others before it takes them for dead (-exchange_timeout). The
 * value equation, which ranks solve at different speeds, lies between two exchanges. */
#define PATIENCE 600.

/* From this version on several ranks may have one GPU, where the environment says so. */
#define SHARED_GPU_VERSION 23003

typedef struct {
  MPI_Comm comm;
  PetscMPIInt rank, size;
  ncclComm_t nccl; /* owned; NULL on one rank */
  double patience;
  int users; /* exchanges */
} Transport;

/* The attribute of a communicator of MPI that is its transport: one for all exchanges on it, since
 * one takes NCCL seconds and memory, and all work is done in order on one stream. */
static PetscMPIInt transportKey = MPI_KEYVAL_INVALID;

static PetscErrorCode FindTransport(MPI_Comm comm, Transport **t) {
  PetscMPIInt found;

  PetscFunctionBeginUser;
  if (transportKey == MPI_KEYVAL_INVALID)
    PetscCallMPI(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN,
                                        &transportKey, NULL));
  PetscCallMPI(MPI_Comm_get_attr(comm, transportKey, t, &found));
  if (!found) *t = NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Lets go of a communicator whose other ranks are gone, so that nothing waits for them any more. */
static PetscErrorCode GiveUp(Transport *t, const char *what, ncclResult_t result) {
  const char *words = result == ncclInProgress ? "no answer" : ncclGetErrorString(result);
  char last[512] = "";

  PetscFunctionBeginUser;
  if (t->nccl) {
    (void)snprintf(last, sizeof last, "%s", ncclGetLastError(t->nccl));
    (void)ncclCommAbort(t->nccl);
  }
  t->nccl = NULL;
  SETERRQ(PETSC_COMM_SELF, PETSC_ERR_MPI,
          "rank %d, %s by NCCL: %s%s%s; another rank has died or hangs (its own message says why), "
          "or NCCL cannot reach it: NCCL_DEBUG=INFO in the environment tells more",
          (int)t->rank, what, words, *last ? ": " : "", last);
}

/* A call to a communicator that does not block: done once no error and no progress is left. */
static PetscErrorCode Await(Transport *t, const char *what, ncclResult_t result) {
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  while (result == ncclInProgress && MPI_Wtime() - start < t->patience) {
    const ncclResult_t asked = ncclCommGetAsyncError(t->nccl, &result);
    if (asked != ncclSuccess) result = asked;
  }
  if (result != ncclSuccess) PetscCall(GiveUp(t, what, result));
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define AWAIT(t, call) PetscCall(Await(t, #call, call))

/* While the host waits for the stream: are the others alive? */
static PetscErrorCode Watch(void *context, double seconds) {
  Transport *t = context;
  ncclResult_t result = ncclSuccess;

  PetscFunctionBeginUser;
  if (!t->nccl) PetscFunctionReturn(PETSC_SUCCESS);
  const PetscBool late = (PetscBool)(seconds > t->patience);
  const ncclResult_t asked = ncclCommGetAsyncError(t->nccl, &result);
  if (asked != ncclSuccess) result = asked;
  if (!late && (result == ncclSuccess || result == ncclInProgress))
    PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(GiveUp(t, "exchange", result == ncclSuccess ? ncclInProgress : result));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Destroy_NCCL(void *context) {
  Transport *t = context;

  PetscFunctionBeginUser;
  if (--t->users) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCallMPI(MPI_Comm_delete_attr(t->comm, transportKey));
  MFGDeviceSetWatch(NULL, NULL);
  if (t->nccl) {
    MFGCallCUDA(cudaStreamSynchronize(MFGDeviceStream()));
    AWAIT(t, ncclCommFinalize(t->nccl));
    (void)ncclCommDestroy(t->nccl);
  }
  PetscCall(PetscFree(t));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* In place over all ranks, on the stream. */
static PetscErrorCode Sum_NCCL(void *context, int64_t count, int64_t *values) {
  Transport *t = context;

  PetscFunctionBeginUser;
  if (t->size == 1 || !count) PetscFunctionReturn(PETSC_SUCCESS);
  AWAIT(t, ncclAllReduce(values, values, (size_t)count, ncclInt64, ncclSum, t->nccl,
                         MFGDeviceStream()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* To the low neighbour and from the high one, then the other way round: where both neighbours are
 * one rank, NCCL matches messages in the order of the calls. */
static PetscErrorCode Swap_NCCL(void *context, const int neighbor[2], int64_t bytes,
                                const void *const send[2], void *const receive[2]) {
  Transport *t = context;
  const cudaStream_t stream = MFGDeviceStream();

  PetscFunctionBeginUser;
  for (int side = 0; side < 2; side++)
    if (neighbor[side] == t->rank)
      MFGCallCUDA(cudaMemcpyAsync(receive[1 - side], send[side], (size_t)bytes,
                                  cudaMemcpyDeviceToDevice, stream));
  if (t->size == 1 || !bytes) PetscFunctionReturn(PETSC_SUCCESS);
  AWAIT(t, ncclGroupStart());
  for (int side = 0; side < 2; side++) {
    const int to = neighbor[side], from = neighbor[1 - side];
    if (to >= 0 && to != t->rank)
      AWAIT(t, ncclSend(send[side], (size_t)bytes, ncclInt8, to, t->nccl, stream));
    if (from >= 0 && from != t->rank)
      AWAIT(t, ncclRecv(receive[1 - side], (size_t)bytes, ncclInt8, from, t->nccl, stream));
  }
  AWAIT(t, ncclGroupEnd());
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Connections are made by the first calls, which must not be captured: every rank meets every
 * other one here. */
static PetscErrorCode WarmUp(Transport *t, const MFGMemoryOps *memory) {
  int64_t *values;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryAllocate(memory, 2 * t->size, sizeof *values, &values));
  PetscCall(MFGMemoryZero(memory, 2 * t->size, sizeof *values, values));
  PetscCall(Sum_NCCL(t, 1, values));
  AWAIT(t, ncclGroupStart());
  for (int r = 0; r < t->size; r++) {
    if (r == t->rank) continue;
    AWAIT(t, ncclSend(values + r, 1, ncclInt64, r, t->nccl, MFGDeviceStream()));
    AWAIT(t, ncclRecv(values + t->size + r, 1, ncclInt64, r, t->nccl, MFGDeviceStream()));
  }
  AWAIT(t, ncclGroupEnd());
  PetscCall(MFGMemorySynchronize(memory));
  PetscCall(MFGMemoryFree(memory, &values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Create_NCCL(MPI_Comm comm, const MFGMemoryOps *memory, void **context) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclUniqueId id;
  Transport *t;

  PetscFunctionBeginUser;
  PetscCall(FindTransport(comm, &t));
  *context = t;
  if (t) {
    t->users++;
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscNew(&t));
  PetscCallMPI(MPI_Comm_set_attr(comm, transportKey, t));
  t->comm = comm;
  t->users = 1;
  t->patience = PATIENCE;
  PetscCall(PetscOptionsGetReal(NULL, NULL, "-exchange_timeout", &t->patience, NULL));
  PetscCallMPI(MPI_Comm_rank(comm, &t->rank));
  PetscCallMPI(MPI_Comm_size(comm, &t->size));
  *context = t;
  if (t->size == 1) PetscFunctionReturn(PETSC_SUCCESS);
  config.blocking = 0;
  if (t->rank == 0) AWAIT(t, ncclGetUniqueId(&id));
  PetscCallMPI(MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, comm));
  AWAIT(t, ncclCommInitRankConfig(&t->nccl, t->size, id, t->rank, &config));
  MFGDeviceSetWatch(Watch, t);
  PetscCall(WarmUp(t, memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGExchangeOps exchangeNCCL = {.name = "nccl",
                                            .recordable = PETSC_TRUE,
                                            .create = Create_NCCL,
                                            .destroy = Destroy_NCCL,
                                            .sum = Sum_NCCL,
                                            .swap = Swap_NCCL};
static const MFGCarrier carrierNCCL = {&MFGMemoryOps_CUDA, &exchangeNCCL, &MFGTransitOps_CUDA};
static const MFGCarrier carrierStaged = {&MFGMemoryOps_CUDA, &MFGExchangeOps_MPI,
                                         &MFGTransitOps_CUDA};

/* A GPU among those of all nodes. */
typedef struct {
  char host[64], bus[32];
} Place;

static PetscErrorCode MyPlace(Place *place) {
  int device;

  PetscFunctionBeginUser;
  memset(place, 0, sizeof *place);
  (void)gethostname(place->host, sizeof place->host - 1);
  MFGCallCUDA(cudaGetDevice(&device));
  MFGCallCUDA(cudaDeviceGetPCIBusId(place->bus, sizeof place->bus, device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Two ranks that have the same GPU; false: there are none. */
static PetscErrorCode FindShared(MPI_Comm comm, int pair[2], PetscBool *found) {
  PetscMPIInt size;
  Place mine, *all;

  PetscFunctionBeginUser;
  *found = PETSC_FALSE;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(PetscMalloc1(size, &all));
  PetscCall(MyPlace(&mine));
  PetscCallMPI(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, comm));
  for (int i = 1; i < size && !*found; i++)
    for (int j = 0; j < i && !*found; j++)
      if (!memcmp(&all[i], &all[j], sizeof mine)) {
        pair[0] = j;
        pair[1] = i;
        *found = PETSC_TRUE;
      }
  PetscCall(PetscFree(all));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* NCCL's own switch for several ranks on one GPU. */
static PetscBool MaySharePlace(int version) {
  const char *enabled = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return (PetscBool)(version >= SHARED_GPU_VERSION && enabled && !strcmp(enabled, "1"));
}

PetscErrorCode MFGCarrierChoose_CUDA(MPI_Comm comm, const MFGCarrier **carrier, size_t length,
                                     char text[]) {
  PetscMPIInt size;
  int version = 0, pair[2];
  PetscBool shared;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  *carrier = &carrierNCCL;
  text[0] = '\0';
  if (size == 1) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(FindShared(comm, pair, &shared));
  (void)ncclGetVersion(&version);
  if (shared && !MaySharePlace(version)) {
    *carrier = &carrierStaged;
    PetscCall(PetscSNPrintf(text, length,
                            "MPI through the host's memory between the ranks, since ranks %d and "
                            "%d have the same GPU",
                            pair[0], pair[1]));
  } else {
    PetscCall(PetscSNPrintf(text, length, "NCCL %d.%d.%d between the ranks", version / 10000,
                            version / 100 % 100, version % 100));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
