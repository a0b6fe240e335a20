/* Densities on the CPU. All passes of the separable convolution are linear combinations of rows
 * with one list of weights, done across cells: every cell's sum has the same order wherever the
 * cell lies in a box, and no sum is ever split over the lanes of a register. */
#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"

/* As long as registers are: compilers split longer vectors through memory, 18 times slower. */
#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif

typedef double Lanes __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

/* out[i] = sum_q weight[q] base[source[q] + i]; rows are padded to whole LANES. */
static void Combine(int64_t terms, const double *weight, const double *base, const int64_t source[],
                    int length, double *out) {
  int i = 0;
  for (; i + 4 * LANES <= length; i += 4 * LANES) {
    Lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (int64_t q = 0; q < terms; q++) {
      const Lanes *s = (const Lanes *)(base + source[q] + i);
      a += weight[q] * s[0];
      b += weight[q] * s[1];
      c += weight[q] * s[2];
      d += weight[q] * s[3];
    }
    Lanes *o = (Lanes *)(out + i);
    o[0] = a;
    o[1] = b;
    o[2] = c;
    o[3] = d;
  }
  for (; i < length; i += LANES) {
    Lanes a = {0};
    for (int64_t q = 0; q < terms; q++) a += weight[q] * *(const Lanes *)(base + source[q] + i);
    *(Lanes *)(out + i) = a;
  }
}

static int Padded(int length) {
  return (length + LANES - 1) / LANES * LANES;
}

/* Where the cells that the kernel reaches along one axis are: entry e is for cell block.start -
 * radius + e. A cell that several entries mean (images) is convolved once, in one slot. */
typedef struct {
  int reached;   /* count + 2 radius */
  int *position; /* owned; [reached], along the axis of the moments */
  int *mirrored; /* owned; [reached] */
  int *slot;     /* owned; [reached] */
  int slots;
  int *source; /* owned; [slots]: the position that a slot stands for */
} Reach;

static PetscErrorCode ReachCreate(const MFGConvolution *job, const MFGExtent *extent, int axis,
                                  int radius, Reach *r) {
  const int cells = extent->count[axis];
  int *slot_of;

  PetscFunctionBeginUser;
  r->reached = job->block.count[axis] + 2 * radius;
  r->slots = 0;
  PetscCall(PetscMalloc4(r->reached, &r->position, r->reached, &r->mirrored, r->reached, &r->slot,
                         r->reached, &r->source));
  PetscCall(PetscMalloc1(cells, &slot_of));
  for (int c = 0; c < cells; c++) slot_of[c] = -1;
  for (int e = 0; e < r->reached; e++) {
    const int c = MFGMomentPosition(&job->block, extent, axis, job->block.start[axis] - radius + e,
                                    &r->mirrored[e]);
    r->position[e] = c;
    if (slot_of[c] < 0) {
      r->source[r->slots] = c;
      slot_of[c] = r->slots++;
    }
    r->slot[e] = slot_of[c];
  }
  PetscCall(PetscFree(slot_of));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReachDestroy(Reach *r) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree4(r->position, r->mirrored, r->slot, r->source));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A row (l, m) holds the terms of y power l and z power m; row (l, m) is number
 * MFGMomentRow(order, m) + l of them. Unused axes have one cell and the power 0 only. Boxes are
 * taken together along the axis of a pass: every pass works on one row of boxes of the later axes.
 */
typedef struct {
  const MFGConvolution *job;
  const MFGDensityKernel *kernel; /* of the level */
  MFGExtent extent;               /* of the moments */
  Reach reach[MFG_MAX_DIM];
  int order, terms, rows; /* rows: pairs (l, m) */
  int boxes[MFG_MAX_DIM]; /* per cell, along the axis */
  int numbers;            /* of a cell */
  int ypowers, zpowers;   /* order on used axes, else 1 */
  int columns;            /* owned cells along x, padded */
  int extended;           /* columns and the cells that the kernel reaches on each side */
  double *row;            /* owned; [x boxes][terms][extended] */
  double *weight;         /* owned; of the longest combination along y or z */
  int64_t *source;        /* owned; the same: where its rows begin */
  int64_t *along;         /* owned; of the longest combination along x */
  double *plane;          /* owned; 2D, 3D: [y slots][y boxes][rows][columns], convolved along x */
  /* owned; 3D: [z slots][z boxes][z power][owned y][columns], convolved along x and y */
  double *partial;
  double *out; /* owned; [columns] */
} Work;

