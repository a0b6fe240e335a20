/* Preloaded into tests of several ranks: a rank that finds nothing to receive hands its core to the
 * others. MPICH's ranks spin while they wait (its device polls UCX), and where ranks outnumber the
 * cores each spins through a whole time slice before the one it waits for may go on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>

unsigned ucp_worker_progress(void *worker);

unsigned ucp_worker_progress(void *worker) {
  static unsigned (*progress)(void *);
  if (!progress) *(void **)&progress = dlsym(RTLD_NEXT, "ucp_worker_progress");
  const unsigned events = progress(worker);
  if (!events) sched_yield();
  return events;
}
