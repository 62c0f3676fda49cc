/* The linear path of a new autoencoder: pictures whose cells have as many degrees of freedom as a
 * latent cell has numbers come back at once; of others, what comes back is nearer than by maps
 * beside it. */
#include "place.h"
#include "train/initial.h"
#include "train/linear-start.h"

#include <math.h>
#include <string.h>

#define SIDE     16
#define CELL     4 /* f, by two levels behind a Haar stem */
#define N        (3 * CELL * CELL)
#define FREE     4 /* z, as the made model has it */
#define PICTURES 8
#define PLACES   (SIDE / CELL * SIDE / CELL)

/* What pictures are made of: patterns [FREE + 1, N], the last of them the odd one. */
typedef struct {
    float patterns[FREE + 1][N];
    double odd; /* how much of it there is */
} World;

static World world_new(double odd)
{
    World world = {.odd = odd};
    guint32 state = 7;

    for (size_t p = 0; p <= FREE; p++)
        for (size_t i = 0; i < N; i++)
            world.patterns[p][i] = 0.1f * noise(&state);
    return world;
}

/* A picture of random shares of the patterns, which its name seeds. */
static LdmTensor *read_world(const char *path, void *data, GError **error)
{
    const World *world = data;
    LdmTensor *picture = ldm_tensor_new_nhwc(1, SIDE, SIDE, 4, error);
    g_autofree char *name = g_path_get_basename(path);
    guint32 state = g_str_hash(name);

    for (size_t at = 0; at < PLACES; at++) {
        float shares[FREE + 1];
        for (size_t p = 0; p <= FREE; p++)
            shares[p] = noise(&state) * (p < FREE ? 1.0f : (float)world->odd);
        for (size_t i = 0; i < N; i++) {
            size_t y = at / (SIDE / CELL) * CELL + i / 3 / CELL;
            size_t x = at % (SIDE / CELL) * CELL + i / 3 % CELL;
            float value = 0.5f;
            for (size_t p = 0; p <= FREE; p++)
                value += shares[p] * world->patterns[p][i];
            ldm_tensor_f32(picture)[(y * SIDE + x) * 4 + i % 3] = value;
            ldm_tensor_f32(picture)[(y * SIDE + x) * 4 + 3] = 1.0f;
        }
    }
    return picture;
}

/* There and back, the posterior's mean between. */
static LdmTensor *round_trip(LdmPass *pass, const void *data)
{
    const void *const *both = data;
    const LdmModel *model = both[0];
    LdmTensor *x = ldm_pass_input(pass, both[1]);
    LdmTensor *moments = ldm_vae_encoder_forward(pass, model->encoder, x);
    LdmTensor *z = ldm_pass_like(pass, moments, FREE);

    for (size_t i = 0; z->data != NULL && i < PLACES; i++)
        memcpy(ldm_tensor_f32(z) + i * FREE, ldm_tensor_f32(moments) + i * 2 * FREE,
               FREE * sizeof(float));
    LdmTensor *y = ldm_vae_decoder_forward(pass, model->decoder, z);
    ldm_pass_drop(pass, z);
    ldm_pass_drop(pass, moments);
    ldm_pass_drop(pass, x);
    return y;
}

/* Summed squares. */
static double error_of(const LdmModel *model, World *world, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) picture = read_world(name, world, &error);
    g_autoptr(LdmTensor) x =
        ldm_augment_picture(&(LdmAugment){.side = SIDE}, 0, 0, picture, &error);
    const void *both[] = {model, x};
    g_autoptr(LdmTensor) y = ldm_forward_run(round_trip, both, NULL, NULL, NULL, &error);
    double sum = 0.0;

    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        sum += pow(ldm_tensor_f32(y)[i] - ldm_tensor_f32(x)[i], 2.0);
    return sum;
}

/* The path's beginning from PICTURES of the world, behind the channels that are known. */
static void start(const Place *place, World *world, LdmModel *model, size_t known)
{
    g_autoptr(GError) error = NULL;
    const LdmAugment augment = {.side = SIDE};
    const LdmTrainWatch watch = {.read = read_world, .read_data = world};
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(place->pictures, &error);
    LdmWindows windows = {.dataset = dataset, .augment = &augment, .watch = &watch};
    g_assert_true(ldm_windows_find(&windows, NULL, NULL, &error));
    g_assert_cmpuint(windows.found.count, ==, PICTURES);
    g_assert_true(ldm_linear_start(model, &windows, known, &error));
    g_assert_no_error(error);
    ldm_windows_clear(&windows);
}

