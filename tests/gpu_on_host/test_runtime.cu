/* What the runtime and the language of kernels promise, at several seeds. */
#include "tests/gpu_on_host/cu_test.h"

#include <stdlib.h>

static const uint64_t seeds[] = {0, 1, 2, 3, 10, 11};
#define FOR_SEEDS                                                                                  \
  for (uint64_t seed : seeds)                                                                      \
    if (MFGStandinSetSeed(seed); true)

/* ---- threads ---- */

/* Each block of 3 x 50 x 2 threads adds the ranks of its threads; a warp of it is not full. */
static __global__ void IndexKernel(unsigned *visits, unsigned long long *sum) {
  __shared__ unsigned here;
  const unsigned rank = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  if (rank == 0) here = 0;
  __syncthreads();
  atomicAdd(&here, rank);
  __syncthreads();
  atomicAdd(&visits[block * 300 + rank], 1u);
  if (rank == 7) atomicAdd(sum, (unsigned long long)here);
}

static void TestIndices(void **) {
  static unsigned visits[24 * 300];
  unsigned long long sum = 0;
  FOR_SEEDS {
    unsigned *v = OnDevice<unsigned>(24 * 300);
    unsigned long long *s = OnDevice<unsigned long long>(1);
    CU_OK(cudaMemset(v, 0, sizeof visits));
    CU_OK(cudaMemset(s, 0, sizeof sum));
    CU_OK(MFGLaunch(IndexKernel, dim3(2, 3, 4), dim3(3, 50, 2), 0, nullptr, v, s));
    FromDevice(visits, v, 24 * 300);
    FromDevice(&sum, s, 1);
    for (unsigned n : visits) assert_int_equal(n, 1);
    assert_int_equal(sum, 24 * 299 * 300 / 2);
    CU_OK(cudaFree(v));
    CU_OK(cudaFree(s));
  }
}

/* A sum over the block in the tree's order, through dynamic shared memory. */
static __global__ void TreeKernel(const double *x, double *sum) {
  MFG_DYNAMIC_SHARED(double, part);
  const unsigned i = threadIdx.x;
  part[i] = x[blockIdx.x * blockDim.x + i];
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (i < half) part[i] += part[i + half];
  }
  if (i == 0) sum[blockIdx.x] = part[0];
}

static void TestTree(void **) {
  double x[512], sum[2], first[2] = {0, 0};
  for (int i = 0; i < 512; i++) x[i] = 1.0 / (1 + i);
  FOR_SEEDS {
    double *d = OnDevice(x, 512), *s = OnDevice<double>(2);
    CU_OK(MFGLaunch(TreeKernel, 2, 256, 256 * sizeof(double), nullptr, d, s));
    FromDevice(sum, s, 2);
    if (seed == 0) memcpy(first, sum, sizeof sum);
    assert_memory_equal(sum, first, sizeof sum);
    assert_true(fabs(sum[0] - 6.124344962817281) < 1e-13); /* harmonic number 256 */
    CU_OK(cudaFree(d));
    CU_OK(cudaFree(s));
  }
}

/* Results of the warp functions of lane l, each at out[which * 64 + thread]. */
static __global__ void WarpKernel(int *out) {
  const int t = (int)threadIdx.x, lane = t % 32, n = (int)blockDim.x;
  int which = 0, sum = t;
  out[which++ * n + t] = __shfl_sync(0xffffffffu, t, 5);
  out[which++ * n + t] = __shfl_sync(0xffffffffu, t, 3, 8);
  out[which++ * n + t] = __shfl_up_sync(0xffffffffu, t, 1);
  out[which++ * n + t] = __shfl_down_sync(0xffffffffu, t, 2, 16);
  out[which++ * n + t] = __shfl_xor_sync(0xffffffffu, t, 4);
  out[which++ * n + t] = (int)__ballot_sync(0xffffffffu, t % 3 == 0);
  out[which++ * n + t] = (int)__match_any_sync(0xffffffffu, lane / 16);
  out[which++ * n + t] = __all_sync(0xffffffffu, t < 40) + 2 * __any_sync(0xffffffffu, t < 40);
  out[which++ * n + t] = __reduce_add_sync(0xffffffffu, t);
  for (int half = 16; half > 0; half /= 2) {
    __syncwarp();
    sum += __shfl_down_sync(0xffffffffu, sum, half);
  }
  out[which++ * n + t] = sum;
  /* Halves of a warp apart. */
  if (lane < 16)
    out[which * n + t] = __reduce_max_sync(0x0000ffffu, t);
  else
    out[which * n + t] = __reduce_min_sync(0xffff0000u, t);
  which++;
  out[which++ * n + t] = __syncthreads_count(t % 5 == 0);
  out[which++ * n + t] = __syncthreads_or(t == 63) + 2 * __syncthreads_and(t < 63);
}

