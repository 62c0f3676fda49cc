/* Lists of examples, windows and holes, and the latent cache. Pictures are text files here, "width
 * height blue", which the test's own reader turns into a gradient. */
#include "made-model.h"
#include "pipeline/model.h"
#include "prepare/prepare.h"
#include "train/augment.h"
#include "train/bucket.h"
#include "train/dataset.h"
#include "train/latent-cache.h"
#include "train/loop.h"
#include "train/windows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char *folder_new(void)
{
    g_autoptr(GError) error = NULL;
    char *folder = g_dir_make_tmp("pentimento-data-XXXXXX", &error);

    g_assert_no_error(error);
    return folder;
}

static void put(const char *folder, const char *name, const char *text)
{
    made_text(folder, "", name, text);
}

/* ---- lists ---- */

static void assert_example(const LdmDataset *dataset, size_t i, const char *folder,
                           const char *name, const char *caption)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    g_assert_cmpstr(ldm_dataset_at(dataset, i)->path, ==, path);
    g_assert_cmpstr(ldm_dataset_at(dataset, i)->caption, ==, caption);
}

static void test_folder(void)
{
    g_autofree char *folder = folder_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(folder, &error);

    g_assert_null(dataset); /* nothing in it */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    put(folder, "b.PNG", "");
    put(folder, "b.txt", "\ufeff  a blue cup\n"); /* begun as some editors do */
    put(folder, "a.jpeg", "");
    put(folder, ".hidden.png", "");
    put(folder, "notes.md", "");
    dataset = ldm_dataset_open(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_dataset_length(dataset), ==, 2);
    assert_example(dataset, 0, folder, "a.jpeg", "");
    assert_example(dataset, 1, folder, "b.PNG", "a blue cup");
    g_clear_pointer(&dataset, ldm_dataset_free);

    put(folder, "b.txt", "\xff\xfe"); /* for those who read captions to leave out */
    put(folder, "a.txt", "");
    dataset = ldm_dataset_open(folder, &error);
    g_assert_no_error(error);
    assert_example(dataset, 0, folder, "a.jpeg", "");
    g_assert_true(ldm_dataset_check_caption(dataset, 0, &error));
    g_assert_false(ldm_dataset_check_caption(dataset, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "b.txt"));
    made_remove(folder);
}

/* One that is too long, in a list, is left out before the first step. */
static void test_long_caption(void)
{
    g_autofree char *folder = folder_new(), *path = g_build_filename(folder, "list.tsv", NULL);
    g_autofree char *caption = g_strnfill((64 << 10) + 1, 'a');
    g_autofree char *lines = g_strdup_printf("a.png\tshort\nb.png\t%s\n", caption);
    g_autoptr(GError) error = NULL;

    put(folder, "list.tsv", lines);
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_dataset_check_caption(dataset, 0, &error));
    g_assert_false(ldm_dataset_check_caption(dataset, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    made_remove(folder);
}

static LdmDataset *open_list(const char *folder, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    put(folder, name, text);
    return ldm_dataset_open(path, error);
}

static void test_lists(void)
{
    static const struct {
        const char *name, *text;
    } same[] = {
        {"plain.tsv", "a.png\ta red cup\r\nsub/b.png\tein Würfel\r\n"},
        {"named.tsv", "source\tcaption\tfile\nx\ta red cup\ta.png\n\ny\tein Würfel\tsub/b.png"},
        {"marked.tsv", "\ufefffile\tcaption\na.png\ta red cup\nsub/b.png\tein Würfel\n"},
        {"one.jsonl", "{\"file\": \"a.png\", \"caption\": \"a red cup\"}\n"
                      "{\"file_name\": \"sub/b.png\", \"text\": \"ein W\\u00fcrfel\"}\n"},
    };
    g_autofree char *folder = folder_new();

    for (size_t i = 0; i < G_N_ELEMENTS(same); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmDataset) dataset = open_list(folder, same[i].name, same[i].text, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(ldm_dataset_length(dataset), ==, 2);
        assert_example(dataset, 0, folder, "a.png", "a red cup");
        assert_example(dataset, 1, folder, "sub/b.png", "ein Würfel");
    }
    made_remove(folder);
}

static void test_bad_lists(void)
{
    static const struct {
        const char *name, *text, *says;
        LdmErrorCode code;
    } bad[] = {
        {"a.tsv", "a.png\tcup\nb.png\n", "line 2", LDM_ERROR_FORMAT},
        {"a.tsv", "\tcup\n", "line 1", LDM_ERROR_FORMAT},
        {"a.tsv", "\n\n", "a.tsv", LDM_ERROR_MISSING},
        {"a.tsv", "a.png\t\xff\n", "UTF-8", LDM_ERROR_FORMAT},
        {"a.jsonl", "{\"file\": \"a.png\"}\n{\"file\": 1", "line 2", LDM_ERROR_FORMAT},
        {"a.jsonl", "{\"caption\": \"a\"}", "line 1", LDM_ERROR_FORMAT},
        {"a.jsonl", "{\"file\": 7}", "line 1", LDM_ERROR_FORMAT},
        {"a.csv", "a.png,cup", "a.csv", LDM_ERROR_UNSUPPORTED},
    };
    g_autofree char *folder = folder_new();

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(open_list(folder, bad[i].name, bad[i].text, &error));
        g_assert_error(error, LDM_ERROR, bad[i].code);
        g_assert_nonnull(strstr(error->message, bad[i].says));
    }
    made_remove(folder);
}

