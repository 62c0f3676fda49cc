/* What the procedures that make pictures have in common: the table that describes them, their
 * errors and the arguments they share. */
#pragma once

#include <libgimp/gimp.h>
#include <stdbool.h>

/* The code of an error of this domain is the GimpPDBStatusType the procedure ends with. */
#define PENTIMENTO_ERROR (pentimento_error_quark())
GQuark pentimento_error_quark(void);

#define pentimento_set_error(error, STATUS, ...) \
    g_set_error(error, PENTIMENTO_ERROR, GIMP_PDB_##STATUS, __VA_ARGS__)

/* Pictures that one call may ask for. */
#define PENTIMENTO_MAX_VARIATIONS 8

/* What a procedure returns. */
typedef struct {
    GimpLayer *layer; /* the new layer, the group of new ones, or the layer that was changed */
    int seed;         /* the seed used; of several, the first */
} PentimentoOutcome;

/* What a procedure was called with. */
typedef struct {
    GimpImage *image;         /* NULL: none is open */
    GimpDrawable **drawables; /* NULL-terminated */
    GimpProcedureConfig *config;
    bool live; /* by a person, who sees a window while it works */
} PentimentoCall;

typedef struct PentimentoTask PentimentoTask;

/* Ends a procedure that failed; consumes the error. */
GimpValueArray *pentimento_answer_error(GimpProcedure *procedure, GError *error);

/* One procedure. Texts are English msgids (N_()). */
struct PentimentoTask {
    const char *procedure; /* name in the PDB */
    const char *name;  /* "generate", "img2img", "inpaint": the worker's and the command line's */
    const char *label; /* menu entry */
    const char *title; /* of the dialog; in the names of layers */
    const char *blurb;
    const char *help;
    const char *icon;
    int sensitivity; /* GimpProcedureSensitivityMask */
    bool edits;      /* works on a layer's pixels */
    bool needs_selection;
    bool extends;    /* makes what lies beyond the layer's edges; the selection does not count */
    double strength; /* default; edits within the layer only */
    bool (*run)(const PentimentoTask *task, const PentimentoCall *call, PentimentoOutcome *outcome,
                GError **error);
};

extern const PentimentoTask pentimento_generate;
extern const PentimentoTask pentimento_img2img;
extern const PentimentoTask pentimento_inpaint;
extern const PentimentoTask pentimento_outpaint;

/* The procedure that teaches (teach.c): no picture comes of it, so that it is no such task. */
#define PENTIMENTO_TEACH_PROCEDURE "plug-in-pentimento-teach"
GimpProcedure *pentimento_teach_new(GimpPlugIn *plug_in);

/* The procedure that shows the models (models.c), which has nothing to do with an image. */
#define PENTIMENTO_MODELS_PROCEDURE "plug-in-pentimento-models"
GimpProcedure *pentimento_models_new(GimpPlugIn *plug_in);

/* What all procedures have: place in the menu, authors, image types. */
void pentimento_procedure_describe(GimpProcedure *procedure, const char *label, const char *blurb,
                                   const char *help);

/* Gives a new procedure the task's arguments and return values. */
void pentimento_arguments_add(const PentimentoTask *task, GimpProcedure *procedure);

/* The run function of the tasks that edit a layer (edit.c). */
bool pentimento_edit_run(const PentimentoTask *task, const PentimentoCall *call,
                         PentimentoOutcome *outcome, GError **error);
