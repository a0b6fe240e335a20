#include "app/bench_clock.h"

#include <petsctime.h>

typedef enum { IDLE, AGENTS, DENSITY } Kind;

/* The tables take no context. */
static struct {
  const MFGBackend *given; /* borrowed */
  MFGBackend backend;
  MFGMemoryOps memory;
  MFGAgentsOps agents;
  MFGDensityOps density;
  PetscBool on;
  Kind kind; /* of the work since `since` */
  PetscLogDouble since;
  double seconds[3];
} bench_clock;

/* Work of this kind begins, and idleness too, when all that was asked for before is done. */
static PetscErrorCode Turn(Kind kind) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  if (!bench_clock.on || kind == bench_clock.kind) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemorySynchronize(bench_clock.given->memory));
  PetscCall(PetscTime(&now));
  bench_clock.seconds[bench_clock.kind] += now - bench_clock.since;
  bench_clock.since = now;
  bench_clock.kind = kind;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Moments, before agents are deposited. */
static PetscErrorCode Zero(void *memory, size_t bytes) {
  PetscFunctionBeginUser;
  PetscCall(Turn(AGENTS));
  PetscCall(bench_clock.given->memory->zero(memory, bytes));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Scan(const MFGScan *job) {
  PetscFunctionBeginUser;
  PetscCall(Turn(AGENTS));
  PetscCall(bench_clock.given->agents->scan(job));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Deposit(const MFGBlock *domain, const MFGAgentRange *agents,
                              const MFGMomentShape *shape, const MFGExtent *extent,
                              int64_t *moments) {
  PetscFunctionBeginUser;
  PetscCall(Turn(AGENTS));
  PetscCall(bench_clock.given->agents->deposit(domain, agents, shape, extent, moments));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sort(const MFGSort *job) {
  PetscFunctionBeginUser;
  PetscCall(Turn(AGENTS));
  PetscCall(bench_clock.given->agents->sort(job));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Convolve(const MFGConvolution *job, const int64_t *moments, double *density) {
  PetscFunctionBeginUser;
  PetscCall(Turn(DENSITY));
  PetscCall(bench_clock.given->density->convolve(job, moments, density));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Marginals(const MFGMarginals *job, const int64_t *moments,
                                int64_t *marginals) {
  PetscFunctionBeginUser;
  PetscCall(Turn(DENSITY));
  PetscCall(bench_clock.given->density->marginals(job, moments, marginals));
  PetscCall(Turn(IDLE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGBackend *MFGBenchClocked(const MFGBackend *backend) {
  memset(&bench_clock, 0, sizeof bench_clock);
  bench_clock.given = backend;
  bench_clock.memory = *backend->memory;
  bench_clock.memory.zero = Zero;
  bench_clock.agents = *backend->agents;
  bench_clock.agents.scan = Scan;
  bench_clock.agents.deposit = Deposit;
  if (backend->agents->sort) bench_clock.agents.sort = Sort;
  bench_clock.density = *backend->density;
  bench_clock.density.convolve = Convolve;
  bench_clock.density.marginals = Marginals;
  bench_clock.backend = *backend;
  bench_clock.backend.memory = &bench_clock.memory;
  bench_clock.backend.agents = &bench_clock.agents;
  bench_clock.backend.density = &bench_clock.density;
  return &bench_clock.backend;
}

PetscErrorCode MFGBenchClockStart(void) {
  PetscFunctionBeginUser;
  PetscCall(MFGMemorySynchronize(bench_clock.given->memory));
  bench_clock.on = PETSC_TRUE;
  bench_clock.kind = IDLE;
  memset(bench_clock.seconds, 0, sizeof bench_clock.seconds);
  PetscCall(PetscTime(&bench_clock.since));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchClockStop(MFGBenchClock *clock) {
  PetscFunctionBeginUser;
  PetscCall(Turn(IDLE));
  bench_clock.on = PETSC_FALSE;
  *clock = (MFGBenchClock){.agents = bench_clock.seconds[AGENTS],
                           .density = bench_clock.seconds[DENSITY]};
  PetscFunctionReturn(PETSC_SUCCESS);
}