/* A new autoencoder. */
static LdmModel *begin(const Place *place, World *world)
{
    const LdmWanted wanted = {.first_stage = true, .made_new = 1u << LDM_PART_VAE};
    g_autoptr(GError) error = NULL;
    LdmModel *model = ldm_model_load_wanted(place->model_folder, &wanted, &error);

    g_assert_no_error(error);
    g_assert_true(ldm_model_draw(model, 1, &error));
    for (int i = 5; i < PICTURES; i++) /* the place has five */
        place_picture(place, i, NULL);
    start(place, world, model, 0);
    return model;
}

static void test_whole(void)
{
    g_auto(Place) place = place_new();
    place_set_vae(&place, "\"linear_path\": true, \"haar_stem\": true");
    World world = world_new(0.0);
    g_autoptr(LdmModel) model = begin(&place, &world);

    g_assert_cmpfloat(error_of(model, &world, "unseen"), <, 1e-7);
}

static double all_errors(const LdmModel *model, World *world)
{
    double sum = 0.0;

    for (int i = 0; i < PICTURES; i++) {
        g_autofree char *name = g_strdup_printf("%d.png", i);
        sum += error_of(model, world, name);
    }
    return sum;
}

static float *weights(const LdmModel *model, const char *name)
{
    return (float *)ldm_params_find(model->vae_params, name)->data;
}

/* Turned a little in the plane of any two coefficients, the way there and back loses more of the
 * pictures that it was made from. */
static void test_best(void)
{
    g_auto(Place) place = place_new();
    place_set_vae(&place, "\"linear_path\": true, \"haar_stem\": true");
    World world = world_new(0.3);
    g_autoptr(LdmModel) model = begin(&place, &world);
    float *there = weights(model, "encoder.linear_path.weight");
    float *back = weights(model, "decoder.linear_path.weight");
    double turn = 0.3, best = all_errors(model, &world);

    g_assert_cmpfloat(best, >, 0.1);
    for (size_t k = 0; k < FREE; k++)
        for (size_t i = k; i + 1 < N; i += FREE) {
            float *a[] = {&there[k * N + i], &back[i * FREE + k]};
            float *b[] = {&there[k * N + i + 1], &back[(i + 1) * FREE + k]};
            float kept[4];
            for (size_t j = 0; j < 2; j++) {
                kept[j] = *a[j];
                kept[2 + j] = *b[j];
                *a[j] = (float)(cos(turn) * kept[j] - sin(turn) * kept[2 + j]);
                *b[j] = (float)(sin(turn) * kept[j] + cos(turn) * kept[2 + j]);
            }
            g_assert_cmpfloat(all_errors(model, &world), >, best);
            for (size_t j = 0; j < 2; j++) {
                *a[j] = kept[j];
                *b[j] = kept[2 + j];
            }
        }
}

/* Channels that have their directions keep them; the others are found again in what these leave. */
static void test_known(void)
{
    g_auto(Place) place = place_new();
    place_set_vae(&place, "\"linear_path\": true, \"haar_stem\": true");
    World world = world_new(0.0);
    g_autoptr(LdmModel) model = begin(&place, &world);
    float *there = weights(model, "encoder.linear_path.weight");
    float *back = weights(model, "decoder.linear_path.weight");
    g_autofree float *kept = g_memdup2(there, N * sizeof *kept);

    for (size_t k = 1; k < FREE; k++)
        for (size_t i = 0; i < N; i++)
            there[k * N + i] = back[i * FREE + k] = 0.0f;
    g_assert_cmpfloat(error_of(model, &world, "unseen"), >, 0.1);
    start(&place, &world, model, 1);
    g_assert_cmpmem(there, N * sizeof *kept, kept, N * sizeof *kept);
    g_assert_cmpfloat(error_of(model, &world, "unseen"), <, 1e-7);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/linear-path/whole", test_whole);
    g_test_add_func("/linear-path/best", test_best);
    g_test_add_func("/linear-path/known", test_known);
    return g_test_run();
}
