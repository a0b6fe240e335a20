/* Densities. The separable convolution goes axis by axis, x first; every sum is taken by one thread
 * in the order of the CPU: power, box, distance. Entry e of an axis stands for cell start - radius
 * + e of the box; its moments, or those that it is an image of, are at a position along the axis.
 * Levels, each with a radius and weights of its own, are done together.
 */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

/* Cells in a row that a thread takes together: a value is loaded once for all. Along x only one
 * where so the grid of threads would be small: then the length of a thread's sums is what counts.
 */
#define OUTPUTS 4
#define TILE_THREADS 64
#define ACROSS_THREADS 128
/* Numbers that a thread has on the way at a time. */
#define LOADS 8
/* Bytes of shared memory of a block, where one source of its sums needs no more. */
#define SHARED_BYTES 24576
/* Bytes of what the passes along x leave for those along y, and those along y for z; sets of it at
 * a time, and levels, whose kernels are arguments. */
#define PLANES_BYTES ((int64_t)64 << 20)
#define SETS_MOST 1024
#define LEVELS_MOST 64

/* A set: the boxes of a level with one place along z. Sets are numbered level after level, z
 * position after z position. */
typedef struct {
  MFGBlock block;
  MFGExtent extent;
  int dim, order, terms, numbers, levels;
  double unit, agents; /* 2^-S, N */
  int rows;            /* pairs (l, m) of powers of y and z */
  int boxes[MFG_MAX_DIM], halvings;
  /* Of y and z: the positions of the entries of any level lie from `lowest` on; so many. */
  int lowest[MFG_MAX_DIM], positions[MFG_MAX_DIM];
  int radius;    /* along x, the largest of any level */
  int sets;      /* of a level */
  int64_t field; /* integers of a level */
} Plan;

typedef struct {
  MFGDensityKernel level[LEVELS_MOST];
} Kernels;

/* Where the moments of a cell, perhaps beyond the grid, are along its axis; MFGMomentPosition,
 * quickly where there is no image. */
MFG_HD int PositionOf(const Plan *p, int axis, int cell, int *mirrored) {
  *mirrored = 0;
  return (unsigned)cell < (unsigned)p->block.cells[axis]
             ? cell - p->extent.start[axis]
             : MFGMomentPosition(&p->block, &p->extent, axis, cell, mirrored);
}

static void FindPositions(Plan *p, int axis, int radius) {
  const int start = p->block.start[axis], end = start + p->block.count[axis];
  int mirrored, highest = end - 1 - p->extent.start[axis];
  p->lowest[axis] = start - p->extent.start[axis];
  for (int i = start - radius; i < end + radius; i++) {
    if (i == start) i = end;
    const int position = PositionOf(p, axis, i, &mirrored);
    if (position < p->lowest[axis]) p->lowest[axis] = position;
    if (position > highest) highest = position;
  }
  p->positions[axis] = highest - p->lowest[axis] + 1;
}

static Plan PlanOf(const MFGConvolution *job) {
  Plan p = {};
  p.block = job->block;
  p.extent = MFGExtentOrWhole(&job->block, &job->extent);
  p.dim = job->block.dim;
  p.order = job->shape.order;
  p.terms = MFGMomentTerms(p.dim, p.order);
  p.numbers = MFGMomentNumbers(p.dim, &job->shape);
  p.levels = job->levels;
  p.unit = ldexp(1, -job->shape.scale);
  p.agents = (double)job->agents;
  p.rows = p.dim == 1 ? 1 : p.dim == 2 ? p.order : MFGMomentRow(p.order, p.order);
  for (int k = 0; k < MFG_MAX_DIM; k++) p.boxes[k] = 1 << job->shape.halvings[k];
  for (int k = 1; k < MFG_MAX_DIM; k++) FindPositions(&p, k, k < p.dim ? job->radius[k] : 0);
  p.halvings = job->shape.halvings[0];
  p.radius = job->radius[0];
  p.field = MFGMomentField(&job->block, &job->shape, &job->extent);
  p.sets = p.positions[2] * p.boxes[2];
  return p;
}

/* Numbers of a set after the passes along x, [y position][y box][row (l, m)][x], and after those
 * along y, [m][y][x]. */
