#include "app/config.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/config_values.h"
#include "app/utf8.h"

/* What rank 0 read, the same on all ranks after ShareFile. */
typedef struct {
  size_t length;
  char *bytes;                        /* owned */
  char directory[PETSC_MAX_PATH_LEN]; /* of the file, absolute */
  char problem[300];                  /* empty: none */
} InputFile;

/* At most one byte more than the limit, which is then reported by the parser. */
static PetscErrorCode ReadFile(const char *path, InputFile *file) {
  struct stat status;
  FILE *stream = fopen(path, "rb");

  PetscFunctionBeginUser;
  if (!stream || fstat(fileno(stream), &status)) {
    snprintf(file->problem, sizeof file->problem, "cannot be read: %s; check the path",
             strerror(errno));
  } else if (!S_ISREG(status.st_mode)) {
    snprintf(file->problem, sizeof file->problem, "not a file; give the path of a .yaml file");
  } else {
    PetscCall(PetscMalloc1(MFG_YAML_MAX_BYTES + 1, &file->bytes));
    file->length = fread(file->bytes, 1, MFG_YAML_MAX_BYTES + 1, stream);
    if (ferror(stream))
      snprintf(file->problem, sizeof file->problem, "cannot be read: %s", strerror(errno));
  }
  if (stream) fclose(stream);
  char *absolute = realpath(path, NULL);
  if (absolute && strlen(absolute) < sizeof file->directory) {
    *strrchr(absolute, '/') = 0;
    snprintf(file->directory, sizeof file->directory, "%s", absolute);
  }
  free(absolute);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ShareFile(MPI_Comm comm, const char *path, InputFile *file) {
  PetscMPIInt rank;
  unsigned long long length;

  PetscFunctionBeginUser;
  memset(file, 0, sizeof *file);
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) PetscCall(ReadFile(path, file));
  length = file->length;
  PetscCallMPI(MPI_Bcast(&length, 1, MPI_UNSIGNED_LONG_LONG, 0, comm));
  PetscCallMPI(MPI_Bcast(file->problem, sizeof file->problem, MPI_CHAR, 0, comm));
  PetscCallMPI(MPI_Bcast(file->directory, sizeof file->directory, MPI_CHAR, 0, comm));
  if (rank) PetscCall(PetscMalloc1(length + 1, &file->bytes));
  file->length = (size_t)length;
  PetscCallMPI(MPI_Bcast(file->bytes, (PetscMPIInt)length, MPI_BYTE, 0, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The file's name without directories and .yaml: the default title and run directory. */
static void Stem(const char *path, size_t size, char stem[]) {
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  const char *dot = strrchr(name, '.');
  const size_t length = dot && dot != name ? (size_t)(dot - name) : strlen(name);
  snprintf(stem, size, "%.*s", (int)PetscMin(length, size - 1), name);
}

static PetscErrorCode ApplySet(MFGConfigReader *r, const char *set) {
  const char *equal = strchr(set, '=');
  char source[120], path[300];

  PetscFunctionBeginUser;
  snprintf(source, sizeof source, "--set %.80s%s", set, strlen(set) > 80 ? "..." : "");
  snprintf(path, sizeof path, "%.*s", equal ? (int)PetscMin(equal - set, 299) : 0, set);
  if (!*path || !MFGIsText(path) || equal - set > 299) {
    PetscCall(MFGConfigErrorsAdd(r->errors, source,
                                 "not of the form path=value; write it as in --set "
                                 "time.steps=100"));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGYAMLSet(r->tree, source, path, equal + 1, r->errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RefuseUnknown(MFGConfigReader *r, const char *path, const MFGYAMLNode *node) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_TRUE, place);
  const char *nearest = MFGSchemaNearest(path);
  if (strchr(node->key, '.'))
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "unknown key '%s'; a dot means nothing in a key: write the "
                                 "section, a colon, and its keys in {}",
                                 path));
  else if (nearest)
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "unknown key '%s'; did you mean '%s'?", path,
                                 nearest));
  else
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "unknown key '%s'; see 'nashflow help parameters'", path));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Every key of the tree must be in the table; sections must be sections. */
static PetscErrorCode CheckKeys(MFGConfigReader *r, const char *prefix, MFGYAMLNode *section) {
  char path[(MFG_YAML_MAX_KEY + 1) * 4], place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  for (int i = 0; i < section->count; i++) {
    MFGYAMLNode *node = section->child[i];
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", node->key);
    const MFGKey *key = strchr(node->key, '.') ? NULL : MFGSchemaFind(path);
    if (key) {
      if (key->kind == MFG_KEY_RESERVED) PetscCall(MFGConfigDecode(r, key, node));
      continue;
    }
    if (strchr(node->key, '.') || !MFGSchemaIsSection(path)) {
      PetscCall(RefuseUnknown(r, path, node));
    } else if (node->kind == MFG_YAML_MAP) {
      PetscCall(CheckKeys(r, path, node));
    } else if (!MFGYAMLIsNull(node)) {
      MFGYAMLPlace(node, PETSC_FALSE, place);
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "'%s' must be a section with keys; see 'nashflow help %s'", path,
                                   path));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The number of axes is the length of the first of these lists that is there. */
static PetscErrorCode FindAxes(MFGConfigReader *r) {
  const char *const keys[] = {"domain.lower", "domain.upper", "domain.cells"};
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  for (int i = 0; i < 3 && !r->dim; i++) {
    const MFGYAMLNode *node = MFGYAMLFind(r->tree->root, keys[i]);
    if (!node || node->kind != MFG_YAML_LIST) continue;
    MFGYAMLPlace(node, PETSC_FALSE, place);
    if (node->count < 1 || node->count > MFG_MAX_DIM) {
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "%s has %d entries; a domain has 1, 2 or 3 axes", keys[i],
                                   node->count));
      break;
    }
    r->dim = node->count;
  }
  r->config->dim = r->dim;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* True when a value stands where the sections of the path should be: reported before. */
