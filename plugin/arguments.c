/* The arguments of the procedures: names (also the scripts'), limits, defaults, words.
 * In: a task. Out: its procedure's arguments and return values. */
#include "task.h"

#include <glib/gi18n-lib.h>

static void add_prompts(GimpProcedure *procedure)
{
    gimp_procedure_add_string_argument(procedure, "prompt", _("_Prompt"),
                                       _("What the picture should show, in words; may be empty"),
                                       "", G_PARAM_READWRITE | GIMP_PARAM_DONT_SERIALIZE);
    gimp_procedure_add_string_argument(
        procedure, "negative-prompt", _("_Negative prompt"),
        _("What the picture should not show; works where the guidance is above 1"), "",
        G_PARAM_READWRITE | GIMP_PARAM_DONT_SERIALIZE);
    gimp_procedure_add_string_argument(
        procedure, "model", _("_Model"),
        _("Which model makes the picture. Scripts give its name, or the full path of a diffusers "
          "folder or a single file; empty = the default model"),
        "", G_PARAM_READWRITE);
}

static void add_adapter(GimpProcedure *procedure)
{
    gimp_procedure_add_string_argument(
        procedure, "adapter", _("Taught st_yle"),
        _("A thing or a style that was taught to the model. Scripts give its name, or the full "
          "path of a LoRA file; empty = none"),
        "", G_PARAM_READWRITE);
    gimp_procedure_add_double_argument(
        procedure, "adapter-weight", _("Style mi_x"),
        _("How strong the effect of what was taught is: 0 = none, 1 = as it was taught"), 0.0, 2.0,
        1.0, G_PARAM_READWRITE);
}

