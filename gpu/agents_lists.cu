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

/* Step n of the agents of portion `portion`. */
template <int dim>
static __global__ void StepIntoListsKernel(const MFGSweep s, const Lists lists, int n,
                                           int64_t portion) {
  const int64_t start = MFGFirstAgent(s.agents), end = MFGEndAgent(s.agents);
  const int64_t first = start + portion * lists.most;
  const int64_t last = first + lists.most < end ? first + lists.most : end;
  for (int64_t begin = (int64_t)blockIdx.x * blockDim.x; first + begin < last;
       begin += (int64_t)gridDim.x * blockDim.x) {
    const int64_t i = first + begin + threadIdx.x;
    bool outside = false;
    if (i < last) {
      double x[dim], t[dim], pair[2];
#pragma unroll
      for (int k = 0; k < dim; k++) x[k] = MFGAgentPosition(&s.agents, &s.axis[k], k, i);
      if (s.moves) MFGTakeStep<dim>(s, (uint64_t)MFGAgentId(&s.agents, i), n, true, pair, x);
#pragma unroll
      for (int k = 0; k < dim && s.moves; k++) MFGAgentMoveTo(&s.agents, &s.axis[k], k, i, x[k]);
      const int64_t box = MFGBoxAt<dim>(s, x, t);
      outside = box < 0;
      if (!outside) {
        const int64_t list = box + (i & (lists.ways - 1)) * lists.boxes;
        Record r;
#pragma unroll
        for (int k = 0; k < MFG_MAX_DIM; k++) r.t[k] = k < dim ? t[k < dim ? k : 0] : 0;
        r.next = atomicExch(&lists.head[list], (uint32_t)(i - first) + 1);
        lists.record[i - first] = r;
      }
    }
    if (!s.outside) continue;
    const uint32_t bits = __ballot_sync(MFG_ALL_LANES, outside);
    if (threadIdx.x % MFG_WARP == 0 && i < last) s.outside[(i - start) / MFG_WARP] = bits;
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

/* Terms of a list. rows = 8: all of a plane that has at most 8 rows, so that of row r only 8 - r
 * are wanted. */
template <int dim, int rows>
static __global__ void __launch_bounds__(SUM_THREADS)
    SumListsKernel(const MFGSweep s, const Lists lists, const Terms first, int level) {
  MFG_FOR_EACH(list, lists.lists) {
    uint64_t sum[rows][8] = {};
    uint32_t at = lists.head[list], members = 0;
    if (!at) continue;
    Record next = lists.record[at - 1];
    while (at) {
      const Record r = next;
      at = r.next;
      if (at) next = lists.record[at - 1];
      members++;
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
          sum[l][k] += MFGBitsOfDouble((dim > 2 ? v * z : v) + MFG_MOMENT_MAGIC);
        }
      }
    }
    unsigned long long *moments = s.moments + level * s.field + list % lists.boxes * s.terms +
                                  MFGMomentPlane(s.order, first.m);
    const int order = s.order - first.m;
#pragma unroll
    for (int l = 0; l < rows; l++)
#pragma unroll
      for (int k = 0; k < (rows < 8 ? 8 : 8 - l); k++)
        if (first.row + l + first.column + k < order)
          atomicAdd(&moments[MFGMomentRow(order, first.row + l) + first.column + k],
                    (unsigned long long)(sum[l][k] - members * MFG_MOMENT_BIAS));
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
        error = MFGLaunch(StepIntoListsKernel<dim>, MFGBlocksFor(device, lists->most, MFG_THREADS),
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
