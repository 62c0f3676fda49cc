/* Generated pictures. In: a model, captions of held-out pictures, of seen concepts and of unseen
 * pairs of colour and object. Out: how near the pictures come to real ones as a whole (KID), each
 * to those of its own caption (retrieval), and to any that was trained on (copies). */
#include "base/error.h"
#include "evaluate.h"
#include "metrics.h"
#include "tensor/tensor.h"

#include <string.h>

#define FIRST_SEED  1
#define SUBSETS     100 /* of KID */
#define SUBSET_SIZE 100 /* or half of the pictures there are */
#define OWN         4   /* pictures of a seen concept that count as found */
#define NEAR        5
#define BYTES       ((size_t)EVALUATE_SMALL * EVALUATE_SMALL * 3)

/* Prompts, and the pictures that should or should not be found by what is made of them. */
typedef struct {
    GPtrArray *prompts;
    EvaluateGallery *gallery;
    size_t *prompt_labels, *gallery_labels;
} Search;

struct EvaluateReference {
    LdmImageTower *tower;
    GPtrArray *prompts; /* held-out captions */
    EvaluateGallery *held_out, *training;
    Search seen, pairs;
    EvaluateGallery *real; /* of each of seen.prompts another picture */
};

static bool is_english(const EvaluateRow *row)
{
    return strcmp(row->language, "en") == 0;
}

static bool is_english_object(const EvaluateRow *row)
{
    return is_english(row) && strcmp(row->kind, "object") == 0;
}

static bool is_coloured(const EvaluateRow *row)
{
    return strcmp(row->kind, "coloured") == 0;
}

static bool is_english_coloured(const EvaluateRow *row)
{
    return is_english(row) && is_coloured(row);
}

/* ---- what is compared with ---- */

static void search_clear(Search *search)
{
    g_clear_pointer(&search->prompts, g_ptr_array_unref);
    g_clear_pointer(&search->gallery, evaluate_gallery_free);
    g_free(search->prompt_labels);
    g_free(search->gallery_labels);
}

void evaluate_reference_free(EvaluateReference *reference)
{
    if (reference == NULL)
        return;
    g_clear_pointer(&reference->tower, ldm_image_tower_free);
    g_clear_pointer(&reference->prompts, g_ptr_array_unref);
    evaluate_gallery_free(reference->held_out);
    evaluate_gallery_free(reference->training);
    evaluate_gallery_free(reference->real);
    search_clear(&reference->seen);
    search_clear(&reference->pairs);
    g_free(reference);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EvaluateReference, evaluate_reference_free)

/* The rows of each concept, in the order of the list. */
static GHashTable *groups_of(const GPtrArray *rows, EvaluateWanted *wanted)
{
    GHashTable *groups =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);

    for (guint i = 0; i < rows->len; i++) {
        EvaluateRow *row = g_ptr_array_index(rows, i);
        if (wanted != NULL && !wanted(row))
            continue;
        GPtrArray *group = g_hash_table_lookup(groups, row->concept);
        if (group == NULL) {
            group = g_ptr_array_new();
            g_hash_table_insert(groups, row->concept, group);
        }
        g_ptr_array_add(group, row);
    }
    return groups;
}

static bool is_object(const EvaluateRow *row)
{
    return strcmp(row->kind, "object") == 0;
}

/* English prompts of concepts of which there are pictures enough, one of each. */
static GPtrArray *concept_prompts(const EvaluateTask *task, GHashTable *groups)
{
    g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (guint i = 0; i < task->training->len; i++) {
        EvaluateRow *row = g_ptr_array_index(task->training, i);
        const GPtrArray *group = g_hash_table_lookup(groups, row->concept);
        if (is_english_object(row) && group->len > OWN && g_hash_table_add(taken, row->concept))
            g_ptr_array_add(all, row);
    }
    return evaluate_rows_pick(all, NULL, (size_t)task->concepts);
}

