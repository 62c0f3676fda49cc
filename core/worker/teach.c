/* The task "teach". In: pictures in memory, a name, a number of steps. Out: NAME.safetensors among
 * the user's adapters. Meanwhile there is a private folder with the latents and checkpoints, named
 * by a digest of all that is asked for: the same teaching, asked for again after it was cancelled
 * or killed, goes on from there. */
#include "worker/teach.h"

#include "base/error.h"
#include "base/file-atomic.h"
#include "base/folder.h"
#include "base/memory.h"
#include "tensor/tensor.h"
#include "train/estimate.h"
#include "train/train-log.h"
#include "worker/handles.h"
#include "worker/log.h"
#include "worker/protocol.h"

#include <glib/gstdio.h>
#include <math.h>
#include <unistd.h>

#define VERSION "teach 1" /* of all that is not in the digest by itself */
#define LARGE   256 /* pixels a side: from here on a step takes long, and batches much memory */

static const char *const actions[] = {
    [PENTIMENTO_TEACH] = "teach",
    [PENTIMENTO_TEACH_ESTIMATE] = "estimate",
    [PENTIMENTO_TEACH_KEEP] = "keep",
    [PENTIMENTO_TEACH_FORGET] = "forget",
};

struct PentimentoTeaching {
    PentimentoTeachAction action;
    char *name, *description, *asker;
    int steps, count; /* count: pictures, for an estimate */
    gint64 seed;
    GArray *sizes;       /* int: width, height of each picture */
    GPtrArray *pictures; /* LdmTensor [1, H, W, 4], mapped */
    GPtrArray *names;    /* char *: a checksum of each picture */
};

PentimentoTeaching *pentimento_teaching_new(void)
{
    PentimentoTeaching *teaching = g_new0(PentimentoTeaching, 1);

    teaching->name = g_strdup("");
    teaching->description = g_strdup("");
    teaching->asker = g_strdup("");
    teaching->steps = 300;
    teaching->sizes = g_array_new(FALSE, FALSE, sizeof(int));
    teaching->pictures = g_ptr_array_new_with_free_func((GDestroyNotify)pentimento_array_unmap);
    teaching->names = g_ptr_array_new_with_free_func(g_free);
    return teaching;
}

void pentimento_teaching_free(PentimentoTeaching *teaching)
{
    if (teaching == NULL)
        return;
    g_free(teaching->name);
    g_free(teaching->description);
    g_free(teaching->asker);
    g_array_unref(teaching->sizes);
    g_ptr_array_unref(teaching->pictures);
    g_ptr_array_unref(teaching->names);
    g_free(teaching);
}

/* ---- what is asked for ------------------------------------------------------------------- */

static bool set_action(PentimentoTeaching *teaching, const char *name, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(name, actions[i]) == 0) {
            teaching->action = (PentimentoTeachAction)i;
            return true;
        }
    }
    ldm_set_error(error, INVALID,
                  _("there is no action \"%s\"; it is teach, estimate, keep or forget"), name);
    return false;
}

static bool set_number(const char *name, GVariant *value, int most, int *out, GError **error)
{
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_INT32) && g_variant_get_int32(value) >= 1 &&
        g_variant_get_int32(value) <= most) {
        *out = g_variant_get_int32(value);
        return true;
    }
    ldm_set_error(error, INVALID, _("the option \"%s\" is a whole number from 1 to %d"), name,
                  most);
    return false;
}

static bool set_sizes(PentimentoTeaching *teaching, GVariant *value, GError **error)
{
    gsize count = g_variant_n_children(value);

    if (count > PENTIMENTO_MAX_PICTURES) {
        ldm_set_error(error, INVALID,
                      _("these are %zu pictures, and %d can be learnt from at once"), (size_t)count,
                      PENTIMENTO_MAX_PICTURES);
        return false;
    }
    for (gsize i = 0; i < count; i++) {
        int size[2];

        g_variant_get_child(value, i, "(ii)", &size[0], &size[1]);
        g_array_append_vals(teaching->sizes, size, 2);
    }
    return true;
}

