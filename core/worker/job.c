/* Between the protocol and the line: a Run call becomes an LdmRequest, an LdmResult becomes its
 * reply. Options and handles are checked here, before a job is accepted, so that a wrong one is
 * told at once even while another job runs. */
#include "worker/job.h"

#include "base/error.h"
#include "base/parallel.h"
#include "tensor/tensor.h"
#include "weights/config-names.h"
#include "worker/handles.h"
#include "worker/log.h"
#include "worker/offers.h"
#include "worker/protocol.h"

#include <unistd.h>

#define MAX_THREADS     256
#define PREVIEW_SECONDS 0.5 /* between two */

G_STATIC_ASSERT(PENTIMENTO_MAX_PREVIEW == LDM_PREVIEW_SIDE);

static const char *const task_names[] = {
    [LDM_TASK_GENERATE] = "generate",
    [LDM_TASK_IMG2IMG] = "img2img",
    [LDM_TASK_INPAINT] = "inpaint",
};

/* ---- asking ------------------------------------------------------------------------------ */

static bool task_parse(const char *name, LdmTask *task, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(task_names); i++) {
        if (strcmp(name, task_names[i]) == 0) {
            *task = (LdmTask)i;
            return true;
        }
    }
    ldm_set_error(error, INVALID,
                  _("there is no task \"%s\"; it is generate, img2img, inpaint or teach"), name);
    return false;
}

static bool option_int(const char *name, GVariant *value, int maximum, int *out, GError **error)
{
    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_INT32) || g_variant_get_int32(value) < 0 ||
        g_variant_get_int32(value) > maximum) {
        ldm_set_error(error, INVALID, _("the option \"%s\" is a whole number from 0 to %d"), name,
                      maximum);
        return false;
    }
    *out = g_variant_get_int32(value);
    return true;
}

static bool option_bool(const char *name, GVariant *value, bool *out, GError **error)
{
    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN)) {
        ldm_set_error(error, INVALID, _("the option \"%s\" is true or false"), name);
        return false;
    }
    *out = g_variant_get_boolean(value);
    return true;
}

/* The worker's own options, beside those of ldm_options(). */
typedef struct {
    int width, height; /* of the picture and the mask */
} PictureSize;

static bool job_set(PentimentoJob *job, PictureSize *size, const char *name, GVariant *value,
                    GError **error)
{
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) &&
        g_variant_get_size(value) > PENTIMENTO_MAX_TEXT) {
        ldm_set_error(error, INVALID, _("the option \"%s\" is longer than %d bytes"), name,
                      PENTIMENTO_MAX_TEXT);
        return false;
    }
    if (strcmp(name, "threads") == 0)
        return option_int(name, value, MAX_THREADS, &job->threads, error);
    if (strcmp(name, "model") != 0 && job->teaching != NULL)
        return pentimento_teaching_set(job->teaching, name, value, error);
    if (strcmp(name, "previews") == 0)
        return option_bool(name, value, &job->previews, error);
    if (strcmp(name, "picture-width") == 0)
        return option_int(name, value, PENTIMENTO_MAX_SIDE, &size->width, error);
    if (strcmp(name, "picture-height") == 0)
        return option_int(name, value, PENTIMENTO_MAX_SIDE, &size->height, error);
    if (strcmp(name, "model") != 0)
        return ldm_request_set(job->request, name, value, error);
    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
        ldm_set_error(error, INVALID, _("the option \"model\" is a name or a path"));
        return false;
    }
    g_free(job->model);
    job->model = g_variant_dup_string(value, NULL);
    return true;
}

static bool job_set_options(PentimentoJob *job, GVariant *options, PictureSize *size,
                            GError **error)
{
    GVariantIter iter;
    const char *name;
    GVariant *value;

    g_variant_iter_init(&iter, options);
    while (g_variant_iter_next(&iter, "{&sv}", &name, &value)) {
        bool fine = job_set(job, size, name, value, error);

        g_variant_unref(value);
        if (!fine)
            return false;
    }
    return true;
}