static void add_numbers(const PentimentoTask *task, GimpProcedure *procedure)
{
    if (task->edits && !task->extends)
        gimp_procedure_add_double_argument(
            procedure, "strength", _("S_trength"),
            _("How much may change: 0 = nothing, 1 = everything. A soft selection lowers it pixel "
              "by pixel"),
            0.0, 1.0, task->strength, G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(
        procedure, "steps", _("St_eps"),
        _("Number of denoising steps: more take longer and show more detail"), 1, 1000, 20,
        G_PARAM_READWRITE);
    gimp_procedure_add_double_argument(
        procedure, "guidance", _("_Guidance"),
        _("How closely the prompt is followed: 1 = loosely, and twice as fast; 3 to 8 are usual"),
        0.0, 30.0, 4.0, G_PARAM_READWRITE);
}

static void add_learn(GimpProcedure *procedure)
{
    const int most = 100000; /* as the library has it */

    gimp_procedure_add_int_argument(
        procedure, "learn", _("Learn _from this picture (steps)"),
        _("Steps of practising on the rest of the picture before a part of it is made: 0 = none; "
          "1000 take one or two minutes with the default model, other models far longer. For "
          "textures, patterns and backgrounds that the model does not know. What was learnt serves "
          "again only where the same part of the same picture is made with the same model, style, "
          "steps and prompt"),
        0, most, 0, G_PARAM_READWRITE);
}

/* The words are not the command line's: exact, near, good and draft tell how much is approximated,
 * these what one gets for it. */
static void add_quality(GimpProcedure *procedure)
{
    gimp_procedure_add_choice_argument(
        procedure, "quality", _("_Quality"),
        _("Less quality takes less time: some of the work is left out or done roughly"),
        gimp_choice_new_with_values(
            "exact", 0, _("Best"), _("Nothing is left out"), "near", 1, _("High, a little faster"),
            _("Hardly to be told from the best"), "good", 2, _("Good, about twice as fast"),
            _("Details differ from the best"), "draft", 3, _("Draft, the fastest"),
            _("For trying things out"), NULL),
        "exact", G_PARAM_READWRITE);
}

static void add_choices(const PentimentoTask *task, GimpProcedure *procedure)
{
    const bool fills = g_str_equal(task->name, "inpaint");

    gimp_procedure_add_choice_argument(
        procedure, "sampler", _("S_ampler"), _("How each step goes from noise towards the picture"),
        gimp_choice_new_with_values("ddim", 0, _("DDIM"), _("Steady; good at any number of steps"),
                                    "euler", 1, _("Euler"), _("Simple and smooth"), "euler-a", 2,
                                    _("Euler ancestral"),
                                    _("Adds new noise at each step: fills keep to their "
                                      "surroundings"),
                                    "dpmpp-2m", 3, _("DPM++ 2M"), _("Good with few steps"), NULL),
        fills ? "euler-a" : "dpmpp-2m", G_PARAM_READWRITE);
    gimp_procedure_add_choice_argument(
        procedure, "schedule", _("Sc_hedule"), _("How the noise levels of the steps are spaced"),
        gimp_choice_new_with_values("model", 0, _("As trained"), _("The model's own timesteps"),
                                    "karras", 1, _("Karras"),
                                    _("More steps at low noise: finer detail"), NULL),
        "model", G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(
        procedure, "seed", _("See_d"),
        _("Number the noise is made from: the same seed and settings give the same picture; -1 = "
          "a new one each time"),
        -1, G_MAXINT32, -1, G_PARAM_READWRITE);
    if (task->edits && !task->extends)
        gimp_procedure_add_choice_argument(
            procedure, "output", _("O_utput"), _("Where the result goes"),
            gimp_choice_new_with_values(
                "new-layer", 0, _("New layer"), _("A new layer above this one, with a layer mask"),
                "replace", 1, _("Replace"), _("Into this layer itself"), NULL),
            "new-layer", G_PARAM_READWRITE);
}

static void add_size(GimpProcedure *procedure)
{
    gimp_procedure_add_int_argument(procedure, "width", _("_Width"),
                                    _("In pixels; 0 = the size the model was trained at"), 0, 8192,
                                    0, G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(procedure, "height", _("He_ight"),
                                    _("In pixels; 0 = the size the model was trained at"), 0, 8192,
                                    0, G_PARAM_READWRITE);
    gimp_procedure_add_double_argument(
        procedure, "refine", _("Re_fine larger pictures"),
        _("A picture larger than the model was trained at is laid out at its size, enlarged, and "
          "made anew with this strength; 0 = at once, where parts may repeat or fall apart"),
        0.0, 1.0, 0.5, G_PARAM_READWRITE);
}

static void add_extension(GimpProcedure *procedure)
{
    gimp_procedure_add_choice_argument(
        procedure, "sides", _("S_ides"), _("Which edges of the picture move outwards"),
        gimp_choice_new_with_values(
            "all", 0, _("All around"), NULL, "left", 1, _("Left"), NULL, "right", 2, _("Right"),
            NULL, "top", 3, _("Top"), NULL, "bottom", 4, _("Bottom"), NULL, "left-right", 5,
            _("Left and right"), NULL, "top-bottom", 6, _("Top and bottom"), NULL, NULL),
        "all", G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(procedure, "pixels", _("Ho_w far (pixels)"),
                                    _("By how much the picture grows on each of these sides"), 1,
                                    4096, 64, G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(
        procedure, "overlap", _("_Join over (pixels)"),
        _("How far the new part reaches into the old picture, fading out, so that no seam shows; "
          "at most a quarter of the picture's smaller side. The layer itself is not changed"),
        0, 1024, 16, G_PARAM_READWRITE);
}

static void add_variations(GimpProcedure *procedure)
{
    gimp_procedure_add_int_argument(
        procedure, "variations", _("Num_ber of pictures"),
        _("How many pictures are made, with seeds that follow each other: they become layers of a "
          "group (indexed images have none), and the first one shows. Only one can replace a "
          "layer's pixels"),
        1, PENTIMENTO_MAX_VARIATIONS, 1, G_PARAM_READWRITE);
}

void pentimento_arguments_add(const PentimentoTask *task, GimpProcedure *procedure)
{
    add_prompts(procedure);
    if (!task->edits)
        add_size(procedure);
    if (task->extends)
        add_extension(procedure);
    add_numbers(task, procedure);
    if (task->needs_selection || task->extends)
        add_learn(procedure);
    add_quality(procedure);
    add_adapter(procedure);
    add_choices(task, procedure);
    add_variations(procedure);
    gimp_procedure_add_layer_return_value(
        procedure, "layer", _("Layer"),
        _("The layer with the result; of several, their group, or the first in an "
          "indexed image"),
        FALSE, G_PARAM_READWRITE);
    gimp_procedure_add_int_return_value(procedure, "seed", _("Seed"),
                                        _("The seed that was used; of several, the first one's"),
                                        -1, G_MAXINT32, -1, G_PARAM_READWRITE);
}