bool pentimento_teaching_set(PentimentoTeaching *teaching, const char *name, GVariant *value,
                             GError **error)
{
    char **text = strcmp(name, "name") == 0          ? &teaching->name
                  : strcmp(name, "description") == 0 ? &teaching->description
                  : strcmp(name, "asker") == 0       ? &teaching->asker
                                                     : NULL;

    if (text != NULL && g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
        g_free(*text);
        *text = g_strstrip(g_variant_dup_string(value, NULL));
        return true;
    }
    if (strcmp(name, "action") == 0 && g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
        return set_action(teaching, g_variant_get_string(value, NULL), error);
    if (strcmp(name, "steps") == 0)
        return set_number(name, value, PENTIMENTO_MAX_TEACH_STEPS, &teaching->steps, error);
    if (strcmp(name, "count") == 0)
        return set_number(name, value, PENTIMENTO_MAX_PICTURES, &teaching->count, error);
    if (strcmp(name, "sizes") == 0 && g_variant_is_of_type(value, G_VARIANT_TYPE("a(ii)")))
        return set_sizes(teaching, value, error);
    if (strcmp(name, "seed") == 0 && g_variant_is_of_type(value, G_VARIANT_TYPE_INT64)) {
        teaching->seed = g_variant_get_int64(value);
        return true;
    }
    ldm_set_error(error, INVALID,
                  _("the task \"teach\" has no option \"%s\", or none of this type"), name);
    return false;
}

static bool check(const PentimentoTeaching *teaching, GError **error)
{
    bool estimate = teaching->action == PENTIMENTO_TEACH_ESTIMATE;

    if (!estimate && !pentimento_teach_name_fits(teaching->name))
        ldm_set_error(error, INVALID,
                      _("the name is also a file's: 1 to %d bytes, no \"/\", no dot in front, "
                        "nothing unprintable"),
                      PENTIMENTO_MAX_TEACH_NAME);
    else if (teaching->seed < 0)
        ldm_set_error(error, INVALID, _("the option \"seed\" is a whole number from 0 on"));
    else if (estimate ? teaching->count == 0
                      : teaching->action != PENTIMENTO_TEACH_FORGET && teaching->sizes->len == 0)
        ldm_set_error(error, INVALID, _("there is no picture to learn from"));
    else
        return true;
    return false;
}

bool pentimento_teaching_take(PentimentoTeaching *teaching, GVariant *handles, GUnixFDList *list,
                              GError **error)
{
    if (!check(teaching, error))
        return false;
    for (guint i = 0; i < teaching->sizes->len / 2; i++) {
        const int *size = &g_array_index(teaching->sizes, int, 2 * i);
        g_autofree char *name = g_strdup_printf("picture-%u", i);
        g_autoptr(GError) reason = NULL;
        int fd = pentimento_handle_get(handles, name, list, &reason);
        LdmTensor *picture;

        if (fd < 0) {
            ldm_set_error(error, INVALID, _("the task \"%s\" came without the handle \"%s\""),
                          "teach", name);
            return false;
        }
        picture = pentimento_array_map(fd, size[0], size[1], 4, name, error);
        close(fd);
        if (picture == NULL)
            return false;
        g_ptr_array_add(teaching->pictures, picture);
    }
    return true;
}

PentimentoTeachAction pentimento_teaching_action(const PentimentoTeaching *teaching)
{
    return teaching->action;
}

const char *pentimento_teaching_name(const PentimentoTeaching *teaching)
{
    return teaching->name;
}

/* ---- how it is trained ------------------------------------------------------------------- */

/* What suits a few pictures and a few minutes. Of a large model one picture at a time; samples,
 * which take it as long as many steps, once half-way. */
static LdmTrainOptions options_of(const PentimentoTeaching *teaching, const LdmModel *model)
{
    LdmTrainOptions options = ldm_train_adapter_defaults(LDM_ADAPTER_LORA);
    bool large = ldm_model_info(model)->native_size > LARGE;
    uint64_t steps = (uint64_t)teaching->steps;

    options.loop.optimiser.steps = steps;
    options.loop.optimiser.warm_up = MIN(options.loop.optimiser.warm_up, steps / 10);
    options.loop.optimiser.rate = large ? 2e-4 : 1e-3;
    options.loop.batch = large ? 1 : 4;
    options.loop.seed = teaching->seed;
    options.loop.save_every = large ? 2 : 25;
    options.loop.keep = 1;
    options.loop.look_every =
        large ? MAX(1, (size_t)steps / 2) : MAX((size_t)steps / 6, MIN((size_t)steps, 25));
    options.samples = large ? 1 : 4;
    options.latents.variants = large ? 2 : 8;
    options.latents.augment.crop = 0.2;
    options.adapter.rank = 8;
    options.adapter.title = options.adapter.trigger = teaching->name;
    options.adapter.description = teaching->description;
    return options;
}

static GVariant *estimate(const PentimentoTeaching *teaching, LdmModel *model,
                          GCancellable *cancellable, GError **error)
{
    const LdmTrainOptions options = options_of(teaching, model);
    LdmTrainEstimate told;
    GVariantDict dict;

    if (!ldm_train_estimate(model, &options, (size_t)teaching->count, cancellable, &told, error))
        return NULL;
    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "bytes", "t", (guint64)told.bytes);
    g_variant_dict_insert(&dict, "free", "t", (guint64)ldm_memory_available());
    g_variant_dict_insert(&dict, "step-seconds", "d", told.seconds);
    g_variant_dict_insert(&dict, "other-seconds", "d", told.besides);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

/* ---- the folder -------------------------------------------------------------------------- */

static char *folder_of(const PentimentoTeaching *teaching)
{
    return g_build_filename(g_get_user_cache_dir(), "pentimento", "teach", teaching->name, NULL);
}

#define PIECE ((size_t)1 << 22) /* bytes between two looks at the cancellable */

/* Of many large pictures it takes seconds. */
static char *digest_picture(const LdmTensor *picture, GCancellable *cancellable, GError **error)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    size_t bytes = ldm_tensor_count(picture) * sizeof(float);

    for (size_t i = 0; i < bytes; i += PIECE) {
        if (ldm_cancelled(cancellable, error))
            return NULL;
        g_checksum_update(sum, (const guchar *)picture->data + i, (gssize)MIN(PIECE, bytes - i));
    }
    return g_strdup(g_checksum_get_string(sum));
}

