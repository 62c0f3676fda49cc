/* The log. In: what happened in a step. Out: one line, on the disk's queue before the next step, so
 * that whoever draws the curve sees it grow. Numbers that are not finite are null, as in JSON. */
#include "train/train-log.h"

#include "base/error.h"
#include "base/file-atomic.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool fail(const char *path, int fault, GError **error)
{
    ldm_set_error(error, FILE, _("Cannot write “%s”: %s"), path, g_strerror(fault));
    return false;
}

/* The step that a line begins with, as ldm_train_log_step writes it; 0 for anything else. */
static uint64_t step_of(const char *line)
{
    const char *prefix = "{\"step\":";

    return g_str_has_prefix(line, prefix) ? g_ascii_strtoull(line + strlen(prefix), NULL, 10) : 0;
}

/* Also drops a last line that a killed run has not finished. */
static bool cut(const char *path, uint64_t step, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) kept = g_string_new(NULL);

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return true; /* a new log */
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++)
        if (step_of(lines[i]) > 0 && step_of(lines[i]) <= step && g_str_has_suffix(lines[i], "}"))
            g_string_append_printf(kept, "%s\n", lines[i]);
    return ldm_file_write_atomic(path, kept->str, kept->len, error);
}

FILE *ldm_train_log_open(const char *path, uint64_t step, GError **error)
{
    if (!cut(path, step, error))
        return NULL;
    FILE *log = fopen(path, "ae");
    if (log == NULL)
        fail(path, errno, error);
    return log;
}

static const char *number(char *buffer, double value)
{
    return isfinite(value) ? g_ascii_formatd(buffer, G_ASCII_DTOSTR_BUF_SIZE, "%.9g", value)
                           : "null";
}

bool ldm_train_log_step(FILE *log, const char *path, const LdmTrainStep *step, GError **error)
{
    static const char *const kinds[] = {
        [LDM_STEP_TAKEN] = "taken",
        [LDM_STEP_OUTLIER] = "outlier",
        [LDM_STEP_NONFINITE] = "not finite",
    };
    char loss[G_ASCII_DTOSTR_BUF_SIZE], norm[G_ASCII_DTOSTR_BUF_SIZE];
    char rate[G_ASCII_DTOSTR_BUF_SIZE], value[G_ASCII_DTOSTR_BUF_SIZE];
    g_autoptr(GString) terms = g_string_new(NULL);

    for (size_t i = 0; i < LDM_TRAIN_TERMS && step->terms[i].name != NULL; i++)
        g_string_append_printf(terms, ",\"%s\":%s", step->terms[i].name,
                               number(value, step->terms[i].value));
    if (fprintf(log,
                "{\"step\":%" PRIu64 ",\"loss\":%s,\"norm\":%s,\"rate\":%s,\"kind\":\"%s\"%s}\n",
                step->step, number(loss, step->loss), number(norm, step->update.norm),
                number(rate, step->update.rate), kinds[step->update.kind], terms->str) > 0 &&
        fflush(log) == 0)
        return true;
    return fail(path, errno, error);
}

/* ---- reading ---- */

/* The number of `"name":` in a line; NaN for null. */
static double field(const char *line, const char *name)
{
    const char *at = strstr(line, name);

    if (at == NULL || g_str_has_prefix(at + strlen(name), "null"))
        return NAN;
    return g_ascii_strtod(at + strlen(name), NULL);
}

GArray *ldm_train_log_read(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) reason = NULL;

    if (!g_file_get_contents(path, &text, NULL, &reason)) {
        ldm_set_error(error, FILE, _("Cannot read “%s”: %s"), path, reason->message);
        return NULL;
    }
    GArray *points = g_array_new(FALSE, FALSE, sizeof(LdmLogPoint));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        LdmLogPoint point = {field(line, "\"step\":"), field(line, "\"loss\":"),
                             field(line, "\"rate\":")};
        if (isfinite(point.step))
            g_array_append_val(points, point);
    }
    return points;
}
