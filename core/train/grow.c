/* Further channels for latents. In: a trained model, the configuration of one with more channels,
 * pictures. Out: the larger model. Of each parameter the old one's numbers go to where their
 * channels are now. The new channels' are zeros in the autoencoder, which then learns what to do
 * with them at once, and drawn in the denoiser: were they zeros both where it reads and where it
 * writes them, neither would ever have a gradient. */
#include "train/grow.h"

#include "base/error.h"
#include "base/folder-atomic.h"
#include "base/folder.h"
#include "kernels/kernels.h"
#include "train/initial.h"
#include "train/linear-start.h"
#include "train/model-write.h"
#include "train/windows.h"

#include <string.h>

/* Of a new channel; trained ones come to about as much. */
#define LOG_VARIANCE (-8.0f)

typedef struct {
    LdmModel *model;
    const LdmModel *old;
    size_t z, more;    /* latent channels there were; new ones */
    GPtrArray *arrays; /* of the autoencoder's parameters that grew */
} Growth;

static void growth_clear(Growth *g)
{
    g_clear_pointer(&g->arrays, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Growth, growth_clear)

/* Channels are a latent; mean | logvar; or the denoiser's latent | mask | masked latent. New ones
 * stand behind a latent's, both of them where there are two. */
static bool fits(const Growth *g, size_t before, size_t now)
{
    size_t z = g->z;

    return now == before || (before == z && now == z + g->more) ||
           ((before == 2 * z || before == 2 * z + 1) && now == before + 2 * g->more);
}

static size_t place(const Growth *g, size_t k, size_t before, size_t now)
{
    return k < g->z || before == now ? k : k + g->more;
}

static bool check_shape(const Growth *g, const LdmParam *param, const LdmParam *old, GError **error)
{
    bool right = old != NULL && old->rank == param->rank;

    for (int i = 0; right && i < param->rank; i++)
        right = i < 2 ? fits(g, old->shape[i], param->shape[i]) : old->shape[i] == param->shape[i];
    if (!right)
        ldm_set_error(error, INVALID,
                      _("“%s” has no %s that fits: only its latents may have fewer channels"),
                      g->old->info.path, param->name);
    return right;
}

/* Rows and columns; what is inside of these has one size. */
static void copy_grown(const Growth *g, const LdmParam *param, const LdmParam *old, float *to)
{
    size_t rows = old->shape[0], columns = old->rank > 1 ? old->shape[1] : 1;
    size_t wide = old->rank > 1 ? param->shape[1] : 1;
    size_t inner = ldm_param_count(old) / (rows * columns);
    g_autofree float *from = g_new(float, ldm_param_count(old));

    ldm_convert_to_f32(old->data, old->dtype, from, ldm_param_count(old));
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++) {
            size_t at = place(g, row, rows, param->shape[0]) * wide;
            at += place(g, column, columns, wide);
            memcpy(to + at * inner, from + (row * columns + column) * inner, inner * sizeof(float));
        }
}

static float *zeros(Growth *g, size_t count)
{
    float *x = g_new0(float, count);

    g_ptr_array_add(g->arrays, x);
    return x;
}

/* Parameters that were drawn keep that for new channels. */
static bool inherit(Growth *g, LdmParams *params, const LdmParams *olds, GError **error)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        const LdmParam *old = ldm_params_find(olds, param->name);
        if (!check_shape(g, param, old, error))
            return false;
        const void *drawn = param->data;
        param->dtype = old->dtype;
        param->data = old->data;
        if (memcmp(param->shape, old->shape, (size_t)param->rank * sizeof *param->shape) == 0)
            continue;
        param->dtype = LDM_F32;
        param->data = drawn != NULL ? drawn : zeros(g, ldm_param_count(param));
        copy_grown(g, param, old, (float *)param->data);
    }
    return true;
}

static float *grown(const Growth *g, const char *name)
{
    return (float *)ldm_params_find(g->model->vae_params, name)->data;
}

