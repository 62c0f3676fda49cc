/* Previews in a picture file. */
#pragma once

#include "cli/command.h"

typedef struct {
    char *path, *decoder; /* of the options; NULL: not given */
    const PentimentoReport *report;
    bool failed;
} PentimentoPreviewFile;

void pentimento_preview_add(GOptionContext *context, PentimentoPreviewFile *file);
bool pentimento_preview_check(const PentimentoPreviewFile *file, GError **error);
void pentimento_preview_clear(PentimentoPreviewFile *file);

/* The report's monitor asks for previews, where the user does. Both stay where they are. */
void pentimento_preview_watch(PentimentoPreviewFile *file, PentimentoReport *report);
