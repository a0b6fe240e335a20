#include "app/schema.h"

#include <stdio.h>

#define AT(field) .offset = offsetof(MFGConfig, field)
#define NOWHERE .offset = MFG_KEY_NOWHERE
#define FROM(a, b) .low = (a), .high = (b)
#define ABOVE(a, b) .low = (a), .high = (b), .above = PETSC_TRUE
#define ANY FROM(-PETSC_MAX_REAL, PETSC_MAX_REAL)
#define RESERVED(name, instead, text)                                                              \
  { .path = name, .kind = MFG_KEY_RESERVED, NOWHERE, .choices = instead, .doc = text }

/* Both costs have the same keys; `name` is the section, `field` the one of MFGConfig. */
#define COST(name, field, time_allowed, symbol)                                                    \
  {.path = name ".potential",                                                                      \
   .kind = MFG_KEY_FORMULA,                                                                        \
   .uses_time = time_allowed,                                                                      \
   .by_default = "\"0\"",                                                                          \
   AT(field.potential),                                                                            \
   .doc = "The part of the " symbol " that does not depend on the density."},                      \
      {.path = name ".coupling.type",                                                              \
       .kind = MFG_KEY_CHOICE,                                                                     \
       .choices = "none|power|log",                                                                \
       .by_default = "none",                                                                       \
       AT(field.coupling.type),                                                                    \
       .doc = "Local dependence on the density: power strength m^exponent, log strength log m."},  \
      {.path = name ".coupling.strength",                                                          \
       .kind = MFG_KEY_REAL,                                                                       \
       ANY,                                                                                        \
       .by_default = "1",                                                                          \
       AT(field.coupling.strength),                                                                \
       .doc = "Above 0 the agents avoid the crowd, below 0 they seek it."},                        \
      {.path = name ".coupling.exponent",                                                          \
       .kind = MFG_KEY_REAL,                                                                       \
       ANY,                                                                                        \
       .by_default = "1",                                                                          \
       AT(field.coupling.exponent),                                                                \
       .doc = "Exponent of the power coupling."},                                                  \
      {.path = name ".nonlocal.kernel",                                                            \
       .kind = MFG_KEY_CHOICE,                                                                     \
       .choices = "none",                                                                          \
       .later = "gaussian|cosine",                                                                 \
       .by_default = "none",                                                                       \
       NOWHERE,                                                                                    \
       .doc = "Dependence on the density by a convolution."},                                      \
      {.path = name ".nonlocal.strength",                                                          \
       .kind = MFG_KEY_REAL,                                                                       \
       ANY,                                                                                        \
       .by_default = "0",                                                                          \
       NOWHERE,                                                                                    \
       .doc = "Factor of the convolution."},                                                       \
      {.path = name ".nonlocal.width",                                                             \
       .kind = MFG_KEY_REAL,                                                                       \
       ABOVE(0, PETSC_MAX_REAL),                                                                   \
       .unit = "length",                                                                           \
       .by_default = "0.1",                                                                        \
       NOWHERE,                                                                                    \
       .doc = "Standard deviation of the kernel."},                                                \
      {.path = name ".mean.strength",                                                              \
       .kind = MFG_KEY_REAL,                                                                       \
       ANY,                                                                                        \
       .by_default = "0",                                                                          \
       AT(field.mean.strength),                                                                    \
       .doc = "Attraction to the mean mu of the crowd, strength/2 |x - factor mu|^2; not on "      \
              "periodic axes."},                                                                   \
      {.path = name ".mean.factor",                                                                \
       .kind = MFG_KEY_REAL,                                                                       \
       ANY,                                                                                        \
       .by_default = "1",                                                                          \
       AT(field.mean.factor),                                                                      \
       .doc = "Factor of the mean in the attraction."},                                            \
      RESERVED(name ".hard_cap", "take it out; a steep power coupling bounds the density softly",  \
               "Upper bound of the density.")

