/* Densities. The separable convolution goes axis by axis, x first; every sum is taken by one thread
 * in the order of the CPU: power, box, distance. Entry e of an axis stands for cell start - radius
 * + e of the box; its moments, or those that it is an image of, are at a position along the axis.
 */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

/* Cells in a row that a thread takes together: a value is loaded once for all. */
#define OUTPUTS 4
#define TILE_THREADS 64
#define ACROSS_THREADS 128
/* Bytes of shared memory of a block, where one source of its sums needs no more. */
#define SHARED_BYTES 24576
/* Bytes of what the passes along x leave for those along y, and sets of it at a time. */
#define PLANES_BYTES ((int64_t)128 << 20)
#define SETS_MOST 1024

/* A set: the boxes with one place along z. Sets are numbered z position after z position. */
typedef struct {
  MFGBlock block;
  MFGExtent extent;
  int dim, order, terms, numbers;
  double unit, agents; /* 2^-S, N */
  int rows;            /* pairs (l, m) of powers of y and z */
  int radius[MFG_MAX_DIM], boxes[MFG_MAX_DIM];
  int reached[MFG_MAX_DIM]; /* entries: cells of the box and the radius on each side */
  /* The positions of the entries lie from `lowest` on; so many. */
  int lowest[MFG_MAX_DIM], positions[MFG_MAX_DIM];
  const double *weights[MFG_MAX_DIM];
  int64_t sets;
} Plan;

/* Where the moments of an entry are along its axis; MFGMomentPosition, quickly where there is no
 * image. */
MFG_HD int PositionOf(const Plan *p, int axis, int entry, int *mirrored) {
  const int cell = p->block.start[axis] - p->radius[axis] + entry;
  *mirrored = 0;
  return (unsigned)cell < (unsigned)p->block.cells[axis]
             ? cell - p->extent.start[axis]
             : MFGMomentPosition(&p->block, &p->extent, axis, cell, mirrored);
}

static void FindPositions(Plan *p, int axis) {
  int mirrored, highest = 0;
  p->lowest[axis] = p->extent.count[axis] - 1;
  for (int e = 0; e < p->reached[axis]; e++) {
    const int position = PositionOf(p, axis, e, &mirrored);
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
  p.unit = ldexp(1, -job->shape.scale);
  p.agents = (double)job->agents;
  p.rows = p.dim == 1 ? 1 : p.dim == 2 ? p.order : MFGMomentRow(p.order, p.order);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    p.radius[k] = k < p.dim ? job->radius[k] : 0;
    p.boxes[k] = 1 << job->shape.halvings[k];
    p.reached[k] = job->block.count[k] + 2 * p.radius[k];
    p.weights[k] = job->weights[k];
    FindPositions(&p, k);
  }
  p.sets = (int64_t)p.positions[2] * p.boxes[2];
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

/* Sets between which the passes along x and y alternate. */
static int64_t SetsAtATime(const Plan *p) {
  const int64_t fit = PLANES_BYTES / 8 / PlaneSize(p), most = fit < SETS_MOST ? fit : SETS_MOST;
  return most < 1 ? 1 : most < p->sets ? most : p->sets;
}

int64_t MFGConvolveWork(const MFGConvolution *job) {
  const Plan p = PlanOf(job);
  if (p.dim == 1 || !MFGBlockOwned(&p.block)) return 0;
  return 8 * (SetsAtATime(&p) * PlaneSize(&p) + (p.dim > 2 ? p.sets * PartialSize(&p) : 0));
}

/* The values of a tile are stored by their number modulo OUTPUTS: threads that read every
 * OUTPUTS-th one do not meet in a bank. */
static __device__ int Stored(int entry, int pitch) {
  return entry % OUTPUTS * pitch + entry / OUTPUTS;
}

/* Entries of a tile over OUTPUTS, rounded up. */
MFG_HD int PitchOf(int threads, int radius) {
  return threads + (2 * radius + OUTPUTS - 1) / OUTPUTS;
}

/* sum += weight[j] value(entry i + 2 radius - j) over j = 0 .. 2 radius for OUTPUTS cells i. */
static __device__ void AddTile(int radius, const double *weight, const double *value, int pitch,
                               double sum[OUTPUTS]) {
  double v[OUTPUTS];
  const int first = OUTPUTS * threadIdx.x + 2 * radius;
#pragma unroll
  for (int o = 0; o < OUTPUTS - 1; o++) v[o] = value[Stored(first + 1 + o, pitch)];
#pragma unroll 4
  for (int j = 0; j <= 2 * radius; j++) {
#pragma unroll
    for (int o = OUTPUTS - 1; o > 0; o--) v[o] = v[o - 1];
    v[0] = value[Stored(first - j, pitch)];
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) sum[o] += weight[j] * v[o];
  }
}

/* A line of boxes along x: where it is, and its first number of row (l, m). */
typedef struct {
  const int64_t *moments;
  int l, m;
} Line;

