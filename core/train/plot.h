/* The curve of a run, drawn from its log. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* What a scale of a plot spans. */
typedef struct {
    double least, most;
} LdmRange;

/* From number to number of a scale: 1, 2 or 5 times a power of ten, some five in the range. */
double ldm_plot_step(LdmRange range);

/* The range widened to whole steps. */
LdmRange ldm_plot_whole(LdmRange range);

/* Reads the log (train-log.h) and writes a PNG picture: every step's loss, its moving average and
 * the learning rate. A log without a step gives no picture. Errors: FILE. */
bool ldm_plot_write(const char *log_path, const char *path, GError **error);
