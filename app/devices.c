/* What the backends of this program can do, how fast they are here, and which of them, and which
 * division of the agents, is predicted to be faster. */
#include "app/progress.h"
#include "app/run.h"
#include "solvers/decomposition.h"

#define TOLERANCE 1e-6 /* the default of density.tolerance */
#define BANDWIDTH 2.   /* of the kernel, in cells */
#define STEPS 100

static const int cells_along[MFG_MAX_DIM] = {1000, 128, 32};

/* A periodic unit box with `along` cells per axis and agents all over it. */
static MFGSweepLayout Layout(int dim, int along, int64_t agents, int ranks) {
  MFGSweepLayout l = {.whole = {.dim = dim},
                      .divisions = {1, 1, 1},
                      .agents = agents,
                      .steps = STEPS,
                      .deviation = 0.03};
  const double cells[MFG_MAX_DIM] = {BANDWIDTH, BANDWIDTH, BANDWIDTH};

  for (int k = 0; k < MFG_MAX_DIM; k++) {
    l.whole.cells[k] = l.whole.count[k] = k < dim ? along : 1;
    l.whole.upper[k] = 1;
    l.whole.spacing[k] = 1. / l.whole.cells[k];
    l.radius[k] = k < dim ? MFGDensityRadius(BANDWIDTH, TOLERANCE) : 0;
    for (int side = 0; side < 2; side++) l.whole.boundary[k][side] = MFG_BOUNDARY_PERIODIC;
  }
  (void)MFGGridDivide(ranks, dim, l.whole.cells, l.divisions);
  l.shape = MFGDensityShape(&l.whole, agents, TOLERANCE, cells, cells);
  return l;
}

/* The value equation of a dimension: us per cell and level of a cold sweep from a wave, all ranks
 * together, and of a Newton step by the bandwidth of the memory alone. */