/* Line `line` of the sets from `set` on, row (l, m) number `row`. */
static __device__ Line LineOf(const Plan &p, const int64_t *moments, int64_t set, int64_t line,
                              int row) {
  const int y_box = (int)(line % p.boxes[1]), y = (int)(line / p.boxes[1] % p.positions[1]);
  set += line / p.boxes[1] / p.positions[1];
  const int z_box = (int)(set % p.boxes[2]), z = (int)(set / p.boxes[2]);
  Line a = {moments, row, 0};
  while (a.l >= p.order - a.m) a.l -= p.order - a.m++;
  a.moments += ((int64_t)(p.lowest[2] + z) * p.extent.count[1] + p.lowest[1] + y) *
                   p.extent.count[0] * p.numbers +
               (int64_t)(z_box * p.boxes[1] + y_box) * p.boxes[0] * p.terms +
               MFGMomentPlane(p.order, a.m) + MFGMomentRow(p.order - a.m, a.l);
  return a;
}

/* Term k of box s at an entry of the line. In a mirror boxes stand in reverse order and odd powers
 * change sign. */
static __device__ double ValueAt(const Plan &p, const Line &a, int entry, int s, int k) {
  int mirrored;
  const int64_t cell = PositionOf(&p, 0, entry, &mirrored);
  const int box = mirrored ? p.boxes[0] - 1 - s : s;
  const double v = (double)a.moments[cell * p.numbers + box * p.terms + k];
  return v * (mirrored & k ? -p.unit : p.unit);
}

/* Along x, of the sets from `set` on. The threads with one threadIdx.y have a tile of cells of one
 * line; blockIdx.y is the row (l, m). Values of `batch` terms and boxes at a time are in shared
 * memory. */
static __global__ void __launch_bounds__(TILE_THREADS, 12)
    ConvolveXKernel(const Plan p, const int64_t *moments, int64_t set, int64_t lines, int tiles,
                    int batch, double *out) {
  MFG_DYNAMIC_SHARED(double, values);
  const int radius = p.radius[0], columns = p.block.count[0], width = 2 * radius + 1;
  const int tile = OUTPUTS * blockDim.x, pitch = PitchOf(blockDim.x, radius);
  const int first = blockIdx.x % tiles * tile, mine = first + OUTPUTS * threadIdx.x;
  const int64_t line = (int64_t)(blockIdx.x / tiles) * blockDim.y + threadIdx.y;
  const bool used = line < lines;
  const Line a = LineOf(p, moments, set, used ? line : 0, blockIdx.y);
  const int sources = (p.order - a.l - a.m) * p.boxes[0];
  double sum[OUTPUTS] = {0, 0, 0, 0}, *value = values + threadIdx.y * batch * OUTPUTS * pitch;

  for (int begin = 0; begin < sources; begin += batch) {
    const int end = begin + batch < sources ? begin + batch : sources;
    __syncthreads();
    for (int e = threadIdx.x; e < tile + 2 * radius && used; e += blockDim.x)
      for (int q = begin; q < end; q++)
        value[(q - begin) * OUTPUTS * pitch + Stored(e, pitch)] =
            first + e < p.reached[0] ? ValueAt(p, a, first + e, q % p.boxes[0], q / p.boxes[0]) : 0;
    __syncthreads();
    for (int q = begin; q < end && used && mine < columns; q++)
      AddTile(radius, p.weights[0] + q * width, value + (q - begin) * OUTPUTS * pitch, pitch, sum);
  }
  out += (line * p.rows + blockIdx.y) * columns;
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++)
    if (used && mine + o < columns) out[mine + o] = p.dim == 1 ? sum[o] / p.agents : sum[o];
}

/* Of y or z: where the values of a position, a box and a power are. */
typedef struct {
  int64_t by_position, by_box, by_power;
} Layout;

/* Along y or z, `powers` of them, for OUTPUTS cells in a row of one column. */
static __device__ void AddAcross(const Plan &p, const int axis, int powers, const Layout &a,
                                 const double *in, int cell, double sum[OUTPUTS]) {
  const int radius = p.radius[axis], boxes = p.boxes[axis];
  const double *weight = p.weights[axis];
  for (int l = 0; l < powers; l++)
    for (int s = 0; s < boxes; s++, weight += 2 * radius + 1) {
      double v[OUTPUTS] = {0, 0, 0, 0};
      /* The first OUTPUTS - 1 rounds only fill v. */
      for (int j = 1 - OUTPUTS; j <= 2 * radius; j++) {
        const int entry = cell + 2 * radius - j;
#pragma unroll
        for (int o = OUTPUTS - 1; o > 0; o--) v[o] = v[o - 1];
        v[0] = 0;
        if (entry < p.reached[axis]) {
          int mirrored;
          const int position = PositionOf(&p, axis, entry, &mirrored) - p.lowest[axis];
          const int box = mirrored ? boxes - 1 - s : s;
          v[0] = in[position * a.by_position + box * a.by_box + l * a.by_power];
          if (mirrored & l) v[0] = -v[0];
        }
        if (j < 0) continue;
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) sum[o] += weight[j] * v[o];
      }
    }
}

