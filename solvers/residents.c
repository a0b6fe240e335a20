#include "solvers/residents.h"

#include "solvers/deliver.h"

struct MFGResidents_ {
  const MFGGrid *grid;
  const MFGBackend *backend;
  MFGExchange exchange;
  int64_t total, peak;           /* peak: most agents here */
  int64_t changes;               /* of arrays and messages */
  MFGAgents now, initial, saved; /* saved: only once Save was called; else initial serves */
  PetscBool has_saved;
  MFGTravellers travellers; /* record and traffic owned, in the backend's memory like all arrays */
  int64_t *leavers;         /* owned; [1 + now.room] */
};

int MFGResidentsOwner(MFGResidents r, const double *position) {
  const MFGGrid *grid = r->grid;
  int owner = 0;
  for (int k = grid->box.dim - 1; k >= 0; k--) {
    const MFGAxis *axis = &r->initial.axis[k];
    double in_cell;
    const int cell = MFGCellOf(axis, position[k], &in_cell);
    owner = owner * grid->divisions[k] + MFGBoxOfCell(axis->cells, grid->divisions[k], cell);
  }
  return owner;
}

/* Every agent to its owner, once: those of this rank to `mine`, on the host. */
static PetscErrorCode Distribute(MFGResidents r, const MFGAgentRange *agents, MFGAgents *mine) {
  const int dim = r->grid->box.dim, words = dim + 1;
  int *owner;
  double *send, *received;
  int64_t arrivals;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc2(agents->count, &owner, agents->count * words, &send));
  for (int64_t i = 0; i < agents->count; i++) {
    MFGAgentToRecord(agents, mine->axis, dim, i, send + i * words);
    owner[i] = MFGResidentsOwner(r, send + i * words);
  }
  PetscCall(MFGDeliver(r->grid->world, words, agents->count, owner, send, &arrivals, &received));
  PetscCall(PetscFree2(owner, send));
  PetscCall(MFGAgentsReserve(mine, arrivals));
  for (int64_t i = 0; i < arrivals; i++)
    MFGAgentFromRecord(&mine->range, mine->axis, dim, i, received + i * words);
  mine->range.count = arrivals;
  PetscCall(PetscFree(received));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Twice the noise's flow over a face of a box of uniform density: the mean of max(xi, 0) is .4. */
MFGTravellers MFGTravellersFor(const MFGBlock *whole, const int divisions[MFG_MAX_DIM],
                               int64_t agents, double deviation) {
  MFGTravellers t = {0};
  double fraction = 0, ranks = 1;
  for (int k = 0; k < whole->dim; k++) {
    const double width = (whole->upper[k] - whole->lower[k]) / divisions[k];
    ranks *= divisions[k];
    if (divisions[k] == 1) continue;
    t.rounds[k] = 1;
    fraction = PetscMax(fraction, PetscMin(1, 0.8 * deviation / width));
  }
  t.message = 64 + (int64_t)ceil(fraction * (double)agents / ranks);
  t.capacity = 8 * t.message;
  return t;
}

int64_t MFGResidentsRoom(int64_t here, const MFGTravellers *t) {
  return here + here / 8 + t->capacity;
}

