#include "app/fields.h"

#include <math.h>
#include <stdio.h>

#include "app/field_source.h"

typedef enum { MFG_FIELD_STEADY, MFG_FIELD_FLOW, MFG_FIELD_DENSITY } FieldKind;

/* One function on the grid; on rank 0 it has a source, elsewhere only the number of levels. */
typedef struct {
  const MFGConfig *config;
  const MFGFormula *formula;
  FieldKind kind;
  MFGExpression expression; /* owned, or NULL */
  MFGDataset dataset;       /* owned, or NULL */
  double *x[MFG_MAX_DIM];   /* owned; coordinates of the cells of one line */
  int levels;               /* 0: no function */
} Source;

static PetscBool IsGiven(const MFGFormula *f) {
  return (PetscBool)(f->expression || f->file);
}

static int64_t WholeCells(const MFGConfig *c) {
  int64_t cells = 1;
  for (int k = 0; k < c->dim; k++) cells *= c->domain.cells[k];
  return cells;
}

/* The same arithmetic as MFGCellCenter. */
static double Center(const MFGConfig *c, int axis, int i) {
  const double spacing = (c->domain.upper[axis] - c->domain.lower[axis]) / c->domain.cells[axis];
  return c->domain.lower[axis] + (i + 0.5) * spacing;
}

static double LevelTime(const MFGConfig *c, int level) {
  return level * (c->time.horizon / c->time.steps);
}