static PetscBool IsBlocked(const MFGYAMLNode *root, const char *path) {
  for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.')) {
    char section[200];
    snprintf(section, sizeof section, "%.*s", (int)(dot - path), path);
    const MFGYAMLNode *node = MFGYAMLFind(root, section);
    if (node && node->kind != MFG_YAML_MAP && !MFGYAMLIsNull(node)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* Before any default is put in: the place is the section the key belongs to, or the file. */
static PetscErrorCode CheckNeeded(MFGConfigReader *r, const MFGKey *key) {
  char place[MFG_YAML_PLACE], expects[300], section[200];
  const MFGYAMLNode *node = MFGYAMLFind(r->tree->root, key->path);

  PetscFunctionBeginUser;
  if (node || key->by_default || key->kind == MFG_KEY_RESERVED ||
      IsBlocked(r->tree->root, key->path))
    PetscFunctionReturn(PETSC_SUCCESS);
  snprintf(section, sizeof section, "%.*s", (int)strcspn(key->path, "."), key->path);
  node = MFGYAMLFind(r->tree->root, section);
  MFGYAMLPlace(node ? node : r->tree->root, PETSC_TRUE, place);
  MFGKeyExpects(key, sizeof expects, expects);
  PetscCall(MFGConfigErrorsAdd(r->errors, place, "the key '%s' is missing; add it: %s", key->path,
                               expects));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeKey(MFGConfigReader *r, const MFGKey *key) {
  const MFGYAMLNode *node = MFGYAMLFind(r->tree->root, key->path);
  const char *value = key->by_default;
  char stem[200], directory[220];

  PetscFunctionBeginUser;
  if (key->kind == MFG_KEY_RESERVED) PetscFunctionReturn(PETSC_SUCCESS);
  if (!node && (!value || IsBlocked(r->tree->root, key->path))) PetscFunctionReturn(PETSC_SUCCESS);
  if (!node) {
    /* The one default that depends on the input's name. */
    if (!strcmp(key->path, "output.directory")) {
      Stem(r->config->path, sizeof stem, stem);
      MFGMakePrintable(stem, '_');
      for (char *c = stem; *c; c++)
        if (*c == ' ' || *c == '"' || *c == '\\') *c = '_';
      snprintf(directory, sizeof directory, "\"results/%s\"", stem);
      value = directory;
    }
    PetscCall(MFGYAMLSet(r->tree, "default", key->path, value, r->errors));
    node = MFGYAMLFind(r->tree->root, key->path);
  }
  if (node) PetscCall(MFGConfigDecode(r, key, node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The error's place is the value of `path`, or of its list entry `axis` when that is >= 0. */
static void PlaceOf(const MFGConfigReader *r, const char *path, int axis,
                    char place[MFG_YAML_PLACE]) {
  const MFGYAMLNode *node = MFGYAMLFind(r->tree->root, path);
  if (node && axis >= 0 && axis < node->count) node = node->child[axis];
  MFGYAMLPlace(node ? node : r->tree->root, PETSC_FALSE, place);
}

static PetscErrorCode CheckDomain(MFGConfigReader *r) {
  const MFGConfig *c = r->config;
  char place[MFG_YAML_PLACE];
  double cells = 1;

  PetscFunctionBeginUser;
  for (int k = 0; k < c->dim; k++) {
    const double lower = c->domain.lower[k], upper = c->domain.upper[k], width = upper - lower;
    const MFGBoundary *b = c->domain.boundary[k];
    cells *= c->domain.cells[k];
    PlaceOf(r, "domain.upper", k, place);
    if (upper <= lower)
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "domain.upper must be above domain.lower on every axis, not %g "
                                   "above %g; swap or change them",
                                   upper, lower));
    else if (!isfinite(width) ||
             width / c->domain.cells[k] < 1e-12 * fmax(fabs(lower), fabs(upper)))
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "an axis from %g to %g cannot be divided into %d cells in "
                                   "double precision; change its ends",
                                   lower, upper, c->domain.cells[k]));
    else if (c->agents.single && (width < MFG_SINGLE_LENGTH_MIN || width > MFG_SINGLE_LENGTH_MAX))
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "an axis %g long cannot hold positions in single precision, "
                                   "only %g to %g; change its ends, or use agents.precision: "
                                   "double",
                                   width, MFG_SINGLE_LENGTH_MIN, MFG_SINGLE_LENGTH_MAX));
    PlaceOf(r, "domain.boundary", k, place);
    if ((b[0] == MFG_BOUNDARY_PERIODIC) != (b[1] == MFG_BOUNDARY_PERIODIC))
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "domain.boundary: periodic holds for both ends of an axis; give "
                                   "one word for the axis, or two others"));
  }
  PlaceOf(r, "domain.cells", -1, place);
  if (cells > INT_MAX)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "domain.cells: %g cells in all are too many; at "
                                 "most %d",
                                 cells, INT_MAX));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckMean(MFGConfigReader *r, const char *path, const MFGCostConfig *cost) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (cost->mean.strength == 0) PetscFunctionReturn(PETSC_SUCCESS);
  PlaceOf(r, path, -1, place);
  for (int k = 0; k < r->dim; k++)
    if (r->config->domain.boundary[k][0] == MFG_BOUNDARY_PERIODIC) {
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "%s: a crowd on a periodic axis has no mean; use 0, or noflux "
                                   "boundaries",
                                   path));
      break;
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckBandwidth(MFGConfigReader *r) {
  const MFGConfig *c = r->config;
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (c->density.rule != MFG_BANDWIDTH_FIXED) PetscFunctionReturn(PETSC_SUCCESS);
  for (int k = 0; k < c->dim; k++) {
    const double length = c->domain.upper[k] - c->domain.lower[k], h = c->density.bandwidth[k];
    const double least = MFG_BANDWIDTH_MIN_CELLS * (length / c->domain.cells[k]);
    PlaceOf(r, "density.bandwidth", k, place);
    if (h >= least && h <= length) continue;
    if (h < least)
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "density.bandwidth is %g, narrower than the grid can show: at "
                                   "least %.1f cells = %g; take more, or more domain.cells",
                                   h, MFG_BANDWIDTH_MIN_CELLS, least));
    else
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "density.bandwidth is %g, wider than the axis is long: every "
                                   "density would be flat; take at most %g",
                                   h, length));
    break;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What divides or draws agents means nothing without them. */
