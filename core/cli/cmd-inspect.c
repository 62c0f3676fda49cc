/* `pentimento inspect`: what a model is, without running it. In: a model's name. Out: its figures
 * and what one picture of its native size takes, as rows for people or one JSON object. */
#include "cli/command.h"

#include "tensor/tensor.h"
#include "weights/config-names.h"

/* What one picture at the native size takes. */
static bool plan_native(LdmModel *model, LdmPrecision precision, LdmPlan *plan, GError **error)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);

    request->precision = precision;
    return ldm_plan(model, request, plan, error);
}

static void add(GVariantBuilder *fields, const char *name, GVariant *value)
{
    g_variant_builder_add(fields, "{sv}", name, value);
}

static GVariant *describe(const LdmModelInfo *info, const LdmPlan *plan, const LdmPlan *q8)
{
    static const char *const tasks[] = {"generate", "img2img", "inpaint"};
    GVariantBuilder fields;

    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    add(&fields, "path", pentimento_path_variant(info->path));
    add(&fields, "layout", g_variant_new_string(info->layout));
    add(&fields, "family", g_variant_new_string(info->family));
    add(&fields, "tasks", g_variant_new_strv(tasks, G_N_ELEMENTS(tasks)));
    add(&fields, "inpainting_channels", g_variant_new_boolean(info->concat_inpainting));
    add(&fields, "masked_hole", g_variant_new_string(ldm_hole_names[info->hole]));
    add(&fields, "prediction", g_variant_new_string(ldm_prediction_names[info->prediction]));
    add(&fields, "dtype", g_variant_new_string(ldm_dtype_name(info->dtype)));
    add(&fields, "parameters", g_variant_new_uint64(info->parameters));
    add(&fields, "unet_parameters", g_variant_new_uint64(info->unet_parameters));
    add(&fields, "vae_parameters", g_variant_new_uint64(info->vae_parameters));
    add(&fields, "text_parameters", g_variant_new_uint64(info->text_parameters));
    add(&fields, "native_size", g_variant_new_int32(info->native_size));
    add(&fields, "downsampling", g_variant_new_int32(info->downsampling));
    add(&fields, "latent_channels", g_variant_new_int32(info->latent_channels));
    add(&fields, "codebook", g_variant_new_int32(info->codebook));
    add(&fields, "unet_in_channels", g_variant_new_int32(info->unet_in_channels));
    add(&fields, "scale_factor", g_variant_new_double(info->scale_factor));
    add(&fields, "tokens", g_variant_new_int32(info->tokens));
    add(&fields, "context_width", g_variant_new_int32(info->context_width));
    add(&fields, "weight_bytes", g_variant_new_uint64(info->weight_bytes));
    add(&fields, "work_bytes", g_variant_new_uint64(plan->work_bytes));
    add(&fields, "peak_bytes", g_variant_new_uint64(plan->peak_bytes));
    add(&fields, "q8_peak_bytes", g_variant_new_uint64(q8->peak_bytes));
    return g_variant_builder_end(&fields);
}

/* Of a terminal. */
static int columns(const char *text)
{
    int n = 0;

    for (; *text != '\0'; text = g_utf8_next_char(text))
        n += g_unichar_iswide(g_utf8_get_char(text)) ? 2 : 1;
    return n;
}

static void row(const char *label, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void row(const char *label, const char *format, ...)
{
    g_autofree char *text = NULL;
    int gap = 14 - columns(label);
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_print("%s%*s %s\n", label, MAX(gap, 0), "", text);
}

/* "11.3 M" */
static char *millions(uint64_t number)
{
    return g_strdup_printf("%.1f M", (double)number / 1e6);
}

static void print_parameters(const LdmModelInfo *info)
{
    g_autofree char *all = millions(info->parameters);
    g_autofree char *unet = millions(info->unet_parameters);
    g_autofree char *vae = millions(info->vae_parameters);
    g_autofree char *text = millions(info->text_parameters);

    row(_("Parameters"), _("%s (denoiser %s, autoencoder %s, text encoder %s)"), all, unet, vae,
        text);
}

static const char *sight(const LdmModelInfo *info)
{
    if (!info->concat_inpainting)
        return _("by blending latents");
    return info->hole == LDM_HOLE_FILLED
               ? _("sees the mask and the picture around it, whose colours go on in the hole")
               : _("sees the mask and the picture around it");
}

static void print_info(const LdmModelInfo *info, const LdmPlan *plan)
{
    g_autofree char *weights = g_format_size(info->weight_bytes);
    g_autofree char *work = g_format_size(plan->work_bytes);
    g_autofree char *free_memory = g_format_size(plan->free_bytes);

    row(_("Model"), "%s", info->path);
    row(_("Layout"), "%s, %s", info->layout, info->family);
    row(_("Tasks"), "generate, img2img, inpaint (%s)", sight(info));
    print_parameters(info);
    row(_("Weights"), "%s, %s", ldm_dtype_name(info->dtype), weights);
    row(_("Native size"), _("%d × %d pixels"), info->native_size, info->native_size);
    row(_("Latent"), _("%d channels, 1 cell for %d × %d pixels, scale factor %g"),
        info->latent_channels, info->downsampling, info->downsampling, info->scale_factor);
    if (info->codebook > 0)
        row(_("Codebook"), _("%d entries"), info->codebook);
    row(_("Denoiser"), _("predicts %s, %d channels in"), ldm_prediction_names[info->prediction],
        info->unet_in_channels);
    if (info->tokens > 0)
        row(_("Text"), _("%d tokens of width %d"), info->tokens, info->context_width);
    row(_("Memory"), _("%s for one picture of native size beside the weights; %s are free"), work,
        free_memory);
}

bool pentimento_inspect(int argc, char **argv, GError **error)
{
    g_auto(PentimentoCommon) common = {0};
    g_autoptr(GOptionContext) context =
        pentimento_context_new(&common, PENTIMENTO_NO_OUTPUT, _("[MODEL]"),
                               _("Tells what a model is: layout, tasks, sizes, parameters, number "
                                 "format, memory needed."));
    g_autoptr(LdmModel) model = NULL;
    const char *name;
    LdmPlan plan, q8;

    if (!pentimento_context_parse(context, &common, argc, argv, (int[]){0, 1}, error))
        return false;
    if (common.files != NULL && common.model != NULL) {
        pentimento_set_usage(error, _("the model is given twice"));
        return false;
    }
    name = common.files != NULL ? common.files[0] : common.model;
    model = ldm_model_load(name, error);
    if (model == NULL || !plan_native(model, LDM_PRECISION_EXACT, &plan, error) ||
        !plan_native(model, LDM_PRECISION_Q8, &q8, error))
        return false;
    if (common.json)
        pentimento_print_json(stdout, describe(ldm_model_info(model), &plan, &q8));
    else
        print_info(ldm_model_info(model), &plan);
    return true;
}
