/* Arguments on their way: to the worker as options, onto the result layer as parasites and back,
 * and to a private file for the next run.
 * In: a procedure's config. Out: a{sv}, parasites, $XDG_STATE_HOME/pentimento/last-used. */
#include "settings.h"

#include <glib/gi18n-lib.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <sys/stat.h>

/* The job's options but "lora", "seed" and "threads", and so what a layer tells of. */
static const char *const job_arguments[] = {
    "prompt",  "negative-prompt", "model", "strength", "steps", "guidance", "quality",
    "sampler", "schedule",        "width", "height",   "learn", "refine",
};
/* What the plug-in does with these the worker need not know; the layer tells of them. */
static const char *const own_arguments[] = {"sides", "pixels", "overlap"};
static const char *const prompt_arguments[] = {"prompt", "negative-prompt"};

static bool has(GimpProcedureConfig *config, const char *argument)
{
    return g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument) != NULL;
}

/* ---- to the worker ----------------------------------------------------------------------- */

static GVariant *argument_value(GimpProcedureConfig *config, GParamSpec *spec)
{
    g_auto(GValue) value = G_VALUE_INIT;

    g_value_init(&value, G_PARAM_SPEC_VALUE_TYPE(spec));
    g_object_get_property(G_OBJECT(config), spec->name, &value);
    if (G_VALUE_HOLDS_STRING(&value))
        return g_variant_new_string(g_value_get_string(&value) ? g_value_get_string(&value) : "");
    if (G_VALUE_HOLDS_DOUBLE(&value))
        return g_variant_new_double(g_value_get_double(&value));
    return g_variant_new_int32(g_value_get_int(&value));
}

/* The command line's "NAME:WEIGHT". */
static void add_adapter(GVariantBuilder *options, GimpProcedureConfig *config)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    g_autofree char *name = NULL, *text = NULL;
    double weight;

    g_object_get(config, "adapter", &name, "adapter-weight", &weight, NULL);
    if (name == NULL || *name == '\0')
        return;
    text = g_strconcat(name, ":", g_ascii_formatd(number, sizeof number, "%.6g", weight), NULL);
    g_variant_builder_add(options, "{sv}", "lora",
                          g_variant_new_strv((const char *const[]){text}, 1));
}

/* Those of the arguments that the procedure has. */
static void add_arguments(GVariantBuilder *options, GimpProcedureConfig *config,
                          const char *const *arguments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), arguments[i]);

        if (spec != NULL)
            g_variant_builder_add(options, "{sv}", arguments[i], argument_value(config, spec));
    }
}

GVariant *pentimento_settings_options(GimpProcedureConfig *config, int seed)
{
    GVariantBuilder options = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sv}"));

    add_arguments(&options, config, job_arguments, G_N_ELEMENTS(job_arguments));
    add_arguments(&options, config, own_arguments, G_N_ELEMENTS(own_arguments));
    add_adapter(&options, config);
    g_variant_builder_add(&options, "{sv}", "seed", g_variant_new_int64(seed));
    g_variant_builder_add(&options, "{sv}", "threads",
                          g_variant_new_int32(MIN(gimp_get_num_processors(), 256)));
    return g_variant_ref_sink(g_variant_builder_end(&options));
}

GVariant *pentimento_settings_job(GVariant *options)
{
    GVariantDict job;

    g_variant_dict_init(&job, options);
    for (size_t i = 0; i < G_N_ELEMENTS(own_arguments); i++)
        g_variant_dict_remove(&job, own_arguments[i]);
    return g_variant_ref_sink(g_variant_dict_end(&job));
}

int pentimento_settings_seed(GimpProcedureConfig *config)
{
    int seed;

    g_object_get(config, "seed", &seed, NULL);
    return seed >= 0 ? seed : g_random_int_range(0, G_MAXINT32);
}

bool pentimento_output_replaces(GimpProcedureConfig *config)
{
    g_autofree char *output = NULL;

    if (has(config, "output"))
        g_object_get(config, "output", &output, NULL);
    return g_strcmp0(output, "replace") == 0;
}

bool pentimento_settings_learns(GimpProcedureConfig *config)
{
    int steps = 0;

    if (has(config, "learn"))
        g_object_get(config, "learn", &steps, NULL);
    return steps > 0;
}

int pentimento_settings_variations(GimpProcedureConfig *config)
{
    int variations;

    g_object_get(config, "variations", &variations, NULL);
    return pentimento_output_replaces(config) ? 1 : variations;
}

/* ---- onto the layer ---------------------------------------------------------------------- */

