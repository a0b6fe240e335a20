/* Agents through the levels: a thread carries its agent in registers, adding its moments as it
 * goes.
 *
 * Agents are handled in runs, consecutive ones by one block. Moments are added in a window of cells
 * and levels in shared memory, as two words each (the only native addition there is that of 32-bit
 * integers; it returns the old word, which tells the carry), and from there to the field when the
 * run is done. What lies outside the window is added to the field at once. Integer sums: the bits
 * do not depend on any of this. The window is all cells and as many levels as fit, where at least
 * one fits; else one level of the cells around the run's agents, which must be in the order of
 * their cells (a run that is not compact goes without); else none: many cells and few agents. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/prefix_sum.h"
#include "gpu/threads.h"

/* Most threads of a block: as many as the registers of a multiprocessor serve. */
#define THREADS(dim) ((dim) == 1 ? 768 : (dim) == 2 ? 640 : 512)
#define WARP 32
#define ALL_LANES 0xffffffffu
/* Words of 32 agents that one block counts and lists. */
#define LIST_WORDS 1024

typedef struct {
  MFGAxis axis[MFG_MAX_DIM];
  MFGExtent box, extent; /* cells of the agents, and of the moments */
  MFGAgentRange agents;
  uint64_t seed;
  uint32_t stream;
  int moves; /* else agents are deposited where they are */
  double dt, deviation;
  int level_begin, level_end;
  const double *drift;
  int ghosted, wide[MFG_MAX_DIM]; /* cells along the axes of the drift */
  int64_t component;              /* cells of one component of it */
  int order, terms, boxes, halvings[MFG_MAX_DIM];
  int pitch;    /* words of a box in the window: odd, so that a term's are in all banks */
  double scale; /* 2^S */
  unsigned long long *moments;
  int64_t field;     /* integers of one level */
  uint32_t *outside; /* bit i % 32 of word i / 32: agent i has left the box; or NULL */
  int *drift_broken;
  int64_t run;             /* agents, a multiple of WARP; 0: an equal share for each block */
  int window[MFG_MAX_DIM]; /* cells; 0: none */
  int window_levels, whole;
} Sweep;