/* The first pictures of each concept are to be found, the next one serves as what a perfect model
 * would make. */
static bool plan_seen(EvaluateReference *reference, const EvaluateTask *task, GError **error)
{
    g_autoptr(GHashTable) groups = groups_of(task->training, is_object);
    g_autoptr(GPtrArray) rows = g_ptr_array_new(), real = g_ptr_array_new();
    Search *seen = &reference->seen;

    seen->prompts = concept_prompts(task, groups);
    seen->prompt_labels = g_new(size_t, seen->prompts->len);
    seen->gallery_labels = g_new(size_t, OWN * seen->prompts->len);
    for (guint i = 0; i < seen->prompts->len; i++) {
        const EvaluateRow *prompt = g_ptr_array_index(seen->prompts, i);
        const GPtrArray *group = g_hash_table_lookup(groups, prompt->concept);
        seen->prompt_labels[i] = i;
        for (guint k = 0; k < OWN; k++) {
            seen->gallery_labels[rows->len] = i;
            g_ptr_array_add(rows, g_ptr_array_index(group, k));
        }
        g_ptr_array_add(real, g_ptr_array_index(group, OWN));
    }
    seen->gallery = evaluate_gallery_of(reference->tower, rows, error);
    reference->real =
        seen->gallery != NULL ? evaluate_gallery_of(reference->tower, real, error) : NULL;
    return reference->real != NULL;
}

/* Held-out pairs of colour and object among one another and the same objects in trained colours.
 * A label is the place of the caption's first row. */
static bool plan_pairs(EvaluateReference *reference, const EvaluateTask *task, GError **error)
{
    g_autoptr(GPtrArray) rows = evaluate_rows_pick(task->held_out, is_coloured, G_MAXUINT);
    g_autoptr(GHashTable) trained = groups_of(task->training, is_coloured);
    g_autoptr(GHashTable) first = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) added = g_hash_table_new(g_str_hash, g_str_equal);
    Search *pairs = &reference->pairs;
    guint own = rows->len;

    pairs->prompts =
        evaluate_rows_pick(task->held_out, is_english_coloured, (size_t)task->concepts);
    pairs->prompt_labels = g_new(size_t, pairs->prompts->len);
    for (guint i = 0; i < own; i++) {
        EvaluateRow *row = g_ptr_array_index(rows, i);
        if (!g_hash_table_contains(first, row->caption))
            g_hash_table_insert(first, row->caption, GUINT_TO_POINTER(i));
        GPtrArray *others = g_hash_table_lookup(trained, row->concept);
        for (guint k = 0; others != NULL && k < others->len; k++)
            if (g_hash_table_add(added, ((EvaluateRow *)g_ptr_array_index(others, k))->path))
                g_ptr_array_add(rows, g_ptr_array_index(others, k));
    }
    pairs->gallery_labels = g_new(size_t, rows->len);
    for (guint i = 0; i < rows->len; i++) {
        const EvaluateRow *row = g_ptr_array_index(rows, i);
        pairs->gallery_labels[i] =
            i < own ? GPOINTER_TO_UINT(g_hash_table_lookup(first, row->caption)) : i;
    }
    for (guint i = 0; i < pairs->prompts->len; i++) {
        const EvaluateRow *row = g_ptr_array_index(pairs->prompts, i);
        pairs->prompt_labels[i] = GPOINTER_TO_UINT(g_hash_table_lookup(first, row->caption));
    }
    pairs->gallery = evaluate_gallery_of(reference->tower, rows, error);
    return pairs->gallery != NULL;
}