static PetscErrorCode SourceOpen(Source *s, MFGConfigErrors *errors) {
  const MFGConfig *c = s->config;
  const PetscBool time_allowed = (PetscBool)(s->kind == MFG_FIELD_FLOW);
  MFGExpressionError error;

  PetscFunctionBeginUser;
  if (s->formula->file) {
    PetscCall(MFGDatasetOpen(c, s->formula, time_allowed, &s->dataset, errors));
    if (s->dataset) s->levels = MFGDatasetLevels(s->dataset);
  } else if (s->formula->expression) {
    PetscCall(MFGExpressionCreate(s->formula->expression, c->dim, time_allowed, c->constant_count,
                                  c->constants, &s->expression, &error));
    PetscCheck(s->expression, PETSC_COMM_SELF, PETSC_ERR_PLIB, "%s: %s", s->formula->key,
               error.message);
    s->levels = MFGExpressionUsesTime(s->expression) ? c->time.steps + 1 : 1;
    for (int k = 0; k < c->dim; k++) PetscCall(PetscMalloc1(c->domain.cells[0], &s->x[k]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SourceClose(Source *s) {
  PetscFunctionBeginUser;
  PetscCall(MFGExpressionDestroy(&s->expression));
  PetscCall(MFGDatasetClose(&s->dataset));
  for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(PetscFree(s->x[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Line by line, so that coordinates need no memory of the grid's size. */
static PetscErrorCode EvaluateFormula(Source *s, int level, double *values) {
  const MFGConfig *c = s->config;
  const int nx = c->domain.cells[0], ny = c->dim > 1 ? c->domain.cells[1] : 1;
  const int nz = c->dim > 2 ? c->domain.cells[2] : 1;
  const double *const x[3] = {s->x[0], s->x[1], s->x[2]};

  PetscFunctionBeginUser;
  for (int i = 0; i < nx; i++) s->x[0][i] = Center(c, 0, i);
  for (int k = 0; k < nz; k++) {
    for (int i = 0; c->dim > 2 && i < nx; i++) s->x[2][i] = Center(c, 2, k);
    for (int j = 0; j < ny; j++, values += nx) {
      for (int i = 0; c->dim > 1 && i < nx; i++) s->x[1][i] = Center(c, 1, j);
      PetscCall(MFGExpressionEvaluate(s->expression, nx, x, LevelTime(c, level), values));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RefuseValue(const Source *s, int level, int64_t cell, double value,
                                  MFGConfigErrors *errors) {
  const MFGConfig *c = s->config;
  static const char *const names[] = {"x", "(x, y)", "(x, y, z)"};
  char point[120], when[80] = "";
  int used = snprintf(point, sizeof point, "%s = %s", names[c->dim - 1], c->dim > 1 ? "(" : "");
  int64_t rest = cell;

  PetscFunctionBeginUser;
  for (int k = 0; k < c->dim; rest /= c->domain.cells[k++])
    used += snprintf(point + used, sizeof point - used, "%s%g", k ? ", " : "",
                     Center(c, k, (int)(rest % c->domain.cells[k])));
  snprintf(point + used, sizeof point - used, "%s", c->dim > 1 ? ")" : "");
  if (s->levels > 1)
    snprintf(when, sizeof when, ", time level %d (t = %g)", level, LevelTime(c, level));
  if (isfinite(value))
    PetscCall(MFGConfigErrorsAdd(errors, s->formula->where,
                                 "%s is %g at %s: a density cannot be negative; use max(0, ...) or "
                                 "change it",
                                 s->formula->key, value, point));
  else
    PetscCall(MFGConfigErrorsAdd(errors, s->formula->where,
                                 "%s is %s at %s%s; change it so that it is finite at every cell "
                                 "centre",
                                 s->formula->key, isnan(value) ? "nan" : "infinite", point, when));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0: one level, checked. The first bad cell is reported. */
static PetscErrorCode SourceLevel(Source *s, int level, double *values, PetscBool *good,
                                  MFGConfigErrors *errors) {
  const int64_t cells = WholeCells(s->config);

  PetscFunctionBeginUser;
  *good = PETSC_TRUE;
  if (s->dataset)
    PetscCall(MFGDatasetRead(s->dataset, level, values, good, errors));
  else
    PetscCall(EvaluateFormula(s, level, values));
  for (int64_t i = 0; *good && i < cells; i++) {
    if (isfinite(values[i]) && (s->kind != MFG_FIELD_DENSITY || values[i] >= 0)) continue;
    PetscCall(RefuseValue(s, level, i, values[i], errors));
    *good = PETSC_FALSE;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* m0 scaled to mass 1. Divided by the largest value first: its sum must not overflow. */
static PetscErrorCode Normalize(const Source *s, double *values, PetscBool *good,
                                MFGConfigErrors *errors) {
  const MFGConfig *c = s->config;
  const int64_t cells = WholeCells(c);
  double largest = 0, sum = 0, volume = 1;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < cells; i++) largest = fmax(largest, values[i]);
  *good = (PetscBool)(largest > 0);
  if (!*good) {
    PetscCall(MFGConfigErrorsAdd(errors, s->formula->where,
                                 "%s is 0 at every cell centre; change it so that there are agents "
                                 "on the domain, or refine domain.cells",
                                 s->formula->key));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (int64_t i = 0; i < cells; i++) sum += values[i] /= largest;
  for (int k = 0; k < c->dim; k++)
    volume *= (c->domain.upper[k] - c->domain.lower[k]) / c->domain.cells[k];
  for (int64_t i = 0; i < cells; i++) values[i] /= sum * volume;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Values of one level to all ranks; *good is the same on all. */
static PetscErrorCode ShareLevel(MPI_Comm world, int64_t cells, double *values, PetscBool *good) {
  int flag = *good;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Bcast(&flag, 1, MPI_INT, 0, world));
  *good = (PetscBool)flag;
  if (flag) PetscCallMPI(MPI_Bcast(values, (PetscMPIInt)cells, MPI_DOUBLE, 0, world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Opens n sources on rank 0; *levels of the longest goes to all ranks, or -1 after an error. */
static PetscErrorCode OpenAll(MPI_Comm world, int n, Source sources[], int *levels,
                              MFGConfigErrors *errors) {
  PetscMPIInt rank;
  const int before = errors->count;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(world, &rank));
  *levels = 0;
  for (int k = 0; !rank && k < n; k++) {
    PetscCall(SourceOpen(&sources[k], errors));
    *levels = PetscMax(*levels, sources[k].levels);
  }
  if (errors->count > before) *levels = -1;
  PetscCallMPI(MPI_Bcast(levels, 1, MPI_INT, 0, world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* values[levels][n][owned] */
static PetscErrorCode Tabulate(const MFGGrid *grid, MFGWatch *watch, int n, Source sources[],
                               int levels, double *values, PetscBool *good,
                               MFGConfigErrors *errors) {
  const int64_t cells = MFGBlockCells(&grid->block), owned = MFGBlockOwned(&grid->block);
  PetscMPIInt rank;
  double *whole;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  PetscCall(PetscMalloc1(cells, &whole));
  for (int level = 0; *good && level < levels; level++)
    for (int k = 0; *good && k < n; k++, values += owned) {
      Source *s = &sources[k];
      if (!rank && s->levels)
        PetscCall(SourceLevel(s, s->levels > 1 ? level : 0, whole, good, errors));
      else
        PetscCall(PetscArrayzero(whole, cells));
      PetscCall(ShareLevel(grid->world, cells, whole, good));
      if (*good) PetscCall(MFGGridRestrict(grid, 1, whole, values));
      PetscCall(MFGWatchSetup(watch));
    }
  PetscCall(PetscFree(whole));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode TabulateAll(const MFGGrid *grid, const MFGConfig *config, MFGWatch *watch,
                                  int n, const MFGFormula formula[], PetscBool flow, int *levels,
                                  double **values, MFGConfigErrors *errors) {
  Source sources[MFG_MAX_DIM] = {0};
  PetscBool good = PETSC_TRUE;

  PetscFunctionBeginUser;
  *values = NULL;
  for (int k = 0; k < n; k++)
    sources[k] = (Source){
        .config = config, .formula = &formula[k], .kind = flow ? MFG_FIELD_FLOW : MFG_FIELD_STEADY};
  PetscCall(OpenAll(grid->world, n, sources, levels, errors));
  if (*levels > 0) {
    PetscCall(PetscMalloc1((size_t)*levels * n * MFGBlockOwned(&grid->block), values));
    PetscCall(Tabulate(grid, watch, n, sources, *levels, *values, &good, errors));
  }
  if (*levels < 0 || !good) {
    *levels = 0;
    PetscCall(PetscFree(*values));
    PetscCall(MFGConfigErrorsShare(grid->world, errors));
  }
  for (int k = 0; k < n; k++) PetscCall(SourceClose(&sources[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFieldTabulate(const MFGGrid *grid, const MFGConfig *config, MFGWatch *watch,
                                const MFGFormula *formula, int *levels, double **values,
                                MFGConfigErrors *errors) {
  /* The terminal cost is the one function of this kind that has no time. */
  const PetscBool flow = (PetscBool)(formula != &config->terminal_cost.potential);

  PetscFunctionBeginUser;
  PetscCall(TabulateAll(grid, config, watch, 1, formula, flow, levels, values, errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFieldTabulateVector(const MFGGrid *grid, const MFGConfig *config, MFGWatch *watch,
                                      const MFGFormula formula[], int *levels, double **values,
                                      MFGConfigErrors *errors) {
  PetscFunctionBeginUser;
  PetscCall(
      TabulateAll(grid, config, watch, config->dim, formula, PETSC_TRUE, levels, values, errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode InitialDensity(MPI_Comm comm, const MFGConfig *config, double *values,
                                     PetscBool *good, MFGConfigErrors *errors) {
  Source s = {
      .config = config, .formula = &config->agents.initial_density, .kind = MFG_FIELD_DENSITY};
  PetscMPIInt rank;
  int levels;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCall(OpenAll(comm, 1, &s, &levels, errors));
  *good = (PetscBool)(levels > 0);
  if (*good && !rank) PetscCall(SourceLevel(&s, 0, values, good, errors));
  if (*good && !rank) PetscCall(Normalize(&s, values, good, errors));
  PetscCall(ShareLevel(comm, WholeCells(config), values, good));
  PetscCall(SourceClose(&s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFieldInitialDensity(const MFGGrid *grid, const MFGConfig *config,
                                      double **density, MFGConfigErrors *errors) {
  PetscBool good;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(WholeCells(config), density));
  PetscCall(InitialDensity(grid->world, config, *density, &good, errors));
  if (!good) {
    PetscCall(PetscFree(*density));
    PetscCall(MFGConfigErrorsShare(grid->world, errors));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0: all levels of one function, one after the other in the same memory. */
static PetscErrorCode CheckOne(const MFGConfig *config, const MFGFormula *formula, FieldKind kind,
                               double *values, MFGConfigErrors *errors) {
  Source s = {.config = config, .formula = formula, .kind = kind};
  PetscBool good = PETSC_TRUE;

  PetscFunctionBeginUser;
  PetscCall(SourceOpen(&s, errors));
  for (int level = 0; good && level < s.levels; level++)
    PetscCall(SourceLevel(&s, level, values, &good, errors));
  if (good && s.levels && kind == MFG_FIELD_DENSITY)
    PetscCall(Normalize(&s, values, &good, errors));
  PetscCall(SourceClose(&s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFieldCheck(MPI_Comm comm, const MFGConfig *config, MFGConfigErrors *errors) {
  PetscMPIInt rank;
  double *values;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) {
    PetscCall(PetscMalloc1(WholeCells(config), &values));
    for (int k = 0; k < config->dim; k++)
      if (IsGiven(&config->dynamics.drift[k]))
        PetscCall(CheckOne(config, &config->dynamics.drift[k], MFG_FIELD_FLOW, values, errors));
    PetscCall(CheckOne(config, &config->running_cost.potential, MFG_FIELD_FLOW, values, errors));
    PetscCall(CheckOne(config, &config->terminal_cost.potential, MFG_FIELD_STEADY, values, errors));
    PetscCall(CheckOne(config, &config->agents.initial_density, MFG_FIELD_DENSITY, values, errors));
    PetscCall(PetscFree(values));
  }
  PetscCall(MFGConfigErrorsShare(comm, errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}