static PetscErrorCode PrintValue(MPI_Comm comm, const MFGBackend *backend, int dim) {
  const MFGBackend *b = dim > 1 ? backend : MFGBackendOnHost(backend); /* as in a run */
  const MFGSweepLayout l = Layout(dim, cells_along[dim - 1], 1, 1);
  double seconds, least;
  MFGGrid grid;
  char floor[64] = "";

  PetscFunctionBeginUser;
  PetscCall(MFGGridCreate(comm, dim, l.whole.cells, l.whole.lower, l.whole.upper,
                          (const MFGBoundary(*)[2])l.whole.boundary, &grid));
  PetscCall(MFGHintsValue(&grid, b, &seconds));
  const double each = 1e6 / (double)MFGBlockCells(&grid.block);
  if (dim > 1) {
    PetscCall(MFGHintsValueFloor(&grid, b->memory, &least));
    snprintf(floor, sizeof floor, ", bandwidth alone %.5f a Newton step", each * least);
  }
  PetscCall(MFGSay(comm, "  HJB %dD, us per cell and level  %8.4f%s%s\n", dim, each * seconds,
                   floor, b == backend ? "" : " on the host"));
  PetscCall(MFGGridDestroy(&grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PrintCapabilities(MPI_Comm comm, const MFGBackend *b) {
  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm,
                   "backend %s: %s\n"
                   "  dimensions                      1 to %d\n"
                   "  positions of agents             %s\n"
                   "  memory                          %s\n"
                   "  sorts agents by cell            %s\n",
                   b->name, b->detail, b->dimensions, b->single ? "double, single" : "double",
                   b->memory->name, b->agents->sort ? "yes" : "no"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One line of agents in a dimension; *hints: those in double precision. */
static PetscErrorCode PrintAgents(MPI_Comm comm, const MFGBackend *b, int dim, int ranks,
                                  MFGHints *hints) {
  MFGSweepLayout l = Layout(dim, cells_along[dim - 1], (int64_t)100000 * ranks, ranks);
  double rate[2][2] = {{0}};
  char cells[64], single[2][32] = {"-", "-"};

  PetscFunctionBeginUser;
  for (int precision = 0; precision < 1 + b->single; precision++) {
    MFGHints h;
    l.single = (PetscBool)(precision == 1);
    PetscCall(MFGHintsMeasure(comm, b, &l, &h));
    if (!precision) *hints = h;
    rate[precision][0] = 1e-6 / h.agent_seconds;
    rate[precision][1] = 1e-6 / h.resident_seconds;
  }
  for (int i = 0; b->single && i < 2; i++)
    snprintf(single[i], sizeof single[i], "%.1f", rate[1][i]);
  MFGCellsText(dim, l.whole.cells, sizeof cells, cells);
  PetscCall(MFGSay(comm, "  %dD %-14s %12.1f %8s %12.1f %8s\n", dim, cells, rate[0][0], single[0],
                   rate[0][1], single[1]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PrintMachine(MPI_Comm comm, const MFGBackend *b, const MFGHints *h) {
  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm, "\nmeasured now\n"));
  PetscCall(MFGSay(comm, "  call overhead, us              %8.2f\n", 1e6 * h->call_seconds));
  PetscCall(MFGSay(comm, "  memory bandwidth, GB/s a rank  %8.2f\n", 1e-9 * h->memory_bandwidth));
  for (int dim = 1; dim <= PetscMin(2, b->dimensions); dim++) PetscCall(PrintValue(comm, b, dim));
  if (h->stage_bandwidth > 0)
    PetscCall(
        MFGSay(comm, "  copies to the host and back, GB/s %5.2f\n", 1e-9 * h->stage_bandwidth));
  PetscCall(MFGSay(comm,
                   "network between ranks, %s\n"
                   "  message latency, us            %8.2f\n"
                   "  swap bandwidth, GB/s           %8.2f\n"
                   "  sum bandwidth, GB/s            %8.2f\n",
                   h->network_stated ? "stated, not measured: there is one" : "measured now",
                   1e6 * h->message_seconds, 1e-9 * h->swap_bandwidth, 1e-9 * h->reduce_bandwidth));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One place of a table: ms per step of both divisions of the agents and the faster one, or
 * (cuda) of both backends with the better division on each. */
static void CrossoverText(const MFGSweepLayout *l, const double *m0, const MFGHints *cpu,
                          const MFGHints *cuda, size_t size, char text[]) {
  const MFGDecompositionModel m = MFGDecompositionChoose(l, m0, cpu);
  char domain[16] = "-";

  if (cuda) {
    const MFGDecompositionModel d = MFGDecompositionChoose(l, m0, cuda);
    const double host = m.seconds[m.choice], device = d.seconds[d.choice];
    snprintf(text, size, "%.3g / %.3g %s", 1e3 * host, 1e3 * device,
             device < host ? "cuda" : "cpu");
    return;
  }
  if (m.possible) snprintf(domain, sizeof domain, "%.3g", 1e3 * m.seconds[1]);
  snprintf(text, size, "%.3g / %s %s", 1e3 * m.seconds[0], domain, MFGDecompositionName(m.choice));
}

/* A table over cells and agents: of both divisions, or (cuda not NULL) of both backends. */
static PetscErrorCode PrintCrossover(MPI_Comm comm, int dim, int ranks, const MFGHints *hints,
                                     const MFGHints *cuda) {
  static const int along[MFG_MAX_DIM][3] = {{100, 1000, 10000}, {64, 256, 512}, {32, 64, 96}};
  static const int64_t agents[] = {10000, 100000, 1000000};

  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm, "  %dD on %d rank%s%s\n  cells          ", dim, ranks,
                   ranks > 1 ? "s" : "",
                   ranks > 1 && hints->network_stated ? ", stated network" : ""));
  for (int j = 0; j < 3; j++) PetscCall(MFGSay(comm, " %18lld agents", (long long)agents[j]));
  PetscCall(MFGSay(comm, "\n"));
  for (int i = 0; i < 3; i++) {
    MFGSweepLayout l = Layout(dim, along[dim - 1][i], 1, ranks);
    const int64_t count = MFGBlockCells(&l.whole);
    double *m0;
    char cells[64];
    PetscCall(PetscMalloc1(count, &m0));
    for (int64_t c = 0; c < count; c++) m0[c] = 1;
    MFGCellsText(dim, l.whole.cells, sizeof cells, cells);
    PetscCall(MFGSay(comm, "  %-15s", cells));
    for (int j = 0; j < 3; j++) {
      char text[64];
      l = Layout(dim, along[dim - 1][i], agents[j], ranks);
      CrossoverText(&l, m0, hints, cuda, sizeof text, text);
      PetscCall(MFGSay(comm, " %25s", text));
    }
    PetscCall(MFGSay(comm, "\n"));
    PetscCall(PetscFree(m0));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* hints: of agents in double precision, by dimension. */
static PetscErrorCode PrintBackend(MPI_Comm comm, const MFGBackend *b,
                                   MFGHints hints[MFG_MAX_DIM]) {
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(PrintCapabilities(comm, b));
  PetscCall(MFGSay(
      comm, "\nmillion agent-steps/s a rank, 100000 agents each, h = 2 cells, tolerance 1e-6\n"
            "                         whole grid             box of a rank\n"
            "     cells               double   single       double   single\n"));
  for (int dim = 1; dim <= b->dimensions; dim++)
    PetscCall(PrintAgents(comm, b, dim, size, &hints[dim - 1]));
  PetscCall(PrintMachine(comm, b, &hints[0]));
  PetscCall(MFGSay(comm,
                   "\npredicted crossover of parallel.decomposition: ms per step, replicated / "
                   "domain, and the faster\nof an even crowd, by the figures above; auto "
                   "measures the case at hand\n"));
  for (int dim = 2; dim <= b->dimensions; dim++) {
    PetscCall(PrintCrossover(comm, dim, size > 1 ? size : 2, &hints[dim - 1], NULL));
    if (size == 1) PetscCall(PrintCrossover(comm, dim, 8, &hints[dim - 1], NULL));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDevices(MPI_Comm comm, MFGExitCode *exit_code) {
  const MFGBackend *cpu, *cuda;
  MFGHints host[MFG_MAX_DIM], device[MFG_MAX_DIM];
  const char *why;
  PetscMPIInt size;

  PetscFunctionBeginUser;
  *exit_code = MFG_EXIT_SUCCESS;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGBackendGet(comm, "cpu", &cpu));
  PetscCall(MFGBackendFind(comm, &cuda, &why));
  PetscCall(MFGSay(comm, "%d rank%s\n\n", (int)size, size > 1 ? "s" : ""));
  PetscCall(PrintBackend(comm, cpu, host));
  PetscCall(MFGSay(comm, "\n"));
  if (!cuda) {
    PetscCall(MFGSay(comm,
                     "backend cuda: %s\n"
                     "crossover of backends: none to predict, cpu is the only one here and what "
                     "auto takes\n",
                     why));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PrintBackend(comm, cuda, device));
  PetscCall(MFGSay(comm, "\npredicted crossover of backends: ms per step, cpu / cuda, and the "
                         "faster, by the figures above\n"));
  for (int dim = 1; dim <= PetscMin(cpu->dimensions, cuda->dimensions); dim++)
    PetscCall(PrintCrossover(comm, dim, size, &host[dim - 1], &device[dim - 1]));
  PetscFunctionReturn(PETSC_SUCCESS);
}
