/* tau_theta: CLIP's text transformer. Token ids in; out: the hidden states of all tokens after the
 * last (or, with skip_last, an earlier) layer and the final LayerNorm. Per layer
 * x += attention(LN1(x)), causal; x += fc2(act(fc1(LN2(x)))). */
#include "condition/clip-text.h"

#include "layers/attention.h"
#include "layers/elementwise.h"
#include "layers/embedding.h"
#include "layers/norm.h"

typedef struct {
    LdmMultiHead attention;
    LdmNorm norm1, norm2;
    LdmLinear fc1, fc2;
} Layer;

struct LdmClipText {
    LdmTextConfig config;
    LdmEmbedding embedding;
    Layer *layers; /* [config.layers]: those left out are in the table too, as in the file */
    LdmNorm final_norm;
};

static void layer_init(Layer *layer, LdmScope scope, const LdmTextConfig *config)
{
    size_t C = config->width, F = config->mlp_width;
    ldm_multi_head_init_clip(&layer->attention, ldm_scope(&scope, "self_attn"), C, config->heads);
    ldm_layer_norm_init(&layer->norm1, ldm_scope(&scope, "layer_norm1"), C, config->norm_eps);
    ldm_linear_init(&layer->fc1, ldm_scope(&scope, "mlp.fc1"), C, F, true);
    ldm_linear_init(&layer->fc2, ldm_scope(&scope, "mlp.fc2"), F, C, true);
    ldm_layer_norm_init(&layer->norm2, ldm_scope(&scope, "layer_norm2"), C, config->norm_eps);
}

LdmClipText *ldm_clip_text_new(const LdmTextConfig *config, LdmParams *params)
{
    LdmClipText *text = g_new0(LdmClipText, 1);
    LdmScope root = ldm_scope_root(params), scope = ldm_scope(&root, "text_model");
    text->config = *config;
    text->layers = g_new0(Layer, config->layers);
    ldm_embedding_init(&text->embedding, ldm_scope(&scope, "embeddings"), config->vocab_size,
                       config->tokens, config->width);
    for (int i = 0; i < config->layers; i++)
        layer_init(&text->layers[i], ldm_scope(&scope, "encoder.layers.%d", i), config);
    ldm_layer_norm_init(&text->final_norm, ldm_scope(&scope, "final_layer_norm"), config->width,
                        config->norm_eps);
    return text;
}

void ldm_clip_text_free(LdmClipText *text)
{
    if (text == NULL)
        return;
    g_free(text->layers);
    g_free(text);
}

LdmParam *ldm_clip_text_words(const LdmClipText *text)
{
    return text->embedding.token;
}

static LdmTensor *layer_forward(LdmPass *pass, const Layer *layer, LdmActivation act, LdmTensor *x)
{
    LdmTensor *h = ldm_layer_norm_forward(pass, &layer->norm1, ldm_pass_keep(pass, x));
    x = ldm_multi_head_forward(pass, &layer->attention, h, NULL, x, true);

    h = ldm_layer_norm_forward(pass, &layer->norm2, ldm_pass_keep(pass, x));
    h = ldm_linear_forward(pass, &layer->fc1, h, NULL);
    h = ldm_activation_forward(pass, act, h);
    return ldm_linear_forward(pass, &layer->fc2, h, x);
}

LdmTensor *ldm_clip_text_forward(LdmPass *pass, const LdmClipText *text, const int32_t *ids,
                                 size_t n)
{
    return ldm_clip_text_forward_first(pass, text, ids, n, (size_t)text->config.tokens);
}

LdmTensor *ldm_clip_text_forward_first(LdmPass *pass, const LdmClipText *text, const int32_t *ids,
                                       size_t n, size_t tokens)
{
    const LdmTextConfig *config = &text->config;
    LdmActivation act = config->quick_gelu ? LDM_ACT_QUICK_GELU : LDM_ACT_GELU;
    LdmTensor *x = ldm_embedding_forward(pass, &text->embedding, ids, n, tokens);
    for (int i = 0; i < config->layers - config->skip_last; i++)
        x = layer_forward(pass, &text->layers[i], act, x);
    return ldm_layer_norm_forward(pass, &text->final_norm, x);
}
