/* A folder for training runs: a made model, pictures with captions (one of them broken), what reads
 * them, and what watches a run. */
#pragma once

#include "made-model.h"
#include "pipeline/model.h"
#include "train/loop.h"

typedef struct {
    char *folder, *model_folder, *pictures;
} Place;

/* Fontconfig keeps what it has read of the fonts as long as the process lives: the leak check of
 * LeakSanitizer asks this function what to pass over. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

static inline void place_clear(Place *place)
{
    made_remove(place->folder);
    g_free(place->folder);
    g_free(place->model_folder);
    g_free(place->pictures);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

/* Weights small enough that a network of random ones keeps finite. */
static inline void calm(MadeModel *made)
{
    for (int part = 0; part < LDM_N_PARTS; part++) {
        for (size_t i = 0; i < ldm_params_length(made->params[part]); i++) {
            const LdmParam *param = ldm_params_at(made->params[part], i);
            guint16 *half = (guint16 *)param->data;
            for (size_t k = 0; k < made_bytes(param) / 2; k++)
                half[k] = (guint16)((half[k] & 0x83ff) | 0x2800); /* 1/32 to 1/16 in size */
        }
    }
}

/* Puts picture `number` and its caption there; `content` NULL: its name, from which its colour
 * follows. */
static inline void place_picture(const Place *place, int number, const char *content)
{
    g_autofree char *name = g_strdup_printf("%d.png", number);
    g_autofree char *text = g_strdup_printf("%d.txt", number);

    made_text(place->pictures, "", name, content != NULL ? content : name);
    made_text(place->pictures, "", text, "a small picture");
}

/* The place's model, made (anew) of a configuration; its config files are those of made_config. */
static inline void place_make_model(const Place *place, const LdmModelConfig *config)
{
    MadeModel *made = made_model_new(config);

    calm(made);
    made_folder(made, place->model_folder);
    made_model_free(made);
}

static inline Place place_new(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    Place place = {.folder = g_dir_make_tmp("pentimento-run-XXXXXX", NULL)};

    place.model_folder = g_build_filename(place.folder, "model", NULL);
    place.pictures = g_build_filename(place.folder, "pictures", NULL);
    place_make_model(&place, &config);
    for (int i = 0; i < 5; i++)
        place_picture(&place, i, i == 3 ? "broken" : NULL);
    return place;
}

/* Puts settings before those of the autoencoder's configuration; it has to be made new then. */
static inline void place_set_vae(const Place *place, const char *settings)
{
    g_autofree char *path = g_build_filename(place->model_folder, "vae", "config.json", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_autofree char *more = g_strdup_printf("{%s,%s", settings, strchr(text, '{') + 1);
    g_assert_true(g_file_set_contents(path, more, -1, NULL));
}

/* The next number of a sequence, in [-1, 1). */
static inline float noise(guint32 *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1.0f;
}

/* A plain picture whose colour follows from its name. */
static inline LdmTensor *read_picture(const char *path, void *data, GError **error)
{
    g_autofree char *text = NULL;
    LdmTensor *picture;

    if (!g_file_get_contents(path, &text, NULL, error))
        return NULL;
    if (strcmp(text, "broken") == 0) {
        g_set_error(error, LDM_ERROR, LDM_ERROR_FORMAT, "%s is broken", path);
        return NULL;
    }
    picture = ldm_tensor_new_nhwc(1, 20, 16, 4, error);
    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = i % 4 == 3 ? 1.0f : (float)(text[0] - '0') / 8.0f;
    return picture;
}

/* ---- a run ---- */

#define WATCH_STEPS 64 /* of a run, at most */

/* What a run is to do, and what it told. */
typedef struct {
    const char *from;    /* a run whose model is trained further; NULL: the place's own */
    uint64_t stop_after; /* this step; 0: never */
    GCancellable *cancellable;
    size_t taken; /* steps, since it was made */
    double losses[WATCH_STEPS];
    LdmTrainStep last;
    LdmTrainPlan plan;
    char *skipped; /* pictures, a line each */
} Watch;

static inline void watch_clear(Watch *watch)
{
    g_clear_object(&watch->cancellable);
    g_clear_pointer(&watch->skipped, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Watch, watch_clear)

static inline void watch_stepped(const LdmTrainStep *step, void *data)
{
    Watch *watch = data;

    g_assert_cmpuint(step->step, <=, WATCH_STEPS);
    watch->losses[step->step - 1] = step->loss;
    watch->last = *step;
    watch->taken++;
    if (step->step == watch->stop_after)
        g_cancellable_cancel(watch->cancellable);
}

static inline void watch_planned(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data)
{
    Watch *watch = data;
    GString *lines = g_string_new(NULL);

    for (guint i = 0; i < skipped->len; i++)
        g_string_append_printf(lines, "%s\n", (const char *)g_ptr_array_index(skipped, i));
    g_assert_cmpuint(plan->skipped, ==, skipped->len);
    watch->plan = *plan;
    g_free(watch->skipped);
    watch->skipped = g_string_free(lines, FALSE);
}

/* For one run. */
static inline LdmTrainWatch watch_run(Watch *watch, LdmPictureRead read)
{
    g_clear_object(&watch->cancellable);
    watch->cancellable = g_cancellable_new();
    return (LdmTrainWatch){.read = read,
                           .cancellable = watch->cancellable,
                           .planned = watch_planned,
                           .stepped = watch_stepped,
                           .data = watch};
}

/* The folder of the model that a run begins with. */
static inline char *watch_model(const Watch *watch, const Place *place)
{
    return watch->from == NULL ? g_strdup(place->model_folder)
                               : g_build_filename(place->folder, watch->from, NULL);
}

static inline double mean(const double *losses, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += losses[i] / (double)n;
    return sum;
}

static inline void assert_same_file(const Place *place, const char *a, const char *b,
                                    const char *name)
{
    g_autofree char *path_a = g_build_filename(place->folder, a, name, NULL);
    g_autofree char *path_b = g_build_filename(place->folder, b, name, NULL);
    g_autofree char *text_a = NULL, *text_b = NULL;
    gsize length_a, length_b;

    g_assert_true(g_file_get_contents(path_a, &text_a, &length_a, NULL));
    g_assert_true(g_file_get_contents(path_b, &text_b, &length_b, NULL));
    g_assert_cmpmem(text_a, length_a, text_b, length_b);
}
