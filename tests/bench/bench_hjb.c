/* Times of an HJB sweep: bench_hjb -dim 2 -n 256 -steps 20 [-repeats 5] [-hjb_...]. The value is
 * that of the torus case T1, warm is the second sweep from the result of the first. */
#include "solvers/hjb.h"

#include <petsctime.h>

typedef struct {
  MFGGrid grid;
  double amplitude;
} Bench;

static PetscErrorCode Source(void *context, int level, double *source) {
  const Bench *bench = context;
  const MFGBlock *b = &bench->grid.block;

  PetscFunctionBeginUser;
  for (int j = 0; j < b->count[1]; j++)
    for (int i = 0; i < b->count[0]; i++)
      *source++ = bench->amplitude * cos(0.1 * level) * (i % 2 ? 1e-3 : 0);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static double Terminal(const MFGBlock *b, int i, int j) {
  const double pi = 3.14159265358979323846, x = MFGCellCenter(b, 0, b->start[0] + i),
               y = b->dim > 1 ? MFGCellCenter(b, 1, b->start[1] + j) : 0;
  return -0.1 * log(1 + 0.8 * cos(2 * pi * x) * (b->dim > 1 ? cos(2 * pi * y) : 1));
}

static PetscErrorCode Time(const char *label, MFGHJB hjb, Bench *bench, const double *terminal,
                           PetscBool warm, int repeats, int steps, double *start, double *U) {
  const int64_t owned = MFGBlockOwned(&bench->grid.block);
  const double cells = (double)MFGBlockCells(&bench->grid.block);
  PetscLogDouble best = PETSC_MAX_REAL, begin, end;
  MFGHJBStats stats;

  PetscFunctionBeginUser;
  for (int r = 0; r < repeats; r++) {
    PetscCall(PetscArraycpy(U, start, (steps + 1) * owned));
    PetscCall(PetscTime(&begin));
    PetscCall(MFGHJBSweep(hjb, Source, bench, terminal, warm, 1e-9, U, &stats));
    PetscCall(PetscTime(&end));
    best = PetscMin(best, end - begin);
    PetscCheck(stats.reason >= 0, PETSC_COMM_WORLD, PETSC_ERR_NOT_CONVERGED, "%s", stats.message);
  }
  PetscCall(PetscPrintf(PETSC_COMM_WORLD,
                        "%s: %.3f ms, %.3f us per cell and level, %.2f Newton, %.1f Krylov per "
                        "level\n",
                        label, best * 1e3, best * 1e6 / cells / steps, (double)stats.newton / steps,
                        (double)stats.krylov / steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Run(void) {
  PetscInt dim = 1, n = 100, steps = 50, repeats = 5;
  PetscReal T = 1, nu = .05;
  PetscBool walls = PETSC_FALSE;
  const MFGBackend *backend;
  Bench bench = {.amplitude = 1};
  MFGHJB hjb;
  double *U, *start, *terminal;

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-dim", &dim, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-n", &n, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-steps", &steps, NULL));
  PetscCall(PetscOptionsGetInt(NULL, NULL, "-repeats", &repeats, NULL));
  PetscCall(PetscOptionsGetReal(NULL, NULL, "-T", &T, NULL));
  PetscCall(PetscOptionsGetReal(NULL, NULL, "-nu", &nu, NULL));
  PetscCall(PetscOptionsGetBool(NULL, NULL, "-walls", &walls, NULL));
  const int cells[] = {(int)n, (int)n};
  const double lower[] = {0, 0}, upper[] = {1, 1};
  const MFGBoundary kind = walls ? MFG_BOUNDARY_NOFLUX : MFG_BOUNDARY_PERIODIC;
  const MFGBoundary faces[][2] = {{kind, kind}, {kind, kind}};
  PetscCall(MFGGridCreate(PETSC_COMM_WORLD, (int)dim, cells, lower, upper, faces, &bench.grid));
  PetscCall(MFGBackendGet(PETSC_COMM_WORLD, "auto", &backend));
  const MFGHJBSpec spec = {.dt = T / steps,
                           .nu = nu,
                           .steps = (int)steps,
                           .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}};
  PetscCall(MFGHJBCreate(&bench.grid, backend, &spec, &hjb));
  const MFGBlock *b = &bench.grid.block;
  const int64_t owned = MFGBlockOwned(b);
  PetscCall(PetscCalloc3((steps + 1) * owned, &U, (steps + 1) * owned, &start, owned, &terminal));
  for (int j = 0; j < b->count[1]; j++)
    for (int i = 0; i < b->count[0]; i++) terminal[j * b->count[0] + i] = Terminal(b, i, j);
  PetscCall(Time("cold", hjb, &bench, terminal, PETSC_FALSE, (int)repeats, (int)steps, start, U));
  PetscCall(PetscArraycpy(start, U, (steps + 1) * owned));
  bench.amplitude = 1.5;
  PetscCall(Time("warm", hjb, &bench, terminal, PETSC_TRUE, (int)repeats, (int)steps, start, U));
  PetscCall(PetscFree3(U, start, terminal));
  PetscCall(MFGHJBDestroy(&hjb));
  PetscCall(MFGGridDestroy(&bench.grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int main(int argc, char **argv) {
  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(Run());
  PetscCall(PetscFinalize());
  return 0;
}