/* Of everything that the adapter depends on; names the pictures, too. Another model at the same
 * path, and another program's settings, begin anew. */
static char *digest(PentimentoTeaching *teaching, const LdmModel *model, GCancellable *cancellable,
                    GError **error)
{
    const LdmTrainOptions options = options_of(teaching, model);
    g_autofree char *adapter = ldm_train_adapter_text(&options);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *settings =
        g_strdup_printf(VERSION "\n%s\n%s\n%d %" G_GINT64_FORMAT " %s\n", teaching->name,
                        teaching->description, teaching->steps, teaching->seed, adapter);

    g_checksum_update(sum, (const guchar *)settings, -1);
    ldm_model_digest(model, sum);
    for (guint i = 0; i < teaching->pictures->len; i++) {
        const LdmTensor *picture = g_ptr_array_index(teaching->pictures, i);
        g_autofree char *content = digest_picture(picture, cancellable, error);
        if (content == NULL)
            return NULL;
        char *name =
            g_strdup_printf("%zux%zu-%.32s", picture->shape[2], picture->shape[1], content);
        g_checksum_update(sum, (const guchar *)name, -1);
        g_ptr_array_add(teaching->names, name);
    }
    return g_strndup(g_checksum_get_string(sum), 16);
}

#define ASKER "asker" /* a file: who asked for the run last */

/* The run's own folder, made. Runs of other pictures or settings under that name stay until one of
 * that name is over, or they are forgotten. */
static char *open_folder(PentimentoTeaching *teaching, const LdmModel *model,
                         GCancellable *cancellable, GError **error)
{
    g_autofree char *parent = folder_of(teaching);
    g_autofree char *key = digest(teaching, model, cancellable, error);

    if (key == NULL)
        return NULL;
    g_autofree char *folder = g_build_filename(parent, key, NULL);
    if (!ldm_folder_make_private(folder, error))
        return NULL;
    g_autofree char *file = g_build_filename(folder, ASKER, NULL);
    if (!ldm_file_write_atomic(file, teaching->asker, strlen(teaching->asker), error))
        return NULL;
    return g_steal_pointer(&folder);
}

