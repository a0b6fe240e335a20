#include "solvers/exchange.h"

#include "solvers/log_event.h"
#include "solvers/particle_point.h"

struct MFGExchange_ {
  MPI_Comm comm;
  MFGBlock box; /* this rank's */
  int divisions[MFG_MAX_DIM];
  const MFGExchangeOps *ops;  /* borrowed */
  const MFGMemoryOps *memory; /* borrowed */
  void *transport;            /* owned; context of ops */
  int coordinate[MFG_MAX_DIM];
  int neighbor[MFG_MAX_DIM][2]; /* ranks; -1 beyond a wall */
  void *buffer[4];              /* owned; send low, high, receive low, high */
  int64_t buffer_size;
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

PetscErrorCode MFGExchangeCreate(MPI_Comm comm, const MFGExchangeOps *ops,
                                 const MFGMemoryOps *memory, const MFGBlock *whole,
                                 const int divisions[MFG_MAX_DIM], MFGExchange *exchange) {
  PetscMPIInt rank;
  MFGExchange x;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCall(PetscNew(&x));
  x->comm = comm;
  x->box = MFGBoxOfRank(whole, divisions, rank);
  memcpy(x->divisions, divisions, sizeof x->divisions);
  x->ops = ops;
  x->memory = memory;
  PetscCall(ops->create(comm, memory, &x->transport));
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

void MFGExchangeCountGather(MFGExchange x, int64_t bytes) {
  x->bytes.gather += bytes;
}

PetscErrorCode MFGExchangeSum(MFGExchange x, int64_t count, int64_t *values) {
  PetscLogEvent event;

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
  PetscCall(x->ops->max(x->transport, count, values));
  x->bytes.reduction += count * (int64_t)sizeof *values;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Reserve(MFGExchange x, int64_t bytes) {
  PetscFunctionBeginUser;
  if (bytes <= x->buffer_size) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < 4; i++) {
    PetscCall(MFGMemoryFree(x->memory, &x->buffer[i]));
    PetscCall(MFGMemoryAllocate(x->memory, bytes, 1, &x->buffer[i]));
    PetscCall(MFGMemoryZero(x->memory, bytes, 1, x->buffer[i]));
  }
  x->buffer_size = bytes;
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

/* A slab of cells: begin[k] .. begin[k] + count[k] - 1 of an array of size[k]. */
typedef struct {
  int64_t size[MFG_MAX_DIM], begin[MFG_MAX_DIM], count[MFG_MAX_DIM];
} Slab;

/* Cells that go over the faces of `axis`: earlier axes with their rim, which is there by then, so
 * that corners come right; later axes without. */
static Slab SlabOf(const MFGBlock *box, const int width[], int axis) {
  Slab s;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.size[k] = box->count[k] + 2 * width[k];
    s.begin[k] = k < axis ? 0 : width[k];
    s.count[k] = k < axis ? s.size[k] : k == axis ? width[k] : box->count[k];
  }
  return s;
}

static int64_t SlabCells(const Slab *s) {
  return s->count[0] * s->count[1] * s->count[2];
}

/* Copies a slab of every field to a buffer, or back. */
static void CopySlab(const Slab *s, const MFGHalo *halo, char *field, char *buffer, int back) {
  const size_t run = s->count[0] * halo->element;
  for (int64_t f = 0; f < halo->fields; f++)
    for (int64_t z = 0; z < s->count[2]; z++)
      for (int64_t y = 0; y < s->count[1]; y++, buffer += run) {
        const int64_t row = (f * s->size[2] + s->begin[2] + z) * s->size[1] + s->begin[1] + y;
        char *cells = field + (row * s->size[0] + s->begin[0]) * halo->element;
        memcpy(back ? cells : buffer, back ? buffer : cells, run);
      }
}

PetscErrorCode MFGExchangeHalo(MFGExchange x, const MFGHalo *halo, void *fields) {
  const MFGBlock *box = &x->box;
  PetscLogEvent event;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("MFGHalo", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  for (int k = 0; k < box->dim; k++) {
    if (!halo->width[k]) continue;
    PetscCheck(halo->width[k] <= box->count[k], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "a rim of %d cells on axis %d is wider than this rank's %d cells", halo->width[k], k,
               box->count[k]);
    Slab s = SlabOf(box, halo->width, k);
    const int64_t bytes = halo->fields * SlabCells(&s) * halo->element;
    PetscCall(Reserve(x, bytes));
    for (int side = 0; side < 2; side++) {
      s.begin[k] = side ? box->count[k] : halo->width[k];
      if (x->neighbor[k][side] >= 0) CopySlab(&s, halo, fields, x->buffer[side], 0);
    }
    PetscCall(Swap(x, k, bytes, &x->bytes.halo));
    for (int side = 0; side < 2; side++) {
      s.begin[k] = side ? box->count[k] + halo->width[k] : 0;
      if (x->neighbor[k][side] >= 0) CopySlab(&s, halo, fields, x->buffer[2 + side], 1);
    }
  }
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGExchangeHaloBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                             const MFGHalo *halo) {
  const MFGBlock box = MFGBoxOfRank(whole, divisions, rank);
  int64_t bytes = 0;
  for (int k = 0; k < whole->dim; k++) {
    const Slab s = SlabOf(&box, halo->width, k);
    bytes += SidesSent(whole, divisions, rank, k) * halo->fields * SlabCells(&s) * halo->element;
  }
  return bytes;
}

int64_t MFGExchangeHaloBuffers(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                               const MFGHalo *halo) {
  const MFGBlock box = MFGBoxOfRank(whole, divisions, rank);
  int64_t most = 0;
  for (int k = 0; k < whole->dim; k++) {
    const Slab s = SlabOf(&box, halo->width, k);
    const int sides = (Neighbor(whole, divisions, rank, k, 0) >= 0) +
                      (Neighbor(whole, divisions, rank, k, 1) >= 0);
    most = PetscMax(most, 2 * sides * halo->fields * SlabCells(&s) * halo->element);
  }
  return most;
}

static int64_t MessageBytes(int dim, int64_t records) {
  return (int64_t)sizeof(int64_t) + records * (dim + 1) * (int64_t)sizeof(double);
}

/* The way from box `from` to box `to` of an axis: -1, 0 or 1; round a periodic axis the short one.
 */
static int Direction(int from, int to, int boxes, int periodic) {
  if (from == to) return 0;
  if (!periodic) return to > from ? 1 : -1;
  return (to - from + boxes) % boxes <= boxes / 2 ? 1 : -1;
}

/* Takes the records that have to go along an axis out and into the two messages. */
static void Pack(MFGExchange x, int axis, MFGTravellers *t) {
  const MFGBlock *b = &x->box;
  const MFGAxis a = MFGAxisOf(b, axis);
  const int words = b->dim + 1;
  int64_t kept = 0, wanted[2] = {0, 0};

  for (int64_t i = 0; i < t->count; i++) {
    const double *record = t->record + i * words;
    double in_cell;
    const int cell = MFGCellOf(&a, record[axis], &in_cell);
    const int to = MFGBoxOfCell(b->cells[axis], x->divisions[axis], cell);
    const int way = Direction(x->coordinate[axis], to, x->divisions[axis], a.periodic);
    double *place;
    if (way) {
      const int side = way > 0;
      if (wanted[side]++ >= t->message) continue;
      place = (double *)((char *)x->buffer[side] + MessageBytes(b->dim, wanted[side] - 1));
    } else {
      place = t->record + kept++ * words;
    }
    memmove(place, record, words * sizeof *record);
  }
  t->count = kept;
  for (int side = 0; side < 2; side++) {
    *(int64_t *)x->buffer[side] = PetscMin(wanted[side], t->message);
    t->message_wanted = PetscMax(t->message_wanted, wanted[side]);
  }
}

static void Unpack(MFGExchange x, int axis, MFGTravellers *t) {
  const int dim = x->box.dim, words = dim + 1;
  for (int side = 0; side < 2; side++) {
    if (x->neighbor[axis][side] < 0) continue;
    const char *message = x->buffer[2 + side];
    const int64_t arrived = *(const int64_t *)message;
    const int64_t room = PetscMin(arrived, t->capacity - t->count);
    t->capacity_wanted = PetscMax(t->capacity_wanted, t->count + arrived);
    memcpy(t->record + t->count * words, message + MessageBytes(dim, 0),
           room * words * sizeof *t->record);
    t->count += room;
  }
}

PetscErrorCode MFGExchangeMigrate(MFGExchange x, MFGTravellers *t) {
  const MFGBlock *b = &x->box;
  const int64_t bytes = MessageBytes(b->dim, t->message);
  PetscLogEvent event;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("MFGMigrate", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(Reserve(x, bytes));
  for (int k = 0; k < b->dim; k++) {
    for (int round = 0; round < t->rounds[k]; round++) {
      Pack(x, k, t);
      PetscCall(Swap(x, k, bytes, &x->bytes.migration));
      Unpack(x, k, t);
    }
    const MFGAxis a = MFGAxisOf(b, k);
    for (int64_t i = 0; i < t->count; i++) {
      double in_cell;
      const int cell = MFGCellOf(&a, t->record[i * (b->dim + 1) + k], &in_cell);
      t->strays[k] += cell < b->start[k] || cell >= b->start[k] + b->count[k];
    }
  }
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGExchangeMigrationBytes(const MFGBlock *whole, const int divisions[MFG_MAX_DIM], int rank,
                                  const MFGTravellers *t) {
  int64_t bytes = 0;
  for (int k = 0; k < whole->dim; k++)
    bytes += (int64_t)t->rounds[k] * SidesSent(whole, divisions, rank, k) *
             MessageBytes(whole->dim, t->message);
  return bytes;
}
