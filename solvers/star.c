#include "solvers/star.h"

#include <petsc/private/matimpl.h>

#define TYPE_STAR "star"

struct MFGStarGhosts_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGExchange exchange;      /* owned; NULL where the box is the whole grid */
  double *ghosted;           /* owned, in the backend's memory */
};

PetscErrorCode MFGStarGhostsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   MFGStarGhosts *out) {
  const MFGBlock *b = &grid->block, whole = MFGGridWhole(grid);
  const int64_t cells = MFGGhostedCells(b);
  MFGStarGhosts ghosts;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&ghosts));
  ghosts->grid = grid;
  ghosts->backend = backend;
  if (MFGBlockOwned(b) < MFGBlockCells(b))
    PetscCall(MFGExchangeCreate(grid->comm, backend->carrier, &whole, grid->divisions,
                                &ghosts->exchange));
  PetscCall(MFGMemoryAllocate(backend->memory, cells, sizeof(double), &ghosts->ghosted));
  PetscCall(MFGMemoryZero(backend->memory, cells, sizeof(double), ghosts->ghosted));
  *out = ghosts;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsDestroy(MFGStarGhosts *ghosts) {
  PetscFunctionBeginUser;
  if (!ghosts || !*ghosts) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGExchangeDestroy(&(*ghosts)->exchange));
  PetscCall(MFGMemoryFree((*ghosts)->backend->memory, &(*ghosts)->ghosted));
  PetscCall(PetscFree(*ghosts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsFill(MFGStarGhosts ghosts, const double *u, const double **ghosted) {
  const MFGBlock *b = &ghosts->grid->block;
  const MFGHalo halo = {
      .width = {1, b->dim > 1, b->dim > 2}, .element = sizeof(double), .fields = 1};

  PetscFunctionBeginUser;
  PetscCall(ghosts->backend->grid->ghosts(b, 1, 1, u, ghosts->ghosted));
  if (ghosts->exchange) PetscCall(MFGExchangeHalo(ghosts->exchange, &halo, ghosts->ghosted));
  *ghosted = ghosts->ghosted;
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  Vec local;                 /* owned, as all below; with ghosts */
  double *values;            /* [2 dim + 1][owned] */
  double diffusion[MFG_MAX_DIM];
  MFGStarLevel scaled;
  float *numbers, *parts;           /* the arrays of `scaled` */
  PetscBool has_values, has_scaled; /* of the current matrix */
} StarMatrix;

/* Adds up the products of a line of n cells with its neighbour `shift` away. */
static void AddProducts(PetscInt n, const double *restrict a, const double *restrict x,
                        double *restrict y) {
  for (PetscInt i = 0; i < n; i++) y[i] += a[i] * x[i];
}

typedef struct {
  ptrdiff_t owned, ghosted; /* where a line starts */
} Line;

static Line LineAt(const MFGBlock *b, const ptrdiff_t stride[], int j, int k) {
  Line line = {((ptrdiff_t)k * b->count[1] + j) * b->count[0], 1};
  if (b->dim > 1) line.ghosted += (j + 1) * stride[1];
  if (b->dim > 2) line.ghosted += (k + 1) * stride[2];
  return line;
}

static PetscErrorCode CheckValues(Mat A) {
  const StarMatrix *star = (const StarMatrix *)A->data;

  PetscFunctionBegin;
  PetscCheck(star->has_values, PetscObjectComm((PetscObject)A), PETSC_ERR_ARG_WRONGSTATE,
             "this matrix has coefficients for a preconditioner only, no products");
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Beyond walls the coefficients are 0, so that the ghosts there need only be finite. */
static PetscErrorCode MatMult_Star(Mat A, Vec x, Vec y) {
  const StarMatrix *star = (const StarMatrix *)A->data;
  const MFGBlock *b = &star->grid->block;
  const int64_t owned = MFGBlockOwned(b);
  ptrdiff_t stride[MFG_MAX_DIM];
  const double *ghosted;
  double *product;

  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  (void)MFGGhostedStrides(b, stride);
  PetscCall(DMGlobalToLocalBegin(star->grid->da, x, INSERT_VALUES, star->local));
  PetscCall(DMGlobalToLocalEnd(star->grid->da, x, INSERT_VALUES, star->local));
  PetscCall(VecGetArrayRead(star->local, &ghosted));
  PetscCall(VecGetArrayWrite(y, &product));
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++) {
      const Line at = LineAt(b, stride, j, k);
      const double *diagonal = star->values + at.owned, *u = ghosted + at.ghosted;
      for (int i = 0; i < b->count[0]; i++) product[at.owned + i] = diagonal[i] * u[i];
      for (int s = 0; s < 2 * b->dim; s++)
        AddProducts(b->count[0], star->values + (1 + s) * owned + at.owned,
                    u + (s % 2 ? stride[s / 2] : -stride[s / 2]), product + at.owned);
    }
  PetscCall(VecRestoreArrayWrite(y, &product));
  PetscCall(VecRestoreArrayRead(star->local, &ghosted));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Row i adds a_ij x_i to entry j: those that fall on ghosts are sent to the owners, added there. */
static PetscErrorCode MatMultTranspose_Star(Mat A, Vec x, Vec y) {
  const StarMatrix *star = (const StarMatrix *)A->data;
  const MFGBlock *b = &star->grid->block;
  const int64_t owned = MFGBlockOwned(b);
  ptrdiff_t stride[MFG_MAX_DIM];
  const double *factor;
  double *ghosted;

  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  (void)MFGGhostedStrides(b, stride);
  PetscCall(VecSet(star->local, 0));
  PetscCall(VecGetArray(star->local, &ghosted));
  PetscCall(VecGetArrayRead(x, &factor));
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++) {
      const Line at = LineAt(b, stride, j, k);
      const double *u = factor + at.owned;
      double *product = ghosted + at.ghosted;
      AddProducts(b->count[0], star->values + at.owned, u, product);
      for (int s = 0; s < 2 * b->dim; s++)
        AddProducts(b->count[0], star->values + (1 + s) * owned + at.owned, u,
                    product + (s % 2 ? stride[s / 2] : -stride[s / 2]));
    }
  PetscCall(VecRestoreArrayRead(x, &factor));
  PetscCall(VecRestoreArray(star->local, &ghosted));
  PetscCall(VecSet(y, 0));
  PetscCall(DMLocalToGlobalBegin(star->grid->da, star->local, ADD_VALUES, y));
  PetscCall(DMLocalToGlobalEnd(star->grid->da, star->local, ADD_VALUES, y));
  PetscCall(VecSet(star->local, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatGetDiagonal_Star(Mat A, Vec diagonal) {
  const StarMatrix *star = (const StarMatrix *)A->data;
  double *d;

  PetscFunctionBegin;
  PetscCall(CheckValues(A));
  PetscCall(VecGetArrayWrite(diagonal, &d));
  PetscCall(PetscArraycpy(d, star->values, MFGBlockOwned(&star->grid->block)));
  PetscCall(VecRestoreArrayWrite(diagonal, &d));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MatDestroy_Star(Mat A) {
  StarMatrix *star = (StarMatrix *)A->data;

  PetscFunctionBegin;
  PetscCall(VecDestroy(&star->local));
  PetscCall(PetscFree(star->values));
  PetscCall(PetscFree2(star->numbers, star->parts));
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
  const int64_t owned = MFGBlockOwned(b);
  const int longest = PetscMax(b->count[0], PetscMax(b->count[1], b->count[2]));

  PetscFunctionBegin;
  star->grid = grid;
  star->backend = backend;
  PetscCall(DMCreateLocalVector(grid->da, &star->local));
  PetscCall(
      PetscCalloc2((2 * b->dim + 1) * owned, &star->numbers, 2 * b->dim * longest, &star->parts));
  star->scaled.block = *b;
  star->scaled.d = star->numbers;
  for (int s = 0; s < 2 * b->dim; s++) {
    star->scaled.c[s] = star->numbers + (1 + s) * owned;
    star->scaled.diffusion[s] = star->parts + s * longest;
  }
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
  const int64_t owned = MFGBlockOwned(&star->grid->block);
  const int width = 2 * star->grid->block.dim + 1;
  if (!star->values) PetscCall(PetscMalloc1(width * owned, &star->values));
  PetscCall(PetscArraycpy(star->values, values, width * owned));
  star->has_values = PETSC_TRUE;
  star->has_scaled = PETSC_FALSE;
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
  for (int s = 0; s < 2 * b->dim; s++) {
    float *part = (float *)star->scaled.diffusion[s];
    const int axis = s / 2, wall = s % 2 ? b->cells[axis] - 1 : 0, at = wall - b->start[axis];
    for (int i = 0; i < b->count[axis]; i++) part[i] = (float)star->diffusion[axis];
    if (b->boundary[axis][s % 2] == MFG_BOUNDARY_NOFLUX && at >= 0 && at < b->count[axis])
      part[at] = 0;
  }
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
  const int64_t owned = MFGBlockOwned(&star->grid->block);
  const double *d = star->values;
  for (int64_t i = 0; i < owned; i++) star->scaled.d[i] = (float)d[i];
  for (int s = 0; s < 2 * star->grid->block.dim; s++)
    for (int64_t i = 0; i < owned; i++)
      star->scaled.c[s][i] = (float)(-star->values[(1 + s) * owned + i] / d[i]);
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
