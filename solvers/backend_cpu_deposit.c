/* What the agents of a tile add to the moments.
 *
 * Moments are added in lines of LANES terms. 1D: to boxes padded to whole cache lines, which are
 * added to the caller's field at the end of a group. An access across two cache lines costs 2.4 ns
 * an agent, a pointer and a mask for lines that lie anywhere 0.5 ns even where none do. 2D and 3D:
 * where the caller wants them, at any address: what the last line of a box has too many adds
 * nothing to the next box. The last boxes, whose lines would reach beyond the field, are padded.
 * So are all boxes where there are many agents to a box: the clearing and adding of a 2D field
 * costs a third of the time with 15 agents a box. Boxes are the cells or equal parts of them. */
#include "solvers/backend_cpu_tile.h"

typedef double Lanes __attribute__((vector_size(64), may_alias));
typedef uint64_t LooseWords __attribute__((vector_size(64), may_alias, aligned(8)));

/* Numbers of a register. */
#if defined(__AVX512F__)
#define NATIVE_BITS 3
#elif defined(__AVX__)
#define NATIVE_BITS 2
#else
#define NATIVE_BITS 1
#endif
#define NATIVE (1 << NATIVE_BITS)
typedef double Native __attribute__((vector_size(8 * NATIVE), may_alias, aligned(8)));
typedef uint64_t NativeWords __attribute__((vector_size(8 * NATIVE), may_alias));
typedef uint64_t LooseNativeWords __attribute__((vector_size(8 * NATIVE), may_alias, aligned(8)));

/* One axis of the boxes. With constant halvings of 0 nothing of the parts is left. */
static inline void BoxesOfAxis(const Work *w, int k, const int halvings, int count,
                               const double *restrict position, Tile *tile) {
  const MFGAxis axis = w->axis[k];
  uint64_t *restrict t1 = tile->t1[k], *restrict t2 = tile->t2[k], *restrict t4 = tile->t4[k];
  int *restrict box = tile->box, *restrict part = tile->part;
  const int start = w->extent.start[k], extent = w->extent.count[k], last = k == w->dim - 1;
  const double scale = last ? w->scale : 1;
  const int factor = last ? 0 : extent;
  for (int i = 0; i < count; i++) {
    double t;
    const int b = MFGBoxOf(&axis, halvings, position[i], &t);
    const int c = MFGNearestIndex((b >> halvings) - start, extent);
    box[i] = factor ? box[i] * factor + c : c;
    if (halvings) part[i] = part[i] << halvings | (b & ((1 << halvings) - 1));
    t1[i] = MFGBitsOfDouble(t);
    t2[i] = MFGBitsOfDouble(t * t);
    t4[i] = MFGBitsOfDouble((t * t) * (t * t) * scale);
  }
}

/* The scale, exact, rides on the fourth power of the last axis. */
void TileBoxes(const Work *w, int count, double *const x[], Tile *tile) {
  const int halvings = w->halvings[0] + w->halvings[1] + w->halvings[2];
  int *restrict box = tile->box, *restrict part = tile->part;
  if (halvings) memset(part, 0, count * sizeof *part);
  for (int k = w->dim - 1; k >= 0; k--)
    if (w->halvings[k])
      BoxesOfAxis(w, k, w->halvings[k], count, x[k], tile);
    else
      BoxesOfAxis(w, k, 0, count, x[k], tile);
  for (int i = 0; i < count && halvings; i++) box[i] = box[i] << halvings | part[i];
}

static const Words mask1 = {0, -1, 0, -1, 0, -1, 0, -1}, mask2 = {0, 0, -1, -1, 0, 0, -1, -1},
                   mask4 = {0, 0, 0, 0, -1, -1, -1, -1};
#define ONE UINT64_C(0x3ff0000000000000)

/* t^0 .. t^7 of agent i, times what the fourth power carries: a product of vectors whose lanes hold
 * a power of t or 1, chosen by bits. */
#define POWERS(tile, axis, i, carried)                                                             \
  ((Lanes)((mask1 & (tile)->t1[axis][i]) | (~mask1 & ONE)) *                                       \
   (Lanes)((mask2 & (tile)->t2[axis][i]) | (~mask2 & ONE)) *                                       \
   (Lanes)((mask4 & (tile)->t4[axis][i]) | (~mask4 & (carried))))