static const MFGKey schema[] = {
    {.path = "metadata",
     .kind = MFG_KEY_FREE,
     .by_default = "{}",
     NOWHERE,
     .doc = "Free form; never an error. metadata.title names the run in the log and the result."},
    {.path = "constants",
     .kind = MFG_KEY_CONSTANTS,
     .by_default = "{}",
     NOWHERE,
     .doc = "Names for all formulas: numbers, or formulas that use the constants above them."},
    {.path = "domain.lower",
     .kind = MFG_KEY_REALS,
     .unit = "length",
     ANY,
     AT(domain.lower),
     .doc = "Lower end of each axis; the list's length is the number of axes, 1, 2 or 3."},
    {.path = "domain.upper",
     .kind = MFG_KEY_REALS,
     .unit = "length",
     ANY,
     AT(domain.upper),
     .doc = "Upper end of each axis."},
    {.path = "domain.cells",
     .kind = MFG_KEY_INTEGERS,
     FROM(3, 1e8),
     AT(domain.cells),
     .doc = "Cells of the grid per axis."},
    {.path = "domain.boundary",
     .kind = MFG_KEY_BOUNDARY,
     .choices = "periodic|noflux",
     .later = "exit",
     .by_default = "noflux",
     AT(domain.boundary),
     .doc = "Per axis, or [low, high] per axis; one word stands for all axes. noflux reflects."},
    RESERVED("domain.obstacles", "take it out; a high potential keeps agents away",
             "Where agents cannot go."),
    RESERVED("domain.exit_cost", "take it out; faces are periodic or noflux in this version",
             "Cost of leaving through an exit face."),
    {.path = "time.horizon",
     .kind = MFG_KEY_REAL,
     .unit = "time",
     ABOVE(0, PETSC_MAX_REAL),
     AT(time.horizon),
     .doc = "T: the game is played on [0, T]."},
    {.path = "time.steps",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 1e7),
     AT(time.steps),
     .doc = "Time steps; levels are 0 to steps."},
    {.path = "dynamics.sigma",
     .kind = MFG_KEY_REAL,
     .unit = "length/time^(1/2)",
     ABOVE(0, PETSC_MAX_REAL),
     AT(dynamics.sigma),
     .doc = "Noise of an agent, dX = ... + sigma dW; nu = sigma^2/2."},
    {.path = "dynamics.drift",
     .kind = MFG_KEY_FORMULAS,
     .uses_time = PETSC_TRUE,
     .unit = "length/time",
     .by_default = "\"0\"",
     AT(dynamics.drift),
     .doc = "Given drift b(t,x), one formula per axis."},
    {.path = "hamiltonian.type",
     .kind = MFG_KEY_CHOICE,
     .choices = "quadratic|power",
     .later = "congestion",
     .by_default = "quadratic",
     AT(hamiltonian.type),
     .doc = "quadratic |p|^2/(2c), power |p|^b/(b c)."},
    {.path = "hamiltonian.control_cost",
     .kind = MFG_KEY_REAL,
     ABOVE(0, PETSC_MAX_REAL),
     .by_default = "1",
     AT(hamiltonian.control_cost),
     .doc = "c, the price of moving."},
    {.path = "hamiltonian.exponent",
     .kind = MFG_KEY_REAL,
     ABOVE(1, 100),
     .by_default = "2",
     AT(hamiltonian.exponent),
     .doc = "b of the power form."},
    RESERVED("hamiltonian.offset", "take it out", "c0 of the congestion form."),
    RESERVED("hamiltonian.slope", "take it out", "c1 of the congestion form."),
    RESERVED("hamiltonian.power", "take it out; the power form has 'hamiltonian.exponent'",
             "a of the congestion form."),
    COST("running_cost", running_cost, PETSC_TRUE, "running cost V(t,x)"),
    COST("terminal_cost", terminal_cost, PETSC_FALSE, "terminal cost g(x)"),
    {.path = "agents.count",
     .kind = MFG_KEY_LONG,
     FROM(1, 1e12),
     .by_default = "50000",
     AT(agents.count),
     .doc = "Number of agents that carry the density."},
    {.path = "agents.initial_density",
     .kind = MFG_KEY_FORMULA,
     AT(agents.initial_density),
     .doc = "m0(x) >= 0 up to a factor; the program normalises it."},
    {.path = "agents.sampling",
     .kind = MFG_KEY_CHOICE,
     .choices = "stratified|random",
     .by_default = "stratified",
     AT(agents.sampling),
     .doc = "How the first positions are drawn; stratified has less noise."},
    {.path = "agents.seed",
     .kind = MFG_KEY_SEED,
     FROM(0, 18446744073709551615.0),
     .by_default = "1",
     AT(agents.seed),
     .doc = "Key of the random numbers; the same seed gives the same bits."},
    {.path = "agents.precision",
     .kind = MFG_KEY_EITHER,
     .choices = "double|single",
     .by_default = "double",
     AT(agents.single),
     .doc = "Of the positions between steps: single takes half their memory and moves an agent by "
            "at most 2^-24 of the box per step."},
    {.path = "fokker_planck.method",
     .kind = MFG_KEY_CHOICE,
     .choices = "particles|grid",
     .by_default = "particles",
     AT(fokker_planck.method),
     .doc =
         "How the density moves forward: agents and a kernel estimate, or the adjoint of the value "
         "equation on the grid (no noise; agents.* but the initial density and density.* then say "
         "nothing, but for output.particles)."},
    {.path = "density.method",
     .kind = MFG_KEY_CHOICE,
     .choices = "moments|direct",
     .by_default = "moments",
     AT(density.method),
     .doc = "Kernel density estimate: fast, or the exact sum (slow, for tests)."},
    {.path = "density.bandwidth",
     .kind = MFG_KEY_BANDWIDTH,
     .choices = "silverman|scott",
     ABOVE(0, PETSC_MAX_REAL),
     .unit = "length",
     .by_default = "silverman",
     AT(density.bandwidth),
     .doc = "A rule, or h itself, the standard deviation of the kernel, for all axes or per axis."},
    {.path = "density.tolerance",
     .kind = MFG_KEY_REAL,
     FROM(1e-15, 0.1),
     .by_default = "1e-06",
     AT(density.tolerance),
     .doc = "Error of the fast sum, relative to the largest density."},
    {.path = "equilibrium.method",
     .kind = MFG_KEY_CHOICE,
     .choices = "picard|anderson|fictitious_play|newton",
     .by_default = "anderson",
     AT(equilibrium.method),
     .doc = "How the fixed point is found; newton for strong couplings. With agents it starts from "
            "the "
            "grid's equilibrium, and memory and damping count as for anderson."},
    {.path = "equilibrium.tolerance",
     .kind = MFG_KEY_REAL,
     ABOVE(0, 1),
     .by_default = "1e-08",
     AT(equilibrium.tolerance),
     .doc = "Bounds the largest L1 norm of M - Phi(M) over levels, and the relative change of U."},
    {.path = "equilibrium.max_iterations",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 1e6),
     .by_default = "200",
     AT(equilibrium.max_iterations),
     .doc = "Outer iterations at the most."},
    {.path = "equilibrium.damping",
     .kind = MFG_KEY_REAL,
     ABOVE(0, 1),
     .by_default = "1",
     AT(equilibrium.damping),
     .doc = "Share of the new density in an update; less than 1 for strong couplings."},
    {.path = "equilibrium.memory",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 100),
     .by_default = "5",
     AT(equilibrium.memory),
     .doc = "Earlier iterates that the Anderson method keeps, and newton with agents."},
    {.path = "equilibrium.continuation",
     .kind = MFG_KEY_FACTORS,
     ABOVE(0, 1),
     .by_default = "[1]",
     AT(equilibrium.continuation),
     .doc =
         "Stages, each from the flow of the one before: the strengths of coupling and mean in both "
         "costs are multiplied by these factors in turn. Stages before the last end at a residual "
         "of 1e-3."},
    {.path = "equilibrium.continuation_viscosity",
     .kind = MFG_KEY_FACTORS,
     FROM(1, 1e6),
     .by_default = "[1]",
     AT(equilibrium.continuation_viscosity),
     .doc = "Likewise for nu = sigma^2/2; with both lists, of one length."},
    {.path = "equilibrium.exploitability",
     .kind = MFG_KEY_INTEGER,
     FROM(0, 1e6),
     .by_default = "0",
     AT(equilibrium.exploitability),
     .doc =
         "Every how many outer iterations it is measured what an agent could still gain, the cost "
         "of the control used less that of the best response, and at the last; 0: never. Takes a "
         "value sweep each time."},
    {.path = "equilibrium.random_numbers",
     .kind = MFG_KEY_EITHER,
     .choices = "common|fresh",
     .by_default = "common",
     AT(equilibrium.fresh),
     .doc = "The same in every outer iteration (so that it converges), or new ones."},
    {.path = "equilibrium.initial",
     .kind = MFG_KEY_TEXT,
     .by_default = "m0",
     AT(equilibrium.initial),
     .doc = "First guess: m0 at all levels, or the path of a result.h5 (other grids too)."},
    {.path = "parallel.decomposition",
     .kind = MFG_KEY_CHOICE,
     .choices = "auto|replicated|domain",
     .by_default = "auto",
     AT(parallel.decomposition),
     .doc = "Agents divided over the ranks by id (replicated), by place (domain), or whichever is "
            "predicted faster (auto)."},
    {.path = "backend",
     .kind = MFG_KEY_NAME,
     .choices = "auto|cpu|cuda",
     .by_default = "auto",
     AT(backend),
     .doc = "Where agents, densities and, in two and three dimensions, the equations are computed: "
            "auto takes a GPU for each rank (cuda) where that is predicted to be faster."},
    {.path = "output.directory",
     .kind = MFG_KEY_TEXT,
     .by_default = "results/$CASE",
     AT(output.directory),
     .doc = "Run directory; $CASE stands for the input file's name without .yaml."},
    {.path = "output.every",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 1e7),
     .by_default = "1",
     AT(output.every),
     .doc = "Every how many time levels are written; the first and the last always are."},
    {.path = "output.particles",
     .kind = MFG_KEY_LONG,
     FROM(0, 1e9),
     .by_default = "0",
     AT(output.particles),
     .doc = "Number of agents whose paths are written."},
    {.path = "output.control",
     .kind = MFG_KEY_EITHER,
     .choices = "false|true",
     .by_default = "false",
     AT(output.control),
     .doc = "Write the optimal control too."},
    {.path = "checkpoint.every_iterations",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 1e6),
     .by_default = "10",
     AT(checkpoint.every_iterations),
     .doc = "A checkpoint after so many outer iterations; a linearised sweep of newton counts as "
            "one."},
    {.path = "checkpoint.every_seconds",
     .kind = MFG_KEY_REAL,
     .unit = "s",
     ABOVE(0, PETSC_MAX_REAL),
     .by_default = "600",
     AT(checkpoint.every_seconds),
     .doc = "And whenever so much time has passed since the last one, within an iteration too."},
    {.path = "checkpoint.keep",
     .kind = MFG_KEY_INTEGER,
     FROM(1, 1000),
     .by_default = "3",
     AT(checkpoint.keep),
     .doc = "How many are kept; an older one goes when a newer one is written and verified."},
    {.path = "petsc",
     .kind = MFG_KEY_PETSC,
     .by_default = "{}",
     NOWHERE,
     .doc = "PETSc options without their dash, as in {hjb_ksp_type: bcgs}."},
    RESERVED("game", "take it out; this version solves the game", "game or control."),
};

