/* The contrastive loss. In: pictures and the tokens of their captions. Out: the loss, and gradients
 * added to tau_theta, the image tower, the projection and the temperature. The networks run in one
 * recording pass; what lies between their vectors and the loss is small and written out here, in
 * double. */
#include "train/loss-contrastive.h"

#include "layers/pool.h"
#include "layers/tape.h"
#include "tensor/tensor.h"
#include "weights/source.h"

#include <math.h>
#include <string.h>

#define MOST_SCALE 100.0 /* of exp(s) */

void ldm_contrast_init(LdmContrast *contrast, const LdmImageTowerConfig *tower,
                       const LdmTextConfig *text)
{
    contrast->tower = ldm_image_tower_new(tower);
    contrast->params = ldm_params_new();
    LdmScope root = ldm_scope_root(contrast->params);
    ldm_linear_init(&contrast->projection, ldm_scope(&root, "text_projection"), (size_t)text->width,
                    tower->width, false);
    contrast->scale = ldm_scope_add(&root, "logit_scale", 1, (size_t[]){1});
}

bool ldm_contrast_load(LdmContrast *contrast, const char *folder, const LdmTextConfig *text,
                       GError **error)
{
    g_autofree char *path = g_build_filename(folder, "model.safetensors", NULL);
    LdmImageTower *tower = ldm_image_tower_load(folder, error);

    if (tower == NULL)
        return false;
    ldm_contrast_init(contrast, ldm_image_tower_config(tower), text);
    ldm_image_tower_free(contrast->tower);
    contrast->tower = tower;
    contrast->files = ldm_files_new();
    return ldm_files_add(contrast->files, path, error) &&
           ldm_files_bind(contrast->files, "", contrast->params, error);
}

void ldm_contrast_clear(LdmContrast *contrast)
{
    g_clear_pointer(&contrast->tower, ldm_image_tower_free);
    g_clear_pointer(&contrast->params, ldm_params_free);
    g_clear_pointer(&contrast->files, ldm_files_free);
}

bool ldm_contrast_batch_init(LdmContrastBatch *batch, const LdmModel *model,
                             const LdmContrast *contrast, size_t N, GError **error)
{
    size_t side = ldm_image_tower_config(contrast->tower)->side;

    *batch = (LdmContrastBatch){
        .N = N,
        .tokens = (size_t)model->config.text.tokens,
        .x = ldm_tensor_new_nhwc(N, side, side, 3, error),
        .pictures = g_new(size_t, N),
        .ids = g_new0(int32_t, N *(size_t)model->config.text.tokens),
        .ends = g_new0(size_t, N),
        .scale = 1.0,
    };
    for (size_t n = 0; n < N; n++)
        batch->pictures[n] = n;
    return batch->x != NULL;
}

/* The end-of-text token may also be what fills up: the first one counts. A caption that was cut
 * ends in it, too. */
bool ldm_contrast_batch_set(LdmContrastBatch *batch, size_t n, const LdmModel *model,
                            const char *caption, GError **error)
{
    int32_t *ids = batch->ids + n * batch->tokens;

    if (!ldm_tokenizer_encode(model->tokenizer, caption, ids, NULL, error))
        return false;
    batch->ends[n] = 0;
    while (batch->ends[n] + 1 < batch->tokens && ids[batch->ends[n]] != model->config.text.eos)
        batch->ends[n]++;
    return true;
}

void ldm_contrast_batch_clear(LdmContrastBatch *batch)
{
    g_clear_pointer(&batch->x, ldm_tensor_free);
    g_clear_pointer(&batch->pictures, g_free);
    g_clear_pointer(&batch->ids, g_free);
    g_clear_pointer(&batch->ends, g_free);
}

/* ---- the loss of vectors ---- */

/* N x N numbers of the pairs of a picture i and a caption j. */
typedef struct {
    size_t N, D;
    double scale;            /* exp(s) */
    double *u, *v;           /* [N, D], unit length */
    double *u_size, *v_size; /* [N] */
    double *logits, *d;      /* [N, N]: l, dL/dl */
    const size_t *pictures;
    const int32_t *ids;
    size_t tokens;
} Pairs;

/* False where another picture's caption is also this one's, or the picture is the same. */
static bool counts(const Pairs *pairs, size_t i, size_t j)
{
    const int32_t *a = pairs->ids + i * pairs->tokens, *b = pairs->ids + j * pairs->tokens;

    return i == j || (pairs->pictures[i] != pairs->pictures[j] &&
                      memcmp(a, b, pairs->tokens * sizeof *a) != 0);
}

/* Rows of unit length, and what they were. */
static double *units(const LdmTensor *x, double **sizes)
{
    size_t N = x->shape[0], D = x->shape[1];
    double *unit = g_new(double, N *D);

    *sizes = g_new(double, N);
    for (size_t i = 0; i < N; i++) {
        const float *row = ldm_tensor_f32(x) + i * D;
        double squares = 0.0;
        for (size_t k = 0; k < D; k++)
            squares += (double)row[k] * row[k];
        (*sizes)[i] = MAX(sqrt(squares), 1e-12);
        for (size_t k = 0; k < D; k++)
            unit[i * D + k] = row[k] / (*sizes)[i];
    }
    return unit;
}