static PetscErrorCode CheckGridMethod(MFGConfigReader *r) {
  const MFGConfig *c = r->config;
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (c->fokker_planck.method != MFG_FOKKER_PLANCK_GRID) PetscFunctionReturn(PETSC_SUCCESS);
  PlaceOf(r, "equilibrium.random_numbers", -1, place);
  if (c->equilibrium.fresh)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "equilibrium.random_numbers: 'fresh' belongs to agents, and "
                                 "fokker_planck.method is 'grid'; take one of them out"));
  PlaceOf(r, "parallel.decomposition", -1, place);
  if (c->parallel.decomposition)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "parallel.decomposition divides agents, and fokker_planck.method "
                                 "is 'grid'; take one of them out"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckContinuation(MFGConfigReader *r) {
  const int coupling = r->config->equilibrium.continuation.count;
  const int viscosity = r->config->equilibrium.continuation_viscosity.count;
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  PlaceOf(r, "equilibrium.continuation_viscosity", -1, place);
  if (coupling > 1 && viscosity > 1 && coupling != viscosity)
    PetscCall(
        MFGConfigErrorsAdd(r->errors, place,
                           "equilibrium.continuation_viscosity has %d factors and "
                           "equilibrium.continuation %d; give both as many, repeating none of "
                           "them, or take one list out",
                           viscosity, coupling));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the keys say together; only after each of them is right. */
static PetscErrorCode CheckTogether(MFGConfigReader *r) {
  const MFGConfig *c = r->config;
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  PetscCall(CheckDomain(r));
  if (r->errors->count) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(CheckMean(r, "running_cost.mean.strength", &c->running_cost));
  PetscCall(CheckMean(r, "terminal_cost.mean.strength", &c->terminal_cost));
  PetscCall(CheckBandwidth(r));
  PetscCall(CheckGridMethod(r));
  PetscCall(CheckContinuation(r));
  PlaceOf(r, "hamiltonian.exponent", -1, place);
  if (c->hamiltonian.type == MFG_HAMILTONIAN_QUADRATIC && c->hamiltonian.exponent != 2)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "hamiltonian.exponent belongs to 'type: power'; the quadratic one "
                                 "has 2: change the type or take it out"));
  PlaceOf(r, "output.particles", -1, place);
  if (c->output.particles > c->agents.count)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "output.particles is %lld, more than the %lld of agents.count; "
                                 "take at most that many",
                                 (long long)c->output.particles, (long long)c->agents.count));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* FNV-1a. */
