/* The tiles in which the CPU handles agents: what the files of its agents share, compiled once per
 * processor generation; nobody else includes this. */
#pragma once

#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"
#include "solvers/particle_point.h"

#define TILE 256
/* Not a power of two: arrays at equal places in their pages look alike to loads after stores. */
#define PITCH (TILE + 24)
#define LANES 8
/* By lines of LANES terms go all orders in 1D and, where a register holds so many, up to 2 LANES in
 * 2D (136 terms) and 3D (816 terms). */
#define LINES_MAX 102
#define GROUP_MAX 4

/* Eight numbers; compilers split them where registers are shorter. */
typedef uint64_t Words __attribute__((vector_size(64), may_alias));

typedef struct {
  _Alignas(64) double normal[MFG_MAX_DIM * GROUP_MAX + 4][PITCH];
  double position[MFG_MAX_DIM][PITCH]; /* of agents in single precision */
  uint64_t id[PITCH];
  uint32_t word[4][PITCH];
  int interval[MFG_MAX_DIM][PITCH], outside[PITCH];
  int box[PITCH], part[PITCH]; /* of the extent; of the cell */
  uint64_t *place[PITCH];      /* borrowed; the moments of the agent's box, 2D and 3D */
  double weight[MFG_MAX_DIM][PITCH], drift[MFG_MAX_DIM][PITCH];
  uint64_t t1[MFG_MAX_DIM][PITCH], t2[MFG_MAX_DIM][PITCH], t4[MFG_MAX_DIM][PITCH]; /* bits of t^k */
} Tile;

typedef struct {
  int dim, order, terms, lines; /* lines: groups of LANES terms per box */
  int halvings[MFG_MAX_DIM];
  double scale; /* 2^S */
  MFGAxis axis[MFG_MAX_DIM];
  MFGExtent box, extent; /* cells of the agents, and of the moments */
  int64_t boxes, direct; /* of the extent; the first `direct` boxes are not padded */
  int wide[MFG_MAX_DIM]; /* cells of the box with ghosts */
  size_t table_size;     /* doubles of one level's table */
  size_t padded_size;    /* numbers of one level's padded boxes, one to lose behind them */
  double *table;         /* owned; [level of the group][table_size] */
  uint64_t *padded;      /* owned; [level of the group][padded_size] */
  int batch, pitch;      /* agents whose products are made at a time, and room for one */
  double *products;      /* owned; [batch][pitch] */
  Words used;            /* the terms in the last line of a box */
  Words shuffle[MFG_MAX_DIM][LINES_MAX]; /* powers of x, y and z of each term */
  Tile *tile;                            /* owned */
} Work;

#define TileBoxes MFG_VARIANT_NAME(MFGTileBoxes_CPU)
#define TileDeposit MFG_VARIANT_NAME(MFGTileDeposit_CPU)
#define TileUnload MFG_VARIANT_NAME(MFGTileUnload_CPU)

/* The boxes of the agents at x, and the bits of the powers of t that MFGMomentPower multiplies. */
void TileBoxes(const Work *w, int count, double *const x[], Tile *tile);
/* Adds their moments to one level's field, and to its padded boxes. */
void TileDeposit(const Work *w, int count, uint64_t *field, uint64_t *padded);
/* Adds the padded boxes of one level to its field and empties them. */
void TileUnload(const Work *w, uint64_t *padded, uint64_t *field);
