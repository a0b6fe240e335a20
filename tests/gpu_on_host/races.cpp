/* Races of threads, found in kernels that are compiled with -fsanitize=thread: the compiler then
 * calls the functions below for each access to memory; libtsan is not linked.
 *
 * Two accesses to the same bytes by different threads of a launch race when one is a plain write
 * and nothing orders them: no barrier of their block, no exchange of their warp between them.
 * Atomics and volatile accesses do not race with each other. Threads run one at a time, so that
 * without this a forgotten atomic gives the right sum. Remembered are the last write, the last
 * atomic, the first and the last read of every eight bytes. */
#include "tests/gpu_on_host/internal.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dlfcn.h>

namespace standin {
namespace {

enum Use : uint8_t { Nothing, Read, Write, Atomic };
const char *const names[] = {"", "reads", "writes", "changes atomically"};

struct Touched {
  uint32_t block, barriers;
  uint16_t thread, exchanges;
  Use use;
  uint8_t bytes; /* of the word, a bit each */
};

enum { LastWrite, FirstRead, LastRead, LastAtomic, kinds };

/* What was done to eight bytes in a launch; `run` is the how many-th block for shared memory, which
 * is each block's own. */
struct Word {
  uint32_t launch, run;
  Touched last[kinds];
};

/* Those of a launch, by pages of the memory: what is near there is near here. What is of an older
 * launch counts as empty. */
class Words {
public:
  Word &At(uintptr_t address, uint32_t launch, uint32_t run) {
    if (launch != current) Begin(launch);
    const uintptr_t number = address / page;
    Recent &r = recent[number % recents];
    if (!r.words || r.number != number) r = {number, PageOf(number)};
    Word &w = r.words[address % page / 8];
    if (w.launch != launch || w.run != run) w = {launch, run, {}};
    return w;
  }

private:
  static constexpr size_t page = 4096, recents = 64;
  struct Recent {
    uintptr_t number;
    Word *words;
  };

  void Begin(uint32_t launch) {
    current = launch;
    pages.clear();
    std::fill(recent, recent + recents, Recent{});
  }
  Word *PageOf(uintptr_t number) {
    const auto [found, fresh] = pages.try_emplace(number, pages.size());
    if (fresh && found->second == store.size()) store.emplace_back(new Word[page / 8]());
    return store[found->second].get();
  }

  uint32_t current = 0;
  std::unordered_map<uintptr_t, size_t> pages; /* their places in the store, used again */
  std::vector<std::unique_ptr<Word[]>> store;
  Recent recent[recents] = {};
};
Words words;

bool Conflict(const Touched &a, const Touched &b) {
  if (!a.use || !(a.bytes & b.bytes)) return false;
  return a.use == Write || b.use == Write || a.use != b.use;
}

bool Ordered(const Touched &a, const Touched &b) {
  if (a.block != b.block) return false;
  if (a.thread == b.thread || a.barriers != b.barriers) return true;
  return a.thread / 32 == b.thread / 32 && a.exchanges != b.exchanges;
}

void Remember(Word &w, const Touched &a) {
  if (a.use == Write) {
    w.last[LastWrite] = a;
  } else if (a.use == Atomic) {
    w.last[LastAtomic] = a;
  } else {
    if (!w.last[FirstRead].use) w.last[FirstRead] = a;
    w.last[LastRead] = a;
  }
}

/* `from` is the place in the program, or null. */
[[noreturn]] void FailRace(const Touched &mine, const Touched &other, bool shared,
                           const void *from) {
  Dl_info program;
  char where[100] = "";
  if (from && dladdr(from, &program))
    snprintf(where, sizeof where, " (addr2line %#zx)",
             (size_t)(static_cast<const char *>(from) - static_cast<char *>(program.dli_fbase)));
  Fail(
      "a race: thread %u of block %u %s%s the %s memory that thread %u of block %u %s, and nothing "
      "orders the two",
      mine.thread, mine.block, names[mine.use], where, shared ? "shared" : "device", other.thread,
      other.block, names[other.use]);
}

void Touch(const void *address, size_t size, Use use, const void *from) {
  Moment now;
  if (!TheMoment(&now)) return;
  const bool shared = InShared(address);
  if (!shared && PlaceOf(address) != Place::Device) return;
  const uint32_t run = shared ? uint32_t(now.blocks_run) : 0;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(address), end = begin + size;
  for (uintptr_t a = begin & ~uintptr_t(7); a < end; a += 8) {
    Touched mine = {now.block, now.barriers, uint16_t(now.thread), uint16_t(now.exchanges),
                    use,       0xff};
    if (a < begin) mine.bytes &= uint8_t(0xff << (begin - a));
    if (a + 8 > end) mine.bytes &= uint8_t(0xff >> (a + 8 - end));
    Word &w = words.At(a, uint32_t(now.launches), run);
    for (const Touched &other : w.last)
      if (Conflict(other, mine) && !Ordered(other, mine)) FailRace(mine, other, shared, from);
    Remember(w, mine);
  }
}

} // namespace
} // namespace standin

using namespace standin;

void MFGStandinTouchAtomic(const void *address, size_t bytes) {
  Touch(address, bytes, Atomic, nullptr);
}

extern "C" {

#define HOOK(name, size, use)                                                                      \
  void __tsan_##name(void *address) {                                                              \
    Touch(address, size, use, __builtin_return_address(0));                                        \
  }
#define HOOKS(n)                                                                                   \
  HOOK(read##n, n, Read)                                                                           \
  HOOK(write##n, n, Write)                                                                         \
  HOOK(volatile_read##n, n, Atomic)                                                                \
  HOOK(volatile_write##n, n, Atomic)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#define UNALIGNED(n)                                                                               \
  HOOK(unaligned_read##n, n, Read)                                                                 \
  HOOK(unaligned_write##n, n, Write)
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

void __tsan_read_range(void *address, long size) {
  Touch(address, (size_t)size, Read, __builtin_return_address(0));
}

void __tsan_write_range(void *address, long size) {
  Touch(address, (size_t)size, Write, __builtin_return_address(0));
}

void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void *) {}

} /* extern "C" */
