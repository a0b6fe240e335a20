/* Stands in for CUDA's cuda_runtime.h where the CUDA sources run on the host: the part of the
 * runtime and of the language that the project uses, with the meaning of CUDA 13. What is not
 * declared here does not compile; add it with its rules (tests/gpu_on_host/README.md).
 *
 * The names in the object files are prefixed with standin_, so that a PETSc with CUDA in the same
 * program keeps the real runtime. */
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CUDART_VERSION 13000

typedef enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidPitchValue = 12,
  cudaErrorInvalidSymbol = 13,
  cudaErrorInvalidMemcpyDirection = 21,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureMerge = 902,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorStreamCaptureImplicit = 906,
  cudaErrorCapturedEvent = 907,
  cudaErrorGraphExecUpdateFailure = 910,
  cudaErrorUnknown = 999
} cudaError_t;

typedef enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
} cudaMemcpyKind;

typedef enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
} cudaMemoryType;

typedef struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
} cudaPointerAttributes;

typedef enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrConcurrentKernels = 31,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrUnifiedAddressing = 41,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
} cudaDeviceAttr;

typedef struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
  int warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
  int major, minor, multiProcessorCount, maxThreadsPerMultiProcessor, l2CacheSize, regsPerBlock;
  int pciDomainID, pciBusID, pciDeviceID;
  int unifiedAddressing, concurrentKernels, asyncEngineCount;
} cudaDeviceProp;

typedef struct cudaStream *cudaStream_t;
typedef struct cudaEvent *cudaEvent_t;
typedef struct cudaGraph *cudaGraph_t;
typedef struct cudaGraphExec *cudaGraphExec_t;
typedef struct cudaGraphNode *cudaGraphNode_t;

typedef enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
} cudaStreamCaptureMode;

typedef enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone,
  cudaStreamCaptureStatusActive,
  cudaStreamCaptureStatusInvalidated
} cudaStreamCaptureStatus;

typedef enum cudaGraphExecUpdateResult {
  cudaGraphExecUpdateSuccess,
  cudaGraphExecUpdateError,
  cudaGraphExecUpdateErrorTopologyChanged,
  cudaGraphExecUpdateErrorNodeTypeChanged
} cudaGraphExecUpdateResult;

typedef struct cudaGraphExecUpdateResultInfo {
  cudaGraphExecUpdateResult result;
  cudaGraphNode_t errorNode, errorFromNode;
} cudaGraphExecUpdateResultInfo;

typedef enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
} cudaFuncAttribute;

#define cudaStreamDefault 0x0
#define cudaStreamNonBlocking 0x1
#define cudaStreamLegacy ((cudaStream_t)0x1)
#define cudaEventDefault 0x0
#define cudaEventBlockingSync 0x1
#define cudaEventDisableTiming 0x2
#define cudaHostAllocDefault 0x0
#define cudaHostAllocPortable 0x1
#define cudaHostAllocMapped 0x2
#define cudaHostAllocWriteCombined 0x4

