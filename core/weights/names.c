/* Names of parameters, ours <-> the file's, by one table of patterns read in either direction.
 * "%" stands for a number, kept or converted as the row says; behind a whole pattern may follow
 * ".REST", which a second table may rename. In: a name and the sizes that indices depend on.
 * Out: the other name, or nothing.
 * Indices of the UNet (n = layers_per_block, L = levels): input block i = 1 + b (n + 1) + j holds
 * resnet j of level b, or, for j = n, its downsampler; output block o = b (n + 1) + j. */
#include "weights/names.h"

#include <string.h>

#define MAX_NUMBERS 2
#define MAX_INDEX   1000000 /* largest number in a name */

typedef enum {
    KEPT,       /* the same numbers on both sides */
    DOWN,       /* file {i} <-> ours {b, j}, j < n */
    DOWNSAMPLE, /* file {i} <-> ours {b} */
    UP,         /* file {o} <-> ours {b, j}, j <= n */
    UPSAMPLE,   /* file {o, place in the block} <-> ours {b} */
    REVERSED,   /* first number k <-> L - 1 - k: the decoder's levels */
    SHIFTED,    /* file {k + 1} <-> ours {k} */
} Indices;

/* What follows the pattern: unchanged, or renamed by a table of its own. */
typedef struct {
    const char *file, *ours;
} Pair;

static const Pair unet_resnet[] = {
    {"in_layers.0", "norm1"},
    {"in_layers.2", "conv1"},
    {"emb_layers.1", "time_emb_proj"},
    {"out_layers.0", "norm2"},
    {"out_layers.3", "conv2"},
    {"skip_connection", "conv_shortcut"},
    {NULL, NULL},
};

static const Pair vae_resnet[] = {
    {"norm1", "norm1"},
    {"conv1", "conv1"},
    {"norm2", "norm2"},
    {"conv2", "conv2"},
    {"nin_shortcut", "conv_shortcut"},
    {NULL, NULL},
};

