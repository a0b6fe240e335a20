/* The HJB equation and the coupling: one thread for each cell, the formulas of solvers/hjb_point.h.
 */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"
#include "solvers/hjb_point.h"
#include "solvers/particle_point.h"
#include "solvers/star_point.h"

typedef struct {
  MFGHJBStep step;
  MFGHJBScheme scheme;
  int64_t stride[MFG_MAX_DIM]; /* of arrays with ghosts */
} Step;

static Step StepOf(const MFGHJBStep *step) {
  Step s = {*step, MFGHJBSchemeMake(&step->block, step->dt, step->nu), {1, 0, 0}};
  for (int k = 1; k < step->block.dim; k++)
    s.stride[k] = s.stride[k - 1] * (step->block.count[k - 1] + 2);
  return s;
}

/* A cell: its place among the owned ones and with ghosts, and along the axes from the box's first.
 */
typedef struct {
  int64_t owned, ghosted;
  int at[MFG_MAX_DIM];
} Cell;

template <int dim> static __device__ Cell CellOf(const Step &s, int64_t owned) {
  Cell c = {owned, 0, {0, 0, 0}};
  for (int k = 0; k < dim; k++) {
    c.at[k] = (int)(owned % s.step.block.count[k]);
    owned /= s.step.block.count[k];
    c.ghosted += (c.at[k] + 1) * s.stride[k];
  }
  return c;
}

/* A cell's neighbours in u, and the drift there: 0 where none is given. */
template <int dim>
static __device__ void Load(const Step &s, const Cell &c, const double *u, double low[],
                            double high[], double b[]) {
  const int64_t owned = MFGBlockOwned(&s.step.block);
#pragma unroll
  for (int k = 0; k < dim; k++) {
    low[k] = u[c.ghosted - s.stride[k]];
    high[k] = u[c.ghosted + s.stride[k]];
    b[k] = s.step.drift ? s.step.drift[k * owned + c.owned] : 0;
  }
}

/* Whether the cell lies at the wall of a face: low and high per axis. */
static __device__ bool AtWall(const MFGBlock &b, const Cell &c, int face) {
  const int axis = face / 2, side = face % 2, wall = side ? b.cells[axis] - 1 : 0;
  return b.boundary[axis][side] == MFG_BOUNDARY_NOFLUX && b.start[axis] + c.at[axis] == wall;
}

template <int dim>
static __global__ void ResidualKernel(const Step s, const double *u, double *residual) {
  MFG_FOR_EACH(i, MFGBlockOwned(&s.step.block)) {
    double low[dim], high[dim], b[dim];
    const Cell c = CellOf<dim>(s, i);
    Load<dim>(s, c, u, low, high, b);
    residual[i] = MFGHJBPointResidual(&s.scheme, &s.step.hamiltonian, dim, u[c.ghosted], low, high,
                                      s.step.next[i], s.step.source[i], b);
  }
}

/* A row of the Jacobian; across a wall the neighbour is the cell itself: its entry moves to the
 * diagonal. */
template <int dim>
static __device__ void StoreRow(const Step &s, const Cell &c, double diagonal,
                                const double to_low[], const double to_high[], double *values) {
  const int64_t owned = MFGBlockOwned(&s.step.block);
  values += c.owned;
#pragma unroll
  for (int k = 0; k < dim; k++) diagonal -= to_low[k] + to_high[k];
#pragma unroll
  for (int face = 0; face < 2 * dim; face++) {
    double v = face % 2 ? to_high[face / 2] : to_low[face / 2];
    if (AtWall(s.step.block, c, face)) {
      diagonal += v;
      v = 0;
    }
    values[(1 + face) * owned] = v;
  }
  values[0] = diagonal;
}

template <int dim>
static __global__ void JacobianKernel(const Step s, const double *u, double *values) {
  MFG_FOR_EACH(i, MFGBlockOwned(&s.step.block)) {
    double low[dim], high[dim], b[dim], to_low[dim], to_high[dim];
    const Cell c = CellOf<dim>(s, i);
    Load<dim>(s, c, u, low, high, b);
    MFGHJBPointJacobian(&s.scheme, &s.step.hamiltonian, dim, u[c.ghosted], low, high, b, to_low,
                        to_high);
    StoreRow<dim>(s, c, s.scheme.inverse_dt, to_low, to_high, values);
  }
}

template <int dim>
static __global__ void JacobianChangeKernel(const Step s, const double *u, const double *w,
                                            double *values) {
  MFG_FOR_EACH(i, MFGBlockOwned(&s.step.block)) {
    double low[dim], high[dim], dlow[dim], dhigh[dim], b[dim], to_low[dim], to_high[dim];
    const Cell c = CellOf<dim>(s, i);
    Load<dim>(s, c, u, low, high, b);
    Load<dim>(s, c, w, dlow, dhigh, b);
    MFGHJBPointJacobianChange(&s.scheme, &s.step.hamiltonian, dim, u[c.ghosted], low, high,
                              w[c.ghosted], dlow, dhigh, to_low, to_high);
    StoreRow<dim>(s, c, 0, to_low, to_high, values);
  }
}