static void TestWarps(void **) {
  enum { cases = 13, n = 64 };
  static int out[cases][n];
  FOR_SEEDS {
    int *d = OnDevice<int>(cases * n);
    CU_OK(MFGLaunch(WarpKernel, 1, n, 0, nullptr, d));
    FromDevice(&out[0][0], d, cases * n);
    CU_OK(cudaFree(d));
    for (int t = 0; t < n; t++) {
      const int warp = t / 32 * 32, lane = t % 32;
      unsigned thirds = 0;
      for (int l = 0; l < 32; l++) thirds |= (unsigned)((warp + l) % 3 == 0) << l;
      assert_int_equal(out[0][t], warp + 5);
      assert_int_equal(out[1][t], t / 8 * 8 + 3);
      assert_int_equal(out[2][t], lane ? t - 1 : t);
      assert_int_equal(out[3][t], lane % 16 < 14 ? t + 2 : t);
      assert_int_equal(out[4][t], t ^ 4);
      assert_int_equal(out[5][t], (int)thirds);
      assert_int_equal(out[6][t], (int)(lane < 16 ? 0x0000ffffu : 0xffff0000u));
      assert_int_equal(out[7][t], warp ? 2 : 3);
      assert_int_equal(out[8][t], 32 * warp + 31 * 16);
      if (lane == 0) assert_int_equal(out[9][t], 32 * warp + 31 * 16);
      assert_int_equal(out[10][t], lane < 16 ? warp + 15 : warp + 16);
      assert_int_equal(out[11][t], 13);
      assert_int_equal(out[12][t], 1);
    }
  }
}

/* A type that another file has by the same name with other members (test_same_name.cu). */
struct SameName {
  int *to;
  int value;
};
cudaError_t LaunchOfOtherFile(int *to);

static __global__ void SameNameKernel(SameName n) {
  *n.to = n.value;
}

static void TestSameName(void **) {
  int *d = OnDevice<int>(2), seen[2];
  CU_OK(MFGLaunch(SameNameKernel, 1, 1, 0, nullptr, SameName{d, 1}));
  CU_OK(LaunchOfOtherFile(d + 1));
  FromDevice(seen, d, 2);
  assert_int_equal(seen[0], 1);
  assert_int_equal(seen[1], 2 + 64);
  CU_OK(cudaFree(d));
}

/* ---- streams, events, graphs ---- */

static __global__ void AddKernel(int n, const int *x, int *y) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] += x[i];
}

static void *Pinned(size_t bytes) {
  void *p;
  CU_OK(cudaMallocHost(&p, bytes));
  return p;
}

