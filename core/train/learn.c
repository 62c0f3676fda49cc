/* Learn from this picture. In: a model, a picture with a hole. Out: a LoRA's file. The trainer is
 * that of all adapters (train-ldm.c); its data set are crops of the picture (crops.c), some of them
 * across the hole: what lies in it is never seen, and counts nothing in the loss. */
#include "train/learn.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/folder.h"
#include "pipeline/adapters.h"
#include "tensor/tensor.h"
#include "train/crops.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <utime.h>

#define VERSION "learn 1" /* of all that is not in the digest by itself */
#define LARGE   256 /* pixels a side: from here on a step takes long, and batches much memory */
#define CROPS   96
#define REACH   1 /* sides of the window, from it on every side, where crops come from */
#define ZOOM    1.25
#define KEPT    8 /* pictures that stay learnt */

typedef struct {
    const LdmLearn *learn;
    LdmCrops crops;
    LdmTrainOptions options;
    size_t count;           /* crops */
    char *parent, *folder;  /* the picture's own in that of all */
    char *file;             /* the LoRA's */
    double latents, passes; /* FLOPs, for progress */
} Lesson;

/* ---- how ---- */

/* More steps of smaller batches learn more in the same time. */
static LdmTrainOptions options_of(const LdmLearn *learn)
{
    LdmTrainOptions options = ldm_train_adapter_defaults(LDM_ADAPTER_LORA);
    const LdmModelInfo *info = &learn->model->info;
    bool large = info->native_size > LARGE;
    uint64_t steps = (uint64_t)learn->request->learn;

    options.loop.optimiser.steps = steps;
    options.loop.optimiser.warm_up = steps / 10;
    options.loop.optimiser.rate = large ? 5e-4 : 3e-3;
    options.loop.batch = large ? 1 : 2;
    options.loop.save_every = large ? 5 : 50;
    options.loop.keep = 1;
    options.loop.look_every = 0;
    if (info->prediction == LDM_PREDICTION_EPSILON) /* else pure noise would weigh nothing */
        options.loss.snr_gamma = 5.0;
    options.drop = 0.5;
    options.latents.augment.flip = false; /* a pattern's slant belongs to it */
    options.latents.augment.partly = true;
    options.latents.variants = 1;
    options.adapter.rank = 16;
    g_strlcpy(options.adapter.targets, "all", sizeof options.adapter.targets);
    return options;
}

static LdmCrops crops_of(const LdmLearn *learn)
{
    const LdmRect *w = &learn->geometry->window;
    int x = REACH * w->width, y = REACH * w->height;

    return (LdmCrops){
        .picture = learn->request->picture,
        .mask = learn->request->mask,
        .area = {w->x - x, w->y - y, w->width + 2 * x, w->height + 2 * y},
        .side = (size_t)learn->model->info.native_size,
        .scale = learn->geometry->scale,
        .zoom = ZOOM,
    };
}

/* ---- the digest ---- */