static int64_t PlaneSize(const Plan *p) {
  return (int64_t)p->positions[1] * p->boxes[1] * p->rows * p->block.count[0];
}

static int64_t PartialSize(const Plan *p) {
  return (int64_t)p->order * p->block.count[1] * p->block.count[0];
}

static int64_t Within(int64_t n, int64_t most) {
  return n < 1 ? 1 : n < most ? n : most;
}

static int LevelsAtATime(const Plan *p) {
  const int64_t most = Within(p->levels, LEVELS_MOST);
  return (int)(p->dim < 3 ? most : Within(PLANES_BYTES / 8 / (p->sets * PartialSize(p)), most));
}

/* Sets between which the passes along x and y alternate. */
static int SetsAtATime(const Plan *p) {
  const int64_t most = Within((int64_t)LevelsAtATime(p) * p->sets, SETS_MOST);
  return (int)Within(PLANES_BYTES / 8 / PlaneSize(p), most);
}

int64_t MFGConvolveWork(const MFGConvolution *job) {
  const Plan p = PlanOf(job);
  if (p.dim == 1 || !MFGBlockOwned(&p.block)) return 0;
  const int64_t partial = p.dim > 2 ? LevelsAtATime(&p) * (p.sets * PartialSize(&p)) : 0;
  return 8 * (SetsAtATime(&p) * PlaneSize(&p) + partial);
}

/* The values of a tile are stored by their number modulo the outputs of a thread: threads that read
 * every such value do not meet in a bank. */
template <int N> static __device__ int Stored(int entry, int pitch) {
  return entry % N * pitch + entry / N;
}

/* Entries of a tile over n, rounded up. */
MFG_HD int PitchOf(int threads, int radius, int n) {
  return threads + (2 * radius + n - 1) / n;
}

/* sum += weight[j] value(entry i + 2 radius - j) over j = 0 .. 2 radius for N cells i. */
template <int N>
static __device__ void AddTile(int radius, const double *weight, const double *value, int pitch,
                               double sum[N]) {
  double v[N];
  const int first = N * threadIdx.x + 2 * radius;
#pragma unroll
  for (int o = 0; o < N - 1; o++) v[o] = value[Stored<N>(first + 1 + o, pitch)];
#pragma unroll 8
  for (int j = 0; j <= 2 * radius; j++) {
#pragma unroll
    for (int o = N - 1; o > 0; o--) v[o] = v[o - 1];
    v[0] = value[Stored<N>(first - j, pitch)];
#pragma unroll
    for (int o = 0; o < N; o++) sum[o] += weight[j] * v[o];
  }
}

/* A line of boxes along x: where it is, and its first number of row (l, m). */
typedef struct {
  const int64_t *moments;
  int level, l, m;
} Line;

/* Line `line` of the sets from `set` on, row (l, m) number `row`. */
static __device__ Line LineOf(const Plan &p, const int64_t *moments, int set, int line, int row) {
  const int y_box = line % p.boxes[1], y = line / p.boxes[1] % p.positions[1];
  set += line / p.boxes[1] / p.positions[1];
  Line a = {moments, set / p.sets, row, 0};
  set %= p.sets;
  const int z_box = set % p.boxes[2], z = set / p.boxes[2];
  while (a.l >= p.order - a.m) a.l -= p.order - a.m++;
  a.moments += a.level * p.field +
               ((int64_t)(p.lowest[2] + z) * p.extent.count[1] + p.lowest[1] + y) *
                   p.extent.count[0] * p.numbers +
               (int64_t)(z_box * p.boxes[1] + y_box) * p.boxes[0] * p.terms +
               MFGMomentPlane(p.order, a.m) + MFGMomentRow(p.order - a.m, a.l);
  return a;
}

/* Where a number of a line is: of cell `cell`, number q counted by term and box. In a mirror boxes
 * stand in reverse order and odd powers change sign. */
