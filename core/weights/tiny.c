/* The tiny decoder's files. In: a folder's or file's path. Out: configuration, and where the
 * parameters lie. A file without a configuration is walked through from its first layer to its
 * last: resblocks, and convolutions behind an enlargement between the levels. */
#include "weights/tiny.h"

#include "base/error.h"
#include "weights/diffusers-config.h"

#include <string.h>

#define MAX_BLOCKS 64
#define STEM       "diffusion_pytorch_model"

void ldm_tiny_source_free(LdmTinySource *source)
{
    if (source == NULL)
        return;
    ldm_files_free(source->part.files);
    g_free(source->part.prefix);
    g_free(source->part.region);
    g_free(source);
}

/* ---- names ---- */

static void set_names(LdmPartFiles *part, LdmNameTable table, const char *prefix,
                      const char *region)
{
    part->naming = (LdmNaming){.table = table};
    part->prefix = g_strdup(prefix);
    part->region = g_strdup(region);
}

/* diffusers' names; TAESD's in a file that has the encoder, too; TAESD's in one for the decoder. */
static bool find_names(LdmPartFiles *part, GError **error)
{
    if (ldm_files_find(part->files, "decoder.layers.0.weight") != NULL)
        set_names(part, LDM_NAMES_OURS, "", "decoder.");
    else if (ldm_files_find(part->files, "decoder.1.weight") != NULL)
        set_names(part, LDM_NAMES_TAESD, "decoder.", "decoder.");
    else if (ldm_files_find(part->files, "1.weight") != NULL)
        set_names(part, LDM_NAMES_TAESD, "", "");
    else
        ldm_set_error(error, UNSUPPORTED,
                      _("%s is no tiny decoder: it has neither the names of diffusers' "
                        "AutoencoderTiny nor those of TAESD's decoder"),
                      ldm_files_path(part->files));
    return part->prefix != NULL;
}

/* ---- shapes ---- */

static const LdmFileTensor *layer(const LdmPartFiles *part, int place, const char *weight)
{
    g_autofree char *ours = g_strdup_printf("decoder.layers.%d.%s", place, weight);
    g_autofree char *bare = ldm_name_to_file(&part->naming, ours);
    g_autofree char *name = g_strconcat(part->prefix, bare, NULL);
    return ldm_files_find(part->files, name);
}

static bool probe(LdmTinySource *source, GError **error)
{
    const LdmPartFiles *part = &source->part;
    LdmTinyConfig *c = &source->config;
    const LdmFileTensor *first = layer(part, 0, "weight");
    int place = 2; /* behind the first convolution and its activation */
    *c = (LdmTinyConfig){.scale_factor = 1.0};
    if (first != NULL && first->rank == 4) {
        c->channels = (int)MIN(first->shape[0], G_MAXINT);
        c->latent_channels = (int)MIN(first->shape[1], G_MAXINT);
    }
    while (c->levels < LDM_MAX_LEVELS) {
        int *blocks = &c->blocks[c->levels++];
        for (; *blocks < MAX_BLOCKS && layer(part, place, "conv.0.weight") != NULL; place++)
            (*blocks)++;
        if (layer(part, place, "weight") != NULL)
            return true; /* the last convolution follows at once */
        if (layer(part, place + 1, "weight") == NULL)
            break;
        place += 2;
    }
    ldm_set_error(error, FORMAT, _("%s: the layers of the tiny decoder end at number %d"),
                  ldm_files_path(part->files), place);
    return false;
}

/* ---- opening ---- */

static bool add_file(LdmTinySource *source, const char *path, GError **error)
{
    source->part.files = ldm_files_new();
    return ldm_files_add(source->part.files, path, error) && find_names(&source->part, error);
}

static bool open_folder(LdmTinySource *source, const char *path, GError **error)
{
    g_autofree char *config = g_build_filename(path, "config.json", NULL);
    g_autofree char *half = g_build_filename(path, STEM ".fp16.safetensors", NULL);
    g_autofree char *whole = g_build_filename(path, STEM ".safetensors", NULL);
    bool only_half =
        !g_file_test(whole, G_FILE_TEST_EXISTS) && g_file_test(half, G_FILE_TEST_EXISTS);
    g_autoptr(JsonObject) json = ldm_json_load(config, LDM_CONFIG_BYTES, error);
    return json != NULL && ldm_config_read_tiny(&source->config, json, config, error) &&
           add_file(source, only_half ? half : whole, error);
}

LdmTinySource *ldm_tiny_source_open(const char *path, GError **error)
{
    g_autoptr(LdmTinySource) source = g_new0(LdmTinySource, 1);
    bool folder = g_file_test(path, G_FILE_TEST_IS_DIR);
    if (!(folder ? open_folder(source, path, error)
                 : add_file(source, path, error) && probe(source, error)) ||
        !ldm_tiny_config_check(&source->config, path, error))
        return NULL;
    return g_steal_pointer(&source);
}

char *ldm_tiny_source_find(const char *model)
{
    static const char *const folders[] = {"preview", "vae_tiny"};
    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(model, folders[i], NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&path);
    }
    if (!g_str_has_suffix(model, ".safetensors"))
        return NULL;
    g_autofree char *path = g_strdup_printf("%.*s.preview.safetensors",
                                            (int)(strlen(model) - strlen(".safetensors")), model);
    return g_file_test(path, G_FILE_TEST_EXISTS) ? g_steal_pointer(&path) : NULL;
}
