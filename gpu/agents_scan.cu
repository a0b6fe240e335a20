/* Agents through the levels: a thread carries its agent in registers, adding its moments as it
 * goes.
 *
 * Where all boxes of the moments fit into shared memory, and agents are not too few to empty it,
 * moments are added there for as many levels as fit, as two words each (the only native addition
 * there is that of 32-bit integers; it returns the old word, which tells the carry), and from there
 * to the field. Else lists of the agents of each box are made and added up (agents_lists.cu), or
 * where there are few agents to a box moments are added to the field at once. Integer sums: the
 * bits do not depend on any of this. */
#include "gpu/agents_lists.h"
#include "gpu/agents_step.h"
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/prefix_sum.h"

/* Most threads of a block: as many as the registers of a multiprocessor serve. */
#define THREADS(dim) ((dim) == 1 ? 768 : (dim) == 2 ? 640 : 512)
/* Words of 32 agents that one block counts and lists. */
#define LIST_WORDS 1024

/* All boxes, in shared memory. */
typedef struct {
  int levels; /* 0: none */
  int pitch;  /* words of a box: odd, so that one term's are in all banks */
  int size;   /* words: low ones, and as many high ones */
} Window;

/* Where the moments of an agent's box are. */
struct SharedPlace {
  uint32_t *low, *high;
  __device__ void Add(int j, uint64_t value) const {
    const uint32_t word = (uint32_t)value, before = atomicAdd(&low[j], word);
    const uint32_t upper = (uint32_t)(value >> 32) + (before + word < before);
    if (upper) atomicAdd(&high[j], upper);
  }
};
struct GlobalPlace {
  unsigned long long *moments;
  __device__ void Add(int j, uint64_t value) const { atomicAdd(&moments[j], value); }
};

/* All terms of an agent at t in its box. Eight powers of the first t are in registers; those of
 * longer rows come from them by the factors t^8 and t^16 (MFGMomentPower). */
template <int dim, typename Place>
__device__ void AddTerms(const MFGSweep &s, const double t[], const Place place) {
  const double t2 = t[0] * t[0], t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
  double power[8];
#pragma unroll
  for (int k = 0; k < 8; k++) power[k] = MFGMomentPower(t[0], k);
  int j = 0;
  for (int m = 0; m < (dim > 2 ? s.order : 1); m++) {
    const double z = dim > 2 ? MFGMomentPower(t[dim - 1], m) * s.scale : 1;
    for (int l = 0; l < (dim > 1 ? s.order - m : 1); l++) {
      const double y = dim > 1 ? MFGMomentPower(t[1], l) * (dim > 2 ? 1 : s.scale) : s.scale;
      const int length = s.order - m - l;
      for (int first = 0; first < length; first += 8, j += 8) {
        const double a = first & 8 ? t8 : 1, b = first & 16 ? t16 : 1;
#pragma unroll
        for (int k = 0; k < 8; k++)
          if (first + k < length) {
            const double v = power[k] * a * b * y;
            place.Add(j + k, MFGMomentBits(dim > 2 ? v * z : v, 1));
          }
      }
      j -= (length + 7) / 8 * 8 - length;
    }
  }
}

/* The moments of an agent at x to level `level` of the field, `slot` of the window. Returns whether
 * it has left the box: then it has none. */
template <int dim>
__device__ bool Deposit(const MFGSweep &s, const double x[], int level, const Window &w, int slot,
                        uint32_t *words) {
  double t[dim];
  const int64_t box = MFGBoxAt<dim>(s, x, t);
  if (box < 0 || !s.order) return box < 0;
  if (w.levels) {
    uint32_t *low = words + slot * (w.size / w.levels) + (int)box * w.pitch;
    AddTerms<dim>(s, t, SharedPlace{low, low + w.size});
  } else {
    AddTerms<dim>(s, t, GlobalPlace{s.moments + level * s.field + box * s.terms});
  }
  return false;
}

