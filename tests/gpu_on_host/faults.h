/* Planted faults, each run in a process of its own: without it the program must end in order, with
 * it the stand-in, or the check of the result, must tell. */
#pragma once

#include "tests/gpu_on_host/cu_test.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct Fault {
  const char *name;
  void (*run)(bool fault);
  const char *says, *or_says; /* the second where ASan comes first */
};

/* What a test of a result says. */
static inline void Expect(double value, double expected) {
  if (value == expected) return;
  fprintf(stderr, "got %g, expected %g\n", value, expected);
  exit(2);
}

/* Exit code of a process that runs it; what it says goes to text. */
static inline int RunApart(void (*run)(bool), bool fault, char *text, size_t size) {
  int ends[2], status;
  size_t length = 0;
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    run(fault);
    exit(0);
  }
  close(ends[1]);
  for (ssize_t n; length + 1 < size && (n = read(ends[0], text + length, size - 1 - length)) > 0;)
    length += (size_t)n;
  text[length] = 0;
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static inline void RunFault(const Fault &f) {
  static char text[1 << 16];
  const int good = RunApart(f.run, false, text, sizeof text);
  if (good) fail_msg("%s: without the fault it ends with %d:\n%s", f.name, good, text);
  const int bad = RunApart(f.run, true, text, sizeof text);
  if (!bad || !(strstr(text, f.says) || (f.or_says && strstr(text, f.or_says))))
    fail_msg("%s: ends with %d, says not '%s' but:\n%s", f.name, bad, f.says, text);
}