/* Two streams joined by events: y = (1 + 1) + 2. */
static void TestEvents(void **) {
  FOR_SEEDS {
    cudaStream_t a, b;
    cudaEvent_t ready, done;
    int *host = (int *)Pinned(100 * sizeof(int)), *x = OnDevice<int>(100), *y = OnDevice<int>(100);
    float ms = -1;
    CU_OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    CU_OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    CU_OK(cudaEventCreate(&ready));
    CU_OK(cudaEventCreate(&done));
    for (int i = 0; i < 100; i++) host[i] = 1;
    CU_OK(cudaMemcpyAsync(x, host, 400, cudaMemcpyHostToDevice, a));
    CU_OK(cudaMemcpyAsync(y, x, 400, cudaMemcpyDeviceToDevice, a));
    CU_OK(MFGLaunch(AddKernel, 2, 64, 0, a, 100, x, y));
    CU_OK(cudaEventRecord(ready, a));
    CU_OK(cudaStreamWaitEvent(b, ready));
    CU_OK(MFGLaunch(AddKernel, 2, 64, 0, b, 100, y, x));
    CU_OK(cudaMemcpyAsync(host, x, 400, cudaMemcpyDeviceToHost, b));
    CU_OK(cudaEventRecord(done, b));
    while (cudaEventQuery(done) == cudaErrorNotReady) {
    }
    for (int i = 0; i < 100; i++) assert_int_equal(host[i], 3);
    CU_OK(cudaEventElapsedTime(&ms, ready, done));
    assert_true(ms >= 0);
    CU_OK(cudaStreamDestroy(a));
    CU_OK(cudaStreamDestroy(b));
    CU_OK(cudaEventDestroy(ready));
    CU_OK(cudaEventDestroy(done));
    CU_OK(cudaFreeHost(host));
    CU_OK(cudaFree(x));
    CU_OK(cudaFree(y));
  }
}

/* A graph of two branches, replayed; then with another addend. */
static void TestGraph(void **) {
  FOR_SEEDS {
    cudaStream_t s, side;
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    const int ones[2] = {1, 10};
    int *x = OnDevice(ones, 2), *y = OnDevice<int>(2), result[2];
    CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    CU_OK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    CU_OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    CU_OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    for (int addend = 0; addend < 2; addend++) {
      CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
      CU_OK(cudaMemsetAsync(y, 0, 8, s));
      CU_OK(cudaEventRecord(fork, s));
      CU_OK(cudaStreamWaitEvent(side, fork, 0));
      CU_OK(MFGLaunch(AddKernel, 1, 32, 0, s, 1, x + addend, y));
      CU_OK(MFGLaunch(AddKernel, 1, 32, 0, side, 1, x + addend, y + 1));
      CU_OK(cudaEventRecord(join, side));
      CU_OK(cudaStreamWaitEvent(s, join, 0));
      CU_OK(MFGLaunch(AddKernel, 1, 32, 0, s, 1, y + 1, y));
      CU_OK(cudaStreamEndCapture(s, &graph));
      if (addend == 0) {
        CU_OK(cudaGraphInstantiate(&exec, graph, 0));
      } else {
        cudaGraphExecUpdateResultInfo info;
        CU_OK(cudaGraphExecUpdate(exec, graph, &info));
      }
      CU_OK(cudaGraphDestroy(graph));
      MFGStandinCountReset();
      for (int i = 0; i < 5; i++) {
        CU_OK(cudaGraphLaunch(exec, s));
        CU_OK(cudaStreamSynchronize(s));
        FromDevice(result, y, 2);
        assert_int_equal(result[0], addend ? 20 : 2);
        assert_int_equal(result[1], addend ? 10 : 1);
      }
      const MFGStandinCounts counts = MFGStandinCount();
      assert_int_equal(counts.graph_launches, 5);
      assert_int_equal(counts.kernels, 15);
      assert_int_equal(counts.memsets, 5);
      assert_int_equal(counts.copies[1][0], 5);
      assert_int_equal(counts.bytes[1][0], 40);
      assert_int_equal(counts.synchronizations, 10);
    }
    CU_OK(cudaGraphExecDestroy(exec));
    CU_OK(cudaEventDestroy(fork));
    CU_OK(cudaEventDestroy(join));
    CU_OK(cudaStreamDestroy(s));
    CU_OK(cudaStreamDestroy(side));
    CU_OK(cudaFree(x));
    CU_OK(cudaFree(y));
  }
}

