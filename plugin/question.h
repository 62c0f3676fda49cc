/* What is asked of the worker while a window is open: it may have to be started first, and to open
 * a model, so that a thread waits for the answer and the window does not. */
#pragma once

#include <gio/gio.h>

/* One of the worker's other methods (core/worker/protocol.h), or what a function gets out of it. */
typedef struct {
    const char *method, *type; /* type: of the answer */
    GVariant *arguments;       /* floating: consumed */
    /* on the thread; NULL: the method is called */
    GVariant *(*put)(GVariant *arguments, GCancellable *cancellable, GError **error);
} PentimentoQuestion;

/* Another question of the kind whose last one is *cancellable (NULL: the first): that one is given
 * up. `told` is called in the main loop, with `data`. */
void pentimento_question_ask(GCancellable **cancellable, PentimentoQuestion question,
                             GAsyncReadyCallback told, gpointer data);

/* Gives up the last one and forgets it. */
void pentimento_question_drop(GCancellable **cancellable);

/* The answer; NULL and perhaps an error where there is none. One that was given up comes when the
 * data of `told` may be gone: it is nobody's any more. */
GVariant *pentimento_question_answer(GAsyncResult *result, GError **error);