/* The runs that this asker asked for last; all, where nobody is named. */
static void forget(const PentimentoTeaching *teaching)
{
    g_autofree char *parent = folder_of(teaching);
    g_autoptr(GDir) runs = *teaching->asker != '\0' ? g_dir_open(parent, 0, NULL) : NULL;
    const char *run;

    if (*teaching->asker == '\0')
        ldm_folder_clear(parent, NULL);
    while (runs != NULL && (run = g_dir_read_name(runs)) != NULL) {
        g_autofree char *folder = g_build_filename(parent, run, NULL);
        g_autofree char *file = g_build_filename(folder, ASKER, NULL);
        g_autofree char *asker = NULL;

        if (g_file_get_contents(file, &asker, NULL, NULL) && g_str_equal(asker, teaching->asker))
            ldm_folder_clear(folder, NULL);
    }
    g_rmdir(parent); /* where nothing is left */
}

static bool has_checkpoint(const char *folder, bool *has, GError **error)
{
    g_autoptr(LdmCheckpoints) checkpoints = ldm_checkpoints_open(folder, 1, error);

    *has = checkpoints != NULL && ldm_checkpoints_exist(checkpoints);
    return checkpoints != NULL;
}

/* ---- pictures ---------------------------------------------------------------------------- */

/* Where a picture has a colour at all: what a layer shows is often a small part of it. */
static LdmRect opaque_part(const LdmTensor *picture)
{
    int W = (int)picture->shape[2], H = (int)picture->shape[1];
    int left = W, right = -1, top = H, bottom = -1;
    const float *p = ldm_tensor_f32(picture) + 3;

    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++, p += 4) {
            if (!(*p > 0.0f))
                continue;
            left = MIN(left, x);
            right = MAX(right, x);
            top = MIN(top, y);
            bottom = y;
        }
    }
    return right < 0 ? (LdmRect){0, 0, W, H}
                     : (LdmRect){left, top, right - left + 1, bottom - top + 1};
}

static LdmTensor *read_picture(const char *name, void *data, GError **error)
{
    const PentimentoTeaching *teaching = data;
    guint i;

    if (!g_ptr_array_find_with_equal_func(teaching->names, name, g_str_equal, &i)) {
        ldm_set_error(error, MISSING, _("there is no picture “%s”"), name);
        return NULL;
    }
    const LdmTensor *picture = g_ptr_array_index(teaching->pictures, i);
    LdmRect part = opaque_part(picture);
    size_t row = (size_t)part.width * 4;
    LdmTensor *copy = ldm_tensor_new_nhwc(1, (size_t)part.height, (size_t)part.width, 4, error);

    for (size_t y = 0; copy != NULL && y < (size_t)part.height; y++)
        memcpy(ldm_tensor_f32(copy) + y * row,
               ldm_tensor_f32(picture) +
                   (((size_t)part.y + y) * picture->shape[2] + (size_t)part.x) * 4,
               row * sizeof(float));
    return copy;
}

/* All with one caption: the name, which is what prompts will say, and what the pictures show. */
static LdmDataset *dataset_of(const PentimentoTeaching *teaching)
{
    g_autofree char *caption =
        *teaching->description != '\0'
            ? g_strdup_printf("%s, %s", teaching->name, teaching->description)
            : g_strdup(teaching->name);
    LdmDataset *dataset = ldm_dataset_new(teaching->name);

    for (guint i = 0; i < teaching->names->len; i++)
        ldm_dataset_add(dataset, g_ptr_array_index(teaching->names, i), caption);
    return dataset;
}

/* ---- while it works ---------------------------------------------------------------------- */

#define BEFORE 0.05 /* of the progress, for the latents */

typedef struct {
    const PentimentoTeachingWatch *watch;
    const char *log;
    uint64_t steps; /* taken */
    guint skipped;
} Report;

static void tell(const Report *report, const char *stage, int step, int steps, double fraction,
                 double seconds_left)
{
    const LdmProgress now = {
        .step = step, .steps = steps, .fraction = fraction, .seconds_left = seconds_left};

    report->watch->progress(&now, stage, report->watch->data);
}

static void on_encoding(size_t done, size_t total, void *data)
{
    tell(data, "encode", (int)done + 1, (int)total, BEFORE * (double)done / (double)total, -1.0);
}

static GVariant *number(double loss)
{
    return g_variant_new_double(loss);
}

/* The losses of the steps that an earlier run took. */
static void tell_earlier(const Report *report, uint64_t steps)
{
    g_autoptr(GArray) points = ldm_train_log_read(report->log, NULL);
    GVariantBuilder losses;

    if (points == NULL)
        return;
    g_variant_builder_init(&losses, G_VARIANT_TYPE("ad"));
    for (guint i = 0; i < MIN(points->len, steps); i++)
        g_variant_builder_add_value(&losses, number(g_array_index(points, LdmLogPoint, i).loss));
    report->watch->losses(1, g_variant_builder_end(&losses), report->watch->data);
}

