/* What the operations of a backend work on: plain data, known to C, CUDA and C++ alike, without
 * PETSc. Structs go by value wherever they are needed; the arrays they point to live in the memory
 * of the backend. solvers/backend.h says what is done with them. */
#pragma once

#include "solvers/kde_point.h"
#include "solvers/model.h"
#include "solvers/particle_point.h"
#include "solvers/star_point.h"

/* What identifies the random numbers of a sweep (solvers/random.h). */
typedef struct {
  uint64_t seed;
  uint32_t iteration; /* 0, or the outer iteration when numbers are drawn afresh in each */
} MFGRandomKey;

/* Agents: ids from `id`, or first_id, first_id + id_stride, ... where it is NULL. Positions are in
 * `position`, or rounded after every step in `offset` (MFGOffsetOf); the other one is NULL. Where
 * `live` is not NULL, only those from number live[0] to live[1] - 1 are there, which only the
 * device knows: `count` is the most that there can be. On the host it is NULL. */
typedef struct {
  int64_t first_id, id_stride, count;
  const int64_t *live;           /* [2], or NULL */
  double *position[MFG_MAX_DIM]; /* [axis][count] */
  float *offset[MFG_MAX_DIM];    /* [axis][count] */
  int64_t *id;                   /* [count], or NULL */
} MFGAgentRange;

MFG_HD int64_t MFGAgentId(const MFGAgentRange *a, int64_t i) {
  return a->id ? a->id[i] : a->first_id + i * a->id_stride;
}

/* Where agent i is on axis k. */
MFG_HD double MFGAgentPosition(const MFGAgentRange *a, const MFGAxis *axis, int k, int64_t i) {
  return a->offset[k] ? MFGPositionOf(axis, a->offset[k][i]) : a->position[k][i];
}

/* Puts it at x, or at the nearest place that its precision has. */
MFG_HD void MFGAgentMoveTo(const MFGAgentRange *a, const MFGAxis *axis, int k, int64_t i,
                           double x) {
  if (a->offset[k])
    a->offset[k][i] = MFGOffsetOf(axis, x);
  else
    a->position[k][i] = x;
}

/* Agent i as a record of dim + 1 words of eight bytes, position and id. The position is that of the
 * agent also in single precision, and putting it elsewhere gives the same position there. */
MFG_HD void MFGAgentToRecord(const MFGAgentRange *a, const MFGAxis axis[], int dim, int64_t i,
                             double *record) {
  for (int k = 0; k < dim; k++) record[k] = MFGAgentPosition(a, &axis[k], k, i);
  record[dim] = MFGDoubleOfBits((uint64_t)MFGAgentId(a, i));
}

MFG_HD void MFGAgentFromRecord(const MFGAgentRange *a, const MFGAxis axis[], int dim, int64_t i,
                               const double *record) {
  for (int k = 0; k < dim; k++) MFGAgentMoveTo(a, &axis[k], k, i, record[k]);
  a->id[i] = (int64_t)MFGBitsOfDouble(record[dim]);
}

typedef struct {
  MFGBlock domain; /* the box the agents are in: the whole grid, or one step from a rank's box */
  MFGRandomKey key;
  MFGAgentRange agents;
  double dt, nu;
  int level_begin,
      level_end; /* steps level_begin -> level_begin+1, ..., level_end-1 -> level_end */
  /* [level_end - level_begin][dim][cells]: of level n for the step from n. The cells are the whole
   * grid without ghosts, or (ghosted) the box with one cell more on each side of the used axes. */
  const double *drift;
  int ghosted;
  MFGMomentShape shape; /* order 0: nothing is deposited */
  MFGExtent extent;     /* cells of `moments`, the box among them; zero: the box */
  /* [level_end - level_begin][extent][boxes of the cell][terms], of levels level_begin+1 .. */
  int64_t *moments;
  /* NULL where the box is the whole grid. Else, of one step: the number of agents that are outside
   * the box now, which deposit nothing, then their places in ascending order; [1 + count]. */
  int64_t *leavers;
} MFGScan;

typedef struct {
  MFGBlock domain;
  MFGRandomKey key;
  MFGAgentRange agents;
  int64_t total; /* number of agents of the run, for stratified sampling */
  int stratified;
  const int64_t *cumulative; /* [cells] inclusive cumulative sums of m0 in integers, x fastest */
  int64_t weight;            /* the last of them */
} MFGSample;

/* Agents, which must have ids, into the order of their cells in the box `domain`, x fastest like
 * the moments; those of a cell keep their order. Ids move with the positions. */
typedef struct {
  MFGBlock domain;
  MFGAgentRange agents; /* fewer than 2^32 */
  uint32_t *place;      /* scratch, [count] */
  uint32_t *start;      /* scratch, [cells of the box + 1] */
  void *column;         /* scratch, [count] words of eight bytes */
} MFGSort;

