/* Reading HDF5 files that anybody may have made. Not collective. Nothing but the named file is
 * opened, no code of the file's choice runs, and a refusal says why, with the remedy. From the
 * first call on HDF5 prints no errors of its own. */
#pragma once

#include <hdf5.h>
#include <petscsys.h>

#define MFG_H5_PROBLEM 300

/* Opens a regular file read-only; closing it closes all that is open in it. Below 0: `problem` says
 * why, as in "cannot be read: No such file or directory". */
hid_t MFGH5Open(const char *path, char problem[MFG_H5_PROBLEM]);

/* Opens a dataset of numbers at a path in the file; dims[*rank] is its shape. Below 0: refused,
 * with the reason in `problem`: not there, behind a link to another file, its values in other
 * files, no numbers, a filter other than gzip, shuffle and checksums, chunks out of proportion. */
hid_t MFGH5Dataset(hid_t file, const char *name, int *rank, hsize_t dims[H5S_MAX_RANK],
                   char problem[MFG_H5_PROBLEM]);

/* The bytes that the values of a shape take as doubles in memory are in proportion to what the file
 * holds of the dataset: packing saves no more than this. */
PetscBool MFGH5HoldsEnough(hid_t file, hid_t dataset, int rank, const hsize_t dims[]);

/* A text attribute of fixed or variable length, cut to fit; empty when there is none. */
void MFGH5Text(hid_t object, const char *name, size_t size, char text[]);

/* An attribute of one finite number. */
PetscBool MFGH5Number(hid_t object, const char *name, double *value);
