#include "solvers/exchange.h"

#include "solvers/log_event.h"
#include "solvers/particle_point.h"

struct MFGExchange_ {
  MPI_Comm comm;
  MFGBlock box; /* this rank's */
  int divisions[MFG_MAX_DIM];
  const MFGMemoryOps *memory;   /* borrowed */
  const MFGExchangeOps *ops;    /* borrowed */
  const MFGTransitOps *transit; /* borrowed */
  void *transport;              /* owned; context of ops */
  int coordinate[MFG_MAX_DIM];
  int neighbor[MFG_MAX_DIM][2]; /* ranks; -1 beyond a wall */
  void *buffer[4];              /* owned; send low, high, receive low, high */
  int64_t buffer_size[2];       /* of either side */
  MFGExchangeBytes bytes;
};

static void Coordinates(const int divisions[], int rank, int coordinate[]) {
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    coordinate[k] = rank % divisions[k];
    rank /= divisions[k];
  }
}

static int RankAt(const int divisions[], const int coordinate[]) {
  return coordinate[0] + divisions[0] * (coordinate[1] + divisions[1] * coordinate[2]);
}

/* The rank on one side of an axis, -1 beyond a wall. */
static int Neighbor(const MFGBlock *whole, const int divisions[], int rank, int axis, int side) {
  int c[MFG_MAX_DIM];
  Coordinates(divisions, rank, c);
  c[axis] += side ? 1 : -1;
  if (c[axis] < 0 || c[axis] >= divisions[axis]) {
    if (whole->boundary[axis][0] != MFG_BOUNDARY_PERIODIC) return -1;
    c[axis] = (c[axis] + divisions[axis]) % divisions[axis];
  }
  return RankAt(divisions, c);
}

/* How many of the two sides of an axis another rank gets data on. */
static int SidesSent(const MFGBlock *whole, const int divisions[], int rank, int axis) {
  int sides = 0;
  for (int side = 0; side < 2 && axis < whole->dim; side++) {
    const int to = Neighbor(whole, divisions, rank, axis, side);
    sides += to >= 0 && to != rank;
  }
  return sides;
}