/* Line g of a box's terms. */
#define ADD(place, g, lines, v)                                                                    \
  do {                                                                                             \
    Words add_ = (Words)((v) + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;                                \
    if ((g) == (lines)-1) add_ &= w->used;                                                         \
    *(LooseWords *)((place) + (g)*LANES) += add_;                                                  \
  } while (0)

/* All boxes are padded. */
static inline void DepositLines1D(const int lines, const Work *w, int count, uint64_t *padded) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    const Lanes first = POWERS(tile, 0, i, scale);
    const double t2 = MFGDoubleOfBits(tile->t2[0][i]), t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
    Words *moments = (Words *)padded + (size_t)tile->box[i] * lines;
    for (int g = 0; g < lines; g++) {
      Lanes v = first;
      if (g & 1) v *= t8;
      if (g & 2) v *= t16;
      moments[g] += (Words)(v + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
    }
  }
}

#if NATIVE == LANES
static inline void DepositLines2D(const int lines, const Work *w, int count) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    /* In 2D the field is larger than the caches near the core, and agents are not in its order. */
    const uint64_t *ahead = tile->place[PetscMin(i + 12, count - 1)];
    for (int g = 0; g < lines; g++) __builtin_prefetch(ahead + g * LANES, 1);
    const Lanes x = POWERS(tile, 0, i, ONE), y = POWERS(tile, 1, i, scale);
    for (int g = 0; g < lines; g++) {
      const Lanes v =
          __builtin_shuffle(x, w->shuffle[0][g]) * __builtin_shuffle(y, w->shuffle[1][g]);
      ADD(tile->place[i], g, lines, v);
    }
  }
}

/* Orders above LANES: powers 8 to 15 in a second vector. */
static inline void DepositPairs(const int dim, const Work *w, int count) {
  const Tile *tile = w->tile;
  const int lines = w->lines;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    const uint64_t *ahead = tile->place[PetscMin(i + (dim == 3 ? 2 : 6), count - 1)];
    for (int g = 0; g < lines; g++) __builtin_prefetch(ahead + g * LANES, 1);
    Lanes low[MFG_MAX_DIM], high[MFG_MAX_DIM];
    for (int a = 0; a < dim; a++) {
      const double t2 = MFGDoubleOfBits(tile->t2[a][i]), t4 = t2 * t2;
      low[a] = a == dim - 1 ? POWERS(tile, a, i, scale) : POWERS(tile, a, i, ONE);
      high[a] = low[a] * (t4 * t4);
    }
    for (int g = 0; g < lines; g++) {
      Lanes v = __builtin_shuffle(low[0], high[0], w->shuffle[0][g]) *
                __builtin_shuffle(low[1], high[1], w->shuffle[1][g]);
      if (dim == 3) v *= __builtin_shuffle(low[2], high[2], w->shuffle[2][g]);
      ADD(tile->place[i], g, lines, v);
    }
  }
}

static void DepositLines3D(const Work *w, int count) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  const int lines = w->lines;
  for (int i = 0; i < count; i++) {
    const uint64_t *ahead = tile->place[PetscMin(i + 6, count - 1)];
    for (int g = 0; g < lines; g++) __builtin_prefetch(ahead + g * LANES, 1);
    const Lanes x = POWERS(tile, 0, i, ONE), y = POWERS(tile, 1, i, ONE),
                z = POWERS(tile, 2, i, scale);
    for (int g = 0; g < lines; g++) {
      const Lanes v = __builtin_shuffle(x, w->shuffle[0][g]) *
                      __builtin_shuffle(y, w->shuffle[1][g]) *
                      __builtin_shuffle(z, w->shuffle[2][g]);
      ADD(tile->place[i], g, lines, v);
    }
  }
}

/* Constant numbers of lines, so that the compiler keeps no inner loop. */
static void DepositLines(const Work *w, int count) {
  if (w->order > LANES) {
    if (w->dim == 2)
      DepositPairs(2, w, count);
    else
      DepositPairs(3, w, count);
    return;
  }
  if (w->dim == 3) {
    DepositLines3D(w, count);
    return;
  }
  switch (w->lines) {
  case 1:
    DepositLines2D(1, w, count);
    break;
  case 2:
    DepositLines2D(2, w, count);
    break;
  case 3:
    DepositLines2D(3, w, count);
    break;
  case 4:
    DepositLines2D(4, w, count);
    break;
  default:
    DepositLines2D(5, w, count);
  }
}
#endif

/* t^0 .. t^(vectors NATIVE - 1), times what is carried. */
static inline __attribute__((always_inline)) void PowersOf(const int vectors, uint64_t bits,
                                                           double carried, double *power) {
  const double t = MFGDoubleOfBits(bits), t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
  const double twice[] = {t, t2, t4, t8, t8 * t8};
  Native first;
  for (int k = 0; k < NATIVE; k++) first[k] = MFGMomentPower(t, k);
  for (int j = 0; j < vectors; j++) {
    Native v = first;
    for (int b = 0; (j >> b) > 0; b++)
      if (j >> b & 1) v *= twice[NATIVE_BITS + b];
    *(Native *)(power + j * NATIVE) = v * carried;
  }
}