/* Cells start .. start + count - 1 of the grid; count[0] = 0: none. */
typedef struct {
  int start[MFG_MAX_DIM], count[MFG_MAX_DIM];
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
__device__ void AddTerms(const Sweep &s, const double t[], const Place place) {
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
__device__ bool Deposit(const Sweep &s, const double x[], int level, const Window &w, int slot,
                        uint32_t *words, int window_size) {
  int64_t cell = 0;
  int part = 0, near = 0, in_window = 1;
  double t[dim];
  for (int k = dim - 1; k >= 0; k--) {
    const int box = MFGBoxOf(&s.axis[k], s.halvings[k], x[k], &t[k]), c = box >> s.halvings[k];
    if (s.outside && (unsigned)(c - s.box.start[k]) >= (unsigned)s.box.count[k]) return true;
    part = part << s.halvings[k] | (box & ((1 << s.halvings[k]) - 1));
    cell = cell * s.extent.count[k] + MFGNearestIndex(c - s.extent.start[k], s.extent.count[k]);
    near = near * w.count[k] + c - w.start[k];
    in_window &= (unsigned)(c - w.start[k]) < (unsigned)w.count[k];
  }
  if (!s.order) return false;
  if (in_window) {
    const int at =
        ((slot * w.count[0] * w.count[1] * w.count[2] + near) * s.boxes + part) * s.pitch;
    AddTerms<dim>(s, t, SharedPlace{words + at, words + window_size + at});
  } else {
    AddTerms<dim>(s, t,
                  GlobalPlace{s.moments + level * s.field + (cell * s.boxes + part) * s.terms});
  }
  return false;
}

/* The drift of level n at x: interpolated along the last axis first, as on the CPU. */
template <int dim>
__device__ void DriftAt(const Sweep &s, int n, const double x[], double drift[]) {
  const double *level = s.drift + (n - s.level_begin) * dim * s.component;
  int at[MFG_MAX_DIM][2] = {{0, 0}, {0, 0}, {0, 0}};
  double sign[MFG_MAX_DIM][2], weight[MFG_MAX_DIM];
#pragma unroll
  for (int k = 0; k < dim; k++) {
    const int interval = MFGIntervalOf(&s.axis[k], x[k], &weight[k]);
#pragma unroll
    for (int side = 0; side < 2; side++) {
      sign[k][side] = 1;
      at[k][side] = s.ghosted
                        ? MFGNearestIndex(interval - s.box.start[k], s.box.count[k] + 1) + side
                        : MFGDriftGhost(&s.axis[k], k, k, interval - 1 + side, &sign[k][side]);
    }
  }
#pragma unroll
  for (int c = 0; c < dim; c++) {
    double along_x[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      double along_y[2];
#pragma unroll
      for (int j = 0; j < (dim > 1 ? 2 : 1); j++) {
        double along_z[2];
#pragma unroll
        for (int k = 0; k < (dim > 2 ? 2 : 1); k++) {
          const int side[MFG_MAX_DIM] = {i, j, k};
          const int64_t cell = ((int64_t)at[2][k] * s.wide[1] + at[1][j]) * s.wide[0] + at[0][i];
          along_z[k] = sign[c][side[c]] * level[c * s.component + cell];
        }
        along_y[j] = dim > 2 ? MFGInterpolate(along_z[0], along_z[1], weight[2]) : along_z[0];
      }
      along_x[i] = dim > 1 ? MFGInterpolate(along_y[0], along_y[1], weight[1]) : along_y[0];
    }
    drift[c] = MFGInterpolate(along_x[0], along_x[1], weight[0]);
    if (!(fabs(drift[c]) <= 1.7976931348623157e308)) atomicOr(s.drift_broken, 1);
  }
}

/* The normal numbers n dim .. n dim + dim - 1 of an agent. They come in pairs; in 1D a pair serves
 * two steps, the caller keeps it. */
template <int dim>
__device__ void NormalsOfStep(const Sweep &s, uint64_t id, int n, bool first, double pair[2],
                              double normal[]) {
  const int64_t begin = (int64_t)n * dim;
  if (dim == 1) {
    if (first || !(n & 1)) MFGNormalsOfPair(s.seed, id, begin / 2, s.stream, &pair[0], &pair[1]);
    normal[0] = n & 1 ? pair[1] : pair[0];
  } else if (dim == 2) {
    MFGNormalsOfPair(s.seed, id, n, s.stream, &normal[0], &normal[1]);
  } else {
    double next[2];
    MFGNormalsOfPair(s.seed, id, begin / 2, s.stream, &pair[0], &pair[1]);
    MFGNormalsOfPair(s.seed, id, begin / 2 + 1, s.stream, &next[0], &next[1]);
    normal[0] = n & 1 ? pair[1] : pair[0];
    normal[1] = n & 1 ? next[0] : pair[1];
    normal[2] = n & 1 ? next[1] : next[0];
  }
}

/* Agent i through the steps begin .. end - 1. Returns whether it has left the box. */
template <int dim>
__device__ bool Carry(const Sweep &s, int64_t i, int begin, int end, const Window &w,
                      uint32_t *words, int window_size) {
  const bool single = s.agents.offset[0] != NULL;
  const uint64_t id = (uint64_t)MFGAgentId(&s.agents, i);
  double x[dim], pair[2] = {0, 0};
  bool outside = false;

#pragma unroll
  for (int k = 0; k < dim; k++) x[k] = MFGAgentPosition(&s.agents, &s.axis[k], k, i);
  for (int n = begin; n < end; n++) {
    if (s.moves) {
      double drift[dim], normal[dim];
      DriftAt<dim>(s, n, x, drift);
      NormalsOfStep<dim>(s, id, n, n == begin, pair, normal);
#pragma unroll
      for (int k = 0; k < dim; k++) {
        x[k] = MFGBoundaryRule(&s.axis[k], MFGStep(x[k], drift[k], s.dt, s.deviation, normal[k]));
        if (single) x[k] = MFGPositionOf(&s.axis[k], MFGOffsetOf(&s.axis[k], x[k]));
      }
    }
    if (s.order || s.outside)
      outside = Deposit<dim>(s, x, n - s.level_begin, w, n - begin, words, window_size);
  }
#pragma unroll
  for (int k = 0; k < dim && s.moves; k++) MFGAgentMoveTo(&s.agents, &s.axis[k], k, i, x[k]);
  return outside;
}

/* The window for a run: around the agent in its middle, none where that holds less than half of
 * some agents of the run, evenly spaced. */
template <int dim> __device__ Window PlaceWindow(const Sweep &s, int64_t first, int64_t last) {
  Window w;
  double t;
  int inside = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    w.start[k] = s.extent.start[k];
    w.count[k] = s.window[k];
  }
  if (!s.window[0] || s.whole) return w;
  const int64_t sample = first + (last - first) * threadIdx.x / blockDim.x;
  for (int k = 0; k < dim; k++) {
    const double middle = MFGAgentPosition(&s.agents, &s.axis[k], k, first + (last - first) / 2);
    const int highest = s.extent.count[k] - w.count[k],
              low = MFGCellOf(&s.axis[k], middle, &t) - w.count[k] / 2 - s.extent.start[k];
    w.start[k] += low < 0 ? 0 : low < highest ? low : highest;
    const int c = MFGCellOf(&s.axis[k], MFGAgentPosition(&s.agents, &s.axis[k], k, sample), &t);
    inside &= (unsigned)(c - w.start[k]) < (unsigned)w.count[k];
  }
  if (2 * __syncthreads_count(inside) < (int)blockDim.x) w.count[0] = 0;
  return w;
}

/* Adds the window to the field and empties it. */
static __device__ void Flush(const Sweep &s, const Window &w, int level, int levels,
                             uint32_t *words, int window_size) {
  const int row = w.count[0] * s.boxes * s.pitch;
  for (int r = 0; r < levels * w.count[2] * w.count[1]; r++) {
    const int y = r % w.count[1] + w.start[1] - s.extent.start[1],
              z = r / w.count[1] % w.count[2] + w.start[2] - s.extent.start[2];
    const int64_t cell =
        ((int64_t)z * s.extent.count[1] + y) * s.extent.count[0] + w.start[0] - s.extent.start[0];
    unsigned long long *field =
        s.moments + (level + r / w.count[1] / w.count[2]) * s.field + cell * s.boxes * s.terms;
    for (int j = threadIdx.x; j < row; j += blockDim.x) {
      uint32_t *low = words + r * row + j, *high = low + window_size;
      const uint64_t value = (uint64_t)*high << 32 | *low;
      if (value) atomicAdd(&field[j / s.pitch * s.terms + j % s.pitch], value);
      *low = *high = 0;
    }
  }
}

template <int dim> __global__ void __launch_bounds__(THREADS(dim), 1) ScanKernel(const Sweep s) {
  MFG_DYNAMIC_SHARED(uint32_t, words);
  const int64_t start = MFGFirstAgent(s.agents), end = MFGEndAgent(s.agents);
  const int64_t share = (end - start + gridDim.x - 1) / gridDim.x;
  const int64_t run = s.run ? s.run : (share + WARP - 1) / WARP * WARP;
  const int window_size =
      s.window_levels * s.window[0] * s.window[1] * s.window[2] * s.boxes * s.pitch;
  for (int j = threadIdx.x; j < 2 * window_size; j += blockDim.x) words[j] = 0;
  for (int64_t first = start + blockIdx.x * run; first < end; first += gridDim.x * run) {
    const int64_t last = first + run < end ? first + run : end;
    for (int n = s.level_begin, next; n < s.level_end; n = next) {
      const Window w = PlaceWindow<dim>(s, first, last);
      next = w.count[0] && n + s.window_levels < s.level_end ? n + s.window_levels : s.level_end;
      __syncthreads();
      for (int64_t i = first + threadIdx.x; i < first + run; i += blockDim.x) {
        const bool outside = i < last && Carry<dim>(s, i, n, next, w, words, window_size);
        if (!s.outside) continue;
        const uint32_t bits = __ballot_sync(ALL_LANES, outside);
        if ((i - start) % WARP == 0 && i < last) s.outside[(i - start) / WARP] = bits;
      }
      __syncthreads();
      if (w.count[0]) Flush(s, w, n - s.level_begin, next - n, words, window_size);
    }
  }
}

/* Words of the agents that are there. */
static __device__ int64_t WordsOf(const MFGAgentRange &agents) {
  return (MFGEndAgent(agents) - MFGFirstAgent(agents) + WARP - 1) / WARP;
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
      leavers[1 + at++] = start + i * WARP + __ffs(bits) - 1;
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) leavers[0] = starts[gridDim.x];
}

