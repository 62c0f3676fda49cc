/* `--preview FILE`: what a run is heading for, in a picture file that is replaced while it works.
 * In: the library's previews. Out: the file, each time whole. */
#include "cli/preview.h"

#include "cli/picture-io.h"
#include "tensor/tensor.h"

#define SECONDS 0.5 /* between two */

/* A file that cannot be written is told of once; the run goes on without. */
static void on_preview(const LdmPreview *preview, gpointer data)
{
    PentimentoPreviewFile *file = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) picture = NULL;

    if (file->failed)
        return;
    picture = ldm_tensor_new_nhwc(1, (size_t)preview->height, (size_t)preview->width, 3, &error);
    for (size_t i = 0; picture != NULL && i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = (float)preview->pixels[i] / 255.0f;
    if (picture != NULL && pentimento_picture_write(picture, NULL, file->path, &error))
        return;
    file->failed = true;
    pentimento_report_note(file->report, error->message);
}

void pentimento_preview_add(GOptionContext *context, PentimentoPreviewFile *file)
{
    const GOptionEntry entries[] = {
        {"preview", 0, 0, G_OPTION_ARG_FILENAME, &file->path,
         _("While it works, keep a small picture of what it is heading for in this file"),
         _("FILE")},
        {"preview-decoder", 0, 0, G_OPTION_ARG_FILENAME, &file->decoder,
         _("Tiny decoder for previews: a folder of diffusers' AutoencoderTiny, or a file"),
         _("DIR|FILE")},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

bool pentimento_preview_check(const PentimentoPreviewFile *file, GError **error)
{
    if (file->path == NULL)
        return true;
    if (strcmp(file->path, "-") == 0) {
        pentimento_set_usage(error, _("--preview needs a file that can be replaced"));
        return false;
    }
    return pentimento_check_output(file->path, error) &&
           pentimento_picture_writable(file->path, error);
}

void pentimento_preview_watch(PentimentoPreviewFile *file, PentimentoReport *report)
{
    file->report = report;
    if (file->path == NULL)
        return;
    report->monitor.preview = on_preview;
    report->monitor.preview_data = file;
    report->monitor.preview_seconds = SECONDS;
    report->monitor.preview_decoder = file->decoder;
}

void pentimento_preview_clear(PentimentoPreviewFile *file)
{
    g_free(file->path);
    g_free(file->decoder);
}