/* The array of the handle `name`; true and NULL where it is absent and need not be there. */
static bool take_array(GVariant *handles, GUnixFDList *list, const char *name, PictureSize size,
                       LdmTensor **array, GError **error)
{
    g_autoptr(GError) reason = NULL;
    int channels = strcmp(name, "picture") == 0 ? 4 : 1;
    int fd = pentimento_handle_get(handles, name, list, &reason);

    *array = NULL;
    if (reason != NULL) {
        g_propagate_error(error, g_steal_pointer(&reason));
        return false;
    }
    if (fd < 0)
        return true;
    *array = pentimento_array_map(fd, size.width, size.height, channels, name, error);
    close(fd);
    return *array != NULL;
}

static bool job_take_handles(PentimentoJob *job, GVariant *handles, GUnixFDList *list,
                             PictureSize size, GError **error)
{
    LdmTask task = job->request->task;

    if (!take_array(handles, list, "picture", size, &job->picture, error) ||
        !take_array(handles, list, "mask", size, &job->mask, error))
        return false;
    if ((task != LDM_TASK_GENERATE && job->picture == NULL) ||
        (task == LDM_TASK_INPAINT && job->mask == NULL)) {
        ldm_set_error(error, INVALID, _("the task \"%s\" came without the handle \"%s\""),
                      task_names[task], job->picture == NULL ? "picture" : "mask");
        return false;
    }
    if (task == LDM_TASK_GENERATE && (job->picture != NULL || job->mask != NULL)) {
        ldm_set_error(error, INVALID, _("the task \"generate\" takes neither picture nor mask"));
        return false;
    }
    job->request->picture = job->picture;
    job->request->mask = job->mask;
    return true;
}

static bool job_take_gimp(PentimentoJob *job, GVariant *handles, GUnixFDList *list, GError **error)
{
    g_autoptr(GError) reason = NULL;

    job->gimp = pentimento_handle_get(handles, "gimp", list, &reason);
    if (job->gimp >= 0)
        job->gimp_process = pentimento_pidfd_process(job->gimp);
    if (job->gimp_process < 0)
        ldm_set_error(&reason, INVALID, _("the handle \"gimp\" is not a pidfd"));
    if (reason == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&reason));
    return false;
}

static PentimentoJob *job_new(GDBusMethodInvocation *invocation)
{
    PentimentoJob *job = g_new0(PentimentoJob, 1);

    job->connection = g_object_ref(g_dbus_method_invocation_get_connection(invocation));
    job->cancellable = g_cancellable_new();
    job->finish = g_cancellable_new();
    job->gimp = -1;
    return job;
}

PentimentoJob *pentimento_job_new_run(GDBusMethodInvocation *invocation, GError **error)
{
    GDBusMessage *message = g_dbus_method_invocation_get_message(invocation);
    g_autoptr(PentimentoJob) job = job_new(invocation);
    g_autoptr(GVariant) options = NULL;
    g_autoptr(GVariant) handles = NULL;
    PictureSize size = {0};
    const char *task_name;
    GUnixFDList *list;
    LdmTask task;

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(u&s@a{sv}@a{sh})",
                  &job->id, &task_name, &options, &handles);
    job->model = g_strdup("");
    if (strcmp(task_name, "teach") == 0)
        job->teaching = pentimento_teaching_new();
    else if (task_parse(task_name, &task, error))
        job->request = ldm_request_new(task);
    else
        return NULL;
    list = g_dbus_message_get_unix_fd_list(message);
    if (!job_set_options(job, options, &size, error) ||
        !(job->teaching != NULL ? pentimento_teaching_take(job->teaching, handles, list, error)
                                : job_take_handles(job, handles, list, size, error)) ||
        !job_take_gimp(job, handles, list, error))
        return NULL;
    job->invocation = invocation;
    return g_steal_pointer(&job);
}

