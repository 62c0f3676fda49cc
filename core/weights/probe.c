/* Probing: names and shapes of a single file in, configurations out, as far as they tell. Which
 * blocks exist gives levels, layers and depth; shapes give widths. Only a few tensors are looked
 * at: binding afterwards checks every one against the networks these configurations build. */
#include "weights/probe.h"

#include "base/error.h"

#include <stdarg.h>

#define HEAD_WIDTH 64 /* of every CLIP text encoder, and of SD 2.x's UNet */
#define MAX_BLOCKS 256

#define OPENCLIP_LAYERS 24 /* of ViT-H, SD 2's text encoder */

static const LdmFileTensor *find(const LdmFiles *files, const char *prefix, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static const LdmFileTensor *find(const LdmFiles *files, const char *prefix, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *name = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *full = g_strconcat(prefix, name, NULL);
    return ldm_files_find(files, full);
}

/* A side of a tensor that must be there; 0 and MISSING where it is not. */
static int side(const LdmFiles *files, const char *prefix, const char *name, int axis,
                GError **error)
{
    const LdmFileTensor *t = find(files, prefix, "%s", name);
    if (t != NULL && axis < t->rank && t->shape[axis] >= 1 && t->shape[axis] <= G_MAXINT)
        return (int)t->shape[axis];
    ldm_set_error(error, MISSING,
                  _("%s lacks tensor %s%s: it is no whole model in the layout of "
                    "LDM, SD 1 or SD 2"),
                  ldm_files_path(files), prefix, name);
    return 0;
}

static bool refuse(const LdmFiles *files, const char *what, GError **error)
{
    ldm_set_error(error, UNSUPPORTED, _("%s: %s is not supported"), ldm_files_path(files), what);
    return false;
}

static int count_transformers(const LdmFiles *files, const char *prefix, const char *block)
{
    int n = 0;
    while (n < MAX_BLOCKS &&
           find(files, prefix, "%s.transformer_blocks.%d.norm1.weight", block, n) != NULL)
        n++;
    return n;
}

/* One resnet of the way down, input block i; counts it for its level. */
static bool probe_block(const LdmFiles *files, const char *prefix, int i, LdmUnetConfig *c,
                        int *layers, GError **error)
{
    int level = c->levels - 1;
    const LdmFileTensor *t = find(files, prefix, "input_blocks.%d.0.in_layers.2.weight", i);
    g_autofree char *block = g_strdup_printf("input_blocks.%d.1", i);
    int depth = count_transformers(files, prefix, block);
    if (find(files, prefix, "%s.qkv.weight", block) != NULL)
        return refuse(files, _("attention without transformers"), error);
    if (layers[level] > 0 &&
        (c->depth[level] != MAX(depth, 1) || c->attention[level] != (depth > 0)))
        return refuse(files, _("a level with unequal blocks"), error);
    c->channels[level] = t->rank > 0 ? (int)MIN(t->shape[0], G_MAXINT) : 0;
    c->attention[level] = depth > 0;
    c->depth[level] = MAX(depth, 1);
    layers[level]++;
    return true;
}

static bool probe_down(const LdmFiles *files, const char *prefix, LdmUnetConfig *c, GError **error)
{
    int layers[LDM_MAX_LEVELS] = {0};
    c->levels = 1;
    for (int i = 1; i < MAX_BLOCKS; i++) {
        if (find(files, prefix, "input_blocks.%d.0.op.weight", i) != NULL) {
            if (++c->levels > LDM_MAX_LEVELS)
                return refuse(files, _("a UNet of more than 8 levels"), error);
        } else if (find(files, prefix, "input_blocks.%d.0.in_layers.2.weight", i) == NULL) {
            break;
        } else if (!probe_block(files, prefix, i, c, layers, error)) {
            return false;
        }
    }
    c->layers_per_block = layers[0];
    for (int i = 0; i < c->levels; i++)
        if (layers[i] != layers[0])
            return refuse(files, _("a UNet with unequal levels"), error);
    return true;
}

bool ldm_probe_unet(const LdmFiles *files, const char *prefix, LdmUnetConfig *c, GError **error)
{
    *c = (LdmUnetConfig){.norm_groups = 32, .norm_eps = 1e-5, .sample_size = 64};
    c->in_channels = side(files, prefix, "input_blocks.0.0.weight", 1, error);
    if (c->in_channels == 0)
        return false;
    c->out_channels = side(files, prefix, "out.2.weight", 0, error);
    if (c->out_channels == 0)
        return false;
    if (find(files, prefix, "label_emb.weight") || find(files, prefix, "label_emb.0.0.weight"))
        return refuse(files, _("a UNet with classes or vector conditioning (label_emb)"), error);
    if (!probe_down(files, prefix, c, error))
        return false;
    c->context_width =
        side(files, prefix, "middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1, error);
    if (c->context_width == 0)
        return false;
    const LdmFileTensor *projection = find(files, prefix, "middle_block.1.proj_in.weight");
    int last = c->levels - 1, mid = count_transformers(files, prefix, "middle_block.1");
    if (c->attention[last] && c->depth[last] != mid)
        return refuse(files, _("a middle block of another depth than the last level"), error);
    c->depth[last] = mid;
    c->mid_attention = true;
    c->linear_projection = projection != NULL && projection->rank == 2;
    for (int i = 0; i < c->levels; i++)
        c->heads[i] = c->linear_projection ? MAX(c->channels[i] / HEAD_WIDTH, 1) : 8;
    return true;
}

/* The latents of LDM's VQ autoencoders are not scaled. */
static bool probe_codebook(const LdmFiles *files, const char *prefix, LdmVaeConfig *c,
                           GError **error)
{
    c->regulariser = LDM_REGULARISER_VQ;
    c->inner_channels = c->latent_channels;
    c->scale_factor = 1.0;
    c->codebook = side(files, prefix, "quantize.embedding.weight", 0, error);
    if (c->codebook == 0)
        return false;
    c->latent_channels = side(files, prefix, "quantize.embedding.weight", 1, error);
    return c->latent_channels != 0;
}

bool ldm_probe_vae(const LdmFiles *files, const char *prefix, LdmVaeConfig *c, GError **error)
{
    *c = (LdmVaeConfig){
        .regulariser = LDM_REGULARISER_KL, .norm_groups = 32, .scale_factor = 0.18215};
    c->in_channels = side(files, prefix, "encoder.conv_in.weight", 1, error);
    if (c->in_channels == 0)
        return false;
    c->out_channels = side(files, prefix, "decoder.conv_out.weight", 0, error);
    if (c->out_channels == 0)
        return false;
    c->latent_channels = side(files, prefix, "decoder.conv_in.weight", 1, error);
    if (c->latent_channels == 0)
        return false;
    const LdmFileTensor *t = find(files, prefix, "quantize.embedding.weight");
    if (t != NULL && !probe_codebook(files, prefix, c, error))
        return false;
    while ((t = find(files, prefix, "encoder.down.%d.block.0.conv1.weight", c->levels)) != NULL) {
        if (c->levels == LDM_MAX_LEVELS)
            return refuse(files, _("an autoencoder of more than 8 levels"), error);
        c->attention[c->levels] =
            find(files, prefix, "encoder.down.%d.attn.0.norm.weight", c->levels) != NULL;
        c->channels[c->levels++] = t->rank > 0 ? (int)MIN(t->shape[0], G_MAXINT) : 0;
    }
    while (c->layers_per_block < MAX_BLOCKS &&
           find(files, prefix, "encoder.down.0.block.%d.conv1.weight", c->layers_per_block) != NULL)
        c->layers_per_block++;
    c->mid_attention = find(files, prefix, "encoder.mid.attn_1.norm.weight") != NULL;
    c->quant_conv = find(files, prefix, "quant_conv.weight") != NULL;
    c->post_quant_conv = find(files, prefix, "post_quant_conv.weight") != NULL;
    return true;
}

/* What both kinds of text encoder have in common; the names of four tensors differ. */
typedef struct {
    const char *tokens, *positions, *mlp, *layer;
} TextNames;

static bool probe_text(const LdmFiles *files, const char *prefix, const TextNames *names,
                       LdmTextConfig *c, GError **error)
{
    *c = (LdmTextConfig){.norm_eps = 1e-5, .bos = 49406, .eos = 49407};
    const struct {
        int *value;
        const char *name;
        int axis;
    } sides[] = {
        {&c->vocab_size, names->tokens, 0},
        {&c->width, names->tokens, 1},
        {&c->tokens, names->positions, 0},
        {&c->mlp_width, names->mlp, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(sides); i++) {
        *sides[i].value = side(files, prefix, sides[i].name, sides[i].axis, error);
        if (*sides[i].value == 0)
            return false;
    }
    if (c->vocab_size != c->eos + 1)
        return refuse(files, _("a single file with another vocabulary than CLIP's own"), error);
    while (c->layers < MAX_BLOCKS) {
        g_autofree char *layer = g_strdup_printf(names->layer, c->layers);
        if (find(files, prefix, "%s", layer) == NULL)
            break;
        c->layers++;
    }
    c->heads = MAX(c->width / HEAD_WIDTH, 1);
    return true;
}

bool ldm_probe_clip(const LdmFiles *files, const char *prefix, LdmTextConfig *c, GError **error)
{
    static const TextNames names = {
        "embeddings.token_embedding.weight", "embeddings.position_embedding.weight",
        "encoder.layers.0.mlp.fc1.weight", "encoder.layers.%d.layer_norm1.weight"};
    if (!probe_text(files, prefix, &names, c, error))
        return false;
    c->quick_gelu = true;
    c->pad = c->eos;
    return true;
}

bool ldm_probe_openclip(const LdmFiles *files, const char *prefix, LdmTextConfig *c, GError **error)
{
    static const TextNames names = {"token_embedding.weight", "positional_embedding",
                                    "transformer.resblocks.0.mlp.c_fc.weight",
                                    "transformer.resblocks.%d.ln_1.weight"};
    if (!probe_text(files, prefix, &names, c, error))
        return false;
    /* SD 2 takes the last but one of 24 layers; diffusers' conversion leaves the last out of the
     * file, since nothing uses it. */
    c->skip_last = c->layers == OPENCLIP_LAYERS - 1 ? 0 : 1;
    c->pad = 0;
    return true;
}