#define COUNT ((int)(sizeof schema / sizeof *schema))

const MFGKey *MFGSchema(int *count) {
  *count = COUNT;
  return schema;
}

const MFGKey *MFGSchemaFind(const char *path) {
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(schema[i].path, path)) return &schema[i];
  return NULL;
}

PetscBool MFGSchemaIsSection(const char *path) {
  const size_t length = strlen(path);
  for (int i = 0; i < COUNT; i++)
    if (!strncmp(schema[i].path, path, length) && schema[i].path[length] == '.') return PETSC_TRUE;
  return PETSC_FALSE;
}

static const char *const sections[] = {"domain",       "time",          "dynamics", "hamiltonian",
                                       "running_cost", "terminal_cost", "agents",   "fokker_planck",
                                       "density",      "equilibrium",   "parallel", "output",
                                       "checkpoint"};

#define SECTIONS ((int)(sizeof sections / sizeof *sections))

static const char *LastWord(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? dot + 1 : path;
}

/* A key in the wrong section is meant more often than another one of a similar whole path. */
const char *MFGSchemaNearest(const char *path) {
  const char *names[COUNT], *words[COUNT];

  for (int i = 0; i < COUNT; i++) {
    names[i] = schema[i].path;
    words[i] = LastWord(schema[i].path);
    if (schema[i].kind != MFG_KEY_RESERVED && !strcmp(words[i], LastWord(path)))
      return schema[i].path;
  }
  const char *nearest = MFGNearestName(path, COUNT, names);
  if (!nearest) nearest = MFGNearestName(path, SECTIONS, sections);
  if (nearest) return nearest;
  nearest = MFGNearestName(LastWord(path), COUNT, words);
  for (int i = 0; nearest && i < COUNT; i++)
    if (words[i] == nearest) return names[i];
  return NULL;
}

