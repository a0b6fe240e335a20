/* Moments of many agents in few boxes, level by level: one kernel takes the step and puts each
 * agent into a list of its box, another adds up the terms of a list in the registers of a thread,
 * so that the sums and not the terms of each agent go to memory. In whatever order the lists are:
 * integer sums do not depend on it. A box has several lists where there are fewer boxes than the
 * device runs threads. */
#include "gpu/agents_lists.h"

#include "gpu/kernels.h"
#include "gpu/launch.h"

/* Lists are shorter than LENGTH on average only where there are fewer agents, and as many as
 * THREADS_WANTED where LENGTH allows. */
#define LENGTH 8
#define THREADS_WANTED (1 << 17)
#define SUM_THREADS 128
/* Agents of a thread that are on their way: as many as its registers hold. */
#define AT_A_TIME(dim) ((dim) < 3 ? 2 : 1)
/* Numbers from one box to the next of a warp's, at most 36 of each. */
#define LINE 37

/* 32 bytes: what a device reads of memory at a time. */
struct __align__(32) Record {
  double t[MFG_MAX_DIM];
  uint32_t next; /* number of the next one, from 1 on; 0: none */
};

typedef struct {
  int64_t boxes, lists; /* list i is of box i % boxes */
  int ways;             /* lists / boxes, a power of 2 */
  int64_t most;         /* records */
  uint32_t *head;       /* [lists], likewise from 1 on */
  Record *record;       /* [most] */
} Lists;

/* The terms k = column .. column + 7, l = row, row + 1, .. of plane m. */
typedef struct {
  int m, row, column;
} Terms;

static int64_t Boxes(const MFGSweep *s) {
  return s->field / s->terms;
}

static Lists ListsOf(const MFGSweep *s, void *work, const MFGDevice *device) {
  Lists l = {};
  l.boxes = l.lists = Boxes(s);
  l.most = s->agents.count < device->portion ? s->agents.count : device->portion;
  l.ways = 1;
  while (l.lists < THREADS_WANTED && 2 * LENGTH * l.lists <= l.most) {
    l.lists *= 2;
    l.ways *= 2;
  }
  l.record = (Record *)work;
  l.head = (uint32_t *)(l.record + l.most);
  return l;
}

bool MFGListsPay(const MFGSweep *s) {
  return s->order && s->agents.count >= 2 * Boxes(s);
}

int64_t MFGListsWork(const MFGSweep *s, const MFGDevice *device) {
  const Lists l = ListsOf(s, NULL, device);
  return l.most * (int64_t)sizeof(Record) + l.lists * (int64_t)sizeof *l.head;
}

/* Where agent i's list is, and t in its box; -1: it has left the cells of its rank. */
template <int dim>
static __device__ int64_t StepToList(const MFGSweep &s, const Lists &lists, int64_t i, int n,
                                     double x[], double t[]) {
  double pair[2];
  if (s.moves) MFGTakeStep<dim>(s, (uint64_t)MFGAgentId(&s.agents, i), n, true, pair, x);
#pragma unroll
  for (int k = 0; k < dim && s.moves; k++) MFGAgentMoveTo(&s.agents, &s.axis[k], k, i, x[k]);
  const int64_t box = MFGBoxAt<dim>(s, x, t);
  return box < 0 ? -1 : box + (i & (lists.ways - 1)) * lists.boxes;
}

/* Step n of the agents of portion `portion`. A thread has several, so that it waits for the memory
 * once for all of them. */
