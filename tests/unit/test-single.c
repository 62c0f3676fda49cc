/* Single files whose tensors are named or numbered otherwise than SD 1's and SD 2's first ones. */
#include "made-model.h"
#include "own-folder.h"
#include "pipeline/model.h"
#include "tensor/half.h"

/* The last but one layer of 24 is the last of a file that has 23, whatever the .yaml calls it. */
static void test_layers(void)
{
    static const struct {
        int layers, skip_last;
        const char *yaml; /* "layer", or NULL */
    } cases[] = {
        {24, 1, NULL}, {24, 1, "penultimate"}, {24, 0, "last"},
        {23, 0, NULL}, {23, 0, "penultimate"}, {23, 0, "last"},
    };
    g_autofree char *path = in_folder("layers.safetensors");
    g_autofree char *yaml = in_folder("layers.yaml");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        LdmModelConfig config = made_config(true, 49408);
        config.text.layers = cases[i].layers;
        MadeModel *made = made_model_new(&config);
        made_file_write(made_single(made), path, 0);
        made_model_free(made);
        g_autofree char *text = g_strdup_printf(
            "model: {params: {cond_stage_config: {params: {layer: %s}}}}", cases[i].yaml);
        if (cases[i].yaml != NULL)
            made_text(folder, "", "layers.yaml", text);
        else
            g_remove(yaml);
        g_autoptr(LdmModel) model = made_load(path);
        g_assert_cmpint(model->config.text.layers, ==, cases[i].layers);
        g_assert_cmpint(model->config.text.skip_last, ==, cases[i].skip_last);
    }
}

/* The networks of a model under the names that they have in generative-models' layout. */
static MadeFile *made_sgm(const MadeModel *made, const char *text)
{
    MadeFile *file = made_file_new();
    made_add_part(file, made, LDM_PART_UNET, LDM_NAMES_LDM_UNET, "model.diffusion_model.");
    made_add_part(file, made, LDM_PART_VAE, LDM_NAMES_LDM_VAE, "first_stage_model.");
    made_add_part(file, made, LDM_PART_TEXT, LDM_NAMES_OPENCLIP, text);
    return file;
}

static void refused(const char *path, LdmErrorCode code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_model_load(path, &error));
    g_assert_error(error, LDM_ERROR, (int)code);
    if (strstr(error->message, words) == NULL)
        g_error("“%s” does not say “%s”", error->message, words);
}

/* SD-Turbo is SD 2 with its text encoder where SDXL has two; what has a second one, or takes the
 * size of the picture besides, is SDXL and no more read than before. */
static void test_sgm(void)
{
    static const char text[] = "conditioner.embedders.0.model.";
    static const struct {
        const char *tensor, *words;
        LdmErrorCode code;
    } others[] = {
        {"conditioner.embedders.1.model.logit_scale", "SDXL", LDM_ERROR_UNSUPPORTED},
        {"model.diffusion_model.label_emb.0.0.weight", "SDXL", LDM_ERROR_UNSUPPORTED},
        {"conditioner.stranger", "conditioner.stranger", LDM_ERROR_FORMAT},
    };
    LdmModelConfig config = made_config(true, 49408);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("sgm.safetensors");
    MadeFile *file = made_sgm(made, text);
    made_file_add(file, "conditioner.embedders.0.model.logit_scale", "F16", 0, NULL, "xy", 2);
    made_file_write(file, path, 0);
    g_autoptr(LdmModel) model = made_load(path);
    g_assert_true(model->config.has_text);
    g_assert_cmpint(model->config.text.skip_last, ==, 1);
    const LdmParams *params = made->params[LDM_PART_TEXT];
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *p = ldm_params_at(params, i);
        const LdmParam *q = ldm_params_find(model->text_params, p->name);
        g_assert_cmpmem(p->data, made_bytes(p), q->data, made_bytes(q));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        file = made_sgm(made, text);
        made_file_add(file, others[i].tensor, "F16", 1, (size_t[]){1}, "xy", 2);
        made_file_write(file, path, 0);
        refused(path, others[i].code, others[i].words);
    }
    made_file_write(made_sgm(made, "conditioner.embedders.0.t5."), path, 0);
    refused(path, LDM_ERROR_UNSUPPORTED, "conditioning by conditioner.embedders.0.t5.");
    file = made_single(made); /* classes and unCLIP: no SDXL */
    made_file_add(file, others[1].tensor, "F16", 1, (size_t[]){1}, "xy", 2);
    made_file_write(file, path, 0);
    refused(path, LDM_ERROR_UNSUPPORTED, "a UNet with classes");
    made_model_free(made);
}

