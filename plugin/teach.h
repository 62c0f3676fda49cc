/* The parts of the procedure that teaches. */
#pragma once

#include <libgimp/gimpui.h>

#include "settings.h"
#include "worker-client.h"

/* What a call is about. */
typedef struct {
    GimpImage *image;
    GimpDrawable **drawables;
    GimpProcedureConfig *config;
} PentimentoLesson;

/* ---- what is learnt from (teach-pictures.c) ---- */

/* How many pictures there are; 0 and an error where there is nothing to learn from. */
guint pentimento_lesson_count(const PentimentoLesson *lesson, GError **error);

/* PentimentoPicture of each; NULL and an error likewise. */
GArray *pentimento_lesson_read(const PentimentoLesson *lesson, GError **error);

/* ---- asking the worker (teach.c) ---- */

/* The options of the worker's task, a{sv}; `action` is one of its actions. */
GVariant *pentimento_lesson_options(const PentimentoLesson *lesson, const char *action);

/* ---- what it takes (teach-estimate.c) ---- */

typedef struct PentimentoEstimate PentimentoEstimate;

/* Keeps a label true while the config is being edited: time and memory of the teaching, measured by
 * the worker on a thread of its own. */
PentimentoEstimate *pentimento_estimate_new(const PentimentoLesson *lesson, GtkLabel *label);
void pentimento_estimate_free(PentimentoEstimate *estimate);

/* ---- while it learns (teach-live.c) ---- */

/* Learns before the user's eyes, who may pause it, stop and keep what was learnt, or give it up.
 * `job` has the action "teach". Errors: those of the worker; CANCEL. */
bool pentimento_teach_live(const PentimentoLesson *lesson, const PentimentoJob *job,
                           PentimentoReply *reply, GError **error);
