/* evaluate-default: measures models on the default model's data set. In: models, or a checkpoint of
 * a run, and the held-out pictures. Out: a table of figures. Everything is seeded: the same model
 * and set give the same figures on the same kind of processor. */
#include "evaluate.h"

#include "base/error.h"
#include "pipeline/model.h"
#include "train/initial.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char **models; /* the one to be measured */
    char *against, *checkpoint, *set, *output, *parts, *features;
    gboolean quick;
    EvaluateTask task;
} Arguments;

static void arguments_clear(Arguments *arguments)
{
    char *texts[] = {arguments->against, arguments->checkpoint, arguments->set,
                     arguments->output,  arguments->parts,      arguments->features};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    g_strfreev(arguments->models);
    g_strfreev(arguments->task.settings);
    evaluate_reference_free(arguments->task.reference);
    g_clear_pointer(&arguments->task.held_out, g_ptr_array_unref);
    g_clear_pointer(&arguments->task.training, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static const struct {
    const char *name;
    bool first_stage; /* is enough for it */
    bool (*measure)(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                    GError **error);
} parts[] = {
    {"reconstruction", true, evaluate_reconstruction},
    {"fills", false, evaluate_fills},
    {"pictures", false, evaluate_pictures},
    {"learn", false, evaluate_learning},
};

/* ---- models ---- */

static const struct {
    LdmPart part;
    const char *prefix; /* of its averaged weights in a checkpoint */
} averages[] = {
    {LDM_PART_VAE, "ema/vae/"}, {LDM_PART_UNET, "ema/unet/"}, {LDM_PART_TEXT, "ema/text/"}};

static bool has_part(const LdmFiles *files, const char *prefix)
{
    for (size_t i = 0; i < ldm_files_length(files); i++)
        if (g_str_has_prefix(ldm_files_at(files, i)->name, prefix))
            return true;
    return false;
}

/* A model whose networks are a checkpoint's averaged weights, as far as they are in it. */
static LdmModel *load_checkpoint(const char *name, LdmFiles *files, LdmWanted wanted,
                                 GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(averages); i++)
        if (has_part(files, averages[i].prefix))
            wanted.made_new |= 1u << averages[i].part;
    g_autoptr(LdmModel) model = ldm_model_load_wanted(name, &wanted, error);
    if (model == NULL)
        return NULL;
    LdmParams *const tables[LDM_N_PARTS] = {[LDM_PART_VAE] = model->vae_params,
                                            [LDM_PART_UNET] = model->unet_params,
                                            [LDM_PART_TEXT] = model->text_params};
    for (size_t i = 0; i < G_N_ELEMENTS(averages); i++)
        if ((wanted.made_new & 1u << averages[i].part) != 0 &&
            !ldm_files_bind(files, averages[i].prefix, tables[averages[i].part], error))
            return NULL;
    return g_steal_pointer(&model);
}

/* ---- the program ---- */

static bool is_chosen(const Arguments *arguments, const char *part)
{
    g_auto(GStrv) names = g_strsplit(arguments->parts, ",", -1);

    return g_strv_contains((const char *const *)names, part);
}

static bool measure(const Arguments *arguments, const char *name, const char *checkpoint,
                    EvaluateResult *result, GError **error)
{
    g_autoptr(LdmFiles) files = checkpoint != NULL ? ldm_files_new() : NULL;
    LdmWanted wanted = {.first_stage = true};

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
        wanted.first_stage &= parts[i].first_stage || !is_chosen(arguments, parts[i].name);
    if (files != NULL && !ldm_files_add(files, checkpoint, error))
        return false;
    g_autoptr(LdmModel) model = files != NULL ? load_checkpoint(name, files, wanted, error)
                                              : ldm_model_load_wanted(name, &wanted, error);
    for (size_t i = 0; model != NULL && i < G_N_ELEMENTS(parts); i++) {
        if (!is_chosen(arguments, parts[i].name))
            continue;
        fprintf(stderr, "%s: %s\n", name, parts[i].name);
        if (!parts[i].measure(&arguments->task, model, result, error))
            return false;
    }
    return model != NULL;
}

/* The lists, and what generated pictures are compared with. */
static bool prepare(Arguments *arguments, GError **error)
{
    EvaluateTask *task = &arguments->task;

    task->held_out = evaluate_rows_read(arguments->set, "held-out.tsv", error);
    if (task->held_out == NULL)
        return false;
    if (!is_chosen(arguments, "pictures"))
        return true;
    fputs("the set's pictures\n", stderr);
    task->training = evaluate_rows_read(arguments->set, "train.tsv", error);
    task->reference = task->training != NULL ? evaluate_reference_new(task, error) : NULL;
    return task->reference != NULL;
}

static bool run(Arguments *arguments, GError **error)
{
    const char *names[] = {arguments->models[0], arguments->against};
    size_t count = arguments->against != NULL ? 2 : 1;
    EvaluateResult results[2] = {{names[0], NULL}, {names[1], NULL}};
    bool done = true;

    if (!prepare(arguments, error))
        return false;
    for (size_t k = 0; k < count; k++)
        results[k].figures = g_array_new(FALSE, FALSE, sizeof(EvaluateFigure));
    for (size_t k = 0; done && k < count; k++)
        done =
            measure(arguments, names[k], k == 0 ? arguments->checkpoint : NULL, &results[k], error);
    done = done && evaluate_write(results, count, arguments->output, error);
    for (size_t k = 0; k < count; k++)
        g_array_unref(results[k].figures);
    return done;
}

/* Numbers that were not given. */
static void set_defaults(Arguments *arguments)
{
    EvaluateTask *task = &arguments->task;
    const struct {
        int *number, whole, quick;
    } numbers[] = {{&task->pictures, 64, 16}, {&task->textures, 8, 2},  {&task->samples, 16, 4},
                   {&task->steps, 20, 20},    {&task->images, 256, 64}, {&task->concepts, 128, 24},
                   {&task->gallery, 0, 4000}, {&task->learn, 1000, 150}};

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (*numbers[i].number <= 0)
            *numbers[i].number = arguments->quick ? numbers[i].quick : numbers[i].whole;
    task->size = MAX(task->size, 0);
    task->images = MAX(task->images, 4); /* KID takes halves of two and more */
    if (arguments->set == NULL)
        arguments->set =
            g_build_filename(g_get_user_cache_dir(), "pentimento", "default-data", "set", NULL);
    if (arguments->output == NULL)
        arguments->output = g_strdup(".");
    if (arguments->parts == NULL)
        arguments->parts = g_strdup("reconstruction,fills,pictures");
    if (arguments->features == NULL)
        arguments->features = g_build_filename("data", "default", "features", NULL);
    task->features = arguments->features;
    task->output = arguments->output;
}

static bool parse(Arguments *arguments, int argc, char **argv, GError **error)
{
    EvaluateTask *task = &arguments->task;
    const GOptionEntry entries[] = {
        {"against", 0, 0, G_OPTION_ARG_FILENAME, &arguments->against,
         "A second model, measured beside the first", "MODEL"},
        {"checkpoint", 0, 0, G_OPTION_ARG_FILENAME, &arguments->checkpoint,
         "Averaged weights of a run, RUN/checkpoints/step-N.safetensors, in place of MODEL's own",
         "FILE"},
        {"parts", 0, 0, G_OPTION_ARG_STRING, &arguments->parts,
         "What to measure: reconstruction, fills, pictures, learn (default: all but the last)",
         "LIST"},
        {"quick", 0, 0, G_OPTION_ARG_NONE, &arguments->quick,
         "Few samples: some minutes, figures to compare roughly", NULL},
        {"pictures", 0, 0, G_OPTION_ARG_INT, &task->pictures,
         "Pictures of each group that are encoded and decoded (default: 64; quick: 16)", "N"},
        {"textures", 0, 0, G_OPTION_ARG_INT, &task->textures,
         "Textures of which a part is filled (default: 8; quick: 2)", "N"},
        {"samples", 0, 0, G_OPTION_ARG_INT, &task->samples,
         "Fills of each texture (default: 16; quick: 4)", "N"},
        {"steps", 0, 0, G_OPTION_ARG_INT, &task->steps,
         "Steps of each fill and each generated picture (default: 20)", "N"},
        {"learn", 0, 0, G_OPTION_ARG_INT, &task->learn,
         "Steps of learning from each texture (default: 1000; quick: 150)", "N"},
        {"images", 0, 0, G_OPTION_ARG_INT, &task->images,
         "Pictures generated for held-out captions (default: 256; quick: 64)", "N"},
        {"concepts", 0, 0, G_OPTION_ARG_INT, &task->concepts,
         "Prompts of seen concepts, and of unseen pairs (default: 128; quick: 24)", "N"},
        {"gallery", 0, 0, G_OPTION_ARG_INT, &task->gallery,
         "Training pictures among which the nearest is sought (default: all; quick: 4000)", "N"},
        {"size", 0, 0, G_OPTION_ARG_INT, &task->size,
         "Pixels a side of generated pictures (default: the model's own)", "N"},
        {"request", 0, 0, G_OPTION_ARG_STRING_ARRAY, &task->settings,
         "A setting of generated pictures, such as guidance=3; may be given several times",
         "NAME=VALUE"},
        {"features", 0, 0, G_OPTION_ARG_FILENAME, &arguments->features,
         "The network that sees generated pictures (default: data/default/features)", "DIR"},
        {"set", 0, 0, G_OPTION_ARG_FILENAME, &arguments->set,
         "The data set (default: ~/.cache/pentimento/default-data/set)", "DIR"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &arguments->output,
         "Where figures.md and figures.json are written", "DIR"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments->models, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("MODEL");

    g_option_context_set_summary(context, "Measures a model on the default model's data set.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (arguments->models == NULL || g_strv_length(arguments->models) != 1) {
        ldm_set_error(error, INVALID, "give one MODEL; --help tells the options");
        return false;
    }
    set_defaults(arguments);
    return true;
}

int main(int argc, char **argv)
{
    g_auto(Arguments) arguments = {0};
    g_autoptr(GError) error = NULL;

    setlocale(LC_ALL, "");
    if (parse(&arguments, argc, argv, &error) && run(&arguments, &error))
        return 0;
    fprintf(stderr, "evaluate-default: %s\n", error->message);
    return 1;
}
