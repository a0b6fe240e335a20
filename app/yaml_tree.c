#include "app/yaml_tree.h"

#include <stdio.h>
#include <yaml.h>

typedef struct {
  yaml_parser_t parser;
  const char *source;
  PetscBool in_file; /* else line and column mean nothing to the reader of a message */
  int depth;         /* of the root node */
  PetscBool failed;
  MFGConfigErrors *errors;
} Reader;

static void PlaceText(const char *source, int line, int column, char place[MFG_YAML_PLACE]) {
  if (line)
    snprintf(place, MFG_YAML_PLACE, "%.480s:%d:%d", source, line, column);
  else
    snprintf(place, MFG_YAML_PLACE, "%.500s", source);
}

void MFGYAMLPlace(const MFGYAMLNode *node, PetscBool of_key, char place[MFG_YAML_PLACE]) {
  const PetscBool key = (PetscBool)(of_key && node->key_line);
  PlaceText(node->source, key ? node->key_line : node->line, key ? node->key_column : node->column,
            place);
}

PetscBool MFGYAMLIsNull(const MFGYAMLNode *node) {
  return (PetscBool)(node->kind == MFG_YAML_SCALAR && node->plain &&
                     (!*node->value || !strcmp(node->value, "~") || !strcmp(node->value, "null")));
}