EvaluateReference *evaluate_reference_new(const EvaluateTask *task, GError **error)
{
    g_autoptr(EvaluateReference) reference = g_new0(EvaluateReference, 1);
    size_t most = task->gallery > 0 ? (size_t)task->gallery : G_MAXUINT;
    g_autoptr(GPtrArray) training = evaluate_rows_pick(task->training, NULL, most);

    reference->tower = ldm_image_tower_load(task->features, error);
    if (reference->tower == NULL || !plan_seen(reference, task, error) ||
        !plan_pairs(reference, task, error))
        return NULL;
    reference->prompts = evaluate_rows_pick(task->held_out, is_english, (size_t)task->images);
    reference->held_out = evaluate_gallery_of(reference->tower, task->held_out, error);
    if (reference->held_out == NULL)
        return NULL;
    reference->training = evaluate_gallery_of(reference->tower, training, error);
    return reference->training != NULL ? g_steal_pointer(&reference) : NULL;
}

/* ---- what is made ---- */

typedef struct {
    const EvaluateTask *task;
    LdmModel *model;
    GPtrArray *prompts;
} Maker;

/* Numbers as the command line has them, and words. */
static bool set_all(LdmRequest *request, char **settings, GError **error)
{
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        g_auto(GStrv) parts = g_strsplit(settings[i], "=", 2);
        const char *text = parts[0] != NULL && parts[1] != NULL ? parts[1] : "";
        char *end = NULL;
        double number = g_ascii_strtod(text, &end);
        bool is_number = *text != '\0' && *end == '\0';
        if (!ldm_request_set(request, parts[0] != NULL ? parts[0] : "",
                             is_number ? g_variant_new_double(number) : g_variant_new_string(text),
                             error))
            return false;
    }
    return true;
}

/* More pictures than prompts: others by the same. */
static LdmTensor *make(size_t i, void *data, GError **error)
{
    const Maker *maker = data;
    const EvaluateRow *row = g_ptr_array_index(maker->prompts, i % maker->prompts->len);
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);

    g_free(request->prompt);
    request->prompt = g_strdup(row->caption);
    request->steps = maker->task->steps;
    request->width = request->height = maker->task->size;
    request->seed = FIRST_SEED + (int64_t)i;
    if (!set_all(request, maker->task->settings, error))
        return NULL;
    g_autoptr(LdmResult) made = ldm_generate(maker->model, request, NULL, error);
    return made != NULL ? ldm_tensor_copy(made->pixels, error) : NULL;
}

static EvaluateGallery *generate(const EvaluateTask *task, LdmModel *model, GPtrArray *prompts,
                                 size_t count, GError **error)
{
    Maker maker = {task, model, prompts};

    return evaluate_gallery_new(task->reference->tower, count, make, &maker, error);
}

/* ---- the figures ---- */

static void add_kid(const EvaluateReference *reference, const EvaluateGallery *made,
                    EvaluateResult *result)
{
    const LdmTensor *real = reference->held_out->features;
    size_t fewest = MIN(MIN(made->count, reference->held_out->count), reference->training->count);
    size_t size = MAX(MIN((size_t)SUBSET_SIZE, fewest / 2), 2);
    double spread, of_training, ignored;

    double kid = metric_kid_subsets(made->features, real, size, SUBSETS, &spread);
    of_training = metric_kid_subsets(reference->training->features, real, size, SUBSETS, &ignored);
    evaluate_add(result, "kid", "KID to held-out pictures (less is better)", kid);
    evaluate_add(result, "kid_spread", "KID, standard deviation of its subsets", spread);
    evaluate_add(result, "training_kid", "KID of training pictures to held-out ones", of_training);
}

static void add_found(const Search *search, const EvaluateGallery *made, const char *const keys[2],
                      const char *const labels[2], EvaluateResult *result)
{
    const size_t most[] = {1, NEAR};

    for (size_t k = 0; k < 2; k++)
        evaluate_add(result, keys[k], labels[k],
                     metric_retrieval(made->features, search->prompt_labels,
                                      search->gallery->features, search->gallery_labels, most[k]));
}

typedef struct {
    const char *keys[4], *labels[4]; /* pixels: median, lowest; features: the same */
} Names;

