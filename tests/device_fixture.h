/* Shared by the tests of sweeps in the memory of the device: a problem whose axes have different
 * boundaries, how one side goes on with what the other began, and the two ways to have PETSc's
 * vectors.
 *
 * The kernels take only + - * /, sqrt and explicit fma, which are rounded alike everywhere, so with
 * PETSc's vectors on the host a sweep has the host's bits. On a device PETSc's own are cuBLAS's and
 * kernels of PETSc: sums in another order. Then iterates differ in their last bits, and solutions
 * by what the tolerance leaves open. */
#pragma once

#include "tests/counted.h"
#include "tests/hjb_fixture.h"

#include "solvers/state.h"

enum { STEPS = 5 };

static inline double Hill(const double x[]) {
  return cos(2 * PI * x[0]) * (1 + .5 * cos(PI * x[1])) + .3 * x[2] * x[2];
}

static inline double Other(const double x[]) {
  return sin(2 * PI * x[0]) + x[1] * x[1] + .7 * cos(2 * x[2]);
}

/* drifts: 0, 1 or STEPS + 1 levels; *drift, [STEPS + 1][dim][owned], is the caller's to free. */
static inline void MakeDeviceProblem(int dim, int drifts, MFGGrid *grid, double **drift,
                                     MFGHJBSpec *spec) {
  static const int cells[] = {13, 10, 6};
  const double lower[] = {0, 0, -1}, upper[] = {1, 1.5, 1.2};
  const MFGBoundary faces[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC}};
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, grid));
  const int64_t level = dim * MFGBlockOwned(&grid->block);
  *drift = NewField((STEPS + 1) * level);
  for (int64_t i = 0; i < (STEPS + 1) * level; i++)
    (*drift)[i] = .3 * (double)(i / level) - .01 * (double)(i % 17);
  *spec = (MFGHJBSpec){.dt = .1,
                       .nu = .05,
                       .steps = STEPS,
                       .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2},
                       .drift_levels = drifts,
                       .drift = *drift};
}

static inline const MFGBackend *Host(void) {
  const MFGBackend *host;
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &host));
  return host;
}

/* Copies asked for since the last time: [0] to the host, [1] from it. */
typedef struct {
  int64_t copies[2], bytes[2];
} Copies;

static Copies copies_counted;

static inline Copies CountCopies(void) {
  const Copies counted = copies_counted;
  memset(&copies_counted, 0, sizeof copies_counted);
  return counted;
}

static inline PetscErrorCode CountedCopy(void *to, const void *from, size_t bytes,
                                         MFGCopyDirection direction) {
  PetscFunctionBeginUser;
  if (direction != MFG_COPY_WITHIN) {
    copies_counted.copies[direction == MFG_COPY_FROM_HOST]++;
    copies_counted.bytes[direction == MFG_COPY_FROM_HOST] += (int64_t)bytes;
  }
  PetscCall(MFGTestMemory()->memory->copy(to, from, bytes, direction));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The stand-in saw no others, and no memory taken. */
static inline void ExpectCounted(const Copies *c, const MFGStandinCounts *all) {
  for (int to = 0; to < 2; to++) {
    assert_int_equal(all->copies[1 - to][to], c->copies[to]);
    assert_int_equal(all->bytes[1 - to][to], c->bytes[to]);
  }
  assert_int_equal(all->allocations, 0);
}

/* The device's backend, of which copies are counted. *state says where PETSc's vectors are: NULL:
 * on the host. Where PETSc has none on the device there is nothing else, and the test is skipped.
 */
static inline const MFGBackend *Device(void **state) {
  static MFGMemoryOps memory;
  static MFGBackend device;
  device = *MFGTestMemory();
  memory = *device.memory;
  memory.copy = CountedCopy;
  device.memory = &memory;
  if (!*state)
    device.vectors = NULL;
  else if (!device.vectors)
    skip();
  return &device;
}

/* A test with PETSc's vectors on the host, and with those of the device. */
static char vectors_there;
#define BOTH_VECTORS(test)                                                                         \
  {#test, test, NULL, NULL, NULL}, {                                                               \
#test "_VectorsThere", test, NULL, NULL, &vectors_there                                        \
  }

/* Ranks wait for each other where they outnumber the cores. */
static inline int Several(void) {
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  return size > 1;
}

/* The state of one sweep, as a checkpoint would keep it, becomes that of another on [owned] cells.
 */
static inline void CopyState(const MFGState *from, int64_t owned, MFGState *to) {
  for (int i = 0; i < from->count; i++) {
    const MFGStateItem *a = &from->item[i], *b = &to->item[i];
    const size_t size = a->kind == MFG_STATE_INTEGERS ? a->size
                        : a->kind == MFG_STATE_FLOW   ? owned * sizeof(double)
                                                      : sizeof(double);
    memcpy(b->data, a->data, a->count * size);
  }
}
