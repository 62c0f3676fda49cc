/* The parts of the procedure that teaches. */
#pragma once

#include <libgimp/gimpui.h>

#include "question.h"
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

/* What has to be known of the model before they are read. The worker may be busy with another model
 * for minutes before it answers: layers may go meanwhile. */
PentimentoQuestion pentimento_lesson_question(const PentimentoLesson *lesson);

/* PentimentoPicture of each; NULL and an error likewise. `model`: the answer to that question. */
GArray *pentimento_lesson_read(const PentimentoLesson *lesson, GVariant *model, GError **error);

/* ---- asking the worker (teach.c) ---- */

/* The options of the worker's task, a{sv}; `action` is one of its actions. */
GVariant *pentimento_lesson_options(const PentimentoLesson *lesson, const char *action);

/* The worker's task; `options` and `pictures` stay the caller's. */
PentimentoJob pentimento_lesson_job(GVariant *options, const GArray *pictures);

/* ---- what it takes (teach-estimate.c) ---- */

typedef struct PentimentoEstimate PentimentoEstimate;

/* Keeps a label true while the config is being edited: time and memory of the teaching, measured by
 * the worker on a thread of its own. */
PentimentoEstimate *pentimento_estimate_new(const PentimentoLesson *lesson, GtkLabel *label);
void pentimento_estimate_free(PentimentoEstimate *estimate);

/* ---- while it learns (teach-live.c) ---- */

/* Reads the pictures and learns before the user's eyes, who may pause it, stop and keep what was
 * learnt, or give it up. Errors: those of the pictures and of the worker; CANCEL. */
bool pentimento_teach_live(const PentimentoLesson *lesson, PentimentoReply *reply, GError **error);
