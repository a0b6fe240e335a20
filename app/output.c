#include "app/output.h"
#include "app/result_parts.h"

#include <hdf5_hl.h>
#include <unistd.h>

#include "app/disk.h"

typedef struct {
  hid_t time, axis, cell[MFG_MAX_DIM];
} Scales;

PetscErrorCode MFGResultLevels(const MFGConfig *config, int *count, int **levels) {
  const int steps = config->time.steps, every = PetscMax(config->output.every, 1);

  PetscFunctionBeginUser;
  *count = steps / every + 1 + (steps % every ? 1 : 0);
  PetscCall(PetscMalloc1(*count, levels));
  for (int j = 0; j < *count; j++) (*levels)[j] = PetscMin(j * every, steps);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteTime(MFGFile *f, const MFGConfig *config, int count, const int levels[],
                                hid_t *scale) {
  double *t;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(count, &t));
  for (int j = 0; j < count; j++) t[j] = config->time.horizon * levels[j] / config->time.steps;
  PetscCall(MFGFileScale(f, f->file, "time", H5T_NATIVE_DOUBLE, (hsize_t)count, t, "time", scale));
  PetscCall(PetscFree(t));
  PetscCall(MFGFileAttributeText(f, *scale, "axis", "T"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Cell centres, and as attributes what a reader needs to know of the axis besides. */
static PetscErrorCode WriteAxis(MFGFile *f, const MFGBlock *b, int k, hid_t *scale) {
  static const char *const names[] = {"x", "y", "z"}, *const axes[] = {"X", "Y", "Z"};
  static const char *const sides[] = {"boundary_low", "boundary_high"};
  char description[32];
  double *x;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(b->cells[k], &x));
  for (int i = 0; i < b->cells[k]; i++) x[i] = MFGCellCenter(b, k, i);
  (void)snprintf(description, sizeof description, "%s, cell centres", names[k]);
  PetscCall(MFGFileScale(f, f->file, names[k], H5T_NATIVE_DOUBLE, (hsize_t)b->cells[k], x,
                         description, scale));
  PetscCall(PetscFree(x));
  PetscCall(MFGFileAttributeText(f, *scale, "axis", axes[k]));
  PetscCall(MFGFileAttributeDouble(f, *scale, "lower", b->lower[k]));
  PetscCall(MFGFileAttributeDouble(f, *scale, "upper", b->upper[k]));
  for (int side = 0; side < 2; side++)
    PetscCall(MFGFileAttributeText(f, *scale, sides[side],
                                   b->boundary[k][side] == MFG_BOUNDARY_PERIODIC ? "periodic"
                                                                                 : "noflux"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteScales(MFGFile *f, const MFGResult *result, int count,
                                  const int levels[], Scales *scales) {
  const MFGBlock *b = &result->grid->block;
  int64_t number[MFG_MAX_DIM] = {0, 1, 2};

  PetscFunctionBeginUser;
  PetscCall(WriteTime(f, result->config, count, levels, &scales->time));
  PetscCall(MFGFileScale(f, f->file, "dim", H5T_NATIVE_INT64, (hsize_t)b->dim, number,
                         "axis of a vector: 0 x, 1 y, 2 z", &scales->axis));
  for (int k = 0; k < b->dim; k++) PetscCall(WriteAxis(f, b, k, &scales->cell[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels `every` apart, `n` of them from `level` on, to the places from `place` on in the file. The
 * flow in memory is [steps + 1][width], all of a rank's components and cells of a level together.
 */
static PetscErrorCode WriteBatch(MFGFile *f, hid_t dataset, const MFGResult *result, int components,
                                 hsize_t level, hsize_t every, hsize_t place, hsize_t n,
                                 const double *flow) {
  const MFGBlock *b = &result->grid->block;
  const hsize_t width = (hsize_t)MFGBlockOwned(b) * PetscMax(components, 1);
  const hsize_t all[] = {(hsize_t)result->config->time.steps + 1, width};
  const hsize_t from[] = {level, 0}, stride[] = {every, 1}, number[] = {n, width};
  hsize_t start[2 + MFG_MAX_DIM] = {place, 0}, count[2 + MFG_MAX_DIM] = {n, (hsize_t)components};
  hid_t memory, space;

  PetscFunctionBeginUser;
  const int first = components ? 2 : 1;
  for (int k = 0; k < b->dim; k++) {
    start[first + k] = (hsize_t)b->start[b->dim - 1 - k];
    count[first + k] = (hsize_t)b->count[b->dim - 1 - k];
  }
  MFGCallHDF5(f, memory = H5Screate_simple(2, all, NULL));
  MFGCallHDF5(f, H5Sselect_hyperslab(memory, H5S_SELECT_SET, from, stride, number, NULL));
  MFGCallHDF5(f, space = H5Dget_space(dataset));
  MFGCallHDF5(f, H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL));
  MFGCallHDF5(f, H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space, f->transfer, flow));
  MFGCallHDF5(f, H5Sclose(space));
  MFGCallHDF5(f, H5Sclose(memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A chunk is one level of the largest block. */
static void ChunkOf(const MFGGrid *grid, hsize_t chunk[MFG_MAX_DIM]) {
  const int d = grid->block.dim;
  PetscMPIInt size;
  MPI_Comm_size(grid->comm, &size);
  for (int k = 0; k < d; k++) {
    chunk[k] = (hsize_t)grid->block.count[d - 1 - k]; /* in 1D the boxes are smaller */
    for (int r = 0; r < size; r++)
      chunk[k] = PetscMax(chunk[k], (hsize_t)grid->boxes[r].count[d - 1 - k]);
  }
}

/* Of all chunks of one level, as HDF5 keeps them in memory within a call. */
static int64_t LevelBytes(const MFGGrid *grid, int components) {
  hsize_t chunk[MFG_MAX_DIM];
  int64_t bytes = 8 * PetscMax(components, 1);
  PetscMPIInt size;
  MPI_Comm_size(grid->comm, &size);
  ChunkOf(grid, chunk);
  for (int k = 0; k < grid->block.dim; k++) bytes *= (int64_t)chunk[k];
  return bytes * size;
}

/* A flow as a dataset (time, [dim,] z, y, x), components 0 for a scalar. */
static PetscErrorCode WriteCube(MFGFile *f, const MFGResult *result, const char *name,
                                const char *description, int components, int count,
                                const int levels[], const Scales *scales, const double *flow) {
  const MFGGrid *grid = result->grid;
  const int d = grid->block.dim, first = components ? 2 : 1, rank = d + first;
  hsize_t dims[2 + MFG_MAX_DIM] = {(hsize_t)count, (hsize_t)components};
  hsize_t chunk[2 + MFG_MAX_DIM] = {1, 1};
  hid_t scale[2 + MFG_MAX_DIM] = {scales->time, scales->axis}, list, space, dataset;

  PetscFunctionBeginUser;
  for (int k = 0; k < d; k++) {
    dims[first + k] = (hsize_t)grid->block.cells[d - 1 - k];
    scale[first + k] = scales->cell[d - 1 - k];
  }
  ChunkOf(grid, chunk + first);
  PetscCall(MFGFileChunked(f, rank, chunk, &list));
  MFGCallHDF5(f, space = H5Screate_simple(rank, dims, NULL));
  MFGCallHDF5(f, dataset = H5Dcreate2(f->file, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list,
                                      H5P_DEFAULT));
  MFGCallHDF5(f, H5Sclose(space));
  MFGCallHDF5(f, H5Pclose(list));
  for (int k = 0; k < rank; k++) MFGCallHDF5(f, H5DSattach_scale(dataset, scale[k], k));
  PetscCall(MFGFileAttributeText(f, dataset, "units", "1"));
  PetscCall(MFGFileAttributeText(f, dataset, "long_name", description));
  const int batch = (int)MFGFileBatchLevels(LevelBytes(grid, components));
  const int every = PetscMax(result->config->output.every, 1);
  /* The last level may be nearer to the one before than `every`: it goes alone. */
  for (int j = 0; j < count - 1; j += batch)
    PetscCall(WriteBatch(f, dataset, result, components, (hsize_t)levels[j], (hsize_t)every,
                         (hsize_t)j, (hsize_t)PetscMin(batch, count - 1 - j), flow));
  PetscCall(WriteBatch(f, dataset, result, components, (hsize_t)levels[count - 1], 1,
                       (hsize_t)count - 1, 1, flow));
  MFGCallHDF5(f, H5Dclose(dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The view of level number `place` of cube `name`: (z, y, x) in any dimension, what an XDMF item of
 * a mesh of at least one layer refers to. Views are metadata: all ranks do the same, one verdict
 * serves all calls. */
static herr_t PutView(hid_t group, const char *name, const MFGBlock *b, int place, int count) {
  const int d = b->dim, rank = d + 1;
  hsize_t cube[1 + MFG_MAX_DIM] = {(hsize_t)count}, start[1 + MFG_MAX_DIM] = {(hsize_t)place};
  hsize_t one[1 + MFG_MAX_DIM] = {1};
  const hsize_t dims[] = {(hsize_t)b->cells[2], (hsize_t)b->cells[1], (hsize_t)b->cells[0]};
  char path[16];

  for (int k = 0; k < d; k++) cube[1 + k] = one[1 + k] = (hsize_t)b->cells[d - 1 - k];
  (void)snprintf(path, sizeof path, "/%s", name);
  const hid_t source = H5Screate_simple(rank, cube, NULL), view = H5Screate_simple(3, dims, NULL);
  const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  if (H5Sselect_hyperslab(source, H5S_SELECT_SET, start, NULL, one, NULL) < 0 ||
      H5Pset_obj_track_times(list, 0) < 0 || H5Pset_virtual(list, view, ".", path, source) < 0)
    return -1;
  const hid_t dataset =
      H5Dcreate2(group, name, H5T_NATIVE_DOUBLE, view, H5P_DEFAULT, list, H5P_DEFAULT);
  if (dataset < 0 || H5Dclose(dataset) < 0 || H5Pclose(list) < 0) return -1;
  return H5Sclose(view) < 0 || H5Sclose(source) < 0 ? -1 : 0;
}

static herr_t PutViews(hid_t viz, const MFGBlock *b, int level, int place, int count) {
  char name[16];

  (void)snprintf(name, sizeof name, "%06d", level);
  const hid_t group = H5Gcreate2(viz, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  if (group < 0 || PutView(group, "m", b, place, count) < 0) return -1;
  if (PutView(group, "u", b, place, count) < 0) return -1;
  return H5Gclose(group);
}

static PetscErrorCode WriteViews(MFGFile *f, const MFGResult *result, int count,
                                 const int levels[]) {
  hid_t viz;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, viz = H5Gcreate2(f->file, "viz", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  for (int j = 0; j < count; j++)
    MFGCallHDF5(f, PutViews(viz, &result->grid->block, levels[j], j, count));
  MFGCallHDF5(f, H5Gclose(viz));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteContents(MFGFile *f, const MFGResult *result, int count,
                                    const int levels[]) {
  Scales scales;

  PetscFunctionBeginUser;
  PetscCall(MFGResultWriteProvenance(f, result));
  PetscCall(WriteScales(f, result, count, levels, &scales));
  PetscCall(
      WriteCube(f, result, "m", "density of the agents", 0, count, levels, &scales, result->M));
  PetscCall(WriteCube(f, result, "u", "value function", 0, count, levels, &scales, result->U));
  if (result->control)
    PetscCall(WriteCube(f, result, "control", "velocity of the agents", result->grid->block.dim,
                        count, levels, &scales, result->control));
  PetscCall(MFGResultWriteSeries(f, result, count, levels, scales.time, scales.axis));
  PetscCall(MFGResultWriteConvergence(f, result));
  PetscCall(WriteViews(f, result, count, levels));
  MFGCallHDF5(f, H5Dclose(scales.time));
  MFGCallHDF5(f, H5Dclose(scales.axis));
  for (int k = 0; k < result->grid->block.dim; k++) MFGCallHDF5(f, H5Dclose(scales.cell[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Reads the cube's levels rank, rank + size, ... of the closed file, checksums on the way. */
static herr_t ReadBack(hid_t file, const char *name, const MFGFile *f, double *level) {
  hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset), memory;
  hsize_t dims[1 + MFG_MAX_DIM], start[1 + MFG_MAX_DIM] = {0};
  const int rank = H5Sget_simple_extent_dims(space, dims, NULL);
  if (rank < 0) return -1;
  const hsize_t count = dims[0];
  herr_t status = 0;
  dims[0] = 1;
  memory = H5Screate_simple(rank, dims, NULL);
  for (hsize_t j = (hsize_t)f->rank; j < count && status >= 0; j += (hsize_t)f->size) {
    start[0] = j;
    status = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, dims, NULL);
    if (status >= 0)
      status = H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, level);
  }
  (void)H5Sclose(memory);
  (void)H5Sclose(space);
  (void)H5Dclose(dataset);
  return status;
}

/* Collective on f->comm; f is closed. On a full disk H5Fclose reports success: only reading tells.
 */
static PetscErrorCode Verify(MFGFile *f, const MFGGrid *grid) {
  double *level;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(MFGBlockCells(&grid->block), &level));
  const hid_t file = H5Fopen(f->path, H5F_ACC_RDONLY, H5P_DEFAULT);
  herr_t status = file < 0 ? -1 : ReadBack(file, "/m", f, level);
  if (status >= 0) status = ReadBack(file, "/u", f, level);
  PetscErrorCode verdict = MFGFileVerdict(f, status, "reading back");
  if (file >= 0) (void)H5Fclose(file);
  PetscCall(PetscFree(level));
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for the file `path`: the cubes, their views and chunk indices, the rest. */
static PetscErrorCode Prepare(const char *directory, const char *path, const MFGResult *result,
                              int count, int size) {
  const MFGBlock *b = &result->grid->block;
  const double cubes = 2 + (result->control ? b->dim : 0);
  const double rest = 65536.0 + 256.0 * result->iterations + 4096.0 * count +
                      8.0 * count * ((double)result->samples * b->dim + 8) +
                      (result->config->text ? (double)strlen(result->config->text) : 0);
  const double bytes = cubes * count * (8.0 * (double)MFGBlockCells(b) + 64.0 * size) + rest;

  PetscFunctionBeginUser;
  PetscCall(MFGDiskReserve(directory, path, bytes, "result",
                           "raise output.every, or choose another output.directory"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0: sidecar and renames. The result is there when its name is; the sidecar follows it. */
static PetscErrorCode Publish(const char *directory, const char *temporary, const MFGResult *result,
                              int count, const int levels[], int64_t *bytes) {
  char part[PETSC_MAX_PATH_LEN], path[PETSC_MAX_PATH_LEN];

  PetscFunctionBeginUser;
  PetscCall(PetscSNPrintf(part, sizeof part, "%s/result.xmf.part", directory));
  PetscErrorCode verdict = MFGResultWriteXDMF(part, "result.h5", result, count, levels);
  PetscCall(PetscSNPrintf(path, sizeof path, "%s/result.h5", directory));
  if (!verdict) verdict = MFGDiskRename(temporary, path, bytes);
  PetscCall(PetscSNPrintf(path, sizeof path, "%s/result.xmf", directory));
  if (!verdict) verdict = MFGDiskRename(part, path, bytes);
  (void)unlink(part);
  if (!verdict) verdict = MFGDiskSync(directory);
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective on the ranks that write. */
static PetscErrorCode WriteFiles(const char *directory, const MFGResult *result, int64_t *bytes) {
  MPI_Comm comm = result->grid->comm;
  char temporary[PETSC_MAX_PATH_LEN];
  int count, *levels;
  MFGFile f;
  PetscMPIInt rank, size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGResultLevels(result->config, &count, &levels));
  PetscCall(PetscSNPrintf(temporary, sizeof temporary, "%s/result.h5.part", directory));
  PetscErrorCode verdict = MFGShareVerdict(
      comm, rank ? PETSC_SUCCESS : Prepare(directory, temporary, result, count, size));
  if (!verdict)
    verdict =
        MFGFileCreate(comm, temporary, 0,
                      LevelBytes(result->grid, result->control ? result->grid->block.dim : 0), &f);
  if (!verdict) {
    verdict = WriteContents(&f, result, count, levels);
    const PetscErrorCode closed = MFGFileClose(&f, (PetscBool)(verdict != PETSC_SUCCESS));
    if (!verdict) verdict = closed;
    if (!verdict) verdict = MFGShareVerdict(comm, rank ? PETSC_SUCCESS : MFGDiskSync(temporary));
    if (!verdict) verdict = Verify(&f, result->grid);
    if (!verdict)
      verdict = MFGShareVerdict(
          comm, rank ? PETSC_SUCCESS : Publish(directory, temporary, result, count, levels, bytes));
    if (verdict && !rank) (void)unlink(temporary);
  }
  PetscCall(PetscFree(levels));
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultWrite(const char *directory, const MFGResult *result, int64_t *bytes) {
  const MFGGrid *grid = result->grid;
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  *bytes = 0;
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  /* In 1D every rank holds everything and comm is one rank: the first one of world writes. */
  const PetscBool writes = (PetscBool)(grid->block.dim > 1 || !rank);
  PetscErrorCode verdict = writes ? WriteFiles(directory, result, bytes) : PETSC_SUCCESS;
  verdict = MFGShareVerdict(grid->world, verdict);
  PetscCall(verdict);
  PetscCallMPI(MPI_Bcast(bytes, 1, MPI_INT64_T, 0, grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}
