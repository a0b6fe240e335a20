/* The density estimate at one point: what an agent adds to its box, and images at the boundaries.
 *
 * Axis a of every cell is halved so often that 2^halvings equal boxes divide it. An agent at X in
 * the box with centre c has t_a = 2^(halvings+1) (X_a - c_a) / spacing_a in [-1, 1] on axis a. It
 * adds round(t^alpha 2^S), t^alpha = t_x^k t_y^l t_z^m, to term alpha of its box, for all
 * k + l + m < p. Terms are stored k fastest: (0,0), (1,0), .. (p-1,0), (0,1), .. (p-2,1), ..
 * (0,p-1); in 3D so for m = 0, then with p - 1 in place of p for m = 1, and so on. Term 0 is the
 * exact number of agents times 2^S. The boxes of a cell lie one after the other, x fastest, so that
 * moments are arrays over cells. The bandwidth is not in here, only in the weights. */
#pragma once

#include "solvers/random.h"

/* Narrow kernels and tight tolerances need at most 26. */
#define MFG_ORDER_MAX 32

/* Boxes that divide a cell along an axis: at most 8. */
#define MFG_HALVINGS_MAX 3

/* What agents deposit. */
typedef struct {
  int order;                 /* p: monomials of total degree < p; 0: nothing */
  int scale;                 /* S: a term t is added as round(t 2^S) */
  int halvings[MFG_MAX_DIM]; /* 2^halvings boxes divide a cell along the axis; 0 on unused axes */
} MFGMomentShape;

/* Boxes per cell. */
MFG_HD int MFGMomentBoxes(const MFGMomentShape *s) {
  return 1 << (s->halvings[0] + s->halvings[1] + s->halvings[2]);
}

/* S = min(51, 62 - ceil(log2 N)): no sum of N terms can overflow. */
MFG_HD int MFGMomentScale(int64_t agents) {
  int bits = 0;
  while (bits < 62 && (INT64_C(1) << bits) < agents) bits++;
  return 62 - bits < 51 ? 62 - bits : 51;
}

/* Number of terms of z power 0 with y power below l: where row l begins. */
MFG_HD int MFGMomentRow(int order, int l) {
  return l * order - l * (l - 1) / 2;
}

/* Number of terms with z power below m: where plane m begins, which has the rows of order - m. */
MFG_HD int MFGMomentPlane(int order, int m) {
  const int rest = order - m;
  return (order * (order + 1) * (order + 2) - rest * (rest + 1) * (rest + 2)) / 6;
}

/* Number of monomials of total degree < order in dim variables. */
MFG_HD int MFGMomentTerms(int dim, int order) {
  return dim == 1 ? order : dim == 2 ? MFGMomentRow(order, order) : MFGMomentPlane(order, order);
}

/* Integers per cell. */
MFG_HD int MFGMomentNumbers(int dim, const MFGMomentShape *s) {
  return MFGMomentTerms(dim, s->order) * MFGMomentBoxes(s);
}

/* Marginals of an axis: for every box along it the sums of the terms 1, t, t^2 of that axis over
 * the boxes beside it, [boxes][3]; those of the axes lie one after the other. Where an axis begins,
 * and (axis = dim) how many numbers there are. */
MFG_HD int64_t MFGMarginalStart(const MFGBlock *domain, const MFGMomentShape *s, int axis) {
  int64_t boxes = 0;
  for (int k = 0; k < axis; k++) boxes += (int64_t)domain->cells[k] << s->halvings[k];
  return 3 * boxes;
}

MFG_HD int64_t MFGMarginalCount(const MFGBlock *domain, const MFGMomentShape *s) {
  return MFGMarginalStart(domain, s, domain->dim);
}

/* Sums over agents of 1, u, u^2 along an axis, u in units of half boxes from the lower end, times
 * 2^S. */
__extension__ typedef __int128 MFGInt128;
typedef struct {
  MFGInt128 s0, s1, s2;
} MFGAxisSums;

/* Of box `box`, from its marginals: agents are at u = 2 box + 1 + t. Factors of 64 bits have a
 * product of 128 at once. */
MFG_HD MFGAxisSums MFGBoxSums(int64_t box, const int64_t m[3]) {
  const int64_t centre = 2 * box + 1;
  MFGAxisSums s = {m[0], (MFGInt128)centre * m[0] + m[1],
                   (MFGInt128)(centre * centre) * m[0] + (MFGInt128)(2 * centre) * m[1] + m[2]};
  return s;
}

MFG_HD MFGAxisSums MFGAxisSumsAdded(MFGAxisSums a, MFGAxisSums b) {
  MFGAxisSums s = {a.s0 + b.s0, a.s1 + b.s1, a.s2 + b.s2};
  return s;
}

/* t^k, k < 32, multiplied in one stated order: ((t^1 t^2) t^4) ..., by the bits of k. */
MFG_HD double MFGMomentPower(double t, int k) {
  const double t2 = t * t, t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
  double v = k & 1 ? t : 1;
  v *= k & 2 ? t2 : 1;
  v *= k & 4 ? t4 : 1;
  v *= k & 8 ? t8 : 1;
  return v * (k & 16 ? t16 : 1);
}

/* round(v 2^S), |v| <= 1, to nearest even: the sum with 1.5 2^52 has the integer in its low bits,
 * which unlike a conversion to int64 vectorises. Negative terms are two's complement. */
