/* `pentimento convert`: a model with weights in another number format. In: a model of any layout.
 * Out: a diffusers folder, and before it is written, how much that will be. */
#include "cli/command.h"

#include "tensor/tensor.h"

typedef struct {
    PentimentoCommon common;
    char *dtype;
    gboolean replace;
} Arguments;

static void arguments_clear(Arguments *arguments)
{
    pentimento_common_clear(&arguments->common);
    g_free(arguments->dtype);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static void add_entries(GOptionContext *context, Arguments *arguments)
{
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &arguments->common.output,
         _("Folder that the model is written to"), _("DIR")},
        {"dtype", 0, 0, G_OPTION_ARG_STRING, &arguments->dtype,
         _("Number format of the weights: f16 (the default), bf16, or q8, of which the denoiser "
           "has "
           "8 bits and the rest 16"),
         _("NAME")},
        {"replace", 0, 0, G_OPTION_ARG_NONE, &arguments->replace,
         _("A model that is there already goes"), NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static bool parse_dtype(const char *text, LdmDtype *dtype, GError **error)
{
    static const LdmDtype dtypes[] = {LDM_F16, LDM_BF16, LDM_Q8};

    *dtype = LDM_F16;
    if (text == NULL)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(dtypes); i++) {
        *dtype = dtypes[i];
        if (strcmp(text, ldm_dtype_name(dtypes[i])) == 0)
            return true;
    }
    pentimento_set_usage(error, _("--dtype must be f16, bf16 or q8, not “%s”"), text);
    return false;
}

static bool check_arguments(const Arguments *arguments, GError **error)
{
    const char *output = arguments->common.output;

    if (arguments->common.files != NULL && arguments->common.model != NULL)
        pentimento_set_usage(error, _("the model is given twice"));
    else if (output == NULL || *output == '\0')
        pentimento_set_usage(error, _("an output folder is missing: give one with -o DIR"));
    else if (g_str_has_suffix(output, ".safetensors") || strcmp(output, "-") == 0)
        pentimento_set_usage(error, _("a folder is written, not a file: give a folder's name"));
    else
        return true;
    return false;
}

/* "model: 2.1 GB; as q8: 1.2 GB" */
static void tell_sizes(const PentimentoReport *report, const LdmModelInfo *info, LdmDtype dtype,
                       const LdmConversion *plan)
{
    g_autofree char *now = g_format_size(info->weight_bytes);
    g_autofree char *then = g_format_size(plan->weight_bytes);
    g_autofree char *all = g_format_size(plan->bytes);
    g_autofree char *text =
        g_strdup_printf(_("Weights: %s (%s), will be %s (%s); %s will be written"), now,
                        ldm_dtype_name(info->dtype), then, ldm_dtype_name(dtype), all);

    pentimento_report_note(report, text);
}

static bool convert(const Arguments *arguments, LdmDtype dtype, GError **error)
{
    const PentimentoCommon *common = &arguments->common;
    const char *name = common->files != NULL ? common->files[0] : common->model;
    g_autoptr(LdmModel) model = ldm_model_load(name, error);
    PentimentoReport report;
    LdmConversion plan;
    GVariantBuilder fields;

    if (model == NULL || !ldm_convert_plan(model, common->output, dtype, &plan, error))
        return false;
    pentimento_report_init(&report, common);
    report.work = N_("Converting");
    tell_sizes(&report, ldm_model_info(model), dtype, &plan);
    bool done =
        ldm_convert(model, common->output, dtype, arguments->replace, &report.monitor, error);
    pentimento_report_end(&report);
    if (!done)
        return false;
    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("done"));
    g_variant_builder_add(&fields, "{sv}", "output", pentimento_path_variant(common->output));
    g_variant_builder_add(&fields, "{sv}", "weight_bytes", g_variant_new_uint64(plan.weight_bytes));
    pentimento_report_done(&report, common->output, g_variant_builder_end(&fields));
    return true;
}

bool pentimento_convert(int argc, char **argv, GError **error)
{
    g_auto(Arguments) arguments = {0};
    g_autoptr(GOptionContext) context = pentimento_context_new(
        &arguments.common, PENTIMENTO_NO_OUTPUT, _("[MODEL]"),
        _("Writes a model as a diffusers folder with weights in another number format. The folder "
          "appears once it is whole."));
    LdmDtype dtype;

    add_entries(context, &arguments);
    if (!pentimento_context_parse(context, &arguments.common, argc, argv, (int[]){0, 1}, error) ||
        !check_arguments(&arguments, error) || !parse_dtype(arguments.dtype, &dtype, error))
        return false;
    pentimento_interrupt_hold(); /* what has been written so far is taken away */
    bool done = convert(&arguments, dtype, error);
    pentimento_interrupt_release();
    return done;
}
