/* The first stage. In: held-out pictures x. Out: how near D(E(x)) comes to them, E(x) being the
 * posterior's mean, by groups of pictures. */
#include "evaluate.h"
#include "metrics.h"
#include "tensor/tensor.h"

#include <string.h>

#define SIDE 128 /* of the pictures, whatever the model was trained at */

static bool is_photograph(const EvaluateRow *row)
{
    return strcmp(row->kind, "crop") == 0 && strcmp(row->style, "texture") != 0;
}

static bool is_texture(const EvaluateRow *row)
{
    return strcmp(row->style, "texture") == 0;
}

static bool is_object(const EvaluateRow *row)
{
    return strcmp(row->kind, "crop") != 0;
}

static const struct {
    EvaluateWanted *wanted;
    const char *keys[3], *labels[3];
} groups[] = {
    {is_photograph,
     {"photograph_psnr", "photograph_ssim", "photograph_top_octave"},
     {"photographs, PSNR (dB)", "photographs, SSIM", "photographs, top-octave power ratio"}},
    {is_texture,
     {"texture_psnr", "texture_ssim", "texture_top_octave"},
     {"textures, PSNR (dB)", "textures, SSIM", "textures, top-octave power ratio"}},
    {is_object,
     {"object_psnr", "object_ssim", "object_top_octave"},
     {"clip art and other objects, PSNR (dB)", "clip art and other objects, SSIM",
      "clip art and other objects, top-octave power ratio"}},
};

typedef struct {
    double psnr, ssim, power, power_again; /* sums over the pictures */
} Sums;

static bool add_picture(LdmModel *model, const EvaluateRow *row, Sums *sums, GError **error)
{
    g_autoptr(LdmTensor) x = evaluate_row_picture(row, SIDE, error);
    g_autoptr(LdmTensor) z = x != NULL ? ldm_encode(model, x, -1, NULL, error) : NULL;
    g_autoptr(LdmTensor) y = z != NULL ? ldm_decode(model, z, NULL, error) : NULL;
    g_autoptr(LdmTensor) a = y != NULL ? evaluate_rgb(x, 0.5f, 0.5f, error) : NULL;
    g_autoptr(LdmTensor) b = a != NULL ? evaluate_rgb(y, 0.5f, 0.5f, error) : NULL;

    if (b == NULL)
        return false;
    sums->psnr += metric_psnr(ldm_tensor_f32(a), ldm_tensor_f32(b), ldm_tensor_count(a));
    sums->ssim += metric_ssim(a, b);
    sums->power += metric_top_octave(a);
    sums->power_again += metric_top_octave(b);
    return true;
}

bool evaluate_reconstruction(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                             GError **error)
{
    for (size_t g = 0; g < G_N_ELEMENTS(groups); g++) {
        g_autoptr(GPtrArray) rows =
            evaluate_rows_pick(task->held_out, groups[g].wanted, (size_t)task->pictures);
        Sums sums = {0};
        for (guint i = 0; i < rows->len; i++)
            if (!add_picture(model, g_ptr_array_index(rows, i), &sums, error))
                return false;
        const double values[] = {sums.psnr / rows->len, sums.ssim / rows->len,
                                 sums.power_again / sums.power};
        for (size_t k = 0; k < G_N_ELEMENTS(values); k++)
            evaluate_add(result, groups[g].keys[k], groups[g].labels[k], values[k]);
    }
    return true;
}