/* Undoable, so that they go with the pixels they tell of. When Redo attaches one again, GIMP
 * prints "gimp_image_undo_group_end: assertion 'private->group_count > 0' failed": its
 * gimp_item_parasite_attach ends an undo group that it then has not begun (3.0.4). The assertion
 * keeps that without effect, and no flag avoids it: what is persistent and not undoable would cut
 * off all earlier undo steps. */
static void attach(GimpLayer *layer, const char *name, guint flags, GVariant *content)
{
    gsize length;
    g_autofree char *text = json_gvariant_serialize_data(content, &length);
    GimpParasite *parasite = gimp_parasite_new(name, flags, (guint32)length, text);

    gimp_item_attach_parasite(GIMP_ITEM(layer), parasite);
    gimp_parasite_free(parasite);
}

void pentimento_settings_attach(GimpLayer *layer, const PentimentoTask *task, GVariant *options,
                                const PentimentoReply *reply)
{
    g_autoptr(GVariant) kept = NULL;
    g_autoptr(GVariant) said = NULL;
    GVariantDict settings, prompts;
    int taken, planned;

    g_variant_dict_init(&settings, options);
    g_variant_dict_init(&prompts, NULL);
    g_variant_dict_insert(&settings, "version", "s", PENTIMENTO_VERSION);
    g_variant_dict_insert(&settings, "task", "s", task->name);
    g_variant_dict_remove(&settings, "threads");
    if (reply->values != NULL && g_variant_lookup(reply->values, "steps", "i", &taken) &&
        g_variant_lookup(reply->values, "planned-steps", "i", &planned) && taken < planned)
        g_variant_dict_insert(&settings, "steps-taken", "i", taken);
    for (size_t i = 0; i < G_N_ELEMENTS(prompt_arguments); i++) {
        GVariant *text = g_variant_lookup_value(options, prompt_arguments[i], NULL);

        if (text == NULL)
            continue;
        g_variant_dict_remove(&settings, prompt_arguments[i]);
        g_variant_dict_insert_value(&prompts, prompt_arguments[i], text);
        g_variant_unref(text);
    }
    kept = g_variant_ref_sink(g_variant_dict_end(&settings));
    said = g_variant_ref_sink(g_variant_dict_end(&prompts));
    attach(layer, PENTIMENTO_SETTINGS, GIMP_PARASITE_PERSISTENT | GIMP_PARASITE_UNDOABLE, kept);
    attach(layer, PENTIMENTO_PROMPTS, GIMP_PARASITE_UNDOABLE, said);
    if (reply->seconds != NULL)
        attach(layer, "pentimento-seconds", GIMP_PARASITE_UNDOABLE, reply->seconds);
}

/* ---- back from a layer ------------------------------------------------------------------- */

/* What a layer's parasite holds, or NULL. It may have come with a stranger's image. */
static JsonObject *read_notes(GimpLayer *layer, const char *name)
{
    GimpParasite *parasite = gimp_item_get_parasite(GIMP_ITEM(layer), name);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root = NULL;

    if (parasite != NULL) {
        guint32 bytes;
        const char *text = gimp_parasite_get_data(parasite, &bytes);

        if (json_parser_load_from_data(parser, text, bytes, NULL))
            root = json_parser_get_root(parser);
        gimp_parasite_free(parasite);
    }
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root))
        return NULL;
    return json_object_ref(json_node_get_object(root));
}

/* As near to the note as the argument may be; one that is no such value changes nothing. */
static void take_argument(GimpProcedureConfig *config, const char *argument, const GValue *note)
{
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument);
    g_auto(GValue) value = G_VALUE_INIT;

    if (spec == NULL)
        return;
    g_value_init(&value, G_PARAM_SPEC_VALUE_TYPE(spec));
    if (G_VALUE_HOLDS_STRING(note) != G_VALUE_HOLDS_STRING(&value) ||
        !g_value_transform(note, &value) ||
        (G_VALUE_HOLDS_DOUBLE(&value) && isnan(g_value_get_double(&value)))) /* no limit stops it */
        return;
    g_param_value_validate(spec, &value);
    g_object_set_property(G_OBJECT(config), argument, &value);
}

static void take_note(GimpProcedureConfig *config, JsonObject *notes, const char *argument)
{
    g_auto(GValue) note = G_VALUE_INIT;
    JsonNode *node = json_object_get_member(notes, argument);

    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node))
        return;
    json_node_get_value(node, &note);
    take_argument(config, argument, &note);
}