static const Pair vae_attention[] = {
    {"norm", "group_norm"},   {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"},
    {"proj_out", "to_out.0"}, {NULL, NULL},
};

static const Pair older_attention[] = {
    {"group_norm", "group_norm"}, {"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"},
    {"proj_attn", "to_out.0"},    {NULL, NULL},
};

static const Pair openclip_layer[] = {
    {"ln_1", "layer_norm1"},
    {"ln_2", "layer_norm2"},
    {"attn.in_proj_weight[0]", "self_attn.q_proj.weight"},
    {"attn.in_proj_weight[1]", "self_attn.k_proj.weight"},
    {"attn.in_proj_weight[2]", "self_attn.v_proj.weight"},
    {"attn.in_proj_bias[0]", "self_attn.q_proj.bias"},
    {"attn.in_proj_bias[1]", "self_attn.k_proj.bias"},
    {"attn.in_proj_bias[2]", "self_attn.v_proj.bias"},
    {"attn.out_proj", "self_attn.out_proj"},
    {"mlp.c_fc", "mlp.fc1"},
    {"mlp.c_proj", "mlp.fc2"},
    {NULL, NULL},
};

typedef struct {
    const char *file, *ours;
    Indices indices;
    const Pair *rest;
} Row;

/* Rows are tried in order; the first whose pattern, numbers and rest fit is taken. */
static const Row unet_rows[] = {
    {"time_embed.0", "time_embedding.linear_1"},
    {"time_embed.2", "time_embedding.linear_2"},
    {"input_blocks.0.0", "conv_in"},
    {"input_blocks.%.0.op", "down_blocks.%.downsamplers.0.conv", DOWNSAMPLE},
    {"input_blocks.%.0", "down_blocks.%.resnets.%", DOWN, unet_resnet},
    {"input_blocks.%.1", "down_blocks.%.attentions.%", DOWN},
    {"middle_block.0", "mid_block.resnets.0", KEPT, unet_resnet},
    {"middle_block.1", "mid_block.attentions.0"},
    {"middle_block.2", "mid_block.resnets.1", KEPT, unet_resnet},
    {"output_blocks.%.%.conv", "up_blocks.%.upsamplers.0.conv", UPSAMPLE},
    {"output_blocks.%.0", "up_blocks.%.resnets.%", UP, unet_resnet},
    {"output_blocks.%.1", "up_blocks.%.attentions.%", UP},
    {"out.0", "conv_norm_out"},
    {"out.2", "conv_out"},
    {NULL, NULL},
};

static const Row vae_rows[] = {
    {"encoder.down.%.block.%", "encoder.down_blocks.%.resnets.%", KEPT, vae_resnet},
    {"encoder.down.%.attn.%", "encoder.down_blocks.%.attentions.%", KEPT, vae_attention},
    {"encoder.down.%.downsample.conv", "encoder.down_blocks.%.downsamplers.0.conv"},
    {"encoder.mid.block_1", "encoder.mid_block.resnets.0", KEPT, vae_resnet},
    {"encoder.mid.block_2", "encoder.mid_block.resnets.1", KEPT, vae_resnet},
    {"encoder.mid.attn_1", "encoder.mid_block.attentions.0", KEPT, vae_attention},
    {"encoder.conv_in", "encoder.conv_in"},
    {"encoder.norm_out", "encoder.conv_norm_out"},
    {"encoder.conv_out", "encoder.conv_out"},
    {"decoder.up.%.block.%", "decoder.up_blocks.%.resnets.%", REVERSED, vae_resnet},
    {"decoder.up.%.attn.%", "decoder.up_blocks.%.attentions.%", REVERSED, vae_attention},
    {"decoder.up.%.upsample.conv", "decoder.up_blocks.%.upsamplers.0.conv", REVERSED},
    {"decoder.mid.block_1", "decoder.mid_block.resnets.0", KEPT, vae_resnet},
    {"decoder.mid.block_2", "decoder.mid_block.resnets.1", KEPT, vae_resnet},
    {"decoder.mid.attn_1", "decoder.mid_block.attentions.0", KEPT, vae_attention},
    {"decoder.conv_in", "decoder.conv_in"},
    {"decoder.norm_out", "decoder.conv_norm_out"},
    {"decoder.conv_out", "decoder.conv_out"},
    {"quantize", "quantize"},
    {"quant_conv", "quant_conv"},
    {"post_quant_conv", "post_quant_conv"},
    {NULL, NULL},
};

static const Row older_vae_rows[] = {
    {"encoder.mid_block.attentions.0", "encoder.mid_block.attentions.0", KEPT, older_attention},
    {"decoder.mid_block.attentions.0", "decoder.mid_block.attentions.0", KEPT, older_attention},
    {"encoder.down_blocks.%.attentions.%", "encoder.down_blocks.%.attentions.%", KEPT,
     older_attention},
    {"decoder.up_blocks.%.attentions.%", "decoder.up_blocks.%.attentions.%", KEPT, older_attention},
    {"encoder", "encoder"},
    {"decoder", "decoder"},
    {"quantize", "quantize"},
    {"quant_conv", "quant_conv"},
    {"post_quant_conv", "post_quant_conv"},
    {NULL, NULL},
};

static const Row openclip_rows[] = {
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"token_embedding", "text_model.embeddings.token_embedding"},
    {"transformer.resblocks.%", "text_model.encoder.layers.%", KEPT, openclip_layer},
    {"ln_final", "text_model.final_layer_norm"},
    {NULL, NULL},
};

static const Row taesd_rows[] = {
    {"%", "decoder.layers.%", SHIFTED},
    {NULL, NULL},
};

static const Row *const tables[] = {
    [LDM_NAMES_OLDER_VAE] = older_vae_rows, [LDM_NAMES_LDM_UNET] = unet_rows,
    [LDM_NAMES_LDM_VAE] = vae_rows,         [LDM_NAMES_OPENCLIP] = openclip_rows,
    [LDM_NAMES_TAESD] = taesd_rows,
};

LdmNaming ldm_naming_of(LdmNameTable table, LdmPart part, const LdmModelConfig *config)
{
    LdmNaming naming = {.table = table};
    bool vae = part == LDM_PART_VAE;
    naming.levels = vae ? config->vae.levels : config->unet.levels;
    naming.layers_per_block = vae ? config->vae.layers_per_block : config->unet.layers_per_block;
    memcpy(naming.attention, config->unet.attention, sizeof naming.attention);
    return naming;
}

/* The rest of `name` behind the pattern, its numbers in `numbers`; NULL where it does not fit. */
static const char *match(const char *pattern, const char *name, int *numbers)
{
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '%') {
            if (*name++ != *pattern)
                return NULL;
            continue;
        }
        int value = 0;
        const char *start = name;
        for (; g_ascii_isdigit(*name) && value < MAX_INDEX; name++)
            value = value * 10 + (*name - '0');
        if (name == start || g_ascii_isdigit(*name) || (*start == '0' && name > start + 1))
            return NULL;
        *numbers++ = value;
    }
    return *name == '\0' || *name == '.' ? name : NULL;
}

