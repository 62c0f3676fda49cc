/* Names of parameters: known pairs of the reference's and diffusers' names, and that the table is
 * one to one over every parameter of full SD 1 and SD 2 networks. */
#include "made-model.h"

static LdmModelConfig full_config(bool second)
{
    LdmModelConfig c = made_config(second, 49408);
    c.unet.levels = c.vae.levels = 4;
    c.unet.layers_per_block = c.vae.layers_per_block = 2;
    for (int i = 0; i < 4; i++) {
        c.unet.channels[i] = 320 * MIN(1 << i, 4);
        c.vae.channels[i] = 128 * MIN(1 << i, 4);
        c.unet.attention[i] = i < 3;
        c.unet.heads[i] = second ? c.unet.channels[i] / 64 : 8;
        c.unet.depth[i] = 1;
    }
    c.unet.context_width = c.text.width = second ? 1024 : 768;
    c.text.heads = c.text.width / 64;
    c.text.mlp_width = 4 * c.text.width;
    c.text.layers = second ? 24 : 12;
    c.text.skip_last = second ? 1 : 0;
    c.text.tokens = 77;
    return c;
}

static LdmParams *params_of(const LdmModelConfig *c, LdmPart part)
{
    LdmParams *params = ldm_params_new();
    if (part == LDM_PART_UNET) {
        ldm_unet_free(ldm_unet_new(&c->unet, params));
    } else if (part == LDM_PART_TEXT) {
        ldm_clip_text_free(ldm_clip_text_new(&c->text, params));
    } else {
        ldm_vae_encoder_free(ldm_vae_encoder_new(&c->vae, params));
        ldm_vae_decoder_free(ldm_vae_decoder_new(&c->vae, params));
    }
    return params;
}

/* Every name there and back, no two to the same. The counts are those of the published models. */
static void check_bijection(bool second, LdmPart part, LdmNameTable table, size_t expected)
{
    LdmModelConfig c = full_config(second);
    LdmNaming naming = ldm_naming_of(table, part, &c);
    g_autoptr(LdmParams) params = params_of(&c, part);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_assert_cmpuint(ldm_params_length(params), ==, expected);
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const char *name = ldm_params_at(params, i)->name;
        char *file = ldm_name_to_file(&naming, name);
        if (file == NULL)
            g_error("%s has no name in the file", name);
        g_autofree char *back = ldm_name_from_file(&naming, file);
        g_assert_cmpstr(back, ==, name);
        if (!g_hash_table_add(seen, file))
            g_error("%s is the name of two parameters", file);
    }
}

static void test_bijection(void)
{
    for (int second = 0; second < 2; second++) {
        check_bijection(second, LDM_PART_UNET, LDM_NAMES_LDM_UNET, 686);
        check_bijection(second, LDM_PART_VAE, LDM_NAMES_LDM_VAE, 248);
        check_bijection(second, LDM_PART_VAE, LDM_NAMES_OLDER_VAE, 248);
    }
    check_bijection(true, LDM_PART_TEXT, LDM_NAMES_OPENCLIP, 24 * 16 + 4);
}

static void check_pairs(LdmPart part, LdmNameTable table, const char *const (*pairs)[2], size_t n)
{
    LdmModelConfig c = full_config(false);
    LdmNaming naming = ldm_naming_of(table, part, &c);
    for (size_t i = 0; i < n; i++) {
        g_autofree char *file = ldm_name_to_file(&naming, pairs[i][1]);
        g_autofree char *ours = ldm_name_from_file(&naming, pairs[i][0]);
        g_assert_cmpstr(file, ==, pairs[i][0]);
        g_assert_cmpstr(ours, ==, pairs[i][1]);
    }
}

