/* Filling. In: held-out textures with a square hole. Out: how like the true texture the fills are
 * (patches), and how near the mean of many comes to the true pixels, beside a hole filled with the
 * mean colour of its surroundings: single samples lose that game by design. */
#include "base/error.h"
#include "cli/picture-io.h"
#include "evaluate.h"
#include "metrics.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#define LEAST_ERROR 1e-6 /* of pixels that are 8 bits deep: the variance is an estimate, too */

static bool is_texture(const EvaluateRow *row)
{
    return strcmp(row->style, "texture") == 0;
}

typedef struct {
    double distance, mean_distance; /* of patches: the fills', a plain hole's */
    double psnr, mean_psnr;         /* in the hole: of the mean of the fills, of a plain hole */
    double limit_psnr;              /* of the mean that ever more fills would come to */
} Sums;

/* The middle half of each side. */
static LdmRect hole_of(const LdmTensor *picture)
{
    int H = (int)picture->shape[1], W = (int)picture->shape[2];

    return (LdmRect){W / 4, H / 4, W / 2, H / 2};
}

static bool is_inside(const LdmRect *hole, size_t W, size_t pixel)
{
    int x = (int)(pixel % W) - hole->x, y = (int)(pixel / W) - hole->y;

    return x >= 0 && x < hole->width && y >= 0 && y < hole->height;
}

/* The picture with its hole in the mean colour of the rest. */
static LdmTensor *plain(const LdmTensor *truth, const LdmRect *hole, GError **error)
{
    LdmTensor *picture = ldm_tensor_copy(truth, error);
    size_t W = truth->shape[2], pixels = truth->shape[1] * W, n = 0;
    double sum[3] = {0};

    for (size_t i = 0; i < pixels; i++) {
        n += !is_inside(hole, W, i);
        for (size_t c = 0; c < 3 && !is_inside(hole, W, i); c++)
            sum[c] += ldm_tensor_f32(truth)[3 * i + c];
    }
    for (size_t i = 0; picture != NULL && i < 3 * pixels; i++)
        if (is_inside(hole, W, i / 3))
            ldm_tensor_f32(picture)[i] = (float)(sum[i % 3] / (double)n);
    return picture;
}

/* Mean of the squares of what the hole shows. */
static double hole_power(const LdmTensor *picture, const LdmRect *hole)
{
    double sum = 0;

    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        if (is_inside(hole, picture->shape[2], i / 3))
            sum += (double)ldm_tensor_f32(picture)[i] * (double)ldm_tensor_f32(picture)[i];
    return sum / (3.0 * hole->width * hole->height);
}

static double hole_psnr(const LdmTensor *a, const LdmTensor *b, const LdmRect *hole)
{
    size_t W = a->shape[2], n = 0, most = 3 * (size_t)hole->width * (size_t)hole->height;
    g_autofree float *p = g_new(float, most), *q = g_new(float, most);

    for (size_t i = 0; i < ldm_tensor_count(a); i++) {
        if (!is_inside(hole, W, i / 3))
            continue;
        p[n] = ldm_tensor_f32(a)[i];
        q[n++] = ldm_tensor_f32(b)[i];
    }
    return metric_psnr(p, q, n);
}

/* n samples' mean is off by what the mean of all is, and by an n-th of their variance. `power`: the
 * samples' own, their mean. */
static double limit_psnr(double psnr, double power, const LdmTensor *mean, const LdmRect *hole,
                         int n)
{
    double variance = (power - hole_power(mean, hole)) * n / (n - 1.0);

    return -10.0 * log10(MAX(pow(10.0, -psnr / 10.0) - variance / n, LEAST_ERROR));
}

void evaluate_hole_clear(EvaluateHole *hole)
{
    ldm_request_free(hole->request);
    ldm_tensor_free(hole->truth);
}

