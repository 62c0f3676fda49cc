/* What the commands of `pentimento` share: arguments, reports, interruption. */
#pragma once

#include "ldm.h"

#include <glib/gi18n-lib.h>
#include <stdio.h>

/* ---- commands ---------------------------------------------------------------------------- */

/* Each command parses its own arguments (argv[0] is the command) and does its work. Errors of
 * G_OPTION_ERROR are wrong use; all others are failures. */
typedef bool (*PentimentoCommandFunc)(int argc, char **argv, GError **error);

bool pentimento_inspect(int argc, char **argv, GError **error);
bool pentimento_encode(int argc, char **argv, GError **error);
bool pentimento_decode(int argc, char **argv, GError **error);
bool pentimento_condition(int argc, char **argv, GError **error);
bool pentimento_predict(int argc, char **argv, GError **error);
bool pentimento_generate(int argc, char **argv, GError **error);
bool pentimento_img2img(int argc, char **argv, GError **error);
bool pentimento_inpaint(int argc, char **argv, GError **error);
bool pentimento_convert(int argc, char **argv, GError **error);
bool pentimento_train(int argc, char **argv, GError **error);

/* ---- arguments --------------------------------------------------------------------------- */

#define pentimento_set_usage(error, ...) \
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, __VA_ARGS__)

/* The options every command has, and what is left without a dash. */
typedef struct {
    char *model, *output;
    int threads;
    gboolean json, quiet;
    char **files;
} PentimentoCommon;

void pentimento_common_clear(PentimentoCommon *common);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoCommon, pentimento_common_clear)

typedef enum {
    PENTIMENTO_NO_OUTPUT,
    PENTIMENTO_OUTPUT, /* -o is offered and required */
} PentimentoOutput;

/* A parser with the common options. `usage` follows the command's name on the first line of
 * --help ("IN.png"), or is NULL; `summary` is translated. */
GOptionContext *pentimento_context_new(PentimentoCommon *common, PentimentoOutput output,
                                       const char *usage, const char *summary);

/* Parses, checks the common options and that there are `least` to `most` files; sets the number of
 * threads. */
bool pentimento_context_parse(GOptionContext *context, PentimentoCommon *common, int argc,
                              char **argv, const int least_most[2], GError **error);

/* Numbers as the C locale writes them, all of `text`; `name` is the option's, for messages. */
bool pentimento_parse_double(const char *name, const char *text, double *number, GError **error);
bool pentimento_parse_int(const char *name, const char *text, gint64 *number, GError **error);

/* Text from the command line as UTF-8; NULL and an error where it cannot be read as text. */
char *pentimento_parse_text(const char *name, const char *text, GError **error);

/* False where `path` cannot be made anyhow: said before minutes of work and not after. */
bool pentimento_check_output(const char *path, GError **error);

/* ---- interruption ------------------------------------------------------------------------ */

/* From now on Ctrl-C (and a request to end) cancels the object returned, which lives as long as
 * the program; what has not returned within a second is ended, exit code 130. */
GCancellable *pentimento_interrupt_init(void);

/* Between these something is saved: the end waits for it. */
void pentimento_interrupt_hold(void);
void pentimento_interrupt_release(void);

/* The same around the writing of an output; not of standard output, whose reader may never read. */
void pentimento_output_begin(const char *path);
void pentimento_output_end(const char *path);

/* A path as a string that JSON can hold: bytes that are no UTF-8 are replaced. Floating. */
GVariant *pentimento_path_variant(const char *path);

/* ---- reports ----------------------------------------------------------------------------- */

typedef struct {
    gboolean json, quiet, bar;
    FILE *stream;       /* of JSON lines: standard output, or error where that carries data */
    int picture, count; /* which of how many, 1-based */
    const char *work;   /* what is done, where it is no stage of the line: a msgid; or NULL */
    LdmMonitor monitor; /* to hand to the library */
} PentimentoReport;

/* `report` has to stay where it is, its monitor points to it. */
void pentimento_report_init(PentimentoReport *report, const PentimentoCommon *common);

/* One line for the user about something that is not an error. */
void pentimento_report_note(const PentimentoReport *report, const char *text);

/* The end of a piece of work: `fields`, a floating a{sv}, as a JSON line, or else `text` (may be
 * NULL) on standard error. */
void pentimento_report_done(const PentimentoReport *report, const char *text, GVariant *fields);

/* "12 min", "1 h 05 min"; free with g_free. */
char *pentimento_duration(double seconds);

/* Removes the bar from the terminal. */
void pentimento_report_end(const PentimentoReport *report);

/* `fields`, a floating a{sv}, on one line. */
void pentimento_print_json(FILE *stream, GVariant *fields);
