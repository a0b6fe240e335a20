/* Sort of agents by cell: a radix sort of their places, eight bits of the cell at a time from the
 * lowest on, each pass stable; then column after column through the scratch column. All kernels but
 * the first two leave at once where the agents are in order already: the host need not know. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/prefix_sum.h"
#include "gpu/threads.h"

#define BITS 8
#define DIGITS (1 << BITS)
#define WARP 32
#define WARPS (MFG_THREADS / WARP)
#define ALL_LANES 0xffffffffu
/* Agents that a block puts in place: each warp a part in a row. */
#define SECTION (MFG_THREADS * 64)

typedef struct {
  MFGBlock domain;
  MFGAxis axis[MFG_MAX_DIM];
  MFGAgentRange agents;
} Agents;

static int64_t Sections(int64_t n) {
  return (n + SECTION - 1) / SECTION;
}

static __device__ int64_t CountOf(const MFGAgentRange &a) {
  return MFGEndAgent(a) - MFGFirstAgent(a);
}

/* Cells of the box, x fastest; agents are counted from the first that is there. */
static __global__ void CellsKernel(const Agents a, uint32_t *cell) {
  const int64_t start = MFGFirstAgent(a.agents);
  MFG_FOR_EACH(i, CountOf(a.agents)) {
    uint32_t at = 0;
#pragma unroll
    for (int k = MFG_MAX_DIM - 1; k >= 0; k--) {
      if (k >= a.domain.dim) continue;
      double t;
      const int c =
          MFGCellOf(&a.axis[k], MFGAgentPosition(&a.agents, &a.axis[k], k, start + i), &t);
      at = at * a.domain.count[k] + MFGNearestIndex(c - a.domain.start[k], a.domain.count[k]);
    }
    cell[i] = at;
  }
}

/* *descents is not 0 where the agents are not in order. */
static __global__ void DescentsKernel(const MFGAgentRange agents, const uint32_t *cell,
                                      uint32_t *descents) {
  MFG_FOR_EACH(i, CountOf(agents) - 1) {
    if (cell[i] > cell[i + 1]) atomicOr(descents, 1u);
  }
}

/* Place i of the order before the pass: from == NULL is that of the agents. */
static __device__ uint32_t PlaceBefore(const uint32_t *from, int64_t i) {
  return from ? from[i] : (uint32_t)i;
}

/* counts[digit][section] */
static __global__ void CountDigitsKernel(const uint32_t *descents, const MFGAgentRange agents,
                                         const uint32_t *cell, const uint32_t *from, int shift,
                                         uint32_t *counts) {
  __shared__ uint32_t count[DIGITS];
  if (!*descents) return;
  const int64_t first = (int64_t)blockIdx.x * SECTION, n = CountOf(agents);
  count[threadIdx.x] = 0;
  __syncthreads();
  for (int64_t i = first + threadIdx.x; i < first + SECTION && i < n; i += MFG_THREADS)
    atomicAdd(&count[cell[PlaceBefore(from, i)] >> shift & (DIGITS - 1)], 1u);
  __syncthreads();
  counts[threadIdx.x * gridDim.x + blockIdx.x] = count[threadIdx.x];
}

/* Lanes whose digit is that of this one. */
static __device__ uint32_t SameDigit(uint32_t digit) {
  uint32_t lanes = ALL_LANES;
  for (int b = 0; b < BITS; b++) {
    const uint32_t set = __ballot_sync(ALL_LANES, digit >> b & 1);
    lanes &= digit >> b & 1 ? set : ~set;
  }
  return lanes;
}

/* starts[digit][section]: where the agents of a section with that digit go. A warp goes through its
 * part of the section in order, 32 places at a time; place[warp][digit] is where its next one
 * goes. */
static __global__ void PlaceDigitsKernel(const uint32_t *descents, const MFGAgentRange agents,
                                         const uint32_t *cell, const uint32_t *from, int shift,
                                         const uint32_t *starts, uint32_t *to) {
  __shared__ uint32_t place[WARPS][DIGITS];
  if (!*descents) return;
  const int64_t n = CountOf(agents);
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, part = SECTION / WARPS;
  const int64_t first = (int64_t)blockIdx.x * SECTION + (int64_t)warp * part;

  for (int w = 0; w < WARPS; w++) place[w][threadIdx.x] = 0;
  __syncthreads();
  for (int64_t i = first + lane; i < first + part && i < n; i += WARP)
    atomicAdd(&place[warp][cell[PlaceBefore(from, i)] >> shift & (DIGITS - 1)], 1u);
  __syncthreads();
  uint32_t next = starts[threadIdx.x * gridDim.x + blockIdx.x];
  for (int w = 0; w < WARPS; w++) {
    const uint32_t count = place[w][threadIdx.x];
    place[w][threadIdx.x] = next;
    next += count;
  }
  __syncthreads();
  for (int64_t begin = first; begin < first + part && begin < n; begin += WARP) {
    const int64_t i = begin + lane;
    const uint32_t agent = i < n ? PlaceBefore(from, i) : 0;
    const uint32_t digit = i < n ? cell[agent] >> shift & (DIGITS - 1) : 0;
    const uint32_t valid = __ballot_sync(ALL_LANES, i < n), same = SameDigit(digit) & valid;
    if (i < n) to[place[warp][digit] + __popc(same & ((1u << lane) - 1))] = agent;
    __syncwarp();
    if (i < n && !(same & ((1u << lane) - 1))) place[warp][digit] += __popc(same);
    __syncwarp();
  }
}

