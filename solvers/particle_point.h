/* The agents' scheme at one point: where an agent is on the grid, the drift it feels, one step, the
 * walls, and where it starts. Host and device, the same bits on both. */
#pragma once

#include "solvers/random.h"

/* One axis of the grid as the agents see it; the same on every rank. */
typedef struct {
  int cells, periodic;
  double lower, upper, inverse_spacing;
  double length, inverse_period; /* inverse_period: 1/L periodic, 1/(2 L) between walls */
} MFGAxis;

MFG_HD MFGAxis MFGAxisOf(const MFGBlock *b, int axis) {
  MFGAxis a;
  a.cells = b->cells[axis];
  a.periodic = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC;
  a.lower = b->lower[axis];
  a.upper = b->upper[axis];
  a.inverse_spacing = 1 / b->spacing[axis];
  a.length = a.upper - a.lower;
  a.inverse_period = 1 / (a.periodic ? a.length : 2 * a.length);
  return a;
}

/* Position in cells from the lower face, held in [0, cells]: an end can round to either side, and a
 * position that is not a number must still give a legal index. */
MFG_HD double MFGCellCoordinate(const MFGAxis *a, double x) {
  double y = (x - a->lower) * a->inverse_spacing;
  y = y > 0 ? y : 0;
  return y < a->cells ? y : a->cells;
}

/* The box of a position where 2^halvings boxes divide a cell, and where in it: t in [-1, 1] from
 * the lower to the upper face. The product is exact: box >> halvings is the cell, for any halvings.
 */
MFG_HD int MFGBoxOf(const MFGAxis *a, int halvings, double x, double *t) {
  const double y = MFGCellCoordinate(a, x) * (1 << halvings);
  const int boxes = a->cells << halvings;
  int i = (int)y;
  i = i < boxes ? i : boxes - 1;
  *t = 2 * (y - i) - 1;
  return i;
}

MFG_HD int MFGCellOf(const MFGAxis *a, double x, double *t) {
  return MFGBoxOf(a, 0, x, t);
}

/* Index i where it lies in 0 .. count - 1, else the nearest of these: no error of a caller reads or
 * writes beyond its arrays. */
MFG_HD int MFGNearestIndex(int i, int count) {
  i = i < count ? i : count - 1;
  return i > 0 ? i : 0;
}

/* Interpolation: the position lies between the centres of cells i - 1 and i, i = 0 .. cells, at the
 * weight w in [0, 1] of cell i. */
MFG_HD int MFGIntervalOf(const MFGAxis *a, double x, double *w) {
  const double y = MFGCellCoordinate(a, x) + 0.5;
  const int i = (int)y;
  *w = y - i;
  return i;
}

/* The drift beyond the grid, cell i = -1 or cells: wrapped on a periodic axis, mirrored at a wall.
 * The component normal to the wall is odd there: the agents stop at it. */
MFG_HD int MFGDriftGhost(const MFGAxis *a, int axis, int component, int i, double *sign) {
  *sign = 1;
  if (i >= 0 && i < a->cells) return i;
  if (a->periodic) return i < 0 ? a->cells - 1 : 0;
  if (axis == component) *sign = -1;
  return i < 0 ? 0 : a->cells - 1;
}

/* The drift of a cell of a box with a rim of one cell: itself, or beyond walls that of the cell
 * inside, with the sign that MFGDriftGhost gives. drift[rim] is one component; at: the cell in the
 * rim. */
MFG_HD double MFGDriftInRim(const MFGBlock *box, const MFGExtent *rim, int component,
                            const int at[], const double *drift) {
  double factor = 1;
  int64_t place = 0, stride = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const MFGAxis axis = MFGAxisOf(box, k);
    int i = rim->start[k] + at[k];
    double sign = 1;
    if (!axis.periodic) i = MFGDriftGhost(&axis, k, component, i, &sign);
    factor *= sign;
    place += stride * (i - rim->start[k]);
    stride *= rim->count[k];
  }
  return factor * drift[place];
}

/* Linear interpolation; multilinear is this along the last axis first, the first axis last. */
MFG_HD double MFGInterpolate(double low, double high, double w) {
  return low + w * (high - low);
}

/* Nearest integer, ties to even, |x| < 2^51; vectorises on every processor. */
MFG_HD double MFGNearest(double x) {
  return (x + 0x1.8p52) - 0x1.8p52;
}

/* Into [lower, upper): an agent may have gone round several times. Rounding can leave the result a
 * little outside, or on the upper end, which is the lower one. */
MFG_HD double MFGWrap(const MFGAxis *a, double x) {
  const double turns = MFGNearest((x - a->lower) * a->inverse_period - 0.5);
  double y = x - turns * a->length;
  y = y < a->upper ? y : a->lower;
  y = y > a->lower ? y : a->lower;
  return x >= a->lower && x < a->upper ? x : y;
}

/* Symmetric reflection at both walls, as often as needed: distance from the lower wall modulo twice
 * the length, mirrored. */
MFG_HD double MFGReflect(const MFGAxis *a, double x) {
  const double z = x - a->lower;
  const double folds = MFGNearest(z * a->inverse_period);
  double y = a->lower + fabs(z - folds * (2 * a->length));
  y = y < a->upper ? y : a->upper;
  return x >= a->lower && x <= a->upper ? x : y;
}

MFG_HD double MFGBoundaryRule(const MFGAxis *a, double x) {
  return a->periodic ? MFGWrap(a, x) : MFGReflect(a, x);
}