/* ---- windows and holes ---- */

/* Red rises to the right, green downwards. */
static LdmTensor *gradient(size_t W, size_t H, float blue, GError **error)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, H, W, 4, error);

    for (size_t i = 0; picture != NULL && i < W * H; i++) {
        float *p = ldm_tensor_f32(picture) + i * 4;
        p[0] = ((float)(i % W) + 0.5f) / (float)W;
        p[1] = ((float)(i / W) + 0.5f) / (float)H;
        p[2] = blue;
        p[3] = 1.0f;
    }
    return picture;
}

static void test_window(void)
{
    const LdmAugment augment = {.side = 16, .crop = 0.5, .flip = true, .seed = 3};
    g_autoptr(LdmTensor) picture = gradient(60, 40, 0.25f, NULL);
    double least = 2.0, most = -2.0;

    for (size_t v = 0; v < 12; v++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmTensor) a = ldm_augment_picture(&augment, 5, v, picture, &error);
        g_autoptr(LdmTensor) b = ldm_augment_picture(&augment, 5, v, picture, &error);
        size_t bytes = 16 * 16 * 3 * sizeof(float);
        g_assert_no_error(error);
        g_assert_cmpmem(a->data, bytes, b->data, bytes);
        const float *first = ldm_tensor_f32(a), *last = first + 15 * 3;
        g_assert_true((last[0] > first[0]) == (v % 2 == 0));    /* every second one mirrored */
        g_assert_cmpfloat(first[15 * 16 * 3 + 1], >, first[1]); /* but upright */
        g_assert_cmpfloat_with_epsilon(first[2], -0.5, 0.01);
        least = MIN(least, MIN(first[0], last[0]));
        most = MAX(most, MAX(first[0], last[0]));
        /* never more than the picture, never less than half of it: 20 of 60 columns across */
        g_assert_cmpfloat(fabsf(last[0] - first[0]), <, 2.0 * 40 / 60);
        g_assert_cmpfloat(fabsf(last[0] - first[0]), >, 2.0 * 20 / 60 * 0.9);
    }
    g_assert_cmpfloat(most - least, >, 1.0); /* windows lie in different places */
}

