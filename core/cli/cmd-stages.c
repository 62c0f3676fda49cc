/* The stages one by one: encode (ℰ), decode (𝒟), condition (τ_θ), predict (one ε_θ). Arrays are
 * .npy files, float32, NCHW; the parity tests drive these commands. */
#include "base/error.h"
#include "base/rng.h"
#include "cli/command.h"
#include "cli/picture-io.h"
#include "pipeline/model.h"
#include "prepare/prepare.h"

static bool is_npy(const char *path)
{
    return g_str_has_suffix(path, ".npy");
}

/* What a finished stage reports: the file and the array's shape in the file. */
static void report_array(const PentimentoReport *report, const char *path, const LdmTensor *array)
{
    const size_t *s = array->shape;
    const size_t nchw[] = {s[0], s[3], s[1], s[2]};
    const size_t *shape = array->rank == 4 ? nchw : s;
    g_autoptr(GString) text = g_string_new(path);
    GVariantBuilder fields, sizes;

    g_variant_builder_init(&sizes, G_VARIANT_TYPE("at"));
    g_string_append(text, ": [");
    for (int i = 0; i < array->rank; i++) {
        g_string_append_printf(text, "%s%zu", i > 0 ? ", " : "", shape[i]);
        g_variant_builder_add(&sizes, "t", (guint64)shape[i]);
    }
    g_string_append_c(text, ']');
    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("done"));
    g_variant_builder_add(&fields, "{sv}", "output", pentimento_path_variant(path));
    g_variant_builder_add(&fields, "{sv}", "shape", g_variant_builder_end(&sizes));
    pentimento_report_done(report, text->str, g_variant_builder_end(&fields));
}

static bool write_array(const PentimentoReport *report, const LdmTensor *array, const char *path,
                        GError **error)
{
    bool done;

    pentimento_output_begin(path);
    done = ldm_npy_write(array, path, error);
    pentimento_output_end(path);
    if (done)
        report_array(report, path, array);
    return done;
}

static bool array_output(const char *path, GError **error)
{
    if (!pentimento_check_output(path, error))
        return false;
    if (is_npy(path) || strcmp(path, "-") == 0)
        return true;
    pentimento_set_usage(error, _("“%s” has to end in .npy: an array is written"), path);
    return false;
}

/* An array of rank 4, or an error. */
static LdmTensor *read_maps(const char *path, GError **error)
{
    g_autoptr(LdmTensor) array = ldm_npy_read(path, error);

    if (array != NULL && array->rank != 4) {
        ldm_set_error(error, SHAPE, _("“%s” has %d dimensions; 4 are needed: [N, C, H, W]"), path,
                      array->rank);
        return NULL;
    }
    return g_steal_pointer(&array);
}

/* ---- encode ------------------------------------------------------------------------------ */

/* A picture as the line's own first stage makes it: [1, H, W, 3] in [-1, 1], its last row and
 * column repeated up to multiples of f. */
static LdmTensor *read_for_encoder(const char *path, size_t f, const PentimentoReport *report,
                                   GError **error)
{
    g_auto(PentimentoPictureInfo) info = {0};
    g_autoptr(LdmTensor) picture = pentimento_picture_read(path, &info, error);
    g_auto(LdmPrepared) prepared = {0};
    size_t height, width;

    if (picture == NULL)
        return NULL;
    height = picture->shape[1];
    width = picture->shape[2];
    prepared = (LdmPrepared){.window = {0, 0, (int)width, (int)height},
                             .scale = 1.0,
                             .H = (height + f - 1) / f * f,
                             .W = (width + f - 1) / f * f,
                             .inner_h = height,
                             .inner_w = width};
    if (prepared.H != height || prepared.W != width) {
        g_autofree char *note = g_strdup_printf(
            _("The picture was extended from %zu × %zu to %zu × %zu pixels, multiples of %zu."),
            width, height, prepared.W, prepared.H, f);
        pentimento_report_note(report, note);
    }
    if (info.reduced)
        pentimento_report_note(report, _("The picture was read with 8 bits a channel."));
    if (!ldm_prepare(picture, NULL, f, &prepared, report->monitor.cancellable, error))
        return NULL;
    return g_steal_pointer(&prepared.image);
}

/* The seed of --sample: -1 without it. */
static bool sample_seed(gboolean sample, const char *text, int64_t *seed, GError **error)
{
    gint64 number = -1;

    *seed = -1;
    if (text != NULL && !pentimento_parse_int("seed", text, &number, error))
        return false;
    if (number < -1 || (text != NULL && !sample)) {
        pentimento_set_usage(error, number < -1 ? _("--seed must be -1 or more")
                                                : _("--seed needs --sample"));
        return false;
    }
    if (sample)
        *seed = number >= 0 ? number : ldm_seed_new();
    return true;
}