template <int dim>
static __global__ void CoefficientsKernel(const Step s, const double *u, const MFGStarLevel level) {
  MFG_FOR_EACH(i, MFGBlockOwned(&s.step.block)) {
    double low[dim], high[dim], b[dim], to_low[dim], to_high[dim];
    double diagonal = s.scheme.inverse_dt;
    float row[2 * dim];
    const Cell c = CellOf<dim>(s, i);
    Load<dim>(s, c, u, low, high, b);
    MFGHJBPointJacobian(&s.scheme, &s.step.hamiltonian, dim, u[c.ghosted], low, high, b, to_low,
                        to_high);
#pragma unroll
    for (int k = 0; k < dim; k++) diagonal -= to_low[k] + to_high[k];
    const double scale = -1 / diagonal;
    float d = (float)diagonal;
#pragma unroll
    for (int k = 0; k < dim; k++) {
      row[2 * k] = (float)(to_low[k] * scale);
      row[2 * k + 1] = (float)(to_high[k] * scale);
    }
#pragma unroll
    for (int face = 0; face < 2 * dim; face++)
      if (AtWall(level.block, c, face)) MFGStarFold(dim, face, row, &d);
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) level.c[face][i] = row[face];
    level.d[i] = d;
  }
}

template <int dim>
static __global__ void DriftKernel(const Step s, const double *u, double *drift) {
  const int64_t owned = MFGBlockOwned(&s.step.block);
  MFG_FOR_EACH(i, owned) {
    double low[dim], high[dim], b[dim], value[dim];
    const Cell c = CellOf<dim>(s, i);
    Load<dim>(s, c, u, low, high, b);
    MFGHJBPointDrift(&s.scheme, &s.step.hamiltonian, dim, low, high, b, value);
#pragma unroll
    for (int k = 0; k < dim; k++) drift[k * owned + i] = value[k];
  }
}

static __global__ void CouplingKernel(const MFGCoupling f, int64_t n, const double *m,
                                      double *value) {
  MFG_FOR_EACH(i, n) value[i] = MFGCouplingValue(&f, m[i]);
}

/* Beyond walls only, so that what is read is never written. */
static __global__ void MirrorDriftKernel(const MFGBlock box, const MFGExtent rim, int64_t fields,
                                         double *drift) {
  const int64_t cells = MFGExtentCells(&rim);
  MFG_FOR_EACH(i, fields * cells) {
    const int64_t cell = i % cells;
    const int at[] = {(int)(cell % rim.count[0]), (int)(cell / rim.count[0] % rim.count[1]),
                      (int)(cell / rim.count[0] / rim.count[1])};
    bool beyond = false;
#pragma unroll
    for (int k = 0; k < MFG_MAX_DIM; k++) {
      const int place = rim.start[k] + at[k];
      beyond |= box.boundary[k][0] == MFG_BOUNDARY_NOFLUX && (place < 0 || place >= box.cells[k]);
    }
    if (beyond)
      drift[i] = MFGDriftInRim(&box, &rim, (int)(i / cells % box.dim), at, drift + (i - cell));
  }
}

/* Starts the kernel of the step's dimension on its cells. */
#define LAUNCH(kernel, step, device, ...)                                                          \
  do {                                                                                             \
    const int64_t cells_ = MFGBlockOwned(&(step)->block);                                          \
    if (!cells_) return cudaSuccess;                                                               \
    return MFGLaunch(MFG_KERNEL_OF_DIM(kernel, (step)->block.dim),                                 \
                     MFGBlocksFor(device, cells_, MFG_THREADS), MFG_THREADS, 0, (device)->stream,  \
                     StepOf(step), __VA_ARGS__);                                                   \
  } while (0)

cudaError_t MFGLaunchHJBResidual(const MFGHJBStep *step, const double *u, double *residual,
                                 const MFGDevice *device) {
  LAUNCH(ResidualKernel, step, device, u, residual);
}

cudaError_t MFGLaunchHJBJacobian(const MFGHJBStep *step, const double *u, double *values,
                                 const MFGDevice *device) {
  LAUNCH(JacobianKernel, step, device, u, values);
}

cudaError_t MFGLaunchHJBJacobianChange(const MFGHJBStep *step, const double *u, const double *w,
                                       double *values, const MFGDevice *device) {
  LAUNCH(JacobianChangeKernel, step, device, u, w, values);
}

cudaError_t MFGLaunchHJBCoefficients(const MFGHJBStep *step, const double *u,
                                     const MFGStarLevel *level, const MFGDevice *device) {
  LAUNCH(CoefficientsKernel, step, device, u, *level);
}

cudaError_t MFGLaunchDriftFromValue(const MFGHJBStep *step, const double *u, double *drift,
                                    const MFGDevice *device) {
  LAUNCH(DriftKernel, step, device, u, drift);
}

cudaError_t MFGLaunchMirrorDrift(const MFGBlock *box, int levels, double *drift,
                                 const MFGDevice *device) {
  const int one[] = {1, 1, 1};
  const MFGExtent rim = MFGBlockWidened(box, one);
  const int64_t fields = (int64_t)levels * box->dim, cells = MFGExtentCells(&rim);
  if (!fields) return cudaSuccess;
  return MFGLaunch(MirrorDriftKernel, MFGBlocksFor(device, fields * cells, MFG_THREADS),
                   MFG_THREADS, 0, device->stream, *box, rim, fields, drift);
}

cudaError_t MFGLaunchCoupling(const MFGCoupling *f, int64_t n, const double *m, double *value,
                              const MFGDevice *device) {
  if (n <= 0) return cudaSuccess;
  return MFGLaunch(CouplingKernel, MFGBlocksFor(device, n, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, *f, n, m, value);
}