static void test_plain_window(void)
{
    const LdmAugment augment = {.side = 16, .seed = 3};
    g_autoptr(LdmTensor) picture = gradient(16, 16, 0.0f, NULL);
    g_autoptr(LdmTensor) tiny = gradient(100, 3, 0.0f, NULL);
    g_autoptr(GError) error = NULL;

    ldm_tensor_f32(picture)[3] = 0.0f; /* the first pixel is transparent: white */
    g_autoptr(LdmTensor) window = ldm_augment_picture(&augment, 0, 1, picture, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < 16 * 16; i++)
        for (size_t c = 0; c < 3; c++)
            g_assert_cmpfloat_with_epsilon(
                ldm_tensor_f32(window)[i * 3 + c],
                i == 0 ? 1.0 : 2.0 * ldm_tensor_f32(picture)[i * 4 + c] - 1.0, 1e-5);
    g_assert_null(ldm_augment_picture(&augment, 0, 0, tiny, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "100 × 3 pixels, and at least 4 × 4"));
    g_clear_error(&error);
    ldm_tensor_f32(picture)[5] = NAN;
    g_assert_null(ldm_augment_picture(&augment, 0, 0, picture, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
}

static void test_holes(void)
{
    const LdmAugment augment = {.side = 32, .seed = 11};
    int full = 0, empty = 0;
    double share = 0.0;

    for (size_t i = 0; i < 1000; i++) {
        g_autoptr(LdmTensor) mask = ldm_augment_mask(&augment, i, i % 3, NULL);
        double sum = 0.0;
        for (size_t k = 0; k < 32 * 32; k++) {
            float value = ldm_tensor_f32(mask)[k];
            g_assert_true(value == 0.0f || value == 1.0f);
            sum += value;
        }
        full += sum == 32 * 32;
        empty += sum == 0.0;
        share += sum / (32 * 32) / 1000;
    }
    g_assert_cmpint(full, >, 200);
    g_assert_cmpint(full, <, 300);
    g_assert_cmpint(empty, <, 10);
    g_assert_cmpfloat(share, >, 0.35);
    g_assert_cmpfloat(share, <, 0.65);
}

/* ---- the cache ---- */

typedef struct {
    char *folder, *model_folder, *pictures;
    LdmModel *model;
    LdmDataset *dataset;
    int reads;
    bool blind; /* to c.png, as to a format that nothing reads yet */
} Case;

static LdmTensor *read_picture(const char *path, void *data, GError **error)
{
    Case *c = data;
    g_autofree char *text = NULL;
    unsigned W, H, blue;

    c->reads++;
    if (c->blind && g_str_has_suffix(path, "c.png")) {
        g_set_error(error, LDM_ERROR, LDM_ERROR_FORMAT, "%s cannot be read", path);
        return NULL;
    }
    if (!g_file_get_contents(path, &text, NULL, error))
        return NULL;
    if (sscanf(text, "%u %u %u", &W, &H, &blue) == 3)
        return gradient(W, H, (float)blue / 255.0f, error);
    if (strcmp(text, "too large just now") == 0) {
        g_set_error(error, LDM_ERROR, LDM_ERROR_MEMORY, "no memory for %s", path);
        return NULL;
    }
    g_set_error(error, LDM_ERROR, LDM_ERROR_FORMAT, "%s is no picture", path);
    return NULL;
}

static void case_open(Case *c)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&c->dataset, ldm_dataset_free);
    c->dataset = ldm_dataset_open(c->pictures, &error);
    g_assert_no_error(error);
}

static Case *case_new(void)
{
    Case *c = g_new0(Case, 1);
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autoptr(GError) error = NULL;

    c->folder = folder_new();
    c->model_folder = g_build_filename(c->folder, "model", NULL);
    c->pictures = g_build_filename(c->folder, "pictures", NULL);
    made_folder(made, c->model_folder);
    made_model_free(made);
    c->model = ldm_model_load(c->model_folder, &error);
    g_assert_no_error(error);
    put(c->pictures, "a.png", "16 16 10");
    put(c->pictures, "b.png", "not a picture");
    put(c->pictures, "c.png", "20 24 200");
    put(c->pictures, "d.png", "300 2 20");
    case_open(c);
    return c;
}