template <typename T>
static __global__ void GatherKernel(const uint32_t *descents, const MFGAgentRange agents,
                                    const uint32_t *place, const T *column, T *scratch) {
  if (!*descents) return;
  column += MFGFirstAgent(agents);
  MFG_FOR_EACH(i, CountOf(agents)) scratch[i] = column[place[i]];
}

/* Back to the column, from its first agent on that is there. */
template <typename T>
static __global__ void ReturnKernel(const uint32_t *descents, const MFGAgentRange agents,
                                    const T *scratch, T *column) {
  if (!*descents) return;
  column += MFGFirstAgent(agents);
  MFG_FOR_EACH(i, CountOf(agents)) column[i] = scratch[i];
}

static __global__ void CopyKernel(const uint32_t *descents, const MFGAgentRange agents,
                                  const uint32_t *from, uint32_t *to) {
  if (!*descents) return;
  MFG_FOR_EACH(i, CountOf(agents)) to[i] = from[i];
}

/* What device->work holds: the flag, then counts and what their sums need. */
int64_t MFGSortWork(const MFGSort *job) {
  const int64_t counts = Sections(job->agents.count) * DIGITS;
  return 4 * (1 + counts + 1 + MFGPrefixSumWork(counts));
}

/* One pass over the digit at `shift`. */
static cudaError_t Pass(const MFGSort *job, const uint32_t *from, int shift, uint32_t *to,
                        const MFGDevice *device) {
  const unsigned sections = (unsigned)Sections(job->agents.count);
  uint32_t *descents = (uint32_t *)device->work, *counts = descents + 1;
  const int64_t all = (int64_t)sections * DIGITS;
  cudaError_t error = MFGLaunch(CountDigitsKernel, sections, DIGITS, 0, device->stream, descents,
                                job->agents, job->place, from, shift, counts);
  if (!error) error = MFGLaunchPrefixSum(all, counts, counts + all + 1, device);
  if (!error)
    error = MFGLaunch(PlaceDigitsKernel, sections, MFG_THREADS, 0, device->stream, descents,
                      job->agents, job->place, from, shift, counts, to);
  return error;
}

/* A column into the order of job->place, through the scratch column. */
template <typename T>
static cudaError_t Move(const MFGSort *job, T *column, const MFGDevice *device) {
  const unsigned blocks = MFGBlocksFor(device, job->agents.count, MFG_THREADS);
  const uint32_t *descents = (const uint32_t *)device->work;
  const cudaError_t error = MFGLaunch(GatherKernel<T>, blocks, MFG_THREADS, 0, device->stream,
                                      descents, job->agents, job->place, column, (T *)job->column);
  if (error) return error;
  return MFGLaunch(ReturnKernel<T>, blocks, MFG_THREADS, 0, device->stream, descents, job->agents,
                   (const T *)job->column, column);
}

cudaError_t MFGLaunchSort(const MFGSort *job, const MFGDevice *device) {
  const int64_t n = job->agents.count, cells = MFGBlockOwned(&job->domain);
  const unsigned blocks = MFGBlocksFor(device, n, MFG_THREADS);
  uint32_t *descents = (uint32_t *)device->work, *half[2], *from = NULL;
  Agents a = {};
  if (n < 2) return cudaSuccess;
  a.domain = job->domain;
  a.agents = job->agents;
  for (int k = 0; k < MFG_MAX_DIM; k++) a.axis[k] = MFGAxisOf(&job->domain, k);
  half[0] = (uint32_t *)job->column;
  half[1] = half[0] + n;

  cudaError_t error = MFGLaunch(CellsKernel, blocks, MFG_THREADS, 0, device->stream, a, job->place);
  if (!error) error = cudaMemsetAsync(descents, 0, sizeof *descents, device->stream);
  if (!error)
    error = MFGLaunch(DescentsKernel, blocks, MFG_THREADS, 0, device->stream, job->agents,
                      job->place, descents);
  for (int shift = 0, pass = 0; !error && (shift == 0 || (cells - 1) >> shift); shift += BITS) {
    uint32_t *to = half[pass++ % 2];
    error = Pass(job, from, shift, to, device);
    from = to;
  }
  /* The cells are not needed any more, the scratch column is. */
  if (!error)
    error = MFGLaunch(CopyKernel, blocks, MFG_THREADS, 0, device->stream, descents, job->agents,
                      from, job->place);
  for (int k = 0; k < job->domain.dim && !error; k++)
    error = job->agents.offset[k] ? Move(job, job->agents.offset[k], device)
                                  : Move(job, job->agents.position[k], device);
  return error ? error : Move(job, job->agents.id, device);
}