/* Rows of a combination along an axis. */
static int64_t CombinationLength(const Work *w, int axis) {
  return (int64_t)w->order * w->boxes[axis] * (2 * w->kernel->radius[axis] + 1);
}

/* Where the rows of a combination along x lie, in the order of its weights: the same for every
 * (l, m) but for the place of the first. */
static void ListAlong(Work *w) {
  const int radius = w->kernel->radius[0];
  int64_t *along = w->along;
  for (int k = 0; k < w->order; k++)
    for (int s = 0; s < w->boxes[0]; s++)
      for (int j = -radius; j <= radius; j++)
        *along++ = (int64_t)(s * w->terms + k) * w->extended + radius - j;
}

static PetscErrorCode WorkCreate(const MFGConvolution *job, const MFGDensityKernel *kernel,
                                 Work *w) {
  const MFGBlock *b = &job->block;
  int64_t longest = 0;

  PetscFunctionBeginUser;
  w->job = job;
  w->kernel = kernel;
  w->extent = MFGExtentOrWhole(b, &job->extent);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(ReachCreate(job, &w->extent, k, k < b->dim ? kernel->radius[k] : 0, &w->reach[k]));
    w->boxes[k] = 1 << job->shape.halvings[k];
  }
  w->order = job->shape.order;
  w->numbers = MFGMomentNumbers(b->dim, &job->shape);
  for (int k = 1; k < b->dim; k++) longest = PetscMax(longest, CombinationLength(w, k));
  w->ypowers = b->dim > 1 ? w->order : 1;
  w->zpowers = b->dim > 2 ? w->order : 1;
  w->rows = b->dim > 2 ? MFGMomentRow(w->order, w->order) : w->ypowers;
  w->terms = MFGMomentTerms(b->dim, w->order);
  w->columns = Padded(b->count[0]);
  w->extended = w->columns + 2 * kernel->radius[0];
  const size_t rows = (size_t)w->reach[1].slots * w->boxes[1] * w->rows,
               layers = (size_t)w->reach[2].slots * w->boxes[2] * w->order * b->count[1];
  PetscCall(PetscCalloc1((size_t)w->boxes[0] * w->terms * w->extended, &w->row));
  PetscCall(PetscMalloc6(longest, &w->weight, longest, &w->source, CombinationLength(w, 0),
                         &w->along, w->columns, &w->out, b->dim > 1 ? rows * w->columns : 0,
                         &w->plane, b->dim > 2 ? layers * w->columns : 0, &w->partial));
  ListAlong(w);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WorkDestroy(Work *w) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(w->row));
  PetscCall(PetscFree6(w->weight, w->source, w->along, w->out, w->plane, w->partial));
  for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(ReachDestroy(&w->reach[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One row of cells, of boxes (y, z) of each, as doubles, with images along x: in a mirror the boxes
 * stand in reverse order and odd powers of x change sign. */
static void LoadRow(Work *w, int y, int z, const int64_t *moments) {
  const double unit = ldexp(1, -w->job->shape.scale);
  const int *position = w->reach[0].position, *mirrored = w->reach[0].mirrored;
  const int order = w->order, ypowers = w->ypowers, zpowers = w->zpowers, boxes = w->boxes[0];
  const int reached = w->reach[0].reached, extended = w->extended;
  moments += (z * w->boxes[1] + y) * boxes * w->terms;
  for (int e = 0; e < reached; e++) {
    const double odd = mirrored[e] ? -unit : unit;
    double *out = w->row + e;
    for (int s = 0; s < boxes; s++) {
      const int box = mirrored[e] ? boxes - 1 - s : s;
      const int64_t *term = moments + (int64_t)position[e] * w->numbers + box * w->terms;
      for (int m = 0; m < zpowers; m++) {
        const int rows = PetscMin(ypowers, order - m);
        for (int l = 0; l < rows; l++)
          for (int k = 0; k < order - m - l; k++, out += extended)
            *out = (double)*term++ * (k & 1 ? odd : unit);
      }
    }
  }
}

/* Along x: the terms of row (l, m) of the loaded row of boxes. */
static void ConvolveX(Work *w, int l, int m, double *out) {
  const int first = MFGMomentPlane(w->order, m) + MFGMomentRow(w->order - m, l);
  const int64_t powers = w->order - l - m;
  Combine(powers * (CombinationLength(w, 0) / w->order), w->kernel->weights[0],
          w->row + (size_t)first * w->extended, w->along, w->columns, out);
}

/* Along y or z, `powers` of them, for owned cell i of the axis; the partial result of a slot, a box
 * and a power begins at base + (slot boxes + box) by_box + power by_power. In a mirror the boxes
 * stand in reverse order and odd powers carry a sign. */
static void ConvolveAcross(Work *w, int axis, int i, int powers, const double *base, size_t by_box,
                           size_t by_power, double *out) {
  const int radius = w->kernel->radius[axis], boxes = w->boxes[axis];
  const int *slot = w->reach[axis].slot + i, *mirror = w->reach[axis].mirrored + i;
  const double *table = w->kernel->weights[axis];
  double *weight = w->weight;
  int64_t q = 0, *source = w->source;
  for (int l = 0; l < powers; l++)
    for (int s = 0; s < boxes; s++)
      for (int j = -radius; j <= radius; j++, q++) {
        const int mirrored = mirror[radius - j], box = mirrored ? boxes - 1 - s : s;
        weight[q] = mirrored && (l & 1) ? -table[q] : table[q];
        source[q] = (int64_t)((slot[radius - j] * boxes + box) * by_box + l * by_power);
      }
  Combine(q, weight, base, source, w->columns, out);
}

/* The rows of one plane of moments that some owned row needs, along x, each once; of the boxes z of
 * its cells. */
static void ConvolvePlaneX(Work *w, int z, const int64_t *plane) {
  const int64_t row = (int64_t)w->extent.count[0] * w->numbers;
  double *out = w->plane;
  for (int s = 0; s < w->reach[1].slots; s++)
    for (int y = 0; y < w->boxes[1]; y++) {
      LoadRow(w, y, z, plane + w->reach[1].source[s] * row);
      for (int m = 0; m < w->zpowers; m++)
        for (int l = 0; l < w->order - m; l++, out += w->columns) ConvolveX(w, l, m, out);
    }
}

static void ConvolvePlaneY(Work *w, int j, int m, double *out) {
  const double *base = w->plane + (size_t)MFGMomentRow(w->order, m) * w->columns;
  ConvolveAcross(w, 1, j, w->order - m, base, (size_t)w->rows * w->columns, w->columns, out);
}

/* What the last pass reads: 1D a loaded row, 2D a plane, 3D the planes that some owned plane needs,
 * each convolved once; a plane's rows are dropped when it is done. */
static void Prepare(Work *w, const int64_t *moments) {
  const MFGBlock *b = &w->job->block;
  const int64_t plane = (int64_t)w->extent.count[0] * w->extent.count[1] * w->numbers;
  if (b->dim == 1) LoadRow(w, 0, 0, moments);
  if (b->dim == 2) ConvolvePlaneX(w, 0, moments);
  if (b->dim < 3) return;
  double *out = w->partial;
  for (int s = 0; s < w->reach[2].slots; s++)
    for (int z = 0; z < w->boxes[2]; z++) {
      ConvolvePlaneX(w, z, moments + w->reach[2].source[s] * plane);
      for (int m = 0; m < w->order; m++)
        for (int j = 0; j < b->count[1]; j++, out += w->columns) ConvolvePlaneY(w, j, m, out);
    }
}

static PetscErrorCode ConvolveLevel(const MFGConvolution *job, const MFGDensityKernel *kernel,
                                    const int64_t *moments, double *density) {
  const MFGBlock *b = &job->block;
  const double agents = (double)job->agents;
  Work w;

  PetscFunctionBeginUser;
  PetscCall(WorkCreate(job, kernel, &w));
  Prepare(&w, moments);
  const size_t by_power = (size_t)b->count[1] * w.columns;
  for (int z = 0; z < b->count[2]; z++)
    for (int y = 0; y < b->count[1]; y++, density += b->count[0]) {
      if (b->dim == 1)
        ConvolveX(&w, 0, 0, w.out);
      else if (b->dim == 2)
        ConvolvePlaneY(&w, y, 0, w.out);
      else
        ConvolveAcross(&w, 2, z, w.order, w.partial + (size_t)y * w.columns, w.order * by_power,
                       by_power, w.out);
      for (int i = 0; i < b->count[0]; i++) density[i] = w.out[i] / agents;
    }
  PetscCall(WorkDestroy(&w));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ConvolveCPU(const MFGConvolution *job, const int64_t *moments,
                                  double *density) {
  const int64_t owned = MFGBlockOwned(&job->block),
                field = MFGMomentField(&job->block, &job->shape, &job->extent);

  PetscFunctionBeginUser;
  for (int n = 0; n < job->levels && owned; n++)
    PetscCall(ConvolveLevel(job, &job->kernel[n], moments + n * field, density + n * owned));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Adds the kernel of one image at all owned cells of an axis. The centres come from global indices:
 * the same bits in any box. */
static void AddKernel(const MFGBlock *b, int axis, double h, double at, double *restrict value) {
  const double lower = b->lower[axis], spacing = b->spacing[axis], inverse = 1 / h;
  const int start = b->start[axis], count = b->count[axis];
  for (int i = 0; i < count; i++)
    value[i] += MFGKernelValue(lower, spacing, inverse, at, start + i);
}

/* Kernel of one agent and of all its images at the owned cells of an axis. */
static void AxisKernel(const MFGBlock *b, int axis, double h, double position, double *value) {
  const int images = MFGKernelImages(b, axis, h);

  for (int i = 0; i < b->count[axis]; i++) value[i] = 0;
  for (int q = 0; q < images; q++) {
    double at;
    if (MFGKernelImage(b, axis, h, images, q, position, &at)) AddKernel(b, axis, h, at, value);
  }
}

static PetscErrorCode DirectCPU(const MFGBlock *b, int64_t count, const double *const position[],
                                const double bandwidth[], double *density) {
  const double norm = MFGKernelNorm(b->dim, bandwidth, count);
  double *kernel[MFG_MAX_DIM] = {NULL};

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) PetscCall(PetscMalloc1(b->count[k], &kernel[k]));
  const int64_t owned = MFGBlockOwned(b);
  PetscCall(PetscArrayzero(density, owned));
  for (int64_t p = 0; p < count; p++) {
    for (int k = 0; k < b->dim; k++) AxisKernel(b, k, bandwidth[k], position[k][p], kernel[k]);
    double *restrict row = density;
    for (int l = 0; l < b->count[2]; l++)
      for (int j = 0; j < b->count[1]; j++, row += b->count[0]) {
        const double factor = (b->dim > 1 ? kernel[1][j] : 1) * (b->dim > 2 ? kernel[2][l] : 1);
        const double *restrict x = kernel[0];
        for (int i = 0; i < b->count[0]; i++) row[i] += factor * x[i];
      }
  }
  for (int64_t i = 0; i < owned; i++) density[i] *= norm;
  for (int k = 0; k < b->dim; k++) PetscCall(PetscFree(kernel[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGDensityOps MFG_VARIANT_NAME(MFGDensityOps_CPU) = {.name = "cpu",
                                                           .convolve = ConvolveCPU,
                                                           .marginals = MFGMarginals_CPU,
                                                           .axis_sums = MFGAxisSums_CPU,
                                                           .direct = DirectCPU};