int MFGChoiceIndex(const char *choices, const char *word) {
  const size_t n = strlen(word);

  for (int i = 0; choices && n; i++) {
    const size_t length = strcspn(choices, "|");
    if (length == n && !strncmp(choices, word, n)) return i;
    if (!choices[length]) break;
    choices += length + 1;
  }
  return -1;
}

void MFGChoiceList(const char *choices, size_t size, char text[]) {
  size_t used = 0;

  text[0] = 0;
  while (used < size) {
    const size_t length = strcspn(choices, "|");
    const char *end = choices[length] ? (strchr(choices + length + 1, '|') ? ", " : " or ") : "";
    used += snprintf(text + used, size - used, "%.*s%s", (int)length, choices, end);
    if (!choices[length]) break;
    choices += length + 1;
  }
}

static void RangeText(const MFGKey *key, const char *noun, size_t size, char text[]) {
  const char *sign = key->above ? "above" : "of at least";

  if (key->low <= -PETSC_MAX_REAL)
    snprintf(text, size, "%s", noun);
  else if (key->high >= PETSC_MAX_REAL)
    snprintf(text, size, "%s %s %g", noun, sign, key->low);
  else
    snprintf(text, size, key->high >= 1e6 ? "%s %s %g and at most %.0f" : "%s %s %g and at most %g",
             noun, sign, key->low, key->high);
}