bool evaluate_hole_open(EvaluateHole *hole, const char *path, GError **error)
{
    LdmRequest *request = hole->request = ldm_request_new(LDM_TASK_INPAINT);

    request->picture = pentimento_picture_read(path, NULL, error);
    if (request->picture == NULL)
        return false;
    size_t H = request->picture->shape[1], W = request->picture->shape[2];
    request->mask = ldm_tensor_new_nhwc(1, H, W, 1, error);
    hole->rect = hole_of(request->picture);
    for (size_t i = 0; request->mask != NULL && i < H * W; i++)
        ldm_tensor_f32(request->mask)[i] = is_inside(&hole->rect, W, i);
    hole->truth = evaluate_rgb(request->picture, 1.0f, 0.0f, error);
    return request->mask != NULL && hole->truth != NULL;
}

LdmTensor *evaluate_fill(LdmModel *model, const LdmRequest *request, GError **error)
{
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, error);
    g_autoptr(LdmTensor) whole =
        result != NULL ? ldm_result_composite(result, request, error) : NULL;

    return whole != NULL ? evaluate_rgb(whole, 1.0f, 0.0f, error) : NULL;
}

GPtrArray *evaluate_textures(const EvaluateTask *task)
{
    return evaluate_rows_pick(task->held_out, is_texture, (size_t)task->textures);
}

static bool add_picture(const EvaluateTask *task, LdmModel *model, const EvaluateRow *row,
                        Sums *sums, GError **error)
{
    g_auto(EvaluateHole) hole = {0};

    if (!evaluate_hole_open(&hole, row->path, error))
        return false;
    LdmRequest *request = hole.request;
    const LdmTensor *truth = hole.truth;
    g_autoptr(LdmTensor) flat = plain(truth, &hole.rect, error);
    g_autoptr(LdmTensor) mean = flat != NULL ? ldm_tensor_copy(flat, error) : NULL;
    if (mean == NULL)
        return false;
    memset(mean->data, 0, ldm_tensor_count(mean) * sizeof(float));
    request->guidance = 1.0;
    request->steps = task->steps;
    double power = 0;
    for (int k = 0; k < task->samples; k++) {
        request->seed = EVALUATE_FIRST_SEED + k;
        g_autoptr(LdmTensor) filled = evaluate_fill(model, request, error);
        if (filled == NULL)
            return false;
        sums->distance += metric_patch_distance(filled, truth, &hole.rect) / task->samples;
        power += hole_power(filled, &hole.rect) / task->samples;
        for (size_t i = 0; i < ldm_tensor_count(mean); i++)
            ldm_tensor_f32(mean)[i] += ldm_tensor_f32(filled)[i] / (float)task->samples;
    }
    sums->mean_distance += metric_patch_distance(flat, truth, &hole.rect);
    double psnr = hole_psnr(mean, truth, &hole.rect);
    sums->psnr += psnr;
    sums->limit_psnr += limit_psnr(psnr, power, mean, &hole.rect, task->samples);
    sums->mean_psnr += hole_psnr(flat, truth, &hole.rect);
    return true;
}

bool evaluate_fills(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                    GError **error)
{
    g_autoptr(GPtrArray) rows = evaluate_textures(task);
    Sums sums = {0};

    for (guint i = 0; i < rows->len; i++)
        if (!add_picture(task, model, g_ptr_array_index(rows, i), &sums, error))
            return false;
    evaluate_add(result, "fill_patch_distance", "fills, patch distance (less is better)",
                 sums.distance / rows->len);
    evaluate_add(result, "mean_fill_patch_distance", "mean-fill, patch distance",
                 sums.mean_distance / rows->len);
    evaluate_add(result, "fill_mean_psnr", "mean of the fills, PSNR in the hole (dB)",
                 sums.psnr / rows->len);
    if (task->samples > 1)
        evaluate_add(result, "fill_limit_psnr", "mean of ever more fills, PSNR in the hole (dB)",
                     sums.limit_psnr / rows->len);
    evaluate_add(result, "mean_fill_psnr", "mean-fill, PSNR in the hole (dB)",
                 sums.mean_psnr / rows->len);
    return true;
}
