/* Reading ahead. In: a loaded model. Out: its files in the system's cache, sooner. Where they are
 * there already, asking takes some tens of milliseconds. */
#include "pipeline/ahead.h"

#include "layers/room.h"

struct LdmAhead {
    const LdmModel *model;
    unsigned parts;
    GThread *thread;
    gint stop; /* atomic */
};

static gpointer work(gpointer data)
{
    static const LdmPart order[] = {LDM_PART_TEXT, LDM_PART_UNET, LDM_PART_VAE};
    LdmAhead *ahead = data;
    const LdmSource *source = ahead->model->files;
    const LdmFiles *before = NULL; /* a single file has them all */
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        const LdmFiles *files = source->parts[order[i]].files;
        if ((ahead->parts & 1u << order[i]) == 0 || files == NULL || files == before)
            continue;
        ldm_files_ahead(files, &ahead->stop);
        before = files;
    }
    return GINT_TO_POINTER(g_atomic_int_get(&ahead->stop) == 0); /* all was asked for */
}

LdmAhead *ldm_ahead_begin(const LdmModel *model, unsigned parts)
{
    LdmSource *source = model->files;
    parts &= ~source->asked;
    if (parts == 0 || model->info.weight_bytes > ldm_room_available())
        return NULL;
    source->asked |= parts;
    LdmAhead *ahead = g_new0(LdmAhead, 1);
    ahead->model = model;
    ahead->parts = parts;
    ahead->thread = g_thread_try_new("ahead", work, ahead, NULL); /* or else nothing is asked */
    return ahead;
}

void ldm_ahead_free(LdmAhead *ahead)
{
    if (ahead == NULL)
        return;
    g_atomic_int_set(&ahead->stop, 1);
    if (ahead->thread == NULL || g_thread_join(ahead->thread) == NULL)
        ((LdmSource *)ahead->model->files)->asked &= ~ahead->parts;
    g_free(ahead);
}