void MFGKeyExpects(const MFGKey *key, size_t size, char text[]) {
  char list[200];

  text[0] = 0;
  if (key->choices) MFGChoiceList(key->choices, sizeof list, list);
  switch (key->kind) {
  case MFG_KEY_REAL:
    RangeText(key, "a number", size, text);
    break;
  case MFG_KEY_REALS:
    RangeText(key, "a list with a number", size, text);
    break;
  case MFG_KEY_FACTORS:
    snprintf(text, size, "a list of %s factors, at most %d, that ends at 1",
             key->high > 1 ? "descending" : "ascending", MFG_MAX_FACTORS);
    break;
  case MFG_KEY_INTEGER:
  case MFG_KEY_LONG:
    RangeText(key, "a whole number", size, text);
    break;
  case MFG_KEY_SEED:
    snprintf(text, size, "a whole number from 0 to %llu", (unsigned long long)UINT64_MAX);
    break;
  case MFG_KEY_INTEGERS:
    RangeText(key, "a list with a whole number", size, text);
    break;
  case MFG_KEY_CHOICE:
  case MFG_KEY_EITHER:
  case MFG_KEY_NAME:
    snprintf(text, size, "%s", list);
    break;
  case MFG_KEY_BOUNDARY:
    snprintf(text, size, "a list with %s", list);
    break;
  case MFG_KEY_BANDWIDTH:
    snprintf(text, size, "%s, or a number above 0, or a list of such numbers", list);
    break;
  case MFG_KEY_TEXT:
    snprintf(text, size, "a text without control characters");
    break;
  case MFG_KEY_FORMULA:
    snprintf(text, size, "a formula, or {file: f.h5, dataset: /name}");
    break;
  case MFG_KEY_FORMULAS:
    snprintf(text, size, "a list with a formula, or {file: f.h5, dataset: /name}");
    break;
  case MFG_KEY_CONSTANTS:
    snprintf(text, size, "names with numbers or formulas");
    break;
  case MFG_KEY_PETSC:
    snprintf(text, size, "option names with values");
    break;
  case MFG_KEY_FREE:
    snprintf(text, size, "anything");
    break;
  case MFG_KEY_RESERVED:
    snprintf(text, size, "not there yet: %s", key->choices);
    break;
  }
}
