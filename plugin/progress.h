#pragma once

/* GIMP's progress bar with the worker's progress: stage, step and time left, in words. */
void pentimento_progress_begin(void);
void pentimento_progress_show(const char *stage, int step, int steps, double fraction,
                              double seconds_left);
