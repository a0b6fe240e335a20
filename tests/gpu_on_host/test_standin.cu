/* The stand-in runs what a device runs. */
#include "gpu/launch.h"
#include "tests/gpu_on_host/standin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

extern "C" {
#include <cmocka.h>
}

static __global__ void Reverse(int n, double *x) {
  __shared__ double y[256];
  const int i = (int)threadIdx.x;
  y[i] = x[i];
  __syncthreads();
  x[i] = y[n - 1 - i];
}

static void TestReverse(void **) {
  double *d, host[256];
  for (int i = 0; i < 256; i++) host[i] = i;
  assert_int_equal(cudaMalloc(&d, sizeof host), cudaSuccess);
  assert_int_equal(cudaMemcpy(d, host, sizeof host, cudaMemcpyHostToDevice), cudaSuccess);
  assert_int_equal(MFGLaunch(Reverse, 1, 256, 0, nullptr, 256, d), cudaSuccess);
  assert_int_equal(cudaMemcpy(host, d, sizeof host, cudaMemcpyDeviceToHost), cudaSuccess);
  for (int i = 0; i < 256; i++) assert_true(host[i] == 255 - i);
  assert_int_equal(cudaFree(d), cudaSuccess);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestReverse)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