/* Agent i through the steps begin .. end - 1. Returns whether it has left the box. */
template <int dim>
__device__ bool Carry(const MFGSweep &s, int64_t i, int begin, int end, const Window &w,
                      uint32_t *words) {
  const uint64_t id = (uint64_t)MFGAgentId(&s.agents, i);
  double x[dim], pair[2] = {0, 0};
  bool outside = false;

#pragma unroll
  for (int k = 0; k < dim; k++) x[k] = MFGAgentPosition(&s.agents, &s.axis[k], k, i);
  for (int n = begin; n < end; n++) {
    if (s.moves) MFGTakeStep<dim>(s, id, n, n == begin, pair, x);
    if (s.order || s.outside) outside = Deposit<dim>(s, x, n - s.level_begin, w, n - begin, words);
  }
#pragma unroll
  for (int k = 0; k < dim && s.moves; k++) MFGAgentMoveTo(&s.agents, &s.axis[k], k, i, x[k]);
  return outside;
}

/* Adds the window to the field from `level` on and empties it. */
static __device__ void Flush(const MFGSweep &s, const Window &w, int level, uint32_t *words) {
  const int boxes = w.size / w.pitch;
  unsigned long long *field = s.moments + level * s.field;
  for (int j = threadIdx.x; j < boxes * w.pitch; j += blockDim.x) {
    uint32_t *low = words + j, *high = low + w.size;
    const uint64_t value = (uint64_t)*high << 32 | *low;
    if (value) atomicAdd(&field[j / w.pitch * s.terms + j % w.pitch], value);
    *low = *high = 0;
  }
}

template <int dim>
__global__ void __launch_bounds__(THREADS(dim), 1) ScanKernel(const MFGSweep s, const Window w) {
  MFG_DYNAMIC_SHARED(uint32_t, words);
  const int64_t start = MFGFirstAgent(s.agents), end = MFGEndAgent(s.agents);
  const int64_t share = (end - start + gridDim.x - 1) / gridDim.x;
  const int64_t run = (share + MFG_WARP - 1) / MFG_WARP * MFG_WARP;
  const int64_t first = start + blockIdx.x * run, last = first + run < end ? first + run : end;
  for (int j = threadIdx.x; j < 2 * w.size; j += blockDim.x) words[j] = 0;
  for (int n = s.level_begin, next; n < s.level_end; n = next) {
    next = w.levels && n + w.levels < s.level_end ? n + w.levels : s.level_end;
    __syncthreads();
    for (int64_t i = first + threadIdx.x; i < first + run; i += blockDim.x) {
      const bool outside = i < last && Carry<dim>(s, i, n, next, w, words);
      if (!s.outside) continue;
      const uint32_t bits = __ballot_sync(MFG_ALL_LANES, outside);
      if ((i - start) % MFG_WARP == 0 && i < last) s.outside[(i - start) / MFG_WARP] = bits;
    }
    __syncthreads();
    if (w.levels) Flush(s, w, n - s.level_begin, words);
  }
}

/* Words of the agents that are there. */
static __device__ int64_t WordsOf(const MFGAgentRange &agents) {
  return (MFGEndAgent(agents) - MFGFirstAgent(agents) + MFG_WARP - 1) / MFG_WARP;
}

static __global__ void CountLeaversKernel(const MFGAgentRange agents, const uint32_t *outside,
                                          uint32_t *counts) {
  const int64_t first = (int64_t)blockIdx.x * LIST_WORDS, words = WordsOf(agents);
  uint32_t mine = 0, total;
  for (int64_t i = first + threadIdx.x; i < first + LIST_WORDS && i < words; i += blockDim.x)
    mine += __popc(outside[i]);
  MFGBlockPrefix(mine, &total);
  if (threadIdx.x == 0) counts[blockIdx.x] = total;
}

