/* The input of a run: one table of keys makes the parser, the checks, the help and the provenance.
 */
#pragma once

#include <petscsys.h>

#include "solvers/continuation.h"
#include "solvers/model.h"
#include "solvers/particles.h"

/* A function of x, y, z, t: a formula, or a dataset of an HDF5 file. */
typedef struct {
  char *expression;     /* owned; NULL when a dataset is given */
  char *file, *dataset; /* owned; file is an absolute path */
  char *where;          /* owned; "case.yaml:14:3", for messages */
  char *key;            /* owned; "running_cost.potential" */
} MFGFormula;

/* Factors that end at 1. */
typedef struct {
  int count;
  double value[MFG_MAX_FACTORS];
} MFGFactors;

typedef struct {
  char *name;
  char *expression;
  double value;
} MFGConstant;

typedef struct {
  MFGFormula potential; /* expression NULL and file NULL: none */
  MFGCoupling coupling;
  struct {
    double strength, factor;
  } mean;
} MFGCostConfig;

/* Field names are the keys of the input file. */
typedef struct {
  char *path;    /* the file it was read from */
  char *title;   /* metadata.title, or the file's name */
  char *text;    /* the effective input as YAML, defaults included; runs again to the same bits */
  char *core;    /* the part of text that decides the result: without output, checkpoint, metadata,
                    parallel and backend */
  char hash[17]; /* of core: hexadecimal */
  int dim;
  int constant_count;
  MFGConstant *constants;
  struct {
    double lower[MFG_MAX_DIM], upper[MFG_MAX_DIM];
    int cells[MFG_MAX_DIM];
    MFGBoundary boundary[MFG_MAX_DIM][2];
  } domain;
  struct {
    double horizon;
    int steps;
  } time;
  struct {
    double sigma;
    PetscBool has_drift;
    MFGFormula drift[MFG_MAX_DIM];
  } dynamics;
  MFGHamiltonian hamiltonian;
  MFGCostConfig running_cost, terminal_cost;
  struct {
    int64_t count;
    MFGFormula initial_density;
    MFGSampling sampling;
    uint64_t seed;
    PetscBool single; /* precision: single */
  } agents;
  struct {
    MFGFokkerPlanckMethod method;
  } fokker_planck;
  struct {
    MFGDensityMethod method;
    MFGBandwidthRule rule; /* FIXED: bandwidth holds h */
    double bandwidth[MFG_MAX_DIM];
    double tolerance;
  } density;
  struct {
    MFGOuterMethod method;
    double tolerance, damping;
    int max_iterations, memory, exploitability;
    PetscBool fresh; /* random_numbers: fresh */
    char *initial;   /* m0, or the path of a result file */
    MFGFactors continuation, continuation_viscosity;
  } equilibrium;
  struct {
    int decomposition; /* 0 auto, else 1 + MFGDecomposition */
  } parallel;
  char *backend;
  struct {
    char *directory;
    int every;
    int64_t particles;
    PetscBool control;
  } output;
  struct {
    int every_iterations, keep;
    double every_seconds;
  } checkpoint;
  int petsc_count;
  char **petsc_options; /* [petsc_count] "-hjb_ksp_type bcgs" */
} MFGConfig;

/* Where messages of all errors go; the caller prints it. */
typedef struct {
  int count;
  char *text; /* owned; one line an error, "case.yaml:14:3: error: ...; did you mean ...?" */
} MFGConfigErrors;

/* Collective on comm: rank 0 reads, all ranks get the same struct or the same errors. `sets` are
 * "path=value" of --set. Finds every error in one pass; errors->count > 0 means *config is NULL. */
PetscErrorCode MFGConfigRead(MPI_Comm comm, const char *path, int set_count,
                             const char *const sets[], MFGConfig **config, MFGConfigErrors *errors);
PetscErrorCode MFGConfigDestroy(MFGConfig **config);
PetscErrorCode MFGConfigErrorsDestroy(MFGConfigErrors *errors);

/* Not collective. Adds the line "place: error: message"; control characters of hostile input are
 * replaced. Past MFG_MAX_ERRORS lines only the count grows. */
#define MFG_MAX_ERRORS 100
PetscErrorCode MFGConfigErrorsAdd(MFGConfigErrors *errors, const char *place, const char *format,
                                  ...) PETSC_ATTRIBUTE_FORMAT(3, 4);

/* Collective on comm. Every rank gets the errors of rank 0 in place of its own. */
PetscErrorCode MFGConfigErrorsShare(MPI_Comm comm, MFGConfigErrors *errors);

/* Not collective. Adds an error for every key that has another value in `core`, which is that of a
 * file `origin`, than in the core of the config. */
PetscErrorCode MFGConfigCompare(const MFGConfig *config, const char *core, const char *origin,
                                MFGConfigErrors *errors);

/* Prints the keys from the table: all of them (path NULL), a group, or one with its documentation.
 * *found is false when there is no such path; then the nearest names are printed. */
PetscErrorCode MFGConfigHelp(FILE *stream, const char *path, PetscBool *found);

/* The nearest of n names to `word` by edit distance, or NULL when none is near. */
const char *MFGNearestName(const char *word, int n, const char *const names[]);
