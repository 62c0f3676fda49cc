/* The figures of one or several models side by side: as a Markdown table for people, as JSON for
 * programs. */
#include "evaluate.h"

#include "base/file-atomic.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void evaluate_add(EvaluateResult *result, const char *key, const char *label, double value)
{
    const EvaluateFigure figure = {key, label, value};

    g_array_append_val(result->figures, figure);
}

static const char *number(char *buffer, double value)
{
    return isfinite(value) ? g_ascii_formatd(buffer, G_ASCII_DTOSTR_BUF_SIZE, "%.4g", value)
                           : "null";
}

static char *markdown(const EvaluateResult *results, size_t count)
{
    GString *text = g_string_new("| |");
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];

    for (size_t k = 0; k < count; k++)
        g_string_append_printf(text, " %s |", results[k].name);
    g_string_append(text, "\n|---|");
    for (size_t k = 0; k < count; k++)
        g_string_append(text, "---|");
    g_string_append_c(text, '\n');
    for (guint i = 0; i < results[0].figures->len; i++) {
        g_string_append_printf(text, "| %s |",
                               g_array_index(results[0].figures, EvaluateFigure, i).label);
        for (size_t k = 0; k < count; k++)
            g_string_append_printf(
                text, " %s |",
                number(buffer, g_array_index(results[k].figures, EvaluateFigure, i).value));
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

static char *json(const EvaluateResult *results, size_t count)
{
    GString *text = g_string_new("[");
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];

    for (size_t k = 0; k < count; k++) {
        g_autofree char *name = g_strescape(results[k].name, NULL);
        g_string_append_printf(text, "%s{\"model\": \"%s\"", k > 0 ? ",\n " : "", name);
        for (guint i = 0; i < results[k].figures->len; i++) {
            const EvaluateFigure *figure = &g_array_index(results[k].figures, EvaluateFigure, i);
            g_string_append_printf(text, ",\n  \"%s\": %s", figure->key,
                                   number(buffer, figure->value));
        }
        g_string_append_c(text, '}');
    }
    g_string_append(text, "]\n");
    return g_string_free(text, FALSE);
}

bool evaluate_write(const EvaluateResult *results, size_t count, const char *folder, GError **error)
{
    g_autofree char *table = markdown(results, count), *values = json(results, count);
    g_autofree char *table_path = g_build_filename(folder, "figures.md", NULL);
    g_autofree char *values_path = g_build_filename(folder, "figures.json", NULL);

    fputs(table, stdout);
    if (g_mkdir_with_parents(folder, 0777) != 0) {
        g_set_error(error, LDM_ERROR, LDM_ERROR_FILE, "the folder “%s” cannot be made: %s", folder,
                    g_strerror(errno));
        return false;
    }
    return ldm_file_write_atomic(table_path, table, strlen(table), error) &&
           ldm_file_write_atomic(values_path, values, strlen(values), error);
}
