/* The worker's log: one line an event, no prompts, no pixels. */
#pragma once

#include <glib.h>

/* Sends standard error to $XDG_STATE_HOME/pentimento/worker.log (or to /dev/null where that cannot
 * be written), standard input and output to /dev/null. */
void pentimento_log_open(void);

void pentimento_log(const char *format, ...) G_GNUC_PRINTF(1, 2);
