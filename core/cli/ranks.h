/* The processes that mpirun has started, for `pentimento train`. */
#pragma once

#include "train/ranks.h"

/* Joins the others, once; *ranks is NULL where mpirun has started one process or none. It lives as
 * long as the program, whose end waits for the others'. Errors: UNSUPPORTED (built without MPI). */
bool pentimento_ranks_open(LdmRanks **ranks, GError **error);

/* Of those joined; false for all but one of them: what it has to say, another says. */
bool pentimento_ranks_speaks(void);

/* What the module has (ranks-mpi.c). */
typedef void PentimentoMpiOpen(LdmRanks *ranks);
typedef void PentimentoMpiClose(void);
PentimentoMpiOpen pentimento_mpi_open;
PentimentoMpiClose pentimento_mpi_close;