static void write_pattern(GString *out, const char *pattern, const int *numbers)
{
    for (; *pattern != '\0'; pattern++) {
        if (*pattern == '%')
            g_string_append_printf(out, "%d", *numbers++);
        else
            g_string_append_c(out, *pattern);
    }
}

/* The upsampler's place in its output block: behind the resnet and the transformer, if any. */
static int upsampler_place(const LdmNaming *naming, int b)
{
    int level = naming->levels - 1 - b;
    return level >= 0 && level < LDM_MAX_LEVELS && naming->attention[level] ? 2 : 1;
}

/* Converts a row's numbers; false where they are none of that row's. Outer levels only have
 * what the row names: no downsampler at the coarsest, no upsampler at the finest. */
static bool to_file_numbers(const LdmNaming *naming, Indices indices, const int *ours, int *file)
{
    int n = naming->layers_per_block, L = naming->levels;
    int b = ours[0], j = ours[1];
    file[0] = b;
    file[1] = j;
    if (indices == SHIFTED)
        file[0] = b + 1;
    if (indices == KEPT || indices == SHIFTED)
        return true;
    if (b >= L)
        return false;
    switch (indices) {
    case DOWN: file[0] = 1 + b * (n + 1) + j; return j < n;
    case DOWNSAMPLE: file[0] = (b + 1) * (n + 1); return b < L - 1;
    case UP: file[0] = b * (n + 1) + j; return j <= n;
    case UPSAMPLE:
        file[0] = b * (n + 1) + n;
        file[1] = upsampler_place(naming, b);
        return b < L - 1;
    default: /* REVERSED */ file[0] = L - 1 - b; return true;
    }
}

static bool from_file_numbers(const LdmNaming *naming, Indices indices, const int *file, int *ours)
{
    int n = naming->layers_per_block, L = naming->levels, back[MAX_NUMBERS];
    int down = indices == DOWN || indices == DOWNSAMPLE ? 1 : 0;
    ours[0] = file[0];
    ours[1] = file[1];
    if (indices == KEPT)
        return true;
    if (indices == SHIFTED) {
        ours[0] = file[0] - 1;
        return ours[0] >= 0;
    }
    if (indices == REVERSED) {
        ours[0] = L - 1 - file[0];
    } else if (file[0] < down) {
        return false;
    } else {
        ours[0] = (file[0] - down) / (n + 1);
        ours[1] = (file[0] - down) % (n + 1);
        int j = ours[1];
        if ((indices == DOWNSAMPLE || indices == UPSAMPLE) && j != n)
            return false;
    }
    return ours[0] >= 0 && to_file_numbers(naming, indices, ours, back) && back[0] == file[0] &&
           (indices != UPSAMPLE || back[1] == file[1]);
}

/* Renames the first part of `rest` (".conv1.weight"), which must be one of the pairs. */
static bool write_rest(GString *out, const Pair *pairs, bool to_file, const char *rest)
{
    if (pairs == NULL) {
        g_string_append(out, rest);
        return true;
    }
    for (; *rest == '.' && pairs->file != NULL; pairs++) {
        const char *from = to_file ? pairs->ours : pairs->file;
        const char *behind = match(from, rest + 1, NULL);
        if (behind == NULL)
            continue;
        g_string_append_printf(out, ".%s%s", to_file ? pairs->file : pairs->ours, behind);
        return true;
    }
    return false;
}

static char *convert(const LdmNaming *naming, const char *name, bool to_file)
{
    for (const Row *row = tables[naming->table]; row->file != NULL; row++) {
        int found[MAX_NUMBERS] = {0}, other[MAX_NUMBERS];
        const char *rest = match(to_file ? row->ours : row->file, name, found);
        if (rest == NULL || !(to_file ? to_file_numbers(naming, row->indices, found, other)
                                      : from_file_numbers(naming, row->indices, found, other)))
            continue;
        g_autoptr(GString) out = g_string_new(NULL);
        write_pattern(out, to_file ? row->file : row->ours, other);
        if (write_rest(out, row->rest, to_file, rest))
            return g_strdup(out->str);
    }
    return NULL;
}

char *ldm_name_to_file(const LdmNaming *naming, const char *name)
{
    if (naming->table != LDM_NAMES_OURS)
        return convert(naming, name, true);
    return g_strdup(g_str_has_prefix(name, "text_model.") ? name + strlen("text_model.") : name);
}

char *ldm_name_from_file(const LdmNaming *naming, const char *name)
{
    return naming->table == LDM_NAMES_OURS ? g_strdup(name) : convert(naming, name, false);
}