PentimentoJob *pentimento_job_new_inspect(GDBusMethodInvocation *invocation)
{
    PentimentoJob *job = job_new(invocation);

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(s)", &job->model);
    job->invocation = invocation;
    return job;
}

void pentimento_job_free(PentimentoJob *job)
{
    if (job->request != NULL) {
        job->request->picture = job->request->mask = NULL;
        ldm_request_free(job->request);
    }
    pentimento_teaching_free(job->teaching);
    pentimento_array_unmap(job->picture);
    pentimento_array_unmap(job->mask);
    if (job->gimp >= 0)
        close(job->gimp);
    g_free(job->model);
    g_clear_pointer(&job->reply, g_variant_unref);
    g_clear_pointer(&job->handles, g_variant_unref);
    g_clear_object(&job->list);
    g_clear_error(&job->error);
    g_object_unref(job->cancellable);
    g_object_unref(job->finish);
    g_object_unref(job->connection);
    g_free(job);
}

/* ---- working ----------------------------------------------------------------------------- */

typedef struct {
    const char *stage;
    int step, steps;
    double fraction, seconds_left;
} Progress;

static bool inspects(const PentimentoJob *job)
{
    return job->request == NULL && job->teaching == NULL;
}

static bool forgets(const PentimentoJob *job)
{
    return job->teaching != NULL &&
           pentimento_teaching_action(job->teaching) == PENTIMENTO_TEACH_FORGET;
}

bool pentimento_job_hurries(const PentimentoJob *job)
{
    return forgets(job) || (job->teaching != NULL &&
                            pentimento_teaching_action(job->teaching) == PENTIMENTO_TEACH_KEEP);
}

bool pentimento_job_needs_turn(const PentimentoJob *job, const PentimentoJob *other)
{
    return !forgets(job) ||
           (other->teaching != NULL && g_str_equal(pentimento_teaching_name(job->teaching),
                                                   pentimento_teaching_name(other->teaching)));
}

/* GDBusConnection sends from any thread; a closed connection is no concern of the job's. */
static void send(const PentimentoJob *job, const char *signal, GVariant *arguments)
{
    g_dbus_connection_emit_signal(job->connection, NULL, PENTIMENTO_WORKER_PATH,
                                  PENTIMENTO_WORKER_INTERFACE, signal, arguments, NULL);
}

static void send_progress(const PentimentoJob *job, Progress now)
{
    send(job, "Progress",
         g_variant_new("(usiidd)", job->id, now.stage, now.step, now.steps, now.fraction,
                       now.seconds_left));
}

static void on_progress(const LdmProgress *progress, gpointer data)
{
    send_progress(data, (Progress){ldm_stage_name(progress->stage), progress->step, progress->steps,
                                   progress->fraction, progress->seconds_left});
}

static void on_preview(const LdmPreview *preview, gpointer data)
{
    const PentimentoJob *job = data;
    gsize bytes = (gsize)preview->width * (gsize)preview->height * 3;

    send(job, "Preview",
         g_variant_new("(uiiii@ay)", job->id, preview->step, preview->steps, preview->width,
                       preview->height,
                       g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, preview->pixels, bytes, 1)));
}

static void on_teaching(const LdmProgress *now, const char *stage, gpointer data)
{
    send_progress(data, (Progress){stage, now->step, now->steps, now->fraction, now->seconds_left});
}

static void on_losses(int first, GVariant *losses, gpointer data)
{
    const PentimentoJob *job = data;

    send(job, "Losses", g_variant_new("(ui@ad)", job->id, first, losses));
}

static void on_sample(const char *path, gpointer data)
{
    const PentimentoJob *job = data;

    send(job, "Sample", g_variant_new("(us)", job->id, path));
}

void pentimento_job_waiting(const PentimentoJob *job, guint before)
{
    if (!inspects(job))
        send_progress(job, (Progress){"waiting", (int)before, 0, 0.0, -1.0});
}

