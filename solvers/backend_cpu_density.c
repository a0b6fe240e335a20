/* Densities on the CPU. All passes of the separable convolution are linear combinations of rows
 * with one list of weights, done across cells: every cell's sum has the same order wherever the
 * cell lies in a box, and no sum is ever split over the lanes of a register. */
#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"

/* Numbers of a register: gcc keeps vectors that are longer in memory. */
#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif

typedef double Lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

/* out[i] = sum_q weight[q] source[q][i]; rows are padded to whole LANES. */
static void Combine(int64_t terms, const double *weight, const double *const source[], int length,
                    double *out) {
  int i = 0;
  for (; i + 4 * LANES <= length; i += 4 * LANES) {
    Lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (int64_t q = 0; q < terms; q++) {
      const Lanes *s = (const Lanes *)(source[q] + i);
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
    for (int64_t q = 0; q < terms; q++) a += weight[q] * *(const Lanes *)(source[q] + i);
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
                                  Reach *r) {
  const int radius = axis < job->block.dim ? job->radius[axis] : 0;
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
 * MFGMomentRow(order, m) + l of them. Unused axes have one cell and the power 0 only. */
typedef struct {
  const MFGConvolution *job;
  MFGExtent extent; /* of the moments */
  Reach reach[MFG_MAX_DIM];
  int order, terms, rows; /* rows: pairs (l, m) */
  int ypowers, zpowers;   /* order on used axes, else 1 */
  int columns;            /* owned cells along x, padded */
  int extended;           /* columns and the cells that the kernel reaches on each side */
  double *row;            /* owned; [terms][extended] */
  double *weight;         /* owned; of the longest combination */
  const double **source;  /* owned; the same */
  double *plane;          /* owned; 2D, 3D: [y slots][rows][columns], convolved along x */
  double *partial; /* owned; 3D: [z slots][z power][owned y][columns], convolved along x, y */
  double *out;     /* owned; [columns] */
} Work;

static PetscErrorCode WorkCreate(const MFGConvolution *job, Work *w) {
  const MFGBlock *b = &job->block;
  int widest = 0;

  PetscFunctionBeginUser;
  w->job = job;
  w->extent = MFGExtentOrWhole(b, &job->extent);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(ReachCreate(job, &w->extent, k, &w->reach[k]));
    if (k < b->dim) widest = PetscMax(widest, 2 * job->radius[k] + 1);
  }
  w->order = job->order;
  w->ypowers = b->dim > 1 ? w->order : 1;
  w->zpowers = b->dim > 2 ? w->order : 1;
  w->rows = b->dim > 2 ? MFGMomentRow(w->order, w->order) : w->ypowers;
  w->terms = b->dim == 1   ? w->order
             : b->dim == 2 ? MFGMomentRow(w->order, w->order)
                           : MFGMomentPlane(w->order, w->order);
  w->columns = Padded(b->count[0]);
  w->extended = w->columns + 2 * job->radius[0];
  const int64_t combination = (int64_t)w->order * widest;
  const size_t plane = b->dim > 1 ? (size_t)w->reach[1].slots * w->rows * w->columns : 0;
  const size_t partial =
      b->dim > 2 ? (size_t)w->reach[2].slots * w->order * b->count[1] * w->columns : 0;
  PetscCall(PetscCalloc1((size_t)w->terms * w->extended, &w->row));
  PetscCall(PetscMalloc5(combination, &w->weight, combination, &w->source, w->columns, &w->out,
                         plane, &w->plane, partial, &w->partial));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WorkDestroy(Work *w) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(w->row));
  PetscCall(PetscFree5(w->weight, w->source, w->out, w->plane, w->partial));
  for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(ReachDestroy(&w->reach[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One row of cells, as doubles, with images along x: odd powers of x change sign in a mirror. */
static void LoadRow(Work *w, const int64_t *moments) {
  const double unit = ldexp(1, -w->job->scale);
  const int *position = w->reach[0].position, *mirrored = w->reach[0].mirrored;
  const int order = w->order, ypowers = w->ypowers, zpowers = w->zpowers, terms = w->terms;
  const int reached = w->reach[0].reached, extended = w->extended;
  for (int e = 0; e < reached; e++) {
    const int64_t *term = moments + (int64_t)position[e] * terms;
    const double odd = mirrored[e] ? -unit : unit;
    double *out = w->row + e;
    for (int m = 0; m < zpowers; m++) {
      const int rows = PetscMin(ypowers, order - m);
      for (int l = 0; l < rows; l++)
        for (int k = 0; k < order - m - l; k++, out += extended)
          *out = (double)*term++ * (k & 1 ? odd : unit);
    }
  }
}

/* Along x: the terms of row (l, m) of the loaded row of cells. */
static void ConvolveX(Work *w, int l, int m, double *out) {
  const int radius = w->job->radius[0], width = 2 * radius + 1;
  const int first = MFGMomentPlane(w->order, m) + MFGMomentRow(w->order - m, l);
  const int powers = w->order - l - m, extended = w->extended;
  const double *row = w->row + (size_t)first * extended, *table = w->job->weights[0];
  double *weight = w->weight;
  const double **source = w->source;
  int64_t q = 0;
  for (int k = 0; k < powers; k++)
    for (int j = -radius; j <= radius; j++, q++) {
      weight[q] = table[k * width + radius + j];
      source[q] = row + (size_t)k * extended + radius - j;
    }
  Combine(q, w->weight, w->source, w->columns, out);
}

/* Along y or z, `powers` of them, for owned cell i of the axis; the partial result of a slot and a
 * power begins at base + slot by_slot + power by_power. What lies in a mirror carries a sign. */
static void ConvolveAcross(Work *w, int axis, int i, int powers, const double *base, size_t by_slot,
                           size_t by_power, double *out) {
  const int radius = w->job->radius[axis], width = 2 * radius + 1;
  const int *slot = w->reach[axis].slot + i, *mirror = w->reach[axis].mirrored + i;
  const double *table = w->job->weights[axis];
  double *weight = w->weight;
  const double **source = w->source;
  int64_t q = 0;
  for (int l = 0; l < powers; l++)
    for (int j = -radius; j <= radius; j++, q++) {
      const double v = table[l * width + radius + j];
      const int mirrored = mirror[radius - j];
      weight[q] = mirrored && (l & 1) ? -v : v;
      source[q] = base + slot[radius - j] * by_slot + l * by_power;
    }
  Combine(q, w->weight, w->source, w->columns, out);
}

/* The rows of one plane of moments that some owned row needs, along x, each once. */
static void ConvolvePlaneX(Work *w, const int64_t *plane) {
  const int64_t row = (int64_t)w->extent.count[0] * w->terms;
  double *out = w->plane;
  for (int s = 0; s < w->reach[1].slots; s++) {
    LoadRow(w, plane + w->reach[1].source[s] * row);
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
  const int64_t plane = (int64_t)w->extent.count[0] * w->extent.count[1] * w->terms;
  if (b->dim == 1) LoadRow(w, moments);
  if (b->dim == 2) ConvolvePlaneX(w, moments);
  if (b->dim < 3) return;
  double *out = w->partial;
  for (int s = 0; s < w->reach[2].slots; s++) {
    ConvolvePlaneX(w, moments + w->reach[2].source[s] * plane);
    for (int m = 0; m < w->order; m++)
      for (int j = 0; j < b->count[1]; j++, out += w->columns) ConvolvePlaneY(w, j, m, out);
  }
}

static PetscErrorCode ConvolveCPU(const MFGConvolution *job, const int64_t *moments,
                                  double *density) {
  const MFGBlock *b = &job->block;
  const double agents = (double)job->agents;
  Work w;

  PetscFunctionBeginUser;
  if (!MFGBlockOwned(b)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(WorkCreate(job, &w));
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

/* Adds exp(-(x_i - X)^2 / (2 h^2)) of one image at all owned cells of an axis. The centres come
 * from global indices: the same bits in any box. */
static void AddKernel(const MFGBlock *b, int axis, double h, double position,
                      double *restrict value) {
  const double lower = b->lower[axis], spacing = b->spacing[axis], inverse = 1 / h;
  const int start = b->start[axis], count = b->count[axis];
  for (int i = 0; i < count; i++) {
    const double z = (lower + (start + i + 0.5) * spacing - position) * inverse;
    value[i] += MFGExpNegative(0.5 * z * z);
  }
}

/* Kernel of one agent and of all its images at the owned cells of an axis. Images farther from the
 * box than `reach` add less than the smallest double. */
static void AxisKernel(const MFGBlock *b, int axis, double h, double position, double *value) {
  const int count = b->count[axis];
  const double lower = b->lower[axis], length = b->upper[axis] - lower, reach = 38 * h;
  const int periodic = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC;
  const double period = periodic ? length : 2 * length, z = position - lower;
  const int images = (int)ceil((reach + length) / period);

  for (int i = 0; i < count; i++) value[i] = 0;
  for (int m = -images; m <= images; m++) {
    const double shift = lower + m * period;
    if (shift + z > lower - reach && shift + z < lower + length + reach)
      AddKernel(b, axis, h, shift + z, value);
    if (!periodic && shift - z > lower - reach && shift - z < lower + length + reach)
      AddKernel(b, axis, h, shift - z, value);
  }
}

static PetscErrorCode DirectCPU(const MFGBlock *b, int64_t count, const double *const position[],
                                const double bandwidth[], double *density) {
  double *kernel[MFG_MAX_DIM] = {NULL}, norm = 1.0 / (double)count;

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) {
    PetscCall(PetscMalloc1(b->count[k], &kernel[k]));
    norm /= bandwidth[k] * 0x1.40d931ff62706p+1; /* sqrt(2 pi) */
  }
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

const MFGDensityOps MFG_VARIANT_NAME(MFGDensityOps_CPU) = {
    .name = "cpu", .convolve = ConvolveCPU, .direct = DirectCPU};
