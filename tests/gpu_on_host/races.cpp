/* Races of threads, found in kernels that are compiled with -fsanitize=thread: the compiler then
 * calls the functions below for each access to memory; libtsan is not linked.
 *
 * Two accesses to the same bytes by different threads of a launch race when one is a plain write
 * and nothing orders them: no barrier of their block, no exchange of their warp between them.
 * Atomics and volatile accesses do not race with each other. Threads run one at a time, so that
 * without this a forgotten atomic gives the right sum. Of reads the first and the last are
 * remembered. */
#include "tests/gpu_on_host/internal.h"

#include <utility>
#include <vector>

#include <dlfcn.h>

namespace standin {
namespace {

enum Use : uint8_t { Nothing, Read, Write, Atomic };
const char *const names[] = {"", "reads", "writes", "changes atomically"};

struct Access4 {
  uint32_t block, thread, barriers, exchanges;
  Use use;
  uint8_t bytes; /* of the word, a bit each */
};

enum { LastWrite, FirstRead, LastRead, LastAtomic, kinds };

/* What was done to the four bytes from `address` since `epoch` began: a launch, or the run of a
 * block for its shared memory. */
struct Word {
  uintptr_t address;
  uint64_t epoch;
  Access4 last[kinds];
};

/* Open addressing; what is of an older epoch counts as empty. */
class Words {
public:
  Word &At(uintptr_t address, uint64_t epoch) {
    if (words.empty() || used * 2 > words.size()) Grow();
    for (size_t i = Hash(address);; i = (i + 1) & (words.size() - 1)) {
      Word &w = words[i];
      if (w.address == address) {
        if (w.epoch != epoch) w = {address, epoch, {}};
        return w;
      }
      if (w.address) continue;
      used++;
      w = {address, epoch, {}};
      return w;
    }
  }

private:
  size_t Hash(uintptr_t a) const { return (a >> 2) * UINT64_C(0x9E3779B97F4A7C15) >> shift; }
  void Grow() {
    const std::vector<Word> before = std::move(words);
    shift--;
    used = 0;
    words.assign(size_t(1) << (64 - shift), {});
    for (const Word &w : before)
      if (w.address) At(w.address, w.epoch) = w;
  }
  std::vector<Word> words;
  size_t used = 0;
  int shift = 50;
};
Words words;

bool Conflict(const Access4 &a, const Access4 &b) {
  if (!a.use || !(a.bytes & b.bytes)) return false;
  return a.use == Write || b.use == Write || a.use != b.use;
}

bool Ordered(const Access4 &a, const Access4 &b) {
  if (a.block != b.block) return false;
  if (a.thread == b.thread || a.barriers != b.barriers) return true;
  return a.thread / 32 == b.thread / 32 && a.exchanges != b.exchanges;
}

void Remember(Word &w, const Access4 &a) {
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
[[noreturn]] void FailRace(const Access4 &mine, const Access4 &other, bool shared,
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
  const uint64_t epoch = shared ? now.blocks_run : now.launches;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(address), end = begin + size;
  for (uintptr_t a = begin & ~uintptr_t(3); a < end; a += 4) {
    Access4 mine = {now.block, now.thread, now.barriers, now.exchanges, use, 0};
    for (int i = 0; i < 4; i++)
      if (a + i >= begin && a + i < end) mine.bytes |= 1 << i;
    Word &w = words.At(a, epoch);
    for (const Access4 &other : w.last)
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
