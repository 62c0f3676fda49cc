/* Embeddings: token ids in, y[n, t] = token[id] + position[t] out, expanded to f32 from the tables'
 * own precision row by row. */
#include "layers/embedding.h"

#include "base/error.h"
#include "layers/backward.h"
#include "tensor/tensor.h"

void ldm_embedding_init(LdmEmbedding *layer, LdmScope scope, size_t words, size_t tokens,
                        size_t width)
{
    layer->words = words;
    layer->tokens = tokens;
    layer->width = width;
    layer->token = ldm_scope_add(&scope, "token_embedding.weight", 2, (size_t[]){words, width});
    layer->position =
        ldm_scope_add(&scope, "position_embedding.weight", 2, (size_t[]){tokens, width});
}

static void read_row(const LdmParam *table, size_t row, size_t width, float *out)
{
    const uint8_t *data = table->data;
    ldm_convert_to_f32(data + row * width * ldm_dtype_size(table->dtype), table->dtype, out, width);
}

/* Rows of the table and of those learnt in addition. */
static size_t rows_of(const LdmEmbedding *layer)
{
    const LdmParam *extra = layer->token->extra;
    return layer->words + (extra != NULL ? extra->shape[0] : 0);
}

static void read_token(const LdmEmbedding *layer, size_t id, float *out)
{
    if (id < layer->words)
        read_row(layer->token, id, layer->width, out);
    else
        read_row(layer->token->extra, id - layer->words, layer->width, out);
}

static bool ids_fit(LdmPass *pass, const LdmEmbedding *layer, const int32_t *ids, size_t n)
{
    GError *error = NULL;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= rows_of(layer)) {
            ldm_set_error(&error, INVALID,
                          _("token %d is outside the text encoder's vocabulary of %zu words; the "
                            "tokenizer does not belong to this model"),
                          (int)ids[i], layer->words);
            ldm_pass_fail(pass, error);
            return false;
        }
    return true;
}

/* Every row of dY is added to its token's row and to its position's. */
static void embedding_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmEmbedding *layer = op->layer;
    const int32_t *ids = op->detail;
    const LdmTensor *dy = ldm_tape_output(pass, op);
    float *token = ldm_param_gradient(layer->token);
    float *extra = ldm_param_gradient(layer->token->extra);
    float *position = ldm_param_gradient(layer->position);
    size_t T = dy->shape[1], C = layer->width, rows = dy->shape[0] * T;
    for (size_t i = 0; ldm_tape_computes(pass) && i < rows; i++) {
        const float *d = (const float *)dy->data + i * C;
        bool learnt = (size_t)ids[i] >= layer->words;
        size_t row = (size_t)ids[i] - (learnt ? layer->words : 0);
        float *table = learnt ? extra : token;
        for (size_t c = 0; table != NULL && c < C; c++)
            table[row * C + c] += d[c];
        for (size_t c = 0; position != NULL && c < C; c++)
            position[i % T * C + c] += d[c];
    }
}

LdmTensor *ldm_embedding_forward(LdmPass *pass, const LdmEmbedding *layer, const int32_t *ids,
                                 size_t N, size_t T)
{
    size_t C = layer->width;
    const LdmParam *extra = layer->token->extra;
    LdmTensor *y = ldm_pass_tensor(pass, 3, (size_t[]){N, T, C});
    LdmTensor *position = ldm_pass_scratch(pass, C * sizeof(float));
    if (ldm_pass_op(pass,
                    &(LdmOp){.name = "embedding",
                             .layer = layer,
                             .parameter = extra != NULL && extra->trained ? extra : layer->token,
                             .second = layer->position,
                             .output = y,
                             .backward = embedding_backward,
                             .detail = ids,
                             .detail_bytes = N * T * sizeof *ids}) &&
        ids_fit(pass, layer, ids, N * T)) {
        const float *add = position->data;
        for (size_t t = 0; t < T; t++) {
            read_row(layer->position, t, C, position->data);
            for (size_t n = 0; n < N; n++) {
                float *row = (float *)y->data + (n * T + t) * C;
                read_token(layer, (size_t)ids[n * T + t], row);
                for (size_t c = 0; c < C; c++)
                    row[c] += add[c];
            }
        }
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, position);
    return y;
}
