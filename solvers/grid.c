#include "solvers/grid.h"

static int BoxSize(const MFGBlock *b) {
  return (int)MFGBlockOwned(b);
}

PetscBool MFGGridDivide(int size, int dim, const int cells[], int divisions[MFG_MAX_DIM]) {
  double best = PETSC_MAX_REAL;

  for (int k = 0; k < MFG_MAX_DIM; k++) divisions[k] = 1;
  if (dim == 1) {
    divisions[0] = size;
    return PETSC_TRUE;
  }
  const int last = dim > 2 ? cells[2] : 1;
  for (int x = 1; x <= size && x <= cells[0]; x++)
    for (int y = 1; size % x == 0 && y <= size / x && y <= cells[1]; y++) {
      const int z = size / x / y;
      if (size / x % y || z > last) continue;
      /* The faces between the boxes, as if the cut went around: exact, so that ties are ties. */
      const double faces = ((double)x * cells[1] + (double)y * cells[0]) * last +
                           (dim > 2 ? (double)z * cells[0] * cells[1] : 0);
      if (faces < best) {
        best = faces;
        divisions[0] = x;
        divisions[1] = y;
        divisions[2] = z;
      }
    }
  return (PetscBool)(best < PETSC_MAX_REAL);
}

MFGBlock MFGGridWhole(const MFGGrid *grid) {
  MFGBlock whole = grid->block;

  for (int k = 0; k < MFG_MAX_DIM; k++) {
    whole.start[k] = 0;
    whole.count[k] = whole.cells[k];
  }
  return whole;
}

static DMBoundaryType BoundaryType(const MFGBoundary boundary[2]) {
  return boundary[0] == MFG_BOUNDARY_PERIODIC ? DM_BOUNDARY_PERIODIC : DM_BOUNDARY_GHOSTED;
}

