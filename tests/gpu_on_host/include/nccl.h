/* Stands in for nccl.h where the CUDA sources run on the host: the part of NCCL 2.28 that the
 * project uses, over MPI. Names in the object files are prefixed, as in cuda_runtime.h. */
#pragma once

#include <cuda_runtime.h>

#define NCCL_MAJOR 2
#define NCCL_MINOR 28
#define NCCL_PATCH 9
#define NCCL_VERSION(x, y, z) ((x)*10000 + (y)*100 + (z))
#define NCCL_VERSION_CODE NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH)
#define NCCL_UNIQUE_ID_BYTES 128

typedef struct ncclComm *ncclComm_t;
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

typedef enum {
  ncclSuccess,
  ncclUnhandledCudaError,
  ncclSystemError,
  ncclInternalError,
  ncclInvalidArgument,
  ncclInvalidUsage,
  ncclRemoteError,
  ncclInProgress
} ncclResult_t;

typedef enum { ncclSum, ncclProd, ncclMax, ncclMin, ncclAvg } ncclRedOp_t;

typedef enum {
  ncclInt8 = 0,
  ncclChar = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclInt = 2,
  ncclUint32 = 3,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat32 = 7,
  ncclFloat = 7,
  ncclFloat64 = 8,
  ncclDouble = 8
} ncclDataType_t;

typedef struct {
  size_t size;
  unsigned magic;
  int blocking, minCTAs, maxCTAs;
} ncclConfig_t;
#define NCCL_CONFIG_UNDEF_INT (-2147483647 - 1)
#define NCCL_CONFIG_INITIALIZER                                                                    \
  {                                                                                                \
    sizeof(ncclConfig_t), 0xcafebeef, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                \
        NCCL_CONFIG_UNDEF_INT                                                                      \
  }

#ifdef __cplusplus
extern "C" {
#endif

#define MFG_STANDIN_NCCL(name, parameters) MFG_STANDIN_CALL(ncclResult_t, name, parameters)

MFG_STANDIN_NCCL(ncclGetVersion, (int *version));
MFG_STANDIN_CALL(const char *, ncclGetErrorString, (ncclResult_t result));
MFG_STANDIN_CALL(const char *, ncclGetLastError, (ncclComm_t comm));
MFG_STANDIN_NCCL(ncclGetUniqueId, (ncclUniqueId * id));
MFG_STANDIN_NCCL(ncclCommInitRank, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank));
MFG_STANDIN_NCCL(ncclCommInitRankConfig,
                 (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config));
MFG_STANDIN_NCCL(ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t *error));
MFG_STANDIN_NCCL(ncclCommFinalize, (ncclComm_t comm));
MFG_STANDIN_NCCL(ncclCommDestroy, (ncclComm_t comm));
MFG_STANDIN_NCCL(ncclCommAbort, (ncclComm_t comm));
MFG_STANDIN_NCCL(ncclCommCount, (const ncclComm_t comm, int *count));
MFG_STANDIN_NCCL(ncclCommUserRank, (const ncclComm_t comm, int *rank));
MFG_STANDIN_NCCL(ncclGroupStart, (void));
MFG_STANDIN_NCCL(ncclGroupEnd, (void));
MFG_STANDIN_NCCL(ncclAllReduce, (const void *send, void *receive, size_t count, ncclDataType_t type,
                                 ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream));
MFG_STANDIN_NCCL(ncclSend, (const void *send, size_t count, ncclDataType_t type, int peer,
                            ncclComm_t comm, cudaStream_t stream));
MFG_STANDIN_NCCL(ncclRecv, (void *receive, size_t count, ncclDataType_t type, int peer,
                            ncclComm_t comm, cudaStream_t stream));

#ifdef __cplusplus
}
#endif
