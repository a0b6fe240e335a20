#include "solvers/hints.h"

#include "solvers/hjb.h"

/* Levels of a sweep, and sweeps; the first, which touches fresh memory, does not count. */
#define LEVELS 5
#define SWEEPS 3
/* Cells of a rank on small and on large boxes, and the seconds of a sweep on the small one after
 * which no large one is tried. */
#define SMALL_CELLS ((int64_t)1 << 12)
#define LARGE_CELLS ((int64_t)1 << 16)
#define PATIENCE 0.1

static PetscErrorCode NoSource(void *context, int level, double *source) {
  (void)level;
  PetscFunctionBeginUser;
  PetscCall(PetscArrayzero(source, MFGBlockOwned((const MFGBlock *)context)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Seconds per level of cold sweeps from a wave, on the slowest rank. */
static PetscErrorCode Sweeps(const MFGGrid *grid, const MFGBackend *backend, double *seconds) {
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b);
  /* Diffusion that couples a tenth of a cell to its neighbours in a step, as in a run. */
  const MFGHJBSpec spec = {
      .dt = 0.01, .nu = 0.045, .steps = LEVELS, .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}};
  double *terminal, *U;
  MFGHJBStats stats;
  MFGHJB hjb;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc2(owned, &terminal, (LEVELS + 1) * owned, &U));
  for (int64_t c = 0; c < owned; c++)
    terminal[c] = cos(2 * PETSC_PI * (b->start[0] + (double)(c % b->count[0]) + 0.5) / b->cells[0]);
  PetscCall(MFGHJBCreate(grid, backend, &spec, &hjb));
  *seconds = PETSC_MAX_REAL;
  for (int i = 0; i < SWEEPS; i++) {
    PetscCallMPI(MPI_Barrier(grid->world));
    double now = -MPI_Wtime();
    PetscCall(MFGHJBSweep(hjb, NoSource, (void *)b, terminal, PETSC_FALSE, 1e-8, U, &stats));
    now += MPI_Wtime();
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &now, 1, MPI_DOUBLE, MPI_MAX, grid->world));
    if (i) *seconds = PetscMin(*seconds, PetscMax(now, 1e-9) / LEVELS);
  }
  PetscCall(MFGHJBDestroy(&hjb));
  PetscCall(PetscFree2(terminal, U));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The unit box with as many cells as `grid` but at most so many to a rank. */
static PetscErrorCode Measure(const MFGGrid *grid, const MFGBackend *backend, int64_t most,
                              double *cells, double *seconds) {
  const double lower[MFG_MAX_DIM] = {0}, upper[MFG_MAX_DIM] = {1, 1, 1};
  MFGBlock whole = MFGGridWhole(grid);
  PetscMPIInt size;
  MFGGrid cut;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  while (MFGBlockCells(&whole) > most * size) {
    int widest = 0;
    for (int k = 1; k < whole.dim; k++)
      if (whole.cells[k] > whole.cells[widest]) widest = k;
    whole.cells[widest] = (whole.cells[widest] + 1) / 2;
  }
  PetscCall(MFGGridCreate(grid->world, whole.dim, whole.cells, lower, upper,
                          (const MFGBoundary(*)[2])whole.boundary, &cut));
  PetscCall(Sweeps(&cut, backend, seconds));
  *cells = (double)MFGBlockCells(&cut.block);
  PetscCall(MFGGridDestroy(&cut));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHintsValue(const MFGGrid *grid, const MFGBackend *backend, double *seconds) {
  const double wanted = (double)MFGBlockCells(&grid->block);
  double cells[2], t[2];

  PetscFunctionBeginUser;
  PetscCall(Measure(grid, backend, SMALL_CELLS, &cells[0], &t[0]));
  *seconds = t[0] * wanted / cells[0];
  if (cells[0] == wanted || t[0] * LEVELS > PATIENCE) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(Measure(grid, backend, LARGE_CELLS, &cells[1], &t[1]));
  *seconds = t[1];
  if (cells[1] < wanted)
    *seconds += PetscMax(0, t[1] - t[0]) / (cells[1] - cells[0]) * (wanted - cells[1]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHintsValueFloor(const MFGGrid *grid, const MFGMemoryOps *memory,
                                  double *seconds) {
  double bytes = (double)(MFGHJBStepBytes(grid->block.dim) * MFGBlockOwned(&grid->block)), speed;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_DOUBLE, MPI_MAX, grid->world));
  PetscCall(MFGHintsMemory(grid->world, memory, (int64_t)bytes / 2, &speed));
  *seconds = bytes / speed;
  PetscFunctionReturn(PETSC_SUCCESS);
}
