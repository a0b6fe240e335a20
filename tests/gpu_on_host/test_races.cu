/* Races of threads that the order in which the stand-in runs them hides, planted one by one.
 * Compiled so that accesses are watched (races.cpp). */
#include "tests/gpu_on_host/faults.h"

static __global__ void ZeroKernel(int n, unsigned *x) {
  for (unsigned i = threadIdx.x; i < (unsigned)n; i += blockDim.x) x[i] = 0;
}

static unsigned *Zeros(int n) {
  unsigned *d = OnDevice<unsigned>((size_t)n);
  CU_OK(MFGLaunch(ZeroKernel, 1, 64, 0, nullptr, n, d));
  return d;
}

static void Run(void (*kernel)(bool, unsigned *), bool fault, int blocks, int threads,
                unsigned expected) {
  unsigned *d = Zeros(256), x;
  CU_OK(MFGLaunch(kernel, blocks, threads, 64, nullptr, fault, d));
  FromDevice(&x, d, 1);
  CU_OK(cudaFree(d));
  Expect(x, expected);
}

static __global__ void CountKernel(bool fault, unsigned *x) {
  if (fault)
    x[0] += 1;
  else
    atomicAdd(&x[0], 1u);
}
static void MissingAtomic(bool fault) {
  Run(CountKernel, fault, 1, 2, 2);
}
static void MissingAtomicOfBlocks(bool fault) {
  Run(CountKernel, fault, 2, 1, 2);
}

static __global__ void SharedCountKernel(bool fault, unsigned *x) {
  __shared__ unsigned sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if (fault)
    sum += 1;
  else
    atomicAdd(&sum, 1u);
  __syncthreads();
  if (threadIdx.x == 0) x[0] = sum;
}
static void MissingSharedAtomic(bool fault) {
  Run(SharedCountKernel, fault, 1, 100, 100);
}

/* The result is the same in any order: all write 1, or one reads what it wrote itself. */
static __global__ void SameValueKernel(bool fault, unsigned *x) {
  if (fault)
    x[0] = 1;
  else
    *(volatile unsigned *)x = 1;
}
static void SameValue(bool fault) {
  Run(SameValueKernel, fault, 3, 32, 1);
}

/* The second round overwrites what the first one may still read. */
static __global__ void RoundsKernel(bool fault, unsigned *x) {
  MFG_DYNAMIC_SHARED(unsigned, part);
  unsigned sum = 0;
  for (unsigned round = 0; round < 2; round++) {
    if (threadIdx.x < 16) part[threadIdx.x] = round;
    __syncthreads();
    sum += part[threadIdx.x % 16];
    if (!fault) __syncthreads();
  }
  if (threadIdx.x == 0) x[0] = sum;
}
static void MissingSecondBarrier(bool fault) {
  Run(RoundsKernel, fault, 1, 64, 1);
}

/* Lanes pass values through shared memory. */
static __global__ void LanesKernel(bool fault, unsigned *x) {
  __shared__ unsigned part[32];
  part[threadIdx.x] = threadIdx.x;
  if (!fault) __syncwarp();
  atomicAdd(x, part[31 - threadIdx.x] < 32 ? 1u : 0u);
}
static void MissingWarpBarrier(bool fault) {
  Run(LanesKernel, fault, 1, 32, 32);
}

/* A block reads what another one of the same launch writes. */
static __global__ void NeighbourKernel(bool fault, unsigned *x) {
  x[blockIdx.x] = 7;
  x[100 + blockIdx.x] = x[fault && blockIdx.x ? blockIdx.x - 1 : blockIdx.x];
}
static void OtherBlock(bool fault) {
  Run(NeighbourKernel, fault, 2, 1, 7);
}

/* Bytes of one word side by side are no race. */
static __global__ void BytesKernel(bool fault, unsigned *x) {
  unsigned char *byte = (unsigned char *)x;
  byte[fault ? 0 : threadIdx.x] = 1;
}
static void SameByte(bool fault) {
  Run(BytesKernel, fault, 1, 4, 0x01010101u);
}

static const Fault faults[] = {
    {"missing atomic", MissingAtomic, "a race: thread"},
    {"missing atomic of blocks", MissingAtomicOfBlocks, "of block 1"},
    {"missing atomic on shared memory", MissingSharedAtomic, "the shared memory that thread"},
    {"same value", SameValue, "writes"},
    {"missing second barrier", MissingSecondBarrier, "a race: thread"},
    {"missing barrier of a warp", MissingWarpBarrier, "a race: thread"},
    {"value of another block", OtherBlock, "nothing orders the two"},
    {"same byte", SameByte, "the device memory that thread"},
};

static void TestRaces(void **) {
  for (const Fault &f : faults) RunFault(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestRaces)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
