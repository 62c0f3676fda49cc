/* The dialogs of the procedures. No engine call and no pixel work here. */
#pragma once

#include <libgimp/gimpui.h>
#include <stdbool.h>

/* Rows that want to be told what there is to choose from. */
typedef struct {
    GtkWidget *model;   /* ui/model-chooser.h */
    GtkWidget *adapter; /* ui/adapter-chooser.h; NULL in Teach */
    GtkWidget *earlier; /* ui/earlier-chooser.h; NULL where there is nothing to choose from */
} PentimentoChoosers;

/* The dialog of a task, with the config's values. `earlier`: names of earlier results, as
 * pentimento_earlier_chooser_new takes them, or NULL. gimp_ui_init was called before. */
GimpProcedureDialog *pentimento_dialog_new(GimpProcedure *procedure, GimpProcedureConfig *config,
                                           const char *title, const char *const *earlier,
                                           PentimentoChoosers *choosers);

/* The dialog of the procedure that teaches; `cost` is a label in it for what the teaching takes. */
GimpProcedureDialog *pentimento_teach_dialog_new(GimpProcedure *procedure,
                                                 GimpProcedureConfig *config,
                                                 PentimentoChoosers *choosers, GtkLabel **cost);
