/* Agents at t = 0. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

typedef struct {
  MFGAxis axis[MFG_MAX_DIM];
} Axes;

template <int dim> static __global__ void SampleKernel(const MFGSample job, const Axes axes) {
  const MFGBlock &b = job.domain;
  const int64_t cells = MFGBlockCells(&b);
  MFG_FOR_EACH(i, job.agents.count) {
    double fraction[MFG_MAX_DIM] = {0, 0, 0};
    int64_t cell = MFGSampleCell(dim, job.key.seed, job.stratified, MFGAgentId(&job.agents, i),
                                 job.total, job.cumulative, cells, fraction);
#pragma unroll
    for (int k = 0; k < dim; k++) {
      const int c = (int)(cell % b.cells[k]);
      cell /= b.cells[k];
      MFGAgentMoveTo(&job.agents, &axes.axis[k], k, i,
                     b.lower[k] + (c + MFGInsideCell(fraction[k])) * b.spacing[k]);
    }
  }
}

cudaError_t MFGLaunchSample(const MFGSample *job, const MFGDevice *device) {
  const unsigned blocks = MFGBlocksFor(device, job->agents.count, MFG_THREADS);
  Axes axes;
  if (!job->agents.count) return cudaSuccess;
  for (int k = 0; k < MFG_MAX_DIM; k++) axes.axis[k] = MFGAxisOf(&job->domain, k);
  return MFGLaunch(MFG_KERNEL_OF_DIM(SampleKernel, job->domain.dim), blocks, MFG_THREADS, 0,
                   device->stream, *job, axes);
}
