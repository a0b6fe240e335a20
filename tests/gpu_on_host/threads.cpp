/* The threads of a launch, block after block in an order shuffled by the seed. A thread runs until
 * it ends or waits for others; only one that waits keeps a stack (fiber) of its own, so that
 * kernels without barriers cost a call each. */
#include "tests/gpu_on_host/internal.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <link.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

MFGStandinPlace mfg_standin_place;

namespace standin {

const char *running;

namespace {

constexpr size_t stack_bytes = 256 * 1024, guard_bytes = 4096;
constexpr unsigned lanes = 32;

enum class State { Ready, AtBarrier, InWarp, Left };

/* A stack and where it goes on. ASan is told of every switch. */
struct Context {
  jmp_buf at;
  const void *bottom = nullptr;
  size_t bytes = 0;
};

struct Fiber;

struct Thread {
  uint3 index;
  State state = State::Ready;
  Fiber *fiber = nullptr; /* null before it first runs */
  const char *where = nullptr;
  unsigned mask = 0;
  uint64_t word = 0;
  uint32_t exchanges = 0;
  int predicate = 0;
  MFGStandinVote vote = MFG_STANDIN_NONE;
};

struct Fiber {
  Context context;
  ucontext_t start;
  Thread *thread = nullptr; /* the one to run, or that runs */
};

struct Block {
  const MFGStandinKernel *launch = nullptr;
  std::vector<Thread> threads;
  std::vector<std::array<uint64_t, lanes>> words; /* that each thread has got from its warp */
  std::vector<Thread *> order; /* in which the ready ones run; next: where it stands */
  size_t next = 0;
  std::vector<unsigned char> shared;
  uint32_t rank = 0, barriers = 0;
  uint64_t launches = 0, run = 0; /* so far */
};

Block block;
Thread *current;
Context scheduler;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber *> idle;

/* ---- switching ---- */

void BeginSwitch([[maybe_unused]] void **fake, [[maybe_unused]] const Context &to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake, to.bottom, to.bytes);
#endif
}

void EndSwitch([[maybe_unused]] void *fake, [[maybe_unused]] Context *from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, from ? &from->bottom : nullptr,
                                  from ? &from->bytes : nullptr);
#endif
}

/* swapcontext would ask the system for the signal mask each time: 20 times slower. */
void Switch(Context &from, const Context &to) {
  void *fake = nullptr;
  BeginSwitch(&fake, to);
  if (!_setjmp(from.at)) _longjmp(const_cast<jmp_buf &>(to.at), 1);
  EndSwitch(fake, nullptr);
}

/* The next ready thread if it has not begun yet, else null. */
Thread *NextFresh() {
  if (block.next >= block.order.size()) return nullptr;
  Thread *t = block.order[block.next];
  if (t->fiber) return nullptr;
  block.next++;
  return t;
}

void Enter(Thread *t) {
  current = t;
  mfg_standin_place.thread = t->index;
}

/* What a fiber does for ever: threads one after the other until none is fresh. */
void FiberMain(unsigned high, unsigned low) {
  Fiber *f = reinterpret_cast<Fiber *>(uintptr_t(high) << 32 | low);
  EndSwitch(nullptr, &scheduler);
  for (;;) {
    for (Thread *t = f->thread; t; t = NextFresh()) {
      f->thread = t;
      t->fiber = f;
      Enter(t);
      block.launch->call(block.launch->body);
      t->state = State::Left;
    }
    f->thread = nullptr;
    idle.push_back(f);
    Switch(f->context, scheduler);
  }
}

void Begin(Fiber &f) {
  void *fake = nullptr;
  BeginSwitch(&fake, f.context);
  if (!_setjmp(scheduler.at)) setcontext(&f.start);
  EndSwitch(fake, nullptr);
}

Fiber *NewFiber() {
  fibers.push_back(std::make_unique<Fiber>());
  Fiber *f = fibers.back().get();
  char *stack = static_cast<char *>(mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stack == MAP_FAILED || mprotect(stack, guard_bytes, PROT_NONE))
    Fail("no memory for the stack of a thread");
  f->context.bottom = stack + guard_bytes;
  /* Tops at different places of a page, so that those of a block share no line of the cache. */
  f->context.bytes = stack_bytes - fibers.size() % 16 * 1088;
  getcontext(&f->start);
  f->start.uc_stack.ss_sp = stack + guard_bytes;
  f->start.uc_stack.ss_size = f->context.bytes;
  f->start.uc_link = nullptr;
  const uintptr_t address = reinterpret_cast<uintptr_t>(f);
  makecontext(&f->start, reinterpret_cast<void (*)()>(FiberMain), 2, unsigned(address >> 32),
              unsigned(address));
  return f;
}

