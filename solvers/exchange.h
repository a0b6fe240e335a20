/* Communication between the ranks that share a grid: what agents and densities need.
 *
 * Every operation moves a fixed number of bytes that all ranks know beforehand and takes no
 * decision on what the data hold: a transport (MPI in exchange.c) can be captured and replayed. */
#pragma once

#include <petscsys.h>

#include "solvers/backend_jobs.h"
#include "solvers/memory.h"

typedef struct MFGExchange_ *MFGExchange;

/* What a transport provides, for arrays in the memory it was created with. Its work is done in
 * order with that of the memory. `context` is what create made. */
typedef struct MFGExchangeOps_ {
  const char *name;
  PetscBool recordable; /* sum and swap may be part of a recording of the memory */
  /* Collective on comm, which is borrowed like the memory. */
  PetscErrorCode (*create)(MPI_Comm comm, const MFGMemoryOps *memory, void **context);
  PetscErrorCode (*destroy)(void *context);
  /* In place over all ranks; exact, so independent of order. Any count. */
  PetscErrorCode (*sum)(void *context, int64_t count, int64_t *values);
  /* send[0] goes to rank neighbor[0], send[1] to neighbor[1]; receive[s] takes what neighbor[s]
   * sent this way. `bytes` each; a negative neighbor is none. */
  PetscErrorCode (*swap)(void *context, const int neighbor[2], int64_t bytes,
                         const void *const send[2], void *const receive[2]);
} MFGExchangeOps;
/* MPI; arrays in other memory than the host's are copied there and back. */
extern const MFGExchangeOps MFGExchangeOps_MPI;

/* What a device does with agents and cells that go to other ranks: on arrays in its memory, and
 * without a decision of the host. */
typedef struct {
  const char *name;
  /* The cells of every field in each of `count` slabs to its buffer, or (back) from it. At most
   * MFG_SLABS_MOST, of which only where they begin differs. */
  PetscErrorCode (*copy_slabs)(int count, const MFGSlab slabs[], void *fields,
                               void *const buffers[], int back);
  /* The agents at the places leavers[1 .. leavers[0]] become records, the last agents take their
   * places. `agents` are all the room there is. */
  PetscErrorCode (*depart)(const MFGTransit *transit, const MFGAgentRange *agents,
                           const int64_t *leavers);
  /* Records that have to go along an axis into the messages to the low and the high side. */
  PetscErrorCode (*pack)(const MFGTransit *transit, int axis, void *const message[2]);
  /* Records of both messages, NULL: of none from that side, join those that are travelling. */
  PetscErrorCode (*unpack)(const MFGTransit *transit, const void *const message[2]);
  /* Adds those that are not in the box along the axis to the strays. */
  PetscErrorCode (*count_strays)(const MFGTransit *transit, int axis);
  /* All records become agents. */
  PetscErrorCode (*arrive)(const MFGTransit *transit, const MFGAgentRange *agents);
} MFGTransitOps;
extern const MFGTransitOps MFGTransitOps_CPU;

/* Where the arrays of an exchange are, what brings them to other ranks and what packs them. */
typedef struct {
  const MFGMemoryOps *memory;
  const MFGExchangeOps *transport;
  const MFGTransitOps *transit;
} MFGCarrier;
extern const MFGCarrier MFGCarrier_Host;

/* Bytes that this rank sent to others, and that it gave to reductions and gathers, since Create. */
typedef struct {
  int64_t halo, migration, reduction, gather;
} MFGExchangeBytes;

/* Collective on comm, whose rank r has the box MFGBoxOfRank(whole, divisions, r). The carrier is
 * borrowed; all arrays are in its memory. */
PetscErrorCode MFGExchangeCreate(MPI_Comm comm, const MFGCarrier *carrier, const MFGBlock *whole,
                                 const int divisions[MFG_MAX_DIM], MFGExchange *exchange);
PetscErrorCode MFGExchangeDestroy(MFGExchange *exchange);
MFGExchangeBytes MFGExchangeBytesMoved(MFGExchange exchange);
/* a + sign b. */
MFGExchangeBytes MFGExchangeBytesSum(MFGExchangeBytes a, int sign, MFGExchangeBytes b);
/* Sums and swaps may be part of a recording (solvers/recording.h). */
PetscBool MFGExchangeRecordable(MFGExchange exchange);
/* Counts bytes that a replayed recording moved. */
void MFGExchangeCount(MFGExchange exchange, const MFGExchangeBytes *bytes);
/* Counts a gather of fields that the grid has done. */
void MFGExchangeCountGather(MFGExchange exchange, int64_t bytes);

/* Collective on world. In place; any count. */
PetscErrorCode MFGExchangeSum(MFGExchange exchange, int64_t count, int64_t *values);
/* Both in the host's memory. */
PetscErrorCode MFGExchangeMax(MFGExchange exchange, int64_t count, int64_t *values);
PetscErrorCode MFGExchangeSumInt64(MPI_Comm comm, int64_t count, int64_t *values);

/* Fields on this rank's box with `width` cells more on each side: [fields][z][y][x] elements. */
typedef struct {
  int width[MFG_MAX_DIM]; /* at most the narrowest box of the axis; 0: nothing to exchange there */
  int64_t element;        /* bytes of one cell, a multiple of 4 */
  int64_t fields;
} MFGHalo;

/* Collective on world. Fills the rim with the neighbours' cells, corners and edges included,
 * wrapped at periodic ends (also where one box has the whole axis); beyond walls it stays as it
 * was. */
PetscErrorCode MFGExchangeHalo(MFGExchange exchange, const MFGHalo *halo, void *fields);
/* Bytes that rank `rank` sends in it. */
int64_t MFGExchangeHaloBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                             const MFGHalo *halo);

/* Bytes of the buffers that it fills there, to send and to receive. */
int64_t MFGExchangeHaloBuffers(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                               const MFGHalo *halo);

/* Messages between the boxes: axis by axis agents hop from box to box, `rounds` hops at most, in
 * messages of fixed size with the count inside. */
typedef struct {
  int64_t message, capacity; /* records of a message, and travelling at a time */
  int rounds[MFG_MAX_DIM];   /* hops per axis; 0 where one box has the whole axis */
  double *record;            /* owned by the caller, as in MFGTransit */
  MFGTraffic *traffic;       /* likewise */
} MFGTravellers;

/* The travellers of this rank's box, for the operations on them. */
MFGTransit MFGExchangeTransit(MFGExchange exchange, const MFGTravellers *travellers);

/* Collective on world. On return the records are agents of this rank's box. */
PetscErrorCode MFGExchangeMigrate(MFGExchange exchange, const MFGTravellers *travellers);
/* Bytes that rank `rank` sends in it. */
int64_t MFGExchangeMigrationBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                                  const MFGTravellers *travellers);