/* As add_adapter writes it; none was used where there is no such note. */
static void take_adapter(GimpProcedureConfig *config, JsonObject *notes)
{
    JsonNode *node = json_object_get_member(notes, "lora");
    JsonArray *list =
        node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    const char *text = NULL, *colon;
    g_auto(GValue) weight = G_VALUE_INIT;
    g_autofree char *name = NULL;

    if (list != NULL && json_array_get_length(list) > 0 &&
        JSON_NODE_HOLDS_VALUE(json_array_get_element(list, 0)))
        text = json_array_get_string_element(list, 0);
    colon = text != NULL ? strrchr(text, ':') : NULL;
    if (colon != NULL) {
        name = g_strndup(text, (gsize)(colon - text));
        g_value_init(&weight, G_TYPE_DOUBLE);
        g_value_set_double(&weight, g_ascii_strtod(colon + 1, NULL));
        take_argument(config, "adapter-weight", &weight);
    }
    g_object_set(config, "adapter", name != NULL ? name : "", NULL);
}

bool pentimento_settings_take(GimpLayer *layer, GimpProcedureConfig *config)
{
    g_autoptr(JsonObject) notes = read_notes(layer, PENTIMENTO_SETTINGS);

    if (notes == NULL)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(job_arguments); i++)
        take_note(config, notes, job_arguments[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(own_arguments); i++)
        take_note(config, notes, own_arguments[i]);
    take_note(config, notes, "seed");
    take_adapter(config, notes);
    return true;
}

bool pentimento_prompts_take(GimpLayer *layer, GimpProcedureConfig *config)
{
    g_autoptr(JsonObject) notes = read_notes(layer, PENTIMENTO_PROMPTS);

    for (size_t i = 0; notes != NULL && i < G_N_ELEMENTS(prompt_arguments); i++)
        take_note(config, notes, prompt_arguments[i]);
    return notes != NULL;
}

/* ---- to the next run --------------------------------------------------------------------- */

static char *last_used_file(void)
{
    return g_build_filename(g_get_user_state_dir(), "pentimento", "last-used", NULL);
}

static const char *group_of(GimpProcedureConfig *config)
{
    return gimp_procedure_get_name(gimp_procedure_config_get_procedure(config));
}

static void recall_argument(GimpProcedureConfig *config, GKeyFile *file, const char *argument,
                            GType type)
{
    g_autoptr(GError) error = NULL;
    g_auto(GValue) value = G_VALUE_INIT;

    g_value_init(&value, type);
    if (type == G_TYPE_STRING)
        g_value_take_string(&value,
                            g_key_file_get_string(file, group_of(config), argument, &error));
    else if (type == G_TYPE_DOUBLE)
        g_value_set_double(&value, g_key_file_get_double(file, group_of(config), argument, &error));
    else
        g_value_set_int(&value, g_key_file_get_integer(file, group_of(config), argument, &error));
    if (error == NULL)
        take_argument(config, argument, &value);
}

static void keep_argument(GimpProcedureConfig *config, GKeyFile *file, const char *argument,
                          GType type)
{
    g_auto(GValue) value = G_VALUE_INIT;

    g_value_init(&value, type);
    g_object_get_property(G_OBJECT(config), argument, &value);
    if (type == G_TYPE_STRING)
        g_key_file_set_string(file, group_of(config), argument,
                              g_value_get_string(&value) ? g_value_get_string(&value) : "");
    else if (type == G_TYPE_DOUBLE)
        g_key_file_set_double(file, group_of(config), argument, g_value_get_double(&value));
    else
        g_key_file_set_integer(file, group_of(config), argument, g_value_get_int(&value));
}

static void for_each_argument(GimpProcedureConfig *config, GKeyFile *file,
                              void (*what)(GimpProcedureConfig *config, GKeyFile *file,
                                           const char *argument, GType type))
{
    guint count;
    g_autofree GParamSpec **specs =
        g_object_class_list_properties(G_OBJECT_GET_CLASS(config), &count);

    for (guint i = 0; i < count; i++) {
        const GType type = G_PARAM_SPEC_VALUE_TYPE(specs[i]);

        if (type == G_TYPE_STRING || type == G_TYPE_DOUBLE || type == G_TYPE_INT)
            what(config, file, specs[i]->name, type); /* the image and its layers are the call's */
    }
}

void pentimento_last_used_recall(GimpProcedureConfig *config)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = last_used_file();

    /* no file yet, or a damaged one: then the arguments stay what GIMP has made them */
    if (g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL))
        for_each_argument(config, file, recall_argument);
}

/* Failing to write is no reason to refuse the run: it is only said. */
void pentimento_last_used_keep(GimpProcedureConfig *config)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *path = last_used_file();
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *content = NULL;
    gsize length;

    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL);
    for_each_argument(config, file, keep_argument);
    content = g_key_file_to_data(file, &length, NULL);
    chmod(path, 0600); /* one that is there already keeps its mode when it is replaced */
    if (g_mkdir_with_parents(folder, 0700) == 0 &&
        g_file_set_contents_full(path, content, (gssize)length,
                                 G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                 &error))
        return;
    gimp_message(_("The prompts and settings could not be kept for the next run."));
}
