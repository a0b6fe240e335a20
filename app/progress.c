#include "app/progress.h"

#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_SECONDS 0.1

PetscErrorCode MFGSay(MPI_Comm comm, const char *format, ...) {
  PetscMPIInt rank;
  va_list arguments;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank == 0) {
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)fflush(stdout);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A launcher stands between the ranks and the terminal and hides it: NASHFLOW_PROGRESS=bar asks for
 * the bar all the same, NASHFLOW_PROGRESS=rows forbids it. */
static PetscBool WantsBar(void) {
  const char *wish = getenv("NASHFLOW_PROGRESS");
  if (wish && !strcmp(wish, "bar")) return PETSC_TRUE;
  if (wish && !strcmp(wish, "rows")) return PETSC_FALSE;
  return (PetscBool)isatty(STDOUT_FILENO);
}

PetscErrorCode MFGProgressCreate(MPI_Comm comm, const MFGEquilibriumSpec *spec, MFGProgress *p) {
  PetscMPIInt rank;
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCall(PetscTime(&now));
  *p = (MFGProgress){.speak = (PetscBool)(rank == 0),
                     .terminal = (PetscBool)(rank == 0 && WantsBar()),
                     .started = now,
                     .iteration_started = now,
                     .tolerance = spec->tolerance,
                     .exploitability = (PetscBool)(spec->exploitability > 0),
                     .grid = (PetscBool)(spec->fokker_planck == MFG_FOKKER_PLANCK_GRID)};
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProgressDestroy(MFGProgress *p) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(p->table));
  PetscCall(PetscFree(p->history));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Adds an entry, and what it counts. */
