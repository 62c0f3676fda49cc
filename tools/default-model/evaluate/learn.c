/* Learning from the picture before it is filled. In: held-out textures with a square hole. Out: how
 * like the true texture the fills are with it and without, from the same noise, and a sheet of
 * pictures: the texture, its hole, filled without, filled with.
 */
#include "cli/picture-io.h"
#include "evaluate.h"
#include "metrics.h"
#include "tensor/tensor.h"

#include <string.h>

#define COLUMNS 4
#define GAP     4 /* pixels between pictures */

typedef struct {
    double plain, learnt; /* sums of distances */
    int won, pairs;
    LdmTensor *sheet; /* [1, H, W, 4], or NULL before the first picture */
    size_t side;      /* of its places */
} Learning;

static void learning_clear(Learning *learning)
{
    ldm_tensor_free(learning->sheet);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Learning, learning_clear)

/* A white sheet for `rows` pictures as large as the first. */
static bool open_sheet(Learning *learning, size_t rows, size_t side, GError **error)
{
    if (learning->sheet != NULL)
        return true;
    learning->side = side;
    learning->sheet = ldm_tensor_new_nhwc(1, rows * (side + GAP), COLUMNS * (side + GAP), 4, error);
    for (size_t i = 0; learning->sheet != NULL && i < ldm_tensor_count(learning->sheet); i++)
        ldm_tensor_f32(learning->sheet)[i] = 1.0f;
    return learning->sheet != NULL;
}

/* rgb [1, H, W, 3] into a place of the sheet, as far as it is large enough; in grey where the mask
 * (or NULL) is. */
static void put(const Learning *learning, size_t row, size_t column, const LdmTensor *rgb,
                const LdmTensor *mask)
{
    size_t H = MIN(rgb->shape[1], learning->side), W = MIN(rgb->shape[2], learning->side);
    size_t width = learning->sheet->shape[2], step = learning->side + GAP;

    for (size_t i = 0; i < H * W; i++) {
        size_t from = i / W * rgb->shape[2] + i % W;
        size_t to = (row * step + i / W) * width + column * step + i % W;
        float *out = ldm_tensor_f32(learning->sheet) + 4 * to;
        for (int c = 0; c < 3; c++)
            out[c] = mask != NULL && ldm_tensor_f32(mask)[from] > 0.0f
                         ? 0.5f
                         : ldm_tensor_f32(rgb)[3 * from + (size_t)c];
    }
}

/* Both fills from the noise of one seed; the first seed's go onto the sheet. */
static bool add_pair(LdmModel *model, const EvaluateHole *hole, int learn, size_t row,
                     Learning *learning, GError **error)
{
    double distances[2];

    for (size_t k = 0; k < 2; k++) {
        hole->request->learn = k == 0 ? 0 : learn;
        g_autoptr(LdmTensor) filled = evaluate_fill(model, hole->request, error);
        if (filled == NULL)
            return false;
        distances[k] = metric_patch_distance(filled, hole->truth, &hole->rect);
        if (hole->request->seed == EVALUATE_FIRST_SEED)
            put(learning, row, 2 + k, filled, NULL);
    }
    learning->plain += distances[0];
    learning->learnt += distances[1];
    learning->won += distances[1] < distances[0];
    learning->pairs++;
    return true;
}

static bool add_picture(const EvaluateTask *task, LdmModel *model, const GPtrArray *rows, guint i,
                        Learning *learning, GError **error)
{
    const EvaluateRow *row = g_ptr_array_index(rows, i);
    g_auto(EvaluateHole) hole = {0};

    if (!evaluate_hole_open(&hole, row->path, error) ||
        !open_sheet(learning, rows->len, hole.truth->shape[2], error))
        return false;
    put(learning, i, 0, hole.truth, NULL);
    put(learning, i, 1, hole.truth, hole.request->mask);
    hole.request->guidance = 1.0;
    hole.request->steps = task->steps;
    for (int k = 0; k < task->samples; k++) {
        hole.request->seed = EVALUATE_FIRST_SEED + k;
        if (!add_pair(model, &hole, task->learn, i, learning, error))
            return false;
    }
    return true;
}

bool evaluate_learning(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                       GError **error)
{
    g_autoptr(GPtrArray) rows = evaluate_textures(task);
    g_autofree char *name = g_path_get_basename(result->name);
    g_autofree char *file = g_strdup_printf("learn-%s.png", name);
    g_autofree char *path = g_build_filename(task->output, file, NULL);
    g_auto(Learning) learning = {0};

    for (guint i = 0; i < rows->len; i++)
        if (!add_picture(task, model, rows, i, &learning, error))
            return false;
    evaluate_add(result, "learn_plain_patch_distance", "fills without learning, patch distance",
                 learning.plain / learning.pairs);
    evaluate_add(result, "learn_patch_distance", "fills after learning from the picture",
                 learning.learnt / learning.pairs);
    evaluate_add(result, "learn_won", "share of the fills that are nearer after learning",
                 (double)learning.won / learning.pairs);
    g_mkdir_with_parents(task->output, 0777); /* failing, writing says so */
    return learning.sheet == NULL || pentimento_picture_write(learning.sheet, NULL, path, error);
}
