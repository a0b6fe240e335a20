/* The passes of a multigrid cycle at one cell: for kernels of one pass and for the one that does
 * all small levels. Sums over a group of fine cells go in the order of the CPU: along x last. */
#pragma once

#include "gpu/threads.h"
#include "solvers/star_point.h"

/* Where the cells of a box are in arrays with ghosts. */
typedef struct {
  ptrdiff_t stride[MFG_MAX_DIM], first;
  int64_t owned, ghosted;
  int wrap[MFG_MAX_DIM]; /* the box has all of a periodic axis */
} StarPlaces;

MFG_HD StarPlaces StarPlacesOf(const MFGBlock *b) {
  StarPlaces p;
  p.first = MFGGhostedStrides(b, p.stride);
  p.owned = MFGBlockOwned(b);
  p.ghosted = MFGGhostedCells(b);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    p.wrap[k] =
        k < b->dim && b->boundary[k][0] == MFG_BOUNDARY_PERIODIC && b->count[k] == b->cells[k];
  return p;
}

/* A cell of a box, along the axes; there are fewer than 2^31. */
static inline __device__ void StarCell(const MFGBlock &b, int64_t cell, int at[]) {
  unsigned left = (unsigned)cell;
#pragma unroll
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    at[k] = (int)(left % (unsigned)b.count[k]);
    left /= (unsigned)b.count[k];
  }
}

static inline __device__ int64_t StarOwned(const MFGBlock &b, const int at[]) {
  return ((int64_t)at[2] * b.count[1] + at[1]) * b.count[0] + at[0];
}

template <int dim>
static inline __device__ ptrdiff_t StarGhosted(const StarPlaces &p, const int at[]) {
  ptrdiff_t place = p.first;
#pragma unroll
  for (int k = 0; k < dim; k++) place += at[k] * p.stride[k];
  return place;
}

/* A cell's number, and the ghosts that are copies of it. */
template <int dim>
static inline __device__ void StarStore(const MFGBlock &b, const StarPlaces &p, const int at[],
                                        float value, float *field) {
  const ptrdiff_t place = StarGhosted<dim>(p, at);
  bool edge = false;
  field[place] = value;
#pragma unroll
  for (int k = 0; k < dim; k++)
    edge = edge || (p.wrap[k] && (at[k] == 0 || at[k] == b.count[k] - 1));
  if (!edge) return;
    /* Copy 0 is the cell, 1 the one beyond the high end, 2 beyond the low end. */
#pragma unroll
  for (int copy = 1; copy < (dim == 1 ? 3 : dim == 2 ? 9 : 27); copy++) {
    ptrdiff_t to = place;
    bool there = true;
#pragma unroll
    for (int k = 0, left = copy; k < dim; k++, left /= 3) {
      const int side = left % 3, last = b.count[k] - 1;
      if (side) there = there && p.wrap[k] && at[k] == (side == 1 ? 0 : last);
      if (side) to += (side == 1 ? b.count[k] : -b.count[k]) * p.stride[k];
    }
    if (there) field[to] = value;
  }
}

template <int dim>
static inline __device__ void StarSmooth(const MFGStarLevel &l, const StarPlaces &p, int64_t i,
                                         float weight, const float *b, const float *x,
                                         float *next) {
  int at[MFG_MAX_DIM];
  StarCell(l.block, i, at);
  const ptrdiff_t place = StarGhosted<dim>(p, at);
  const float value =
      x ? x[place] + weight * MFGStarDefect(dim, l.c, i, b[i], x, place, p.stride) : weight * b[i];
  StarStore<dim>(l.block, p, at, value, next);
}

/* sum over the group's cells of share_x sum over y, z of weight * value: `share[k]` are the shares
 * along the axes, value(at, cell) is that of a cell times d. Rows with weight 0 may be left out. */