PetscErrorCode MFGExchangeCreate(MPI_Comm comm, const MFGCarrier *carrier, const MFGBlock *whole,
                                 const int divisions[MFG_MAX_DIM], MFGExchange *exchange) {
  PetscMPIInt rank;
  MFGExchange x;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCall(PetscNew(&x));
  x->comm = comm;
  x->box = MFGBoxOfRank(whole, divisions, rank);
  memcpy(x->divisions, divisions, sizeof x->divisions);
  x->memory = carrier->memory;
  x->ops = carrier->transport;
  x->transit = carrier->transit;
  PetscCall(x->ops->create(comm, x->memory, &x->transport));
  Coordinates(divisions, rank, x->coordinate);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    for (int side = 0; side < 2; side++)
      x->neighbor[k][side] = k < whole->dim ? Neighbor(whole, divisions, rank, k, side) : -1;
  *exchange = x;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGExchangeDestroy(MFGExchange *exchange) {
  PetscFunctionBeginUser;
  if (!exchange || !*exchange) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < 4; i++)
    PetscCall(MFGMemoryFree((*exchange)->memory, &(*exchange)->buffer[i]));
  PetscCall((*exchange)->ops->destroy((*exchange)->transport));
  PetscCall(PetscFree(*exchange));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGExchangeBytes MFGExchangeBytesMoved(MFGExchange x) {
  return x->bytes;
}

MFGExchangeBytes MFGExchangeBytesSum(MFGExchangeBytes a, int sign, MFGExchangeBytes b) {
  return (MFGExchangeBytes){.halo = a.halo + sign * b.halo,
                            .migration = a.migration + sign * b.migration,
                            .reduction = a.reduction + sign * b.reduction,
                            .gather = a.gather + sign * b.gather};
}

PetscBool MFGExchangeRecordable(MFGExchange x) {
  return x->ops->recordable;
}

void MFGExchangeCount(MFGExchange x, const MFGExchangeBytes *bytes) {
  x->bytes = MFGExchangeBytesSum(x->bytes, 1, *bytes);
}

void MFGExchangeCountGather(MFGExchange x, int64_t bytes) {
  x->bytes.gather += bytes;
}

PetscErrorCode MFGExchangeSum(MFGExchange x, int64_t count, int64_t *values) {
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("MFGSum", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(x->ops->sum(x->transport, count, values));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  x->bytes.reduction += count * (int64_t)sizeof *values;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGExchangeMax(MFGExchange x, int64_t count, int64_t *values) {
  PetscFunctionBeginUser;
  PetscCallMPI(
      MPI_Allreduce(MPI_IN_PLACE, values, (PetscMPIInt)count, MPI_INT64_T, MPI_MAX, x->comm));
  x->bytes.reduction += count * (int64_t)sizeof *values;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for messages to and from one side. */
static PetscErrorCode Reserve(MFGExchange x, int side, int64_t bytes) {
  PetscFunctionBeginUser;
  if (bytes <= x->buffer_size[side]) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = side; i < 4; i += 2) {
    PetscCall(MFGMemoryFree(x->memory, &x->buffer[i]));
    PetscCall(MFGMemoryAllocate(x->memory, bytes, 1, &x->buffer[i]));
    PetscCall(MFGMemoryZero(x->memory, bytes, 1, x->buffer[i]));
  }
  x->buffer_size[side] = bytes;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Swap(MFGExchange x, int axis, int64_t bytes, int64_t *sent) {
  const void *const send[2] = {x->buffer[0], x->buffer[1]};
  void *const receive[2] = {x->buffer[2], x->buffer[3]};
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCall(x->ops->swap(x->transport, x->neighbor[axis], bytes, send, receive));
  PetscCallMPI(MPI_Comm_rank(x->comm, &rank));
  *sent += bytes * SidesSent(&x->box, x->divisions, rank, axis);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Cells that go over the faces of `axis`: earlier axes with their rim, which is there by then, so
 * that corners come right; later axes without. */
static MFGSlab SlabOf(const MFGBlock *box, const MFGHalo *halo, int axis) {
  const int *width = halo->width;
  MFGSlab s = {.element = halo->element, .fields = halo->fields};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.size[k] = box->count[k] + 2 * width[k];
    s.begin[k] = k < axis ? 0 : width[k];
    s.count[k] = k < axis ? s.size[k] : k == axis ? width[k] : box->count[k];
  }
  return s;
}

static int64_t SlabBytes(const MFGSlab *s) {
  return s->fields * s->count[0] * s->count[1] * s->count[2] * s->element;
}

/* The cells on the sides of an axis that have a neighbour, to send or (back) as received. */
static PetscErrorCode CopySides(MFGExchange x, int axis, MFGSlab slab, void *fields,
                                const int begin[2], int back) {
  MFGSlab slabs[MFG_SLABS_MOST];
  void *buffers[MFG_SLABS_MOST];
  int count = 0;

  PetscFunctionBeginUser;
  for (int side = 0; side < 2; side++) {
    if (x->neighbor[axis][side] < 0) continue;
    slab.begin[axis] = begin[side];
    slabs[count] = slab;
    buffers[count++] = x->buffer[(back ? 2 : 0) + side];
  }
  if (count) PetscCall(x->transit->copy_slabs(count, slabs, fields, buffers, back));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGExchangeHalo(MFGExchange x, const MFGHalo *halo, void *fields) {
  const MFGBlock *box = &x->box;
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("MFGHalo", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  for (int k = 0; k < box->dim; k++) {
    if (!halo->width[k]) continue;
    PetscCheck(halo->width[k] <= box->count[k], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "a rim of %d cells on axis %d is wider than this rank's %d cells", halo->width[k], k,
               box->count[k]);
    const MFGSlab s = SlabOf(box, halo, k);
    const int64_t bytes = SlabBytes(&s);
    for (int side = 0; side < 2; side++)
      if (x->neighbor[k][side] >= 0) PetscCall(Reserve(x, side, bytes));
    PetscCall(CopySides(x, k, s, fields, (const int[]){halo->width[k], box->count[k]}, 0));
    PetscCall(Swap(x, k, bytes, &x->bytes.halo));
    PetscCall(CopySides(x, k, s, fields, (const int[]){0, box->count[k] + halo->width[k]}, 1));
  }
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGExchangeHaloBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                             const MFGHalo *halo) {
  const MFGBlock box = MFGBoxOfRank(whole, divisions, rank);
  int64_t bytes = 0;
  for (int k = 0; k < whole->dim; k++) {
    const MFGSlab s = SlabOf(&box, halo, k);
    bytes += SidesSent(whole, divisions, rank, k) * SlabBytes(&s);
  }
  return bytes;
}

int64_t MFGExchangeHaloBuffers(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                               const MFGHalo *halo) {
  const MFGBlock box = MFGBoxOfRank(whole, divisions, rank);
  int64_t most[2] = {0};
  for (int k = 0; k < whole->dim; k++) {
    const MFGSlab s = SlabOf(&box, halo, k);
    for (int side = 0; side < 2; side++)
      if (Neighbor(whole, divisions, rank, k, side) >= 0)
        most[side] = PetscMax(most[side], SlabBytes(&s));
  }
  return 2 * (most[0] + most[1]);
}

MFGTransit MFGExchangeTransit(MFGExchange x, const MFGTravellers *t) {
  MFGTransit transit = {.box = x->box,
                        .message = t->message,
                        .capacity = t->capacity,
                        .record = t->record,
                        .traffic = t->traffic};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    transit.divisions[k] = x->divisions[k];
    transit.coordinate[k] = x->coordinate[k];
  }
  return transit;
}

PetscErrorCode MFGExchangeMigrate(MFGExchange x, const MFGTravellers *t) {
  const MFGTransit transit = MFGExchangeTransit(x, t);
  const int64_t bytes = MFGMessageBytes(x->box.dim, t->message);
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("MFGMigrate", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  for (int side = 0; side < 2; side++) PetscCall(Reserve(x, side, bytes));
  for (int k = 0; k < x->box.dim; k++) {
    const void *const received[2] = {x->neighbor[k][0] < 0 ? NULL : x->buffer[2],
                                     x->neighbor[k][1] < 0 ? NULL : x->buffer[3]};
    for (int round = 0; round < t->rounds[k]; round++) {
      PetscCall(x->transit->pack(&transit, k, x->buffer));
      PetscCall(Swap(x, k, bytes, &x->bytes.migration));
      PetscCall(x->transit->unpack(&transit, received));
    }
    PetscCall(x->transit->count_strays(&transit, k));
  }
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGExchangeMigrationBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                                  const MFGTravellers *t) {
  int64_t bytes = 0;
  for (int k = 0; k < whole->dim; k++)
    bytes += (int64_t)t->rounds[k] * SidesSent(whole, divisions, rank, k) *
             MFGMessageBytes(whole->dim, t->message);
  return bytes;
}
