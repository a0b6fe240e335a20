#include "app/run.h"

#include "app/run_report.h"

#include "app/guards.h"

void MFGCellsText(int dim, const int cells[], size_t size, char text[]) {
  int used = 0;
  for (int k = 0; k < dim; k++)
    used += snprintf(text + used, size - used, "%s%d", k ? " x " : "", cells[k]);
}

/* Where the agents are, how they are divided, and what the model says of it. */
static PetscErrorCode SayDecomposition(MPI_Comm comm, const MFGProblem *p) {
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (*p->choice) PetscCall(MFGSay(comm, "backend: %s\n", p->choice));
  if (*p->value_choice)
    PetscCall(MFGSay(comm, "%s: %s\n", MFGProblemValueName(p), p->value_choice));
  if (size > 1 && !MFGProblemOnGrid(p))
    PetscCall(MFGSay(comm, "decomposition: %s%s; %s\n", MFGDecompositionName(p->model.choice),
                     p->config->parallel.decomposition ? "" : " (auto)", p->model.reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the run is about to do, in a few lines. */
PetscErrorCode MFGReportStart(MPI_Comm comm, const MFGProblem *p) {
  const MFGConfig *c = p->config;
  const MFGBlock *b = &p->grid.block;
  PetscMPIInt size;
  char cells[64], density[64] = "density on the grid";

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  MFGCellsText(b->dim, b->cells, sizeof cells, cells);
  if (!MFGProblemOnGrid(p))
    snprintf(density, sizeof density, "%lld agents", (long long)c->agents.count);
  PetscCall(MFGSay(comm, "%s: %s cells, %d steps, %s; %d rank%s, backend %s (%s)\n", c->title,
                   cells, c->time.steps, density, (int)size, size > 1 ? "s" : "", p->backend->name,
                   p->backend->detail));
  PetscCall(SayDecomposition(comm, p));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* More ranks than this are not told one by one. */
#define RANKS_TOLD 16

static PetscErrorCode SayTraffic(MPI_Comm comm, int rank, const MFGExchangeBytes *b, int steps) {
  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm,
                   "  rank %d sends per step: halo %.1f, migration %.1f, reductions %.1f, gathers "
                   "%.1f bytes\n",
                   rank, (double)b->halo / steps, (double)b->migration / steps,
                   (double)b->reduction / steps, (double)b->gather / steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGReportDryRun(MPI_Comm comm, const MFGProblem *p) {
  const MFGBlock *b = &p->grid.block;
  PetscMPIInt size;
  MFGFootprint f;
  const char *layout = b->dim == 1 ? "every rank holds the whole grid" : "grid divided into boxes";

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGProblemLargest(p, &f));
  PetscCall(MFGReportStart(comm, p));
  const PetscBool grid = MFGProblemOnGrid(p);
  const PetscBool domain = (PetscBool)(!grid && p->model.choice == MFG_DECOMPOSITION_DOMAIN);
  if (grid)
    PetscCall(MFGSay(comm, "layout: %s\n", layout));
  else
    PetscCall(MFGSay(comm, "layout: %s; at most %.0f agents a rank%s\n", layout,
                     ceil((domain ? p->model.imbalance : 1) * (double)p->spec.agents / size),
                     domain ? " at t = 0" : ""));
  for (PetscMPIInt r = 0; r < PetscMin(size, RANKS_TOLD); r++) {
    const MFGBlock *box = b->dim > 1 || domain ? &p->grid.boxes[r] : b;
    PetscCall(MFGSay(comm, "  rank %d: cells ", (int)r));
    for (int k = 0; k < b->dim; k++)
      PetscCall(
          MFGSay(comm, "%s[%d, %d)", k ? " x " : "", box->start[k], box->start[k] + box->count[k]));
    PetscCall(MFGSay(comm, "\n"));
    if (size == 1 || grid) continue;
    const MFGExchangeBytes bytes = MFGSweepBytes(&p->layout, r);
    PetscCall(SayTraffic(comm, r, &bytes, p->spec.steps));
  }
  PetscCall(
      MFGSay(comm,
             "memory of the fullest rank, MB: flows %.1f, history of the acceleration %.1f, tables "
             "%.1f, value equation %.1f, agents %.1f, moments %.1f, Fokker-Planck step %.1f, "
             "together %.1f; besides, the program itself holds %.1f\n",
             f.flows / 1e6, f.history / 1e6, f.tables / 1e6, f.value / 1e6, f.agents / 1e6,
             f.moments / 1e6, f.linear / 1e6, f.total / 1e6, p->memory_before / 1e6));
  PetscCall(MFGSay(comm,
                   "disk: %.1f MB in %s/result.h5; while it runs up to %d checkpoints of at most "
                   "%.1f MB\n",
                   f.disk / 1e6, p->config->output.directory, p->config->checkpoint.keep + 1,
                   (double)MFGProblemCheckpointBytes(p) / 1e6));
  PetscCall(
      MFGSay(comm, "free memory on the first rank's host: %.1f MB\n", MFGHostMemoryFree() / 1e6));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the ranks sent in the last sweep. */
static PetscErrorCode ReportTraffic(MPI_Comm comm, const MFGProblem *p,
                                    const MFGProgress *progress) {
  PetscMPIInt size;
  MFGExchangeBytes *all;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (size == 1 || MFGProblemOnGrid(p)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscMalloc1(size, &all));
  PetscCallMPI(
      MPI_Allgather(&progress->traffic, sizeof *all, MPI_BYTE, all, sizeof *all, MPI_BYTE, comm));
  PetscCall(MFGSay(comm, "decomposition %s: largest over mean number of agents per rank %.2f\n",
                   MFGDecompositionName(p->model.choice), progress->imbalance));
  for (PetscMPIInt r = 0; r < PetscMin(size, RANKS_TOLD); r++)
    PetscCall(SayTraffic(comm, r, &all[r], p->spec.steps));
  PetscCall(PetscFree(all));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Memory beyond the program's own, of the rank whose memory grew most. */
static PetscErrorCode ReportMemory(MPI_Comm comm, const MFGProblem *p) {
  double mb[] = {(MFGMemoryPeak() - p->memory_before) / 1e6, p->memory_before / 1e6};
  MFGFootprint f;

  PetscFunctionBeginUser;
  PetscCall(MFGProblemLargest(p, &f));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, mb, 2, MPI_DOUBLE, MPI_MAX, comm));
  PetscCall(
      MFGSay(comm,
             "memory of a rank, MB: at most %.1f, predicted %.1f; besides, the program itself "
             "held %.1f\n",
             mb[0], f.total / 1e6, mb[1]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What a user should know beyond the outcome. */
static PetscErrorCode Remark(MPI_Comm comm, const MFGOutcome *o) {
  PetscFunctionBeginUser;
  if (o->raised)
    PetscCall(
        MFGSay(comm,
               "warning: the bandwidth of the rule was below %.1f cells and was raised; refine "
               "domain.cells, or use fewer agents\n",
               MFG_BANDWIDTH_MIN_CELLS));
  if (o->mixture_floor)
    PetscCall(MFGSay(comm,
                     "note: %lld cell values of mixed iterates were below zero; the couplings saw "
                     "%.0e there\n",
                     (long long)o->mixture_floor, MFG_DENSITY_FLOOR));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGReportEnd(MPI_Comm comm, const MFGProblem *p, const MFGOutcome *o,
                            const MFGProgress *progress) {
  PetscFunctionBeginUser;
  PetscCall(ReportMemory(comm, p));
  PetscCall(ReportTraffic(comm, p, progress));
  PetscCall(Remark(comm, o));
  PetscFunctionReturn(PETSC_SUCCESS);
}