/* Median, and what a twentieth of the pictures lies below: copies would be there. */
static void add_nearest(const EvaluateReference *reference, const EvaluateGallery *made,
                        const Names *names, EvaluateResult *result)
{
    const EvaluateGallery *training = reference->training;
    g_autofree double *pixels = g_new(double, made->count);
    g_autofree double *features = g_new(double, made->count);

    for (size_t i = 0; i < made->count; i++) {
        pixels[i] =
            metric_nearest_bytes(made->small + i * BYTES, training->small, BYTES, training->count);
        metric_nearest(made->features, i, training->features, &features[i]);
    }
    const double values[] = {
        metric_quantile(pixels, made->count, 0.5),
        metric_quantile(pixels, made->count, 0.05),
        metric_quantile(features, made->count, 0.5),
        metric_quantile(features, made->count, 0.05),
    };
    for (size_t k = 0; k < G_N_ELEMENTS(values); k++)
        evaluate_add(result, names->keys[k], names->labels[k], values[k]);
}

static void add_searches(const EvaluateReference *reference, const EvaluateGallery *seen,
                         const EvaluateGallery *pairs, EvaluateResult *result)
{
    static const char *const keys[][2] = {
        {"seen_top_1", "seen_top_5"}, {"real_top_1", "real_top_5"}, {"pairs_top_1", "pairs_top_5"}};
    static const char *const labels[][2] = {
        {"retrieval, seen concepts: the nearest", "retrieval, seen concepts: one of 5"},
        {"retrieval, real pictures of them: the nearest",
         "retrieval, real pictures of them: one of 5"},
        {"retrieval, unseen pairs of colour and object: the nearest",
         "retrieval, unseen pairs of colour and object: one of 5"}};

    add_found(&reference->seen, seen, keys[0], labels[0], result);
    add_found(&reference->seen, reference->real, keys[1], labels[1], result);
    add_found(&reference->pairs, pairs, keys[2], labels[2], result);
}

bool evaluate_pictures(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                       GError **error)
{
    static const Names of_held_out = {
        {"near_pixels", "near_pixels_5", "near_features", "near_features_5"},
        {"nearest training picture, pixels: held-out captions, median",
         "nearest training picture, pixels: held-out captions, 5 %",
         "nearest training picture, features: held-out captions, median",
         "nearest training picture, features: held-out captions, 5 %"}};
    static const Names of_seen = {
        {"seen_near_pixels", "seen_near_pixels_5", "seen_near_features", "seen_near_features_5"},
        {"nearest training picture, pixels: seen captions, median",
         "nearest training picture, pixels: seen captions, 5 %",
         "nearest training picture, features: seen captions, median",
         "nearest training picture, features: seen captions, 5 %"}};
    static const Names of_real = {
        {"real_near_pixels", "real_near_pixels_5", "real_near_features", "real_near_features_5"},
        {"nearest training picture, pixels: held-out pictures, median",
         "nearest training picture, pixels: held-out pictures, 5 %",
         "nearest training picture, features: held-out pictures, median",
         "nearest training picture, features: held-out pictures, 5 %"}};
    const EvaluateReference *r = task->reference;
    g_autoptr(EvaluateGallery) made =
        generate(task, model, r->prompts, (size_t)task->images, error);
    g_autoptr(EvaluateGallery) seen =
        made != NULL ? generate(task, model, r->seen.prompts, r->seen.prompts->len, error) : NULL;
    g_autoptr(EvaluateGallery) pairs =
        seen != NULL ? generate(task, model, r->pairs.prompts, r->pairs.prompts->len, error) : NULL;

    if (pairs == NULL)
        return false;
    add_kid(r, made, result);
    add_searches(r, seen, pairs, result);
    add_nearest(r, made, &of_held_out, result);
    add_nearest(r, seen, &of_seen, result);
    add_nearest(r, r->held_out, &of_real, result);
    return true;
}
