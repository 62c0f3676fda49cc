/* What dialogs offer. In: the folders of models and adapters, a model. Out: names, what the files
 * say about themselves, and whether each LoRA fits the model. Files from anywhere are opened here,
 * in the worker, and never in GIMP's own process. */
#include "worker/offers.h"

#include "base/error.h"
#include "pipeline/data-path.h"
#include "pipeline/model.h"
#include "weights/lora.h"
#include "weights/safetensors.h"
#include "worker/protocol.h"

#define SUFFIX      ".safetensors"
#define MOST_SHOWN  1000 /* characters of a text from a file */
#define MOST_LISTED 200  /* LoRA */

GVariant *pentimento_offers_models(void)
{
    g_auto(GStrv) names = ldm_model_names();

    return g_variant_new("(^as)", names);
}

/* What the file says under `key`, on one line, without what cannot be shown. */
static void add_text(GVariantDict *offer, const char *name, const LdmFiles *files, const char *key)
{
    const char *text = ldm_files_metadata(files, key);
    g_autoptr(GString) shown = g_string_new(NULL);
    g_autofree char *valid = g_utf8_make_valid(text != NULL ? text : "", -1);
    int left = MOST_SHOWN;

    for (const char *p = valid; *p != '\0' && left > 0; p = g_utf8_next_char(p), left--) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(shown, g_unichar_isprint(c) ? c : ' ');
    }
    g_strstrip(shown->str);
    g_variant_dict_insert(offer, name, "s", shown->str);
}

/* Why a LoRA that can be read does not suit the model, in a few words. */
static const char *misfit(const GError *error)
{
    return g_error_matches(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED)
               ? _("of a kind that cannot be used")
               : _("made for another model");
}

static GVariant *describe(const LdmModel *model, const char *folder, const char *name)
{
    LdmParams *const tables[LDM_N_PARTS] = {
        [LDM_PART_UNET] = model->unet_params, [LDM_PART_TEXT] = model->text_params};
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_autoptr(GError) error = NULL;
    const bool readable = ldm_files_add(files, path, &error);
    LdmLora *lora = readable ? ldm_lora_load(path, 0.0, tables, &model->config, &error)
                             : NULL; /* only checks */
    GVariantDict offer;

    g_variant_dict_init(&offer, NULL);
    g_variant_dict_insert(&offer, "name", "s", name);
    add_text(&offer, "description", files, LDM_LORA_DESCRIPTION);
    add_text(&offer, "trigger", files, LDM_LORA_TRIGGER);
    g_variant_dict_insert(&offer, "problem", "s",
                          lora != NULL ? ""
                          : readable   ? misfit(error)
                                       : _("cannot be read"));
    ldm_lora_free(lora);
    return g_variant_dict_end(&offer);
}

static int compare(gconstpointer a, gconstpointer b)
{
    return g_utf8_collate(*(char *const *)a, *(char *const *)b);
}

/* Names of files without their ending, sorted. */
static GPtrArray *names_in(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const char *entry;

    while (folder != NULL && (entry = g_dir_read_name(folder)) != NULL) {
        g_autofree char *name = g_strdup(entry);

        if (!g_str_has_suffix(name, SUFFIX))
            continue;
        name[strlen(name) - strlen(SUFFIX)] = '\0';
        if (pentimento_teach_name_fits(name))
            g_ptr_array_add(names, g_steal_pointer(&name));
    }
    g_ptr_array_sort(names, compare);
    return names;
}

GVariant *pentimento_offers_adapters(const LdmModel *model)
{
    g_autofree char *folder = ldm_adapter_folder();
    g_autoptr(GPtrArray) names = names_in(folder);
    GVariantBuilder offers = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

    for (guint i = 0; i < MIN(names->len, MOST_LISTED); i++)
        g_variant_builder_add_value(&offers, describe(model, folder, g_ptr_array_index(names, i)));
    return g_variant_builder_end(&offers);
}
