/* The row of a dialog that chooses what was taught. */
#pragma once

#include <libgimp/gimpui.h>

/* Told when the user wants a thing deleted, and has confirmed it. */
typedef void (*PentimentoForgetFunc)(const char *name, gpointer data);

/* Edits the config's argument "adapter". */
GtkWidget *pentimento_adapter_chooser_new(GimpProcedureConfig *config);

void pentimento_adapter_chooser_on_forget(GtkWidget *chooser, PentimentoForgetFunc forget,
                                          gpointer data);

/* What there is, aa{sv} as the worker tells it (core/worker/protocol.h, Inspect). */
void pentimento_adapter_chooser_set(GtkWidget *chooser, GVariant *adapters);

/* Says instead why it is not known what there is. */
void pentimento_adapter_chooser_fail(GtkWidget *chooser, const char *reason);