GVariant *pentimento_model_describe(const LdmModel *model)
{
    const LdmModelInfo *info = ldm_model_info(model);
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "path", "s", info->path);
    g_variant_dict_insert(&dict, "layout", "s", info->layout);
    g_variant_dict_insert(&dict, "family", "s", info->family);
    g_variant_dict_insert(&dict, "prediction", "s", ldm_prediction_names[info->prediction]);
    g_variant_dict_insert(&dict, "dtype", "s", ldm_dtype_name(info->dtype));
    g_variant_dict_insert(&dict, "parameters", "t", info->parameters);
    g_variant_dict_insert(&dict, "weight-bytes", "t", info->weight_bytes);
    g_variant_dict_insert(&dict, "latent-channels", "i", info->latent_channels);
    g_variant_dict_insert(&dict, "downsampling", "i", info->downsampling);
    g_variant_dict_insert(&dict, "native-size", "i", info->native_size);
    g_variant_dict_insert(&dict, "tokens", "i", info->tokens);
    g_variant_dict_insert(&dict, "context-width", "i", info->context_width);
    g_variant_dict_insert(&dict, "concat-inpainting", "b", info->concat_inpainting);
    g_variant_dict_insert_value(&dict, "adapters", pentimento_offers_adapters(model));
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

static GVariant *describe_seconds(const LdmResult *result)
{
    GVariantBuilder seconds;
    double total = 0.0;

    g_variant_builder_init(&seconds, G_VARIANT_TYPE("a{sd}"));
    for (int stage = 0; stage < LDM_N_STAGES; stage++) {
        g_variant_builder_add(&seconds, "{sd}", ldm_stage_name((LdmStage)stage),
                              result->seconds[stage]);
        total += result->seconds[stage];
    }
    g_variant_builder_add(&seconds, "{sd}", "total", total);
    return g_variant_builder_end(&seconds);
}

static GVariant *describe_notes(const LdmResult *result)
{
    GVariantBuilder notes;

    g_variant_builder_init(&notes, G_VARIANT_TYPE("as"));
    if (result->scale < 1.0) {
        g_autofree char *note =
            g_strdup_printf(_("The area was larger than the model can take in; it was worked on at "
                              "%d%% of its size and enlarged again."),
                            (int)(result->scale * 100.0 + 0.5));

        g_variant_builder_add(&notes, "s", note);
    }
    if (result->skipped > 0) {
        g_autofree char *note = g_strdup_printf(
            g_dngettext(GETTEXT_PACKAGE,
                        "It was stopped early: %d marked place further away stays as it was.",
                        "It was stopped early: %d marked places further away stay as they were.",
                        (gulong)result->skipped),
            result->skipped);

        g_variant_builder_add(&notes, "s", note);
    }
    return g_variant_builder_end(&notes);
}

static GVariant *describe_result(const LdmResult *result, const LdmModel *model)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "x", "i", result->window.x);
    g_variant_dict_insert(&dict, "y", "i", result->window.y);
    g_variant_dict_insert(&dict, "width", "i", result->window.width);
    g_variant_dict_insert(&dict, "height", "i", result->window.height);
    g_variant_dict_insert(&dict, "scale", "d", result->scale);
    g_variant_dict_insert(&dict, "seed", "x", result->seed);
    g_variant_dict_insert(&dict, "evaluations", "i", result->evaluations);
    g_variant_dict_insert(&dict, "steps", "i", result->steps);
    g_variant_dict_insert(&dict, "planned-steps", "i", result->planned_steps);
    g_variant_dict_insert_value(&dict, "seconds", describe_seconds(result));
    g_variant_dict_insert(&dict, "model", "s", ldm_model_info(model)->path);
    g_variant_dict_insert_value(&dict, "notes", describe_notes(result));
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