template <int dim>
static __global__ void __launch_bounds__(MFG_THREADS, dim < 3 ? 4 : 3)
    StepIntoListsKernel(const MFGSweep s, const Lists lists, int n, int64_t portion) {
  constexpr int several = AT_A_TIME(dim);
  const int64_t start = MFGFirstAgent(s.agents), end = MFGEndAgent(s.agents);
  const int64_t first = start + portion * lists.most;
  const int64_t last = first + lists.most < end ? first + lists.most : end;
  for (int64_t begin = first + (int64_t)blockIdx.x * blockDim.x * several; begin < last;
       begin += (int64_t)gridDim.x * blockDim.x * several) {
    double x[several][dim], t[several][dim];
    int64_t list[several];
    uint32_t next[several];
#pragma unroll
    for (int a = 0; a < several; a++) {
      const int64_t i = begin + a * blockDim.x + threadIdx.x;
#pragma unroll
      for (int k = 0; k < dim; k++)
        if (i < last) x[a][k] = MFGAgentPosition(&s.agents, &s.axis[k], k, i);
    }
#pragma unroll
    for (int a = 0; a < several; a++) {
      const int64_t i = begin + a * blockDim.x + threadIdx.x;
      list[a] = i < last ? StepToList<dim>(s, lists, i, n, x[a], t[a]) : -1;
      if (list[a] >= 0) next[a] = atomicExch(&lists.head[list[a]], (uint32_t)(i - first) + 1);
    }
#pragma unroll
    for (int a = 0; a < several; a++) {
      const int64_t i = begin + a * blockDim.x + threadIdx.x;
      Record r;
#pragma unroll
      for (int k = 0; k < MFG_MAX_DIM; k++) r.t[k] = k < dim ? t[a][k < dim ? k : 0] : 0;
      r.next = next[a];
      if (list[a] >= 0) lists.record[i - first] = r;
      if (!s.outside) continue;
      const uint32_t bits = __ballot_sync(MFG_ALL_LANES, i < last && list[a] < 0);
      if (threadIdx.x % MFG_WARP == 0 && i < last) s.outside[(i - start) / MFG_WARP] = bits;
    }
  }
}

/* What MFGMomentPower(t, j + k) is for j a multiple of 4, k < 4, or of 8, k < 8, from its power k.
 */
static __device__ double Raise(double power, double t, int j, int step) {
  const double t2 = t * t, t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
  if (step <= 4) power *= j & 4 ? t4 : 1;
  power *= j & 8 ? t8 : 1;
  return power * (j & 16 ? t16 : 1);
}

/* The terms of all agents of a list, as they are added up. */
template <int rows> struct Sums {
  uint64_t term[rows][8];
  uint32_t members;
};

/* rows = 8: all of a plane that has at most 8 rows, so that of row r only 8 - r are wanted. */
template <int dim, int rows>
static __device__ void AddList(const MFGSweep &s, const Lists &lists, const Terms &first,
                               int64_t list, Sums<rows> &sum) {
  uint32_t at = lists.head[list];
  Record next;
  if (at) next = lists.record[at - 1];
  while (at) {
    const Record r = next;
    at = r.next;
    if (at) next = lists.record[at - 1];
    sum.members++;
    double power[8];
#pragma unroll
    for (int k = 0; k < 8; k++) {
      power[k] = MFGMomentPower(r.t[0], k);
      if (rows < 8) power[k] = Raise(power[k], r.t[0], first.column, 8);
    }
    const double z = dim > 2 ? MFGMomentPower(r.t[2], first.m) * s.scale : 1;
#pragma unroll
    for (int l = 0; l < rows; l++) {
      double y = dim > 2 ? 1 : s.scale;
      if (dim > 1)
        y *= rows < 8 ? Raise(MFGMomentPower(r.t[1], l), r.t[1], first.row, 4)
                      : MFGMomentPower(r.t[1], l);
#pragma unroll
      for (int k = 0; k < (rows < 8 ? 8 : 8 - l); k++) {
        const double v = power[k] * y;
        sum.term[l][k] += MFGBitsOfDouble((dim > 2 ? v * z : v) + MFG_MOMENT_MAGIC);
      }
    }
  }
}

/* To wherever they belong, one by one. */
template <int rows>
static __device__ void AddEach(int order, const Terms &first, const Sums<rows> &sum,
                               unsigned long long *moments) {
#pragma unroll
  for (int l = 0; l < rows; l++)
#pragma unroll
    for (int k = 0; k < (rows < 8 ? 8 : 8 - l); k++)
      if (first.row + l + first.column + k < order)
        atomicAdd(&moments[MFGMomentRow(order, first.row + l) + first.column + k],
                  (unsigned long long)(sum.term[l][k] - sum.members * MFG_MOMENT_BIAS));
}

/* The sums of the boxes of a warp, each of one list only, which are neighbours in memory: through
 * `line`, whose rows are an odd number of words apart so that they do not meet in a bank. */