static void case_free(Case *c)
{
    made_remove(c->folder);
    g_free(c->folder);
    g_free(c->model_folder);
    g_free(c->pictures);
    ldm_model_unref(c->model);
    ldm_dataset_free(c->dataset);
    g_free(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Case, case_free)

/* Under their name in a folder. */
static LdmLatentCache *open_cache(const Case *c, const LdmCacheOptions *options,
                                  const LdmCacheSource *source, const char *folder, GError **error)
{
    g_autofree char *name = ldm_latent_cache_name(c->model, c->dataset, options, NULL, error);
    g_autofree char *path = g_build_filename(folder, name, NULL);

    return ldm_latent_cache_open(c->model, c->dataset, options, source, path, error);
}

static LdmLatentCache *case_cache(Case *c, bool holes, GError **error)
{
    const LdmCacheOptions options = {
        .augment = {.side = 16, .seed = 1}, .variants = 2, .holes = holes, .full_hole = holes};
    const LdmCacheSource source = {.read = read_picture, .read_data = c};
    g_autofree char *folder = g_build_filename(c->folder, "latents", NULL);

    return open_cache(c, &options, &source, folder, error);
}

static void test_cache(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmLatentCache) cache = case_cache(c, false, &error);

    g_assert_no_error(error);
    const LdmCacheInfo *info = ldm_latent_cache_info(cache);
    g_assert_cmpuint(info->count, ==, 2); /* a and c; b is none, d too narrow */
    g_assert_cmpuint(info->examples[1], ==, 2);
    g_assert_cmpuint(info->skipped->len, ==, 2);
    g_assert_nonnull(strstr(g_ptr_array_index(info->skipped, 0), "b.png"));
    g_assert_nonnull(strstr(g_ptr_array_index(info->skipped, 1), "d.png"));
    g_assert_cmpint(c->reads, ==, 4);

    /* the same numbers as the encode stage */
    g_autoptr(LdmTensor) picture = gradient(16, 16, 10.0f / 255.0f, NULL);
    g_autoptr(LdmTensor) window =
        ldm_augment_picture(&(LdmAugment){.side = 16, .seed = 1}, 0, 0, picture, NULL);
    g_autoptr(LdmTensor) z = ldm_encode(c->model, window, -1, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(z); i++)
        g_assert_cmpfloat_with_epsilon(ldm_latent_cache_at(cache, 0, 0)[i / 4 * 8 + i % 4] *
                                           0.18215,
                                       ldm_tensor_f32(z)[i], 1e-5);

    g_clear_pointer(&cache, ldm_latent_cache_free);
    cache = case_cache(c, false, &error); /* from the disk */
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_latent_cache_info(cache)->count, ==, 2);
    g_assert_cmpint(c->reads, ==, 5); /* whether b can be read by now */
    g_autofree char *key = g_strdup(ldm_latent_cache_key(cache));
    g_clear_pointer(&cache, ldm_latent_cache_free);

    put(c->pictures, "b.png", "32 32 7"); /* mended */
    case_open(c);
    cache = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(ldm_latent_cache_key(cache), !=, key);
    g_assert_cmpuint(ldm_latent_cache_info(cache)->count, ==, 3);

    put(c->pictures, "b.txt", "\xff"); /* its latents are there and right, but of no use */
    case_open(c);
    g_clear_pointer(&cache, ldm_latent_cache_free);
    cache = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_latent_cache_info(cache)->count, ==, 2);
    g_assert_nonnull(strstr(g_ptr_array_index(ldm_latent_cache_info(cache)->skipped, 0), "b.txt"));
}

static void test_cache_holes(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmLatentCache) cache = case_cache(c, true, &error);
    g_autoptr(LdmTensor) mask =
        ldm_augment_mask(&(LdmAugment){.side = 16, .seed = 1}, 2, 1, &error);

    g_assert_no_error(error);
    const float *hole = ldm_latent_cache_at(cache, 1, 1) + 8 * 8 * 8;
    for (size_t i = 0; i < 64; i++) { /* f = 2: a cell is a hole where one of its pixels is */
        const float *m = ldm_tensor_f32(mask) + i / 8 * 2 * 16 + i % 8 * 2;
        float most = MAX(MAX(m[0], m[1]), MAX(m[16], m[17]));
        g_assert_cmpfloat(hole[i * 5], ==, most);
    }
}