static __device__ int64_t PlaceOf(const Plan &p, int cell, int q, int *odd) {
  const int k = q >> p.halvings, s = q & (p.boxes[0] - 1);
  int mirrored;
  const int64_t position = PositionOf(&p, 0, cell, &mirrored);
  *odd = mirrored & k;
  return position * p.numbers + (mirrored ? p.boxes[0] - 1 - s : s) * p.terms + k;
}

/* A tile's entries of the cells from `first` on, which end before `beyond`: their numbers begin ..
 * end - 1, at most 2^spread, into value[number][stored entry]. Lanes beside each other take numbers
 * that lie beside each other. */
template <int N>
static __device__ void LoadTile(const Plan &p, const Line &a, int first, int entries, int beyond,
                                int begin, int end, int spread, int pitch, double *value) {
  const int threads = blockDim.x, all = entries << spread;
  for (int from = threadIdx.x; from < all; from += LOADS * threads) {
    int64_t place[LOADS], number[LOADS];
    int odd[LOADS];
#pragma unroll
    for (int u = 0; u < LOADS; u++) {
      const int i = from + u * threads, cell = first + (i >> spread),
                q = begin + (i & ((1 << spread) - 1));
      place[u] = -1;
      odd[u] = 0;
      if (i < all && cell < beyond && q < end) place[u] = PlaceOf(p, cell, q, &odd[u]);
    }
#pragma unroll
    for (int u = 0; u < LOADS; u++) number[u] = place[u] < 0 ? 0 : a.moments[place[u]];
#pragma unroll
    for (int u = 0; u < LOADS; u++) {
      const int i = from + u * threads, q = i & ((1 << spread) - 1);
      if (i < all && q < end - begin)
        value[q * N * pitch + Stored<N>(i >> spread, pitch)] =
            (double)number[u] * (odd[u] ? -p.unit : p.unit);
    }
  }
}

static __device__ void LoadWeights(const double *weights, int count, double *copy) {
  for (int from = threadIdx.x; from < count; from += LOADS * (int)blockDim.x) {
    double w[LOADS];
#pragma unroll
    for (int u = 0; u < LOADS; u++) {
      const int i = from + u * blockDim.x;
      w[u] = i < count ? weights[i] : 0;
    }
#pragma unroll
    for (int u = 0; u < LOADS; u++) {
      const int i = from + u * blockDim.x;
      if (i < count) copy[i] = w[u];
    }
  }
}

/* How a block has its shared memory: per line, values and weights of `batch` sources. */
typedef struct {
  int tiles; /* of a line */
  int batch, spread, pitch;
} Tiling;

/* Along x, of the sets from `set` on. The threads with one threadIdx.y have a tile of cells of one
 * line; rows (l, m) of a tile are in blocks beside each other, which find its moments in a cache.
 */
template <int N>
static __global__ void __launch_bounds__(TILE_THREADS, 12)
    ConvolveXKernel(const Plan p, const Kernels kernels, const int64_t *moments, int set, int lines,
                    const Tiling t, double *out) {
  MFG_DYNAMIC_SHARED(double, shared);
  const int row = blockIdx.x % p.rows, columns = p.block.count[0], tile = N * blockDim.x;
  const int first = (int)(blockIdx.x / p.rows % t.tiles) * tile, mine = first + N * threadIdx.x;
  const int line = (int)(blockIdx.x / p.rows / t.tiles * blockDim.y + threadIdx.y);
  const bool used = line < lines;
  const Line a = LineOf(p, moments, set, used ? line : 0, row);
  const MFGDensityKernel &kernel = kernels.level[a.level];
  const int radius = kernel.radius[0], width = 2 * radius + 1, source = N * t.pitch;
  const int sources = (p.order - a.l - a.m) << p.halvings, start = p.block.start[0];
  double *value = shared + (int64_t)threadIdx.y * t.batch * (source + 2 * p.radius + 1);
  double *weight = value + t.batch * source, sum[N] = {};

  for (int begin = 0; begin < sources; begin += t.batch) {
    const int end = begin + t.batch < sources ? begin + t.batch : sources;
    __syncthreads();
    if (used) {
      LoadTile<N>(p, a, start - radius + first, tile + 2 * radius, start + columns + radius, begin,
                  end, t.spread, t.pitch, value);
      LoadWeights(kernel.weights[0] + begin * width, (end - begin) * width, weight);
    }
    __syncthreads();
    for (int q = 0; q < end - begin && used && mine < columns; q++)
      AddTile<N>(radius, weight + q * width, value + q * source, t.pitch, sum);
  }
  out += ((int64_t)line * p.rows + row) * columns;
#pragma unroll
  for (int o = 0; o < N; o++)
    if (used && mine + o < columns) out[mine + o] = p.dim == 1 ? sum[o] / p.agents : sum[o];
}

