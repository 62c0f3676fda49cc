/* A row that offers earlier results, whose settings can be taken over. */
#pragma once

#include "ui/row.h"

/* `index`: of the result that was chosen; -1: none any more. Returns what is to be said of it
 * below, or NULL; owned by the caller. */
typedef char *PentimentoTakeFunc(int index, gpointer data);

/* Names of earlier results, the topmost layer's first; NULL-terminated, not empty. Nothing is
 * chosen at first. */
GtkWidget *pentimento_earlier_chooser_new(const char *const *names);

/* Calls `take` whenever another row is chosen. */
void pentimento_earlier_chooser_on_take(GtkWidget *row, PentimentoTakeFunc *take, gpointer data);