/* The masked latent of c.png's second variant, by the stage `encode`. */
static LdmTensor *hidden(Case *c, LdmHole hole, GError **error)
{
    const LdmAugment augment = {.side = 16, .seed = 1};
    g_autoptr(LdmTensor) picture = gradient(20, 24, 200.0f / 255.0f, NULL);
    g_autoptr(LdmTensor) window = ldm_augment_picture(&augment, 2, 1, picture, error);
    g_autoptr(LdmTensor) mask = ldm_augment_mask(&augment, 2, 1, error);

    g_assert_true(
        ldm_hide(hole, ldm_tensor_f32(window), ldm_tensor_f32(mask), 16, 16, NULL, error));
    return ldm_encode(c->model, window, -1, NULL, error);
}

/* All hole, and the latent of mid-grey, which is what text to image shows the network. */
static void test_cache_full_hole(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;

    for (int hole = LDM_HOLE_GREY; hole <= LDM_HOLE_FILLED; hole++) {
        c->model->info.hole = (LdmHole)hole;
        g_autoptr(LdmLatentCache) cache = case_cache(c, true, &error);
        g_autoptr(LdmTensor) grey = ldm_tensor_new_nhwc(1, 16, 16, 3, &error);
        g_autoptr(LdmTensor) z = ldm_encode(c->model, grey, -1, NULL, &error);
        g_assert_no_error(error);
        const float *full = ldm_latent_cache_full_hole(cache, LDM_BUCKET_SQUARE);
        for (size_t i = 0; i < ldm_tensor_count(z); i++) {
            g_assert_cmpfloat(full[i / 4 * 5], ==, 1.0f);
            g_assert_cmpfloat_with_epsilon(full[i / 4 * 5 + 1 + i % 4], ldm_tensor_f32(z)[i], 1e-5);
        }
    }
}

static void test_cache_of_encoder(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmLatentCache) first = case_cache(c, false, &error);
    g_assert_no_error(error);
    const LdmParams *vae = c->model->vae_params;
    LdmParam *into = ldm_params_find(vae, "encoder.conv_in.weight");
    LdmParam *out_of = ldm_params_find(vae, "decoder.conv_in.weight");
    int reads = c->reads;

    out_of->data = ldm_params_find(vae, "decoder.mid_block.resnets.0.conv1.weight")->data;
    g_autoptr(LdmLatentCache) same = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(ldm_latent_cache_key(same), ==, ldm_latent_cache_key(first));
    g_assert_cmpint(c->reads, ==, reads + 1); /* whether b can be read by now */

    into->data = ldm_params_find(vae, "encoder.conv_out.weight")->data;
    g_autoptr(LdmLatentCache) other = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(ldm_latent_cache_key(other), !=, ldm_latent_cache_key(first));
}

