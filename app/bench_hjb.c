#include "app/bench.h"
#include "app/progress.h"
#include "app/run.h"
#include "solvers/hints.h"

/* A backward sweep with the density of m0 at all levels; the costs are computed on the host. */
typedef struct {
  const MFGProblem *problem;
  const MFGBackend *backend; /* of the levels */
  MFGHJB hjb;
  double *m, *terminal, *U;
  MFGHJBStats stats;
} Backward;

static PetscErrorCode BackwardSource(void *context, int level, double *source) {
  const Backward *b = (Backward *)context;
  const MFGProblem *p = b->problem;

  PetscFunctionBeginUser;
  PetscCall(MFGCostEvaluate(&p->grid, p->backend, &p->spec.running, level, b->m, source));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BackwardWork(void *context) {
  Backward *b = (Backward *)context;

  PetscFunctionBeginUser;
  PetscCall(
      MFGHJBSweep(b->hjb, BackwardSource, b, b->terminal, PETSC_FALSE, 1e-8, b->U, &b->stats));
  PetscCheck(b->stats.reason >= 0, b->problem->grid.world, PETSC_ERR_NOT_CONVERGED, "%s",
             b->stats.message);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A case solved by multigrid cycles, or directly; and before that by the plain set-up. */
typedef struct {
  const char *label, *name, *sets[5];
  PetscBool plain, cycles;
} BackwardCase;

/* One row of the table. */
typedef struct {
  const char *solver;
  MFGBenchTiming timing;
  PetscBool cycles;
  const double *plain, *host; /* later seconds of the plain set-up and on the host; or NULL */
  double difference;          /* from U of the host, in its largest value */
} Row;

/* Times the sweep with the options in force. */
static PetscErrorCode TimeBackward(MPI_Comm comm, Backward *b, MFGBenchTiming *timing) {
  const MFGEquilibriumSpec *s = &b->problem->spec;
  const MFGHJBSpec spec = {.dt = s->horizon / s->steps,
                           .nu = s->nu,
                           .steps = s->steps,
                           .hamiltonian = s->hamiltonian,
                           .drift_levels = s->drift_levels,
                           .drift = s->drift};

  PetscFunctionBeginUser;
  PetscCall(MFGHJBCreate(&b->problem->grid, b->backend, &spec, &b->hjb));
  PetscCall(MFGBenchTimeWork(comm, BackwardWork, b, timing));
  PetscCall(MFGHJBDestroy(&b->hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define ROW_HEAD                                                                                   \
  "  case             grid            solver           first ms  later ms us/cell-level   "        \
  "at least  Newton/lv  Krylov/lv  plain/this   cpu/this  difference\n"

static PetscErrorCode PrintRow(MPI_Comm comm, const BackwardCase *c, const Backward *b,
                               const Row *r) {
  const MFGProblem *p = b->problem;
  const int steps = p->spec.steps;
  const double each = 1e6 / (double)MFGBlockCells(&p->grid.block);
  double least;
  char floor[32] = "-", plain[32] = "-", host[32] = "-", difference[32] = "-", cells[64];

  PetscFunctionBeginUser;
  if (r->cycles) {
    PetscCall(MFGHintsValueFloor(&p->grid, b->backend->memory, &least));
    snprintf(floor, sizeof floor, "%.5f", each * least * (double)b->stats.newton / steps);
  }
  if (r->plain) snprintf(plain, sizeof plain, "%.3g", *r->plain / r->timing.later);
  if (r->host) {
    snprintf(host, sizeof host, "%.3g", *r->host / r->timing.later);
    snprintf(difference, sizeof difference, "%.1e", r->difference);
  }
  MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
  PetscCall(MFGSay(comm,
                   "  %-16s %-15s %-15s %9.1f %9.1f %13.4f %10s %10.2f %10.1f %11s %10s %11s\n",
                   c->label, cells, r->solver, 1e3 * r->timing.first, 1e3 * r->timing.later,
                   each * r->timing.later / steps, floor, (double)b->stats.newton / steps,
                   (double)b->stats.krylov / steps, plain, host, difference));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The sweep on the device, beside what the host has left in U and in its row. */
static PetscErrorCode BenchOnDevice(MPI_Comm comm, const MFGBackend *device, const BackwardCase *c,
                                    Backward *b, const Row *host) {
  const int64_t count = (b->problem->spec.steps + 1) * MFGBlockOwned(&b->problem->grid.block);
  double *U = b->U, tops[2] = {0};
  Row row = *host;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(count, &b->U));
  b->backend = device;
  PetscCall(TimeBackward(comm, b, &row.timing));
  for (int64_t i = 0; i < count; i++) {
    tops[0] = PetscMax(tops[0], fabs(b->U[i] - U[i]));
    tops[1] = PetscMax(tops[1], fabs(U[i]));
  }
  PetscCall(MFGGridMax(&b->problem->grid, 2, tops));
  row.solver = "multigrid, cuda";
  row.host = &host->timing.later;
  row.difference = tops[0] / tops[1];
  PetscCall(PrintRow(comm, c, b, &row));
  PetscCall(PetscFree(b->U));
  b->U = U;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Times what there is to time: on the host and, where it is not NULL, the device. */
static PetscErrorCode BenchRows(MPI_Comm comm, const MFGBackend *device, const BackwardCase *c,
                                const MFGProblem *p) {
  const int64_t owned = MFGBlockOwned(&p->grid.block);
  Backward b = {.problem = p, .backend = p->backend};
  Row plain = {.solver = "plain"},
      row = {.solver = c->cycles ? "multigrid" : "direct", .cycles = c->cycles};
  PetscBool with_plain = PETSC_TRUE;

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsGetBool(NULL, NULL, "-bench_plain", &with_plain, NULL));
  PetscCall(PetscMalloc3(owned, &b.m, owned, &b.terminal, (p->spec.steps + 1) * owned, &b.U));
  PetscCall(MFGGridRestrict(&p->grid, 1, p->initial_density, b.m));
  PetscCall(MFGCostEvaluate(&p->grid, p->backend, &p->spec.terminal, 0, b.m, b.terminal));
  if (c->plain && with_plain) {
    PetscCall(PetscOptionsSetValue(NULL, "-hjb_mat_type", "aij"));
    PetscCall(TimeBackward(comm, &b, &plain.timing));
    PetscCall(PetscOptionsClearValue(NULL, "-hjb_mat_type"));
    PetscCall(PrintRow(comm, c, &b, &plain));
    row.plain = &plain.timing.later;
  }
  PetscCall(TimeBackward(comm, &b, &row.timing));
  PetscCall(PrintRow(comm, c, &b, &row));
  if (device && c->cycles) PetscCall(BenchOnDevice(comm, device, c, &b, &row));
  PetscCall(PetscFree3(b.m, b.terminal, b.U));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* resolutions: 1 for at most 64 x 64 cells, one more for four times as many; 0: any. */
static PetscErrorCode BenchCase(MPI_Comm comm, const MFGBackend *device, int resolutions,
                                const BackwardCase *c) {
  MFGBenchCase bench;
  int count = 0;

  PetscFunctionBeginUser;
  while (c->sets[count]) count++;
  PetscCall(MFGBenchCaseCreate(comm, "cpu", c->name, count, c->sets, &bench));
  if (!resolutions || (double)MFGBlockCells(&bench.problem.grid.block) <= pow(4, 5 + resolutions))
    PetscCall(BenchRows(comm, device, c, &bench.problem));
  PetscCall(MFGBenchCaseDestroy(&bench));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchHJB(MPI_Comm comm, const MFGCommandLine *line) {
  static const BackwardCase cases[] = {
      {"reference_1d", "reference_1d", {"domain.cells=[100]", "time.steps=50"}, 0, 0},
      {"reference_1d", "reference_1d", {"domain.cells=[1000]", "time.steps=50"}, 0, 0},
      {"torus_2d", "torus_2d", {"domain.cells=[64,64]", "time.steps=100"}, 1, 1},
      {"torus_2d", "torus_2d", {"domain.cells=[128,128]", "time.steps=100"}, 1, 1},
      {"torus_2d", "torus_2d", {"domain.cells=[256,256]", "time.steps=100"}, 1, 1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[64,64]", "time.steps=10", "time.horizon=0.1"},
       0,
       1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[128,128]", "time.steps=10", "time.horizon=0.1"},
       0,
       1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[256,256]", "time.steps=10", "time.horizon=0.1"},
       0,
       1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[512,512]", "time.steps=10", "time.horizon=0.1"},
       1,
       1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[1024,1024]", "time.steps=10", "time.horizon=0.1"},
       0,
       1},
      {"10 dt", "torus_2d", {"domain.cells=[256,256]", "time.steps=10"}, 1, 1},
      {"sigma .1",
       "torus_2d",
       {"domain.cells=[256,256]", "time.steps=20", "time.horizon=0.2", "dynamics.sigma=0.1"},
       1,
       1},
      {"cells 1:10", "torus_2d", {"domain.cells=[512,51]", "time.steps=100"}, 1, 1},
      {"torus_3d", "torus_3d", {"domain.cells=[32,32,32]", "time.steps=20"}, 1, 1},
      {"torus_3d", "torus_3d", {"domain.cells=[64,64,64]", "time.steps=20"}, 1, 1},
  };
  const MFGBackend *device = NULL;
  const char *why;

  PetscFunctionBeginUser;
  if (!strcmp(line->backend, "cuda")) PetscCall(MFGBackendGet(comm, "cuda", &device));
  if (!strcmp(line->backend, "auto")) PetscCall(MFGBackendFind(comm, &device, &why));
  PetscCall(MFGSay(
      comm,
      "HJB sweep from a cold start, tolerance 1e-8: plain is BiCGStab with Jacobi on an assembled "
      "matrix (not with `-- -bench_plain 0`), multigrid one\ncycle per Newton step; at least: us "
      "that the bandwidth of the memory "
      "takes to move each field of a Newton step once,\nthe measured bandwidth on arrays as large; "
      "cuda: with the copies to the GPU and back; 1D is solved on the host\n" ROW_HEAD));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(cases); i++)
    PetscCall(BenchCase(comm, device, line->resolutions, &cases[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}