/* Adds the cross entropy of one row or column of l, `count` numbers `stride` apart with the right
 * one at `own`, and its gradient, both times `share`. */
typedef struct {
    size_t begin, stride, own;
    double share;
} Line;

static double cross_entropy(const Pairs *pairs, const Line *line)
{
    double most = -INFINITY, sum = 0.0;

    for (size_t k = 0; k < pairs->N; k++)
        if (counts(pairs, line->own, k))
            most = MAX(most, pairs->logits[line->begin + k * line->stride]);
    for (size_t k = 0; k < pairs->N; k++)
        if (counts(pairs, line->own, k))
            sum += exp(pairs->logits[line->begin + k * line->stride] - most);
    for (size_t k = 0; k < pairs->N; k++) {
        size_t at = line->begin + k * line->stride;
        if (counts(pairs, line->own, k))
            pairs->d[at] += line->share * (exp(pairs->logits[at] - most) / sum - (k == line->own));
    }
    size_t own = line->begin + line->own * line->stride;
    return line->share * (most + log(sum) - pairs->logits[own]);
}

static bool is_matched(const Pairs *pairs, size_t i)
{
    const double *row = pairs->logits + i * pairs->N;

    for (size_t j = 0; j < pairs->N; j++)
        if (j != i && counts(pairs, i, j) && !(row[j] < row[i]))
            return false;
    return true;
}

/* dL/dx of rows x from those of their units: (g - unit (unit g)) / |x|, where g = exp(s) sum of
 * dL/dl times the others' units. `across`: l's stride from one of the others to the next. */
static void vector_gradient(const Pairs *pairs, bool is_picture, float *out)
{
    size_t N = pairs->N, D = pairs->D, along = is_picture ? N : 1, across = is_picture ? 1 : N;
    const double *unit = is_picture ? pairs->u : pairs->v;
    const double *others = is_picture ? pairs->v : pairs->u;
    const double *sizes = is_picture ? pairs->u_size : pairs->v_size;
    g_autofree double *g = g_new(double, D);

    for (size_t i = 0; i < N; i++) {
        double radial = 0.0;
        memset(g, 0, D * sizeof *g);
        for (size_t j = 0; j < N; j++)
            for (size_t k = 0; k < D; k++)
                g[k] += pairs->scale * pairs->d[i * along + j * across] * others[j * D + k];
        for (size_t k = 0; k < D; k++)
            radial += g[k] * unit[i * D + k];
        for (size_t k = 0; k < D; k++)
            out[i * D + k] = (float)((g[k] - radial * unit[i * D + k]) / sizes[i]);
    }
}

/* All of it: terms unscaled, gradients of u, v into d_u, d_v, that of s added to the parameter. */
static LdmContrastTerms compare(const LdmContrast *contrast, const LdmContrastBatch *batch,
                                const LdmTensor *const vectors[2], LdmTensor *const gradients[2])
{
    double s = *(const float *)contrast->scale->data, d_s = 0.0;
    Pairs p = {.N = batch->N,
               .D = vectors[0]->shape[1],
               .scale = MIN(exp(s), MOST_SCALE),
               .pictures = batch->pictures,
               .ids = batch->ids,
               .tokens = batch->tokens};
    LdmContrastTerms terms = {0};
    size_t N = p.N;
    g_autofree double *u = p.u = units(vectors[0], &p.u_size);
    g_autofree double *v = p.v = units(vectors[1], &p.v_size);
    g_autofree double *u_size = p.u_size, *v_size = p.v_size;
    g_autofree double *logits = p.logits = g_new0(double, N *N), *d = p.d = g_new0(double, N *N);

    for (size_t at = 0; at < N * N; at++)
        for (size_t k = 0; k < p.D; k++)
            logits[at] += p.scale * u[at / N * p.D + k] * v[at % N * p.D + k];
    for (size_t i = 0; i < N; i++) {
        const Line row = {i * N, 1, i, 0.5 / (double)N}, column = {i, N, i, 0.5 / (double)N};
        terms.loss += cross_entropy(&p, &row) + cross_entropy(&p, &column);
        terms.matched += is_matched(&p, i) ? 1.0 / (double)N : 0.0;
    }
    for (size_t at = 0; at < N * N; at++) {
        d[at] *= batch->scale;
        d_s += p.scale < MOST_SCALE ? d[at] * logits[at] : 0.0;
    }
    vector_gradient(&p, true, ldm_tensor_f32(gradients[0]));
    vector_gradient(&p, false, ldm_tensor_f32(gradients[1]));
    if (contrast->scale->trained)
        contrast->scale->gradient[0] += (float)d_s;
    return terms;
}

/* ---- there and back ---- */