/* What tells one content of a file from another. */
static void digest_file(GChecksum *sum, const char *path)
{
    struct stat info = {0};

    if (path == NULL || stat(path, &info) != 0)
        return; /* loading it will say so */
    g_autofree char *text = g_strdup_printf("%s %lld %lld.%09ld", path, (long long)info.st_size,
                                            (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    ldm_digest_text(sum, text);
}

static void digest_adapters(GChecksum *sum, const LdmRequest *request)
{
    for (char **lora = request->loras; lora != NULL && *lora != NULL; lora++) {
        double weight;
        g_autofree char *path = ldm_adapters_lora_path(*lora, &weight, NULL);
        ldm_digest_text(sum, *lora);
        digest_file(sum, path);
    }
    for (char **word = request->embeddings; word != NULL && *word != NULL; word++)
        digest_file(sum, *word);
}

static char *digest(const LdmLearn *learn, const LdmCrops *crops, const LdmTrainOptions *o)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *options = ldm_train_adapter_text(o);
    g_autofree char *settings = g_strdup_printf(VERSION " %d %s %s", learn->request->learn, options,
                                                learn->request->prompt);

    ldm_digest_text(sum, settings);
    ldm_model_digest(learn->model, sum);
    digest_adapters(sum, learn->request);
    ldm_crops_digest(crops, sum);
    return g_strndup(g_checksum_get_string(sum), 32);
}

/* ---- begin and end ---- */

static void lesson_init(Lesson *lesson, const LdmLearn *learn)
{
    LdmCrops crops = crops_of(learn);
    LdmTrainOptions options = options_of(learn);
    g_autofree char *key = digest(learn, &crops, &options);

    *lesson = (Lesson){.learn = learn, .crops = crops, .options = options};
    lesson->count = MIN((size_t)CROPS, (size_t)learn->request->learn * lesson->options.loop.batch);
    lesson->parent = g_build_filename(g_get_user_cache_dir(), "pentimento", "learn", NULL);
    lesson->folder = g_build_filename(lesson->parent, key, NULL);
    lesson->file = g_build_filename(lesson->folder, "pytorch_lora_weights.safetensors", NULL);
}

static void lesson_clear(Lesson *lesson)
{
    g_free(lesson->parent);
    g_free(lesson->folder);
    g_free(lesson->file);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Lesson, lesson_clear)

/* What is used again is kept longest. */
static bool is_done(const Lesson *lesson)
{
    g_utime(lesson->folder, NULL); /* where it is there */
    return g_file_test(lesson->file, G_FILE_TEST_IS_REGULAR);
}

static bool measure(Lesson *lesson, size_t *bytes, GError **error)
{
    const LdmTrainOptions *o = &lesson->options;
    LdmTrainMeasure told;

    if (!ldm_crops_any(&lesson->crops)) {
        ldm_set_error(
            error, MISSING,
            _("all of the picture around there is marked: nothing is left to learn from"));
        return false;
    }
    if (!ldm_train_measure(lesson->learn->model, o, lesson->count, &told, error))
        return false;
    *bytes = told.bytes;
    lesson->latents = told.latents_flops;
    lesson->passes = told.pass_flops * (double)(o->loop.optimiser.steps * o->loop.accumulate);
    return true;
}

bool ldm_learn_measure(const LdmLearn *learn, size_t *bytes, double *flops, GError **error)
{
    g_auto(Lesson) lesson;

    lesson_init(&lesson, learn);
    *bytes = 0;
    *flops = 0.0;
    if (is_done(&lesson))
        return true;
    if (!measure(&lesson, bytes, error))
        return false;
    *flops = lesson.latents + lesson.passes;
    return true;
}

bool ldm_learn_estimate(const LdmLearn *learn, LdmTrainEstimate *estimate, GError **error)
{
    g_auto(Lesson) lesson;
    LdmModel *model = learn->model;

    lesson_init(&lesson, learn);
    bool done = ldm_model_hold_denoiser(model, false, learn->cancellable, error) &&
                ldm_train_estimate(model, &lesson.options, lesson.count, learn->cancellable,
                                   estimate, error);
    ldm_params_drop_copies(model->unet_params);
    return done;
}

/* ---- learning ---- */

static void tell(const Lesson *lesson, double flops, int step)
{
    const LdmLearn *learn = lesson->learn;

    if (learn->progress != NULL)
        learn->progress(flops / (lesson->latents + lesson->passes), step, learn->request->learn,
                        learn->progress_data);
}

static void on_encoding(size_t done, size_t total, void *data)
{
    const Lesson *lesson = data;

    tell(lesson, lesson->latents * (double)done / (double)total, 0);
}

static void on_step(const LdmTrainStep *step, void *data)
{
    const Lesson *lesson = data;

    tell(lesson, lesson->latents + lesson->passes * (double)step->step / (double)step->steps,
         (int)step->step);
}

static bool open_folder(const Lesson *lesson, bool *begun, GError **error)
{
    if (!ldm_folder_make_private(lesson->folder, error))
        return false;
    ldm_folder_keep_newest(lesson->parent, KEPT);
    g_autoptr(LdmCheckpoints) checkpoints = ldm_checkpoints_open(lesson->folder, 1, error);
    *begun = checkpoints != NULL && ldm_checkpoints_exist(checkpoints);
    return checkpoints != NULL;
}

static bool train(Lesson *lesson, GError **error)
{
    LdmModel *model = lesson->learn->model;
    g_autoptr(LdmDataset) dataset =
        ldm_crops_dataset(lesson->count, lesson->learn->request->prompt);
    const LdmTrainWatch watch = {.read = ldm_crops_read,
                                 .read_data = &lesson->crops,
                                 .cancellable = lesson->learn->cancellable,
                                 .encoding = on_encoding,
                                 .stepped = on_step,
                                 .data = lesson};

    bool done = ldm_model_hold_denoiser(model, false, lesson->learn->cancellable, error) &&
                ldm_train_ldm(model, dataset, &lesson->options, &watch, lesson->folder, error);
    ldm_params_drop_copies(model->unet_params);
    ldm_model_release(model, model->vae_params);
    return done;
}

/* Only the LoRA stays. */
static void tidy(const Lesson *lesson)
{
    g_autofree char *name = g_path_get_basename(lesson->file);

    ldm_folder_clear(lesson->folder, name);
}

char *ldm_learn(const LdmLearn *learn, GError **error)
{
    g_auto(Lesson) lesson;
    size_t bytes;

    lesson_init(&lesson, learn);
    if (!is_done(&lesson)) {
        if (!measure(&lesson, &bytes, error) ||
            !open_folder(&lesson, &lesson.options.loop.resume, error) || !train(&lesson, error))
            return NULL;
        tidy(&lesson);
    }
    return g_steal_pointer(&lesson.file);
}
