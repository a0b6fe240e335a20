/* How fast this machine is at what a sweep of agents does: a short measurement, through the
 * operations of the backend, that feeds the model of solvers/decomposition.h. */
#pragma once

#include "solvers/grid.h"
#include "solvers/sweep_layout.h"

typedef struct {
  double call_seconds;     /* of an operation with one agent: what a call costs beside its work */
  double memory_bandwidth; /* bytes/s, read and written, of arrays larger than the layout's box */
  /* Of an agent's step with its deposit, and of its share in sorting the agents where they are
   * sorted, in the order that they have halfway between two sorts; else in no order. */
  double agent_seconds;    /* on the whole grid, steps in groups */
  double resident_seconds; /* in a box, one step at a time, looking for who left */
  double
      deposit_seconds; /* of an agent's deposit alone, on the whole grid, in the order of t = 0 */
  double product_seconds; /* of a multiplication and addition in a convolution */
  double message_seconds; /* of a smallest swap with both neighbours */
  double swap_bandwidth;  /* bytes/s that a rank sends in large swaps */
  double stage_bandwidth; /* bytes/s of a copy to the host's memory and back; 0: it is the host's */
  double reduce_bandwidth; /* bytes/s of a sum of B bytes over R ranks: 2 (R - 1) / R B / seconds */
  PetscBool network_stated; /* one rank has no network: the figures of MFGHintsNetwork stand in */
} MFGHints;

/* Figures of ranks on one node, for layouts of more ranks than there are. */
void MFGHintsNetwork(MFGHints *hints);

/* Collective on comm, whose ranks measure at the same time: they share caches and memory as in a
 * run. The slowest rank counts, the same figures on all. Takes about a tenth of a second, on
 * a busy machine a second, and at most about 100 MB. Of the layout counts all but its
 * decomposition; cells and boxes are cut down where they are large, with as many agents per cell.
 */
PetscErrorCode MFGHintsMeasure(MPI_Comm comm, const MFGBackend *backend,
                               const MFGSweepLayout *layout, MFGHints *hints);

/* Collective on comm. Bytes/s, read and written, of copying `bytes` to as many others. */
PetscErrorCode MFGHintsMemory(MPI_Comm comm, const MFGMemoryOps *memory, int64_t bytes,
                              double *bandwidth);

/* Collective on grid->world. Seconds of a level of the value equation on so many cells and ranks:
 * measured by short sweeps on a small and a larger grid, at most 65536 cells to a rank, and from
 * both continued to the grid's own cells. Copies between host and device are part of it. */
PetscErrorCode MFGHintsValue(const MFGGrid *grid, const MFGBackend *backend, double *seconds);

/* Collective on grid->world. Seconds that the bandwidth of the memory, measured on so many bytes,
 * takes for MFGHJBStepBytes of every cell: no Newton step of a level is faster. */
PetscErrorCode MFGHintsValueFloor(const MFGGrid *grid, const MFGMemoryOps *memory, double *seconds);

/* Multiplications that the density of a block takes: along x for every row of boxes in reach, then
 * along y, then z. */
double MFGConvolutionProducts(const MFGBlock *block, const MFGMomentShape *shape,
                              const int radius[]);