bool pentimento_encode(int argc, char **argv, GError **error)
{
    g_auto(PentimentoCommon) common = {0};
    g_autoptr(GOptionContext) context = pentimento_context_new(
        &common, PENTIMENTO_OUTPUT, _("IN.png|IN.npy"),
        _("Encodes a picture, or an array [1, 3, H, W] in [-1, 1], as a latent [1, z, h, w]: scale "
          "factor times the mean of the posterior."));
    gboolean sample = FALSE;
    g_autofree char *seed_text = NULL;
    const GOptionEntry entries[] = {
        {"sample", 0, 0, G_OPTION_ARG_NONE, &sample,
         _("Draw from the posterior instead of taking its mean"), NULL},
        {"seed", 0, 0, G_OPTION_ARG_STRING, &seed_text, _("Seed of the draw; -1 picks a new one"),
         _("N")},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(LdmModel) model = NULL;
    g_autoptr(LdmTensor) picture = NULL;
    g_autoptr(LdmTensor) latent = NULL;
    PentimentoReport report;
    int64_t seed;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!pentimento_context_parse(context, &common, argc, argv, (int[]){1, 1}, error) ||
        !sample_seed(sample, seed_text, &seed, error) || !array_output(common.output, error))
        return false;
    pentimento_report_init(&report, &common);
    model = ldm_model_load_first_stage(common.model, error);
    if (model == NULL)
        return false;
    picture = is_npy(common.files[0])
                  ? read_maps(common.files[0], error)
                  : read_for_encoder(common.files[0], (size_t)ldm_model_info(model)->downsampling,
                                     &report, error);
    if (picture != NULL)
        latent = ldm_encode(model, picture, seed, &report.monitor, error);
    pentimento_report_end(&report);
    return latent != NULL && write_array(&report, latent, common.output, error);
}

/* ---- decode ------------------------------------------------------------------------------ */

/* [-1, 1] -> 0..1, in place. */
static void to_unit_range(LdmTensor *picture)
{
    float *p = picture->data;

    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        p[i] = 0.5f * p[i] + 0.5f;
}

static bool write_decoded(const PentimentoReport *report, LdmTensor *picture, const char *path,
                          GError **error)
{
    bool done;

    if (is_npy(path))
        return write_array(report, picture, path, error);
    if (picture->shape[0] != 1) {
        ldm_set_error(error, SHAPE, _("%zu pictures do not go into one file: write them to .npy"),
                      picture->shape[0]);
        return false;
    }
    to_unit_range(picture);
    pentimento_output_begin(path);
    done = pentimento_picture_write(picture, NULL, path, error);
    pentimento_output_end(path);
    if (done)
        report_array(report, path, picture);
    return done;
}

bool pentimento_decode(int argc, char **argv, GError **error)
{
    g_auto(PentimentoCommon) common = {0};
    g_autoptr(GOptionContext) context = pentimento_context_new(
        &common, PENTIMENTO_OUTPUT, _("LATENT.npy"),
        _("Decodes a latent [1, z, h, w] to a picture, or to an array [1, 3, H, W] about [-1, 1] "
          "where the output ends in .npy."));
    g_autoptr(LdmModel) model = NULL;
    g_autoptr(LdmTensor) latent = NULL;
    g_autoptr(LdmTensor) picture = NULL;
    PentimentoReport report;

    if (!pentimento_context_parse(context, &common, argc, argv, (int[]){1, 1}, error) ||
        !pentimento_check_output(common.output, error) ||
        (!is_npy(common.output) && !pentimento_picture_writable(common.output, error)))
        return false;
    pentimento_report_init(&report, &common);
    latent = read_maps(common.files[0], error);
    model = latent != NULL ? ldm_model_load_first_stage(common.model, error) : NULL;
    if (model != NULL)
        picture = ldm_decode(model, latent, &report.monitor, error);
    pentimento_report_end(&report);
    return picture != NULL && write_decoded(&report, picture, common.output, error);
}

/* ---- condition --------------------------------------------------------------------------- */

