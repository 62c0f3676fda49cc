/* Single files whose tensors are named or numbered otherwise than SD 1's and SD 2's first ones. */
#include "made-model.h"
#include "own-folder.h"
#include "pipeline/model.h"

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-single-XXXXXX", NULL);
    g_test_add_func("/single/layers", test_layers);
    int result = g_test_run();
    made_remove(folder);
    g_free(folder);
    return result;
}
