#include "solvers/deliver.h"
#include "solvers/particles_parts.h"

/* A permutation of 64 bits (the finaliser of MurmurHash3, A. Appleby): sums of it tell sets of
 * numbers apart. */
static uint64_t Mix(uint64_t v) {
  v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
  v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
  return v ^ v >> 33;
}

static PetscErrorCode GetAgents(void *context, int64_t first, int64_t count, double *record) {
  const MFGParticles p = (MFGParticles)context;
  const int dim = p->domain.dim;
  const MFGAgentRange agents = p->backend->memory->is_host ? MFGParticlesHere(p) : p->shown.range;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < count; i++)
    MFGAgentToRecord(&agents, p->shown.axis, dim, first + i, record + i * (dim + 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rank that has an agent; -1: it is none of this grid's. */
static int OwnerOf(MFGParticles p, int ranks, const double *record) {
  const int dim = p->domain.dim;
  const int64_t id = (int64_t)MFGBitsOfDouble(record[dim]), count = p->spec.count;
  for (int k = 0; k < dim; k++)
    if (!(record[k] >= p->domain.lower[k] && record[k] <= p->domain.upper[k])) return -1;
  if (id < 0 || id >= count) return -1;
  if (p->residents) return MFGResidentsOwner(p->residents, record);
  return (int)((((MFGUint128)id + 1) * (MFGUint128)ranks - 1) / (MFGUint128)count);
}

/* Sends records to their owners and keeps those that come here. */
static PetscErrorCode Take(MFGParticles p, int64_t count, const double *record) {
  const int words = p->domain.dim + 1;
  PetscMPIInt ranks;
  int *owner;
  double *good, *received;
  int64_t kept = 0, arrived;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(p->grid->world, &ranks));
  PetscCall(PetscMalloc2(count, &owner, count * words, &good));
  for (int64_t i = 0; i < count; i++) {
    owner[kept] = OwnerOf(p, ranks, record + i * words);
    if (owner[kept] < 0)
      p->faults++;
    else
      PetscCall(PetscArraycpy(good + kept++ * words, record + i * words, words));
  }
  PetscCall(MFGDeliver(p->grid->world, words, kept, owner, good, &arrived, &received));
  PetscCall(PetscFree2(owner, good));
  if (p->arrivals + arrived > p->arrived_room) {
    p->arrived_room = p->arrivals + arrived + p->arrivals / 4;
    PetscCall(PetscRealloc((size_t)(p->arrived_room * words) * sizeof(double), &p->arrived));
  }
  PetscCall(PetscArraycpy(p->arrived + p->arrivals * words, received, arrived * words));
  p->arrivals += arrived;
  PetscCall(PetscFree(received));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The agents 0 .. N - 1 have come, each once. */
static PetscErrorCode CheckAll(MFGParticles p) {
  const int dim = p->domain.dim;
  PetscMPIInt rank, ranks;
  uint64_t sums[] = {(uint64_t)p->arrivals, 0, 0, (uint64_t)p->faults};

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid->world, &rank));
  PetscCallMPI(MPI_Comm_size(p->grid->world, &ranks));
  for (int64_t i = 0; i < p->arrivals; i++)
    sums[1] += Mix(MFGBitsOfDouble(p->arrived[i * (dim + 1) + dim]));
  const int64_t end = MFGProportion(p->spec.count, rank + 1, ranks);
  for (int64_t i = MFGProportion(p->spec.count, rank, ranks); i < end; i++)
    sums[2] += Mix((uint64_t)i);
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, sums, 4, MPI_UINT64_T, MPI_SUM, p->grid->world));
  PetscCheck(sums[0] == (uint64_t)p->spec.count && sums[1] == sums[2] && !sums[3], p->grid->world,
             PETSC_ERR_FILE_READ,
             "the agents that were saved are not those of this input: %llu of %lld, %llu outside "
             "the grid; take an older checkpoint",
             (unsigned long long)sums[0], (long long)p->spec.count, (unsigned long long)sums[3]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* By id: in the order of the range. By box: in any order, with ids. */
static PetscErrorCode Settle(MFGParticles p) {
  const int dim = p->domain.dim, words = dim + 1;
  const int64_t first = p->initial.range.first_id, room = p->initial.range.count;
  MFGAgents mine = MFGAgentsNone(&MFGMemoryOps_Host, &p->domain, p->spec.single,
                                 (PetscBool)(p->residents != NULL));

  PetscFunctionBeginUser;
  PetscCheck(p->residents || p->arrivals == room, PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
             "%lld agents were saved for a range of %lld; take an older checkpoint",
             (long long)p->arrivals, (long long)room);
  PetscCall(MFGAgentsReserve(&mine, p->arrivals));
  mine.range.count = p->arrivals;
  for (int64_t i = 0; i < p->arrivals; i++) {
    const double *record = p->arrived + i * words;
    const int64_t place = (int64_t)MFGBitsOfDouble(record[dim]) - first;
    if (p->residents)
      MFGAgentFromRecord(&mine.range, mine.axis, dim, i, record);
    else
      for (int k = 0; k < dim; k++) MFGAgentMoveTo(&mine.range, &mine.axis[k], k, place, record[k]);
  }
  if (p->residents) {
    PetscCall(MFGResidentsPlace(p->residents, &mine, p->peak));
  } else {
    mine.range.first_id = first;
    PetscCall(MFGAgentsCopy(&mine, &p->now));
  }
  PetscCall(MFGAgentsDestroy(&mine));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PutAgents(void *context, int64_t count, const double *record,
                                PetscBool done) {
  MFGParticles p = (MFGParticles)context;

  PetscFunctionBeginUser;
  PetscCall(Take(p, count, record));
  if (!done) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(CheckAll(p));
  PetscCall(Settle(p));
  PetscCall(PetscFree(p->arrived));
  p->arrivals = p->arrived_room = p->faults = 0;
  p->placed = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesState(MFGParticles p, MFGState *state) {
  const MFGAgentRange here = MFGParticlesHere(p);

  PetscFunctionBeginUser;
  p->peak = p->residents ? MFGResidentsPeak(p->residents) : 0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &p->peak, 1, MPI_INT64_T, MPI_MAX, p->grid->world));
  if (!p->backend->memory->is_host) {
    MFGAgents now = p->now;
    now.memory = p->backend->memory;
    now.range = here;
    now.with_ids = (PetscBool)(here.id != NULL);
    PetscCall(MFGAgentsCopy(&now, &p->shown));
  }
  MFGStateInteger(state, "agents_steps", p->done, 1, p->spec.steps - 1);
  MFGStateInteger(state, "agents_peak", p->peak, 0, p->spec.count);
  MFGStateAdd(state, (MFGStateItem){.name = "agents",
                                    .kind = MFG_STATE_RECORDS,
                                    .count = p->spec.count,
                                    .records = {.words = p->domain.dim + 1,
                                                .local = here.count,
                                                .get = GetAgents,
                                                .put = PutAgents,
                                                .context = p}});
  PetscFunctionReturn(PETSC_SUCCESS);
}
