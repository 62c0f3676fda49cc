/* The curve of a run, drawn from its log. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Reads the log (train-log.h) and writes a PNG picture: every step's loss, its moving average and
 * the learning rate. A log without a step gives no picture. Errors: FILE. */
bool ldm_plot_write(const char *log_path, const char *path, GError **error);
