/* Options of the library's table: offered in --help with range and default, read from what was
 * typed, written into pictures and JSON. */
#include "cli/settings.h"

#include "pipeline/refine.h"

/* ---- offering ---------------------------------------------------------------------------- */

void pentimento_settings_clear(PentimentoSettings *settings)
{
    for (size_t i = 0; i < PENTIMENTO_MAX_SETTINGS; i++)
        g_free(settings->values[i]);
    for (size_t i = 0; i < PENTIMENTO_MAX_SETTINGS; i++)
        g_strfreev(settings->lists[i]);
    g_free(settings->size);
    g_free(settings->interval);
    g_clear_pointer(&settings->texts, g_ptr_array_unref);
}

static const char *keep(PentimentoSettings *settings, char *text)
{
    g_ptr_array_add(settings->texts, text);
    return text;
}

/* "20", "0.6", "dpmpp-2m"; free with g_free. */
static char *value_text(GVariant *value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
        return g_variant_dup_string(value, NULL);
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_INT32))
        return g_strdup_printf("%d", g_variant_get_int32(value));
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_INT64))
        return g_strdup_printf("%" G_GINT64_FORMAT, g_variant_get_int64(value));
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING_ARRAY)) {
        g_autofree const char **list = g_variant_get_strv(value, NULL);
        return g_strjoinv(", ", (char **)list);
    }
    return g_strdup(g_ascii_formatd(number, sizeof number, "%.15g", g_variant_get_double(value)));
}

static char *current(const LdmRequest *request, const char *name)
{
    g_autoptr(GVariant) value = g_variant_ref_sink(ldm_request_get(request, name));

    return value_text(value);
}

/* "Number of denoising steps (1 to 1000; 20)" */
static char *blurb(const LdmOption *option, const LdmRequest *defaults)
{
    g_autofree char *value = current(defaults, option->name);
    char low[G_ASCII_DTOSTR_BUF_SIZE], high[G_ASCII_DTOSTR_BUF_SIZE];

    if (*value == '\0')
        return g_strdup(_(option->blurb));
    if (option->choices != NULL || option->type[0] == 'x')
        return g_strdup_printf(_("%s (default %s)"), _(option->blurb), value);
    g_ascii_formatd(low, sizeof low, "%.15g", option->minimum);
    g_ascii_formatd(high, sizeof high, "%.15g", option->maximum);
    return g_strdup_printf(_("%s (%s to %s, default %s)"), _(option->blurb), low, high, value);
}

static char *placeholder(const LdmOption *option)
{
    if (option->choices != NULL)
        return g_strjoinv("|", (char **)option->choices);
    if (option->type[0] == 'a')
        return g_strdup(_("FILE"));
    return g_strdup(option->type[0] == 's' ? _("TEXT") : option->type[0] == 'd' ? _("X") : _("N"));
}

