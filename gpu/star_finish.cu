/* The last levels of a multigrid cycle in one block of threads, where a launch for each pass would
 * take longer than the pass; and the inverse of the last level's matrix. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/star_pass.h"

#define FINISH_THREADS 512
#define DIRECT MFG_STAR_DIRECT_CELLS

/* Sweeps of a level: a pair from x, or from 0. */
template <int dim>
static __device__ void Pair(const MFGStarStage &s, const StarPlaces &p, const float weight[2],
                            bool from_zero) {
  MFG_FOR_EACH(i, p.owned)
  StarSmooth<dim>(s.level, p, i, weight[0], s.b, from_zero ? NULL : s.x, s.y);
  __syncthreads();
  MFG_FOR_EACH(i, p.owned) StarSmooth<dim>(s.level, p, i, weight[1], s.b, s.y, s.x);
  __syncthreads();
}

template <int dim>
static __device__ void SolveDirectly(const MFGStarStage &s, const double *inverse) {
  const StarPlaces p = StarPlacesOf(&s.level.block);
  const int n = (int)p.owned;
  MFG_FOR_EACH(i, n) {
    int at[MFG_MAX_DIM];
    double sum = 0;
    for (int j = 0; j < n; j++) sum += inverse[i * n + j] * ((double)s.level.d[j] * s.b[j]);
    StarCell(s.level.block, i, at);
    StarStore<dim>(s.level.block, p, at, (float)sum, s.x);
  }
  __syncthreads();
}

/* One block. */
template <int dim> static __global__ void FinishKernel(const MFGStarFinish f) {
  __shared__ MFGStarStage stage[MFG_STAR_FINISH_LEVELS];
  const int words = (int)(f.count * (sizeof *stage / sizeof(int64_t)));
  for (int i = (int)threadIdx.x; i < words; i += (int)blockDim.x)
    ((int64_t *)stage)[i] = ((const int64_t *)f.stage)[i];
  __syncthreads();
  for (int l = 0; l < f.count - 1; l++) {
    const MFGStarStage &s = stage[l], &next = stage[l + 1];
    const StarPlaces p = StarPlacesOf(&s.level.block);
    for (int pair = 0; pair < f.pairs; pair++) Pair<dim>(s, p, f.weight, pair == 0);
    MFG_FOR_EACH(i, MFGBlockOwned(&next.level.block))
    StarRestrict<dim>(s.level, p, s.transfer, next.level, i, s.b, s.x, next.b);
    __syncthreads();
  }
  SolveDirectly<dim>(stage[f.count - 1], f.inverse);
  for (int l = f.count - 2; l >= 0; l--) {
    const MFGStarStage &s = stage[l], &next = stage[l + 1];
    const StarPlaces p = StarPlacesOf(&s.level.block), coarse = StarPlacesOf(&next.level.block);
    MFG_FOR_EACH(i, p.owned)
    StarCorrect<dim>(s.level.block, p, s.transfer, coarse, i, next.x, s.x);
    __syncthreads();
    for (int pair = 0; pair < f.pairs; pair++) Pair<dim>(s, p, f.weight, false);
  }
}

/* One block of cells^2 threads; thread n i + j has the element (i, j) of both matrices. */
static __global__ void InvertKernel(const MFGStarLevel l, double *inverse) {
  __shared__ double matrix[DIRECT * DIRECT], result[DIRECT * DIRECT];
  const int n = (int)MFGBlockOwned(&l.block), thread = (int)threadIdx.x;
  const int i = thread / n, j = thread % n;
  result[thread] = i == j;
  if (thread < n) MFGStarDenseRow(&l, thread, matrix + thread * n);
  __syncthreads();
  for (int p = 0; p < n; p++) {
    const double pivot = 1 / matrix[p * n + p], row = matrix[p * n + j] * pivot;
    const double of_result = result[p * n + j] * pivot;
    const double factor = i != p ? matrix[i * n + p] : 0;
    __syncthreads();
    if (i == p) {
      matrix[thread] = row;
      result[thread] = of_result;
    } else if (factor != 0) {
      if (j >= p) matrix[thread] -= factor * row;
      result[thread] -= factor * of_result;
    }
    __syncthreads();
  }
  inverse[thread] = result[thread];
}

cudaError_t MFGLaunchStarFinish(const MFGStarFinish *job, const MFGDevice *device) {
  return MFGLaunch(MFG_KERNEL_OF_DIM(FinishKernel, job->dim), 1, FINISH_THREADS, 0, device->stream,
                   *job);
}

cudaError_t MFGLaunchStarInvert(const MFGStarLevel *level, double *inverse,
                                const MFGDevice *device) {
  const unsigned cells = (unsigned)MFGBlockOwned(&level->block);
  return MFGLaunch(InvertKernel, 1, cells * cells, 0, device->stream, *level, inverse);
}
