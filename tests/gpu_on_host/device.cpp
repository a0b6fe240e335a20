/* The device as it describes itself, settings, errors and counts. */
#include "tests/gpu_on_host/internal.h"

#include <map>

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

namespace standin {
namespace {

constexpr size_t shared_default = 48 * 1024, shared_most = 227 * 1024;

cudaError_t last_error = cudaSuccess;
int current_device;
std::map<const void *, size_t> shared_limits;

int64_t FromEnvironment(const char *name, int64_t otherwise) {
  const char *text = getenv(name);
  if (!text) return otherwise;
  char *end;
  const long long value = strtoll(text, &end, 10);
  if (end == text || *end) Fail("%s=%s is not a whole number", name, text);
  return value;
}

/* Of this process among those that mpiexec or srun started. */
int Rank() {
  for (const char *name : {"PMI_RANK", "PMIX_RANK", "SLURM_PROCID"})
    if (getenv(name)) return (int)FromEnvironment(name, 0);
  return 0;
}

Random &OrderOfSeed(const uint64_t *seed) {
  static Random order(TheSettings().seed * 1000003 + (uint64_t)Rank());
  if (seed) order = Random(*seed * 1000003 + (uint64_t)Rank());
  return order;
}

} // namespace

void Fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fprintf(stderr, "gpu_on_host: ");
  vfprintf(stderr, format, arguments);
  if (running) {
    const uint3 b = mfg_standin_place.block, t = mfg_standin_place.thread;
    fprintf(stderr, "\n  in %s, block (%u,%u,%u), thread (%u,%u,%u)", running, b.x, b.y, b.z, t.x,
            t.y, t.z);
  }
  fprintf(stderr, "\n");
  fflush(stderr);
  va_end(arguments);
  _exit(1);
}

Settings &TheSettings() {
  static Settings s = {(uint64_t)FromEnvironment("MFG_STANDIN_SEED", 0),
                       (int)FromEnvironment("MFG_STANDIN_DEVICES", 1),
                       FromEnvironment("MFG_STANDIN_SHARED_DEVICE", 0) != 0,
                       FromEnvironment("MFG_STANDIN_MEMORY", INT64_C(2) << 30)};
  return s;
}

bool Early() {
  return TheSettings().seed % 2 == 1;
}

MFGStandinCounts &Counts() {
  static MFGStandinCounts counts;
  return counts;
}

cudaError_t Result(cudaError_t error) {
  if (error) last_error = error;
  return error;
}

cudaError_t DeviceError() {
  const int devices = TheSettings().devices;
  CheckAtExit();
  return devices > 0 ? cudaSuccess : devices == 0 ? cudaErrorNoDevice : cudaErrorInsufficientDriver;
}

Random::Random(uint64_t seed) : state(seed * 2 + 1) {
  for (int i = 0; i < 8; i++) Below(2);
}

unsigned Random::Below(unsigned bound) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return unsigned((state * UINT64_C(2685821657736338717) >> 32) * bound >> 32);
}

Random &Order() {
  return OrderOfSeed(nullptr);
}

size_t SharedLimit(const void *kernel) {
  const auto found = shared_limits.find(kernel);
  return found == shared_limits.end() ? shared_default : found->second;
}

static cudaError_t CheckDevice(int device) {
  if (const cudaError_t error = DeviceError()) return error;
  return device >= 0 && device < TheSettings().devices ? cudaSuccess : cudaErrorInvalidDevice;
}

} // namespace standin

using namespace standin;

MFGStandinCounts MFGStandinCount(void) {
  return Counts();
}

void MFGStandinCountReset(void) {
  Counts() = {};
}

void MFGStandinSetSeed(uint64_t seed) {
  TheSettings().seed = seed;
  OrderOfSeed(&seed);
}

void MFGStandinSetMemory(int64_t bytes) {
  TheSettings().memory = bytes;
}

/* ---- errors ---- */