static PetscErrorCode DestroyNode(MFGYAMLNode *node) {
  PetscFunctionBeginUser;
  if (!node) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < node->count; i++) PetscCall(DestroyNode(node->child[i]));
  PetscCall(PetscFree(node->child));
  PetscCall(PetscFree(node->key));
  PetscCall(PetscFree(node->value));
  PetscCall(PetscFree(node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGYAMLDestroy(MFGYAMLTree *tree) {
  PetscFunctionBeginUser;
  if (!tree) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(DestroyNode(tree->root));
  for (int i = 0; i < tree->source_count; i++) PetscCall(PetscFree(tree->source[i]));
  PetscCall(PetscFree(tree->source));
  memset(tree, 0, sizeof *tree);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room grows by doubling, as maps grow one entry at a time. */
static PetscErrorCode AddChild(MFGYAMLNode *node, MFGYAMLNode *child) {
  PetscFunctionBeginUser;
  if (!(node->count & (node->count - 1))) {
    const size_t room = node->count ? 2 * (size_t)node->count : 1;
    PetscCall(PetscRealloc(room * sizeof child, &node->child));
  }
  node->child[node->count++] = child;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The first error of the document ends its reading: what follows it would be guesswork. */
static PetscErrorCode Fail(Reader *r, yaml_mark_t mark, const char *message) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (!r->failed) {
    PlaceText(r->source, r->in_file ? (int)mark.line + 1 : 0, (int)mark.column + 1, place);
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%s", message));
  }
  r->failed = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode FailSyntax(Reader *r) {
  const yaml_parser_t *p = &r->parser;
  char message[400];

  PetscFunctionBeginUser;
  snprintf(message, sizeof message,
           "not valid YAML: %s%s%s; check indentation, brackets and quotes near here",
           p->problem ? p->problem : "out of memory", p->context ? " " : "",
           p->context ? p->context : "");
  PetscCall(Fail(r, p->error == YAML_READER_ERROR ? p->mark : p->problem_mark, message));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Next(Reader *r, yaml_event_t *event) {
  PetscFunctionBeginUser;
  memset(event, 0, sizeof *event);
  if (!r->failed && !yaml_parser_parse(&r->parser, event)) PetscCall(FailSyntax(r));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RefuseDecoration(Reader *r, const yaml_event_t *event) {
  const yaml_char_t *anchor = NULL, *tag = NULL;

  PetscFunctionBeginUser;
  if (event->type == YAML_SCALAR_EVENT) {
    anchor = event->data.scalar.anchor;
    tag = event->data.scalar.tag;
  } else if (event->type == YAML_SEQUENCE_START_EVENT) {
    anchor = event->data.sequence_start.anchor;
    tag = event->data.sequence_start.tag;
  } else if (event->type == YAML_MAPPING_START_EVENT) {
    anchor = event->data.mapping_start.anchor;
    tag = event->data.mapping_start.tag;
  }
  if (event->type == YAML_ALIAS_EVENT)
    PetscCall(Fail(r, event->start_mark,
                   "an alias (*name) is not allowed; write the value out, and put a formula that "
                   "starts with * in quotes"));
  if (anchor)
    PetscCall(Fail(r, event->start_mark,
                   "an anchor (&name) is not allowed; write the value out where it is needed"));
  if (tag)
    PetscCall(Fail(r, event->start_mark,
                   "a tag (!name) is not allowed; take it out, or put the value in quotes"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode FillScalar(Reader *r, const yaml_event_t *event, MFGYAMLNode *node) {
  const char *value = (const char *)event->data.scalar.value;
  const size_t length = event->data.scalar.length;
  const yaml_scalar_style_t style = event->data.scalar.style;
  const size_t quotes = style == YAML_PLAIN_SCALAR_STYLE ? 0 : 1;
  const size_t raw = event->end_mark.index - event->start_mark.index;

  PetscFunctionBeginUser;
  node->kind = MFG_YAML_SCALAR;
  node->plain = (PetscBool)!quotes;
  if (memchr(value, 0, length))
    PetscCall(Fail(r, event->start_mark, "the value holds a NUL character; take it out"));
  PetscCall(PetscStrallocpy(value, &node->value));
  if (r->in_file && event->start_mark.line == event->end_mark.line && raw == length + 2 * quotes)
    node->inner = node->column + (int)quotes;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadNode(Reader *r, const yaml_event_t *event, int depth, MFGYAMLNode **node);

static PetscErrorCode ReadList(Reader *r, int depth, MFGYAMLNode *list) {
  list->kind = MFG_YAML_LIST;

  PetscFunctionBeginUser;
  while (!r->failed) {
    yaml_event_t event;
    MFGYAMLNode *child = NULL;
    PetscCall(Next(r, &event));
    const PetscBool end = (PetscBool)(event.type == YAML_SEQUENCE_END_EVENT);
    if (list->count == MFG_YAML_MAX_CHILDREN && !end)
      PetscCall(Fail(r, event.start_mark, "the list is too long: at most 1000 entries"));
    if (!end) PetscCall(ReadNode(r, &event, depth + 1, &child));
    yaml_event_delete(&event);
    if (end) break;
    if (child) PetscCall(AddChild(list, child));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckKey(Reader *r, const yaml_event_t *event, const MFGYAMLNode *map) {
  char message[300];

  PetscFunctionBeginUser;
  PetscCall(RefuseDecoration(r, event));
  if (r->failed) PetscFunctionReturn(PETSC_SUCCESS);
  if (event->type != YAML_SCALAR_EVENT) {
    PetscCall(Fail(r, event->start_mark,
                   "a key must be one word; put a formula that starts with { or [ in quotes"));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const char *key = (const char *)event->data.scalar.value;
  const size_t length = event->data.scalar.length;
  if (!length || length > MFG_YAML_MAX_KEY || strlen(key) != length) {
    PetscCall(Fail(r, event->start_mark, "a key must have 1 to 100 characters"));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (map->count == MFG_YAML_MAX_CHILDREN)
    PetscCall(Fail(r, event->start_mark, "too many keys in one section: at most 1000"));
  for (int i = 0; i < map->count; i++) {
    if (strcmp(map->child[i]->key, key)) continue;
    const int line = r->in_file ? map->child[i]->key_line : 0;
    snprintf(message, sizeof message,
             line ? "the key '%s' is there twice, first in line %d; keep one of them"
                  : "the key '%s' is there twice; keep one of them",
             key, line);
    PetscCall(Fail(r, event->start_mark, message));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadMap(Reader *r, int depth, MFGYAMLNode *map) {
  map->kind = MFG_YAML_MAP;

  PetscFunctionBeginUser;
  while (!r->failed) {
    yaml_event_t key, value;
    MFGYAMLNode *child = NULL;
    PetscCall(Next(r, &key));
    if (key.type == YAML_MAPPING_END_EVENT) {
      yaml_event_delete(&key);
      break;
    }
    if (!r->failed) PetscCall(CheckKey(r, &key, map));
    PetscCall(Next(r, &value));
    if (!r->failed) PetscCall(ReadNode(r, &value, depth + 1, &child));
    if (child && !r->failed) {
      PetscCall(PetscStrallocpy((const char *)key.data.scalar.value, &child->key));
      child->key_line = r->in_file ? (int)key.start_mark.line + 1 : 0;
      child->key_column = (int)key.start_mark.column + 1;
      PetscCall(AddChild(map, child));
    } else {
      PetscCall(DestroyNode(child));
    }
    yaml_event_delete(&key);
    yaml_event_delete(&value);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadNode(Reader *r, const yaml_event_t *event, int depth,
                               MFGYAMLNode **node) {
  PetscFunctionBeginUser;
  PetscCall(RefuseDecoration(r, event));
  if (depth > MFG_YAML_MAX_DEPTH)
    PetscCall(Fail(r, event->start_mark,
                   "nested too deep: at most 16 levels; no key of the input needs more than 4"));
  if (r->failed) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscNew(node));
  (*node)->source = r->source;
  (*node)->line = r->in_file ? (int)event->start_mark.line + 1 : 0;
  (*node)->column = (int)event->start_mark.column + 1;
  if (event->type == YAML_SCALAR_EVENT) PetscCall(FillScalar(r, event, *node));
  if (event->type == YAML_SEQUENCE_START_EVENT) PetscCall(ReadList(r, depth, *node));
  if (event->type == YAML_MAPPING_START_EVENT) PetscCall(ReadMap(r, depth, *node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* libyaml would take UTF-16 and stops at a NUL with a message nobody understands. */
static PetscErrorCode CheckBytes(Reader *r, size_t length, const char *bytes) {
  yaml_mark_t mark = {0};

  PetscFunctionBeginUser;
  for (size_t i = 0; i < length && !r->failed;) {
    const unsigned char c = (unsigned char)bytes[i];
    const int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
    PetscBool good = (PetscBool)(more >= 0 && i + more < length);
    for (int k = 1; good && k <= more; k++)
      if (((unsigned char)bytes[i + k] & 0xc0) != 0x80) good = PETSC_FALSE;
    if (!good) PetscCall(Fail(r, mark, "not UTF-8 text; save the file as UTF-8"));
    if (!c) PetscCall(Fail(r, mark, "a NUL character; this is not a text file"));
    if (c == '\n') mark.line++;
    mark.column = c == '\n' ? 0 : mark.column + 1;
    i += good ? (size_t)more + 1 : 1;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadDocument(Reader *r, MFGYAMLNode **root) {
  yaml_event_t event;

  PetscFunctionBeginUser;
  PetscCall(Next(r, &event));
  yaml_event_delete(&event);
  PetscCall(Next(r, &event));
  const PetscBool empty = (PetscBool)(event.type == YAML_STREAM_END_EVENT);
  if (empty)
    PetscCall(Fail(r, event.start_mark,
                   "nothing is in it; start from a case of input/, or see 'nashflow help "
                   "parameters'"));
  yaml_event_delete(&event);
  PetscCall(Next(r, &event));
  if (!r->failed) PetscCall(ReadNode(r, &event, r->depth, root));
  yaml_event_delete(&event);
  PetscCall(Next(r, &event));
  yaml_event_delete(&event);
  PetscCall(Next(r, &event));
  if (!r->failed && event.type != YAML_STREAM_END_EVENT)
    PetscCall(Fail(r, event.start_mark, "a second document starts here; keep one per file"));
  yaml_event_delete(&event);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Keeps a copy of the source for the nodes that borrow it. */
static PetscErrorCode KeepSource(MFGYAMLTree *tree, const char *source, const char **kept) {
  PetscFunctionBeginUser;
  PetscCall(PetscRealloc((tree->source_count + 1) * sizeof *tree->source, &tree->source));
  PetscCall(PetscStrallocpy(source, &tree->source[tree->source_count]));
  *kept = tree->source[tree->source_count++];
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadBytes(Reader *r, size_t length, const char *bytes, MFGYAMLNode **root) {
  yaml_mark_t start = {0};

  PetscFunctionBeginUser;
  *root = NULL;
  if (length >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3)) {
    bytes += 3; /* the mark that some editors put before UTF-8 */
    length -= 3;
  }
  if (length > MFG_YAML_MAX_BYTES)
    PetscCall(Fail(r, start,
                   "larger than 1 MiB; put tables into an HDF5 file and name it by "
                   "{file: f.h5, dataset: /name}"));
  if (!r->failed) PetscCall(CheckBytes(r, length, bytes));
  if (!r->failed) {
    PetscCheck(yaml_parser_initialize(&r->parser), PETSC_COMM_SELF, PETSC_ERR_MEM,
               "the YAML parser cannot start");
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)bytes, length);
    PetscCall(ReadDocument(r, root));
    yaml_parser_delete(&r->parser);
  }
  if (r->failed) {
    PetscCall(DestroyNode(*root));
    *root = NULL;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGYAMLParse(const char *source, size_t length, const char *bytes, MFGYAMLTree *tree,
                            MFGConfigErrors *errors) {
  Reader r = {.in_file = PETSC_TRUE, .errors = errors};
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  memset(tree, 0, sizeof *tree);
  PetscCall(KeepSource(tree, source, &r.source));
  PetscCall(ReadBytes(&r, length, bytes, &tree->root));
  if (tree->root && tree->root->kind != MFG_YAML_MAP) {
    MFGYAMLPlace(tree->root, PETSC_FALSE, place);
    PetscCall(MFGConfigErrorsAdd(errors, place,
                                 "the input must be sections with keys, as in 'time: {horizon: 1, "
                                 "steps: 50}'; see 'nashflow help parameters'"));
    PetscCall(DestroyNode(tree->root));
    tree->root = NULL;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static MFGYAMLNode *FindChild(const MFGYAMLNode *node, const char *key, size_t length) {
  if (node->kind != MFG_YAML_MAP) return NULL;
  for (int i = 0; i < node->count; i++)
    if (!strncmp(node->child[i]->key, key, length) && !node->child[i]->key[length])
      return node->child[i];
  return NULL;
}

MFGYAMLNode *MFGYAMLFind(const MFGYAMLNode *node, const char *path) {
  while (node) {
    const size_t length = strcspn(path, ".");
    node = FindChild(node, path, length);
    if (!path[length]) break;
    path += length + 1;
  }
  return (MFGYAMLNode *)node;
}

/* Puts `value` under `key`, in the place of what is there. */
static PetscErrorCode Put(Reader *r, MFGYAMLNode *parent, const char *key, size_t length,
                          MFGYAMLNode *value) {
  const yaml_mark_t nowhere = {0};
  MFGYAMLNode *old = FindChild(parent, key, length);

  PetscFunctionBeginUser;
  if (!old && parent->count == MFG_YAML_MAX_CHILDREN) {
    PetscCall(Fail(r, nowhere, "too many keys in one section: at most 1000"));
    PetscCall(DestroyNode(value));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscMalloc1(length + 1, &value->key));
  memcpy(value->key, key, length);
  value->key[length] = 0;
  if (!old) PetscCall(AddChild(parent, value));
  for (int i = 0; old && i < parent->count; i++)
    if (parent->child[i] == old) parent->child[i] = value;
  PetscCall(DestroyNode(old));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An empty section `time:` counts as one without keys, so that --set can fill it. */
static PetscErrorCode Descend(Reader *r, MFGYAMLNode *node, const char *key, size_t length,
                              MFGYAMLNode **child) {
  char message[200];
  const yaml_mark_t nowhere = {0};

  PetscFunctionBeginUser;
  *child = FindChild(node, key, length);
  if (!*child) {
    PetscCall(PetscNew(child));
    (*child)->kind = MFG_YAML_MAP;
    (*child)->source = r->source;
    PetscCall(Put(r, node, key, length, *child));
  } else if (MFGYAMLIsNull(*child)) {
    (*child)->kind = MFG_YAML_MAP;
    PetscCall(PetscFree((*child)->value));
  } else if ((*child)->kind != MFG_YAML_MAP) {
    snprintf(message, sizeof message, "'%s' has a value, not keys; set it as a whole",
             (*child)->key);
    PetscCall(Fail(r, nowhere, message));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The keys of a path are as those of a file. */
static PetscErrorCode CheckPath(Reader *r, const char *path) {
  const yaml_mark_t nowhere = {0};

  PetscFunctionBeginUser;
  for (PetscBool more = PETSC_TRUE; more; r->depth++) {
    const size_t length = strcspn(path, ".");
    if (!length || length > MFG_YAML_MAX_KEY)
      PetscCall(Fail(r, nowhere, "a key must have 1 to 100 characters"));
    more = (PetscBool)(path[length] == '.');
    path += length + more;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGYAMLSet(MFGYAMLTree *tree, const char *source, const char *path,
                          const char *value, MFGConfigErrors *errors) {
  Reader r = {.errors = errors};
  MFGYAMLNode *node = tree->root, *new_value = NULL;
  size_t length;

  PetscFunctionBeginUser;
  PetscCall(KeepSource(tree, source, &r.source));
  PetscCall(CheckPath(&r, path));
  if (!*value) value = "~";
  if (!r.failed) PetscCall(ReadBytes(&r, strlen(value), value, &new_value));
  for (; !r.failed && path[length = strcspn(path, ".")]; path += length + 1)
    PetscCall(Descend(&r, node, path, length, &node));
  if (r.failed)
    PetscCall(DestroyNode(new_value));
  else
    PetscCall(Put(&r, node, path, strlen(path), new_value));
  PetscFunctionReturn(PETSC_SUCCESS);
}