static void add_aliases(GOptionContext *context, PentimentoSettings *settings, LdmTask task,
                        char **negative)
{
    const GOptionEntry entries[] = {
        {"negative", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, negative, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry interval_entry[] = {
        {"guidance-interval", 0, 0, G_OPTION_ARG_STRING, &settings->interval,
         _("Start and end of guidance in one"), _("START:END")},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry size_entry[] = {
        {"size", 's', 0, G_OPTION_ARG_STRING, &settings->size, _("Width and height in one"),
         _("WxH")},
        G_OPTION_ENTRY_NULL,
    };

    if (negative != NULL)
        g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, interval_entry, NULL);
    if (task == LDM_TASK_GENERATE)
        g_option_context_add_main_entries(context, size_entry, NULL);
}

void pentimento_settings_add(GOptionContext *context, PentimentoSettings *settings, LdmTask task)
{
    g_autoptr(LdmRequest) defaults = ldm_request_new(task);
    const LdmOption *options = ldm_options();
    char **negative = NULL;

    settings->texts = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; options[i].name != NULL && i < PENTIMENTO_MAX_SETTINGS; i++) {
        bool list = options[i].type[0] == 'a';
        const GOptionEntry entry[] = {
            {options[i].name, strcmp(options[i].name, "prompt") == 0 ? 'p' : 0, 0,
             list ? G_OPTION_ARG_FILENAME_ARRAY : G_OPTION_ARG_FILENAME,
             list ? (gpointer)&settings->lists[i] : &settings->values[i], NULL, NULL},
            G_OPTION_ENTRY_NULL,
        };
        GOptionEntry described[2] = {entry[0], entry[1]};

        if ((options[i].tasks & 1u << task) == 0)
            continue;
        described[0].description = keep(settings, blurb(&options[i], defaults));
        described[0].arg_description = keep(settings, placeholder(&options[i]));
        g_option_context_add_main_entries(context, described, NULL);
        if (strcmp(options[i].name, "negative-prompt") == 0)
            negative = &settings->values[i];
    }
    add_aliases(context, settings, task, negative);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Typed text as a variant for ldm_request_set; floating. */
static GVariant *typed_value(const LdmOption *option, const char *text, GError **error)
{
    g_autofree char *utf8 = NULL;
    gint64 whole;
    double number;

    switch (option->type[0]) {
    case 's':
        utf8 = pentimento_parse_text(option->name, text, error);
        return utf8 != NULL ? g_variant_new_string(utf8) : NULL;
    case 'd':
        return pentimento_parse_double(option->name, text, &number, error)
                   ? g_variant_new_double(number)
                   : NULL;
    default:
        return pentimento_parse_int(option->name, text, &whole, error) ? g_variant_new_int64(whole)
                                                                       : NULL;
    }
}

/* The same for a list of files' names. */
static GVariant *typed_list(const LdmOption *option, char *const *texts, GError **error)
{
    g_auto(GVariantBuilder) list = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_STRING_ARRAY);

    for (size_t i = 0; texts[i] != NULL; i++) {
        g_autofree char *utf8 = pentimento_parse_text(option->name, texts[i], error);
        if (utf8 == NULL)
            return NULL;
        g_variant_builder_add(&list, "s", utf8);
    }
    return g_variant_builder_end(&list);
}

static bool set(LdmRequest *request, const char *name, GVariant *value, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (value == NULL)
        return false;
    if (ldm_request_set(request, name, value, &reason))
        return true;
    pentimento_set_usage(error, "--%s", reason->message); /* it begins with the option's name */
    return false;
}

static bool apply_size(const char *size, LdmRequest *request, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(size, "x", -1);
    gint64 width, height;

    if (g_strv_length(parts) != 2 ||
        !g_ascii_string_to_signed(parts[0], 10, 0, G_MAXINT64, &width, NULL) ||
        !g_ascii_string_to_signed(parts[1], 10, 0, G_MAXINT64, &height, NULL)) {
        pentimento_set_usage(error, _("--size must be width x height such as 640x480, not “%s”"),
                             size);
        return false;
    }
    return set(request, "width", g_variant_new_int64(width), error) &&
           set(request, "height", g_variant_new_int64(height), error);
}

static bool apply_interval(const char *interval, LdmRequest *request, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(interval, ":", -1);
    double start, end;

    if (g_strv_length(parts) != 2) {
        pentimento_set_usage(error,
                             _("--guidance-interval must be two fractions of the steps such as "
                               "0.2:0.8, not “%s”"),
                             interval);
        return false;
    }
    if (!pentimento_parse_double("guidance-interval", parts[0], &start, error) ||
        !pentimento_parse_double("guidance-interval", parts[1], &end, error))
        return false;
    if (start > end) {
        pentimento_set_usage(error, _("--guidance-interval %s ends before it starts"), interval);
        return false;
    }
    return set(request, "guidance-start", g_variant_new_double(start), error) &&
           set(request, "guidance-end", g_variant_new_double(end), error);
}

bool pentimento_settings_apply(const PentimentoSettings *settings, LdmRequest *request,
                               GError **error)
{
    const LdmOption *options = ldm_options();

    if (settings->size != NULL && !apply_size(settings->size, request, error))
        return false;
    if (settings->interval != NULL && !apply_interval(settings->interval, request, error))
        return false;
    for (size_t i = 0; options[i].name != NULL && i < PENTIMENTO_MAX_SETTINGS; i++) {
        const char *text = settings->values[i];

        if (text != NULL &&
            !set(request, options[i].name, typed_value(&options[i], text, error), error))
            return false;
        if (settings->lists[i] != NULL &&
            !set(request, options[i].name, typed_list(&options[i], settings->lists[i], error),
                 error))
            return false;
    }
    return true;
}

/* ---- telling ----------------------------------------------------------------------------- */

static void append_option(GString *text, const LdmRequest *request, const char *label,
                          const char *name)
{
    g_autofree char *value = current(request, name);

    g_string_append_printf(text, ", %s: %s", label, value);
}

/* Approximations are told where they are in use. */
static void append_approximations(GString *text, const LdmRequest *request)
{
    if (request->guidance_start > 0.0 || request->guidance_end < 1.0) {
        g_autofree char *start = current(request, "guidance-start");
        g_autofree char *end = current(request, "guidance-end");

        g_string_append_printf(text, ", Guidance interval: %s:%s", start, end);
    }
    if (request->reuse > 1)
        g_string_append_printf(text, ", Reuse: %d", request->reuse);
    if (request->merge > 0.0)
        append_option(text, request, "Merge", "merge");
    if (request->precision != LDM_PRECISION_EXACT)
        append_option(text, request, "Precision", "precision");
    if (request->surroundings > 0)
        g_string_append_printf(text, ", Surroundings: %d", request->surroundings);
    if (request->learn > 0)
        g_string_append_printf(text, ", Learn: %d", request->learn);
}

static void append_files(GString *text, const char *label, char *const *files)
{
    for (; files != NULL && *files != NULL; files++) {
        g_autofree char *name = g_filename_display_basename(*files);

        g_string_append_printf(text, ", %s: %s", label, name);
    }
}

char *pentimento_settings_text(const LdmRequest *request, const LdmResult *result,
                               const LdmModel *model)
{
    g_autofree char *path = g_filename_display_basename(ldm_model_info(model)->path);
    g_autofree char *sampler = current(request, "sampler");
    g_autofree char *schedule = current(request, "schedule");
    g_autofree char *guidance = current(request, "guidance");
    GString *text = g_string_new(request->prompt);
    LdmRefine refine;

    if (*request->negative_prompt != '\0')
        g_string_append_printf(text, "\nNegative prompt: %s", request->negative_prompt);
    g_string_append_printf(text,
                           "\nSteps: %d, Sampler: %s, Schedule type: %s, CFG scale: %s, "
                           "Seed: %" G_GINT64_FORMAT,
                           request->steps, sampler, schedule, guidance, (gint64)result->seed);
    if (request->guidance_rescale > 0.0)
        append_option(text, request, "CFG rescale", "guidance-rescale");
    if (request->eta > 0.0 && request->sampler == LDM_SAMPLER_DDIM)
        append_option(text, request, "Eta", "eta");
    if (request->task == LDM_TASK_GENERATE)
        g_string_append_printf(text, ", Size: %dx%d", result->window.width, result->window.height);
    else
        append_option(text, request, "Denoising strength", "strength");
    if (request->latent != NULL)
        g_string_append(text, ", Latent: given");
    if (ldm_refine_split(model, request, &refine))
        append_option(text, request, "Refine", "refine");
    append_files(text, "LoRA", request->loras);
    append_files(text, "Embedding", request->embeddings);
    append_approximations(text, request);
    g_string_append_printf(text, ", Model: %s, Version: pentimento %s", path, PENTIMENTO_VERSION);
    return g_string_free(text, FALSE);
}

static GVariant *describe_seconds(const LdmResult *result)
{
    GVariantBuilder seconds;

    g_variant_builder_init(&seconds, G_VARIANT_TYPE("a{sd}"));
    for (int stage = 0; stage < LDM_N_STAGES; stage++)
        g_variant_builder_add(&seconds, "{sd}", ldm_stage_name((LdmStage)stage),
                              result->seconds[stage]);
    return g_variant_builder_end(&seconds);
}

static void add(GVariantBuilder *fields, const char *name, GVariant *value)
{
    g_variant_builder_add(fields, "{sv}", name, value);
}

GVariant *pentimento_settings_describe(const LdmRequest *request, const LdmResult *result,
                                       const LdmModel *model, const char *path)
{
    const LdmOption *options = ldm_options();
    GVariantBuilder fields, settings;

    g_variant_builder_init(&settings, G_VARIANT_TYPE_VARDICT);
    for (size_t i = 0; options[i].name != NULL; i++) {
        GVariant *value = ldm_request_get(request, options[i].name);

        if (value != NULL && strcmp(options[i].name, "seed") != 0)
            add(&settings, options[i].name, value);
    }
    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    add(&fields, "event", g_variant_new_string("done"));
    add(&fields, "output", pentimento_path_variant(path));
    add(&fields, "seed", g_variant_new_int64(result->seed));
    add(&fields, "x", g_variant_new_int32(result->window.x));
    add(&fields, "y", g_variant_new_int32(result->window.y));
    add(&fields, "width", g_variant_new_int32(result->window.width));
    add(&fields, "height", g_variant_new_int32(result->window.height));
    add(&fields, "scale", g_variant_new_double(result->scale));
    add(&fields, "evaluations", g_variant_new_int32(result->evaluations));
    add(&fields, "seconds", describe_seconds(result));
    add(&fields, "model", pentimento_path_variant(ldm_model_info(model)->path));
    add(&fields, "settings", g_variant_builder_end(&settings));
    return g_variant_builder_end(&fields);
}