/* Of y or z: where the values of a position, a box and a power are. */
typedef struct {
  int64_t by_position, by_box, by_power;
} Layout;

/* Values of cells cell .. cell + OUTPUTS - 1 of y or z, power l and box s, as they enter the sums:
 * 0 before `begin` and from `end` on, where no sum has them. */
static __device__ void LoadAcross(const Plan &p, int axis, const Layout &a, const double *in, int l,
                                  int s, int cell, int begin, int end, double v[OUTPUTS]) {
  in += l * a.by_power;
  if (cell >= 0 && cell + OUTPUTS <= p.block.cells[axis] && cell >= begin &&
      cell + OUTPUTS <= end) {
    in += (cell - p.extent.start[axis] - p.lowest[axis]) * a.by_position + s * a.by_box;
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) v[o] = in[o * a.by_position];
    return;
  }
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
    v[o] = 0;
    if (cell + o < begin || cell + o >= end) continue;
    int mirrored;
    const int position = PositionOf(&p, axis, cell + o, &mirrored) - p.lowest[axis];
    const int box = mirrored ? p.boxes[axis] - 1 - s : s;
    v[o] = in[position * a.by_position + box * a.by_box];
    if (mirrored & l) v[o] = -v[o];
  }
}

/* Along y or z, `powers` of them, for OUTPUTS cells in a row of one column. The weights j .. j +
 * OUTPUTS - 1 meet the values of two groups of OUTPUTS cells. */
static __device__ void AddAcross(const Plan &p, const MFGDensityKernel &kernel, const int axis,
                                 int powers, const Layout &a, const double *in, int cell,
                                 double sum[OUTPUTS]) {
  const int radius = kernel.radius[axis], start = p.block.start[axis];
  const int begin = start - radius, end = start + p.block.count[axis] + radius;
  const double *weight = kernel.weights[axis];
  for (int l = 0; l < powers; l++)
    for (int s = 0; s < p.boxes[axis]; s++, weight += 2 * radius + 1) {
      double v[2 * OUTPUTS];
      int group = start + cell + radius + 1;
      LoadAcross(p, axis, a, in, l, s, group, begin, end, v + OUTPUTS);
      for (int j = 0; j <= 2 * radius; j += OUTPUTS) {
        LoadAcross(p, axis, a, in, l, s, group -= OUTPUTS, begin, end, v);
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++)
#pragma unroll
          for (int o = 0; o < OUTPUTS; o++)
            if (j + i <= 2 * radius) sum[o] += weight[j + i] * v[OUTPUTS - 1 - i + o];
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) v[OUTPUTS + o] = v[o];
      }
    }
}

/* Along y: blockIdx.y has the cells, blockIdx.z the power m of z and the set, from `set` on. 2D:
 * the density. */
static __global__ void __launch_bounds__(ACROSS_THREADS)
    ConvolveYKernel(const Plan p, const Kernels kernels, const double *in, int set, double *out) {
  const int columns = p.block.count[0], i = blockIdx.x * ACROSS_THREADS + threadIdx.x;
  const int cell = blockIdx.y * OUTPUTS, planes = p.dim > 2 ? p.order : 1, m = blockIdx.z % planes;
  const Layout a = {(int64_t)p.boxes[1] * p.rows * columns, (int64_t)p.rows * columns, columns};
  double sum[OUTPUTS] = {0, 0, 0, 0};

  if (i >= columns) return;
  in += blockIdx.z / planes * (p.positions[1] * a.by_position) +
        (int64_t)MFGMomentRow(p.order, m) * columns + i;
  AddAcross(p, kernels.level[(set + blockIdx.z / planes) / p.sets], 1, p.order - m, a, in, cell,
            sum);
  out += ((int64_t)blockIdx.z * p.block.count[1] + cell) * columns + i;
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++)
    if (cell + o < p.block.count[1])
      out[(int64_t)o * columns] = p.dim == 2 ? sum[o] / p.agents : sum[o];
}

