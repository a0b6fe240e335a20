/* Tries files, and all files of directories, in a target of libFuzzer: replay PATH... */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int tried;

static void TryFile(const char *path) {
  FILE *f = fopen(path, "rb");
  MFG_PROMISE(f && !fseek(f, 0, SEEK_END), "%s cannot be read", path);
  const size_t size = (size_t)ftell(f);
  uint8_t *data = malloc(size + 1);
  rewind(f);
  MFG_PROMISE(data && fread(data, 1, size, f) == size, "%s cannot be read", path);
  fclose(f);
  fprintf(stderr, "%s\n", path); /* the last one printed is the one that failed */
  (void)LLVMFuzzerTestOneInput(data, size);
  free(data);
  tried++;
}

static void TryPath(const char *path) {
  struct dirent **entries;
  struct stat status;
  MFG_PROMISE(!stat(path, &status), "%s is not there", path);
  if (!S_ISDIR(status.st_mode)) {
    TryFile(path);
    return;
  }
  const int n = scandir(path, &entries, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    char inner[PETSC_MAX_PATH_LEN];
    snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.') TryPath(inner);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  if (LLVMFuzzerInitialize(&argc, &argv)) return 1;
  for (int i = 1; i < argc; i++) TryPath(argv[i]);
  printf("%d inputs tried\n", tried);
  return tried ? 0 : 1;
}