struct LdmContrastLoss {
    const LdmModel *model;
    const LdmContrast *contrast;
    LdmPass *pass;
    LdmTensor *d_u, *d_v; /* [N, width] */
};

/* The tokens up to the last caption's end: what follows has no influence on it. */
static size_t used_tokens(const LdmContrastBatch *batch)
{
    size_t most = 0;

    for (size_t n = 0; n < batch->N; n++)
        most = MAX(most, batch->ends[n]);
    return most + 1;
}

static void run(const LdmContrastLoss *loss, const LdmContrastBatch *batch, LdmContrastTerms *terms)
{
    LdmPass *pass = loss->pass;
    size_t tokens = used_tokens(batch);
    g_autofree int32_t *ids = g_new(int32_t, batch->N *tokens);

    for (size_t i = 0; i < batch->N * tokens; i++)
        ids[i] = batch->ids[i / tokens * batch->tokens + i % tokens];
    LdmTensor *x = ldm_pass_input(pass, batch->x);
    LdmTensor *u = ldm_image_tower_forward(pass, loss->contrast->tower, x);
    ldm_pass_drop(pass, x);
    LdmTensor *h = ldm_clip_text_forward_first(pass, loss->model->text, ids, batch->N, tokens);
    LdmTensor *v = ldm_linear_forward(pass, &loss->contrast->projection,
                                      ldm_pick_forward(pass, h, batch->ends), NULL);

    if (u->data != NULL && v->data != NULL)
        *terms = compare(loss->contrast, batch, (const LdmTensor *const[]){u, v},
                         (LdmTensor *const[]){loss->d_u, loss->d_v});
    ldm_pass_seed(pass, u, loss->d_u);
    ldm_pass_seed(pass, v, loss->d_v);
    ldm_pass_drop(pass, u);
    ldm_pass_drop(pass, v);
    ldm_pass_backward(pass);
}

/* Of captions that are so long. */
static bool measure(const LdmModel *model, const LdmContrast *contrast,
                    const LdmContrastBatch *batch, size_t tokens, size_t *bytes, GError **error)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    LdmTensor shape = {.dtype = LDM_F32,
                       .rank = 2,
                       .shape = {batch->N, ldm_image_tower_config(contrast->tower)->width, 1, 1}};
    LdmTensor x = *batch->x;
    g_autofree size_t *ends = g_new(size_t, batch->N);
    LdmContrastBatch empty = *batch;
    const LdmContrastLoss loss = {model, contrast, pass, &shape, &shape};

    for (size_t n = 0; n < batch->N; n++)
        ends[n] = tokens - 1;
    x.data = NULL;
    empty.x = &x;
    empty.ends = ends;
    ldm_pass_record(pass);
    run(&loss, &empty, NULL);
    *bytes = MAX(*bytes, ldm_pass_peak(pass));
    return ldm_pass_end(pass, error);
}

/* The most of all lengths: memory that goes to and fro need not grow with them evenly. */
bool ldm_contrast_loss_measure(const LdmModel *model, const LdmContrast *contrast,
                               const LdmContrastBatch *batch, size_t *bytes, GError **error)
{
    *bytes = 0;
    for (size_t tokens = 1; tokens <= batch->tokens; tokens++)
        if (!measure(model, contrast, batch, tokens, bytes, error))
            return false;
    return true;
}

LdmContrastLoss *ldm_contrast_loss_new(const LdmModel *model, const LdmContrast *contrast,
                                       const LdmContrastBatch *batch, GCancellable *cancellable,
                                       GError **error)
{
    g_autoptr(LdmContrastLoss) loss = g_new0(LdmContrastLoss, 1);
    const size_t shape[] = {batch->N, ldm_image_tower_config(contrast->tower)->width};
    size_t bytes;

    *loss = (LdmContrastLoss){.model = model, .contrast = contrast};
    if (!ldm_contrast_loss_measure(model, contrast, batch, &bytes, error) ||
        (loss->d_u = ldm_tensor_new(LDM_F32, 2, shape, error)) == NULL ||
        (loss->d_v = ldm_tensor_new(LDM_F32, 2, shape, error)) == NULL)
        return NULL;
    loss->pass = ldm_pass_new_compute(bytes, cancellable, error);
    if (loss->pass == NULL)
        return NULL;
    ldm_pass_record(loss->pass);
    return g_steal_pointer(&loss);
}

void ldm_contrast_loss_free(LdmContrastLoss *loss)
{
    if (loss == NULL)
        return;
    ldm_pass_free(loss->pass);
    ldm_tensor_free(loss->d_u);
    ldm_tensor_free(loss->d_v);
    g_free(loss);
}

bool ldm_contrast_loss_backward(LdmContrastLoss *loss, const LdmContrastBatch *batch,
                                LdmContrastTerms *terms, GError **error)
{
    LdmContrastTerms own = {0};

    run(loss, batch, &own);
    bool done = ldm_pass_end(loss->pass, error);
    ldm_pass_reset(loss->pass);
    terms->loss += batch->scale * own.loss;
    terms->matched += batch->scale * own.matched;
    return done;
}