static __device__ void AddLine(int order, const Sums<8> &sum, int64_t terms, int boxes,
                               unsigned long long *line, unsigned long long *moments) {
  const int lane = threadIdx.x % MFG_WARP, count = order * (order + 1) / 2;
#pragma unroll
  for (int l = 0; l < 8; l++)
#pragma unroll
    for (int k = 0; k < 8 - l; k++)
      if (l + k < order)
        line[lane * LINE + MFGMomentRow(order, l) + k] =
            sum.term[l][k] - sum.members * MFG_MOMENT_BIAS;
  __syncwarp();
  for (int j = lane; j < boxes * count; j += MFG_WARP) {
    const int box = j / count, k = j - box * count;
    const unsigned long long v = line[box * LINE + k];
    if (v) moments[box * terms + k] += v;
  }
  __syncwarp();
}

/* Terms of the lists. */
template <int dim, int rows>
static __global__ void __launch_bounds__(SUM_THREADS, dim < 3 ? 4 : 3)
    SumListsKernel(const MFGSweep s, const Lists lists, const Terms first, int level) {
  __shared__ unsigned long long line[rows == 8 ? SUM_THREADS * LINE : 1];
  const int order = s.order - first.m, lane = threadIdx.x % MFG_WARP;
  unsigned long long *moments = s.moments + level * s.field + MFGMomentPlane(s.order, first.m);
  for (int64_t begin = (int64_t)blockIdx.x * SUM_THREADS; begin < lists.lists;
       begin += (int64_t)gridDim.x * SUM_THREADS) {
    const int64_t list = begin + threadIdx.x, line_first = list - lane;
    Sums<rows> sum = {};
    if (list < lists.lists) AddList<dim, rows>(s, lists, first, list, sum);
    if constexpr (rows == 8)
      if (lists.ways == 1) {
        if (__ballot_sync(MFG_ALL_LANES, sum.members))
          AddLine(order, sum, s.terms,
                  (int)(lists.lists - line_first < MFG_WARP ? lists.lists - line_first : MFG_WARP),
                  line + (threadIdx.x - lane) * LINE, moments + line_first * s.terms);
        continue;
      }
    if (sum.members) AddEach<rows>(order, first, sum, moments + list % lists.boxes * s.terms);
  }
}

template <int dim, int rows>
static cudaError_t Sum(const MFGSweep *s, const Lists *lists, Terms first, int level,
                       const MFGDevice *device) {
  return MFGLaunch(SumListsKernel<dim, rows>, MFGBlocksFor(device, lists->lists, SUM_THREADS),
                   SUM_THREADS, 0, device->stream, *s, *lists, first, level);
}

/* All terms of the lists, in as few launches as the registers of a thread allow. */
template <int dim>
static cudaError_t SumAll(const MFGSweep *s, const Lists *lists, int level,
                          const MFGDevice *device) {
  cudaError_t error = cudaSuccess;
  for (int m = 0; m < (dim > 2 ? s->order : 1) && !error; m++) {
    const int order = s->order - m, rows = dim > 1 ? 4 : 1;
    if constexpr (dim > 1)
      if (order <= 8) {
        error = Sum<dim, 8>(s, lists, {m, 0, 0}, level, device);
        continue;
      }
    for (int row = 0; row < (dim > 1 ? order : 1) && !error; row += rows)
      for (int column = 0; column < order - row && !error; column += 8)
        error = Sum<dim, rows>(s, lists, {m, row, column}, level, device);
  }
  return error;
}

template <int dim>
static cudaError_t Launch(const MFGSweep *s, const Lists *lists, const MFGDevice *device) {
  cudaError_t error = cudaSuccess;
  for (int n = s->level_begin; n < s->level_end; n++)
    for (int64_t p = 0; p * lists->most < s->agents.count && !error; p++) {
      error = cudaMemsetAsync(lists->head, 0, lists->lists * sizeof *lists->head, device->stream);
      if (!error)
        error = MFGLaunch(StepIntoListsKernel<dim>,
                          MFGBlocksFor(device, lists->most, AT_A_TIME(dim) * MFG_THREADS),
                          MFG_THREADS, 0, device->stream, *s, *lists, n, p);
      if (!error) error = SumAll<dim>(s, lists, n - s->level_begin, device);
    }
  return error;
}

cudaError_t MFGLaunchLists(int dim, const MFGSweep *s, void *work, const MFGDevice *device) {
  const Lists lists = ListsOf(s, work, device);
  return dim == 1   ? Launch<1>(s, &lists, device)
         : dim == 2 ? Launch<2>(s, &lists, device)
                    : Launch<3>(s, &lists, device);
}
