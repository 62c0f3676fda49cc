#pragma once

#include "worker-client.h"

/* GIMP's own bar: begins it; then it is what watches a job, or shows what is told it. */
void pentimento_progress_begin(void);
extern const PentimentoWatch pentimento_progress;
void pentimento_progress_show(const char *text, double fraction);

/* "Denoising, step 3 of 20, 10 s left"; seconds_left < 0: not known. Free with g_free. */
char *pentimento_progress_text(const char *stage, int step, int steps, double seconds_left);
