/* MPI calls that wait for other ranks. While the host waits in one, a device goes on with its NCCL
 * calls; here that is done in between. Collectives are always the non-blocking ones: these do not
 * match blocking ones of another rank. */
#include "tests/gpu_on_host/internal.h"

#include <mpi.h>

using namespace standin;

namespace {

int Finish(int error, MPI_Request *request, MPI_Status *status = MPI_STATUS_IGNORE) {
  if (error) return error;
  WaitFor([&] {
    int done = 0;
    error = PMPI_Test(request, &done, status);
    return error || done;
  });
  return error;
}

} // namespace

extern "C" {

int MPI_Wait(MPI_Request *request, MPI_Status *status) {
  if (!CollectivesPending()) return PMPI_Wait(request, status);
  return Finish(MPI_SUCCESS, request, status);
}

int MPI_Waitall(int count, MPI_Request requests[], MPI_Status statuses[]) {
  if (!CollectivesPending()) return PMPI_Waitall(count, requests, statuses);
  int error = MPI_SUCCESS;
  WaitFor([&] {
    int done = 0;
    error = PMPI_Testall(count, requests, &done, statuses);
    return error || done;
  });
  return error;
}

int MPI_Waitany(int count, MPI_Request requests[], int *index, MPI_Status *status) {
  if (!CollectivesPending()) return PMPI_Waitany(count, requests, index, status);
  int error = MPI_SUCCESS;
  WaitFor([&] {
    int done = 0;
    error = PMPI_Testany(count, requests, index, &done, status);
    return error || done;
  });
  return error;
}

int MPI_Waitsome(int count, MPI_Request requests[], int *finished, int indices[],
                 MPI_Status statuses[]) {
  if (!CollectivesPending()) return PMPI_Waitsome(count, requests, finished, indices, statuses);
  int error = MPI_SUCCESS;
  WaitFor([&] {
    error = PMPI_Testsome(count, requests, finished, indices, statuses);
    return error || *finished != 0;
  });
  return error;
}

int MPI_Probe(int source, int tag, MPI_Comm comm, MPI_Status *status) {
  if (!CollectivesPending()) return PMPI_Probe(source, tag, comm, status);
  int error = MPI_SUCCESS;
  WaitFor([&] {
    int there = 0;
    error = PMPI_Iprobe(source, tag, comm, &there, status);
    return error || there;
  });
  return error;
}

int MPI_Recv(void *buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
             MPI_Status *status) {
  if (!CollectivesPending()) return PMPI_Recv(buffer, count, type, source, tag, comm, status);
  MPI_Request r;
  return Finish(PMPI_Irecv(buffer, count, type, source, tag, comm, &r), &r, status);
}

int MPI_Send(const void *buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  if (!CollectivesPending()) return PMPI_Send(buffer, count, type, to, tag, comm);
  MPI_Request r;
  return Finish(PMPI_Isend(buffer, count, type, to, tag, comm, &r), &r);
}

int MPI_Sendrecv(const void *send, int send_count, MPI_Datatype send_type, int to, int send_tag,
                 void *receive, int receive_count, MPI_Datatype receive_type, int from,
                 int receive_tag, MPI_Comm comm, MPI_Status *status) {
  if (!CollectivesPending())
    return PMPI_Sendrecv(send, send_count, send_type, to, send_tag, receive, receive_count,
                         receive_type, from, receive_tag, comm, status);
  MPI_Request in, out;
  int error = PMPI_Irecv(receive, receive_count, receive_type, from, receive_tag, comm, &in);
  if (!error)
    error = Finish(PMPI_Isend(send, send_count, send_type, to, send_tag, comm, &out), &out);
  return Finish(error, &in, status);
}

int MPI_Barrier(MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Ibarrier(comm, &r), &r);
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Ibcast(buffer, count, type, root, comm, &r), &r);
}

int MPI_Reduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op, int root,
               MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Ireduce(send, receive, count, type, op, root, comm, &r), &r);
}

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Iallreduce(send, receive, count, type, op, comm, &r), &r);
}

int MPI_Scan(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op,
             MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Iscan(send, receive, count, type, op, comm, &r), &r);
}

int MPI_Exscan(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op,
               MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Iexscan(send, receive, count, type, op, comm, &r), &r);
}

int MPI_Gather(const void *send, int send_count, MPI_Datatype send_type, void *receive,
               int receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Igather(send, send_count, send_type, receive, receive_count, receive_type,
                             root, comm, &r),
                &r);
}

int MPI_Gatherv(const void *send, int send_count, MPI_Datatype send_type, void *receive,
                const int counts[], const int places[], MPI_Datatype receive_type, int root,
                MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Igatherv(send, send_count, send_type, receive, counts, places, receive_type,
                              root, comm, &r),
                &r);
}

int MPI_Allgather(const void *send, int send_count, MPI_Datatype send_type, void *receive,
                  int receive_count, MPI_Datatype receive_type, MPI_Comm comm) {
  MPI_Request r;
  return Finish(
      PMPI_Iallgather(send, send_count, send_type, receive, receive_count, receive_type, comm, &r),
      &r);
}

int MPI_Allgatherv(const void *send, int send_count, MPI_Datatype send_type, void *receive,
                   const int counts[], const int places[], MPI_Datatype receive_type,
                   MPI_Comm comm) {
  MPI_Request r;
  return Finish(PMPI_Iallgatherv(send, send_count, send_type, receive, counts, places, receive_type,
                                 comm, &r),
                &r);
}

int MPI_Alltoall(const void *send, int send_count, MPI_Datatype send_type, void *receive,
                 int receive_count, MPI_Datatype receive_type, MPI_Comm comm) {
  MPI_Request r;
  return Finish(
      PMPI_Ialltoall(send, send_count, send_type, receive, receive_count, receive_type, comm, &r),
      &r);
}

int MPI_Finalize(void) {
  if (CollectivesPending()) WaitFor([] { return !CollectivesPending(); });
  return PMPI_Finalize();
}

} /* extern "C" */