/* The window that the head of this file describes. */
static void ChooseWindow(Sweep *s, int dim, const double spacing[], int threads, int64_t share,
                         const MFGDevice *device) {
  const int64_t numbers = device->shared / 8 / s->boxes / s->pitch;
  const int64_t cells = MFGExtentCells(&s->extent), levels = s->level_end - s->level_begin;
  int64_t across = 1, length, narrowest = 1;
  int spread[MFG_MAX_DIM];

  /* Few agents: to empty a window would be dearer than to do without. */
  if (!s->order || (!s->moves && s->agents.live)) return;
  if (cells <= numbers) {
    if (share < cells * s->boxes) return;
    for (int k = 0; k < MFG_MAX_DIM; k++) s->window[k] = s->extent.count[k];
    s->window_levels = (int)(numbers / cells < levels ? numbers / cells : levels);
    s->whole = 1;
    return;
  }
  for (int k = 0; k < dim; k++) {
    spread[k] = 1 + (int)fmin(ceil(2 * s->deviation / spacing[k]), s->extent.count[k]);
    if (k)
      across *= 2 * spread[k] + 1 < s->extent.count[k] ? 2 * spread[k] + 1 : s->extent.count[k];
  }
  length = numbers / across < s->extent.count[0] ? numbers / across : s->extent.count[0];
  narrowest = 4 * spread[0] < s->extent.count[0] ? 4 * spread[0] : s->extent.count[0];
  const double per_cell = (double)s->agents.count / (double)MFGExtentCells(&s->box);
  const double run = per_cell * (double)(length > 2 * spread[0] ? length - 2 * spread[0] : 1);
  if (length < narrowest || run < threads || run < 2. * length * across * s->boxes) return;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int wide = k < dim ? 2 * spread[k] + 1 : 1;
    s->window[k] = wide < s->extent.count[k] ? wide : s->extent.count[k];
  }
  s->window[0] = (int)length;
  s->window_levels = 1;
  s->run = (int64_t)run / WARP * WARP;
}

