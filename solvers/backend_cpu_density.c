/* Densities on the CPU. Both passes of the separable convolution are linear combinations of rows
 * with one list of weights, done across cells: every cell's sum has the same order wherever the
 * cell lies in a box, and no sum is ever split over the lanes of a register. */
#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"

#define LANES 8

typedef double Lanes __attribute__((vector_size(64), aligned(8), may_alias));

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

typedef struct {
  const MFGConvolution *job;
  int dim, terms, columns; /* columns: owned cells along x, padded */
  int extended;            /* one row with the cells that the kernel reaches on each side, padded */
  double *row;             /* owned; [terms][extended] */
  double *weight;          /* owned; of the longest combination */
  const double **source;   /* owned; the same */
  double *partial;         /* owned; 2D: [rows][order][columns], convolved along x */
  double *out;             /* owned; [columns] */
  int *cell, *mirrored;    /* owned; [extended]: where a column of `row` comes from */
} Work;

static PetscErrorCode WorkCreate(const MFGConvolution *job, Work *w) {
  const MFGBlock *b = &job->block;
  const int reach = PetscMax(job->radius[0], b->dim > 1 ? job->radius[1] : 0);
  const int64_t combination = (int64_t)job->order * (2 * reach + 1);

  PetscFunctionBeginUser;
  w->job = job;
  w->dim = b->dim;
  w->terms = b->dim == 1 ? job->order : MFGMomentRow(job->order, job->order);
  w->columns = Padded(b->count[0]);
  w->extended = w->columns + 2 * job->radius[0];
  PetscCall(PetscCalloc1((size_t)w->terms * w->extended, &w->row));
  PetscCall(PetscMalloc4(combination, &w->weight, combination, &w->source, w->columns, &w->out,
                         b->dim == 1 ? 0 : (size_t)b->cells[1] * job->order * w->columns,
                         &w->partial));
  PetscCall(PetscMalloc2(w->extended, &w->cell, w->extended, &w->mirrored));
  for (int e = 0; e < w->extended; e++)
    w->cell[e] = MFGImageCell(b->cells[0], b->boundary[0][0] == MFG_BOUNDARY_PERIODIC,
                              b->start[0] - job->radius[0] + e, &w->mirrored[e]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WorkDestroy(Work *w) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(w->row));
  PetscCall(PetscFree4(w->weight, w->source, w->out, w->partial));
  PetscCall(PetscFree2(w->cell, w->mirrored));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One row of cells, as doubles, with images along x: odd powers of x change sign in a mirror. */
static void LoadRow(Work *w, const int64_t *moments) {
  const double unit = ldexp(1, -w->job->scale);
  const int order = w->job->order, rows = w->dim == 1 ? 1 : order;
  for (int e = 0; e < w->extended; e++) {
    const int64_t *m = moments + (int64_t)w->cell[e] * w->terms;
    const double odd = w->mirrored[e] ? -unit : unit;
    double *out = w->row + e;
    for (int l = 0; l < rows; l++)
      for (int k = 0; k < order - l; k++, out += w->extended)
        *out = (double)*m++ * (k & 1 ? odd : unit);
  }
}

/* Along x: the terms of y power l of the loaded row. */
static void ConvolveRow(Work *w, int l, double *out) {
  const int order = w->job->order, radius = w->job->radius[0], width = 2 * radius + 1;
  const double *row = w->row + (size_t)MFGMomentRow(order, l) * w->extended;
  int64_t q = 0;
  for (int k = 0; k < order - l; k++)
    for (int j = -radius; j <= radius; j++, q++) {
      w->weight[q] = w->job->weights[0][k * width + radius + j];
      w->source[q] = row + (size_t)k * w->extended + radius - j;
    }
  Combine(q, w->weight, w->source, w->columns, out);
}

/* Along y, for owned row i: rows that lie in a mirror carry a sign. */
static void ConvolveColumn(Work *w, int i, double *out) {
  const MFGBlock *b = &w->job->block;
  const int order = w->job->order, radius = w->job->radius[1], width = 2 * radius + 1;
  const int periodic = b->boundary[1][0] == MFG_BOUNDARY_PERIODIC;
  int64_t q = 0;
  for (int l = 0; l < order; l++)
    for (int j = -radius; j <= radius; j++, q++) {
      int mirrored;
      const int y = MFGImageCell(b->cells[1], periodic, b->start[1] + i - j, &mirrored);
      const double v = w->job->weights[1][l * width + radius + j];
      w->weight[q] = mirrored && (l & 1) ? -v : v;
      w->source[q] = w->partial + ((size_t)y * order + l) * w->columns;
    }
  Combine(q, w->weight, w->source, w->columns, out);
}

/* The rows that some owned row needs are convolved along x, each once. */
static PetscErrorCode ConvolveNeededRows(Work *w, const int64_t *moments) {
  const MFGBlock *b = &w->job->block;
  const int radius = w->job->radius[1], order = w->job->order;
  const int periodic = b->boundary[1][0] == MFG_BOUNDARY_PERIODIC;
  PetscBool *needed;

  PetscFunctionBeginUser;
  PetscCall(PetscCalloc1(b->cells[1], &needed));
  for (int i = -radius; i < b->count[1] + radius; i++) {
    int mirrored;
    needed[MFGImageCell(b->cells[1], periodic, b->start[1] + i, &mirrored)] = PETSC_TRUE;
  }
  for (int y = 0; y < b->cells[1]; y++) {
    if (!needed[y]) continue;
    LoadRow(w, moments + (int64_t)y * b->cells[0] * w->terms);
    for (int l = 0; l < order; l++)
      ConvolveRow(w, l, w->partial + ((size_t)y * order + l) * w->columns);
  }
  PetscCall(PetscFree(needed));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ConvolveCPU(const MFGConvolution *job, const int64_t *moments,
                                  double *density) {
  const MFGBlock *b = &job->block;
  const double agents = (double)job->agents;
  Work w;

  PetscFunctionBeginUser;
  PetscCall(WorkCreate(job, &w));
  if (b->dim == 1)
    LoadRow(&w, moments);
  else
    PetscCall(ConvolveNeededRows(&w, moments));
  for (int j = 0; j < b->count[1]; j++, density += b->count[0]) {
    if (b->dim == 1)
      ConvolveRow(&w, 0, w.out);
    else
      ConvolveColumn(&w, j, w.out);
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
  double *kernel[2] = {NULL, NULL}, norm = 1.0 / (double)count;

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) {
    PetscCall(PetscMalloc1(b->count[k], &kernel[k]));
    norm /= bandwidth[k] * 0x1.40d931ff62706p+1; /* sqrt(2 pi) */
  }
  const int64_t owned = MFGBlockOwned(b);
  PetscCall(PetscArrayzero(density, owned));
  for (int64_t p = 0; p < count; p++) {
    for (int k = 0; k < b->dim; k++) AxisKernel(b, k, bandwidth[k], position[k][p], kernel[k]);
    for (int j = 0; j < b->count[1]; j++) {
      const double factor = b->dim > 1 ? kernel[1][j] : 1;
      double *restrict row = density + (int64_t)j * b->count[0];
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
