/* Faults that a device would punish, planted one by one. */
#include "tests/gpu_on_host/faults.h"

static cudaStream_t NewStream() {
  cudaStream_t s;
  CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  return s;
}

static double *NewPinned(double value) {
  double *p;
  CU_OK(cudaMallocHost(&p, sizeof *p));
  *p = value;
  return p;
}

static __global__ void AddKernel(double *x, const double *y) {
  *x += *y;
}

static __global__ void SetKernel(double *x, double value) {
  *x = value;
}

/* ---- in kernels ---- */

static __global__ void ReverseKernel(bool fault, double *x) {
  __shared__ double y[64];
  const unsigned i = threadIdx.x;
  y[i] = x[i];
  if (!fault) __syncthreads();
  x[i] = y[63 - i];
}

static void MissingBarrier(bool fault) {
  double x[64];
  for (int i = 0; i < 64; i++) x[i] = i;
  double *d = OnDevice(x, 64);
  CU_OK(MFGLaunch(ReverseKernel, 1, 64, 0, nullptr, fault, d));
  FromDevice(x, d, 64);
  CU_OK(cudaFree(d));
  for (int i = 0; i < 64; i++) Expect(x[i], 63 - i);
}

/* Shared memory keeps nothing from one block to the next. */
static __global__ void CarryKernel(bool fault, double *x) {
  __shared__ double y;
  if (!fault || blockIdx.x == 0) y = 1;
  x[blockIdx.x] = y;
}

static void SharedOfAnotherBlock(bool fault) {
  double x[8], *d = OnDevice<double>(8);
  CU_OK(MFGLaunch(CarryKernel, 8, 1, 0, nullptr, fault, d));
  FromDevice(x, d, 8);
  CU_OK(cudaFree(d));
  for (double value : x) Expect(value, 1);
}

static __global__ void SomeKernel(bool fault) {
  if (!fault || threadIdx.x < 40) __syncthreads();
}

static void BarrierOfSome(bool fault) {
  CU_OK(MFGLaunch(SomeKernel, 1, 64, 0, nullptr, fault));
  CU_OK(cudaDeviceSynchronize());
}

static __global__ void TwoKernel(bool fault) {
  if (!fault || threadIdx.x < 40)
    __syncthreads();
  else
    __syncthreads();
}

static void TwoBarriers(bool fault) {
  CU_OK(MFGLaunch(TwoKernel, 1, 64, 0, nullptr, fault));
  CU_OK(cudaDeviceSynchronize());
}

static __global__ void LaneKernel(bool fault, int *sum) {
  if (fault && threadIdx.x == 3) return;
  *sum = __reduce_add_sync(0xffffffffu, 1);
}

static void MissingLane(bool fault) {
  int *d = OnDevice<int>(1), sum;
  CU_OK(MFGLaunch(LaneKernel, 1, 32, 0, nullptr, fault, d));
  FromDevice(&sum, d, 1);
  CU_OK(cudaFree(d));
  Expect(sum, 32);
}

static __global__ void BeyondKernel(bool fault, float *x) {
  x[threadIdx.x + fault] = 1;
}

static void BeyondTheEnd(bool fault) {
  float *d = OnDevice<float>(32);
  CU_OK(MFGLaunch(BeyondKernel, 1, 32, 0, nullptr, fault, d));
  CU_OK(cudaDeviceSynchronize());
  CU_OK(cudaFree(d));
}

static __global__ void SumKernel(bool fault, double *sum, unsigned long long *exact) {
  const double x = 1.0 / (1 + threadIdx.x);
  if (fault)
    atomicAdd(sum, x);
  else
    atomicAdd(exact, (unsigned long long)(x * 0x1p50));
}

/* A sum of doubles depends on the order of its terms, one of integers does not. */
static void OrderOfSum(bool fault) {
  double first = 0;
  for (uint64_t seed = 0; seed < 8; seed++) {
    double sum, *s = OnDevice<double>(1);
    unsigned long long exact, *e = OnDevice<unsigned long long>(1);
    MFGStandinSetSeed(seed);
    CU_OK(cudaMemset(s, 0, 8));
    CU_OK(cudaMemset(e, 0, 8));
    CU_OK(MFGLaunch(SumKernel, 1, 256, 0, nullptr, fault, s, e));
    FromDevice(&sum, s, 1);
    FromDevice(&exact, e, 1);
    CU_OK(cudaFree(s));
    CU_OK(cudaFree(e));
    sum += (double)exact * 0x1p-50;
    if (seed == 0) first = sum;
    if (sum != first) {
      fprintf(stderr, "seed %d gives %.17g, seed 0 %.17g\n", (int)seed, sum, first);
      exit(2);
    }
  }
}

/* ---- memory ---- */