bool pentimento_condition(int argc, char **argv, GError **error)
{
    g_auto(PentimentoCommon) common = {0};
    g_autoptr(GOptionContext) context =
        pentimento_context_new(&common, PENTIMENTO_OUTPUT, NULL,
                               _("Encodes a prompt as the conditioning [1, tokens, width] that the "
                                 "denoiser sees. A longer "
                                 "prompt than the model has tokens for is cut."));
    g_autofree char *text = NULL;
    const GOptionEntry entries[] = {
        {"prompt", 'p', 0, G_OPTION_ARG_FILENAME, &text, _("The prompt; empty if left out"),
         _("TEXT")},
        G_OPTION_ENTRY_NULL,
    };
    g_autofree char *prompt = NULL;
    g_autoptr(LdmModel) model = NULL;
    g_autoptr(LdmTensor) conditioning = NULL;
    PentimentoReport report;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!pentimento_context_parse(context, &common, argc, argv, (int[]){0, 0}, error) ||
        !array_output(common.output, error))
        return false;
    prompt = pentimento_parse_text("prompt", text != NULL ? text : "", error);
    if (prompt == NULL)
        return false;
    pentimento_report_init(&report, &common);
    model = ldm_model_load(common.model, error);
    if (model != NULL)
        conditioning = ldm_condition(model, prompt, &report.monitor, error);
    pentimento_report_end(&report);
    return conditioning != NULL && write_array(&report, conditioning, common.output, error);
}

/* ---- predict ----------------------------------------------------------------------------- */

typedef struct {
    char *latent, *context, *concat, *timestep;
} PredictArguments;

static void predict_arguments_clear(PredictArguments *arguments)
{
    g_free(arguments->latent);
    g_free(arguments->context);
    g_free(arguments->concat);
    g_free(arguments->timestep);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PredictArguments, predict_arguments_clear)

static void add_predict_entries(GOptionContext *context, PredictArguments *arguments)
{
    const GOptionEntry entries[] = {
        {"latent", 0, 0, G_OPTION_ARG_FILENAME, &arguments->latent,
         _("The noisy latent z_t, [N, z, h, w]"), _("FILE.npy")},
        {"timestep", 0, 0, G_OPTION_ARG_STRING, &arguments->timestep,
         _("The timestep t, 0 to 999; fractions are allowed"), _("T")},
        {"context", 0, 0, G_OPTION_ARG_FILENAME, &arguments->context,
         _("The conditioning, [1, tokens, width], of “pentimento condition”"), _("FILE.npy")},
        {"concat", 0, 0, G_OPTION_ARG_FILENAME, &arguments->concat,
         _("Further input channels of inpainting models, [N, C, h, w]"), _("FILE.npy")},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static LdmTensor *predict(const PredictArguments *arguments, double timestep, const char *name,
                          const LdmMonitor *monitor, GError **error)
{
    g_autoptr(LdmTensor) latent = read_maps(arguments->latent, error);
    g_autoptr(LdmTensor) context = NULL;
    g_autoptr(LdmTensor) concat = NULL;
    g_autoptr(LdmModel) model = NULL;

    if (latent == NULL)
        return NULL;
    if (arguments->context != NULL && (context = ldm_npy_read(arguments->context, error)) == NULL)
        return NULL;
    if (arguments->concat != NULL && (concat = read_maps(arguments->concat, error)) == NULL)
        return NULL;
    model = ldm_model_load(name, error);
    return model != NULL ? ldm_predict(model, latent, timestep, context, concat, monitor, error)
                         : NULL;
}

bool pentimento_predict(int argc, char **argv, GError **error)
{
    g_auto(PentimentoCommon) common = {0};
    g_autoptr(GOptionContext) context = pentimento_context_new(
        &common, PENTIMENTO_OUTPUT, NULL,
        _("Runs the denoiser once and writes its raw output (noise, v or picture, as the model "
          "predicts), [N, z, h, w]."));
    g_auto(PredictArguments) arguments = {0};
    g_autoptr(LdmTensor) output = NULL;
    PentimentoReport report;
    double timestep;

    add_predict_entries(context, &arguments);
    if (!pentimento_context_parse(context, &common, argc, argv, (int[]){0, 0}, error))
        return false;
    if (arguments.latent == NULL || arguments.timestep == NULL) {
        pentimento_set_usage(error, _("--latent and --timestep are needed"));
        return false;
    }
    if (!pentimento_parse_double("timestep", arguments.timestep, &timestep, error) ||
        !array_output(common.output, error))
        return false;
    pentimento_report_init(&report, &common);
    output = predict(&arguments, timestep, common.model, &report.monitor, error);
    pentimento_report_end(&report);
    return output != NULL && write_array(&report, output, common.output, error);
}