#ifdef __cplusplus
#define MFG_STANDIN_DEFAULT(value) = value
extern "C" {
#else
#define MFG_STANDIN_DEFAULT(value)
#endif

#define MFG_STANDIN_CALL(type, name, parameters) type name parameters __asm__("standin_" #name)
#define MFG_STANDIN_API(name, parameters) MFG_STANDIN_CALL(cudaError_t, name, parameters)

/* errors, devices */
MFG_STANDIN_CALL(const char *, cudaGetErrorName, (cudaError_t error));
MFG_STANDIN_CALL(const char *, cudaGetErrorString, (cudaError_t error));
MFG_STANDIN_API(cudaGetLastError, (void));
MFG_STANDIN_API(cudaPeekAtLastError, (void));
MFG_STANDIN_API(cudaGetDeviceCount, (int *count));
MFG_STANDIN_API(cudaGetDevice, (int *device));
MFG_STANDIN_API(cudaSetDevice, (int device));
MFG_STANDIN_API(cudaGetDeviceProperties, (cudaDeviceProp * properties, int device));
MFG_STANDIN_API(cudaDeviceGetAttribute, (int *value, cudaDeviceAttr attribute, int device));
MFG_STANDIN_API(cudaDeviceGetPCIBusId, (char *id, int length, int device));
MFG_STANDIN_API(cudaDeviceReset, (void));
MFG_STANDIN_API(cudaDeviceSynchronize, (void));
MFG_STANDIN_API(cudaDriverGetVersion, (int *version));
MFG_STANDIN_API(cudaRuntimeGetVersion, (int *version));

/* memory */
MFG_STANDIN_API(cudaMemGetInfo, (size_t * available, size_t *total));
MFG_STANDIN_API(cudaMalloc, (void **pointer, size_t bytes));
MFG_STANDIN_API(cudaFree, (void *pointer));
MFG_STANDIN_API(cudaMallocAsync, (void **pointer, size_t bytes, cudaStream_t stream));
MFG_STANDIN_API(cudaFreeAsync, (void *pointer, cudaStream_t stream));
MFG_STANDIN_API(cudaMallocHost, (void **pointer, size_t bytes));
MFG_STANDIN_API(cudaHostAlloc, (void **pointer, size_t bytes, unsigned flags));
MFG_STANDIN_API(cudaFreeHost, (void *pointer));
MFG_STANDIN_API(cudaPointerGetAttributes, (cudaPointerAttributes * attributes, const void *p));
MFG_STANDIN_API(cudaMemcpy, (void *to, const void *from, size_t bytes, cudaMemcpyKind kind));
MFG_STANDIN_API(cudaMemcpyAsync, (void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                                  cudaStream_t stream MFG_STANDIN_DEFAULT(NULL)));
MFG_STANDIN_API(cudaMemcpy2D, (void *to, size_t to_pitch, const void *from, size_t from_pitch,
                               size_t width, size_t height, cudaMemcpyKind kind));
MFG_STANDIN_API(cudaMemcpy2DAsync, (void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                    size_t width, size_t height, cudaMemcpyKind kind,
                                    cudaStream_t stream MFG_STANDIN_DEFAULT(NULL)));
MFG_STANDIN_API(cudaMemset, (void *pointer, int value, size_t bytes));
MFG_STANDIN_API(cudaMemsetAsync, (void *pointer, int value, size_t bytes,
                                  cudaStream_t stream MFG_STANDIN_DEFAULT(NULL)));

/* streams and events */
MFG_STANDIN_API(cudaStreamCreate, (cudaStream_t * stream));
MFG_STANDIN_API(cudaStreamCreateWithFlags, (cudaStream_t * stream, unsigned flags));
MFG_STANDIN_API(cudaStreamCreateWithPriority,
                (cudaStream_t * stream, unsigned flags, int priority));
MFG_STANDIN_API(cudaDeviceGetStreamPriorityRange, (int *least, int *greatest));
MFG_STANDIN_API(cudaStreamDestroy, (cudaStream_t stream));
MFG_STANDIN_API(cudaStreamSynchronize, (cudaStream_t stream));
MFG_STANDIN_API(cudaStreamQuery, (cudaStream_t stream));
MFG_STANDIN_API(cudaStreamWaitEvent,
                (cudaStream_t stream, cudaEvent_t event, unsigned flags MFG_STANDIN_DEFAULT(0)));
MFG_STANDIN_API(cudaEventCreate, (cudaEvent_t * event));
MFG_STANDIN_API(cudaEventCreateWithFlags, (cudaEvent_t * event, unsigned flags));
MFG_STANDIN_API(cudaEventDestroy, (cudaEvent_t event));
MFG_STANDIN_API(cudaEventRecord,
                (cudaEvent_t event, cudaStream_t stream MFG_STANDIN_DEFAULT(NULL)));
MFG_STANDIN_API(cudaEventSynchronize, (cudaEvent_t event));
MFG_STANDIN_API(cudaEventQuery, (cudaEvent_t event));
MFG_STANDIN_API(cudaEventElapsedTime, (float *ms, cudaEvent_t begin, cudaEvent_t end));

/* graphs */
MFG_STANDIN_API(cudaStreamBeginCapture, (cudaStream_t stream, cudaStreamCaptureMode mode));
MFG_STANDIN_API(cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t *graph));
MFG_STANDIN_API(cudaStreamIsCapturing, (cudaStream_t stream, cudaStreamCaptureStatus *status));
MFG_STANDIN_API(cudaGraphGetNodes, (cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count));
MFG_STANDIN_API(cudaGraphDestroy, (cudaGraph_t graph));
MFG_STANDIN_API(cudaGraphInstantiate, (cudaGraphExec_t * exec, cudaGraph_t graph,
                                       unsigned long long flags MFG_STANDIN_DEFAULT(0)));
MFG_STANDIN_API(cudaGraphInstantiateWithFlags, (cudaGraphExec_t * exec, cudaGraph_t graph,
                                                unsigned long long flags MFG_STANDIN_DEFAULT(0)));
MFG_STANDIN_API(cudaGraphExecUpdate,
                (cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info));
MFG_STANDIN_API(cudaGraphUpload, (cudaGraphExec_t exec, cudaStream_t stream));
MFG_STANDIN_API(cudaGraphLaunch, (cudaGraphExec_t exec, cudaStream_t stream));
MFG_STANDIN_API(cudaGraphExecDestroy, (cudaGraphExec_t exec));

/* kernels */
MFG_STANDIN_API(cudaFuncSetAttribute, (const void *kernel, cudaFuncAttribute attribute, int value));
MFG_STANDIN_API(cudaOccupancyMaxActiveBlocksPerMultiprocessor,
                (int *blocks, const void *kernel, int threads, size_t shared));

#ifdef __cplusplus
} /* extern "C" */

template <class T> cudaError_t cudaMalloc(T **pointer, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void **>(pointer), bytes);
}
template <class T> cudaError_t cudaMallocHost(T **pointer, size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void **>(pointer), bytes);
}
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void (*kernel)(P...),
                                                          int threads, size_t shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      blocks, reinterpret_cast<const void *>(kernel), threads, shared);
}

#include "tests/gpu_on_host/device_language.h"
#endif