/* A slab of cells: begin[k] .. begin[k] + count[k] - 1 of fields on size[k] cells. */
#define MFG_SLABS_MOST 2
typedef struct {
  int64_t size[MFG_MAX_DIM], begin[MFG_MAX_DIM], count[MFG_MAX_DIM];
  int64_t element, fields; /* bytes of a cell, a multiple of 4; number of fields */
} MFGSlab;

/* How many agents are where, in the backend's memory: no step waits for the host to know. */
typedef struct {
  int64_t here[2];    /* 0, and the number of agents in the box */
  int64_t arrived[2]; /* the first of those that came in the last step, and here[1] */
  int64_t travelling; /* records on their way */
  /* The most since they were cleared that were here, were travelling, and were in a message; those
   * that needed more hops on an axis. Beyond the room there was, agents were lost and the work must
   * be redone. */
  int64_t most_here, most_travelling, most_message, strays[MFG_MAX_DIM];
} MFGTraffic;

/* Agents that leave the box of one rank for another. A message is a word with the number of its
 * records, and records. */
typedef struct {
  MFGBlock box;
  int divisions[MFG_MAX_DIM], coordinate[MFG_MAX_DIM]; /* of the grid; of this rank's box */
  int64_t message, capacity;                           /* records: of a message, of `record` */
  double *record;                                      /* [capacity][dim + 1] */
  MFGTraffic *traffic;
} MFGTransit;

MFG_HD int64_t MFGMessageBytes(int dim, int64_t records) {
  return (int64_t)sizeof(int64_t) + records * (dim + 1) * (int64_t)sizeof(double);
}

/* The way from box `from` to box `to` of an axis: -1, 0 or 1; round a periodic axis the short one.
 */
MFG_HD int MFGWayToBox(int from, int to, int boxes, int periodic) {
  if (from == to) return 0;
  if (!periodic) return to > from ? 1 : -1;
  return (to - from + boxes) % boxes <= boxes / 2 ? 1 : -1;
}

/* The cell of a record along an axis. */
MFG_HD int MFGRecordCell(const MFGBlock *box, int axis, const double *record) {
  const MFGAxis a = MFGAxisOf(box, axis);
  double in_cell;
  return MFGCellOf(&a, record[axis], &in_cell);
}

/* The way a record has to go along an axis. */
MFG_HD int MFGRecordWay(const MFGTransit *t, int axis, const double *record) {
  const int cells = t->box.cells[axis], boxes = t->divisions[axis];
  return MFGWayToBox(t->coordinate[axis],
                     MFGBoxOfCell(cells, boxes, MFGRecordCell(&t->box, axis, record)), boxes,
                     t->box.boundary[axis][0] == MFG_BOUNDARY_PERIODIC);
}

/* The kernel of one level: tables of solvers/kde.h. */
typedef struct {
  int radius[MFG_MAX_DIM]; /* cells on each side that it reaches */
  /* [order][boxes along the axis][2 radius + 1]: of a term of a box in cell i for the density at
   * the centre of cell i - radius, .. i + radius. */
  const double *weights[MFG_MAX_DIM];
} MFGDensityKernel;

/* Densities of levels whose moments lie one after the other. */
typedef struct {
  MFGBlock block; /* the box whose density is wanted */
  MFGMomentShape shape;
  int64_t agents; /* N */
  int levels;
  const MFGDensityKernel *kernel; /* [levels], in the host's memory */
  int radius[MFG_MAX_DIM];        /* the largest of any level */
  /* Cells of the moments; zero: the whole grid. On each axis either the whole axis, or the block
   * with at least that radius more on each side (at a wall less is needed: images lie inside). */
  MFGExtent extent;
} MFGConvolution;

/* Marginals (MFGMarginalStart) of the cells of a box, of levels that lie one after the other. */
typedef struct {
  MFGBlock domain;
  MFGMomentShape shape; /* order 3 or more */
  int levels;
  MFGBlock box;
  MFGExtent extent; /* cells of the moments, the box among them; zero: the whole grid */
} MFGMarginals;

/* One step of the HJB equation, numerics of solvers/hjb_point.h. */
typedef struct {
  MFGBlock block;
  double dt, nu;
  MFGHamiltonian hamiltonian;
  const double *next;   /* U^{n+1}, [owned] */
  const double *source; /* F, [owned] */
  const double *drift;  /* b, [dim][owned], or NULL */
} MFGHJBStep;

/* The first guess of a level: base + shift; where shift is NULL, MFGLevelExtrapolate from base and
 * the two levels before it. All [count]. */
typedef struct {
  int64_t count;
  const double *base, *shift, *second, *third;
  double curvature;
} MFGLevelGuess;

/* A level that is solved: factor u replaces `level`, by `shift` more than what it was. All [count].
 */
typedef struct {
  int64_t count;
  const double *u;
  double factor;
  double *level, *shift;
} MFGLevelAccept;

/* right = level / dt + weight source, `source` may be NULL. All [count]. */
typedef struct {
  int64_t count;
  double dt, weight;
  const double *level, *source;
} MFGLevelRight;