static PetscErrorCode CreateDM(MFGGrid *grid) {
  const MFGBlock *b = &grid->block;
  const int *n = b->cells, *d = grid->divisions;
  DMBoundaryType type[MFG_MAX_DIM];
  PetscInt start[MFG_MAX_DIM], count[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) type[k] = BoundaryType(b->boundary[k]);
  if (b->dim == 1)
    PetscCall(DMDACreate1d(grid->comm, type[0], n[0], 1, 1, NULL, &grid->da));
  else if (b->dim == 2)
    PetscCall(DMDACreate2d(grid->comm, type[0], type[1], DMDA_STENCIL_STAR, n[0], n[1], d[0], d[1],
                           1, 1, NULL, NULL, &grid->da));
  else
    PetscCall(DMDACreate3d(grid->comm, type[0], type[1], type[2], DMDA_STENCIL_STAR, n[0], n[1],
                           n[2], d[0], d[1], d[2], 1, 1, NULL, NULL, NULL, &grid->da));
  PetscCall(DMSetUp(grid->da));
  PetscCall(
      DMDAGetCorners(grid->da, &start[0], &start[1], &start[2], &count[0], &count[1], &count[2]));
  for (int k = 0; k < b->dim; k++)
    PetscCheck(start[k] == b->start[k] && count[k] == b->count[k], PETSC_COMM_SELF, PETSC_ERR_PLIB,
               "axis %d: PETSc gives this rank the cells from %d, %d of them, not from %d, %d", k,
               (int)start[k], (int)count[k], b->start[k], b->count[k]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckDomain(MPI_Comm world, int dim, const int cells[], const double lower[],
                                  const double upper[], const MFGBoundary boundary[][2]) {
  PetscFunctionBeginUser;
  PetscCheck(dim >= 1 && dim <= MFG_MAX_DIM, world, PETSC_ERR_SUP,
             "a grid of %d dimensions: there are 1 to %d", dim, MFG_MAX_DIM);
  for (int k = 0; k < dim; k++) {
    PetscCheck(cells[k] >= 3, world, PETSC_ERR_ARG_OUTOFRANGE,
               "%d cells along axis %d: the difference stencil needs at least 3", cells[k], k);
    PetscCheck(upper[k] > lower[k], world, PETSC_ERR_ARG_OUTOFRANGE,
               "axis %d runs from %g to %g: the upper end must lie above the lower one", k,
               lower[k], upper[k]);
    PetscCheck((boundary[k][0] == MFG_BOUNDARY_PERIODIC) ==
                   (boundary[k][1] == MFG_BOUNDARY_PERIODIC),
               world, PETSC_ERR_ARG_INCOMP,
               "axis %d is periodic at one end only: make both faces periodic or neither", k);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridDivideAmong(MPI_Comm comm, int size, const MFGBlock *b,
                                  int divisions[MFG_MAX_DIM]) {
  char cells[64];
  int fits = size;

  PetscFunctionBeginUser;
  while (!MFGGridDivide(fits, b->dim, b->cells, divisions)) fits--;
  (void)snprintf(cells, sizeof cells, b->dim > 2 ? "%d x %d x %d" : "%d x %d", b->cells[0],
                 b->cells[1], b->cells[2]);
  PetscCheck(fits == size, comm, PETSC_ERR_ARG_OUTOFRANGE,
             "%d ranks cannot share a grid of %s cells: every rank needs at least one cell of a "
             "rectangular division; start at most %d ranks, or refine domain.cells",
             size, cells, fits);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridCreate(MPI_Comm world, int dim, const int cells[], const double lower[],
                             const double upper[], const MFGBoundary boundary[][2], MFGGrid *grid) {
  MFGBlock *b = &grid->block;
  PetscMPIInt rank, size;

  PetscFunctionBeginUser;
  memset(grid, 0, sizeof *grid);
  PetscCall(CheckDomain(world, dim, cells, lower, upper, boundary));
  PetscCallMPI(MPI_Comm_rank(world, &rank));
  PetscCallMPI(MPI_Comm_size(world, &size));
  grid->world = world;
  grid->comm = dim == 1 ? PETSC_COMM_SELF : world;
  b->dim = dim;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int used = k < dim;
    b->cells[k] = used ? cells[k] : 1;
    b->lower[k] = used ? lower[k] : 0;
    b->upper[k] = used ? upper[k] : 1;
    b->spacing[k] = (b->upper[k] - b->lower[k]) / b->cells[k];
    for (int side = 0; side < 2; side++)
      b->boundary[k][side] = used ? boundary[k][side] : MFG_BOUNDARY_PERIODIC;
  }
  PetscCall(MFGGridDivideAmong(world, size, b, grid->divisions));
  const MFGBlock whole = MFGGridWhole(grid);
  PetscCall(PetscMalloc1(size, &grid->boxes));
  for (int r = 0; r < size; r++) grid->boxes[r] = MFGBoxOfRank(&whole, grid->divisions, r);
  grid->box = grid->boxes[rank];
  *b = dim == 1 ? whole : grid->box;
  PetscCall(CreateDM(grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridDestroy(MFGGrid *grid) {
  PetscFunctionBeginUser;
  if (!grid) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(DMDestroy(&grid->da));
  PetscCall(PetscFree(grid->boxes));
  memset(grid, 0, sizeof *grid);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Copies rows between a box's owned field and the whole field. */
static void CopyBox(const MFGBlock *b, const double *owned, double *whole) {
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++) {
      const size_t row =
          ((size_t)(b->start[2] + k) * b->cells[1] + b->start[1] + j) * b->cells[0] + b->start[0];
      memcpy(whole + row, owned, b->count[0] * sizeof *owned);
      owned += b->count[0];
    }
}

PetscErrorCode MFGGridGather(const MFGGrid *grid, int fields, const double *owned, double *whole) {
  const int64_t own = MFGBlockOwned(&grid->block), all = MFGBlockCells(&grid->block);
  PetscMPIInt size, *counts, *displacements;
  double *packed;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  if (size == 1) {
    PetscCall(PetscArraycpy(whole, owned, fields * all));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscMalloc3(all, &packed, size, &counts, size, &displacements));
  for (PetscMPIInt r = 0, sum = 0; r < size; sum += counts[r++]) {
    counts[r] = BoxSize(&grid->boxes[r]);
    displacements[r] = sum;
  }
  for (int f = 0; f < fields; f++) {
    PetscCallMPI(MPI_Allgatherv(owned + f * own, (PetscMPIInt)own, MPI_DOUBLE, packed, counts,
                                displacements, MPI_DOUBLE, grid->comm));
    for (PetscMPIInt r = 0; r < size; r++)
      CopyBox(&grid->boxes[r], packed + displacements[r], whole + f * all);
  }
  PetscCall(PetscFree3(packed, counts, displacements));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridRestrict(const MFGGrid *grid, int fields, const double *whole,
                               double *owned) {
  const MFGBlock *b = &grid->block;

  PetscFunctionBeginUser;
  for (int f = 0; f < fields; f++, whole += MFGBlockCells(b))
    for (int k = 0; k < b->count[2]; k++)
      for (int j = 0; j < b->count[1]; j++, owned += b->count[0]) {
        const size_t row =
            ((size_t)(b->start[2] + k) * b->cells[1] + b->start[1] + j) * b->cells[0] + b->start[0];
        memcpy(owned, whole + row, b->count[0] * sizeof *owned);
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridSum(const MFGGrid *grid, int n, double *partial) {
  PetscFunctionBeginUser;
  if (grid->block.dim == 1) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, partial, n, MPI_DOUBLE, MPI_SUM, grid->comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGridMax(const MFGGrid *grid, int n, double *partial) {
  PetscFunctionBeginUser;
  if (grid->block.dim == 1) PetscFunctionReturn(PETSC_SUCCESS);
  /* MPI's maximum with a NaN is what the order of the ranks makes it, another on each of them. */
  for (int k = 0; k < n; k++)
    if (PetscIsNanReal(partial[k])) partial[k] = INFINITY;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, partial, n, MPI_DOUBLE, MPI_MAX, grid->comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}