#define MFG_MOMENT_MAGIC 0x1.8p52
#define MFG_MOMENT_BIAS UINT64_C(0x4338000000000000)
MFG_HD uint64_t MFGMomentBits(double v, double scale) {
  return MFGBitsOfDouble(v * scale + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
}

/* The cell that index i beyond the grid stands for, and whether it is mirrored (odd moments change
 * sign, boxes their order): a kernel wider than the box folds or wraps several times. */
MFG_HD int MFGImageCell(int cells, int periodic, int i, int *mirrored) {
  const int period = periodic ? cells : 2 * cells;
  int j = i % period;
  j = j < 0 ? j + period : j;
  *mirrored = j >= cells;
  return j < cells ? j : period - 1 - j;
}

/* The cells of an array of moments; zero counts stand for the whole grid. */
MFG_HD MFGExtent MFGExtentOrWhole(const MFGBlock *b, const MFGExtent *extent) {
  MFGExtent e = *extent;
  if (e.count[0] == 0 && e.count[1] == 0 && e.count[2] == 0)
    for (int k = 0; k < MFG_MAX_DIM; k++) {
      e.start[k] = 0;
      e.count[k] = b->cells[k];
    }
  return e;
}

/* Integers of one level's moments. */
MFG_HD int64_t MFGMomentField(const MFGBlock *b, const MFGMomentShape *s, const MFGExtent *extent) {
  const MFGExtent e = MFGExtentOrWhole(b, extent);
  return MFGExtentCells(&e) * MFGMomentNumbers(b->dim, s);
}

/* Where cell i, which may lie beyond the grid, is along an axis of the extent: itself when the
 * extent of a periodic axis reaches it, else its image. Outside 0 .. count - 1: not there. */
MFG_HD int MFGMomentPosition(const MFGBlock *b, const MFGExtent *e, int axis, int i,
                             int *mirrored) {
  const int periodic = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC;
  const int place = i - e->start[axis];
  const int image = MFGImageCell(b->cells[axis], periodic, i, mirrored) - e->start[axis];
  return periodic && place >= 0 && place < e->count[axis] ? place : image;
}

/* exp(-q) for q >= 0, relative error below 3e-16; 0 from q = 700 on, before results underflow. */
MFG_HD double MFGExpNegative(double q) {
  const double x = q < 700 ? -q : -700;
  const double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52;
  const double n = shifted - 0x1.8p52;
  const double r = fma(n, -0x1.9ef35793c7673p-41, fma(n, -0x1.62e42fefa2p-1, x));
  double e = 0x1.af38a71a18cb9p-26;
  e = fma(e, r, 0x1.2891834686c7ep-22);
  e = fma(e, r, 0x1.71de0daf7a6ccp-19);
  e = fma(e, r, 0x1.a019b90eefe8ep-16);
  e = fma(e, r, 0x1.a01a01a7c3d59p-13);
  e = fma(e, r, 0x1.6c16c1788b646p-10);
  e = fma(e, r, 0x1.11111111109b4p-7);
  e = fma(e, r, 0x1.5555555553d64p-5);
  e = fma(e, r, 0x1.5555555555556p-3);
  e = fma(e, r, 0x1.0000000000001p-1);
  e = fma(r * r, e, 1 + r);
  const uint64_t power = (MFGBitsOfDouble(shifted) - MFG_MOMENT_BIAS + 1023) << 52;
  return q < 700 ? e * MFGDoubleOfBits(power) : 0;
}

/* The exact sum: an agent and its images along an axis, images 0 .. MFGKernelImages - 1. Those that
 * MFGKernelImage refuses are farther from the box than 38 bandwidths and add less than the smallest
 * double. */
MFG_HD double MFGImagePeriod(const MFGBlock *b, int axis) {
  const double length = b->upper[axis] - b->lower[axis];
  return b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC ? length : 2 * length;
}

MFG_HD int MFGKernelImages(const MFGBlock *b, int axis, double h) {
  const double reach = 38 * h + (b->upper[axis] - b->lower[axis]);
  return 2 * (2 * (int)ceil(reach / MFGImagePeriod(b, axis)) + 1);
}

/* Image `image` of so many. Even ones are shifted by whole periods, odd ones mirrored besides;
 * there are none of these on a periodic axis. */
MFG_HD int MFGKernelImage(const MFGBlock *b, int axis, double h, int images, int image,
                          double position, double *at) {
  const double lower = b->lower[axis], length = b->upper[axis] - lower, z = position - lower;
  const double shift = lower + (image / 2 - (images / 2 - 1) / 2) * MFGImagePeriod(b, axis);
  *at = image % 2 ? shift - z : shift + z;
  if (image % 2 && b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC) return 0;
  return *at > lower - 38 * h && *at < lower + length + 38 * h;
}

/* exp(-(x_i - at)^2 / (2 h^2)) at the centre x_i of cell i. */
MFG_HD double MFGKernelValue(double lower, double spacing, double inverse_h, double at, int i) {
  const double z = (lower + (i + 0.5) * spacing - at) * inverse_h;
  return MFGExpNegative(0.5 * z * z);
}

/* 1 / (N prod_k h_k (2 pi)^(d/2)) */
MFG_HD double MFGKernelNorm(int dim, const double h[], int64_t agents) {
  double norm = 1.0 / (double)agents;
  for (int k = 0; k < dim; k++) norm /= h[k] * 0x1.40d931ff62706p+1; /* sqrt(2 pi) */
  return norm;
}