/* One Euler-Maruyama step before the boundary rule; deviation = sqrt(2 nu dt). */
MFG_HD double MFGStep(double x, double drift, double dt, double deviation, double normal) {
  return fma(deviation, normal, fma(drift, dt, x));
}

/* Single precision: what is kept of a position in [lower, upper] is its offset from the lower end
 * as a float, and the agent goes on from the position that this gives back. The error of both is at
 * most half a unit in the last place of the offset, 2^(e-24) for an axis of length < 2^(e+1): up to
 * 2^-24 of the length, 2^-25 where it is a power of two; besides the rounding of a position in
 * double. Nearest to the upper end the float may lie beyond it: hence the bound when it is read.
 * Rounding a position that was given back gives it back again. */
#define MFG_SINGLE_LENGTH_MIN 1e-30
#define MFG_SINGLE_LENGTH_MAX 1e30
MFG_HD float MFGOffsetOf(const MFGAxis *a, double x) {
  return (float)(x - a->lower);
}

MFG_HD double MFGPositionOf(const MFGAxis *a, float offset) {
  const double x = a->lower + (double)offset;
  return x < a->upper ? x : a->upper;
}

/* Steps of a group share whole blocks of four normal numbers. */
MFG_HD int MFGStepsOfGroup(int dim) {
  return dim == 2 ? 2 : 4;
}

__extension__ typedef unsigned __int128 MFGUint128;

/* Systematic sampling: agent `id` of `total` looks up the integer floor((id + u) weight / total),
 * u = offset 2^-32, in the cumulative sums; the count of a cell is within 1 of its expectation. */
MFG_HD int64_t MFGStratum(int64_t id, uint32_t offset, int64_t total, int64_t weight) {
  const MFGUint128 numerator = ((MFGUint128)id << 32 | offset) * (MFGUint128)weight;
  return (int64_t)((numerator / (MFGUint128)total) >> 32);
}

/* Uniform integer below `weight` from two random words. */
MFG_HD int64_t MFGUniformBelow(uint32_t high, uint32_t low, int64_t weight) {
  const uint64_t u = (uint64_t)high << 32 | low;
  return (int64_t)(((MFGUint128)u * (MFGUint128)weight) >> 64);
}

/* The id-th point of the Kronecker sequence {shift + id alpha}, alpha_k = phi^-(k+1) with phi the
 * root of phi^(d+1) = phi + 1: any run of consecutive ids fills the unit cube evenly. */
MFG_HD double MFGKronecker(int dim, int axis, int64_t id, uint32_t shift) {
  const uint64_t alpha[3][3] = {
      {UINT64_C(0x9e3779b97f4a7c15), 0, 0},
      {UINT64_C(0xc13fa9a902a6328f), UINT64_C(0x91e10da5c79e7b1c), 0},
      {UINT64_C(0xd1b54a32d192ed03), UINT64_C(0xabc98388fb8fac02), UINT64_C(0x8cb92ba72f3d8dd7)}};
  const uint64_t u = (uint64_t)id * alpha[dim - 1][axis] + ((uint64_t)shift << 32);
  return MFGUniform((uint32_t)(u >> 32));
}

/* The first cell whose inclusive cumulative sum is above v. */
MFG_HD int64_t MFGFindCell(const int64_t *cumulative, int64_t cells, int64_t v) {
  int64_t low = 0, high = cells - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (cumulative[middle] > v)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* Never exactly on a face: the neighbour may be a cell without agents. */
MFG_HD double MFGInsideCell(double fraction) {
  const double least = 0x1p-33;
  fraction = fraction > least ? fraction : least;
  return fraction < 1 - least ? fraction : 1 - least;
}

/* Where agent `id` of `total` starts: its cell by the cumulative sums of m0, [cells], and where in
 * it, as fractions. The random words are those of the agent's first block, in 3D of its second too,
 * or of the run (id 0) where sampling is stratified: then all agents share an offset. */
MFG_HD int64_t MFGSampleCell(int dim, uint64_t seed, int stratified, int64_t id, int64_t total,
                             const int64_t *cumulative, int64_t cells, double fraction[]) {
  const int64_t weight = cumulative[cells - 1];
  const uint64_t counter = stratified ? 0 : (uint64_t)id;
  const uint32_t stream = MFGRandomStream(MFG_PURPOSE_POSITION, 0);
  const uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
  uint32_t word[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, stream};

  MFGPhilox(key0, key1, &word[0], &word[1], &word[2], &word[3]);
  if (!stratified) {
    for (int k = 0; k < 2; k++) fraction[k] = MFGUniform(word[2 + k]);
    if (dim == 3) {
      uint32_t next[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 1, stream};
      MFGPhilox(key0, key1, &next[0], &next[1], &next[2], &next[3]);
      fraction[2] = MFGUniform(next[0]);
    }
    return MFGFindCell(cumulative, cells, MFGUniformBelow(word[0], word[1], weight));
  }
  const int64_t v = MFGStratum(id, word[0], total, weight);
  const int64_t cell = MFGFindCell(cumulative, cells, v);
  const int64_t below = cell ? cumulative[cell - 1] : 0;
  for (int k = 0; k < dim; k++) fraction[k] = MFGKronecker(dim, k, id, word[1 + k]);
  if (dim == 1) fraction[0] = ((double)(v - below) + 0.5) / (double)(cumulative[cell] - below);
  return cell;
}
