/* The listening half of the worker. */
#pragma once

#include <gio/gio.h>

typedef struct PentimentoServer PentimentoServer;

/* Listens at `socket` (whose lock, `lock`, the caller has taken; the server closes it when it
 * stops listening). */
PentimentoServer *pentimento_server_new(const char *socket, int lock, GError **error);

/* Serves until idle, orphaned, asked to quit or told to by SIGTERM; then cleans up and returns. */
void pentimento_server_run(PentimentoServer *server);
void pentimento_server_free(PentimentoServer *server);
