/* A YAML document as a tree that knows where everything stands; a safe subset: no anchors, aliases
 * or tags, one document, no key twice, bounded size and depth. */
#pragma once

#include "app/config.h"

#define MFG_YAML_MAX_BYTES (1 << 20)
#define MFG_YAML_MAX_DEPTH 16
#define MFG_YAML_MAX_CHILDREN 1000
#define MFG_YAML_MAX_KEY 100

typedef enum { MFG_YAML_SCALAR, MFG_YAML_LIST, MFG_YAML_MAP } MFGYAMLKind;

typedef struct MFGYAMLNode_ MFGYAMLNode;
struct MFGYAMLNode_ {
  MFGYAMLKind kind;
  const char *source; /* borrowed from the tree: the file's name, or "--set path=value" */
  int line, column;   /* from 1; line 0: the source says it all */
  int key_line, key_column;
  char *key;       /* owned; of an entry of a map, else NULL */
  char *value;     /* owned; of a scalar */
  PetscBool plain; /* scalar without quotes */
  int inner;       /* column of the value's first character; 0: lines or escapes hide it */
  int count;
  MFGYAMLNode **child; /* owned */
};

typedef struct {
  MFGYAMLNode *root; /* a map, or NULL after an error */
  int source_count;
  char **source; /* owned */
} MFGYAMLTree;

/* Not collective. `bytes` need not end with 0. What is wrong goes to `errors` with its place. */
PetscErrorCode MFGYAMLParse(const char *source, size_t length, const char *bytes, MFGYAMLTree *tree,
                            MFGConfigErrors *errors);

/* Not collective. Puts `value`, parsed as YAML, at the dotted path; makes the maps on the way and
 * replaces what is there. `source` names its place in messages. */
PetscErrorCode MFGYAMLSet(MFGYAMLTree *tree, const char *source, const char *path,
                          const char *value, MFGConfigErrors *errors);
PetscErrorCode MFGYAMLDestroy(MFGYAMLTree *tree);

/* The node at the dotted path below `node`, or NULL. */
MFGYAMLNode *MFGYAMLFind(const MFGYAMLNode *node, const char *path);

/* "case.yaml:14:3" of the value, or of its key. */
#define MFG_YAML_PLACE 512
void MFGYAMLPlace(const MFGYAMLNode *node, PetscBool of_key, char place[MFG_YAML_PLACE]);

/* Nothing behind the colon, or ~, or null. */
PetscBool MFGYAMLIsNull(const MFGYAMLNode *node);