/* Along z, of all columns (y, x); blockIdx.z has the level. */
static __global__ void __launch_bounds__(ACROSS_THREADS)
    ConvolveZKernel(const Plan p, const Kernels kernels, const double *in, double *density) {
  const int64_t columns = (int64_t)p.block.count[0] * p.block.count[1];
  const int64_t i = (int64_t)blockIdx.x * ACROSS_THREADS + threadIdx.x;
  const int cell = blockIdx.y * OUTPUTS;
  const Layout a = {p.boxes[2] * p.order * columns, p.order * columns, columns};
  double sum[OUTPUTS] = {0, 0, 0, 0};

  if (i >= columns) return;
  in += blockIdx.z * p.positions[2] * a.by_position + i;
  AddAcross(p, kernels.level[blockIdx.z], 2, p.order, a, in, cell, sum);
  density += blockIdx.z * columns * p.block.count[2];
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++)
    if (cell + o < p.block.count[2]) density[(cell + o) * columns + i] = sum[o] / p.agents;
}

static unsigned Ceiling(int64_t n, int by) {
  return (unsigned)((n + by - 1) / by);
}

/* Along x, for `sets` sets; N cells to a thread. */
template <int N>
static cudaError_t LaunchTiles(const Plan *p, const Kernels *kernels, const int64_t *moments,
                               int set, int sets, double *out, const MFGDevice *device) {
  int along = TILE_THREADS;
  while (along > 1 && N * along / 2 >= p->block.count[0]) along /= 2;
  const int across = TILE_THREADS / along, sources = p->order << p->halvings;
  const int lines = sets * p->positions[1] * p->boxes[1];
  Tiling t = {.tiles = (int)Ceiling(p->block.count[0], N * along),
              .batch = 0,
              .spread = 0,
              .pitch = PitchOf(along, p->radius, N)};
  const int64_t one = 8 * (int64_t)across * (N * t.pitch + 2 * p->radius + 1);
  t.batch = (int)Within(SHARED_BYTES / one, sources);
  while (1 << t.spread < t.batch) t.spread++;
  const cudaError_t error = cudaFuncSetAttribute(
      ConvolveXKernel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(one * t.batch));
  if (error) return error;
  return MFGLaunch(ConvolveXKernel<N>, Ceiling(lines, across) * t.tiles * p->rows,
                   dim3((unsigned)along, (unsigned)across), (size_t)(one * t.batch), device->stream,
                   *p, *kernels, moments, set, lines, t, out);
}

static cudaError_t LaunchX(const Plan *p, const Kernels *kernels, const int64_t *moments, int set,
                           int sets, double *out, const MFGDevice *device) {
  const int64_t threads =
      (int64_t)sets * p->positions[1] * p->boxes[1] * p->rows * Ceiling(p->block.count[0], OUTPUTS);
  return threads < (int64_t)device->multiprocessors * 4 * TILE_THREADS
             ? LaunchTiles<1>(p, kernels, moments, set, sets, out, device)
             : LaunchTiles<OUTPUTS>(p, kernels, moments, set, sets, out, device);
}