static bool share(PentimentoJob *job, GVariantBuilder *handles, const char *name,
                  const LdmTensor *tensor)
{
    int fd = pentimento_array_share(tensor, name, &job->error);
    int index;

    if (fd < 0)
        return false;
    index = g_unix_fd_list_append(job->list, fd, NULL);
    close(fd);
    if (index < 0) {
        ldm_set_error(&job->error, MEMORY, _("too many files are open in the worker"));
        return false;
    }
    g_variant_builder_add(handles, "{sh}", name, index);
    return true;
}

static void job_finish(PentimentoJob *job, const LdmResult *result, const LdmModel *model)
{
    g_auto(GVariantBuilder) handles = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sh}"));

    job->list = g_unix_fd_list_new();
    if (!share(job, &handles, "pixels", result->pixels) ||
        (result->alpha != NULL && !share(job, &handles, "alpha", result->alpha)))
        return;
    job->handles = g_variant_ref_sink(g_variant_builder_end(&handles));
    job->reply = describe_result(result, model);
}

static void make_picture(PentimentoJob *job, LdmModel *model)
{
    const LdmMonitor monitor = {.cancellable = job->cancellable,
                                .progress = on_progress,
                                .progress_data = job,
                                .preview = job->previews ? on_preview : NULL,
                                .preview_data = job,
                                .preview_seconds = PREVIEW_SECONDS,
                                .finish = job->finish};
    g_autoptr(LdmResult) result = ldm_generate(model, job->request, &monitor, &job->error);

    if (result != NULL)
        job_finish(job, result, model);
}

static void teach(PentimentoJob *job, LdmModel *model)
{
    const PentimentoTeachingWatch watch = {.cancellable = job->cancellable,
                                           .progress = on_teaching,
                                           .losses = on_losses,
                                           .sample = on_sample,
                                           .data = job};

    job->reply = pentimento_teaching_run(job->teaching, model, &watch, &job->error);
    if (job->reply != NULL)
        job->handles = g_variant_ref_sink(g_variant_new("a{sh}", NULL));
}

void pentimento_job_run(PentimentoJob *job, PentimentoModelCache *models)
{
    g_autoptr(LdmModel) model = NULL;
    gint64 start = g_get_monotonic_time();

    if (g_cancellable_is_cancelled(job->cancellable))
        return;
    if (forgets(job)) {
        teach(job, NULL);
        return;
    }
    if (!inspects(job))
        send_progress(job, (Progress){ldm_stage_name(LDM_STAGE_LOAD), 0, 0, 0.0, -1.0});
    model = pentimento_model_cache_get(models, job->model, &job->error);
    if (model == NULL)
        return;
    if (inspects(job)) {
        job->reply = pentimento_model_describe(model);
        return;
    }
    ldm_set_threads(job->threads);
    if (job->teaching != NULL)
        teach(job, model);
    else
        make_picture(job, model);
    pentimento_log("%s: %s after %.1f s",
                   job->teaching != NULL ? "teach" : task_names[job->request->task],
                   job->error == NULL ? "done" : job->error->message,
                   (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC);
}

/* ---- answering --------------------------------------------------------------------------- */

void pentimento_job_answer(PentimentoJob *job)
{
    GDBusMethodInvocation *invocation = g_steal_pointer(&job->invocation);

    if (invocation == NULL)
        return;
    if (job->reply == NULL)
        g_dbus_method_invocation_return_gerror(invocation, job->error);
    else if (job->handles == NULL)
        g_dbus_method_invocation_return_value(invocation, g_variant_new("(@a{sv})", job->reply));
    else
        g_dbus_method_invocation_return_value_with_unix_fd_list(
            invocation, g_variant_new("(@a{sv}@a{sh})", job->reply, job->handles), job->list);
}

void pentimento_job_cancel(PentimentoJob *job)
{
    GDBusMethodInvocation *invocation = g_steal_pointer(&job->invocation);

    g_cancellable_cancel(job->cancellable);
    if (invocation != NULL)
        g_dbus_method_invocation_return_dbus_error(invocation, PENTIMENTO_ERROR_CANCELLED,
                                                   _("cancelled"));
}