/* Runs a thread, and any fresh ones after it, until one waits or none is left to run. */
void Run(Thread *t) {
  if (t->fiber) {
    Enter(t);
    Switch(scheduler, t->fiber->context);
    return;
  }
  const bool reused = !idle.empty();
  Fiber *f = reused ? idle.back() : NewFiber();
  if (reused) idle.pop_back();
  f->thread = t;
  if (reused)
    Switch(scheduler, f->context);
  else
    Begin(*f);
}

/* ---- waiting ---- */

/* Straight to the next ready thread where that has a stack. */
void Wait(State state, const char *where) {
  Context &mine = current->fiber->context;
  current->state = state;
  current->where = where;
  if (block.next < block.order.size() && block.order[block.next]->fiber) {
    Thread *t = block.order[block.next++];
    Enter(t);
    Switch(mine, t->fiber->context);
  } else {
    Switch(mine, scheduler);
  }
}

bool SamePlace(const char *a, const char *b) {
  return a == b || !strcmp(a, b);
}

void Release(Thread &t) {
  t.state = State::Ready;
  block.order.push_back(&t);
}

std::string Describe(const Thread &t) {
  char text[300];
  const char *what = t.state == State::Left ? "has left the kernel" : t.where;
  snprintf(text, sizeof text, "\n  thread (%u,%u,%u): %s", t.index.x, t.index.y, t.index.z, what);
  return text;
}

/* One thread of each place where threads are. */
[[noreturn]] void FailDivergent(const char *what) {
  std::string text;
  std::vector<std::string> seen;
  for (const Thread &t : block.threads) {
    const std::string place = t.state == State::Left ? "" : t.where;
    if (std::find(seen.begin(), seen.end(), place) != seen.end()) continue;
    seen.push_back(place);
    text += Describe(t);
  }
  Fail("%s%s", what, text.c_str());
}

void ReleaseBarrier() {
  const char *where = nullptr;
  int count = 0;
  for (const Thread &t : block.threads) {
    if (t.state != State::AtBarrier || (where && !SamePlace(where, t.where)))
      FailDivergent("the threads of a block are not all at the same barrier:");
    where = t.where;
    count += t.predicate;
  }
  const int size = (int)block.threads.size();
  block.barriers++;
  for (Thread &t : block.threads) {
    t.predicate = t.vote == MFG_STANDIN_COUNT ? count
                  : t.vote == MFG_STANDIN_AND ? count == size
                                              : count > 0;
    Release(t);
  }
}

/* The lanes of a warp that the mask names and the block has. */
template <class F> bool EachLane(unsigned warp, unsigned mask, F f) {
  const size_t begin = warp * lanes, end = std::min(begin + lanes, block.threads.size());
  for (size_t i = begin; i < end; i++)
    if (mask >> (i - begin) & 1 && !f(block.threads[i])) return false;
  return true;
}

/* Releases the lanes of `t` when all have come to the same place. */
bool TryExchange(Thread &t) {
  const unsigned warp = unsigned(&t - block.threads.data()) / lanes;
  const unsigned mask = t.mask;
  const char *where = t.where;
  if (!EachLane(warp, mask, [&](const Thread &other) {
        return other.state == State::InWarp && other.mask == mask && SamePlace(other.where, where);
      }))
    return false;
  std::array<uint64_t, lanes> words;
  words.fill(~UINT64_C(0));
  EachLane(warp, mask, [&](const Thread &other) {
    words[&other - &block.threads[warp * lanes]] = other.word;
    return true;
  });
  EachLane(warp, mask, [&](Thread &other) {
    block.words[&other - block.threads.data()] = words;
    other.exchanges++;
    Release(other);
    return true;
  });
  return true;
}

/* All ready threads have run: what waits goes on together, or never can. */
bool ReleaseWaiting() {
  bool left = true, barrier = false, exchanged = false;
  block.order.clear();
  block.next = 0;
  for (Thread &t : block.threads) {
    left = left && t.state == State::Left;
    barrier = barrier || t.state == State::AtBarrier;
    if (t.state == State::InWarp) exchanged = TryExchange(t) || exchanged;
  }
  if (left) return false;
  if (exchanged) return true;
  for (const Thread &t : block.threads)
    if (t.state == State::InWarp)
      FailDivergent("lanes of a warp wait for others that their mask names and that do not come:");
  if (barrier) ReleaseBarrier();
  return true;
}