/* Places of the set bits in ascending order; each thread has LIST_WORDS / threads words. */
static __global__ void ListLeaversKernel(const MFGAgentRange agents, const uint32_t *outside,
                                         const uint32_t *starts, int64_t *leavers) {
  const int each = LIST_WORDS / MFG_THREADS;
  const int64_t first = (int64_t)blockIdx.x * LIST_WORDS + threadIdx.x * each;
  const int64_t words = WordsOf(agents), start = MFGFirstAgent(agents);
  uint32_t mine = 0, total;
  for (int64_t i = first; i < first + each && i < words; i++) mine += __popc(outside[i]);
  uint32_t at = starts[blockIdx.x] + MFGBlockPrefix(mine, &total);
  for (int64_t i = first; i < first + each && i < words; i++)
    for (uint32_t bits = outside[i]; bits; bits &= bits - 1)
      leavers[1 + at++] = start + i * MFG_WARP + __ffs(bits) - 1;
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) leavers[0] = starts[gridDim.x];
}

/* How many blocks go over all agents. */
static int64_t BlocksOf(const MFGSweep *s, int dim, int64_t *threads, const MFGDevice *device) {
  const int64_t count = s->agents.count, processors = device->multiprocessors;
  const int64_t most = dim == 1 ? THREADS(1) : dim == 2 ? THREADS(2) : THREADS(3);
  *threads = (count / processors / MFG_WARP + 1) * MFG_WARP;
  if (*threads > most) *threads = most;
  const int64_t blocks = (count + *threads - 1) / *threads;
  return blocks < processors ? blocks : processors;
}

/* Few agents, those that came: neither a window nor lists, which would be dearer to empty. */
static bool Few(const MFGSweep *s) {
  return !s->order || (!s->moves && s->agents.live) || !s->agents.count;
}

/* All boxes for some levels, where that pays. */
static Window WindowFor(const MFGSweep *s, int64_t blocks, const MFGDevice *device) {
  Window w = {0, s->terms | 1, 0};
  if (Few(s) || s->agents.count / blocks < s->field / s->terms) return w;
  const int64_t level = s->field / s->terms * w.pitch, fit = device->shared / 8 / level;
  const int64_t levels = s->level_end - s->level_begin;
  w.levels = (int)(fit < levels ? fit : levels);
  w.size = (int)(w.levels * level);
  return w;
}

static bool ByLists(const MFGSweep *s, int dim, const MFGDevice *device) {
  int64_t threads;
  const int64_t blocks = BlocksOf(s, dim, &threads, device);
  return !Few(s) && !WindowFor(s, blocks, device).levels && MFGListsPay(s);
}

template <int dim> static cudaError_t Launch(const MFGSweep *s, const MFGDevice *device) {
  int64_t threads, blocks = BlocksOf(s, dim, &threads, device);
  const Window w = WindowFor(s, blocks, device);
  if (!w.levels) blocks = MFGBlocksFor(device, s->agents.count, (int)threads);
  const size_t shared = 8 * (size_t)(w.size ? w.size : 1);
  const cudaError_t error = cudaFuncSetAttribute(
      ScanKernel<dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
  if (error) return error;
  return MFGLaunch(ScanKernel<dim>, (unsigned)blocks, (unsigned)threads, shared, device->stream, *s,
                   w);
}

static cudaError_t LaunchSweep(int dim, const MFGSweep *s, void *work, const MFGDevice *device) {
  if (!s->agents.count) return cudaSuccess;
  if (ByLists(s, dim, device)) return MFGLaunchLists(dim, s, work, device);
  return dim == 1 ? Launch<1>(s, device) : dim == 2 ? Launch<2>(s, device) : Launch<3>(s, device);
}

/* What does not depend on whether agents move. */
static MFGSweep SweepOf(const MFGBlock *domain, const MFGAgentRange *agents,
                        const MFGMomentShape *shape, const MFGExtent *extent) {
  static const int none[MFG_MAX_DIM] = {0};
  MFGSweep s = {};
  s.agents = *agents;
  s.box = MFGBlockWidened(domain, none);
  s.extent = extent && extent->count[0] ? *extent : s.box;
  s.order = shape->order;
  s.terms = MFGMomentTerms(domain->dim, shape->order);
  s.boxes = MFGMomentBoxes(shape);
  s.scale = ldexp(1, shape->scale);
  s.field = MFGExtentCells(&s.extent) * s.boxes * s.terms;
  s.level_end = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.axis[k] = MFGAxisOf(domain, k);
    s.halvings[k] = shape->halvings[k];
  }
  return s;
}

