#include "solvers/particles_parts.h"

/* Words of the sums over the axes of so many levels. */
static int64_t SumWords(MFGParticles p, int count) {
  return count * p->domain.dim * (int64_t)(sizeof(MFGAxisSums) / sizeof(int64_t));
}

/* Into p->marginals. */
static PetscErrorCode SumMarginals(MFGParticles p, const MFGMomentShape *shape,
                                   const MFGExtent *extent, int count, const int64_t *moments) {
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGMarginals job = {.domain = p->domain,
                            .shape = *shape,
                            .levels = count,
                            .box = p->grid->box,
                            .extent = *extent};
  const int64_t n = count * MFGMarginalCount(&p->domain, shape), words = SumWords(p, count);

  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryReserve(memory, words + n, sizeof *p->marginals, &p->marginals_size, &p->marginals));
  int64_t *marginals = p->marginals + words;
  PetscCall(MFGMemoryZero(memory, n, sizeof *marginals, marginals));
  PetscCall(MFGBackendMarginals(p->backend, &job, moments, marginals));
  PetscCall(MFGExchangeSum(p->exchange, n, marginals));
  PetscCall(MFGBackendAxisSums(p->backend, &job, marginals, (MFGAxisSums *)p->marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From p->marginals; the host sees marginals only where an axis is periodic. */
static PetscErrorCode Statistics(MFGParticles p, const MFGMomentShape *shape, int count,
                                 MFGSampleStatistics *statistics) {
  const MFGMemoryOps *memory = p->backend->memory;
  const int64_t n = MFGMarginalCount(&p->domain, shape), words = SumWords(p, count);
  const int64_t *here = p->marginals;
  PetscBool periodic = PETSC_FALSE;

  PetscFunctionBeginUser;
  for (int k = 0; k < p->domain.dim; k++)
    if (p->domain.boundary[k][0] == MFG_BOUNDARY_PERIODIC) periodic = PETSC_TRUE;
  if (!memory->is_host) {
    const int64_t all = words + (periodic ? count * n : 0);
    PetscCall(MFGMemoryReserve(&MFGMemoryOps_Host, all, sizeof *here, &p->sums_size, &p->sums));
    PetscCall(MFGMemoryCopy(memory, all, sizeof *here, MFG_COPY_TO_HOST, p->marginals, p->sums));
    here = p->sums;
  }
  const MFGAxisSums *sums = (const MFGAxisSums *)here;
  for (int i = 0; i < count; i++)
    PetscCall(MFGMarginalStatistics(&p->domain, shape, p->spec.count, sums + i * p->domain.dim,
                                    periodic ? here + words + i * n : NULL, &statistics[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesStatistics(MFGParticles p, const MFGMomentShape *shape,
                                      const MFGExtent *extent, int count, const int64_t *moments,
                                      MFGSampleStatistics *statistics) {
  PetscFunctionBeginUser;
  PetscCall(SumMarginals(p, shape, extent, count, moments));
  PetscCall(Statistics(p, shape, count, statistics));
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

/* The cells whose density this rank computes. */
static const MFGBlock *Mine(MFGParticles p) {
  return p->residents ? &p->grid->box : &p->grid->block;
}

static PetscBool Gathered(MFGParticles p) {
  return (PetscBool)(p->residents && p->grid->block.dim == 1);
}

/* Whether what is computed is written where it belongs; else first to p->density. */
static PetscBool InPlace(MFGParticles p) {
  return (PetscBool)(p->backend->memory->is_host && !Gathered(p));
}

/* Densities of the box of every rank, or in 1D and replicated of the whole grid. */
static PetscErrorCode Densities(MFGAgentSweep *s, int first, int count, const int64_t *moments) {
  const MFGParticles p = s->particles;
  double *density = s->M + first * MFGBlockOwned(&p->grid->block);

  PetscFunctionBeginUser;
  if (!InPlace(p)) {
    PetscCall(MFGMemoryReserve(p->backend->memory, count * MFGBlockOwned(Mine(p)), sizeof *density,
                               &p->density_size, &p->density));
    density = p->density;
  }
  PetscCall(MFGDensityEvaluate(s->plan, first, count, Mine(p), &s->extent, moments, density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From p->density into M. */
static PetscErrorCode Deliver(MFGAgentSweep *s, int first, int count) {
  const MFGParticles p = s->particles;
  const int64_t owned = MFGBlockOwned(&p->grid->block), mine = MFGBlockOwned(Mine(p));
  double *own = s->M + first * owned;

  PetscFunctionBeginUser;
  if (InPlace(p)) PetscFunctionReturn(PETSC_SUCCESS);
  if (Gathered(p)) PetscCall(PetscMalloc1(count * mine, &own));
  PetscCall(MFGMemoryCopy(p->backend->memory, count * mine, sizeof *own, MFG_COPY_TO_HOST,
                          p->density, own));
  if (Gathered(p)) {
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
  PetscCall(SumMarginals(p, &s->scan.shape, &s->extent, count, moments));
  if (!direct) {
    if (p->residents) PetscCall(MFGExchangeHalo(p->exchange, &halo, moments));
    PetscCall(Densities(s, first, count, moments));
  }
  /* Nothing waits for the device before here. */
  PetscCall(Statistics(p, &s->scan.shape, count, s->statistics + first));
  PetscCall(direct ? DirectDensity(s, first) : Deliver(s, first, count));
  PetscFunctionReturn(PETSC_SUCCESS);
}