/* SD 2's UNet but for its channels, whose last attention's bias is spread so. */
static MadeModel *made_sd2(float spread)
{
    LdmModelConfig config = made_config(true, 49408);
    config.has_text = false;
    config.unet.levels = 4;
    config.unet.layers_per_block = 2;
    config.unet.context_width = 1024;
    for (int i = 0; i < 4; i++) {
        config.unet.channels[i] = 64;
        config.unet.attention[i] = i < 3;
        config.unet.depth[i] = 1;
        config.unet.heads[i] = 1;
    }
    MadeModel *made = made_model_new(&config);
    const LdmParam *bias = ldm_params_find(made->params[LDM_PART_UNET],
                                           "up_blocks.3.attentions.2.transformer_blocks.0.norm1."
                                           "bias");
    for (size_t i = 0; i < bias->shape[0]; i++)
        ((guint16 *)bias->data)[i] = ldm_f32_to_f16(0.5f + (i % 2 == 0 ? spread : -spread));
    return made;
}

/* What is known of a file's prediction, from the weakest to what has the last word. */
static void test_prediction(void)
{
    static const struct {
        float spread;
        const char *metadata, *marker, *yaml; /* NULL: none */
        LdmPrediction prediction;
        int sample_size;
    } cases[] = {
        {0.08f, NULL, NULL, NULL, LDM_PREDICTION_EPSILON, 64},
        {0.1f, NULL, NULL, NULL, LDM_PREDICTION_V, 96},
        {0.1f, "epsilon", NULL, NULL, LDM_PREDICTION_EPSILON, 64},
        {0.08f, "v", NULL, NULL, LDM_PREDICTION_V, 96},
        {0.1f, "flow", NULL, NULL, LDM_PREDICTION_V, 96},
        {0.08f, NULL, "v_pred", NULL, LDM_PREDICTION_V, 96},
        {0.08f, "epsilon", "v_pred", NULL, LDM_PREDICTION_V, 96},
        {0.1f, "v", "v_pred", "parameterization: eps", LDM_PREDICTION_EPSILON, 64},
        {0.08f, NULL, NULL, "parameterization: v", LDM_PREDICTION_V, 96},
        {0.1f, NULL, NULL, "timesteps: 500", LDM_PREDICTION_V, 96},
        {0.1f, NULL, NULL, "image_size: 32", LDM_PREDICTION_V, 32},
    };
    g_autofree char *path = in_folder("prediction.safetensors");
    g_autofree char *yaml = in_folder("prediction.yaml");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        MadeModel *made = made_sd2(cases[i].spread);
        MadeFile *file = made_single(made);
        g_autofree char *metadata =
            g_strdup_printf("\"modelspec.prediction_type\":\"%s\",\"format\"", cases[i].metadata);
        g_autofree char *text = g_strdup_printf("model: {params: {%s}}", cases[i].yaml);
        if (cases[i].metadata != NULL)
            g_string_replace(file->header, "\"format\"", metadata, 1);
        if (cases[i].marker != NULL)
            made_file_add(file, cases[i].marker, "F16", 1, (size_t[]){1}, "xy", 2);
        made_file_write(file, path, 0);
        made_model_free(made);
        g_remove(yaml);
        if (cases[i].yaml != NULL)
            made_text(folder, "", "prediction.yaml", text);
        g_autoptr(LdmModel) model = made_load(path);
        g_assert_cmpint(model->config.schedule.prediction, ==, cases[i].prediction);
        g_assert_cmpint(model->config.unet.sample_size, ==, cases[i].sample_size);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-single-XXXXXX", NULL);
    g_test_add_func("/single/layers", test_layers);
    g_test_add_func("/single/sgm", test_sgm);
    g_test_add_func("/single/prediction", test_prediction);
    int result = g_test_run();
    made_remove(folder);
    g_free(folder);
    return result;
}
