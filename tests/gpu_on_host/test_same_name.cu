/* A type with the name of one in test_runtime.cu. */
#include "gpu/launch.h"

struct SameName {
  int padding[64], value;
  int *to;
};
cudaError_t LaunchOfOtherFile(int *to);

static __global__ void SameNameKernel(SameName n) {
  *n.to = n.value + n.padding[63];
}

cudaError_t LaunchOfOtherFile(int *to) {
  SameName n = {};
  n.padding[63] = 64;
  n.value = 2;
  n.to = to;
  return MFGLaunch(SameNameKernel, 1, 1, 0, nullptr, n);
}