/* Along y: blockIdx.y has the cells, blockIdx.z the set and the power m of z. 2D: the density. */
static __global__ void __launch_bounds__(ACROSS_THREADS)
    ConvolveYKernel(const Plan p, const double *in, double *out) {
  const int columns = p.block.count[0], i = blockIdx.x * ACROSS_THREADS + threadIdx.x;
  const int cell = blockIdx.y * OUTPUTS, planes = p.dim > 2 ? p.order : 1, m = blockIdx.z % planes;
  const Layout a = {(int64_t)p.boxes[1] * p.rows * columns, (int64_t)p.rows * columns, columns};
  double sum[OUTPUTS] = {0, 0, 0, 0};

  if (i >= columns) return;
  in += blockIdx.z / planes * (p.positions[1] * a.by_position) +
        (int64_t)MFGMomentRow(p.order, m) * columns + i;
  AddAcross(p, 1, p.order - m, a, in, cell, sum);
  out += ((int64_t)blockIdx.z * p.block.count[1] + cell) * columns + i;
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++)
    if (cell + o < p.block.count[1])
      out[(int64_t)o * columns] = p.dim == 2 ? sum[o] / p.agents : sum[o];
}

/* Along z, of all columns (y, x). */
static __global__ void __launch_bounds__(ACROSS_THREADS)
    ConvolveZKernel(const Plan p, const double *in, double *density) {
  const int64_t columns = (int64_t)p.block.count[0] * p.block.count[1];
  const int64_t i = (int64_t)blockIdx.x * ACROSS_THREADS + threadIdx.x;
  const int cell = blockIdx.y * OUTPUTS;
  const Layout a = {p.boxes[2] * p.order * columns, p.order * columns, columns};
  double sum[OUTPUTS] = {0, 0, 0, 0};

  if (i >= columns) return;
  AddAcross(p, 2, p.order, a, in + i, cell, sum);
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++)
    if (cell + o < p.block.count[2]) density[(cell + o) * columns + i] = sum[o] / p.agents;
}

/* Along x, for `sets` sets. */
static cudaError_t LaunchX(const Plan *p, const int64_t *moments, int64_t set, int64_t sets,
                           double *out, const MFGDevice *device) {
  int along = TILE_THREADS;
  while (along > 1 && OUTPUTS * along / 2 >= p->block.count[0]) along /= 2;
  const int across = TILE_THREADS / along, tile = OUTPUTS * along;
  const int tiles = (p->block.count[0] + tile - 1) / tile, sources = p->order * p->boxes[0];
  const int64_t lines = sets * p->positions[1] * p->boxes[1];
  const int64_t one = 8 * (int64_t)across * OUTPUTS * PitchOf(along, p->radius[0]);
  const int fit = (int)(SHARED_BYTES / one), batch = fit < 1 ? 1 : fit < sources ? fit : sources;
  const cudaError_t error = cudaFuncSetAttribute(
      ConvolveXKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(one * batch));
  if (error) return error;
  return MFGLaunch(ConvolveXKernel,
                   dim3((unsigned)((lines + across - 1) / across * tiles), (unsigned)p->rows),
                   dim3((unsigned)along, (unsigned)across), (size_t)(one * batch), device->stream,
                   *p, moments, set, lines, tiles, batch, out);
}

static unsigned Ceiling(int64_t n, int by) {
  return (unsigned)((n + by - 1) / by);
}

cudaError_t MFGLaunchConvolve(const MFGConvolution *job, const int64_t *moments, double *density,
                              const MFGDevice *device) {
  const Plan p = PlanOf(job);
  if (!MFGBlockOwned(&p.block)) return cudaSuccess;
  if (p.dim == 1) return LaunchX(&p, moments, 0, 1, density, device);
  const int64_t batch = SetsAtATime(&p);
  const int planes = p.dim > 2 ? p.order : 1;
  double *plane = (double *)device->work, *partial = plane + batch * PlaneSize(&p);
  cudaError_t error = cudaSuccess;

  for (int64_t set = 0; set < p.sets && !error; set += batch) {
    const int64_t sets = set + batch < p.sets ? batch : p.sets - set;
    error = LaunchX(&p, moments, set, sets, plane, device);
    if (!error)
      error = MFGLaunch(ConvolveYKernel,
                        dim3(Ceiling(p.block.count[0], ACROSS_THREADS),
                             Ceiling(p.block.count[1], OUTPUTS), (unsigned)(sets * planes)),
                        ACROSS_THREADS, 0, device->stream, p, plane,
                        p.dim == 2 ? density : partial + set * PartialSize(&p));
  }
  if (error || p.dim == 2) return error;
  const int64_t columns = (int64_t)p.block.count[0] * p.block.count[1];
  return MFGLaunch(ConvolveZKernel,
                   dim3(Ceiling(columns, ACROSS_THREADS), Ceiling(p.block.count[2], OUTPUTS)),
                   ACROSS_THREADS, 0, device->stream, p, partial, density);
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