template <int dim>
static cudaError_t Launch(Sweep *s, const double spacing[], const MFGDevice *device) {
  const int64_t count = s->agents.count, processors = device->multiprocessors;
  int64_t threads = (count / processors / WARP + 1) * WARP;
  threads = threads < THREADS(dim) ? threads : THREADS(dim);
  int64_t blocks = (count + threads - 1) / threads;
  blocks = blocks < processors ? blocks : processors;
  ChooseWindow(s, dim, spacing, (int)threads, count / blocks, device);
  if (!s->window[0]) blocks = MFGBlocksFor(device, count, (int)threads);
  const int64_t numbers =
      (int64_t)s->window_levels * s->window[0] * s->window[1] * s->window[2] * s->boxes * s->pitch;
  const size_t shared = 8 * (size_t)(numbers ? numbers : 1);
  const cudaError_t error = cudaFuncSetAttribute(
      ScanKernel<dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
  if (error) return error;
  return MFGLaunch(ScanKernel<dim>, (unsigned)blocks, (unsigned)threads, shared, device->stream,
                   *s);
}

static cudaError_t LaunchSweep(Sweep *s, const MFGBlock *domain, const MFGAgentRange *agents,
                               const MFGMomentShape *shape, const MFGExtent *extent,
                               int64_t *moments, const MFGDevice *device) {
  static const int none[MFG_MAX_DIM] = {0};
  if (!agents->count) return cudaSuccess;
  s->agents = *agents;
  s->box = MFGBlockWidened(domain, none);
  s->extent = extent && extent->count[0] ? *extent : s->box;
  s->order = shape->order;
  s->terms = MFGMomentTerms(domain->dim, shape->order);
  s->pitch = s->terms | 1;
  s->boxes = MFGMomentBoxes(shape);
  s->scale = ldexp(1, shape->scale);
  s->moments = (unsigned long long *)moments;
  s->field = MFGExtentCells(&s->extent) * s->boxes * s->terms;
  s->drift_broken = device->drift_broken;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s->axis[k] = MFGAxisOf(domain, k);
    s->halvings[k] = shape->halvings[k];
  }
  if (domain->dim == 1) return Launch<1>(s, domain->spacing, device);
  if (domain->dim == 2) return Launch<2>(s, domain->spacing, device);
  return Launch<3>(s, domain->spacing, device);
}

cudaError_t MFGLaunchDeposit(const MFGBlock *domain, const MFGAgentRange *agents,
                             const MFGMomentShape *shape, const MFGExtent *extent, int64_t *moments,
                             const MFGDevice *device) {
  Sweep s = {};
  s.level_end = 1;
  if (!shape->order) return cudaSuccess;
  return LaunchSweep(&s, domain, agents, shape, extent, moments, device);
}

static int64_t Words(int64_t agents) {
  return (agents + WARP - 1) / WARP;
}

static int64_t Lists(int64_t agents) {
  return (Words(agents) + LIST_WORDS - 1) / LIST_WORDS;
}

int64_t MFGScanWork(const MFGScan *job) {
  const int64_t n = job->agents.count, lists = Lists(n);
  return job->leavers ? 4 * (Words(n) + lists + 1 + MFGPrefixSumWork(lists)) : 0;
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
  Sweep s = {};
  s.moves = 1;
  s.seed = job->key.seed;
  s.stream = MFGRandomStream(MFG_PURPOSE_STEP, job->key.iteration);
  s.dt = job->dt;
  s.deviation = sqrt(2 * job->nu * job->dt);
  s.level_begin = job->level_begin;
  s.level_end = job->level_end;
  s.drift = job->drift;
  s.ghosted = job->ghosted;
  s.component = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.wide[k] =
        !job->ghosted || k >= job->domain.dim ? job->domain.cells[k] : job->domain.count[k] + 2;
    s.component *= s.wide[k];
  }
  if (job->leavers) s.outside = (uint32_t *)device->work;
  if (s.level_begin == s.level_end) return cudaSuccess;
  cudaError_t error =
      LaunchSweep(&s, &job->domain, &job->agents, &job->shape, &job->extent, job->moments, device);
  return error || !job->leavers ? error : ListLeavers(job, s.outside, device);
}
