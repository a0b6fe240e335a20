#include "app/problem.h"
#include "solvers/hints.h"

/* Levels of a chunk that the rank with the least room has room for, none as a rule where it is
 * negative; `bytes`: of such a chunk, and what is free, in that rank's eyes. */
static PetscErrorCode ChunkThatFits(const MFGProblem *p, const MFGBackend *cuda, int *levels,
                                    double bytes[2]) {
  const MFGEquilibriumSpec *spec = &p->spec;
  const int dim = p->grid.block.dim;
  const int64_t owned = MFGBlockOwned(&p->grid.block);
  const double none = (double)MFGEquilibriumDeviceBytes(spec, dim, owned, 0),
               each = (double)MFGEquilibriumDeviceBytes(spec, dim, owned, 1) - none;
  PetscInt chunk = spec->steps;
  MFGFootprint f;
  size_t available;

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsGetInt(NULL, "hjb_", "-chunk", &chunk, NULL));
  PetscCall(cuda->memory->available(&available));
  PetscCall(MFGProblemLargest(p, &f));
  const double left =
      (double)available - (p->backend == cuda && !MFGProblemOnGrid(p)
                               ? (double)MFGSweepDeviceBytes(&p->layout, cuda, f.rank, f.here)
                               : 0.);
  const double fit = floor(PetscMax(
      -1, PetscMin((left - none) / each, (double)PetscClipInterval(chunk, 1, spec->steps))));
  double least[2] = {-fit, -left};
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, least, 2, MPI_DOUBLE, MPI_MAX, p->grid.world));
  *levels = (int)-least[0];
  bytes[0] = none + PetscMax(1, *levels) * each;
  bytes[1] = PetscMax(0, -least[1]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What -hjb_backend asks for: auto, cpu or cuda. */
static PetscErrorCode Wish(MPI_Comm comm, size_t size, char wish[]) {
  PetscFunctionBeginUser;
  PetscCall(PetscStrncpy(wish, "auto", size));
  PetscCall(PetscOptionsGetString(NULL, "hjb_", "-backend", wish, size, NULL));
  PetscCheck(!strcmp(wish, "auto") || !strcmp(wish, "cpu") || !strcmp(wish, "cuda"), comm,
             PETSC_ERR_ARG_OUTOFRANGE, "unknown -hjb_backend '%s'; there are: auto, cpu, cuda",
             wish);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Why the equations are the host's whatever is asked for, or NULL. */
static PetscErrorCode WhyOnHost(const MFGProblem *p, const char **why) {
  char value[32] = "star", density[32] = "star";

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsGetString(NULL, "hjb_", "-mat_type", value, sizeof value, NULL));
  if (MFGEquilibriumIsLinear(&p->spec))
    PetscCall(PetscOptionsGetString(NULL, "fp_", "-mat_type", density, sizeof density, NULL));
  *why = NULL;
  if (strcmp(density, "star"))
    *why = "-fp_mat_type asks for an assembled matrix, which is the host's";
  if (strcmp(value, "star"))
    *why = "-hjb_mat_type asks for an assembled matrix, which is the host's";
  if (p->grid.block.dim == 1)
    *why = "in one dimension they are eliminations, which a GPU would slow down";
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The device, or NULL and *why there is none for the equations. */
static PetscErrorCode Candidate(const MFGProblem *p, PetscBool asked, const MFGBackend **cuda,
                                const char **why) {
  PetscFunctionBeginUser;
  PetscCall(MFGBackendFind(p->grid.world, cuda, why));
  if (*cuda && !(*cuda)->vectors && !asked) {
    *cuda = NULL;
    *why = "this PETSc has no vectors on a GPU; build it with CUDA (jobs/install-deps.sh)";
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* On the device, where it has room for at least a level at a time. */
static PetscErrorCode Take(MFGProblem *p, const MFGBackend *cuda, PetscBool asked,
                           const char *reason) {
  double bytes[2];
  int levels;

  PetscFunctionBeginUser;
  PetscCall(ChunkThatFits(p, cuda, &levels, bytes));
  PetscCheck(
      levels > 0 || !asked, p->grid.world, PETSC_ERR_MEM,
      "%s cuda: a rank needs %.1f MB of its GPU's memory for the %s, of which %.1f are free; "
      "take -hjb_backend cpu, or more ranks",
      reason, bytes[0] / 1e6, MFGProblemValueName(p), bytes[1] / 1e6);
  if (levels < 1) {
    (void)snprintf(p->value_choice, sizeof p->value_choice,
                   "cpu (auto): a rank would want %.1f MB of its GPU's memory, of which %.1f are "
                   "free",
                   bytes[0] / 1e6, bytes[1] / 1e6);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  p->spec.value = cuda;
  p->spec.value_chunk = levels;
  (void)snprintf(p->value_choice, sizeof p->value_choice,
                 "cuda (%s), %s, %d of %d levels at a time in %.1f of %.1f free MB of a GPU",
                 reason, cuda->vectors ? "vectors on the GPU" : "vectors of the host", levels,
                 p->spec.steps, bytes[0] / 1e6, bytes[1] / 1e6);
  PetscFunctionReturn(PETSC_SUCCESS);
}

const char *MFGProblemValueName(const MFGProblem *p) {
  return MFGProblemOnGrid(p) ? "value and Fokker-Planck equations" : "value equation";
}

/* What asks for the device, or NULL: on the grid `backend` does, which agents do not take there. */
static const char *WhoAsks(const MFGProblem *p, const char *wish) {
  if (!strcmp(wish, "cuda")) return "-hjb_backend";
  return !strcmp(wish, "auto") && MFGProblemOnGrid(p) && !strcmp(p->config->backend, "cuda")
             ? "backend"
             : NULL;
}

PetscErrorCode MFGProblemChooseValue(MFGProblem *p) {
  const MFGBackend *host = MFGBackendOnHost(p->backend), *cuda = NULL;
  const PetscBool on_host = (PetscBool)!strcmp(p->config->backend, "cpu");
  char wish[16], reason[80];
  const char *why, *who;
  double cpu, gpu;

  PetscFunctionBeginUser;
  p->spec.value = host;
  PetscCall(Wish(p->grid.world, sizeof wish, wish));
  who = WhoAsks(p, wish);
  const PetscBool asked = (PetscBool)(who != NULL);
  if (!strcmp(wish, "cpu") || (on_host && !asked)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(WhyOnHost(p, &why));
  if (!why) {
    PetscCall(Candidate(p, asked, &cuda, &why));
    PetscCheck(cuda || !asked, p->grid.world, PETSC_ERR_SUP,
               "%s cuda: there is no backend cuda here: %s", who, why);
  }
  if (asked && cuda) {
    PetscCall(Take(p, cuda, PETSC_TRUE, who));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!cuda) { /* without a GPU there was nothing to choose */
    if (asked || !p->backend->memory->is_host)
      (void)snprintf(p->value_choice, sizeof p->value_choice, "cpu: %s", why);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGHintsValue(&p->grid, host, &cpu));
  PetscCall(MFGHintsValue(&p->grid, cuda, &gpu));
  (void)snprintf(reason, sizeof reason, "auto: predicted ms per level cpu %.3g, cuda %.3g",
                 1e3 * cpu, 1e3 * gpu);
  if (gpu < cpu)
    PetscCall(Take(p, cuda, PETSC_FALSE, reason));
  else
    (void)snprintf(p->value_choice, sizeof p->value_choice, "cpu (%s)", reason);
  PetscFunctionReturn(PETSC_SUCCESS);
}
