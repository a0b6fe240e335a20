/* cmocka for .cu files, which know no PETSc. */
#pragma once

#include "gpu/launch.h"
#include "tests/gpu_on_host/standin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

extern "C" {
#include <cmocka.h>
}

#define CU_OK(call) assert_int_equal((call), cudaSuccess)

/* An array on the device. */
template <class T> T *OnDevice(size_t count) {
  T *d;
  CU_OK(cudaMalloc(&d, count * sizeof(T)));
  return d;
}

template <class T> T *OnDevice(const T *values, size_t count) {
  T *d = OnDevice<T>(count);
  CU_OK(cudaMemcpy(d, values, count * sizeof(T), cudaMemcpyHostToDevice));
  /* From pageable memory the call may return before the copy has arrived. */
  CU_OK(cudaDeviceSynchronize());
  return d;
}

template <class T> void FromDevice(T *values, const T *d, size_t count) {
  CU_OK(cudaMemcpy(values, d, count * sizeof(T), cudaMemcpyDeviceToHost));
}
