#include "solvers/exchange.h"

static void CopySlab(const MFGSlab *s, void *fields, void *buffer, int back) {
  const size_t run = (size_t)(s->count[0] * s->element);
  char *place = buffer;
  for (int64_t f = 0; f < s->fields; f++)
    for (int64_t z = 0; z < s->count[2]; z++)
      for (int64_t y = 0; y < s->count[1]; y++, place += run) {
        const int64_t row = (f * s->size[2] + s->begin[2] + z) * s->size[1] + s->begin[1] + y;
        char *cells = (char *)fields + (row * s->size[0] + s->begin[0]) * s->element;
        memcpy(back ? cells : place, back ? place : cells, run);
      }
}

static PetscErrorCode CopySlabs_CPU(int count, const MFGSlab slabs[], void *fields,
                                    void *const buffers[], int back) {
  PetscFunctionBeginUser;
  for (int i = 0; i < count; i++) CopySlab(&slabs[i], fields, buffers[i], back);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From the end on, so that a place is filled before the list comes to it. */
static PetscErrorCode Depart_CPU(const MFGTransit *t, const MFGAgentRange *agents,
                                 const int64_t *leavers) {
  const int dim = t->box.dim;
  MFGTraffic *traffic = t->traffic;
  const int64_t leaving = leavers[0];
  MFGAxis axis[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < dim; k++) axis[k] = MFGAxisOf(&t->box, k);
  traffic->travelling = PetscMin(leaving, t->capacity);
  traffic->most_travelling = PetscMax(traffic->most_travelling, leaving);
  for (int64_t j = leaving; j > 0; j--) {
    const int64_t i = leavers[j], last = --traffic->here[1];
    double record[MFG_MAX_DIM + 1];
    if (j <= traffic->travelling)
      MFGAgentToRecord(agents, axis, dim, i, t->record + (j - 1) * (dim + 1));
    MFGAgentToRecord(agents, axis, dim, last, record);
    MFGAgentFromRecord(agents, axis, dim, i, record);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Pack_CPU(const MFGTransit *t, int axis, void *const message[2]) {
  const int dim = t->box.dim, words = dim + 1;
  MFGTraffic *traffic = t->traffic;
  int64_t kept = 0, wanted[2] = {0, 0};

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < traffic->travelling; i++) {
    const double *record = t->record + i * words;
    const int way = MFGRecordWay(t, axis, record);
    double *place;
    if (way) {
      const int side = way > 0;
      if (wanted[side]++ >= t->message) continue;
      place = (double *)((char *)message[side] + MFGMessageBytes(dim, wanted[side] - 1));
    } else {
      place = t->record + kept++ * words;
    }
    memmove(place, record, words * sizeof *record);
  }
  traffic->travelling = kept;
  for (int side = 0; side < 2; side++) {
    *(int64_t *)message[side] = PetscMin(wanted[side], t->message);
    traffic->most_message = PetscMax(traffic->most_message, wanted[side]);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Unpack_CPU(const MFGTransit *t, const void *const message[2]) {
  const int dim = t->box.dim, words = dim + 1;
  MFGTraffic *traffic = t->traffic;

  PetscFunctionBeginUser;
  for (int side = 0; side < 2; side++) {
    if (!message[side]) continue;
    const int64_t arrived = *(const int64_t *)message[side];
    const int64_t room = PetscMin(arrived, t->capacity - traffic->travelling);
    traffic->most_travelling = PetscMax(traffic->most_travelling, traffic->travelling + arrived);
    memcpy(t->record + traffic->travelling * words,
           (const char *)message[side] + MFGMessageBytes(dim, 0), room * words * sizeof(double));
    traffic->travelling += room;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CountStrays_CPU(const MFGTransit *t, int axis) {
  const MFGBlock *b = &t->box;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < t->traffic->travelling; i++) {
    const int cell = MFGRecordCell(b, axis, t->record + i * (b->dim + 1));
    t->traffic->strays[axis] += cell < b->start[axis] || cell >= b->start[axis] + b->count[axis];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Arrive_CPU(const MFGTransit *t, const MFGAgentRange *agents) {
  const int dim = t->box.dim;
  MFGTraffic *traffic = t->traffic;
  const int64_t here = traffic->here[1];
  const int64_t room = PetscMin(traffic->travelling, agents->count - here);
  MFGAxis axis[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < dim; k++) axis[k] = MFGAxisOf(&t->box, k);
  for (int64_t i = 0; i < room; i++)
    MFGAgentFromRecord(agents, axis, dim, here + i, t->record + i * (dim + 1));
  traffic->most_here = PetscMax(traffic->most_here, here + traffic->travelling);
  traffic->arrived[0] = here;
  traffic->arrived[1] = traffic->here[1] = here + room;
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGTransitOps MFGTransitOps_CPU = {.name = "cpu",
                                         .copy_slabs = CopySlabs_CPU,
                                         .depart = Depart_CPU,
                                         .pack = Pack_CPU,
                                         .unpack = Unpack_CPU,
                                         .count_strays = CountStrays_CPU,
                                         .arrive = Arrive_CPU};

const MFGCarrier MFGCarrier_Host = {&MFGMemoryOps_Host, &MFGExchangeOps_MPI, &MFGTransitOps_CPU};
