/* The library's table of options (ldm_options) on the command line. */
#pragma once

#include "cli/command.h"

#define PENTIMENTO_MAX_SETTINGS 32

typedef struct {
    char *values[PENTIMENTO_MAX_SETTINGS]; /* as typed, in the table's order; NULL = not given */
    char **lists[PENTIMENTO_MAX_SETTINGS]; /* the same of options that are lists */
    char *size;                            /* "WxH" */
    char *interval;                        /* "LO:HI", of guidance */
    GPtrArray *texts;                      /* of --help, which GOptionContext does not copy */
} PentimentoSettings;

void pentimento_settings_clear(PentimentoSettings *settings);

/* Adds the options of `task` to the parser. */
void pentimento_settings_add(GOptionContext *context, PentimentoSettings *settings, LdmTask task);

/* Puts what was typed into the request. Errors: wrong use. */
bool pentimento_settings_apply(const PentimentoSettings *settings, LdmRequest *request,
                               GError **error);

/* The settings of a finished picture as text for its PNG file, in the form that most programs of
 * this kind read: the prompt, "Negative prompt: …", then "Steps: 20, Sampler: ddim, …". */
char *pentimento_settings_text(const LdmRequest *request, const LdmResult *result,
                               const LdmModel *model);

/* The same and more for --json, a floating a{sv}. */
GVariant *pentimento_settings_describe(const LdmRequest *request, const LdmResult *result,
                                       const LdmModel *model, const char *path);
