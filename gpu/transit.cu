/* Agents that leave a rank's box and come to it. Counts are in the traffic, in device memory: each
 * operation reads them as they were, and its last kernel, of one thread, writes the new ones.
 * Records are in whatever order the threads come: what agents do depends on their ids alone. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

#define WARP 32
#define ALL_LANES 0xffffffffu

static __device__ int64_t Least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static __device__ void Raise(int64_t *most, int64_t value) {
  if (value > *most) *most = value;
}

static unsigned BlocksOf(const MFGTransit *t, const MFGDevice *device) {
  return MFGBlocksFor(device, t->capacity, MFG_THREADS);
}

typedef struct {
  MFGAxis axis[MFG_MAX_DIM];
} Axes;

static Axes AxesOf(const MFGTransit *t) {
  Axes axes;
  for (int k = 0; k < MFG_MAX_DIM; k++) axes.axis[k] = MFGAxisOf(&t->box, k);
  return axes;
}

/* ---- slabs ---- */

/* Of equal size; where each begins, and its buffer. */
typedef struct {
  MFGSlab size;
  int count;
  int64_t begin[MFG_SLABS_MOST][MFG_MAX_DIM];
  void *buffer[MFG_SLABS_MOST];
} Slabs;

static int64_t SlabBytes(const MFGSlab *s) {
  return s->fields * s->count[0] * s->count[1] * s->count[2] * s->element;
}

/* Words of T: a cell has element / sizeof(T) of them. */
template <typename T>
static __global__ void CopySlabsKernel(const Slabs slabs, T *fields, int back) {
  const MFGSlab &s = slabs.size;
  const int64_t words = s.element / (int64_t)sizeof(T), run = s.count[0] * words;
  const int64_t each = s.fields * s.count[2] * s.count[1] * run;
  MFG_FOR_EACH(j, slabs.count * each) {
    const int which = j >= each;
    const int64_t i = j - which * each, *begin = slabs.begin[which];
    const int64_t row = i / run, y = row % s.count[1], plane = row / s.count[1];
    const int64_t z = plane % s.count[2], field = plane / s.count[2];
    const int64_t line = (field * s.size[2] + begin[2] + z) * s.size[1] + begin[1] + y;
    T *cell = fields + (line * s.size[0] + begin[0]) * words + i % run;
    T *word = (T *)slabs.buffer[which] + i;
    if (back)
      *cell = *word;
    else
      *word = *cell;
  }
}