/* Through the 1x1 convolutions between networks and latent new channels pass as they are. */
static void open_channels(const Growth *g)
{
    const LdmVaeConfig *vae = &g->model->config.vae;
    size_t Z = g->z + g->more;
    float *bias = grown(g, vae->quant_conv ? "quant_conv.bias" : "encoder.conv_out.bias");

    for (size_t k = g->z; k < Z; k++) {
        bias[Z + k] = LOG_VARIANCE;
        if (vae->quant_conv)
            grown(g, "quant_conv.weight")[k * 2 * Z + k] = 1.0f;
        if (vae->post_quant_conv)
            grown(g, "post_quant_conv.weight")[k * Z + k] = 1.0f;
    }
}

static bool check(const Growth *g, GError **error)
{
    const LdmVaeConfig *vae = &g->model->config.vae;
    int now = vae->latent_channels, before = g->old->config.vae.latent_channels;

    if (!ldm_model_writable(g->model, error) || !ldm_model_check_trainable(g->old, error))
        return false;
    if (vae->regulariser != LDM_REGULARISER_KL || !vae->linear_path) {
        ldm_set_error(error, UNSUPPORTED,
                      _("“%s” cannot get further latent channels: that needs an autoencoder with a "
                        "posterior and a linear path"),
                      g->model->info.path);
        return false;
    }
    if (now > before)
        return true;
    ldm_set_error(error, INVALID, _("“%s” has %d latent channels: no more than “%s”, which has %d"),
                  g->model->info.path, now, g->old->info.path, before);
    return false;
}

static bool inherit_all(Growth *g, GError **error)
{
    LdmModel *model = g->model;
    const LdmModel *old = g->old;

    if (!ldm_model_draw_part(model, LDM_PART_UNET, 0, error) ||
        !inherit(g, model->vae_params, old->vae_params, error) ||
        !inherit(g, model->unet_params, old->unet_params, error) ||
        !inherit(g, model->text_params, old->text_params, error))
        return false;
    open_channels(g);
    model->config.vae.scale_factor = old->config.vae.scale_factor;
    return true;
}

/* The optimiser holds what is to be written; nothing is trained. */
static bool write_grown(LdmModel *model, LdmDtype dtype, const char *path, GError **error)
{
    const LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(LdmOptimiser) optimiser = ldm_optimiser_new(&options, error);
    g_autoptr(LdmAtomicFolder) folder =
        optimiser != NULL ? ldm_atomic_folder_new(path, error) : NULL;

    return folder != NULL && ldm_optimiser_add(optimiser, "vae", model->vae_params, error) &&
           ldm_optimiser_add(optimiser, "unet", model->unet_params, error) &&
           ldm_optimiser_add(optimiser, "text", model->text_params, error) &&
           ldm_model_write(model, optimiser, dtype, &model->config.vae,
                           ldm_atomic_folder_path(folder), error) &&
           ldm_atomic_folder_publish(folder, false, error);
}

bool ldm_train_grow(LdmModel *model, const LdmModel *old, const LdmDataset *dataset,
                    const LdmTrainWatch *watch, const char *folder, GError **error)
{
    const LdmAugment augment = {.side = (size_t)model->info.native_size};
    LdmWindows windows = {.dataset = dataset, .augment = &augment, .watch = watch};
    g_auto(Growth) g = {.model = model,
                        .old = old,
                        .z = (size_t)old->config.vae.latent_channels,
                        .arrays = g_ptr_array_new_with_free_func(g_free)};

    if (!ldm_ranks_first(watch->ranks))
        return true; /* one is enough to write it */
    if (!check(&g, error) || !ldm_folder_check_free(folder, error))
        return false;
    g.more = (size_t)model->config.vae.latent_channels - g.z;
    bool done = inherit_all(&g, error) && ldm_windows_find(&windows, NULL, NULL, error) &&
                ldm_linear_start(model, &windows, g.z, error) &&
                write_grown(model, old->info.dtype, folder, error);
    ldm_windows_clear(&windows);
    return done;
}