/* Levels of a plan that are done together. */
static cudaError_t LaunchLevels(const Plan *p, int levels, const Kernels *kernels,
                                const int64_t *moments, double *density, const MFGDevice *device) {
  const int64_t columns = (int64_t)p->block.count[0] * p->block.count[1];
  if (p->dim == 1) return LaunchX(p, kernels, moments, 0, levels, density, device);
  const int batch = SetsAtATime(p), all = levels * p->sets;
  const int planes = p->dim > 2 ? p->order : 1;
  double *plane = (double *)device->work, *partial = plane + batch * PlaneSize(p);
  cudaError_t error = cudaSuccess;

  for (int set = 0; set < all && !error; set += batch) {
    const int sets = (int)Within(all - set, batch);
    error = LaunchX(p, kernels, moments, set, sets, plane, device);
    if (!error)
      error = MFGLaunch(ConvolveYKernel,
                        dim3(Ceiling(p->block.count[0], ACROSS_THREADS),
                             Ceiling(p->block.count[1], OUTPUTS), (unsigned)(sets * planes)),
                        ACROSS_THREADS, 0, device->stream, *p, *kernels, plane, set,
                        p->dim == 2 ? density + set * columns : partial + set * PartialSize(p));
  }
  if (error || p->dim == 2) return error;
  return MFGLaunch(
      ConvolveZKernel,
      dim3(Ceiling(columns, ACROSS_THREADS), Ceiling(p->block.count[2], OUTPUTS), (unsigned)levels),
      ACROSS_THREADS, 0, device->stream, *p, *kernels, partial, density);
}

cudaError_t MFGLaunchConvolve(const MFGConvolution *job, const int64_t *moments, double *density,
                              const MFGDevice *device) {
  const Plan p = PlanOf(job);
  const int64_t owned = MFGBlockOwned(&p.block);
  cudaError_t error = cudaSuccess;
  if (!owned) return cudaSuccess;
  const int batch = LevelsAtATime(&p);
  for (int first = 0; first < job->levels && !error; first += batch) {
    const int levels = (int)Within(job->levels - first, batch);
    Kernels kernels = {};
    for (int n = 0; n < levels; n++) kernels.level[n] = job->kernel[first + n];
    error = LaunchLevels(&p, levels, &kernels, moments + first * p.field, density + first * owned,
                         device);
  }
  return error;
}

typedef struct {
  const double *position[MFG_MAX_DIM];
  double bandwidth[MFG_MAX_DIM], inverse[MFG_MAX_DIM], norm;
  int images[MFG_MAX_DIM];
} Crowd;

/* Kernel of one agent and of its images along an axis at cell i. */
static __device__ double AxisKernel(const MFGBlock &b, const Crowd &crowd, int axis, int64_t agent,
                                    int i) {
  const double position = crowd.position[axis][agent], h = crowd.bandwidth[axis];
  double sum = 0, at;
  for (int q = 0; q < crowd.images[axis]; q++)
    if (MFGKernelImage(&b, axis, h, crowd.images[axis], q, position, &at))
      sum += MFGKernelValue(b.lower[axis], b.spacing[axis], crowd.inverse[axis], at, i);
  return sum;
}

static __global__ void DirectKernel(const MFGBlock b, const Crowd crowd, int64_t count,
                                    double *density) {
  MFG_FOR_EACH(cell, MFGBlockOwned(&b)) {
    const int x = (int)(cell % b.count[0]) + b.start[0];
    const int y = (int)(cell / b.count[0] % b.count[1]) + b.start[1];
    const int z = (int)(cell / b.count[0] / b.count[1]) + b.start[2];
    double sum = 0;
    for (int64_t p = 0; p < count; p++) {
      const double ky = b.dim > 1 ? AxisKernel(b, crowd, 1, p, y) : 1;
      const double kz = b.dim > 2 ? AxisKernel(b, crowd, 2, p, z) : 1;
      sum += ky * kz * AxisKernel(b, crowd, 0, p, x);
    }
    density[cell] = sum * crowd.norm;
  }
}

cudaError_t MFGLaunchDirect(const MFGBlock *block, int64_t count, const double *const position[],
                            const double bandwidth[], double *density, const MFGDevice *device) {
  const int64_t owned = MFGBlockOwned(block);
  Crowd crowd = {};
  if (!owned) return cudaSuccess;
  crowd.norm = MFGKernelNorm(block->dim, bandwidth, count);
  for (int k = 0; k < block->dim; k++) {
    crowd.position[k] = position[k];
    crowd.bandwidth[k] = bandwidth[k];
    crowd.inverse[k] = 1 / bandwidth[k];
    crowd.images[k] = MFGKernelImages(block, k, bandwidth[k]);
  }
  return MFGLaunch(DirectKernel, MFGBlocksFor(device, owned, TILE_THREADS), TILE_THREADS, 0,
                   device->stream, *block, crowd, count, density);
}