static void HostReads(bool fault) {
  double *d = OnDevice<double>(1), x;
  CU_OK(cudaMemset(d, 0, 8));
  CU_OK(cudaDeviceSynchronize());
  if (fault)
    x = *(volatile double *)d;
  else
    FromDevice(&x, d, 1);
  Expect(x, 0);
  CU_OK(cudaFree(d));
}

static void KernelReadsHost(bool fault) {
  double one = 1, *x = OnDevice(&one, 1), *y = OnDevice(&one, 1);
  CU_OK(MFGLaunch(AddKernel, 1, 1, 0, nullptr, x, fault ? &one : y));
  CU_OK(cudaDeviceSynchronize());
  CU_OK(cudaFree(x));
  CU_OK(cudaFree(y));
}

static void Uninitialised(bool fault) {
  double one = 1, *x = OnDevice<double>(1), *y = OnDevice(&one, 1), sum;
  if (!fault) CU_OK(cudaMemset(x, 0, 8));
  CU_OK(MFGLaunch(AddKernel, 1, 1, 0, nullptr, x, y));
  FromDevice(&sum, x, 1);
  CU_OK(cudaFree(x));
  CU_OK(cudaFree(y));
  Expect(sum, 1);
}

static void Leak(bool fault) {
  double *d = OnDevice<double>(3);
  if (!fault) CU_OK(cudaFree(d));
}

static void LeakOfStream(bool fault) {
  cudaStream_t s = NewStream();
  if (!fault) CU_OK(cudaStreamDestroy(s));
}

static void UseAfterFree(bool fault) {
  double *d = OnDevice<double>(1);
  cudaStream_t s = NewStream();
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  CU_OK(MFGLaunch(SetKernel, 1, 1, 0, s, d, 1.));
  CU_OK(cudaStreamEndCapture(s, &graph));
  CU_OK(cudaGraphInstantiate(&exec, graph, 0));
  if (fault) CU_OK(cudaFree(d));
  CU_OK(cudaGraphLaunch(exec, s));
  CU_OK(cudaStreamSynchronize(s));
  if (!fault) CU_OK(cudaFree(d));
  CU_OK(cudaGraphDestroy(graph));
  CU_OK(cudaGraphExecDestroy(exec));
  CU_OK(cudaStreamDestroy(s));
}

static void DoubleFree(bool fault) {
  double *d = OnDevice<double>(1);
  CU_OK(cudaFree(d));
  if (fault) cudaFree(d);
}

/* ---- streams ---- */

static void MissingSynchronisation(bool fault) {
  cudaStream_t s = NewStream();
  double *d = OnDevice<double>(1), *host = NewPinned(0);
  CU_OK(MFGLaunch(SetKernel, 1, 1, 0, s, d, 7.));
  CU_OK(cudaMemcpyAsync(host, d, 8, cudaMemcpyDeviceToHost, s));
  if (!fault) CU_OK(cudaStreamSynchronize(s));
  const double seen = *host;
  CU_OK(cudaStreamDestroy(s));
  CU_OK(cudaFree(d));
  CU_OK(cudaFreeHost(host));
  Expect(seen, 7);
}

static void MissingEvent(bool fault) {
  cudaStream_t s = NewStream(), t = NewStream();
  cudaEvent_t e;
  double zero = 0, *x = OnDevice(&zero, 1), *y = OnDevice(&zero, 1), sum;
  CU_OK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
  CU_OK(MFGLaunch(SetKernel, 1, 1, 0, s, y, 7.));
  CU_OK(cudaEventRecord(e, s));
  if (!fault) CU_OK(cudaStreamWaitEvent(t, e, 0));
  CU_OK(MFGLaunch(AddKernel, 1, 1, 0, t, x, y));
  CU_OK(cudaStreamSynchronize(t));
  FromDevice(&sum, x, 1);
  CU_OK(cudaStreamDestroy(s));
  CU_OK(cudaStreamDestroy(t));
  CU_OK(cudaEventDestroy(e));
  CU_OK(cudaFree(x));
  CU_OK(cudaFree(y));
  Expect(sum, 7);
}

/* The copy reads pinned memory after the host has gone on to the next value. */
static void BufferReused(bool fault) {
  cudaStream_t s = NewStream();
  double *d = OnDevice<double>(1), *host = NewPinned(7), seen;
  CU_OK(cudaMemcpyAsync(d, host, 8, cudaMemcpyHostToDevice, s));
  if (!fault) CU_OK(cudaStreamSynchronize(s));
  *host = 8;
  CU_OK(cudaStreamSynchronize(s));
  FromDevice(&seen, d, 1);
  CU_OK(cudaStreamDestroy(s));
  CU_OK(cudaFree(d));
  CU_OK(cudaFreeHost(host));
  Expect(seen, 7);
}

