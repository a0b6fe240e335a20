#include "solvers/particles_parts.h"

PetscErrorCode MFGParticlesStatistics(MFGParticles p, const MFGMomentShape *shape,
                                      const MFGExtent *extent, int count, int64_t field,
                                      const int64_t *moments, MFGSampleStatistics *statistics) {
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGMarginals job = {
      .domain = p->domain, .shape = *shape, .box = p->grid->box, .extent = *extent};
  const int64_t n = MFGMarginalCount(&p->domain, shape);

  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryReserve(memory, count * n, sizeof *p->marginals, &p->marginals_size, &p->marginals));
  const int64_t *sums = p->marginals;
  PetscCall(MFGMemoryZero(memory, count * n, sizeof *sums, p->marginals));
  for (int i = 0; i < count; i++)
    PetscCall(MFGBackendMarginals(p->backend, &job, moments + i * field, p->marginals + i * n));
  PetscCall(MFGExchangeSum(p->exchange, count * n, p->marginals));
  if (!memory->is_host) {
    PetscCall(
        MFGMemoryReserve(&MFGMemoryOps_Host, count * n, sizeof *sums, &p->sums_size, &p->sums));
    PetscCall(
        MFGMemoryCopy(memory, count * n, sizeof *sums, MFG_COPY_TO_HOST, p->marginals, p->sums));
    sums = p->sums;
  }
  for (int i = 0; i < count; i++)
    PetscCall(
        MFGMarginalStatistics(&p->domain, shape, p->spec.count, sums + i * n, &statistics[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* In 1D every rank holds the whole grid: the densities of all boxes, from that of this rank's. */
static PetscErrorCode GatherBoxes(MFGParticles p, const double *own, double *density) {
  const MFGGrid *grid = p->grid;
  PetscMPIInt size, *counts, *starts;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(grid->world, &size));
  PetscCall(PetscMalloc2(size, &counts, size, &starts));
  for (PetscMPIInt r = 0; r < size; r++) {
    counts[r] = grid->boxes[r].count[0];
    starts[r] = grid->boxes[r].start[0];
  }
  PetscCallMPI(MPI_Allgatherv(own, grid->box.count[0], MPI_DOUBLE, density, counts, starts,
                              MPI_DOUBLE, grid->world));
  MFGExchangeCountGather(p->exchange, grid->box.count[0] * (int64_t)sizeof(double));
  PetscCall(PetscFree2(counts, starts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels first .. first + count - 1 into M. The box of every rank, or in 1D and replicated the
 * whole grid, is written where it belongs; elsewhere than on the host, first to p->density. */
static PetscErrorCode Densities(MFGAgentSweep *s, int first, int count, const int64_t *moments) {
  const MFGParticles p = s->particles;
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGBlock *block = p->residents ? &p->grid->box : &p->grid->block;
  const int64_t owned = MFGBlockOwned(&p->grid->block), mine = MFGBlockOwned(block);
  const PetscBool gather = (PetscBool)(p->residents && p->grid->block.dim == 1);
  const PetscBool direct = (PetscBool)(memory->is_host && !gather);
  double *own = s->M + first * owned, *there = own;

  PetscFunctionBeginUser;
  if (!direct) {
    PetscCall(MFGMemoryReserve(memory, count * mine, sizeof *own, &p->density_size, &p->density));
    there = p->density;
  }
  for (int i = 0; i < count; i++)
    PetscCall(MFGDensityEvaluate(s->plan, first + i, block, &s->extent, moments + i * s->field,
                                 there + i * mine));
  if (gather) PetscCall(PetscMalloc1(count * mine, &own));
  if (!direct)
    PetscCall(MFGMemoryCopy(memory, count * mine, sizeof *own, MFG_COPY_TO_HOST, there, own));
  if (gather) {
    for (int i = 0; i < count; i++)
      PetscCall(GatherBoxes(p, own + i * mine, s->M + (first + i) * owned));
    PetscCall(PetscFree(own));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The exact sums of one level, over the agents where they are now. */
static PetscErrorCode DirectDensity(MFGAgentSweep *s, int level) {
  const MFGParticles p = s->particles;
  double *density = s->M + level * MFGBlockOwned(&p->grid->block);
  MFGAgents here = MFGAgentsNone(p->backend->memory, &p->domain, p->spec.single, PETSC_FALSE);
  MFGAgents copy = MFGAgentsNone(&MFGMemoryOps_Host, &p->domain, p->spec.single, PETSC_FALSE);

  PetscFunctionBeginUser;
  here.range = MFGParticlesHere(p);
  here.with_ids = (PetscBool)(here.range.id != NULL);
  if (!here.memory->is_host) {
    PetscCall(MFGAgentsCopy(&here, &copy));
    here = copy;
  }
  PetscCall(MFGDensityDirect(s->plan, level, &here.range, density));
  PetscCall(MFGAgentsDestroy(&copy));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesEvaluate(MFGAgentSweep *s, int first, int count, int64_t *moments) {
  const MFGParticles p = s->particles;
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  const MFGHalo halo = {.width = {s->halo[0], s->halo[1], s->halo[2]},
                        .element = s->field / MFGExtentCells(&s->extent) * (int)sizeof(int64_t),
                        .fields = count};

  PetscFunctionBeginUser;
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, count * s->field, moments));
  PetscCall(MFGParticlesStatistics(p, &s->scan.shape, &s->extent, count, s->field, moments,
                                   s->statistics + first));
  if (direct) {
    PetscCall(DirectDensity(s, first));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (p->residents) PetscCall(MFGExchangeHalo(p->exchange, &halo, moments));
  PetscCall(Densities(s, first, count, moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}
