/* NCCL's stand-in: what it computes, that it waits for other ranks only where a device would, and
 * how the end of a rank shows. Arguments: "shared" where all ranks see one device; "hang" and
 * "error" where MFG_STANDIN_DEATH ends rank 1 at its second collective. */
#include "tests/mfg_test.h"
#include "tests/gpu_on_host/standin.h"

#include <cuda_runtime.h>
#include <nccl.h>

#include <unistd.h>

#define CU_OK(call) assert_int_equal((call), cudaSuccess)

static int Rank(void) {
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

static int Size(void) {
  int size;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/* Polls until the communicator is no longer in progress. */
static ncclResult_t Settle(ncclComm_t comm) {
  ncclResult_t error = ncclInProgress;
  while (error == ncclInProgress)
    assert_int_equal(ncclCommGetAsyncError(comm, &error), ncclSuccess);
  return error;
}

static ncclComm_t NewComm(int blocking, ncclResult_t expected) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclUniqueId id;
  ncclComm_t comm;
  config.blocking = blocking;
  if (Rank() == 0) assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
  MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
  ncclResult_t result = ncclCommInitRankConfig(&comm, Size(), id, Rank(), &config);
  if (!blocking) {
    assert_int_equal(result, ncclInProgress);
    result = Settle(comm);
  }
  assert_int_equal(result, expected);
  return comm;
}

static cudaStream_t NewStream(void) {
  cudaStream_t s;
  CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  return s;
}

static int64_t *OnDevice(int count, const int64_t *values) {
  void *d;
  CU_OK(cudaMalloc(&d, (size_t)count * 8));
  CU_OK(cudaMemcpy(d, values, (size_t)count * 8, cudaMemcpyHostToDevice));
  CU_OK(cudaDeviceSynchronize());
  return d;
}

/* A call that is in progress on a communicator that does not block. */
static void Called(ncclComm_t comm, ncclResult_t result) {
  if (result == ncclInProgress) result = Settle(comm);
  assert_int_equal(result, ncclSuccess);
}

/* Sums and maxima of rank + 2^40 i, in place and not. */
static void TestReduce(void **state) {
  (void)state;
  for (int blocking = 0; blocking < 2; blocking++) {
    ncclComm_t comm = NewComm(blocking, ncclSuccess);
    cudaStream_t s = NewStream();
    const int n = Size();
    int64_t x[3], sum[3], max[3];
    for (int i = 0; i < 3; i++) x[i] = Rank() + (INT64_C(1) << 40) * i;
    int64_t *d = OnDevice(3, x), *e = OnDevice(3, x);
    Called(comm, ncclAllReduce(d, e, 3, ncclInt64, ncclMax, comm, s));
    Called(comm, ncclAllReduce(d, d, 3, ncclInt64, ncclSum, comm, s));
    CU_OK(cudaMemcpyAsync(sum, d, sizeof sum, cudaMemcpyDeviceToHost, s));
    CU_OK(cudaMemcpyAsync(max, e, sizeof max, cudaMemcpyDeviceToHost, s));
    for (int i = 0; i < 3; i++) {
      assert_int_equal(sum[i], n * (n - 1) / 2 + n * (INT64_C(1) << 40) * i);
      assert_int_equal(max[i], n - 1 + (INT64_C(1) << 40) * i);
    }
    CU_OK(cudaFree(d));
    CU_OK(cudaFree(e));
    assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
    CU_OK(cudaStreamDestroy(s));
  }
}

/* One step around the ring: a group of a send and a receive, of which the peer may be the rank
 * itself. */
static void Shift(ncclComm_t comm, cudaStream_t s, const int64_t *from, int64_t *to) {
  const int n = Size();
  assert_int_equal(ncclGroupStart(), ncclSuccess);
  assert_int_equal(ncclSend(from, 8, ncclChar, (Rank() + 1) % n, comm, s), ncclSuccess);
  assert_int_equal(ncclRecv(to, 8, ncclChar, (Rank() + n - 1) % n, comm, s), ncclSuccess);
  Called(comm, ncclGroupEnd());
}

/* Around the ring in a graph; replayed it goes twice around. */
static void TestRingInGraph(void **state) {
  (void)state;
  ncclComm_t comm = NewComm(1, ncclSuccess);
  cudaStream_t s = NewStream();
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  const int n = Size();
  const int64_t mine = 10 + Rank();
  int64_t seen, *d = OnDevice(1, &mine), *e = OnDevice(1, &mine);
  Shift(comm, s, d, e); /* peers are connected before a capture */
  CU_OK(cudaStreamSynchronize(s));
  CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  for (int step = 0; step < n; step++) {
    Shift(comm, s, d, e);
    CU_OK(cudaMemcpyAsync(d, e, 8, cudaMemcpyDeviceToDevice, s));
  }
  assert_int_equal(ncclAllReduce(d, e, 1, ncclInt64, ncclSum, comm, s), ncclSuccess);
  CU_OK(cudaStreamEndCapture(s, &graph));
  CU_OK(cudaGraphInstantiate(&exec, graph, 0));
  MFGStandinCountReset();
  for (int replay = 0; replay < 2; replay++) CU_OK(cudaGraphLaunch(exec, s));
  CU_OK(cudaStreamSynchronize(s));
  assert_int_equal(MFGStandinCount().collectives, 2 * (2 * n + 1));
  CU_OK(cudaMemcpy(&seen, d, 8, cudaMemcpyDeviceToHost));
  assert_int_equal(seen, mine);
  CU_OK(cudaMemcpy(&seen, e, 8, cudaMemcpyDeviceToHost));
  assert_int_equal(seen, 10 * n + n * (n - 1) / 2);
  CU_OK(cudaGraphExecDestroy(exec));
  CU_OK(cudaGraphDestroy(graph));
  CU_OK(cudaFree(d));
  CU_OK(cudaFree(e));
  assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
  CU_OK(cudaStreamDestroy(s));
}

/* A device goes on with a collective while its host waits in MPI for a rank that waits for the
 * collective (first), or that has yet to call it (second). */
static void TestHostWaits(void **state) {
  (void)state;
  ncclComm_t comm = NewComm(1, ncclSuccess);
  cudaStream_t s = NewStream();
  const int n = Size(), last = n - 1;
  int64_t one = 1, *d = OnDevice(1, &one), seen;
  int token = 0;
  assert_int_equal(ncclAllReduce(d, d, 1, ncclInt64, ncclSum, comm, s), ncclSuccess);
  if (Rank() == 0) CU_OK(cudaStreamSynchronize(s));
  MPI_Bcast(&token, 1, MPI_INT, 0, MPI_COMM_WORLD);
  if (Rank() == 0 && n > 1)
    MPI_Recv(&token, 1, MPI_INT, last, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  assert_int_equal(ncclAllReduce(d, d, 1, ncclInt64, ncclSum, comm, s), ncclSuccess);
  if (Rank() == last && n > 1) MPI_Send(&token, 1, MPI_INT, 0, 0, MPI_COMM_WORLD);
  MPI_Barrier(MPI_COMM_WORLD);
  CU_OK(cudaStreamSynchronize(s));
  CU_OK(cudaMemcpy(&seen, d, 8, cudaMemcpyDeviceToHost));
  assert_int_equal(seen, n * n);
  CU_OK(cudaFree(d));
  assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
  CU_OK(cudaStreamDestroy(s));
}

/* A communicator of some ranks only, and what is refused. */
static void TestPart(void **state) {
  (void)state;
  ncclComm_t comm;
  ncclUniqueId id;
  const int half = (Size() + 1) / 2, mine = Rank() < half;
  const int root = mine ? 0 : half, part = mine ? half : Size() - half;
  MPI_Comm world;
  MPI_Comm_split(MPI_COMM_WORLD, mine, Rank(), &world);
  if (Rank() == root) assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
  MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, world);
  MPI_Comm_free(&world);
  assert_int_equal(ncclCommInitRank(&comm, part, id, Rank() - root), ncclSuccess);
  cudaStream_t s = NewStream();
  int64_t one = 1, *d = OnDevice(1, &one), seen;
  assert_int_equal(ncclAllReduce(d, d, 1, ncclInt64, ncclSum, comm, s), ncclSuccess);
  assert_int_equal(ncclSend(d, 1, ncclInt64, part, comm, s), ncclInvalidArgument);
  assert_int_equal(ncclSend(&one, 1, ncclInt64, 0, comm, s), ncclInvalidArgument);
  CU_OK(cudaStreamSynchronize(s));
  CU_OK(cudaMemcpy(&seen, d, 8, cudaMemcpyDeviceToHost));
  assert_int_equal(seen, part);
  CU_OK(cudaFree(d));
  assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
  CU_OK(cudaStreamDestroy(s));
}

/* One rank alone has the call in a graph. */
static void TestMixed(void **state) {
  (void)state;
  ncclComm_t comm = NewComm(1, ncclSuccess);
  cudaStream_t s = NewStream();
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  int64_t one = 1, *d = OnDevice(1, &one), *e = OnDevice(1, &one);
  if (Rank() == 0) CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  Shift(comm, s, d, e);
  if (Rank() == 0) {
    CU_OK(cudaStreamEndCapture(s, &graph));
    CU_OK(cudaGraphInstantiate(&exec, graph, 0));
    CU_OK(cudaGraphLaunch(exec, s));
  }
  CU_OK(cudaStreamSynchronize(s));
}

static void TestShared(void **state) {
  (void)state;
  ncclComm_t comm = NewComm(0, Size() > 1 ? ncclInvalidUsage : ncclSuccess);
  assert_int_equal(ncclCommAbort(comm), ncclSuccess);
}

/* What a program does that must not hang: it asks for the end of the work and for errors, and gives
 * up after a while. Returns the error, or ncclInProgress after the time. */
static ncclResult_t WaitAtMost(ncclComm_t comm, cudaStream_t s, double seconds) {
  const double begin = MPI_Wtime();
  ncclResult_t error = ncclSuccess;
  while (cudaStreamQuery(s) == cudaErrorNotReady && !error) {
    assert_int_equal(ncclCommGetAsyncError(comm, &error), ncclSuccess);
    if (MPI_Wtime() - begin > seconds) return ncclInProgress;
  }
  return error;
}

/* Prints what the test looks for; a rank that waits in vain ends all. */
static void TestDeath(void **state) {
  (void)state;
  ncclComm_t comm = NewComm(1, ncclSuccess);
  cudaStream_t s = NewStream();
  int64_t one = 1, *d = OnDevice(1, &one);
  ncclResult_t error = ncclSuccess;
  for (int call = 0; call < 2; call++) {
    assert_int_equal(ncclAllReduce(d, d, 1, ncclInt64, ncclSum, comm, s), ncclSuccess);
    error = WaitAtMost(comm, s, call ? 1 : 60);
    assert_int_equal(error, call ? error : ncclSuccess);
  }
  assert_int_equal(ncclCommAbort(comm), ncclSuccess);
  CU_OK(cudaStreamSynchronize(s));
  CU_OK(cudaFree(d));
  CU_OK(cudaStreamDestroy(s));
  if (Rank() == 0) {
    printf("rank 0: %s\n", error == ncclInProgress ? "no answer" : ncclGetErrorString(error));
    fflush(stdout);
    sleep(1); /* mpiexec drops what it has not read yet */
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest all[] = {cmocka_unit_test(TestReduce), cmocka_unit_test(TestRingInGraph),
                                   cmocka_unit_test(TestHostWaits), cmocka_unit_test(TestPart)};
  const struct CMUnitTest mixed[] = {cmocka_unit_test(TestMixed)};
  const struct CMUnitTest shared[] = {cmocka_unit_test(TestShared)};
  const struct CMUnitTest death[] = {cmocka_unit_test(TestDeath)};
  int failed;

  MPI_Init(&argc, &argv);
  if (argc < 2)
    failed = cmocka_run_group_tests(all, NULL, NULL);
  else if (!strcmp(argv[1], "mixed"))
    failed = cmocka_run_group_tests(mixed, NULL, NULL);
  else if (!strcmp(argv[1], "shared"))
    failed = cmocka_run_group_tests(shared, NULL, NULL);
  else
    failed = cmocka_run_group_tests(death, NULL, NULL);
  if (failed) MPI_Abort(MPI_COMM_WORLD, 1);
  MPI_Finalize();
  return 0;
}