/* The copy may run at once: what is written to its source later comes too late. */
static void BufferFilledLate(bool fault) {
  MFGStandinSetSeed(1);
  cudaStream_t s = NewStream();
  double *d = OnDevice<double>(1), *host = NewPinned(fault ? 0 : 7), seen;
  CU_OK(cudaMemcpyAsync(d, host, 8, cudaMemcpyHostToDevice, s));
  *host = 7;
  CU_OK(cudaStreamSynchronize(s));
  FromDevice(&seen, d, 1);
  CU_OK(cudaStreamDestroy(s));
  CU_OK(cudaFree(d));
  CU_OK(cudaFreeHost(host));
  Expect(seen, 7);
}

static void CopyInSweep(bool fault) {
  double zero = 0, one = 1, *x = OnDevice(&zero, 1), *y = OnDevice(&one, 1), seen;
  MFGStandinCountReset();
  for (int i = 0; i < 10; i++) {
    CU_OK(MFGLaunch(AddKernel, 1, 1, 0, nullptr, x, y));
    if (fault && i == 5) FromDevice(&seen, x, 1);
  }
  const MFGStandinCounts c = MFGStandinCount();
  CU_OK(cudaFree(x));
  CU_OK(cudaFree(y));
  Expect((double)(c.copies[0][1] + c.copies[1][0]), 0);
}

/* A graph of two branches without an edge between them where one is needed. */
static void MissingEdge(bool fault) {
  for (uint64_t seed = 0; seed < 16; seed++) {
    MFGStandinSetSeed(seed);
    cudaStream_t s = NewStream(), t = NewStream();
    cudaEvent_t fork, done;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    double zero = 0, *x = OnDevice(&zero, 1), *y = OnDevice(&zero, 1), sum;
    CU_OK(cudaEventCreate(&fork));
    CU_OK(cudaEventCreate(&done));
    CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    CU_OK(cudaEventRecord(fork, s));
    CU_OK(cudaStreamWaitEvent(t, fork, 0));
    CU_OK(MFGLaunch(SetKernel, 1, 1, 0, t, y, 7.));
    CU_OK(cudaEventRecord(done, t));
    if (!fault) CU_OK(cudaStreamWaitEvent(s, done, 0));
    CU_OK(MFGLaunch(AddKernel, 1, 1, 0, s, x, y));
    CU_OK(cudaStreamWaitEvent(s, done, 0));
    CU_OK(cudaStreamEndCapture(s, &graph));
    CU_OK(cudaGraphInstantiate(&exec, graph, 0));
    CU_OK(cudaGraphLaunch(exec, s));
    CU_OK(cudaStreamSynchronize(s));
    FromDevice(&sum, x, 1);
    CU_OK(cudaGraphDestroy(graph));
    CU_OK(cudaGraphExecDestroy(exec));
    CU_OK(cudaStreamDestroy(s));
    CU_OK(cudaStreamDestroy(t));
    CU_OK(cudaEventDestroy(fork));
    CU_OK(cudaEventDestroy(done));
    CU_OK(cudaFree(x));
    CU_OK(cudaFree(y));
    Expect(sum, 7);
  }
}

static const Fault faults[] = {
    {"missing barrier", MissingBarrier, "got -nan, expected"},
    {"shared memory of another block", SharedOfAnotherBlock, "got -nan, expected"},
    {"barrier of some threads", BarrierOfSome, "not all at the same barrier"},
    {"two barriers", TwoBarriers, "not all at the same barrier"},
    {"missing lane", MissingLane, "lanes of a warp wait for others"},
    {"beyond the end", BeyondTheEnd, "was written at byte 128 of an allocation of 128 bytes",
     "use-after-poison"},
    {"order of a sum", OrderOfSum, "seed 0"},
    {"host reads device memory", HostReads, "the host touches device memory"},
    {"kernel reads host memory", KernelReadsHost, "an address of the host's memory"},
    {"uninitialised read", Uninitialised, "got -nan, expected 1"},
    {"leak", Leak, "1 allocations of the device, 24 bytes, were never freed"},
    {"leak of a stream", LeakOfStream, "were never destroyed"},
    {"use after free", UseAfterFree, "that was freed", "use-after-poison"},
    {"double free", DoubleFree, "is freed twice"},
    {"missing synchronisation", MissingSynchronisation, "got 0, expected 7"},
    {"missing event", MissingEvent, "got 0, expected 7"},
    {"buffer reused", BufferReused, "got 8, expected 7"},
    {"buffer filled late", BufferFilledLate, "got 0, expected 7"},
    {"copy inside the sweep", CopyInSweep, "got 1, expected 0"},
    {"missing edge of a graph", MissingEdge, "got 0, expected 7"},
};

static void TestFaults(void **) {
  for (const Fault &f : faults) RunFault(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestFaults)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