template <typename Value>
static inline __device__ float StarGather(const MFGBlock &b, const MFGStarTransfer &t,
                                          const int group[], const float *const share[],
                                          const Value value) {
  int begin[MFG_MAX_DIM], end[MFG_MAX_DIM], at[MFG_MAX_DIM];
  float sum = 0;
#pragma unroll
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    begin[k] = t.factor[k] * group[k];
    end[k] = begin[k] + t.factor[k] < b.count[k] ? begin[k] + t.factor[k] : b.count[k];
  }
  for (at[0] = begin[0]; at[0] < end[0]; at[0]++) {
    float across = 0;
    for (at[2] = begin[2]; at[2] < end[2]; at[2]++)
      for (at[1] = begin[1]; at[1] < end[1]; at[1]++) {
        const float weight = share[1][at[1]] * share[2][at[2]];
        across += value(weight, at, StarOwned(b, at));
      }
    const float part = share[0][at[0]] * across;
    sum = at[0] == begin[0] ? part : sum + part;
  }
  return sum;
}

/* Cell i of the coarse level. */
template <int dim>
static inline __device__ void StarRestrict(const MFGStarLevel &l, const StarPlaces &p,
                                           const MFGStarTransfer &t, const MFGStarLevel &coarse,
                                           int64_t i, const float *b, const float *x,
                                           float *coarse_b) {
  int group[MFG_MAX_DIM];
  StarCell(coarse.block, i, group);
  const float sum =
      StarGather(l.block, t, group, t.share, [&](float weight, const int at[], int64_t cell) {
        return weight * l.d[cell] *
               MFGStarDefect(dim, l.c, cell, b[cell], x, StarGhosted<dim>(p, at), p.stride);
      });
  coarse_b[i] = sum / coarse.d[i];
}

/* Weights of the coarse cells below, at and above a cell's group. */
static inline __device__ void StarGroupWeights(const MFGBlock &b, const MFGStarTransfer &t,
                                               int axis, int at, float weight[3]) {
  const int used = axis < b.dim;
  weight[0] = used ? t.slope[axis][at] : 0;
  weight[2] = used ? t.slope[axis][b.count[axis] + at] : 0;
  weight[1] = 1 - weight[0] - weight[2];
}

/* The coarse field interpolated along y and z only, at group[0] + shift along x. */
template <int dim>
static inline __device__ float StarAcross(const StarPlaces &coarse, const float *coarse_x,
                                          const int group[], int shift, const float y[3],
                                          const float z[3]) {
  float sum = 0;
  for (int q = 0; q < 3; q++)
    for (int p = 0; p < 3; p++) {
      const float weight = y[p] * z[q];
      const int at[MFG_MAX_DIM] = {group[0] + shift, group[1] + p - 1, group[2] + q - 1};
      if (weight != 0) sum += weight * coarse_x[StarGhosted<dim>(coarse, at)];
    }
  return sum;
}

template <int dim>
static inline __device__ void StarCorrect(const MFGBlock &b, const StarPlaces &places,
                                          const MFGStarTransfer &t, const StarPlaces &coarse,
                                          int64_t i, const float *coarse_x, float *x) {
  const int n = b.count[0];
  int at[MFG_MAX_DIM], group[MFG_MAX_DIM];
  float y[3], z[3];
  StarCell(b, i, at);
  for (int k = 0; k < MFG_MAX_DIM; k++) group[k] = at[k] / t.factor[k];
  StarGroupWeights(b, t, 1, at[1], y);
  StarGroupWeights(b, t, 2, at[2], z);
  const float own = StarAcross<dim>(coarse, coarse_x, group, 0, y, z);
  float value = own;
  if (t.factor[0] == 2 && at[0] / 2 < n / 2) {
    const int upper = at[0] % 2;
    value = MFGStarInterpolate(own, StarAcross<dim>(coarse, coarse_x, group, upper ? 1 : -1, y, z),
                               t.slope[0][upper * n + at[0]]);
  }
  StarStore<dim>(b, places, at, x[StarGhosted<dim>(places, at)] + value, x);
}
