#include "solvers/star_parts.h"

#include <petsc/private/matimpl.h>

#include "solvers/vectors.h"

#define TYPE_STAR "star"

typedef struct {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed; the arrays are in its memory */
  MFGStarGhosts ghosts;      /* owned, as all below */
  MFGVectorRoom factor, product;
  double *values; /* [2 dim + 1][ghosted]; NULL before the first SetValues */
  double diffusion[MFG_MAX_DIM];
  MFGStarLevel scaled;
  float *numbers;                   /* the arrays of `scaled` */
  PetscBool has_values, has_scaled; /* of the current matrix */
  PetscBool has_neighbours;         /* the values in the ghosts are those of the neighbours */
} StarMatrix;

static PetscErrorCode CheckValues(Mat A) {
  const StarMatrix *star = (const StarMatrix *)A->data;

  PetscFunctionBegin;
  PetscCheck(star->has_values, PetscObjectComm((PetscObject)A), PETSC_ERR_ARG_WRONGSTATE,
             "this matrix has coefficients for a preconditioner only, no products");
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Beyond walls the coefficients are 0, so that the ghosts there need only be finite. */
static PetscErrorCode Multiply(StarMatrix *star, PetscBool transpose, Vec x, Vec y) {
  const MFGBackend *b = star->backend;
  const double *factor, *ghosted;
  double *product;

  PetscFunctionBegin;
  PetscCall(MFGVectorRead(x, b, &star->factor, &factor));
  PetscCall(MFGStarGhostsFill(star->ghosts, factor, &ghosted));
  PetscCall(MFGVectorRestoreRead(x, b, &star->factor, &factor));
  PetscCall(MFGVectorWrite(y, b, &star->product, &product));
  PetscCall(b->star->product(&star->grid->block, star->values, transpose, ghosted, product));
  PetscCall(MFGVectorRestoreWrite(y, b, &star->product, &product));
  /* PETSc waits for dot products, and would for ever where another rank has died. */
  PetscCall(MFGMemorySynchronize(b->memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatMult_Star(Mat A, Vec x, Vec y) {
  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  PetscCall(Multiply((StarMatrix *)A->data, PETSC_FALSE, x, y));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Row j of the transposed matrix has what the neighbours have in column j. */
static PetscErrorCode MatMultTranspose_Star(Mat A, Vec x, Vec y) {
  StarMatrix *star = (StarMatrix *)A->data;

  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  if (!star->has_neighbours)
    PetscCall(MFGStarGhostsExchange(star->ghosts, 2 * star->grid->block.dim + 1, star->values));
  star->has_neighbours = PETSC_TRUE;
  PetscCall(Multiply(star, PETSC_TRUE, x, y));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatGetDiagonal_Star(Mat A, Vec diagonal) {
  StarMatrix *star = (StarMatrix *)A->data;
  const MFGBlock *block = &star->grid->block;
  MFGSlab slab = {.element = sizeof(double), .fields = 1};
  double *d;

  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    slab.begin[k] = k < block->dim;
    slab.count[k] = block->count[k];
    slab.size[k] = block->count[k] + 2 * slab.begin[k];
  }
  PetscCall(MFGVectorWrite(diagonal, star->backend, &star->product, &d));
  PetscCall(star->backend->carrier->transit->copy_slabs(1, &slab, star->values, (void *[]){d}, 0));
  PetscCall(MFGVectorRestoreWrite(diagonal, star->backend, &star->product, &d));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatDestroy_Star(Mat A) {
  StarMatrix *star = (StarMatrix *)A->data;

  PetscFunctionBegin;
  PetscCall(MFGStarGhostsDestroy(&star->ghosts));
  if (star->backend) {
    PetscCall(MFGVectorRoomDestroy(star->backend, &star->factor));
    PetscCall(MFGVectorRoomDestroy(star->backend, &star->product));
    PetscCall(MFGMemoryFree(star->backend->memory, &star->values));
    PetscCall(MFGMemoryFree(star->backend->memory, &star->numbers));
  }
  PetscCall(PetscFree(A->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatCreate_Star(Mat A) {
  StarMatrix *star = NULL;

  PetscFunctionBegin;
  PetscCall(PetscNew(&star));
  A->data = star;
  A->ops->mult = MatMult_Star;
  A->ops->multtranspose = MatMultTranspose_Star;
  A->ops->getdiagonal = MatGetDiagonal_Star;
  A->ops->destroy = MatDestroy_Star;
  PetscCall(PetscObjectChangeTypeName((PetscObject)A, TYPE_STAR));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SetUpStar(const MFGGrid *grid, const MFGBackend *backend, Mat A) {
  StarMatrix *star = (StarMatrix *)A->data;
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b), numbers = (2 * b->dim + 1) * owned;

  PetscFunctionBegin;
  star->grid = grid;
  star->backend = backend;
  if (backend->vectors) PetscCall(MatSetVecType(A, backend->vectors));
  PetscCall(MFGStarGhostsCreate(grid, backend, &star->ghosts));
  PetscCall(MFGMemoryAllocate(backend->memory, numbers, sizeof(float), &star->numbers));
  PetscCall(MFGMemoryZero(backend->memory, numbers, sizeof(float), star->numbers));
  star->scaled.block = *b;
  star->scaled.d = star->numbers;
  for (int s = 0; s < 2 * b->dim; s++) star->scaled.c[s] = star->numbers + (1 + s) * owned;
  PetscCall(PetscLayoutSetUp(A->rmap));
  PetscCall(PetscLayoutSetUp(A->cmap));
  A->preallocated = PETSC_TRUE;
  A->assembled = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The pattern: diagonals, then each neighbour's, as in the kernel's values. A neighbour beyond a
 * wall has no column: the mapping gives -1 and PETSc drops the entry. */
static PetscErrorCode SetUpAssembled(const MFGGrid *grid, Mat matrix) {
  const MFGBlock *b = &grid->block;
  const PetscInt owned = (PetscInt)MFGBlockOwned(b), width = 2 * b->dim + 1;
  ptrdiff_t stride[MFG_MAX_DIM];
  ISLocalToGlobalMapping mapping;
  const PetscInt *global;
  PetscInt *i, *j, at = 0;

  PetscFunctionBeginUser;
  PetscCall(DMGetLocalToGlobalMapping(grid->da, &mapping));
  PetscCall(ISLocalToGlobalMappingGetIndices(mapping, &global));
  PetscCall(PetscMalloc2(owned * width, &i, owned * width, &j));
  const ptrdiff_t first = MFGGhostedStrides(b, stride);
  for (PetscInt s = 0; s < width; s++)
    for (int z = 0; z < b->count[2]; z++)
      for (int y = 0; y < b->count[1]; y++)
        for (int x = 0; x < b->count[0]; x++, at++) {
          const ptrdiff_t center = first + x + y * stride[1] + z * stride[2];
          const ptrdiff_t step = s ? stride[(s - 1) / 2] : 0;
          i[at] = global[center];
          j[at] = global[s % 2 ? center - step : center + step];
        }
  PetscCall(ISLocalToGlobalMappingRestoreIndices(mapping, &global));
  PetscCall(MatSetPreallocationCOO(matrix, at, i, j));
  PetscCall(PetscFree2(i, j));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const char *prefix, Mat *matrix) {
  const PetscInt owned = (PetscInt)MFGBlockOwned(&grid->block);
  PetscBool star;

  PetscFunctionBeginUser;
  PetscCall(MatRegister(TYPE_STAR, MatCreate_Star));
  PetscCall(MatCreate(grid->comm, matrix));
  PetscCall(MatSetSizes(*matrix, owned, owned, PETSC_DETERMINE, PETSC_DETERMINE));
  PetscCall(MatSetOptionsPrefix(*matrix, prefix));
  PetscCall(MatSetType(*matrix, grid->block.dim == 1 ? MATAIJ : TYPE_STAR));
  PetscCall(MatSetFromOptions(*matrix));
  PetscCall(MFGStarMatrixIs(*matrix, &star));
  if (star)
    PetscCall(SetUpStar(grid, backend, *matrix));
  else
    PetscCall(SetUpAssembled(grid, *matrix));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixIs(Mat matrix, PetscBool *star) {
  PetscFunctionBeginUser;
  PetscCall(PetscObjectTypeCompare((PetscObject)matrix, TYPE_STAR, star));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode GetStar(Mat matrix, StarMatrix **star) {
  PetscBool is;

  PetscFunctionBegin;
  PetscCall(MFGStarMatrixIs(matrix, &is));
  PetscCheck(is, PetscObjectComm((PetscObject)matrix), PETSC_ERR_ARG_WRONG,
             "this needs a matrix of type " TYPE_STAR ", not %s", ((PetscObject)matrix)->type_name);
  *star = (StarMatrix *)matrix->data;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixSetValues(Mat matrix, const double *values) {
  StarMatrix *star = NULL;
  PetscBool is;

  PetscFunctionBeginUser;
  PetscCall(MFGStarMatrixIs(matrix, &is));
  if (!is) {
    PetscCall(MatSetValuesCOO(matrix, values, INSERT_VALUES));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(GetStar(matrix, &star));
  const MFGBlock *block = &star->grid->block;
  const MFGMemoryOps *memory = star->backend->memory;
  const int width = 2 * block->dim + 1;
  if (!star->values) {
    const int64_t count = width * MFGGhostedCells(block);
    PetscCall(MFGMemoryAllocate(memory, count, sizeof *values, &star->values));
    PetscCall(MFGMemoryZero(memory, count, sizeof *values, star->values));
  }
  PetscCall(star->backend->grid->ghosts(block, width, 0, values, star->values));
  star->has_values = PETSC_TRUE;
  star->has_scaled = star->has_neighbours = PETSC_FALSE;
  PetscCall(PetscObjectStateIncrease((PetscObject)matrix));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixSetDiffusion(Mat matrix, double nu) {
  PetscBool is;
  StarMatrix *star = NULL;

  PetscFunctionBeginUser;
  PetscCall(MFGStarMatrixIs(matrix, &is));
  if (!is) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(GetStar(matrix, &star));
  const MFGBlock *b = &star->grid->block;
  for (int k = 0; k < b->dim; k++) star->diffusion[k] = nu / (b->spacing[k] * b->spacing[k]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixGetGrid(Mat matrix, const MFGGrid **grid, const double **diffusion) {
  StarMatrix *star = NULL;

  PetscFunctionBeginUser;
  PetscCall(GetStar(matrix, &star));
  *grid = star->grid;
  *diffusion = star->diffusion;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixGetBackend(Mat matrix, const MFGBackend **backend) {
  StarMatrix *star = NULL;

  PetscFunctionBeginUser;
  PetscCall(GetStar(matrix, &star));
  *backend = star->backend;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixGetScaled(Mat matrix, const MFGStarLevel **scaled) {
  StarMatrix *star = NULL;

  PetscFunctionBeginUser;
  PetscCall(GetStar(matrix, &star));
  *scaled = &star->scaled;
  if (star->has_scaled) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(CheckValues(matrix));
  PetscCall(star->backend->star->scale(star->values, &star->scaled));
  star->has_scaled = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixGetScaledWrite(Mat matrix, const MFGStarLevel **scaled) {
  StarMatrix *star = NULL;

  PetscFunctionBeginUser;
  PetscCall(GetStar(matrix, &star));
  star->has_values = PETSC_FALSE;
  star->has_scaled = PETSC_TRUE;
  *scaled = &star->scaled;
  PetscCall(PetscObjectStateIncrease((PetscObject)matrix));
  PetscFunctionReturn(PETSC_SUCCESS);
}
