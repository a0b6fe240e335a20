#include "solvers/multigrid.h"

#include <petsc/private/pcimpl.h>

#include "solvers/multigrid_parts.h"

static PetscErrorCode PCReset_Multigrid(PC pc) {
  PetscFunctionBegin;
  PetscCall(MFGMultigridDestroyLevels((MFGMultigrid *)pc->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCSetUp_Multigrid(PC pc) {
  MFGMultigrid *m = (MFGMultigrid *)pc->data;
  const MFGStarLevel *scaled;
  const double *diffusion;

  PetscFunctionBegin;
  PetscCall(MFGStarMatrixGetGrid(pc->pmat, &m->grid, &diffusion));
  PetscCall(MFGStarMatrixGetBackend(pc->pmat, &m->backend));
  PetscCall(MFGStarMatrixGetScaled(pc->pmat, &scaled));
  if (!m->count) PetscCall(MFGMultigridCreateLevels(m, scaled, diffusion));
  PetscCall(MFGMultigridDo(m, MFG_MULTIGRID_COARSEN));
  m->has_transposed = PETSC_FALSE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The transposed matrix acts on masses; its cycle is that of densities. */
static PetscErrorCode Apply(PC pc, Vec right, Vec solution, PetscBool transposed) {
  MFGMultigrid *m = (MFGMultigrid *)pc->data;
  const MFGStarStage *finest = &m->level[0].stage[0];
  const MFGBackend *b = m->backend;
  const double *r;
  double *x;

  PetscFunctionBegin;
  if (transposed && !m->has_transposed) {
    PetscCall(MFGMultigridReserveTransposed(m));
    PetscCall(MFGMultigridDo(m, MFG_MULTIGRID_TRANSPOSE));
    m->has_transposed = PETSC_TRUE;
  }
  PetscCall(MFGVectorRead(right, b, &m->right, &r));
  PetscCall(b->star->convert(&finest->level, (double *)r, finest->b, 0));
  PetscCall(MFGVectorRestoreRead(right, b, &m->right, &r));
  PetscCall(MFGMultigridDo(m, transposed ? MFG_MULTIGRID_TRANSPOSED_CYCLE : MFG_MULTIGRID_CYCLE));
  PetscCall(MFGVectorWrite(solution, b, &m->solution, &x));
  PetscCall(b->star->convert(&finest->level, x, finest->x, 1));
  PetscCall(MFGVectorRestoreWrite(solution, b, &m->solution, &x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApply_Multigrid(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, PETSC_FALSE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApplyTranspose_Multigrid(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, PETSC_TRUE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCSetFromOptions_Multigrid(PC pc, PetscOptionItems PetscOptionsObject) {
  MFGMultigrid *m = (MFGMultigrid *)pc->data;
  PetscInt n = 2;

  PetscFunctionBegin;
  PetscOptionsHeadBegin(PetscOptionsObject, "Multigrid options");
  PetscCall(PetscOptionsBoundedInt("-pc_multigrid_pairs", "Pairs of sweeps before and after", "",
                                   m->pairs, &m->pairs, NULL, 1));
  PetscCall(PetscOptionsRealArray("-pc_multigrid_weights", "Damping of the sweeps of a pair", "",
                                  m->weights, &n, NULL));
  PetscCheck(n == 0 || n == 2, PetscObjectComm((PetscObject)pc), PETSC_ERR_USER_INPUT,
             "-pc_multigrid_weights takes two numbers, not %d", (int)n);
  PetscOptionsHeadEnd();
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCView_Multigrid(PC pc, PetscViewer viewer) {
  const MFGMultigrid *m = (const MFGMultigrid *)pc->data;

  PetscFunctionBegin;
  PetscCall(PetscViewerASCIIPrintf(viewer, "  damping %g and %g, pairs %d\n", m->weights[0],
                                   m->weights[1], (int)m->pairs));
  for (int i = 0; i < m->count; i++) {
    const int *n = MFGMultigridBox(&m->level[i])->cells;
    PetscCall(PetscViewerASCIIPrintf(viewer, "  level %d: %d x %d x %d cells%s\n", i, n[0], n[1],
                                     n[2], m->level[i].exchange ? ", divided" : ""));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCDestroy_Multigrid(PC pc) {
  PetscFunctionBegin;
  PetscCall(PCReset_Multigrid(pc));
  PetscCall(PetscFree(pc->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCCreate_Multigrid(PC pc) {
  MFGMultigrid *m;

  PetscFunctionBegin;
  PetscCall(PetscNew(&m));
  m->pairs = 1;
  m->weights[0] = 1.46;
  m->weights[1] = .6;
  pc->data = m;
  pc->ops->setup = PCSetUp_Multigrid;
  pc->ops->apply = PCApply_Multigrid;
  pc->ops->applytranspose = PCApplyTranspose_Multigrid;
  pc->ops->setfromoptions = PCSetFromOptions_Multigrid;
  pc->ops->view = PCView_Multigrid;
  pc->ops->reset = PCReset_Multigrid;
  pc->ops->destroy = PCDestroy_Multigrid;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridRegister(void) {
  PetscFunctionBeginUser;
  PetscCall(PCRegister("multigrid", PCCreate_Multigrid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridDefaults(KSP ksp) {
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(MFGMultigridRegister());
  PetscCall(KSPSetType(ksp, KSPFGMRES));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(PCSetType(pc, "multigrid"));
  PetscFunctionReturn(PETSC_SUCCESS);
}
