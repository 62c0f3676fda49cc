/* What processes started by mpirun exchange, by MPI. A module of its own, since MPI's libraries
 * take longer to load than most commands to run. MPI's own errors end all processes. */
#include "cli/ranks.h"

#include <mpi.h>

#define LOOKS 1000 /* before sleeping */
#define NAP   200  /* microseconds */

/* MPI itself waits by spinning, and the others' threads need the processors. */
static void wait_for(MPI_Request *request)
{
    int done = 0;

    for (int i = 0; MPI_Test(request, &done, MPI_STATUS_IGNORE), !done; i++)
        if (i >= LOOKS)
            g_usleep(NAP);
}

static void gather(const void *own, size_t bytes, void *all, void *data)
{
    MPI_Request request;

    MPI_Iallgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request);
    wait_for(&request);
}

static void swap(const void *own, size_t bytes, void *got, void *data)
{
    MPI_Request request;

    MPI_Ialltoall(own, (int)bytes, MPI_BYTE, got, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request);
    wait_for(&request);
}

void pentimento_mpi_open(LdmRanks *ranks)
{
    MPI_Comm here;
    int threads;

    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads);
    MPI_Comm_rank(MPI_COMM_WORLD, &ranks->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks->count);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
    MPI_Comm_size(here, &ranks->neighbours);
    MPI_Comm_free(&here);
    ranks->gather = gather;
    ranks->swap = swap;
}

/* Nobody leaves before all are ready to: mpirun ends the others once one has gone with an error,
 * and the first may still be saving a checkpoint. */
void pentimento_mpi_close(void)
{
    MPI_Request request;

    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    wait_for(&request);
    MPI_Finalize();
}
