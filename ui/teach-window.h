/* The window one watches a teaching in: losses, samples, what is being done. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

typedef struct PentimentoTeachWindow PentimentoTeachWindow;

/* Its responses, besides GTK_RESPONSE_CANCEL and what closing it gives. */
enum {
    PENTIMENTO_RESPONSE_PAUSE = 1, /* or go on, while it is paused */
    PENTIMENTO_RESPONSE_KEEP,
};

/* Shows it, waiting; `responded` is a handler of GtkDialog::response. */
PentimentoTeachWindow *pentimento_teach_window_new(const char *name, int steps, GCallback responded,
                                                   gpointer data);
/* From now on it can be paused. */
void pentimento_teach_window_begin(PentimentoTeachWindow *window);
void pentimento_teach_window_free(PentimentoTeachWindow *window);

void pentimento_teach_window_progress(PentimentoTeachWindow *window, const char *text,
                                      double fraction);
/* Of the steps `first`, `first` + 1 ...; NaN where one was not finite. */
void pentimento_teach_window_losses(PentimentoTeachWindow *window, int first, const double *losses,
                                    size_t count);
/* A picture file of what the model makes now. */
void pentimento_teach_window_sample(PentimentoTeachWindow *window, const char *path);

/* Whether the user means Cancel: asks where there may be something to lose. The main loop turns. */
bool pentimento_teach_window_may_forget(PentimentoTeachWindow *window);

void pentimento_teach_window_set_paused(PentimentoTeachWindow *window, bool paused);
/* From now on there is nothing to press. */
void pentimento_teach_window_set_ending(PentimentoTeachWindow *window);