static const struct {
  cudaError_t error;
  const char *name, *text;
} errors[] = {
#define MFG_ERROR(name, text)                                                                      \
  { name, #name, text }
    MFG_ERROR(cudaSuccess, "no error"),
    MFG_ERROR(cudaErrorInvalidValue, "invalid argument"),
    MFG_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    MFG_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    MFG_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    MFG_ERROR(cudaErrorInsufficientDriver,
              "CUDA driver version is insufficient for CUDA runtime version"),
    MFG_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    MFG_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    MFG_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    MFG_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    MFG_ERROR(cudaErrorNotReady, "device not ready"),
    MFG_ERROR(cudaErrorNotSupported, "operation not supported"),
    MFG_ERROR(cudaErrorStreamCaptureUnsupported,
              "operation not permitted when stream is capturing"),
    MFG_ERROR(cudaErrorStreamCaptureInvalidated,
              "operation failed due to a previous error during capture"),
    MFG_ERROR(cudaErrorStreamCaptureMerge,
              "operation would result in a merge of separate capture sequences"),
    MFG_ERROR(cudaErrorStreamCaptureUnmatched,
              "capture was not ended in the same stream as it began"),
    MFG_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    MFG_ERROR(cudaErrorStreamCaptureIsolation,
              "dependency created on uncaptured work in another stream"),
    MFG_ERROR(cudaErrorStreamCaptureImplicit,
              "operation would make the legacy stream depend on a capturing blocking stream"),
    MFG_ERROR(cudaErrorCapturedEvent,
              "operation not permitted on an event last recorded in a capturing stream"),
    MFG_ERROR(cudaErrorGraphExecUpdateFailure,
              "the graph update was not performed because it included changes which violated "
              "constraints specific to instantiated graph update"),
#undef MFG_ERROR
};

const char *cudaGetErrorName(cudaError_t error) {
  for (const auto &e : errors)
    if (e.error == error) return e.name;
  return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error) {
  for (const auto &e : errors)
    if (e.error == error) return e.text;
  return "unrecognized error code";
}

cudaError_t cudaGetLastError(void) {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *count) {
  const cudaError_t error = DeviceError();
  *count = error ? 0 : TheSettings().devices;
  return Result(error);
}

cudaError_t cudaGetDevice(int *device) {
  *device = current_device;
  return Result(DeviceError());
}

cudaError_t cudaSetDevice(int device) {
  const cudaError_t error = CheckDevice(device);
  if (!error) current_device = device;
  return Result(error);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
  if (const cudaError_t error = CheckDevice(device)) return Result(error);
  *p = {};
  snprintf(p->name, sizeof p->name, "host stand-in");
  p->totalGlobalMem = (size_t)TheSettings().memory;
  p->sharedMemPerBlock = shared_default;
  p->sharedMemPerBlockOptin = shared_most;
  p->sharedMemPerMultiprocessor = shared_most + 1024;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->major = 9;
  p->multiProcessorCount = 2; /* few: launches that fill the device stay short */
  p->maxThreadsPerMultiProcessor = 2048;
  p->l2CacheSize = 50 << 20;
  p->regsPerBlock = 65536;
  p->pciBusID = TheSettings().shared_device ? device + 1 : 16 * Rank() + device + 1;
  p->unifiedAddressing = p->concurrentKernels = 1;
  p->asyncEngineCount = 3;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  switch (attribute) {
  case cudaDevAttrMaxThreadsPerBlock:
    *value = p.maxThreadsPerBlock;
    break;
  case cudaDevAttrMaxSharedMemoryPerBlock:
    *value = (int)p.sharedMemPerBlock;
    break;
  case cudaDevAttrWarpSize:
    *value = p.warpSize;
    break;
  case cudaDevAttrMultiProcessorCount:
    *value = p.multiProcessorCount;
    break;
  case cudaDevAttrConcurrentKernels:
    *value = p.concurrentKernels;
    break;
  case cudaDevAttrL2CacheSize:
    *value = p.l2CacheSize;
    break;
  case cudaDevAttrMaxThreadsPerMultiProcessor:
    *value = p.maxThreadsPerMultiProcessor;
    break;
  case cudaDevAttrUnifiedAddressing:
    *value = p.unifiedAddressing;
    break;
  case cudaDevAttrComputeCapabilityMajor:
    *value = p.major;
    break;
  case cudaDevAttrComputeCapabilityMinor:
    *value = p.minor;
    break;
  case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
    *value = (int)p.sharedMemPerMultiprocessor;
    break;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    *value = (int)p.sharedMemPerBlockOptin;
    break;
  default:
    return Result(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  snprintf(id, (size_t)length, "%04x:%02x:%02x.0", p.pciDomainID, p.pciBusID, p.pciDeviceID);
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

/* ---- kernels ---- */

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  if (const cudaError_t error = DeviceError()) return Result(error);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (value < 0 || (size_t)value > shared_most) return Result(cudaErrorInvalidValue);
  shared_limits[kernel] = (size_t)value;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads,
                                                          size_t shared) {
  if (const cudaError_t error = DeviceError()) return Result(error);
  if (threads <= 0 || threads > 1024) return Result(cudaErrorInvalidValue);
  const int by_threads = 2048 / threads, by_shared = (int)(shared_most / (shared + 1024));
  *blocks = by_threads < by_shared ? by_threads : by_shared;
  return cudaSuccess;
}