static PetscErrorCode Append(MFGProgress *p, const MFGConvergenceEntry *entry) {
  PetscFunctionBeginUser;
  if (p->count == p->capacity) {
    p->capacity = 2 * p->capacity + 16;
    PetscCall(PetscRealloc(p->capacity * sizeof *p->history, &p->history));
  }
  p->history[p->count++] = *entry;
  if (!entry->on_grid) {
    p->agent_maps++;
    p->agent_seconds += entry->seconds_particles + entry->seconds_density;
  }
  p->newton += entry->newton_iterations;
  p->krylov += entry->krylov_iterations;
  p->fp_krylov += entry->fp_iterations;
  p->products += entry->linear_sweeps;
  p->fp_defect = PetscMax(p->fp_defect, entry->mass_defect);
  p->seconds[0] += entry->seconds_hjb;
  p->seconds[1] += entry->seconds_particles;
  p->seconds[2] += entry->seconds_density;
  p->seconds[3] += entry->seconds_other;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Remember(MFGProgress *p, const MFGIteration *it) {
  const MFGConvergenceEntry entry = {.iteration = it->iteration,
                                     .stage = it->stage,
                                     .on_grid = it->on_grid,
                                     .density_residual = it->density_residual,
                                     .value_residual = it->value_residual,
                                     .newton_iterations = it->newton,
                                     .krylov_iterations = it->krylov,
                                     .exploitability = it->exploitability,
                                     .linear_sweeps = it->products,
                                     .fp_iterations = it->fp_krylov,
                                     .mass_defect = it->fp_defect,
                                     .seconds_hjb = it->seconds_hjb,
                                     .seconds_particles = it->seconds_agents,
                                     .seconds_density = it->seconds_density,
                                     .seconds_other = it->seconds_other,
                                     .mass = it->mass,
                                     .minimum = it->minimum};

  PetscFunctionBeginUser;
  PetscCall(Append(p, &entry));
  p->traffic = it->bytes;
  p->imbalance = it->imbalance;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An entry as the numbers of a row of the table, and back. */
#define COLUMNS 17
static void Pack(const MFGConvergenceEntry *e, double row[COLUMNS]) {
  const double packed[COLUMNS] = {e->iteration,
                                  e->stage,
                                  e->on_grid,
                                  e->density_residual,
                                  e->value_residual,
                                  (double)e->newton_iterations,
                                  (double)e->krylov_iterations,
                                  e->exploitability,
                                  (double)e->linear_sweeps,
                                  (double)e->fp_iterations,
                                  e->mass_defect,
                                  e->seconds_hjb,
                                  e->seconds_particles,
                                  e->seconds_density,
                                  e->seconds_other,
                                  e->mass,
                                  e->minimum};
  memcpy(row, packed, sizeof packed);
}

static int Whole(double v) {
  return v >= 0 && v <= INT_MAX ? (int)v : 0;
}

static MFGConvergenceEntry Unpack(const double row[COLUMNS]) {
  return (MFGConvergenceEntry){.iteration = Whole(row[0]),
                               .stage = Whole(row[1]),
                               .on_grid = (PetscBool)(row[2] != 0),
                               .density_residual = row[3],
                               .value_residual = row[4],
                               .newton_iterations = Whole(row[5]),
                               .krylov_iterations = Whole(row[6]),
                               .exploitability = row[7],
                               .linear_sweeps = Whole(row[8]),
                               .fp_iterations = Whole(row[9]),
                               .mass_defect = row[10],
                               .seconds_hjb = row[11],
                               .seconds_particles = row[12],
                               .seconds_density = row[13],
                               .seconds_other = row[14],
                               .mass = row[15],
                               .minimum = row[16]};
}

static void Numbers(MFGProgress *p, int most, MFGState *state) {
  MFGStateInteger(state, "history_entries", p->count, 0, most);
  MFGStateReals(state, "seconds_run", 1, &p->before);
}

static PetscErrorCode Table(MFGProgress *p, MFGState *state) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(p->table));
  PetscCall(PetscMalloc1((size_t)p->count * COLUMNS, &p->table));
  MFGStateReals(state, "history", (int64_t)p->count * COLUMNS, p->table);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProgressState(MFGProgress *p, MFGState *state) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  p->before = now - p->started;
  Numbers(p, INT_MAX, state);
  PetscCall(Table(p, state));
  for (int i = 0; i < p->count; i++) Pack(&p->history[i], p->table + (size_t)i * COLUMNS);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProgressRestore(MFGProgress *p, int most, MFGRestoreFunction restore,
                                  void *context) {
  MFGState state = {0};

  PetscFunctionBeginUser;
  Numbers(p, most, &state);
  PetscCall(restore(context, &state));
  state.count = 0;
  PetscCall(Table(p, &state));
  PetscCall(restore(context, &state));
  const int entries = p->count;
  p->count = 0;
  for (int i = 0; i < entries; i++) {
    const MFGConvergenceEntry entry = Unpack(p->table + (size_t)i * COLUMNS);
    PetscCall(Append(p, &entry));
  }
  p->started -= p->before;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void PrintHeader(const MFGProgress *p) {
  printf("iter   density     value%s%s          mass      min m newton krylov %s   hjb s %8s  "
         "total s\n",
         p->grid ? "" : "     floor", p->exploitability ? "  exploitab." : "",
         p->grid ? "linear fp krylov   defect" : "imbal", p->grid ? "fp s" : "agents s");
}

static void PrintRow(const MFGProgress *p, const MFGIteration *it, double total) {
  printf("%4d  %8.2e  %8.2e", it->iteration, it->density_residual, it->value_residual);
  if (!p->grid) printf("  %7.1e", it->floor);
  if (p->exploitability) printf("  %10.3e", it->exploitability);
  printf("  %12.10f %10.2e %6d %6d ", it->mass, it->minimum, (int)it->newton, (int)it->krylov);
  if (p->grid)
    printf("%6d %9d  %7.1e", (int)it->products, (int)it->fp_krylov, it->fp_defect);
  else
    printf("%5.2f", it->imbalance);
  printf(" %7.2f  %7.2f %8.2f\n", it->seconds_hjb, it->seconds_agents + it->seconds_density, total);
}

PetscErrorCode MFGProgressIteration(void *context, const MFGIteration *it) {
  MFGProgress *p = (MFGProgress *)context;
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCall(Remember(p, it));
  PetscCall(PetscTime(&now));
  p->iteration_seconds = now - p->iteration_started;
  p->iteration_started = now;
  if (!p->speak) PetscFunctionReturn(PETSC_SUCCESS);
  if (p->terminal) printf("\r%*s\r", BAR_WIDTH + 30, "");
  if (!p->headed) PrintHeader(p);
  p->headed = PETSC_TRUE;
  PrintRow(p, it, now - p->started);
  fflush(stdout);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Iterations still to go, if the residual goes on falling at the mean rate so far; 0 when unknown.
 */
static double IterationsLeft(const MFGProgress *p) {
  const int maps = p->count - p->stage_start;
  if (maps < 4) return 0;
  const double now = p->history[p->count - 1].density_residual;
  const double rate = log(p->history[p->stage_start].density_residual / now) / (maps - 1);
  return rate > 0 && now > p->tolerance ? log(now / p->tolerance) / rate : 0;
}

PetscErrorCode MFGProgressStage(void *context, const MFGStage *stage, const MFGOutcome *outcome) {
  MFGProgress *p = (MFGProgress *)context;

  PetscFunctionBeginUser;
  for (p->stage_start = p->count;
       p->stage_start > 0 && p->history[p->stage_start - 1].stage == stage->number;)
    p->stage_start--;
  p->tolerance = stage->tolerance;
  if (!p->speak) PetscFunctionReturn(PETSC_SUCCESS);
  if (p->terminal) printf("\r%*s\r", BAR_WIDTH + 30, "");
  if (outcome)
    printf("%s\n", outcome->message);
  else
    printf("stage %d of %d: %s, coupling x %g, nu x %g, to %.1e\n", stage->number, stage->count,
           stage->on_grid ? "density on the grid" : "agents", stage->coupling, stage->viscosity,
           stage->tolerance);
  fflush(stdout);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProgressWithin(void *context, MFGPhase phase, double fraction) {
  MFGProgress *p = (MFGProgress *)context;
  PetscLogDouble now;
  char bar[BAR_WIDTH + 1], eta[32] = "";
  const char *const phases[] = {
      [MFG_PHASE_HJB] = "HJB", [MFG_PHASE_AGENTS] = "agents", [MFG_PHASE_FOKKER_PLANCK] = "FP"};

  PetscFunctionBeginUser;
  if (!p->terminal) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscTime(&now));
  if (now - p->drawn < REDRAW_SECONDS) PetscFunctionReturn(PETSC_SUCCESS);
  p->drawn = now;
  const int full = (int)(fraction * BAR_WIDTH);
  for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < full ? '#' : '.';
  bar[BAR_WIDTH] = '\0';
  if (p->count) {
    const double left =
        p->iteration_seconds * (1 + IterationsLeft(p)) - (now - p->iteration_started);
    snprintf(eta, sizeof eta, "ETA %.0f s", PetscMax(left, 0));
  }
  printf("\r%4d  %-6s [%s] %3.0f%%  %-12s", p->count + 1, phases[phase], bar, 100 * fraction, eta);
  fflush(stdout);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProgressSummary(const MFGProgress *p, int64_t agent_steps, double seconds_output,
                                  int64_t bytes) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  if (!p->speak) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscTime(&now));
  const double total = now - p->started;
  const char *names[] = {"HJB", p->grid ? "Fokker-Planck" : "agents", "density", "coupling, outer"};
  printf("\nphase                seconds   share\n");
  for (int k = 0; k < 4; k++)
    if (k != 2 || !p->grid)
      printf("  %-16s %9.2f   %4.0f%%\n", names[k], p->seconds[k], 100 * p->seconds[k] / total);
  printf("  %-16s %9.2f   %4.0f%%\n", "output", seconds_output, 100 * seconds_output / total);
  printf("  %-16s %9.2f\n", "total", total);
  printf("%lld Newton and %lld Krylov iterations, ", (long long)p->newton, (long long)p->krylov);
  if (p->products) printf("%lld linearised sweeps, ", (long long)p->products);
  if (p->grid)
    printf("%lld of the Fokker-Planck equation, whose mass was scaled by 1 +- %.1e at the most, ",
           (long long)p->fp_krylov, p->fp_defect);
  else
    printf("%.3g agent-steps/s, ",
           p->agent_seconds > 0 ? p->agent_maps * (double)agent_steps / p->agent_seconds : 0);
  printf("%.1f MB written\n", bytes / 1e6);
  fflush(stdout);
  PetscFunctionReturn(PETSC_SUCCESS);
}