static void on_planned(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data)
{
    Report *report = data;

    if (plan->passed_over != NULL)
        pentimento_log("teach: goes on from an older checkpoint: %s", plan->passed_over);
    report->skipped = skipped->len;
    report->steps = plan->first_step;
    if (plan->first_step > 0)
        tell_earlier(report, plan->first_step);
}

static void on_step(const LdmTrainStep *step, void *data)
{
    Report *report = data;
    double done = (double)step->step / (double)step->steps;
    GVariant *loss = number(step->loss);

    report->steps = step->step;
    report->watch->losses((int)step->step, g_variant_new_array(NULL, &loss, 1),
                          report->watch->data);
    tell(report, "learn", (int)step->step, (int)step->steps, BEFORE + (1.0 - BEFORE) * done,
         step->seconds_left);
}

static void on_look(const char *path, void *data)
{
    const Report *report = data;

    report->watch->sample(path, report->watch->data);
}

/* ---- the whole --------------------------------------------------------------------------- */

static bool train(PentimentoTeaching *teaching, LdmModel *model, const char *folder, Report *report,
                  GError **error)
{
    LdmTrainOptions options = options_of(teaching, model);
    g_autoptr(LdmDataset) dataset = dataset_of(teaching);
    const LdmTrainWatch watch = {.read = read_picture,
                                 .read_data = teaching,
                                 .cancellable = report->watch->cancellable,
                                 .encoding = on_encoding,
                                 .planned = on_planned,
                                 .stepped = on_step,
                                 .looked = on_look,
                                 .data = report};

    options.loop.finish = teaching->action == PENTIMENTO_TEACH_KEEP;
    if (!has_checkpoint(folder, &options.loop.resume, error))
        return false;
    if (options.loop.finish && !options.loop.resume) {
        ldm_set_error(error, MISSING, _("nothing has been learnt of “%s” yet"), teaching->name);
        return false;
    }
    return ldm_train_ldm(model, dataset, &options, &watch, folder, error);
}

/* From the run's folder to the user's adapters; returns its new place. */
static char *hand_over(const PentimentoTeaching *teaching, const char *folder, GError **error)
{
    g_autofree char *from = g_build_filename(folder, "pytorch_lora_weights.safetensors", NULL);
    g_autofree char *to = pentimento_teach_file(teaching->name);
    g_autofree char *parent = g_path_get_dirname(to);
    g_autofree char *bytes = NULL;
    g_autoptr(GError) reason = NULL;
    gsize length;

    if (!ldm_folder_make(parent, error))
        return NULL;
    if (!g_file_get_contents(from, &bytes, &length, &reason)) {
        ldm_set_error(error, FILE, _("Cannot read “%s”: %s"), from, reason->message);
        return NULL;
    }
    return ldm_file_write_atomic(to, bytes, length, error) ? g_steal_pointer(&to) : NULL;
}

static GVariant *describe(const Report *report, const char *file)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "file", "s", file);
    g_variant_dict_insert(&dict, "steps", "i", (int)report->steps);
    g_variant_dict_insert(&dict, "skipped", "i", (int)report->skipped);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

GVariant *pentimento_teaching_run(PentimentoTeaching *teaching, LdmModel *model,
                                  const PentimentoTeachingWatch *watch, GError **error)
{
    g_autofree char *parent = folder_of(teaching);
    Report report = {.watch = watch};

    if (teaching->action == PENTIMENTO_TEACH_ESTIMATE)
        return estimate(teaching, model, watch->cancellable, error);
    if (teaching->action == PENTIMENTO_TEACH_FORGET) {
        forget(teaching);
        return describe(&report, "");
    }
    g_autofree char *folder = open_folder(teaching, model, watch->cancellable, error);
    if (folder == NULL)
        return NULL;
    g_autofree char *log = g_build_filename(folder, "log.jsonl", NULL);
    report.log = log;
    if (!train(teaching, model, folder, &report, error))
        return NULL;
    g_autofree char *file = hand_over(teaching, folder, error);
    if (file == NULL)
        return NULL;
    ldm_folder_clear(parent, NULL);
    return describe(&report, file);
}
