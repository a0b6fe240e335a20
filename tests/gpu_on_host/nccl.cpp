/* NCCL over MPI. Collectives are work of a stream that each rank does piece by piece with
 * non-blocking MPI calls, so that none waits for another rank but where a device would. */
#include "tests/gpu_on_host/internal.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <limits.h>
#include <mpi.h>
#include <nccl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

using standin::Kind;

namespace {

/* What the ranks of a communicator tell its root, and the root all of them. */
struct Member {
  int world, rank, bus;
};

struct Identity {
  int root, number; /* rank of the world that made it, and its how many-th it is */
};

struct Transfer {
  enum { Sum, Send, Receive } kind;
  const void *from;
  void *to;
  size_t bytes;
  MPI_Datatype type; /* of a reduction */
  MPI_Op operation;
  int peer;
};

} // namespace

struct ncclComm {
  int rank = 0, size = 0, bus = 0;
  bool blocking = true, ready = false, aborted = false, alive = true;
  ncclResult_t error = ncclSuccess;
  Identity identity = {};
  std::vector<Member> members; /* of the root: those that have come */
  MPI_Comm mpi = MPI_COMM_NULL;
  std::vector<std::function<ncclResult_t()>> deferred; /* calls that are in progress */
  int polls = 0;
};

namespace {

using Comm = std::shared_ptr<ncclComm>;

struct Group {
  Comm comm;
  cudaStream_t stream;
  std::vector<Transfer> transfers;
};

struct State {
  std::vector<Comm> comms;
  int identities = 0, depth = 0;
  std::vector<Group> group;
  /* Buffers that MPI may still write to after an abort. */
  std::vector<std::vector<char>> abandoned;
};

State &TheState() {
  static State *s = new State;
  return *s;
}

constexpr int tag_join = 31000, tag_members = 31500, tags = 500;

Comm Find(ncclComm_t handle) {
  for (const Comm &c : TheState().comms)
    if (c.get() == handle && c->alive) return c;
  return nullptr;
}

/* ---- set-up: the root collects who takes part and tells all ---- */

void Tell(const ncclComm &c) {
  for (const Member &m : c.members)
    if (m.world != c.identity.root)
      PMPI_Send(c.members.data(), (int)(c.members.size() * sizeof(Member)), MPI_BYTE, m.world,
                tag_members + c.identity.number % tags, MPI_COMM_WORLD);
}

void Collect(ncclComm &c) {
  const int tag = tag_join + c.identity.number % tags;
  int there = 1;
  while ((int)c.members.size() < c.size && there) {
    PMPI_Iprobe(MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE);
    if (!there) return;
    Member m;
    PMPI_Recv(&m, sizeof m, MPI_BYTE, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    c.members.push_back(m);
  }
  std::sort(c.members.begin(), c.members.end(),
            [](const Member &a, const Member &b) { return a.rank < b.rank; });
  Tell(c);
}

void Listen(ncclComm &c) {
  const int tag = tag_members + c.identity.number % tags;
  int there;
  PMPI_Iprobe(c.identity.root, tag, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE);
  if (!there) return;
  c.members.resize((size_t)c.size);
  PMPI_Recv(c.members.data(), (int)(c.members.size() * sizeof(Member)), MPI_BYTE, c.identity.root,
            tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* NCCL before 2.30 refuses two ranks on one device. */
bool DeviceTwice(const ncclComm &c) {
  for (const Member &a : c.members)
    for (const Member &b : c.members)
      if (a.rank != b.rank && a.bus == b.bus) return true;
  return false;
}

/* All have come, so that this does not wait long. */
void Make(ncclComm &c) {
  std::vector<int> worlds;
  MPI_Group world, group;
  for (const Member &m : c.members) worlds.push_back(m.world);
  PMPI_Comm_group(MPI_COMM_WORLD, &world);
  PMPI_Group_incl(world, c.size, worlds.data(), &group);
  PMPI_Comm_create_group(MPI_COMM_WORLD, group, tag_join + c.identity.number % tags, &c.mpi);
  PMPI_Group_free(&group);
  PMPI_Group_free(&world);
  c.ready = true;
}

void ProgressSetUp(ncclComm &c) {
  if (c.ready || c.error || c.aborted) return;
  int world;
  PMPI_Comm_rank(MPI_COMM_WORLD, &world);
  if (world == c.identity.root)
    Collect(c);
  else
    Listen(c);
  if ((int)c.members.size() < c.size) return;
  if (DeviceTwice(c))
    c.error = ncclInvalidUsage;
  else
    Make(c);
}

/* ---- a rank that dies, for tests ---- */

struct Death {
  int rank = -1, collective = 0;
  std::string how;
};

/* MFG_STANDIN_DEATH=rank:n:how, at that rank's n-th collective. */
const Death &TheDeath() {
  static const Death d = [] {
    Death death;
    char how[32];
    const char *text = getenv("MFG_STANDIN_DEATH");
    if (!text) return death;
    if (sscanf(text, "%d:%d:%31s", &death.rank, &death.collective, how) != 3)
      standin::Fail("MFG_STANDIN_DEATH=%s is not rank:n:how", text);
    death.how = how;
    return death;
  }();
  return d;
}

/* False where the collective never ends. */
bool Live(ncclComm &c, int count) {
  const Death &d = TheDeath();
  if (d.how.empty() || count < d.collective) return true;
  if (d.how == "error") {
    c.error = ncclRemoteError;
    return false;
  }
  if (c.rank != d.rank) return true;
  if (d.how == "kill") raise(SIGKILL);
  for (;;) pause();
}

/* ---- collectives ---- */

struct Exchange {
  Comm comm;
  std::vector<Transfer> transfers;
  std::vector<std::vector<char>> out, in;
  std::vector<MPI_Request> requests;
  bool started = false, captured = false;

  void Post(const Transfer &t, std::vector<char> &from, std::vector<char> &to) {
    MPI_Request request;
    const int bytes = (int)t.bytes;
    if (t.kind == Transfer::Receive) {
      to.resize(t.bytes);
      PMPI_Irecv(to.data(), bytes, MPI_BYTE, t.peer, MPI_ANY_TAG, comm->mpi, &request);
    } else {
      const char *source = static_cast<const char *>(t.from);
      from.assign(source, source + t.bytes);
      if (t.kind == Transfer::Send) {
        /* A send waits for its receive, as NCCL's may. */
        PMPI_Issend(from.data(), bytes, MPI_BYTE, t.peer, captured, comm->mpi, &request);
      } else {
        int size;
        PMPI_Type_size(t.type, &size);
        to.resize(t.bytes);
        PMPI_Iallreduce(from.data(), to.data(), bytes / size, t.type, t.operation, comm->mpi,
                        &request);
      }
    }
    requests.push_back(request);
  }

  void Start() {
    standin::Running what("an NCCL call");
    out.assign(transfers.size(), {});
    in.assign(transfers.size(), {});
    for (size_t i = 0; i < transfers.size(); i++) Post(transfers[i], out[i], in[i]);
    started = true;
  }

  /* MPI cannot take back a collective: its requests and buffers stay for ever. */
  void Abandon() {
    for (auto *buffers : {&out, &in})
      for (auto &b : *buffers) TheState().abandoned.push_back(std::move(b));
    Reset();
  }

  void Reset() {
    requests.clear();
    out.clear();
    in.clear();
    started = false;
  }

  /* Whether a call is captured must be the same on all ranks that take part. */
  void Check(const Transfer &t, const MPI_Status &status) const {
    int got;
    if (t.kind != Transfer::Receive) return;
    if (status.MPI_TAG != captured)
      standin::Fail(
          "ncclRecv is %s and the ncclSend of rank %d is %s: NCCL wants both in graphs, or none",
          captured ? "captured" : "not captured", t.peer, captured ? "not" : "captured");
    PMPI_Get_count(&status, MPI_BYTE, &got);
    if ((size_t)got != t.bytes)
      standin::Fail("ncclRecv of %zu bytes from rank %d, which sends %d", t.bytes, t.peer, got);
  }

  bool Run() {
    static int count;
    if (comm->aborted) {
      if (started) Abandon();
      return true;
    }
    if (!started) {
      if (comm->error || !Live(*comm, ++count)) return false;
      Start();
    }
    int done;
    std::vector<MPI_Status> statuses(requests.size());
    PMPI_Testall((int)requests.size(), requests.data(), &done, statuses.data());
    if (!done) return false;
    standin::Running what("an NCCL call");
    for (size_t i = 0; i < transfers.size(); i++) {
      Check(transfers[i], statuses[i]);
      if (!in[i].empty()) memcpy(transfers[i].to, in[i].data(), in[i].size());
    }
    Reset();
    return true;
  }
};

ncclResult_t EnqueueGroup(const Group &g) {
  auto exchange = std::make_shared<Exchange>();
  exchange->comm = g.comm;
  exchange->transfers = g.transfers;
  cudaStreamCaptureStatus status;
  if (!cudaStreamIsCapturing(g.stream, &status))
    exchange->captured = status == cudaStreamCaptureStatusActive;
  const MFGStandinCounts cost = {.collectives = (int64_t)g.transfers.size()};
  return standin::Enqueue(g.stream, Kind::Collective, cost, [exchange] { return exchange->Run(); })
             ? ncclUnhandledCudaError
             : ncclSuccess;
}

ncclResult_t Submit(const Group &g) {
  if (g.comm->blocking) return EnqueueGroup(g);
  g.comm->deferred.push_back([g] { return EnqueueGroup(g); });
  g.comm->polls = 0;
  return ncclInProgress;
}

ncclResult_t Add(ncclComm_t handle, cudaStream_t stream, const Transfer &t) {
  const Comm c = Find(handle);
  if (!c) return ncclInvalidArgument;
  if (!c->ready || !c->deferred.empty())
    standin::Fail("an NCCL call while ncclCommGetAsyncError still says ncclInProgress");
  if (c->error) return c->error;
  if (t.kind != Transfer::Sum && (t.peer < 0 || t.peer >= c->size)) return ncclInvalidArgument;
  if (t.bytes > INT_MAX) standin::Fail("%zu bytes in one NCCL call; the stand-in has int", t.bytes);
  if (t.bytes == 0) return ncclSuccess;
  for (const void *p : {t.from, static_cast<const void *>(t.to)})
    if (p && !standin::InDevice(p, t.bytes)) return ncclInvalidArgument;
  State &s = TheState();
  if (s.depth == 0) return Submit({c, stream, {t}});
  for (Group &g : s.group)
    if (g.comm == c) {
      if (g.stream != stream) standin::Fail("one NCCL group in two streams; the stand-in has one");
      g.transfers.push_back(t);
      return ncclSuccess;
    }
  s.group.push_back({c, stream, {t}});
  return ncclSuccess;
}

size_t SizeOf(ncclDataType_t type) {
  switch (type) {
  case ncclInt8:
  case ncclUint8:
    return 1;
  case ncclInt32:
  case ncclUint32:
  case ncclFloat32:
    return 4;
  default:
    return 8;
  }
}

bool AllReady() {
  for (const Comm &c : TheState().comms)
    if (c->alive && !c->ready && !c->error && !c->aborted) return false;
  return true;
}

} // namespace

namespace standin {

void ProgressCommunicators() {
  for (const Comm &c : TheState().comms) ProgressSetUp(*c);
}

bool CommunicatorsPending() {
  return !AllReady();
}

int CommunicatorsAlive() {
  int alive = 0;
  for (const Comm &c : TheState().comms) alive += c->alive;
  return alive;
}

} // namespace standin

using namespace standin;

ncclResult_t ncclGetVersion(int *version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
  switch (result) {
  case ncclSuccess:
    return "no error";
  case ncclUnhandledCudaError:
    return "unhandled cuda error";
  case ncclSystemError:
    return "unhandled system error";
  case ncclInternalError:
    return "internal error";
  case ncclInvalidArgument:
    return "invalid argument";
  case ncclInvalidUsage:
    return "invalid usage";
  case ncclRemoteError:
    return "remote process exited or there was a network error";
  case ncclInProgress:
    return "NCCL operation in progress";
  }
  return "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm) {
  const Comm c = Find(comm);
  return c && c->error == ncclInvalidUsage ? "Duplicate GPU detected" : "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  Identity identity = {0, TheState().identities++};
  PMPI_Comm_rank(MPI_COMM_WORLD, &identity.root);
  memset(id, 0, sizeof *id);
  memcpy(id, &identity, sizeof identity);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
  *comm = nullptr;
  if (ranks < 1 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  int device, world;
  cudaDeviceProp p;
  if (cudaGetDevice(&device) || cudaGetDeviceProperties(&p, device)) return ncclUnhandledCudaError;
  Comm c = std::make_shared<ncclComm>();
  c->rank = rank;
  c->size = ranks;
  c->bus = p.pciBusID;
  c->blocking = !config || config->blocking != 0;
  memcpy(&c->identity, &id, sizeof c->identity);
  TheState().comms.push_back(c);
  *comm = c.get();
  PMPI_Comm_rank(MPI_COMM_WORLD, &world);
  const Member me = {world, rank, c->bus};
  if (world == c->identity.root)
    c->members.push_back(me);
  else
    PMPI_Send(&me, sizeof me, MPI_BYTE, c->identity.root, tag_join + c->identity.number % tags,
              MPI_COMM_WORLD);
  if (!c->blocking) return ncclInProgress;
  WaitFor([&c] { return c->ready || c->error; });
  return c->error;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}

/* What is in progress stays so for two polls at least. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  const Comm c = Find(comm);
  if (!c) return ncclInvalidArgument;
  Progress();
  *error = c->error;
  if (c->error) return ncclSuccess;
  if (!c->ready || (!c->deferred.empty() && c->polls++ < 2)) {
    *error = ncclInProgress;
    return ncclSuccess;
  }
  for (const auto &call : c->deferred)
    if (const ncclResult_t result = call()) c->error = *error = result;
  c->deferred.clear();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return Find(comm) ? ncclSuccess : ncclInvalidArgument;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const Comm c = Find(comm);
  if (!c) return ncclInvalidArgument;
  if (!c->error) Drain();
  if (c->mpi != MPI_COMM_NULL && !c->error) PMPI_Comm_free(&c->mpi);
  c->alive = false;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const Comm c = Find(comm);
  if (!c) return ncclInvalidArgument;
  c->aborted = true;
  c->alive = false;
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  *count = comm->size;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  *rank = comm->rank;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart(void) {
  TheState().depth++;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
  State &s = TheState();
  if (s.depth == 0) return ncclInvalidUsage;
  if (--s.depth > 0) return ncclSuccess;
  ncclResult_t result = ncclSuccess;
  for (const Group &g : std::exchange(s.group, {}))
    if (const ncclResult_t r = Submit(g)) result = r;
  return result;
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (type != ncclInt64 && type != ncclUint64)
    Fail("ncclAllReduce of type %d: only sums of 64 bit integers are independent of order", type);
  const MPI_Op op = operation == ncclSum   ? MPI_SUM
                    : operation == ncclMax ? MPI_MAX
                    : operation == ncclMin ? MPI_MIN
                                           : MPI_OP_NULL;
  if (op == MPI_OP_NULL)
    Fail("ncclAllReduce with operation %d; the stand-in has not that", operation);
  return Add(comm, stream,
             {Transfer::Sum, send, receive, 8 * count,
              type == ncclInt64 ? MPI_INT64_T : MPI_UINT64_T, op, 0});
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return Add(comm, stream,
             {Transfer::Send, send, nullptr, count * SizeOf(type), MPI_BYTE, MPI_OP_NULL, peer});
}

ncclResult_t ncclRecv(void *receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return Add(
      comm, stream,
      {Transfer::Receive, nullptr, receive, count * SizeOf(type), MPI_BYTE, MPI_OP_NULL, peer});
}