/* The legacy stream and blocking ones wait for each other; others do not take part. */
static void TestLegacyStream(void **) {
  MFGStandinSetSeed(0);
  cudaStream_t blocking, apart;
  int *host = (int *)Pinned(8), *x = OnDevice<int>(2), result;
  host[0] = host[1] = 5;
  CU_OK(cudaStreamCreate(&blocking));
  CU_OK(cudaStreamCreateWithFlags(&apart, cudaStreamNonBlocking));
  CU_OK(cudaMemset(x, 0, 8));
  CU_OK(cudaMemcpyAsync(x, host, 4, cudaMemcpyHostToDevice, blocking));
  CU_OK(cudaMemcpyAsync(x + 1, host + 1, 4, cudaMemcpyHostToDevice, apart));
  FromDevice(&result, x, 1);
  assert_int_equal(result, 5);
  FromDevice(&result, x + 1, 1);
  assert_int_equal(result, 0);
  CU_OK(cudaDeviceSynchronize());
  FromDevice(&result, x + 1, 1);
  assert_int_equal(result, 5);
  CU_OK(cudaStreamDestroy(blocking));
  CU_OK(cudaStreamDestroy(apart));
  CU_OK(cudaFreeHost(host));
  CU_OK(cudaFree(x));
}

/* Rows of a matrix, both ways; and what kind of memory a pointer is of. */
static void TestCopies(void **) {
  FOR_SEEDS {
    const int rows[3][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
    int *d = OnDevice<int>(6), back[3][2], *pinned = (int *)Pinned(4);
    cudaPointerAttributes a;
    CU_OK(cudaMemcpy2D(d, 8, &rows[0][1], 16, 8, 3, cudaMemcpyHostToDevice));
    CU_OK(cudaMemcpy2D(back, 8, d, 8, 8, 3, cudaMemcpyDefault));
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 2; j++) assert_int_equal(back[i][j], rows[i][j + 1]);
    CU_OK(cudaPointerGetAttributes(&a, d + 1));
    assert_int_equal(a.type, cudaMemoryTypeDevice);
    CU_OK(cudaPointerGetAttributes(&a, pinned));
    assert_int_equal(a.type, cudaMemoryTypeHost);
    CU_OK(cudaPointerGetAttributes(&a, back));
    assert_int_equal(a.type, cudaMemoryTypeUnregistered);
    CU_OK(cudaFree(d));
    CU_OK(cudaFreeHost(pinned));
  }
}

/* ---- what a device refuses ---- */

