/* condition: in comes the prompt, out go its tokens tau_theta(y); in come the mask and the masked
 * picture's latent, out go the extra channels. */
#include "condition/condition.h"

#include "base/error.h"
#include "tensor/tensor.h"

#include <string.h>

typedef struct {
    const LdmClipText *text;
    const int32_t *ids; /* [tokens] */
} Forward;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Forward *f = data;

    return ldm_clip_text_forward(pass, f->text, f->ids, 1);
}

LdmTensor *ldm_condition_prompt(const LdmTokenizer *tokenizer, const LdmClipText *text,
                                const LdmTextConfig *config, const char *prompt,
                                GCancellable *cancellable, GError **error)
{
    g_autofree int32_t *ids = g_new(int32_t, config->tokens);

    if (!ldm_tokenizer_encode(tokenizer, prompt, ids, NULL, error))
        return NULL;
    Forward f = {.text = text, .ids = ids};
    g_autoptr(LdmTensor) tokens = ldm_forward_run(forward, &f, NULL, NULL, cancellable, error);
    if (tokens == NULL || !ldm_tensor_check_finite(tokens, "condition", error))
        return NULL;
    return g_steal_pointer(&tokens);
}

bool ldm_condition_measure(const LdmClipText *text, const LdmTextConfig *config, size_t *bytes,
                           double *flops, GError **error)
{
    g_autofree int32_t *ids = g_new0(int32_t, config->tokens);
    Forward f = {.text = text, .ids = ids};

    return ldm_forward_measure(forward, &f, bytes, flops, error);
}

LdmTensor *ldm_condition_concat(const LdmTensor *cells, const LdmTensor *masked, GError **error)
{
    size_t h = masked->shape[1], w = masked->shape[2], z = masked->shape[3];

    if (cells != NULL && (cells->shape[1] != h || cells->shape[2] != w || cells->shape[3] != 1)) {
        g_autofree char *found = ldm_shape_string(cells->rank, cells->shape);
        g_autofree char *latent = ldm_shape_string(masked->rank, masked->shape);
        ldm_set_error(error, SHAPE, _("the mask has shape %s, the masked latent %s"), found,
                      latent);
        return NULL;
    }
    LdmTensor *concat = ldm_tensor_new_nhwc(1, h, w, 1 + z, error);
    if (concat == NULL)
        return NULL;
    float *out = ldm_tensor_f32(concat);
    for (size_t i = 0; i < h * w; i++) {
        out[i * (1 + z)] = cells == NULL || ldm_tensor_f32(cells)[i] > 0.0f ? 1.0f : 0.0f;
        memcpy(out + i * (1 + z) + 1, ldm_tensor_f32(masked) + i * z, z * sizeof(float));
    }
    return concat;
}
