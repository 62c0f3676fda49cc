/* The window that shows the models there are, and what each of them is. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

typedef struct PentimentoModelsWindow PentimentoModelsWindow;

/* What the user wants; called in the main loop. */
typedef struct {
    void (*chosen)(gpointer data); /* another model, or the first */
    void (*add)(const char *path, bool link, gpointer data);
    void (*remove)(const char *path, gpointer data); /* of the chosen one */
    void (*check)(const char *path, gpointer data);  /* its checksums */
    void (*stop)(gpointer data);                     /* what is at work */
} PentimentoModelsEvents;

/* Of the chosen model. */
typedef struct {
    const char *use, *weights; /* sentences */
    const char *path, *licence;
    guint64 bytes; /* on the disk */
    int side;      /* pixels of pictures it was made for */
    bool own;      /* the user may remove it */
} PentimentoModelDetails;

/* `events` and `data` outlive the window. */
PentimentoModelsWindow *pentimento_models_window_new(const PentimentoModelsEvents *events,
                                                     const char *help, gpointer data);
/* Until the user closes it, and means it where something is at work. */
void pentimento_models_window_run(PentimentoModelsWindow *window);
void pentimento_models_window_free(PentimentoModelsWindow *window);
/* For windows of questions. */
GtkWidget *pentimento_models_window_widget(PentimentoModelsWindow *window);

/* The models, NULL-terminated, below the default one, which is ""; chooses `name`. */
void pentimento_models_window_set(PentimentoModelsWindow *window, char *const *names,
                                  const char *name);
/* The chosen one; free with g_free. */
char *pentimento_models_window_chosen(PentimentoModelsWindow *window);

/* What the chosen one is, is not known yet; `path` is where it lies if it is the user's own, else
 * NULL. */
void pentimento_models_window_expect(PentimentoModelsWindow *window, const char *path);
void pentimento_models_window_describe(PentimentoModelsWindow *window,
                                       const PentimentoModelDetails *details);
/* Why nothing can be told of it. */
void pentimento_models_window_fail(PentimentoModelsWindow *window, const char *text);
/* Those of the model at `path`, where it is still the chosen one. */
void pentimento_models_window_set_checksums(PentimentoModelsWindow *window, const char *path,
                                            const char *text);

/* Something takes its time: what, and how far it is, 0..1; < 0: not known. NULL: no more. */
void pentimento_models_window_work(PentimentoModelsWindow *window, const char *text,
                                   double fraction);
