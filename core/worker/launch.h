/* How the worker becomes a process of its own. */
#pragma once

#include <glib.h>

/* Splits off a child in a session of its own, without the caller's descriptors. Returns in the
 * child, with the descriptor to pass to pentimento_launch_report; the parent waits for that
 * report and exits with it. */
int pentimento_launch_detach(void);

/* Tells the waiting parent that a worker listens (message NULL) or why none does. */
void pentimento_launch_report(int report, const char *message);

/* Lowest rights and priority; no core files with users' pictures in them. */
void pentimento_launch_harden(void);

/* The lock beside the socket. -1 without an error: another worker serves that socket. */
int pentimento_launch_lock(const char *socket, GError **error);