/* What takes long where there are many pictures, or a slow disk, ends when it is to. */
static void test_cache_name_cancelled(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    const LdmCacheOptions options = {.augment = {.side = 16}, .variants = 1};
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    g_cancellable_cancel(cancellable);
    g_assert_false(ldm_dataset_digest(c->dataset, sum, cancellable, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_null(ldm_latent_cache_name(c->model, c->dataset, &options, cancellable, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
}

/* A model that is to see its holes filled is shown them so, and its latents are others. */
static void test_cache_filled(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *key = NULL;

    for (int hole = LDM_HOLE_GREY; hole <= LDM_HOLE_FILLED; hole++) {
        c->model->info.hole = (LdmHole)hole;
        g_autoptr(LdmLatentCache) cache = case_cache(c, true, &error);
        g_autoptr(LdmTensor) z = hidden(c, (LdmHole)hole, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(ldm_latent_cache_key(cache), !=, key);
        g_free(key);
        key = g_strdup(ldm_latent_cache_key(cache));
        const float *cells = ldm_latent_cache_at(cache, 1, 1) + 8 * 8 * 8;
        for (size_t i = 0; i < ldm_tensor_count(z); i++)
            g_assert_cmpfloat_with_epsilon(cells[i / 4 * 5 + 1 + i % 4], ldm_tensor_f32(z)[i],
                                           1e-5);
    }
}

/* Models of the same encoder may scale its latents otherwise; only masked ones are kept scaled. */
static void test_cache_scale(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;

    for (int holes = 0; holes < 2; holes++) {
        g_autoptr(LdmLatentCache) first = case_cache(c, holes, &error);
        int reads = c->reads;
        c->model->config.vae.scale_factor *= 2.0;
        c->model->config.vae.shift_factor += 0.5;
        g_autoptr(LdmLatentCache) other = case_cache(c, holes, &error);
        g_autoptr(LdmTensor) z = hidden(c, c->model->info.hole, &error);
        g_assert_no_error(error);
        g_assert_cmpint(c->reads, ==, reads + (holes ? 4 : 1)); /* b is tried again anyway */
        const float *cells = ldm_latent_cache_at(other, 1, 1) + 8 * 8 * 8;
        for (size_t i = 0; holes && i < ldm_tensor_count(z); i++)
            g_assert_cmpfloat_with_epsilon(cells[i / 4 * 5 + 1 + i % 4], ldm_tensor_f32(z)[i],
                                           1e-5);
    }
}

/* A memory that is full is no fault of the picture: nothing is kept about it. */
static void test_cache_memory(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;

    put(c->pictures, "c.png", "too large just now");
    case_open(c);
    g_assert_null(case_cache(c, false, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
}

/* Nor is it, where a picture's variants alone fill it, the end of the program. */
static void test_cache_variants(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    const LdmCacheOptions options = {.augment = {.side = 16}, .variants = (size_t)1 << 40};
    const LdmCacheSource source = {.read = read_picture, .read_data = c};

    g_assert_null(open_cache(c, &options, &source, c->folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
}

static bool stop_at_two(size_t done, size_t total, void *data)
{
    g_assert_cmpuint(total, ==, 4);
    return done < 2;
}

static void test_cache_faults(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    const LdmCacheOptions options = {.augment = {.side = 16, .seed = 1}, .variants = 2};
    const LdmCacheSource source = {.read = read_picture, .read_data = c, .progress = stop_at_two};
    g_autofree char *folder = g_build_filename(c->folder, "latents", NULL);

    g_assert_null(open_cache(c, &options, &source, folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autofree char *made = g_build_filename(folder, g_dir_read_name(dir), NULL);
    g_autoptr(GDir) parts = g_dir_open(made, 0, NULL);
    g_assert_null(g_dir_read_name(parts)); /* nothing half-made */

    put(c->pictures, "a.png", "");
    put(c->pictures, "c.png", "");
    g_assert_null(case_cache(c, false, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_assert_nonnull(strstr(error->message, "a.png"));
}

/* A picture that could not be read, and can be now, is no longer left out. */
static void test_cache_read_later(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;

    c->blind = true;
    g_autoptr(LdmLatentCache) cache = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_latent_cache_info(cache)->count, ==, 1);
    g_autofree char *key = g_strdup(ldm_latent_cache_key(cache));
    g_clear_pointer(&cache, ldm_latent_cache_free);
    c->blind = false;
    cache = case_cache(c, false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(ldm_latent_cache_key(cache), ==, key);
    g_assert_cmpuint(ldm_latent_cache_info(cache)->count, ==, 2);
}

static bool stop_late(size_t done, size_t total, void *data)
{
    g_assert_cmpuint(total, ==, 134);
    return done < 100;
}

/* What is stopped goes on where it was, and comes to the same; a file that is damaged is made
 * again. */
static void test_cache_goes_on(void)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GError) error = NULL;
    const LdmCacheOptions options = {.augment = {.side = 16, .seed = 1}, .variants = 1};
    LdmCacheSource source = {.read = read_picture, .read_data = c, .progress = stop_late};
    g_autofree char *whole = g_build_filename(c->folder, "whole", NULL);
    g_autofree char *stopped = g_build_filename(c->folder, "stopped", NULL);

    for (int i = 0; i < 130; i++) {
        g_autofree char *name = g_strdup_printf("e%03d.png", i);
        g_autofree char *text = g_strdup_printf("16 16 %d", i);
        put(c->pictures, name, text);
    }
    case_open(c);
    g_assert_null(open_cache(c, &options, &source, stopped, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_cmpint(c->reads, ==, 100);
    source.progress = NULL;
    g_autoptr(LdmLatentCache) b = open_cache(c, &options, &source, stopped, &error);
    g_assert_no_error(error);
    g_assert_cmpint(c->reads, ==, 100 + 1 + 134 - 64); /* and whether b can be read by now */
    g_autofree char *killed = g_strconcat(ldm_latent_cache_key(b), "/.pentimento-123456", NULL);
    g_autofree char *left = g_build_filename(stopped, killed, NULL);
    g_autofree char *second = g_strconcat(ldm_latent_cache_key(b), "/000001.safetensors", NULL);
    g_clear_pointer(&b, ldm_latent_cache_free);
    made_text(stopped, "", second, "no latents");
    made_text(stopped, "", killed, "of a file that was never finished");
    b = open_cache(c, &options, &source, stopped, &error);
    g_assert_no_error(error);
    g_assert_cmpint(c->reads, ==, 100 + 1 + 134 + 1);
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    g_autoptr(LdmLatentCache) a = open_cache(c, &options, &source, whole, &error);
    g_assert_no_error(error);
    const LdmCacheInfo *info = ldm_latent_cache_info(a);
    g_assert_cmpuint(info->count, ==, 132);
    g_assert_cmpuint(ldm_latent_cache_info(b)->count, ==, 132);
    g_assert_cmpuint(ldm_latent_cache_info(b)->skipped->len, ==, 2);
    for (size_t i = 0; i < info->count; i++) {
        g_assert_cmpuint(info->examples[i], ==, ldm_latent_cache_info(b)->examples[i]);
        g_assert_cmpmem(ldm_latent_cache_at(a, i, 0), info->floats * sizeof(float),
                        ldm_latent_cache_at(b, i, 0), info->floats * sizeof(float));
    }
}

/* Which pictures can be read: `count` of them, of which `reads` have to be read for that. */
static void find_windows(Case *c, const char *settings, size_t count, int reads)
{
    const LdmAugment augment = {.side = 16};
    const LdmTrainWatch watch = {.read = read_picture, .read_data = c};
    LdmWindows windows = {.dataset = c->dataset, .augment = &augment, .watch = &watch};
    g_autoptr(GError) error = NULL;

    c->reads = 0;
    ldm_windows_find(&windows, c->folder, settings, &error);
    g_assert_no_error(error);
    g_assert_cmpint(c->reads, ==, reads);
    g_assert_cmpuint(windows.found.count, ==, count);
    g_assert_cmpuint(windows.found.skipped->len, ==, 4 - count);
    for (size_t i = 1; i < count; i++)
        g_assert_cmpuint(windows.found.examples[i - 1], <, windows.found.examples[i]);
    ldm_windows_clear(&windows);
}

/* A run that goes on does not decode all of its pictures first. */
static void test_windows_remembered(void)
{
    g_autoptr(Case) c = case_new();

    find_windows(c, "data=1", 2, 4);
    find_windows(c, "data=1", 2, 2);
    put(c->pictures, "b.png", "16 16 10");
    find_windows(c, "data=1", 3, 2);
    find_windows(c, "data=1", 3, 1);
    find_windows(c, "data=2", 3, 4);
    made_text(c->folder, "", ".pictures", "damaged");
    find_windows(c, "data=2", 3, 4);
    find_windows(c, "data=2", 3, 1);
}

static void test_bucket_shapes(void)
{
    const size_t sides[] = {1, 2, 7, 8, 16, 32, 64};

    for (size_t k = 0; k < G_N_ELEMENTS(sides); k++) {
        size_t side = sides[k];
        LdmBucket square = ldm_bucket_shape(side, LDM_BUCKET_SQUARE);
        g_assert_cmpuint(square.h, ==, side);
        g_assert_cmpuint(square.w, ==, side);
        for (size_t i = 0; i < LDM_BUCKETS; i++) {
            LdmBucket a = ldm_bucket_shape(side, i),
                      b = ldm_bucket_shape(side, LDM_BUCKETS - 1 - i);
            g_assert_cmpuint(a.h * a.w, <=, side * side);
            g_assert_cmpuint(a.h * a.w, >=, side * side / 2);
            g_assert_true(a.h == b.w && a.w == b.h);
        }
    }
    LdmBucket wide = ldm_bucket_shape(16, ldm_bucket_of(16, 300, 200));
    g_assert_true(wide.h == 12 && wide.w == 20);
    g_assert_cmpuint(ldm_bucket_of(16, 100, 101), ==, LDM_BUCKET_SQUARE);
    g_assert_cmpuint(ldm_bucket_of(16, 1, 9), ==, 0);
}

/* Every batch from one bucket, every example at least once an epoch, epochs in differing order, and
 * the same whichever step one begins with. */
static void test_bucket_batches(void)
{
    enum { COUNT = 11, BATCH = 3, BATCHES = 5, EPOCHS = 2, N = EPOCHS * BATCHES * BATCH };
    static const uint8_t buckets[COUNT] = {3, 0, 3, 6, 3, 0, 3, 3, 0, 3, 0};
    g_autofree char *folder = g_dir_make_tmp("pentimento-loop-XXXXXX", NULL);
    LdmLoopOptions options = ldm_loop_defaults();
    const LdmTrainWatch watch = {0};
    size_t seen[N], times[EPOCHS][COUNT] = {0};
    g_autoptr(GError) error = NULL;

    options.batch = BATCH;
    options.seed = 4;
    g_autoptr(LdmLoop) loop = ldm_loop_new(&options, &watch, folder, &error);
    g_assert_no_error(error);
    ldm_loop_set_examples(loop, COUNT);
    ldm_loop_set_buckets(loop, buckets);
    for (size_t i = 0; i < N; i++) {
        seen[i] = ldm_loop_example(loop, i / BATCH, i % BATCH);
        times[i / BATCH / BATCHES][seen[i]]++;
        g_assert_cmpuint(buckets[seen[i]], ==, buckets[seen[i - i % BATCH]]);
    }
    for (size_t i = 0; i < EPOCHS * COUNT; i++)
        g_assert_cmpuint(times[i / COUNT][i % COUNT], >=, 1);
    g_assert_true(memcmp(seen, seen + N / 2, sizeof seen / 2) != 0);
    for (size_t i = N; i-- > 0;)
        g_assert_cmpuint(ldm_loop_example(loop, i / BATCH, i % BATCH), ==, seen[i]);
    g_clear_pointer(&loop, ldm_loop_free);
    made_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/data/folder", test_folder);
    g_test_add_func("/data/long-caption", test_long_caption);
    g_test_add_func("/data/lists", test_lists);
    g_test_add_func("/data/bad-lists", test_bad_lists);
    g_test_add_func("/data/window", test_window);
    g_test_add_func("/data/plain-window", test_plain_window);
    g_test_add_func("/data/holes", test_holes);
    g_test_add_func("/data/cache", test_cache);
    g_test_add_func("/data/cache-holes", test_cache_holes);
    g_test_add_func("/data/cache-full-hole", test_cache_full_hole);
    g_test_add_func("/data/cache-of-encoder", test_cache_of_encoder);
    g_test_add_func("/data/cache-name-cancelled", test_cache_name_cancelled);
    g_test_add_func("/data/cache-filled", test_cache_filled);
    g_test_add_func("/data/cache-scale", test_cache_scale);
    g_test_add_func("/data/cache-memory", test_cache_memory);
    g_test_add_func("/data/cache-variants", test_cache_variants);
    g_test_add_func("/data/cache-faults", test_cache_faults);
    g_test_add_func("/data/cache-goes-on", test_cache_goes_on);
    g_test_add_func("/data/cache-read-later", test_cache_read_later);
    g_test_add_func("/data/windows-remembered", test_windows_remembered);
    g_test_add_func("/data/bucket-shapes", test_bucket_shapes);
    g_test_add_func("/data/bucket-batches", test_bucket_batches);
    return g_test_run();
}