static void HashText(const char *text, char hash[17]) {
  uint64_t h = 14695981039346656037u;
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 1099511628211u;
  snprintf(hash, 17, "%016llx", (unsigned long long)h);
}

static PetscErrorCode Finish(MFGConfigReader *r) {
  MFGConfig *c = r->config;
  const MFGYAMLNode *title = MFGYAMLFind(r->tree->root, "metadata.title");
  char stem[200];

  PetscFunctionBeginUser;
  Stem(c->path, sizeof stem, stem);
  PetscCall(
      PetscStrallocpy(title && title->kind == MFG_YAML_SCALAR ? title->value : stem, &c->title));
  MFGMakePrintable(c->title, ' ');
  PetscCall(MFGConfigPrint(r, PETSC_TRUE, &c->text));
  PetscCall(MFGConfigPrint(r, PETSC_FALSE, &c->core));
  HashText(c->core, c->hash);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Interpret(MFGConfigReader *r, const InputFile *file, int set_count,
                                const char *const sets[]) {
  int count;
  const MFGKey *schema = MFGSchema(&count);

  PetscFunctionBeginUser;
  PetscCall(MFGYAMLParse(r->config->path, file->length, file->bytes, r->tree, r->errors));
  if (!r->tree->root) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < set_count; i++) PetscCall(ApplySet(r, sets[i]));
  PetscCall(CheckKeys(r, "", r->tree->root));
  PetscCall(FindAxes(r));
  for (int i = 0; i < count; i++) PetscCall(CheckNeeded(r, &schema[i]));
  for (int i = 0; i < count; i++) PetscCall(DecodeKey(r, &schema[i]));
  if (!r->errors->count) PetscCall(CheckTogether(r));
  if (!r->errors->count) PetscCall(Finish(r));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigRead(MPI_Comm comm, const char *path, int set_count,
                             const char *const sets[], MFGConfig **config,
                             MFGConfigErrors *errors) {
  InputFile file;
  MFGYAMLTree tree = {0};
  MFGConfigReader r = {.tree = &tree, .errors = errors, .directory = file.directory};

  PetscFunctionBeginUser;
  *config = NULL;
  memset(errors, 0, sizeof *errors);
  PetscCall(ShareFile(comm, path, &file));
  PetscCall(PetscNew(&r.config));
  PetscCall(PetscStrallocpy(path, &r.config->path));
  if (*file.problem)
    PetscCall(MFGConfigErrorsAdd(errors, path, "%s", file.problem));
  else
    PetscCall(Interpret(&r, &file, set_count, sets));
  PetscCall(MFGYAMLDestroy(&tree));
  PetscCall(PetscFree(file.bytes));
  if (errors->count) PetscCall(MFGConfigDestroy(&r.config));
  *config = r.config;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DestroyFormula(MFGFormula *f) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(f->expression));
  PetscCall(PetscFree(f->file));
  PetscCall(PetscFree(f->dataset));
  PetscCall(PetscFree(f->where));
  PetscCall(PetscFree(f->key));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigDestroy(MFGConfig **config) {
  MFGConfig *c = config ? *config : NULL;

  PetscFunctionBeginUser;
  if (!c) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < c->constant_count; i++) {
    PetscCall(PetscFree(c->constants[i].name));
    PetscCall(PetscFree(c->constants[i].expression));
  }
  for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(DestroyFormula(&c->dynamics.drift[k]));
  PetscCall(DestroyFormula(&c->running_cost.potential));
  PetscCall(DestroyFormula(&c->terminal_cost.potential));
  PetscCall(DestroyFormula(&c->agents.initial_density));
  for (int i = 0; i < c->petsc_count; i++) PetscCall(PetscFree(c->petsc_options[i]));
  PetscCall(PetscFree(c->petsc_options));
  PetscCall(PetscFree(c->constants));
  PetscCall(PetscFree(c->path));
  PetscCall(PetscFree(c->title));
  PetscCall(PetscFree(c->text));
  PetscCall(PetscFree(c->core));
  PetscCall(PetscFree(c->equilibrium.initial));
  PetscCall(PetscFree(c->backend));
  PetscCall(PetscFree(c->output.directory));
  PetscCall(PetscFree(*config));
  PetscFunctionReturn(PETSC_SUCCESS);
}
