#include "app/fields.h"
#include "app/problem.h"
#include "app/progress.h"
#include "app/run.h"

/* Costs and m0 are looked at on a grid of at most so many cells: whether costs depend on time, and
 * how full the boxes are, shows there. */
#define SAMPLED_CELLS ((int64_t)1 << 18)

/* A config of the same box with fewer cells; datasets have their own. */
static MFGConfig Coarsened(const MFGConfig *config) {
  MFGConfig c = *config;
  PetscBool dataset = (PetscBool)(c.agents.initial_density.file || c.running_cost.potential.file ||
                                  c.terminal_cost.potential.file);
  for (int k = 0; k < c.dim; k++)
    dataset = (PetscBool)(dataset || (c.dynamics.has_drift && c.dynamics.drift[k].file));
  for (;;) {
    int64_t cells = 1;
    int widest = 0;
    for (int k = 0; k < c.dim; k++) {
      cells *= c.domain.cells[k];
      if (c.domain.cells[k] > c.domain.cells[widest]) widest = k;
    }
    if (dataset || cells <= SAMPLED_CELLS) return c;
    c.domain.cells[widest] = (c.domain.cells[widest] + 1) / 2;
  }
}

static MFGBlock WholeGrid(const MFGProblem *p, const MFGConfig *config) {
  MFGBlock whole = MFGGridWhole(&p->grid);
  for (int k = 0; k < config->dim; k++) {
    whole.cells[k] = whole.count[k] = config->domain.cells[k];
    whole.spacing[k] = (whole.upper[k] - whole.lower[k]) / whole.cells[k];
  }
  return whole;
}

/* Sent to the neighbours for one ghost cell on each side of the box: the star stencil has no
 * corners. In 1D every rank solves the whole equation. */
static int64_t ValueGhostBytes(const MFGSweepLayout *l, int rank) {
  int64_t bytes = 0;
  for (int k = 0; k < l->whole.dim && l->whole.dim > 1; k++) {
    MFGHalo face = {.element = sizeof(double), .fields = 1};
    face.width[k] = 1;
    bytes += MFGExchangeHaloBytes(&l->whole, l->divisions, rank, &face);
  }
  return bytes;
}

static PetscErrorCode SayRank(MPI_Comm comm, const MFGProblem *p, const MFGSweepLayout *l,
                              const char *name, int rank, const double in_box[]) {
  const char *way = MFGDecompositionName(l->decomposition);
  const MFGBlock box = l->whole.dim > 1 || l->decomposition == MFG_DECOMPOSITION_DOMAIN
                           ? MFGBoxOfRank(&l->whole, l->divisions, rank)
                           : l->whole;
  const MFGExchangeBytes b = MFGSweepBytes(l, rank);
  const MFGFootprint f = MFGProblemFootprint(p, l, rank, in_box[rank]);
  const struct {
    const char *name;
    double value;
  } rows[] = {{"rank", rank},
              {"cells", (double)MFGBlockOwned(&box)},
              {"agents", (double)f.here},
              {"halo", (double)b.halo / l->steps},
              {"migration", (double)b.migration / l->steps},
              {"reduction", (double)b.reduction / l->steps},
              {"gather", (double)b.gather / l->steps},
              {"value_ghosts", (double)ValueGhostBytes(l, rank)},
              {"memory", (double)f.total}};

  PetscFunctionBeginUser;
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(rows); i++)
    PetscCall(MFGSay(comm, "%s.%s.%s: %.*f\n", way, name, rows[i].name,
                     rows[i].value == floor(rows[i].value) ? 0 : 1, rows[i].value));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rank in the middle has neighbours on all sides, the largest the most memory. */