static void TestRefusals(void **) {
  int *d = OnDevice<int>(10), host[20] = {0}, *more = nullptr;
  cudaStream_t gone;
  MFGStandinSetSeed(0);
  assert_int_equal(MFGLaunch(AddKernel, 1, 1025, 0, nullptr, 0, d, d),
                   cudaErrorInvalidConfiguration);
  assert_int_equal(MFGLaunch(AddKernel, 0, 1, 0, nullptr, 0, d, d), cudaErrorInvalidConfiguration);
  assert_int_equal(MFGLaunch(AddKernel, dim3(1, 65536), 1, 0, nullptr, 0, d, d),
                   cudaErrorInvalidConfiguration);
  assert_int_equal(MFGLaunch(TreeKernel, 1, 1, 49153, nullptr, nullptr, nullptr),
                   cudaErrorInvalidValue);
  assert_int_equal(cudaPeekAtLastError(), cudaErrorInvalidValue);
  assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
  assert_int_equal(cudaGetLastError(), cudaSuccess);
  CU_OK(cudaFuncSetAttribute(TreeKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 << 10));
  assert_int_equal(
      cudaFuncSetAttribute(TreeKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10),
      cudaErrorInvalidValue);
  assert_int_equal(cudaMemcpy(d, host, 44, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  assert_int_equal(cudaMemcpy(d, host, 40, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  assert_int_equal(cudaMemset(host, 0, 40), cudaErrorInvalidValue);
  assert_int_equal(cudaFree(d + 1), cudaErrorInvalidValue);
  assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
  CU_OK(cudaStreamCreate(&gone));
  CU_OK(cudaStreamDestroy(gone));
  assert_int_equal(cudaStreamSynchronize(gone), cudaErrorInvalidResourceHandle);
  size_t available, total;
  MFGStandinSetMemory(1000);
  CU_OK(cudaMemGetInfo(&available, &total));
  assert_int_equal(total, 1000);
  assert_int_equal(available, 960);
  assert_int_equal(cudaMalloc(&more, 961), cudaErrorMemoryAllocation);
  assert_null(more);
  CU_OK(cudaMalloc(&more, 960));
  CU_OK(cudaFree(more));
  CU_OK(cudaFree(d));
  assert_int_equal(MFGStandinMemoryUsed(), 0);
  MFGStandinSetMemory(INT64_C(2) << 30);
}

/* Each call that cannot be captured says so and spoils the capture. */
static void TestCaptureRefusals(void **) {
  int *d = OnDevice<int>(10), host[10] = {0}, *p = nullptr;
  cudaStream_t s, blocking;
  cudaEvent_t e;
  cudaGraph_t graph;
  CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  CU_OK(cudaStreamCreate(&blocking));
  CU_OK(cudaEventCreate(&e));
  for (int call = 0; call < 10; call++) {
    cudaStream_t captured = call == 7 ? blocking : s;
    cudaError_t expected = cudaErrorStreamCaptureUnsupported, got = cudaSuccess;
    CU_OK(cudaStreamBeginCapture(captured, cudaStreamCaptureModeGlobal));
    CU_OK(cudaEventRecord(e, captured));
    switch (call) {
    case 0:
      got = cudaMalloc(&p, 8);
      break;
    case 1:
      got = cudaFree(d);
      break;
    case 2:
      got = cudaStreamSynchronize(s);
      break;
    case 3:
      got = cudaDeviceSynchronize();
      break;
    case 4:
      got = cudaMemcpyAsync(d, host, 40, cudaMemcpyHostToDevice, s);
      break;
    case 5:
      got = cudaMemcpyAsync(host, d, 40, cudaMemcpyDeviceToHost, s);
      break;
    case 6:
      got = cudaMemcpy(d, host, 40, cudaMemcpyHostToDevice);
      break;
    case 7:
      got = MFGLaunch(AddKernel, 1, 1, 0, nullptr, 1, d, d);
      expected = cudaErrorStreamCaptureImplicit;
      break;
    case 8:
      got = cudaEventSynchronize(e);
      expected = cudaErrorCapturedEvent;
      break;
    default:
      got = cudaMallocHost(&p, 8);
    }
    assert_int_equal(got, expected);
    assert_int_equal(cudaStreamEndCapture(captured, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
  }
  /* Work of a stream that joined and does not come back. */
  CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  CU_OK(cudaEventRecord(e, s));
  CU_OK(cudaStreamWaitEvent(blocking, e, 0));
  CU_OK(MFGLaunch(AddKernel, 1, 1, 0, blocking, 1, d, d));
  assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined);
  /* An event of before the capture. */
  CU_OK(cudaEventRecord(e, blocking));
  CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  assert_int_equal(cudaStreamWaitEvent(s, e, 0), cudaErrorStreamCaptureIsolation);
  assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
  CU_OK(cudaStreamSynchronize(s));
  CU_OK(cudaEventDestroy(e));
  CU_OK(cudaStreamDestroy(s));
  CU_OK(cudaStreamDestroy(blocking));
  CU_OK(cudaFree(d));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(TestIndices),      cmocka_unit_test(TestTree),
      cmocka_unit_test(TestWarps),        cmocka_unit_test(TestSameName),
      cmocka_unit_test(TestEvents),       cmocka_unit_test(TestGraph),
      cmocka_unit_test(TestLegacyStream), cmocka_unit_test(TestCopies),
      cmocka_unit_test(TestRefusals),     cmocka_unit_test(TestCaptureRefusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