static PetscErrorCode ReserveTravellers(MFGResidents r) {
  MFGTravellers *t = &r->travellers;
  const MFGMemoryOps *memory = r->backend->memory;

  PetscFunctionBeginUser;
  r->changes++;
  PetscCall(MFGMemoryFree(memory, &t->record));
  PetscCall(MFGMemoryAllocate(memory, t->capacity * (r->grid->box.dim + 1), sizeof *t->record,
                              &t->record));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReserveAgents(MFGResidents r, int64_t room) {
  const MFGMemoryOps *memory = r->backend->memory;

  PetscFunctionBeginUser;
  if (r->leavers && room <= r->now.room) PetscFunctionReturn(PETSC_SUCCESS);
  r->changes++;
  PetscCall(MFGAgentsReserve(&r->now, room));
  PetscCall(MFGMemoryFree(memory, &r->leavers));
  PetscCall(MFGMemoryAllocate(memory, r->now.room + 1, sizeof *r->leavers, &r->leavers));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* So many agents are here, nothing has happened yet. */
static PetscErrorCode WriteTraffic(MFGResidents r, int64_t here) {
  const MFGTraffic traffic = {.here = {0, here}};

  PetscFunctionBeginUser;
  r->now.range.count = here;
  r->now.range.live = NULL;
  PetscCall(MFGMemoryCopy(r->backend->memory, 1, sizeof traffic, MFG_COPY_FROM_HOST, &traffic,
                          r->travellers.traffic));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  MFGExchange exchange, const MFGAgentRange *agents, int64_t total,
                                  double deviation, MFGResidents *residents) {
  const MFGMemoryOps *memory = backend->memory;
  const PetscBool single = (PetscBool)(agents->offset[0] != NULL);
  MFGAgents mine = MFGAgentsNone(&MFGMemoryOps_Host, &grid->box, single, PETSC_TRUE);
  MFGResidents r;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&r));
  r->grid = grid;
  r->backend = backend;
  r->exchange = exchange;
  r->total = total;
  r->now = r->initial = r->saved = MFGAgentsNone(memory, &grid->box, single, PETSC_TRUE);
  r->travellers = MFGTravellersFor(&grid->box, grid->divisions, total, deviation);
  PetscCall(ReserveTravellers(r));
  PetscCall(MFGMemoryAllocate(memory, 1, sizeof *r->travellers.traffic, &r->travellers.traffic));
  PetscCall(Distribute(r, agents, &mine));
  if (memory->is_host) {
    r->initial = mine;
  } else {
    PetscCall(MFGAgentsCopy(&mine, &r->initial));
    PetscCall(MFGAgentsDestroy(&mine));
  }
  PetscCall(ReserveAgents(r, MFGResidentsRoom(r->initial.range.count, &r->travellers)));
  PetscCall(MFGResidentsReset(r));
  *residents = r;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsDestroy(MFGResidents *residents) {
  PetscFunctionBeginUser;
  if (!residents || !*residents) PetscFunctionReturn(PETSC_SUCCESS);
  MFGResidents r = *residents;
  PetscCall(MFGAgentsDestroy(&r->now));
  PetscCall(MFGAgentsDestroy(&r->initial));
  PetscCall(MFGAgentsDestroy(&r->saved));
  PetscCall(MFGMemoryFree(r->backend->memory, &r->travellers.record));
  PetscCall(MFGMemoryFree(r->backend->memory, &r->travellers.traffic));
  PetscCall(MFGMemoryFree(r->backend->memory, &r->leavers));
  PetscCall(PetscFree(*residents));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGResidentsChanges(MFGResidents r) {
  return r->changes;
}

MFGAgentRange MFGResidentsRange(MFGResidents r) {
  return r->now.range;
}

static PetscErrorCode CopyBack(MFGResidents r, const MFGAgents *from) {
  PetscFunctionBeginUser;
  PetscCall(ReserveAgents(r, from->range.count));
  PetscCall(MFGAgentsCopy(from, &r->now));
  PetscCall(WriteTraffic(r, from->range.count));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsReset(MFGResidents r) {
  PetscFunctionBeginUser;
  PetscCall(CopyBack(r, &r->initial));
  r->has_saved = PETSC_FALSE;
  r->peak = r->now.range.count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsSave(MFGResidents r) {
  PetscFunctionBeginUser;
  PetscCall(MFGAgentsCopy(&r->now, &r->saved));
  r->has_saved = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsPlace(MFGResidents r, const MFGAgents *agents, int64_t peak) {
  PetscFunctionBeginUser;
  PetscCall(CopyBack(r, agents));
  PetscCall(MFGResidentsSave(r));
  r->peak = PetscMax(peak, r->now.range.count);
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGResidentsPeak(MFGResidents r) {
  return r->peak;
}

PetscErrorCode MFGResidentsRestore(MFGResidents r) {
  PetscFunctionBeginUser;
  PetscCall(CopyBack(r, r->has_saved ? &r->saved : &r->initial));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The agents that `span` in the traffic counts: on the host a part of the arrays, elsewhere known
 * to the device alone. */
static MFGAgentRange Span(MFGResidents r, const int64_t span[2]) {
  if (r->backend->memory->is_host) {
    r->now.range.count = span[1];
    return MFGAgentsFrom(&r->now, span[0]);
  }
  r->now.range.count = r->now.room;
  r->now.range.live = span;
  return r->now.range;
}

PetscErrorCode MFGResidentsStep(MFGResidents r, MFGScan *scan) {
  const MFGTransit transit = MFGExchangeTransit(r->exchange, &r->travellers);
  const MFGTransitOps *ops = r->backend->carrier->transit;
  MFGTraffic *traffic = r->travellers.traffic;
  MFGAgentRange room = r->now.range;

  PetscFunctionBeginUser;
  room.count = r->now.room;
  room.live = NULL;
  scan->agents = Span(r, traffic->here);
  scan->leavers = r->leavers;
  PetscCall(MFGBackendScan(r->backend, scan));
  PetscCall(ops->depart(&transit, &room, r->leavers));
  PetscCall(MFGExchangeMigrate(r->exchange, &r->travellers));
  PetscCall(ops->arrive(&transit, &room));
  const MFGAgentRange arrived = Span(r, traffic->arrived);
  if (scan->shape.order && arrived.count)
    PetscCall(MFGBackendDeposit(r->backend, &scan->domain, &arrived, &scan->shape, &scan->extent,
                                scan->moments));
  (void)Span(r, traffic->here);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsReserveSort(MFGResidents r, MFGSortScratch *scratch) {
  PetscFunctionBeginUser;
  if (r->backend->agents->sort)
    PetscCall(MFGSortScratchReserve(scratch, r->backend->memory, r->now.room,
                                    MFGBlockOwned(&r->grid->box)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsSort(MFGResidents r, MFGSortScratch *scratch) {
  PetscFunctionBeginUser;
  PetscCall(MFGAgentsSort(r->backend, &r->grid->box, &r->now, scratch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsSortInitial(MFGResidents r, MFGSortScratch *scratch) {
  PetscFunctionBeginUser;
  PetscCall(MFGAgentsSort(r->backend, &r->grid->box, &r->initial, scratch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsCheck(MFGResidents r, PetscBool *redo) {
  MFGTravellers *t = &r->travellers;
  MFGTraffic seen;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryCopy(r->backend->memory, 1, sizeof seen, MFG_COPY_TO_HOST, t->traffic, &seen));
  int64_t most[MFG_RESIDENTS_CHECKED] = {seen.most_message, seen.most_travelling,
                                         PetscMax(0, seen.most_here - r->now.room)};
  for (int k = 0; k < MFG_MAX_DIM; k++) most[3 + k] = seen.strays[k];
  PetscCall(MFGExchangeMax(r->exchange, MFG_RESIDENTS_CHECKED, most));
  *redo = (PetscBool)(most[0] > t->message || most[1] > t->capacity || most[2] > 0);
  if (most[0] > t->message) t->message = most[0] + most[0] / 2;
  if (most[1] > t->capacity) t->capacity = most[1] + most[1] / 2;
  t->capacity = PetscMax(t->capacity, 2 * t->message);
  for (int k = 0; k < MFG_MAX_DIM; k++)
    if (most[3 + k]) {
      t->rounds[k] *= 2;
      *redo = PETSC_TRUE;
    }
  if (*redo) PetscCall(ReserveTravellers(r));
  if (seen.most_here > r->now.room)
    PetscCall(ReserveAgents(r, seen.most_here + seen.most_here / 4));
  if (!*redo) {
    r->peak = PetscMax(r->peak, seen.most_here);
    PetscCall(WriteTraffic(r, seen.here[1]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResidentsImbalance(MFGResidents r, double *imbalance) {
  int64_t most = r->peak;
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(r->grid->world, &size));
  PetscCall(MFGExchangeMax(r->exchange, 1, &most));
  *imbalance = (double)most * size / (double)r->total;
  PetscFunctionReturn(PETSC_SUCCESS);
}
