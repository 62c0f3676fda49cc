/* The log of a run: a JSON object a line, one for each step. */
#pragma once

#include "train/loop.h"

#include <stdio.h>

/* Opens `path` for appending, without the lines of steps after `step`: a run that goes on from a
 * checkpoint repeats them. NULL and FILE on failure; close with fclose. */
FILE *ldm_train_log_open(const char *path, uint64_t step, GError **error);

/* What a line says. */
typedef struct {
    double step, loss, rate; /* loss NaN where it was not finite */
} LdmLogPoint;

/* LdmLogPoint of every whole line; free with g_array_unref. Errors: FILE. */
GArray *ldm_train_log_read(const char *path, GError **error);

/* Errors: FILE. */
bool ldm_train_log_step(FILE *log, const char *path, const LdmTrainStep *step, GError **error);
