/* Settings of a training run. In: a file or single values, as text. Out: LdmTrainOptions. One table
 * gives each option's name, kind and place; ranges are checked where training begins. */
#include "cli/train-config.h"

#include "base/error.h"
#include "weights/file.h"
#include "weights/json.h"

#include <string.h>

typedef enum { SIZE, UINT64, INT64, INT, DOUBLE, BOOL } Kind;

static const struct {
    const char *name;
    Kind kind;
    size_t offset;
} table[] = {
    {"steps", UINT64, offsetof(LdmTrainOptions, loop.optimiser.steps)},
    {"batch", SIZE, offsetof(LdmTrainOptions, loop.batch)},
    {"accumulate", SIZE, offsetof(LdmTrainOptions, loop.accumulate)},
    {"rate", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.rate)},
    {"warm-up", UINT64, offsetof(LdmTrainOptions, loop.optimiser.warm_up)},
    {"beta1", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.beta1)},
    {"beta2", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.beta2)},
    {"eps", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.eps)},
    {"weight-decay", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.weight_decay)},
    {"clip", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.clip)},
    {"ema", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.ema)},
    {"outlier", DOUBLE, offsetof(LdmTrainOptions, loop.optimiser.outlier)},
    {"patience", INT, offsetof(LdmTrainOptions, loop.optimiser.patience)},
    {"size", SIZE, offsetof(LdmTrainOptions, latents.augment.side)},
    {"crop", DOUBLE, offsetof(LdmTrainOptions, latents.augment.crop)},
    {"flip", BOOL, offsetof(LdmTrainOptions, latents.augment.flip)},
    {"variants", SIZE, offsetof(LdmTrainOptions, latents.variants)},
    {"drop", DOUBLE, offsetof(LdmTrainOptions, drop)},
    {"snr-gamma", DOUBLE, offsetof(LdmTrainOptions, loss.snr_gamma)},
    {"train-text", BOOL, offsetof(LdmTrainOptions, train_text)},
    {"seed", INT64, offsetof(LdmTrainOptions, loop.seed)},
    {"save-every", SIZE, offsetof(LdmTrainOptions, loop.save_every)},
    {"samples-every", SIZE, offsetof(LdmTrainOptions, loop.look_every)},
    {"samples", SIZE, offsetof(LdmTrainOptions, samples)},
    {"keep", INT, offsetof(LdmTrainOptions, loop.keep)},
};

char *pentimento_train_names(void)
{
    GString *names = g_string_new(table[0].name);

    for (size_t i = 1; i < G_N_ELEMENTS(table); i++)
        g_string_append_printf(names, ", %s", table[i].name);
    return g_string_free(names, FALSE);
}

static bool set_number(void *place, Kind kind, const char *text)
{
    gint64 whole;
    char *end;

    if (kind == DOUBLE) {
        *(double *)place = g_ascii_strtod(text, &end);
        return end != text && *end == '\0';
    }
    if (!g_ascii_string_to_signed(text, 10, 0, kind == INT ? G_MAXINT : G_MAXINT64, &whole, NULL))
        return false;
    switch (kind) {
    case SIZE: *(size_t *)place = (size_t)whole; break;
    case UINT64: *(uint64_t *)place = (uint64_t)whole; break;
    case INT64: *(int64_t *)place = whole; break;
    default: *(int *)place = (int)whole; break;
    }
    return true;
}

bool pentimento_train_set(LdmTrainOptions *options, const char *name, const char *text,
                          GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        void *place = (char *)options + table[i].offset;
        bool yes = strcmp(text, "true") == 0, no = strcmp(text, "false") == 0;
        if (strcmp(table[i].name, name) != 0)
            continue;
        if (table[i].kind == BOOL ? yes || no : set_number(place, table[i].kind, text)) {
            if (table[i].kind == BOOL)
                *(bool *)place = yes;
            return true;
        }
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    table[i].kind == BOOL ? _("%s must be true or false, not “%s”")
                                          : _("%s must be a number, not “%s”"),
                    name, text);
        return false;
    }
    g_autofree char *names = pentimento_train_names();
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("there is no setting “%s”; there are %s"), name, names);
    return false;
}

/* ---- files ---- */

static bool read_json(LdmTrainOptions *options, const char *text, size_t size, const char *path,
                      GError **error)
{
    g_autoptr(JsonObject) object = ldm_json_parse(text, size, path, error);
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    if (object == NULL)
        return false;
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &name, &node)) {
        g_autoptr(GError) reason = NULL;
        g_autofree char *value = json_to_string(node, FALSE); /* a number or true as typed */
        if (pentimento_train_set(options, name, value, &reason))
            continue;
        ldm_set_error(error, FORMAT, "%s: %s", path, reason->message);
        return false;
    }
    return true;
}

static bool read_lines(LdmTrainOptions *options, const char *text, const char *path, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(GError) reason = NULL;
        char *comment = strchr(lines[i], '#'), *equals;
        if (comment != NULL)
            *comment = '\0';
        if (*g_strstrip(lines[i]) == '\0')
            continue;
        equals = strchr(lines[i], '=');
        if (equals != NULL)
            *equals = '\0';
        if (equals != NULL &&
            pentimento_train_set(options, g_strstrip(lines[i]), g_strstrip(equals + 1), &reason))
            continue;
        ldm_set_error(error, FORMAT, _("%s, line %u: %s"), path, i + 1,
                      reason != NULL ? reason->message : _("“name = value” is expected"));
        return false;
    }
    return true;
}

bool pentimento_train_read(LdmTrainOptions *options, const char *path, GError **error)
{
    size_t size;
    g_autofree char *text = ldm_file_read(path, LDM_CONFIG_BYTES, &size, error);

    if (text == NULL)
        return false;
    if (!g_utf8_validate(text, (gssize)size, NULL)) {
        ldm_set_error(error, FORMAT, _("%s is not text in UTF-8"), path);
        return false;
    }
    return text[strspn(text, " \t\r\n")] == '{' ? read_json(options, text, size, path, error)
                                                : read_lines(options, text, path, error);
}
