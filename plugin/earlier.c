/* Earlier results as what to go on from. In: an image whose layers tell how they were made
 * (settings.c), a dialog's row. Out: the arguments that the chosen one tells of, or, where none is
 * chosen any more, those of before. */
#include "earlier.h"

#include "settings.h"
#include "ui/earlier-chooser.h"

#include <glib/gi18n-lib.h>

#define MOST 50 /* results that are offered */

struct PentimentoEarlier {
    GimpProcedureConfig *config;
    GimpConfig *before; /* the arguments before one was taken over; NULL: none is */
    GPtrArray *layers;  /* not owned */
    GPtrArray *names;   /* the last one NULL */
};

/* ---- which there are --------------------------------------------------------------------- */

static void look_through(PentimentoEarlier *earlier, GimpItem *const *items)
{
    for (; *items != NULL && earlier->layers->len < MOST; items++) {
        GimpParasite *parasite = gimp_item_get_parasite(*items, PENTIMENTO_SETTINGS);

        if (parasite != NULL) {
            g_ptr_array_add(earlier->layers, *items);
            g_ptr_array_add(earlier->names, gimp_item_get_name(*items));
            gimp_parasite_free(parasite);
        }
        if (gimp_item_is_group(*items)) {
            g_autofree GimpItem **children = gimp_item_get_children(*items);

            look_through(earlier, children);
        }
    }
}

PentimentoEarlier *pentimento_earlier_new(GimpImage *image, GimpProcedureConfig *config)
{
    PentimentoEarlier *earlier = g_new0(PentimentoEarlier, 1);
    g_autofree GimpLayer **layers = image != NULL ? gimp_image_get_layers(image) : NULL;

    earlier->config = config;
    earlier->layers = g_ptr_array_new();
    earlier->names = g_ptr_array_new_with_free_func(g_free);
    if (layers != NULL)
        look_through(earlier, (GimpItem *const *)layers);
    g_ptr_array_add(earlier->names, NULL);
    return earlier;
}

const char *const *pentimento_earlier_names(const PentimentoEarlier *earlier)
{
    return earlier->layers->len > 0 ? (const char *const *)earlier->names->pdata : NULL;
}

void pentimento_earlier_free(PentimentoEarlier *earlier)
{
    g_clear_object(&earlier->before);
    g_ptr_array_unref(earlier->layers);
    g_ptr_array_unref(earlier->names);
    g_free(earlier);
}

/* ---- taking one over --------------------------------------------------------------------- */

static void put_back(PentimentoEarlier *earlier)
{
    if (earlier->before != NULL)
        gimp_config_copy(earlier->before, GIMP_CONFIG(earlier->config), 0);
    g_clear_object(&earlier->before);
}

static char *take(int index, gpointer data)
{
    PentimentoEarlier *earlier = data;
    GimpLayer *layer;

    if (index < 0) {
        put_back(earlier);
        return NULL;
    }
    if (earlier->before == NULL)
        earlier->before = gimp_config_duplicate(GIMP_CONFIG(earlier->config));
    layer = g_ptr_array_index(earlier->layers, index);
    if (!gimp_item_is_valid(GIMP_ITEM(layer)))
        return g_strdup(_("That layer is no longer there."));
    if (!pentimento_settings_take(layer, earlier->config))
        return g_strdup(_("What that layer tells of its settings is damaged: nothing was taken "
                          "over."));
    if (!pentimento_prompts_take(layer, earlier->config))
        return g_strdup(_("Taken over but for the prompt, which is not saved with images."));
    return NULL;
}

void pentimento_earlier_serve(PentimentoEarlier *earlier, GtkWidget *row)
{
    if (row != NULL)
        pentimento_earlier_chooser_on_take(row, take, earlier);
}
