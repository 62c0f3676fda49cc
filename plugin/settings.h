#pragma once

#include "task.h"
#include "worker-client.h"

/* How a picture is made, a{sv}, from the procedure's arguments; `seed` as drawn. */
GVariant *pentimento_settings_options(GimpProcedureConfig *config, int seed);

/* Of these the options for the worker. Free with g_variant_unref. */
GVariant *pentimento_settings_job(GVariant *options);

/* The seed to use: the argument's, or a new one where that is -1. */
int pentimento_settings_seed(GimpProcedureConfig *config);

/* Whether the result goes into the layer itself. */
bool pentimento_output_replaces(GimpProcedureConfig *config);

/* Whether the picture is practised on first. */
bool pentimento_settings_learns(GimpProcedureConfig *config);

/* How many pictures are asked for, 1 .. PENTIMENTO_MAX_VARIATIONS; only one can replace. */
int pentimento_settings_variations(GimpProcedureConfig *config);

#define PENTIMENTO_SETTINGS "pentimento-settings"
#define PENTIMENTO_PROMPTS  "pentimento-prompts"

/* Attaches to a layer that is not in an image yet, or is, how it was made: parasite
 * "pentimento-settings" (JSON, saved with the image: task, model, seed and the numbers, and
 * "steps-taken" where it was ended early) and, for this session only, "pentimento-prompts" and
 * "pentimento-seconds" (JSON: time per stage). */
void pentimento_settings_attach(GimpLayer *layer, const PentimentoTask *task, GVariant *options,
                                const PentimentoReply *reply);

/* Sets the arguments to what a layer tells it was made with, each within its limits; what it does
 * not tell of stays. False where its notes are damaged, or there are none: then nothing changes. */
bool pentimento_settings_take(GimpLayer *layer, GimpProcedureConfig *config);
bool pentimento_prompts_take(GimpLayer *layer, GimpProcedureConfig *config);

/* What was last asked of a procedure, in whatever image and whatever became of it, for Repeat and
 * for the dialog. GIMP's own records of last-used values are of runs that were successful, of one
 * image perhaps, and would carry the prompts into saved images: they are not enough. So all of it
 * is kept together in the user's state folder, that prompt and settings are always of one run. */
void pentimento_last_used_recall(GimpProcedureConfig *config);
void pentimento_last_used_keep(GimpProcedureConfig *config);
