#include "app/problem.h"
#include "solvers/hints.h"

static MFGHJBSpec ValueSpec(const MFGProblem *p) {
  return (MFGHJBSpec){.dt = p->spec.horizon / p->spec.steps,
                      .nu = p->spec.nu,
                      .steps = p->spec.steps,
                      .hamiltonian = p->spec.hamiltonian,
                      .drift_levels = p->spec.drift_levels};
}

/* Levels of a chunk that the rank with the least room has room for, none as a rule where it is
 * negative; `bytes`: of such a chunk, and what is free, in that rank's eyes. */
static PetscErrorCode ChunkThatFits(const MFGProblem *p, const MFGBackend *cuda, int *levels,
                                    double bytes[2]) {
  const MFGHJBSpec spec = ValueSpec(p);
  const int dim = p->grid.block.dim;
  const int64_t owned = MFGBlockOwned(&p->grid.block);
  const double none = (double)MFGHJBDeviceBytes(&spec, dim, owned, 0),
               each = (double)MFGHJBDeviceBytes(&spec, dim, owned, 1) - none;
  MFGFootprint f;
  size_t available;

  PetscFunctionBeginUser;
  PetscCall(cuda->memory->available(&available));
  PetscCall(MFGProblemLargest(p, &f));
  const double left =
      (double)available - (p->backend == cuda ? (double)(f.agents + f.moments) : 0.);
  const double fit = floor(PetscMax(-1, PetscMin((left - none) / each, spec.steps)));
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

/* Why this value equation is one of the host whatever is asked for, or NULL. */
static PetscErrorCode WhyOnHost(const MFGProblem *p, const char **why) {
  char matrix[32] = "star";

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsGetString(NULL, "hjb_", "-mat_type", matrix, sizeof matrix, NULL));
  *why =
      p->grid.block.dim == 1 ? "in one dimension it is an elimination, which a GPU would slow down"
      : strcmp(matrix, "star") ? "-hjb_mat_type asks for an assembled matrix, which is the host's"
                               : NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The device, or NULL and *why there is none for the value equation. */
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
  PetscCheck(levels > 0 || !asked, p->grid.world, PETSC_ERR_MEM,
             "-hjb_backend cuda: a rank needs %.1f MB of its GPU's memory for the value equation, "
             "of which %.1f are free; take -hjb_backend cpu, or more ranks",
             bytes[0] / 1e6, bytes[1] / 1e6);
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

PetscErrorCode MFGProblemChooseValue(MFGProblem *p) {
  const MFGBackend *host = MFGBackendOnHost(p->backend), *cuda = NULL;
  const PetscBool on_host = (PetscBool)!strcmp(p->config->backend, "cpu");
  char wish[16], reason[80];
  const char *why;
  double cpu, gpu;

  PetscFunctionBeginUser;
  p->spec.value = host;
  PetscCall(Wish(p->grid.world, sizeof wish, wish));
  const PetscBool asked = (PetscBool)!strcmp(wish, "cuda");
  if (!strcmp(wish, "cpu") || (on_host && !asked)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(WhyOnHost(p, &why));
  if (!why) {
    PetscCall(Candidate(p, asked, &cuda, &why));
    PetscCheck(cuda || !asked, p->grid.world, PETSC_ERR_SUP,
               "-hjb_backend cuda: there is no backend cuda here: %s", why);
  }
  if (asked && cuda) {
    PetscCall(Take(p, cuda, PETSC_TRUE, "-hjb_backend"));
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
