#include "app/problem.h"

/* The model of a step on one backend, with the division of the agents that is asked for. */
static PetscErrorCode PredictOn(const MFGProblem *p, const MFGBackend *backend,
                                MFGDecompositionModel *model) {
  const int asked = p->config->parallel.decomposition;
  MFGProblem on = *p;

  PetscFunctionBeginUser;
  on.backend = backend;
  PetscCall(MFGProblemPredict(&on, &p->layout, model));
  if (asked) model->choice = (MFGDecomposition)(asked - 1);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Bytes of a device's memory that the fullest rank will want, and those that the rank with least
 * can have. */
static PetscErrorCode DeviceMemory(const MFGProblem *p, const MFGBackend *backend,
                                   double bytes[2]) {
  MFGFootprint f;
  size_t available;

  PetscFunctionBeginUser;
  PetscCall(MFGProblemLargest(p, &f));
  PetscCall(backend->memory->available(&available));
  bytes[0] = (double)MFGSweepDeviceBytes(&p->layout, backend, f.rank, f.here);
  bytes[1] = -(double)available;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, bytes, 2, MPI_DOUBLE, MPI_MAX, p->grid.world));
  bytes[1] = -bytes[1];
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Take(MFGProblem *p, const MFGBackend *backend,
                           const MFGDecompositionModel *model) {
  PetscFunctionBeginUser;
  p->backend = backend;
  p->model = *model;
  p->layout.decomposition = p->spec.decomposition = model->choice;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ChooseFaster(MFGProblem *p, const MFGBackend *cuda) {
  MFGDecompositionModel here, there;
  double bytes[2];

  PetscFunctionBeginUser;
  PetscCall(DeviceMemory(p, cuda, bytes));
  if (bytes[0] > bytes[1]) {
    (void)snprintf(
        p->choice, sizeof p->choice,
        "cpu (auto): a rank would want %.1f MB of its GPU's memory, of which %.1f are free",
        bytes[0] / 1e6, bytes[1] / 1e6);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  here = p->model; /* has the seconds where a division was to be chosen */
  if (!here.seconds[here.choice]) PetscCall(PredictOn(p, p->backend, &here));
  PetscCall(PredictOn(p, cuda, &there));
  const double cpu = here.seconds[here.choice], gpu = there.seconds[there.choice];
  PetscCall(gpu < cpu ? Take(p, cuda, &there) : Take(p, p->backend, &here));
  (void)snprintf(
      p->choice, sizeof p->choice,
      "%s (auto): predicted ms per step from measured figures: cpu %.3g, cuda %.3g; %.1f "
      "of %.1f MB of a GPU's free memory",
      p->backend->name, 1e3 * cpu, 1e3 * gpu, bytes[0] / 1e6, bytes[1] / 1e6);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProblemChooseBackend(MFGProblem *p) {
  const MFGBackend *cuda;
  const char *why;
  double bytes[2];

  PetscFunctionBeginUser;
  if (MFGProblemOnGrid(p)) PetscFunctionReturn(PETSC_SUCCESS);
  if (!strcmp(p->config->backend, "auto")) {
    PetscCall(MFGBackendFind(p->grid.world, &cuda, &why));
    if (cuda) PetscCall(ChooseFaster(p, cuda));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (p->backend->memory->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(DeviceMemory(p, p->backend, bytes));
  PetscCheck(bytes[0] <= bytes[1], p->grid.world, PETSC_ERR_MEM,
             "backend cuda: a rank needs %.1f MB of its GPU's memory, of which %.1f are free",
             bytes[0] / 1e6, bytes[1] / 1e6);
  (void)snprintf(p->choice, sizeof p->choice, "%s: %.1f of %.1f MB of a GPU's free memory",
                 p->backend->name, bytes[0] / 1e6, bytes[1] / 1e6);
  PetscFunctionReturn(PETSC_SUCCESS);
}
