/* Shared by the tests of sweeps in the memory of the device: a problem whose axes have different
 * boundaries, and how one side goes on with what the other began. */
#pragma once

#include "tests/gpu_on_host/standin.h"
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