static PetscErrorCode SayDecompositionOf(MPI_Comm comm, const MFGProblem *p, MFGSweepLayout l,
                                         MFGDecomposition decomposition, const double in_box[]) {
  const int *d = l.divisions, ranks = d[0] * d[1] * d[2];
  const int middle = d[0] / 2 + d[0] * (d[1] / 2 + d[1] * (d[2] / 2));
  int64_t most = -1;
  int largest = 0;

  PetscFunctionBeginUser;
  l.decomposition = decomposition;
  for (int r = 0; r < ranks; r++) {
    const int64_t total = MFGProblemFootprint(p, &l, r, in_box[r]).total;
    if (total <= most) continue;
    most = total;
    largest = r;
  }
  PetscCall(SayRank(comm, p, &l, "middle", middle, in_box));
  PetscCall(SayRank(comm, p, &l, "largest", largest, in_box));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SayLayout(MPI_Comm comm, const MFGProblem *p, const MFGSweepLayout *l,
                                const double in_box[]) {
  const int dim = l->whole.dim, ranks = l->divisions[0] * l->divisions[1] * l->divisions[2];
  const int narrow = MFGSweepNarrowAxis(l);
  char cells[64], divisions[64];
  double fullest = 0;

  PetscFunctionBeginUser;
  for (int r = 0; r < ranks; r++) fullest = PetscMax(fullest, in_box[r]);
  MFGCellsText(dim, l->whole.cells, sizeof cells, cells);
  MFGCellsText(dim, l->divisions, sizeof divisions, divisions);
  PetscCall(MFGSay(comm,
                   "ranks: %d\ncells: %s\nagents: %lld\nsteps: %d\ndivisions: %s\n"
                   "imbalance: %.4f\nmoments_per_cell: %d\ninitial_density: %lld\n",
                   ranks, cells, (long long)l->agents, l->steps, divisions,
                   fullest * ranks / (double)l->agents, MFGMomentNumbers(dim, &l->shape),
                   (long long)(16 * MFGBlockCells(&l->whole))));
  PetscCall(SayDecompositionOf(comm, p, *l, MFG_DECOMPOSITION_REPLICATED, in_box));
  if (narrow >= 0)
    PetscCall(
        MFGSay(comm,
               "domain.possible: no; boxes of %d cells along axis %d are narrower than the %d "
               "cells the kernel may reach: take fewer ranks, more domain.cells, a smaller "
               "density.bandwidth or a larger density.tolerance\n",
               l->whole.cells[narrow] / l->divisions[narrow], narrow, l->radius[narrow]));
  else
    PetscCall(MFGSay(comm, "domain.possible: yes\n"));
  if (narrow < 0) PetscCall(SayDecompositionOf(comm, p, *l, MFG_DECOMPOSITION_DOMAIN, in_box));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDryRunRanks(MPI_Comm comm, const MFGConfig *config, int ranks,
                              MFGExitCode *exit_code) {
  const MFGConfig coarse = Coarsened(config);
  MFGConfigErrors errors = {0};
  MFGProblem problem;
  int divisions[MFG_MAX_DIM];
  double *in_box;

  PetscFunctionBeginUser;
  PetscCall(MFGFieldCheck(PETSC_COMM_SELF, &coarse, &errors));
  if (!errors.count) PetscCall(MFGProblemCreate(PETSC_COMM_SELF, &coarse, NULL, &problem, &errors));
  if (errors.count) {
    PetscCall(MFGInputErrorsReport(comm, &errors, exit_code));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const MFGBlock whole = WholeGrid(&problem, config), sampled = MFGGridWhole(&problem.grid);
  PetscCall(MFGGridDivideAmong(comm, ranks, &whole, divisions));
  const MFGSweepLayout layout = MFGProblemLayout(&problem, &whole, divisions);
  PetscCall(PetscMalloc1(ranks, &in_box));
  MFGSweepShares(&layout, &sampled, problem.initial_density, in_box);
  PetscCall(SayLayout(comm, &problem, &layout, in_box));
  PetscCall(PetscFree(in_box));
  PetscCall(MFGProblemDestroy(&problem));
  PetscFunctionReturn(PETSC_SUCCESS);
}
