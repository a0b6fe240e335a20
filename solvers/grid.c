#include "solvers/grid.h"

static int BoxSize(const MFGBlock *b) {
  return (int)MFGBlockOwned(b);
}

/* True when a process grid with `size` boxes exists whose boxes all hold at least one cell. */
static PetscBool Divides(int size, int dim, const int cells[]) {
  if (dim == 1) return (PetscBool)(size <= cells[0]);
  for (int px = 1; px <= size && px <= cells[0]; px++)
    if (size % px == 0 && size / px <= cells[1]) return PETSC_TRUE;
  return PETSC_FALSE;
}

/* The process grid whose boxes have the smallest perimeter in cells. */
static void ProcessGrid(int size, const int cells[], PetscInt *px, PetscInt *py) {
  double best = PETSC_MAX_REAL;
  for (int p = 1; p <= size && p <= cells[0]; p++) {
    if (size % p || size / p > cells[1]) continue;
    const double perimeter = (double)cells[0] / p + (double)cells[1] * p / size;
    if (perimeter < best) {
      best = perimeter;
      *px = p;
      *py = size / p;
    }
  }
}

static DMBoundaryType BoundaryType(const MFGBoundary boundary[2]) {
  return boundary[0] == MFG_BOUNDARY_PERIODIC ? DM_BOUNDARY_PERIODIC : DM_BOUNDARY_GHOSTED;
}

static PetscErrorCode CreateDM(MFGGrid *grid) {
  const MFGBlock *b = &grid->block;
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  if (b->dim == 1) {
    PetscCall(
        DMDACreate1d(grid->comm, BoundaryType(b->boundary[0]), b->cells[0], 1, 1, NULL, &grid->da));
  } else {
    PetscInt px = 1, py = 1;
    ProcessGrid(size, b->cells, &px, &py);
    PetscCall(DMDACreate2d(grid->comm, BoundaryType(b->boundary[0]), BoundaryType(b->boundary[1]),
                           DMDA_STENCIL_STAR, b->cells[0], b->cells[1], px, py, 1, 1, NULL, NULL,
                           &grid->da));
  }
  PetscCall(DMSetUp(grid->da));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckDomain(MPI_Comm world, int dim, const int cells[], const double lower[],
                                  const double upper[], const MFGBoundary boundary[][2]) {
  PetscFunctionBeginUser;
  PetscCheck(dim == 1 || dim == 2, world, PETSC_ERR_SUP, "dim = %d: only 1 and 2 are there yet",
             dim);
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

PetscErrorCode MFGGridCreate(MPI_Comm world, int dim, const int cells[], const double lower[],
                             const double upper[], const MFGBoundary boundary[][2], MFGGrid *grid) {
  MFGBlock *b = &grid->block;
  PetscMPIInt size;
  PetscInt start[3], count[3];

  PetscFunctionBeginUser;
  memset(grid, 0, sizeof *grid);
  PetscCall(CheckDomain(world, dim, cells, lower, upper, boundary));
  grid->world = world;
  grid->comm = dim == 1 ? PETSC_COMM_SELF : world;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  int fits = size;
  while (fits > 1 && !Divides(fits, dim, cells)) fits--;
  PetscCheck(
      fits == size, world, PETSC_ERR_ARG_OUTOFRANGE,
      "%d ranks cannot share a grid of %d x %d cells: every rank needs at least one cell of a "
      "rectangular division; start at most %d ranks, or refine domain.cells",
      (int)size, cells[0], dim > 1 ? cells[1] : 1, fits);
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
  PetscCall(CreateDM(grid));
  PetscCall(
      DMDAGetCorners(grid->da, &start[0], &start[1], &start[2], &count[0], &count[1], &count[2]));
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    b->start[k] = k < dim ? (int)start[k] : 0;
    b->count[k] = k < dim ? (int)count[k] : 1;
  }
  PetscCall(PetscMalloc1(size, &grid->boxes));
  PetscCallMPI(MPI_Allgather(b, sizeof *b, MPI_BYTE, grid->boxes, sizeof *b, MPI_BYTE, grid->comm));
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
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, partial, n, MPI_DOUBLE, MPI_MAX, grid->comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}