/* Any order: products row by row into a scratch, each row's excess overwritten by the next row;
 * then all of them, in the order of the terms, to the cell. Some agents at a time, since a load
 * that spans two stores waits for both. */
static inline __attribute__((always_inline)) void DepositRows(const int dim, const int order,
                                                              const Work *w, int count) {
  const Tile *tile = w->tile;
  const int planes = dim == 3 ? order : 1, vectors = (order + NATIVE - 1) / NATIVE;
  const int terms = dim == 3 ? MFGMomentPlane(order, order) : MFGMomentRow(order, order);
  double power[MFG_MAX_DIM][MFG_ORDER_MAX + NATIVE];
  for (int begin = 0; begin < count; begin += w->batch) {
    const int end = PetscMin(begin + w->batch, count);
    for (int i = begin; i < end; i++) {
      double *row = w->products + (i - begin) * w->pitch;
      for (int j = 0; j < terms; j += 8) __builtin_prefetch(tile->place[i] + j, 1);
      PowersOf(vectors, tile->t1[0][i], 1, power[0]);
      PowersOf(vectors, tile->t1[1][i], w->scale, power[1]);
      if (dim == 3) PowersOf(vectors, tile->t1[2][i], 1, power[2]);
#pragma GCC unroll 8
      for (int m = 0; m < planes; m++)
#pragma GCC unroll 8
        for (int l = 0; l < order - m; l++) {
          const int length = order - m - l;
#pragma GCC unroll 4
          for (int j = 0; j * NATIVE < length; j++) {
            Native v = *(Native *)(power[0] + j * NATIVE) * power[1][l];
            if (dim == 3) v *= power[2][m];
            *(Native *)(row + j * NATIVE) = v;
          }
          row += length;
        }
    }
    for (int i = begin; i < end; i++) {
      const double *products = w->products + (i - begin) * w->pitch;
      uint64_t *place = tile->place[i];
      int j = 0;
      for (; j + NATIVE <= terms; j += NATIVE)
        *(LooseNativeWords *)(place + j) +=
            (NativeWords)(*(const Native *)(products + j) + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
      for (; j < terms; j++) place[j] += MFGMomentBits(products[j], 1);
    }
  }
}

/* With the usual orders as constants, so that the compiler keeps no inner loop. */
#define DEPOSIT_ROWS(dim)                                                                          \
  switch (w->order) {                                                                              \
  case 4:                                                                                          \
    DepositRows(dim, 4, w, count);                                                                 \
    break;                                                                                         \
  case 5:                                                                                          \
    DepositRows(dim, 5, w, count);                                                                 \
    break;                                                                                         \
  case 6:                                                                                          \
    DepositRows(dim, 6, w, count);                                                                 \
    break;                                                                                         \
  case 7:                                                                                          \
    DepositRows(dim, 7, w, count);                                                                 \
    break;                                                                                         \
  case 8:                                                                                          \
    DepositRows(dim, 8, w, count);                                                                 \
    break;                                                                                         \
  default:                                                                                         \
    DepositRows(dim, w->order, w, count);                                                          \
  }

void TileDeposit(const Work *w, int count, uint64_t *field, uint64_t *padded) {
  Tile *tile = w->tile;
  if (w->dim == 1) {
    switch (w->lines) {
    case 1:
      DepositLines1D(1, w, count, padded);
      break;
    case 2:
      DepositLines1D(2, w, count, padded);
      break;
    case 3:
      DepositLines1D(3, w, count, padded);
      break;
    default:
      DepositLines1D(4, w, count, padded);
    }
    return;
  }
  for (int i = 0; i < count; i++) {
    const int64_t box = tile->box[i];
    tile->place[i] =
        box < w->direct ? field + box * w->terms : padded + (box - w->direct) * w->lines * LANES;
  }
#if NATIVE == LANES
  if (w->order <= 2 * LANES) {
    DepositLines(w, count);
    return;
  }
#endif
  if (w->dim == 2) {
    DEPOSIT_ROWS(2)
  } else {
    DEPOSIT_ROWS(3)
  }
}

void TileUnload(const Work *w, uint64_t *padded, uint64_t *restrict field) {
  const int pitch = w->lines * LANES;
  for (int64_t b = w->direct; b < w->boxes; b++)
    for (int j = 0; j < w->terms; j++)
      field[b * w->terms + j] += padded[(b - w->direct) * pitch + j];
  memset(padded, 0, w->padded_size * sizeof *padded);
}