static void test_pairs(void)
{
    static const char *const unet[][2] = {
        {"time_embed.2.weight", "time_embedding.linear_2.weight"},
        {"input_blocks.0.0.bias", "conv_in.bias"},
        {"input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight"},
        {"input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"},
        {"input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"},
        {"input_blocks.5.1.proj_in.weight", "down_blocks.1.attentions.1.proj_in.weight"},
        {"input_blocks.11.0.emb_layers.1.bias", "down_blocks.3.resnets.1.time_emb_proj.bias"},
        {"middle_block.1.norm.weight", "mid_block.attentions.0.norm.weight"},
        {"middle_block.2.out_layers.3.weight", "mid_block.resnets.1.conv2.weight"},
        {"output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"},
        {"output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"},
        {"output_blocks.8.2.conv.bias", "up_blocks.2.upsamplers.0.conv.bias"},
        {"output_blocks.3.1.transformer_blocks.0.attn2.to_k.weight",
         "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"},
        {"output_blocks.11.0.out_layers.0.bias", "up_blocks.3.resnets.2.norm2.bias"},
        {"out.0.weight", "conv_norm_out.weight"},
        {"out.2.weight", "conv_out.weight"},
    };
    static const char *const vae[][2] = {
        {"encoder.down.1.block.0.nin_shortcut.weight",
         "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"},
        {"encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias"},
        {"encoder.mid.attn_1.proj_out.weight", "encoder.mid_block.attentions.0.to_out.0.weight"},
        {"decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias"},
        {"decoder.mid.attn_1.q.weight", "decoder.mid_block.attentions.0.to_q.weight"},
        {"decoder.mid.block_2.conv1.bias", "decoder.mid_block.resnets.1.conv1.bias"},
        {"decoder.up.3.block.0.conv1.weight", "decoder.up_blocks.0.resnets.0.conv1.weight"},
        {"decoder.up.0.block.2.norm2.bias", "decoder.up_blocks.3.resnets.2.norm2.bias"},
        {"decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"},
        {"decoder.norm_out.weight", "decoder.conv_norm_out.weight"},
        {"post_quant_conv.bias", "post_quant_conv.bias"},
        {"encoder.down.3.attn.1.q.bias", "encoder.down_blocks.3.attentions.1.to_q.bias"},
        {"decoder.up.3.attn.2.norm.weight", "decoder.up_blocks.0.attentions.2.group_norm.weight"},
        {"quantize.embedding.weight", "quantize.embedding.weight"},
    };
    static const char *const older[][2] = {
        {"decoder.mid_block.attentions.0.query.bias", "decoder.mid_block.attentions.0.to_q.bias"},
        {"encoder.mid_block.attentions.0.proj_attn.weight",
         "encoder.mid_block.attentions.0.to_out.0.weight"},
        {"encoder.conv_in.weight", "encoder.conv_in.weight"},
        {"decoder.up_blocks.0.attentions.2.value.weight",
         "decoder.up_blocks.0.attentions.2.to_v.weight"},
        {"quantize.embedding.weight", "quantize.embedding.weight"},
    };
    static const char *const open[][2] = {
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        {"transformer.resblocks.3.attn.in_proj_weight[1]",
         "text_model.encoder.layers.3.self_attn.k_proj.weight"},
        {"transformer.resblocks.0.attn.in_proj_bias[2]",
         "text_model.encoder.layers.0.self_attn.v_proj.bias"},
        {"transformer.resblocks.11.mlp.c_proj.bias", "text_model.encoder.layers.11.mlp.fc2.bias"},
        {"ln_final.weight", "text_model.final_layer_norm.weight"},
    };
    check_pairs(LDM_PART_UNET, LDM_NAMES_LDM_UNET, unet, G_N_ELEMENTS(unet));
    check_pairs(LDM_PART_VAE, LDM_NAMES_LDM_VAE, vae, G_N_ELEMENTS(vae));
    check_pairs(LDM_PART_VAE, LDM_NAMES_OLDER_VAE, older, G_N_ELEMENTS(older));
    check_pairs(LDM_PART_TEXT, LDM_NAMES_OPENCLIP, open, G_N_ELEMENTS(open));
}

/* Names that no network of these sizes has. */
static void test_strangers(void)
{
    static const char *const names[] = {
        "",
        ".",
        "input_blocks",
        "input_blocks.",
        "input_blocks..0.op.weight",
        "input_blocks.00.0.op.weight",
        "input_blocks.4.0.op.weight",
        "input_blocks.12.0.op.weight",
        "input_blocks.12.0.in_layers.0.weight",
        "input_blocks.999999999999.0.in_layers.0.weight",
        "output_blocks.2.2.conv.weight",
        "output_blocks.11.2.conv.weight",
        "output_blocks.12.0.in_layers.0.weight",
        "input_blocks.1.0.in_layers.1.weight",
        "input_blocks.1.0.in_layers",
        "out.1.weight",
        "time_embed.0x.weight",
        "input_blocks.-1.0.op.weight",
    };
    LdmModelConfig c = full_config(false);
    LdmNaming naming = ldm_naming_of(LDM_NAMES_LDM_UNET, LDM_PART_UNET, &c);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *ours = ldm_name_from_file(&naming, names[i]);
        if (ours != NULL)
            g_error("%s -> %s", names[i], ours);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/names/pairs", test_pairs);
    g_test_add_func("/names/bijection", test_bijection);
    g_test_add_func("/names/strangers", test_strangers);
    return g_test_run();
}