int64_t MFGDepositWork(const MFGBlock *domain, const MFGAgentRange *agents,
                       const MFGMomentShape *shape, const MFGExtent *extent,
                       const MFGDevice *device) {
  const MFGSweep s = SweepOf(domain, agents, shape, extent);
  return ByLists(&s, domain->dim, device) ? MFGListsWork(&s, device) : 0;
}

cudaError_t MFGLaunchDeposit(const MFGBlock *domain, const MFGAgentRange *agents,
                             const MFGMomentShape *shape, const MFGExtent *extent, int64_t *moments,
                             const MFGDevice *device) {
  MFGSweep s = SweepOf(domain, agents, shape, extent);
  s.moments = (unsigned long long *)moments;
  return shape->order ? LaunchSweep(domain->dim, &s, device->work, device) : cudaSuccess;
}

static int64_t Words(int64_t agents) {
  return (agents + MFG_WARP - 1) / MFG_WARP;
}

static int64_t Lists(int64_t agents) {
  return (Words(agents) + LIST_WORDS - 1) / LIST_WORDS;
}

/* Whole records. */
static int64_t LeaversWork(const MFGScan *job) {
  const int64_t n = job->agents.count, lists = Lists(n);
  return job->leavers ? (4 * (Words(n) + lists + 1 + MFGPrefixSumWork(lists)) + 31) / 32 * 32 : 0;
}

static MFGSweep SweepOfScan(const MFGScan *job, const MFGDevice *device) {
  MFGSweep s = SweepOf(&job->domain, &job->agents, &job->shape, &job->extent);
  s.moves = 1;
  s.seed = job->key.seed;
  s.stream = MFGRandomStream(MFG_PURPOSE_STEP, job->key.iteration);
  s.dt = job->dt;
  s.deviation = sqrt(2 * job->nu * job->dt);
  s.level_begin = job->level_begin;
  s.level_end = job->level_end;
  s.drift = job->drift;
  s.drift_broken = device->drift_broken;
  s.moments = (unsigned long long *)job->moments;
  s.ghosted = job->ghosted;
  s.component = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.wide[k] =
        !job->ghosted || k >= job->domain.dim ? job->domain.cells[k] : job->domain.count[k] + 2;
    s.component *= s.wide[k];
  }
  return s;
}

int64_t MFGScanWork(const MFGScan *job, const MFGDevice *device) {
  const MFGSweep s = SweepOfScan(job, device);
  return LeaversWork(job) + (ByLists(&s, job->domain.dim, device) ? MFGListsWork(&s, device) : 0);
}

static cudaError_t ListLeavers(const MFGScan *job, const uint32_t *outside,
                               const MFGDevice *device) {
  const int64_t lists = Lists(job->agents.count);
  uint32_t *counts = (uint32_t *)device->work + Words(job->agents.count);

  if (!lists) return cudaMemsetAsync(job->leavers, 0, sizeof *job->leavers, device->stream);
  cudaError_t error = MFGLaunch(CountLeaversKernel, (unsigned)lists, MFG_THREADS, 0, device->stream,
                                job->agents, outside, counts);
  if (!error) error = MFGLaunchPrefixSum(lists, counts, counts + lists + 1, device);
  if (!error)
    error = MFGLaunch(ListLeaversKernel, (unsigned)lists, MFG_THREADS, 0, device->stream,
                      job->agents, outside, counts, job->leavers);
  return error;
}

cudaError_t MFGLaunchScan(const MFGScan *job, const MFGDevice *device) {
  MFGSweep s = SweepOfScan(job, device);
  if (job->leavers) s.outside = (uint32_t *)device->work;
  if (s.level_begin == s.level_end) return cudaSuccess;
  const cudaError_t error =
      LaunchSweep(job->domain.dim, &s, (char *)device->work + LeaversWork(job), device);
  return error || !job->leavers ? error : ListLeavers(job, s.outside, device);
}
