#include "app/result_parts.h"

#include <hdf5_hl.h>

/* Rows `levels` of rows[steps + 1][width] to a dataset of shape (count, [middle,] last). */
static PetscErrorCode WriteRows(MFGFile *f, hid_t parent, const char *name, int rank,
                                const hsize_t dims[], const int levels[], const double *rows,
                                const hid_t scales[], const char *description) {
  hsize_t width = 1;
  double *thinned = NULL;
  hid_t dataset;

  PetscFunctionBeginUser;
  for (int k = 1; k < rank; k++) width *= dims[k];
  if (!f->rank) {
    PetscCall(PetscMalloc1(dims[0] * width, &thinned));
    for (hsize_t n = 0; n < dims[0]; n++)
      PetscCall(PetscArraycpy(thinned + n * width, rows + levels[n] * width, width));
  }
  PetscErrorCode verdict =
      MFGFileArray(f, parent, name, H5T_NATIVE_DOUBLE, rank, dims, thinned, &dataset);
  PetscCall(PetscFree(thinned));
  PetscCall(verdict);
  for (int k = 0; k < rank; k++) MFGCallHDF5(f, H5DSattach_scale(dataset, scales[k], k));
  PetscCall(MFGFileAttributeText(f, dataset, "units", "1"));
  PetscCall(MFGFileAttributeText(f, dataset, "long_name", description));
  MFGCallHDF5(f, H5Dclose(dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteParticles(MFGFile *f, const MFGResult *result, int count,
                                     const int levels[], hid_t time, hid_t axis) {
  const hsize_t samples = (hsize_t)result->samples;
  int64_t *number = NULL;
  hid_t group, particle, id;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, group = H5Gcreate2(f->file, "particles", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  PetscCall(PetscMalloc1(samples, &number));
  for (hsize_t j = 0; j < samples; j++) number[j] = (int64_t)j;
  PetscCall(MFGFileScale(f, group, "particle", H5T_NATIVE_INT64, samples, number,
                         "number within the sample", &particle));
  PetscCall(PetscFree(number));
  PetscCall(MFGFileArray(f, group, "id", H5T_NATIVE_INT64, 1, &samples, result->id, &id));
  MFGCallHDF5(f, H5DSattach_scale(id, particle, 0));
  PetscCall(MFGFileAttributeText(f, id, "long_name", "number of the agent"));
  MFGCallHDF5(f, H5Dclose(id));
  const hsize_t dims[] = {(hsize_t)count, samples, (hsize_t)result->config->dim};
  const hid_t scales[] = {time, particle, axis};
  PetscCall(WriteRows(f, group, "position", 3, dims, levels, result->path, scales,
                      "position of the agent"));
  MFGCallHDF5(f, H5Dclose(particle));
  MFGCallHDF5(f, H5Gclose(group));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultWriteSeries(MFGFile *f, const MFGResult *result, int count,
                                    const int levels[], hid_t time, hid_t axis) {
  const hsize_t dims[] = {(hsize_t)count, (hsize_t)result->config->dim};
  const hid_t scales[] = {time, axis};
  const struct {
    const char *name, *description;
    int rank;
    const double *rows;
  } series[] = {{"cost", "mean running cost of the agents", 1, result->cost},
                {"mean", "mean position of the agents", 2, result->mean},
                {"variance", "variance of the positions per axis", 2, result->variance},
                {"mass", "integral of the density", 1, result->mass},
                {"exit_flux", "agents leaving per unit of time", 1, result->exit_flux}};
  hid_t group;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, group = H5Gcreate2(f->file, "series", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(series); i++)
    if (series[i].rows)
      PetscCall(WriteRows(f, group, series[i].name, series[i].rank, dims, levels, series[i].rows,
                          scales, series[i].description));
  MFGCallHDF5(f, H5Gclose(group));
  if (result->samples > 0 && result->path && result->id)
    PetscCall(WriteParticles(f, result, count, levels, time, axis));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A column of the convergence table. */
static PetscErrorCode WriteColumn(MFGFile *f, hid_t group, hid_t scale, const char *name, int n,
                                  const void *column, PetscBool whole_numbers) {
  const hsize_t dims[] = {(hsize_t)n};
  hid_t dataset;

  PetscFunctionBeginUser;
  PetscCall(MFGFileArray(f, group, name, whole_numbers ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, 1,
                         dims, column, &dataset));
  MFGCallHDF5(f, H5DSattach_scale(dataset, scale, 0));
  PetscCall(MFGFileAttributeText(f, dataset, "units", strncmp(name, "seconds", 7) ? "1" : "s"));
  MFGCallHDF5(f, H5Dclose(dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultWriteConvergence(MFGFile *f, const MFGResult *result) {
  const MFGConvergenceEntry *entry = result->convergence;
  const int n = result->iterations;
  const PetscBool grid =
      (PetscBool)(result->config->fokker_planck.method == MFG_FOKKER_PLANCK_GRID);
  const struct {
    const char *name;
    size_t offset;
  } columns[] = {{"density_residual", offsetof(MFGConvergenceEntry, density_residual)},
                 {"value_residual", offsetof(MFGConvergenceEntry, value_residual)},
                 {"seconds_hjb", offsetof(MFGConvergenceEntry, seconds_hjb)},
                 {grid ? "seconds_fokker_planck" : "seconds_particles",
                  offsetof(MFGConvergenceEntry, seconds_particles)},
                 {grid ? "mass_defect" : "seconds_density",
                  grid ? offsetof(MFGConvergenceEntry, mass_defect)
                       : offsetof(MFGConvergenceEntry, seconds_density)},
                 {"seconds_other", offsetof(MFGConvergenceEntry, seconds_other)},
                 {"mass", offsetof(MFGConvergenceEntry, mass)},
                 {"minimum", offsetof(MFGConvergenceEntry, minimum)},
                 {"exploitability", offsetof(MFGConvergenceEntry, exploitability)}};
  const size_t written =
      PETSC_STATIC_ARRAY_LENGTH(columns) - (result->config->equilibrium.exploitability ? 0 : 1);
  hid_t group, scale;
  double *column;
  int64_t *whole;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, group = H5Gcreate2(f->file, "convergence", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  PetscCall(PetscMalloc2(n, &column, n, &whole));
  for (int i = 0; i < n; i++) whole[i] = entry[i].iteration;
  PetscCall(MFGFileScale(f, group, "iteration", H5T_NATIVE_INT64, (hsize_t)n, whole,
                         "outer iteration", &scale));
  for (size_t c = 0; c < written; c++) {
    for (int i = 0; i < n; i++)
      column[i] = *(const double *)((const char *)&entry[i] + columns[c].offset);
    PetscCall(WriteColumn(f, group, scale, columns[c].name, n, column, PETSC_FALSE));
  }
  for (int i = 0; i < n; i++) whole[i] = entry[i].newton_iterations;
  PetscCall(WriteColumn(f, group, scale, "newton_iterations", n, whole, PETSC_TRUE));
  for (int i = 0; i < n; i++) whole[i] = entry[i].krylov_iterations;
  PetscCall(WriteColumn(f, group, scale, "krylov_iterations", n, whole, PETSC_TRUE));
  for (int i = 0; i < n; i++) whole[i] = entry[i].fp_iterations;
  if (grid) PetscCall(WriteColumn(f, group, scale, "fp_iterations", n, whole, PETSC_TRUE));
  for (int i = 0; i < n; i++) whole[i] = entry[i].linear_sweeps;
  if (grid || result->config->equilibrium.method == MFG_OUTER_NEWTON)
    PetscCall(WriteColumn(f, group, scale, "linear_sweeps", n, whole, PETSC_TRUE));
  for (int i = 0; i < n; i++) whole[i] = entry[i].stage;
  if (n && entry[0].stage) PetscCall(WriteColumn(f, group, scale, "stage", n, whole, PETSC_TRUE));
  PetscCall(PetscFree2(column, whole));
  MFGCallHDF5(f, H5Dclose(scale));
  MFGCallHDF5(f, H5Gclose(group));
  PetscFunctionReturn(PETSC_SUCCESS);
}
