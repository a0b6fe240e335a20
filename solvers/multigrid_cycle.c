#include "solvers/multigrid_parts.h"

static PetscErrorCode Exchange(const MFGMultigridLevel *l, int fields, float *ghosted) {
  const int dim = MFGMultigridBox(l)->dim;
  const MFGHalo halo = {
      .width = {1, dim > 1, dim > 2}, .element = sizeof *ghosted, .fields = fields};

  PetscFunctionBegin;
  if (l->exchange) PetscCall(MFGExchangeHalo(l->exchange, &halo, ghosted));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Fields of a box, one after the other, into those of the whole level on all ranks: every rank has
 * zeros where others have numbers, whose bits are summed as integers. */
static PetscErrorCode Gather(const MFGMultigrid *m, const MFGMultigridLevel *l, int fields,
                             float *box, float *whole) {
  const MFGBlock *b = MFGMultigridBox(l);
  const int64_t words = (fields * MFGBlockCells(b) + 1) / 2;
  MFGSlab slab = {.element = sizeof *box, .fields = fields};

  PetscFunctionBegin;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    slab.size[k] = b->cells[k];
    slab.begin[k] = b->start[k];
    slab.count[k] = b->count[k];
  }
  PetscCall(MFGMemoryZero(m->backend->memory, words, sizeof(int64_t), whole));
  PetscCall(m->backend->carrier->transit->copy_slabs(1, &slab, whole, (void *[]){box}, 1));
  PetscCall(MFGExchangeSum(l->exchange, words, (int64_t *)(void *)whole));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coarsen(MFGMultigrid *m) {
  const MFGStarOps *ops = m->backend->star;

  PetscFunctionBegin;
  for (int i = 0; i < m->count - 1; i++) {
    const MFGMultigridLevel *l = &m->level[i];
    const MFGStarStage *s = &l->stage[0], *next = &l[1].stage[0];
    if (l->gather)
      PetscCall(Gather(m, l, 2 * s->level.block.dim + 1, s->level.d, next->level.d));
    else
      PetscCall(ops->coarsen(&s->level, &s->transfer, &next->level));
  }
  PetscCall(ops->invert(&m->level[m->count - 1].stage[0].level, m->inverse[0]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Transpose(MFGMultigrid *m) {
  const MFGStarOps *ops = m->backend->star;
  const int faces = 2 * m->grid->block.dim;

  PetscFunctionBegin;
  for (int i = 0; i < m->count; i++) {
    const MFGMultigridLevel *l = &m->level[i];
    const int64_t count = faces * MFGGhostedCells(MFGMultigridBox(l));
    PetscCall(MFGMemoryZero(m->backend->memory, count, sizeof(float), m->work));
    PetscCall(ops->transpose(&l->stage[0].level, m->work, NULL));
    PetscCall(Exchange(l, faces, m->work));
    PetscCall(ops->transpose(&l->stage[0].level, m->work, &l->stage[1].level));
  }
  PetscCall(ops->invert(&m->level[m->count - 1].stage[1].level, m->inverse[1]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Cycle(const MFGMultigrid *m, int i, int transposed);

/* The next level has this one's cells, so that its solution has the ghosts too. */
static PetscErrorCode CycleGathered(const MFGMultigrid *m, int i, int transposed) {
  const MFGMultigridLevel *l = &m->level[i];
  const MFGStarStage *s = &l->stage[0], *next = &l[1].stage[0];
  const MFGBlock *b = MFGMultigridBox(l);
  MFGSlab slab = {.element = sizeof *s->x, .fields = 1};

  PetscFunctionBegin;
  PetscCall(Gather(m, l, 1, s->b, next->b));
  PetscCall(Cycle(m, i + 1, transposed));
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int rim = k < b->dim ? 2 : 0;
    slab.size[k] = b->cells[k] + rim;
    slab.begin[k] = b->start[k];
    slab.count[k] = b->count[k] + rim;
  }
  PetscCall(m->backend->carrier->transit->copy_slabs(1, &slab, next->x, (void *[]){s->x}, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Finish(const MFGMultigrid *m, int transposed) {
  const MFGStarFinish job = {.stage = m->last[transposed],
                             .count = m->count - m->finish,
                             .pairs = (int)m->pairs,
                             .dim = m->grid->block.dim,
                             .weight = {(float)m->weights[0], (float)m->weights[1]},
                             .inverse = m->inverse[transposed]};

  PetscFunctionBegin;
  PetscCall(m->backend->star->finish(&job));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A pair of sweeps on x, whose ghosts are filled, or from 0; those of the new x are not. */
static PetscErrorCode Smooth(const MFGMultigrid *m, int i, int transposed, PetscBool from_zero) {
  const MFGMultigridLevel *l = &m->level[i];
  const MFGStarStage *s = &l->stage[transposed];
  const MFGStarOps *ops = m->backend->star;

  PetscFunctionBegin;
  PetscCall(ops->smooth(&s->level, (float)m->weights[0], s->b, from_zero ? NULL : s->x, s->y));
  PetscCall(Exchange(l, 1, s->y));
  PetscCall(ops->smooth(&s->level, (float)m->weights[1], s->b, s->y, s->x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From b to x, whose ghosts of other boxes are then not filled. */
static PetscErrorCode Cycle(const MFGMultigrid *m, int i, int transposed) {
  const MFGMultigridLevel *l = &m->level[i];
  const MFGStarStage *s = &l->stage[transposed], *next = &l[1].stage[transposed];
  const MFGStarOps *ops = m->backend->star;

  PetscFunctionBegin;
  if (i == m->finish) {
    PetscCall(Finish(m, transposed));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (l->gather) {
    PetscCall(CycleGathered(m, i, transposed));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (PetscInt p = 0; p < m->pairs; p++) {
    PetscCall(Smooth(m, i, transposed, (PetscBool)(p == 0)));
    PetscCall(Exchange(l, 1, s->x));
  }
  PetscCall(ops->restrict_residual(&s->level, &s->transfer, &next->level, s->b, s->x, next->b));
  PetscCall(Cycle(m, i + 1, transposed));
  PetscCall(Exchange(l + 1, 1, next->x));
  PetscCall(ops->correct(&s->level, &s->transfer, &next->level, next->x, s->x));
  for (PetscInt p = 0; p < m->pairs; p++) {
    PetscCall(Exchange(l, 1, s->x));
    PetscCall(Smooth(m, i, transposed, PETSC_FALSE));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DoCoarsen(void *context) {
  PetscFunctionBegin;
  PetscCall(Coarsen(context));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DoTranspose(void *context) {
  PetscFunctionBegin;
  PetscCall(Transpose(context));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DoCycle(void *context) {
  PetscFunctionBegin;
  PetscCall(Cycle(context, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DoTransposedCycle(void *context) {
  PetscFunctionBegin;
  PetscCall(Cycle(context, 0, 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The arrays of a work never change: all ranks record it at the same time without asking. */
PetscErrorCode MFGMultigridDo(MFGMultigrid *m, MFGMultigridWork work) {
  static PetscErrorCode (*const works[])(void *) = {[MFG_MULTIGRID_COARSEN] = DoCoarsen,
                                                    [MFG_MULTIGRID_TRANSPOSE] = DoTranspose,
                                                    [MFG_MULTIGRID_CYCLE] = DoCycle,
                                                    [MFG_MULTIGRID_TRANSPOSED_CYCLE] =
                                                        DoTransposedCycle};
  static const int64_t key[MFG_RECORDING_KEYS] = {0};
  const MFGExchange exchange = m->level[0].exchange;
  PetscBool replayed;

  PetscFunctionBegin;
  if (exchange && !MFGExchangeRecordable(exchange))
    PetscCall(works[work](m));
  else
    PetscCall(MFGRecordingRun(PETSC_COMM_SELF, m->backend->memory, &m->recording[work], key,
                              works[work], m, &replayed));
  PetscFunctionReturn(PETSC_SUCCESS);
}