template <typename T>
static cudaError_t CopyWords(const Slabs *slabs, void *fields, int back, const MFGDevice *device) {
  const int64_t words = slabs->count * SlabBytes(&slabs->size) / (int64_t)sizeof(T);
  return MFGLaunch(CopySlabsKernel<T>, MFGBlocksFor(device, words, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, *slabs, (T *)fields, back);
}

cudaError_t MFGLaunchCopySlabs(int count, const MFGSlab slabs[], void *fields,
                               void *const buffers[], int back, const MFGDevice *device) {
  Slabs all = {};
  if (!count || !SlabBytes(slabs)) return cudaSuccess;
  all.size = slabs[0];
  all.count = count;
  for (int i = 0; i < count; i++) {
    for (int k = 0; k < MFG_MAX_DIM; k++) all.begin[i][k] = slabs[i].begin[k];
    all.buffer[i] = buffers[i];
  }
  return slabs->element % 8 ? CopyWords<uint32_t>(&all, fields, back, device)
                            : CopyWords<uint64_t>(&all, fields, back, device);
}

/* ---- departure ---- */

template <int dim>
static __global__ void RecordLeaversKernel(const MFGTransit t, const Axes axes,
                                           const MFGAgentRange agents, const int64_t *leavers) {
  const int words = dim + 1;
  MFG_FOR_EACH(j, Least(leavers[0], t.capacity))
  MFGAgentToRecord(&agents, axes.axis, dim, leavers[1 + j], t.record + j * words);
}

/* Leavers of the ascending list that are below `place`. */
static __device__ int64_t LeaversBelow(const int64_t *leavers, int64_t place) {
  int64_t low = 0, high = leavers[0];
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (leavers[1 + middle] < place)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Of those beyond the agents that will be left, the k-th that stays takes the place of leaver k. */
template <int dim>
static __global__ void FillPlacesKernel(const MFGTransit t, const Axes axes,
                                        const MFGAgentRange agents, const int64_t *leavers) {
  const int64_t left = t.traffic->here[1] - leavers[0], holes = LeaversBelow(leavers, left);
  const int64_t *beyond = leavers + 1 + holes, others = leavers[0] - holes;
  MFG_FOR_EACH(k, holes) {
    /* c leavers beyond come before it: as many as have at most k that stay before them. */
    int64_t low = 0, high = others;
    double record[MFG_MAX_DIM + 1];
    while (low < high) {
      const int64_t c = (low + high) / 2;
      if (beyond[c] - left - c <= k)
        low = c + 1;
      else
        high = c;
    }
    MFGAgentToRecord(&agents, axes.axis, dim, left + k + low, record);
    MFGAgentFromRecord(&agents, axes.axis, dim, leavers[1 + k], record);
  }
}

static __global__ void DepartedKernel(const MFGTransit t, const int64_t *leavers) {
  MFGTraffic *traffic = t.traffic;
  traffic->here[1] -= leavers[0];
  traffic->travelling = Least(leavers[0], t.capacity);
  Raise(&traffic->most_travelling, leavers[0]);
}

cudaError_t MFGLaunchDepart(const MFGTransit *transit, const MFGAgentRange *agents,
                            const int64_t *leavers, const MFGDevice *device) {
  const Axes axes = AxesOf(transit);
  cudaError_t error =
      MFGLaunch(MFG_KERNEL_OF_DIM(RecordLeaversKernel, transit->box.dim), BlocksOf(transit, device),
                MFG_THREADS, 0, device->stream, *transit, axes, *agents, leavers);
  if (!error)
    error =
        MFGLaunch(MFG_KERNEL_OF_DIM(FillPlacesKernel, transit->box.dim), BlocksOf(transit, device),
                  MFG_THREADS, 0, device->stream, *transit, axes, *agents, leavers);
  if (!error) error = MFGLaunch(DepartedKernel, 1, 1, 0, device->stream, *transit, leavers);
  return error;
}

/* ---- messages ---- */

typedef struct {
  void *message[2];
} Messages;

/* Where the records of a warp's lanes that go one way are put: places from a counter on. */
static __device__ int64_t TakePlace(bool goes, unsigned long long *counter) {
  const uint32_t lanes = __ballot_sync(ALL_LANES, goes);
  const int lane = threadIdx.x % WARP, leader = __ffs(lanes) - 1;
  unsigned long long first = 0;
  if (lane == leader) first = atomicAdd(counter, (unsigned long long)__popc(lanes));
  first = __shfl_sync(ALL_LANES, first, leader < 0 ? 0 : leader);
  return (int64_t)first + __popc(lanes & ((1u << lane) - 1));
}

/* Records that stay go to `kept`, the others to the messages while there is room;
 * counters: low, high, kept. */
static __global__ void PackKernel(const MFGTransit t, int axis, const Messages out, double *kept,
                                  unsigned long long *counters) {
  const int words = t.box.dim + 1;
  const int64_t travelling = t.traffic->travelling;
  for (int64_t first = (int64_t)blockIdx.x * blockDim.x; first < travelling;
       first += (int64_t)gridDim.x * blockDim.x) {
    const int64_t i = first + threadIdx.x;
    const double *record = t.record + i * words;
    const int way = i < travelling ? MFGRecordWay(&t, axis, record) : 2;
    double *place = NULL;
#pragma unroll
    for (int w = -1; w <= 1; w++) {
      const int64_t at = TakePlace(way == w, &counters[w < 0 ? 0 : w > 0 ? 1 : 2]);
      if (way != w) continue;
      if (w == 0)
        place = kept + at * words;
      else if (at < t.message)
        place = (double *)((char *)out.message[w > 0] + MFGMessageBytes(t.box.dim, at));
    }
    for (int k = 0; k < words && place; k++) place[k] = record[k];
  }
}

static __global__ void KeepKernel(const MFGTransit t, const double *kept,
                                  const unsigned long long *counters) {
  MFG_FOR_EACH(i, (int64_t)counters[2] * (t.box.dim + 1)) t.record[i] = kept[i];
}

static __global__ void PackedKernel(const MFGTransit t, const Messages out,
                                    const unsigned long long *counters) {
  t.traffic->travelling = (int64_t)counters[2];
  for (int side = 0; side < 2; side++) {
    *(int64_t *)out.message[side] = Least((int64_t)counters[side], t.message);
    Raise(&t.traffic->most_message, (int64_t)counters[side]);
  }
}

int64_t MFGPackWork(const MFGTransit *transit) {
  return 8 * (4 + transit->capacity * (transit->box.dim + 1));
}

cudaError_t MFGLaunchPack(const MFGTransit *transit, int axis, void *const message[2],
                          const MFGDevice *device) {
  const Messages out = {{message[0], message[1]}};
  unsigned long long *counters = (unsigned long long *)device->work;
  double *kept = (double *)device->work + 4;
  cudaError_t error = cudaMemsetAsync(counters, 0, 3 * sizeof *counters, device->stream);
  if (!error)
    error = MFGLaunch(PackKernel, BlocksOf(transit, device), MFG_THREADS, 0, device->stream,
                      *transit, axis, out, kept, counters);
  if (!error)
    error = MFGLaunch(KeepKernel, BlocksOf(transit, device), MFG_THREADS, 0, device->stream,
                      *transit, kept, counters);
  if (!error) error = MFGLaunch(PackedKernel, 1, 1, 0, device->stream, *transit, out, counters);
  return error;
}

/* Records that a message brings, and how many of them there is room for behind `travelling`. */
static __device__ int64_t Arriving(const void *message) {
  return message ? *(const int64_t *)message : 0;
}

static __global__ void UnpackKernel(const MFGTransit t, const Messages in) {
  const int words = t.box.dim + 1;
  int64_t before = t.traffic->travelling;
  for (int side = 0; side < 2; side++) {
    const int64_t room = Least(Arriving(in.message[side]), t.capacity - before);
    const double *record = (const double *)in.message[side] + 1;
    MFG_FOR_EACH(i, room * words) t.record[before * words + i] = record[i];
    before += room;
  }
}

static __global__ void UnpackedKernel(const MFGTransit t, const Messages in) {
  MFGTraffic *traffic = t.traffic;
  for (int side = 0; side < 2; side++) {
    const int64_t arriving = Arriving(in.message[side]);
    Raise(&traffic->most_travelling, traffic->travelling + arriving);
    traffic->travelling += Least(arriving, t.capacity - traffic->travelling);
  }
}

cudaError_t MFGLaunchUnpack(const MFGTransit *transit, const void *const message[2],
                            const MFGDevice *device) {
  const Messages in = {{(void *)message[0], (void *)message[1]}};
  const cudaError_t error = MFGLaunch(UnpackKernel, BlocksOf(transit, device), MFG_THREADS, 0,
                                      device->stream, *transit, in);
  return error ? error : MFGLaunch(UnpackedKernel, 1, 1, 0, device->stream, *transit, in);
}

static __global__ void CountStraysKernel(const MFGTransit t, int axis) {
  const MFGBlock &b = t.box;
  MFG_FOR_EACH(i, t.traffic->travelling) {
    const int cell = MFGRecordCell(&b, axis, t.record + i * (b.dim + 1));
    if (cell < b.start[axis] || cell >= b.start[axis] + b.count[axis])
      atomicAdd((unsigned long long *)&t.traffic->strays[axis], 1ull);
  }
}

cudaError_t MFGLaunchCountStrays(const MFGTransit *transit, int axis, const MFGDevice *device) {
  return MFGLaunch(CountStraysKernel, BlocksOf(transit, device), MFG_THREADS, 0, device->stream,
                   *transit, axis);
}

/* ---- arrival ---- */

static __device__ int64_t RoomHere(const MFGTransit &t, int64_t room) {
  return Least(t.traffic->travelling, room - t.traffic->here[1]);
}

template <int dim>
static __global__ void ArriveKernel(const MFGTransit t, const Axes axes,
                                    const MFGAgentRange agents) {
  const int64_t here = t.traffic->here[1];
  MFG_FOR_EACH(i, RoomHere(t, agents.count))
  MFGAgentFromRecord(&agents, axes.axis, dim, here + i, t.record + i * (dim + 1));
}

static __global__ void ArrivedKernel(const MFGTransit t, int64_t room) {
  MFGTraffic *traffic = t.traffic;
  const int64_t here = traffic->here[1];
  Raise(&traffic->most_here, here + traffic->travelling);
  traffic->arrived[0] = here;
  traffic->arrived[1] = traffic->here[1] = here + RoomHere(t, room);
}

cudaError_t MFGLaunchArrive(const MFGTransit *transit, const MFGAgentRange *agents,
                            const MFGDevice *device) {
  const Axes axes = AxesOf(transit);
  const cudaError_t error =
      MFGLaunch(MFG_KERNEL_OF_DIM(ArriveKernel, transit->box.dim), BlocksOf(transit, device),
                MFG_THREADS, 0, device->stream, *transit, axes, *agents);
  if (error) return error;
  return MFGLaunch(ArrivedKernel, 1, 1, 0, device->stream, *transit, agents->count);
}