/* ---- blocks ---- */

/* All __shared__ variables: the program's thread-local memory. */
int FindShared(dl_phdr_info *info, size_t, void *data) {
  auto *range = static_cast<std::pair<char *, size_t> *>(data);
  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_TLS)
      *range = {static_cast<char *>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz};
  return 1; /* the program itself comes first */
}

std::pair<char *, size_t> &FixedShared() {
  static std::pair<char *, size_t> fixed;
  if (!fixed.first) dl_iterate_phdr(FindShared, &fixed);
  return fixed;
}

void PoisonShared() {
  const auto [fixed, bytes] = FixedShared();
  if (fixed) memset(fixed, 0xff, bytes);
  std::fill(block.shared.begin(), block.shared.end(), 0xff);
}

uint3 Unflatten(uint64_t i, dim3 size) {
  return {unsigned(i % size.x), unsigned(i / size.x % size.y), unsigned(i / size.x / size.y)};
}

void RunBlock() {
  const size_t count = block.threads.size();
  PoisonShared();
  block.barriers = 0;
  block.run++;
  block.order.clear();
  for (size_t i = 0; i < count; i++) {
    block.threads[i].state = State::Ready;
    block.threads[i].fiber = nullptr;
    block.threads[i].exchanges = 0;
    block.order.push_back(&block.threads[i]);
  }
  block.next = 0;
  do {
    Order().Shuffle(block.order.data(), (unsigned)block.order.size());
    while (block.next < block.order.size()) Run(block.order[block.next++]);
  } while (ReleaseWaiting());
}

} // namespace

void RunThreads(const MFGStandinKernel &launch) {
  const dim3 g = launch.grid, b = launch.block;
  std::vector<uint64_t> order((uint64_t)g.x * g.y * g.z);
  for (uint64_t i = 0; i < order.size(); i++) order[i] = i;
  Order().Shuffle(order.data(), (unsigned)order.size());
  block.launch = &launch;
  block.threads.resize((size_t)b.x * b.y * b.z);
  block.words.resize(block.threads.size());
  for (size_t i = 0; i < block.threads.size(); i++) block.threads[i].index = Unflatten(i, b);
  /* A buffer of just this size: ASan sees what reaches beyond it. */
  block.shared = std::vector<unsigned char>(launch.shared);
  mfg_standin_place.block_size = b;
  mfg_standin_place.grid_size = g;
  running = launch.where;
  block.launches++;
  for (uint64_t i : order) {
    block.rank = (uint32_t)i;
    mfg_standin_place.block = Unflatten(i, g);
    RunBlock();
  }
  running = nullptr;
  current = nullptr;
}

bool TheMoment(Moment *moment) {
  if (!current) return false;
  *moment = {block.rank,     uint32_t(current - block.threads.data()),
             block.barriers, current->exchanges,
             block.launches, block.run};
  return true;
}

bool InShared(const void *address) {
  const char *a = static_cast<const char *>(address);
  const auto [fixed, bytes] = FixedShared();
  const char *dynamic = reinterpret_cast<const char *>(block.shared.data());
  return (a >= fixed && a < fixed + bytes) || (a >= dynamic && a < dynamic + block.shared.size());
}

} // namespace standin

using namespace standin;

int MFGStandinBarrier(const char *where, MFGStandinVote vote, int predicate) {
  current->vote = vote;
  current->predicate = predicate;
  Wait(State::AtBarrier, where);
  return current->predicate;
}

const uint64_t *MFGStandinExchange(const char *where, unsigned mask, uint64_t word) {
  if (!(mask >> MFGStandinLane() & 1)) Fail("%s: the mask %#x lacks the lane itself", where, mask);
  current->mask = mask;
  current->word = word;
  Wait(State::InWarp, where);
  return block.words[current - block.threads.data()].data();
}

unsigned MFGStandinLane() {
  return unsigned(current - block.threads.data()) % lanes;
}

void *MFGStandinDynamicShared() {
  if (block.shared.empty()) Fail("a kernel uses dynamic shared memory and was launched with none");
  return block.shared.data();
}
