/* Configuration files of a diffusers folder, for models that come without: structs in, JSON out.
 * Keys whose default in diffusers is what our networks have are left out. */
#include "weights/config-write.h"

#include "weights/config-names.h"

#include <string.h>

static void set_list(JsonObject *object, const char *key, const int *values, int n)
{
    JsonArray *array = json_array_new();

    for (int i = 0; i < n; i++)
        json_array_add_int_element(array, values[i]);
    json_object_set_array_member(object, key, array);
}

/* One number where all are the same, as most programs expect it. */
static void set_levels(JsonObject *object, const char *key, const int *values, int n)
{
    bool same = true;

    for (int i = 1; i < n; i++)
        same = same && values[i] == values[0];
    if (same)
        json_object_set_int_member(object, key, values[0]);
    else
        set_list(object, key, values, n);
}

/* Names of block types, finest first or last. */
static void set_blocks(JsonObject *object, const char *key, const char *const names[2],
                       const bool *second, const int levels, bool reversed)
{
    JsonArray *array = json_array_new();

    for (int i = 0; i < levels; i++)
        json_array_add_string_element(array, names[second[reversed ? levels - 1 - i : i]]);
    json_object_set_array_member(object, key, array);
}

static JsonObject *object_new(const char *class)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "_class_name", class);
    return object;
}

JsonObject *ldm_config_write_unet(const LdmUnetConfig *c)
{
    JsonObject *object = object_new("UNet2DConditionModel");
    JsonArray *cross = json_array_new();
    bool any = false;

    json_object_set_int_member(object, "sample_size", c->sample_size);
    json_object_set_int_member(object, "in_channels", c->in_channels);
    json_object_set_int_member(object, "out_channels", c->out_channels);
    set_list(object, "block_out_channels", c->channels, c->levels);
    json_object_set_int_member(object, "layers_per_block", c->layers_per_block);
    set_blocks(object, "down_block_types", ldm_unet_down_names, c->attention, c->levels, false);
    set_blocks(object, "up_block_types", ldm_unet_up_names, c->attention, c->levels, true);
    json_object_set_int_member(object, "cross_attention_dim", c->context_width);
    set_levels(object, "attention_head_dim", c->heads, c->levels);
    set_levels(object, "transformer_layers_per_block", c->depth, c->levels);
    json_object_set_boolean_member(object, "use_linear_projection", c->linear_projection);
    json_object_set_int_member(object, "norm_num_groups", c->norm_groups);
    json_object_set_double_member(object, "norm_eps", c->norm_eps);
    json_object_set_string_member(object, "act_fn", "silu");
    for (int i = 0; i < c->levels; i++) {
        json_array_add_boolean_element(cross, c->only_cross_attention[i]);
        any = any || c->only_cross_attention[i];
    }
    if (any)
        json_object_set_array_member(object, "only_cross_attention", cross);
    else
        json_array_unref(cross);
    if (c->hole != LDM_HOLE_GREY)
        json_object_set_string_member(object, "masked_hole", ldm_hole_names[c->hole]);
    return object;
}

static const char *vae_class(const LdmVaeConfig *vae)
{
    return vae->regulariser == LDM_REGULARISER_VQ ? "VQModel" : "AutoencoderKL";
}

/* Keys of the other kind go: where there is a codebook, there are always both convolutions. */
void ldm_config_write_regulariser(JsonObject *object, const LdmVaeConfig *vae)
{
    static const char *const codebook[] = {"num_vq_embeddings", "vq_embed_dim"};
    static const char *const posterior[] = {"use_quant_conv", "use_post_quant_conv", "latents_mean",
                                            "latents_std", "shift_factor"};
    bool vq = vae->regulariser == LDM_REGULARISER_VQ;
    const char *const *others = vq ? posterior : codebook;

    for (size_t i = 0; i < (vq ? G_N_ELEMENTS(posterior) : G_N_ELEMENTS(codebook)); i++)
        if (json_object_has_member(object, others[i]))
            json_object_remove_member(object, others[i]);
    json_object_set_string_member(object, "_class_name", vae_class(vae));
    json_object_set_double_member(object, "scaling_factor", vae->scale_factor);
    json_object_set_int_member(object, "latent_channels",
                               vq ? vae->inner_channels : vae->latent_channels);
    if (!vq)
        return;
    json_object_set_int_member(object, codebook[0], vae->codebook);
    json_object_set_int_member(object, codebook[1], vae->latent_channels);
}

JsonObject *ldm_config_write_vae(const LdmVaeConfig *c)
{
    JsonObject *object = json_object_new();

    ldm_config_write_regulariser(object, c);
    json_object_set_int_member(object, "sample_size", c->sample_size);
    json_object_set_int_member(object, "in_channels", c->in_channels);
    json_object_set_int_member(object, "out_channels", c->out_channels);
    set_list(object, "block_out_channels", c->channels, c->levels);
    json_object_set_int_member(object, "layers_per_block", c->layers_per_block);
    set_blocks(object, "down_block_types", ldm_vae_down_names, c->attention, c->levels, false);
    set_blocks(object, "up_block_types", ldm_vae_up_names, c->attention, c->levels, true);
    json_object_set_int_member(object, "norm_num_groups", c->norm_groups);
    json_object_set_string_member(object, "act_fn", "silu");
    json_object_set_boolean_member(object, "mid_block_add_attention", c->mid_attention);
    if (c->haar_stem)
        json_object_set_boolean_member(object, "haar_stem", TRUE);
    if (c->linear_path)
        json_object_set_boolean_member(object, "linear_path", TRUE);
    if (c->regulariser == LDM_REGULARISER_VQ)
        return object;
    json_object_set_boolean_member(object, "use_quant_conv", c->quant_conv);
    json_object_set_boolean_member(object, "use_post_quant_conv", c->post_quant_conv);
    if (c->shift_factor != 0)
        json_object_set_double_member(object, "shift_factor", c->shift_factor);
    return object;
}

/* Layers that are never run have no weights here. */
JsonObject *ldm_config_write_text(const LdmTextConfig *c)
{
    JsonObject *object = json_object_new();
    JsonArray *classes = json_array_new();

    json_array_add_string_element(classes, "CLIPTextModel");
    json_object_set_array_member(object, "architectures", classes);
    json_object_set_string_member(object, "model_type", "clip_text_model");
    json_object_set_int_member(object, "vocab_size", c->vocab_size);
    json_object_set_int_member(object, "hidden_size", c->width);
    json_object_set_int_member(object, "projection_dim", c->width);
    json_object_set_int_member(object, "num_hidden_layers", c->layers - c->skip_last);
    json_object_set_int_member(object, "num_attention_heads", c->heads);
    json_object_set_int_member(object, "intermediate_size", c->mlp_width);
    json_object_set_int_member(object, "max_position_embeddings", c->tokens);
    json_object_set_string_member(object, "hidden_act", c->quick_gelu ? "quick_gelu" : "gelu");
    json_object_set_double_member(object, "layer_norm_eps", c->norm_eps);
    json_object_set_int_member(object, "bos_token_id", c->bos);
    json_object_set_int_member(object, "eos_token_id", c->eos);
    json_object_set_int_member(object, "pad_token_id", c->pad);
    return object;
}

JsonObject *ldm_config_write_schedule(const LdmScheduleConfig *c)
{
    JsonObject *object = object_new("DDIMScheduler");

    json_object_set_string_member(object, "beta_schedule", ldm_beta_names[c->betas]);
    json_object_set_double_member(object, "beta_start", c->beta_start);
    json_object_set_double_member(object, "beta_end", c->beta_end);
    json_object_set_int_member(object, "num_train_timesteps", c->train_steps);
    json_object_set_string_member(object, "prediction_type", ldm_prediction_names[c->prediction]);
    json_object_set_string_member(object, "timestep_spacing", ldm_spacing_names[c->spacing]);
    json_object_set_int_member(object, "steps_offset", c->steps_offset);
    json_object_set_boolean_member(object, "set_alpha_to_one", c->final_alpha_one);
    json_object_set_boolean_member(object, "rescale_betas_zero_snr", c->zero_terminal_snr);
    json_object_set_boolean_member(object, "clip_sample", FALSE);
    return object;
}

JsonObject *ldm_config_write_tiny(const LdmTinyConfig *config)
{
    JsonObject *object = object_new("AutoencoderTiny");
    int channels[LDM_MAX_LEVELS], blocks[LDM_MAX_LEVELS];

    for (int i = 0; i < config->levels; i++) {
        channels[i] = config->channels;
        blocks[i] = config->blocks[config->levels - 1 - i];
    }
    json_object_set_string_member(object, "act_fn", "relu");
    json_object_set_int_member(object, "in_channels", 3);
    json_object_set_int_member(object, "out_channels", 3);
    json_object_set_int_member(object, "latent_channels", config->latent_channels);
    set_list(object, "encoder_block_out_channels", channels, config->levels);
    set_list(object, "num_encoder_blocks", blocks, config->levels);
    set_list(object, "decoder_block_out_channels", channels, config->levels);
    set_list(object, "num_decoder_blocks", config->blocks, config->levels);
    json_object_set_double_member(object, "scaling_factor", config->scale_factor);
    json_object_set_string_member(object, "upsample_fn", "nearest");
    json_object_set_int_member(object, "upsampling_scaling_factor", 2);
    return object;
}

/* Only CLIP L's and OpenCLIP's own habits occur where no tokenizer comes with a model. */
JsonObject *ldm_config_write_tokens(const LdmTextConfig *c)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "bos_token", "<|startoftext|>");
    json_object_set_string_member(object, "eos_token", "<|endoftext|>");
    json_object_set_string_member(object, "unk_token", "<|endoftext|>");
    json_object_set_string_member(object, "pad_token", c->pad == 0 ? "!" : "<|endoftext|>");
    return object;
}

static void set_component(JsonObject *object, const char *name, const char *library,
                          const char *class)
{
    JsonArray *entry = json_array_new();

    json_array_add_string_element(entry, library);
    json_array_add_string_element(entry, class);
    json_object_set_array_member(object, name, entry);
}

void ldm_config_write_vae_class(JsonObject *index, const char *part, const LdmVaeConfig *vae)
{
    set_component(index, part, "diffusers", vae_class(vae));
}

JsonObject *ldm_config_write_index(const LdmModelConfig *c, const char *vae)
{
    bool sees_mask = c->unet.in_channels == 2 * c->vae.latent_channels + 1;
    JsonObject *object =
        object_new(sees_mask ? "StableDiffusionInpaintPipeline" : "StableDiffusionPipeline");

    set_component(object, "unet", "diffusers", "UNet2DConditionModel");
    ldm_config_write_vae_class(object, vae, &c->vae);
    set_component(object, "scheduler", "diffusers", "DDIMScheduler");
    if (c->has_text) {
        set_component(object, "text_encoder", "transformers", "CLIPTextModel");
        set_component(object, "tokenizer", "transformers", "CLIPTokenizer");
    }
    static const char *const absent[] = {"safety_checker", "feature_extractor"};
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++) {
        JsonArray *entry = json_array_new();
        json_array_add_null_element(entry);
        json_array_add_null_element(entry);
        json_object_set_array_member(object, absent[i], entry);
    }
    json_object_set_boolean_member(object, "requires_safety_checker", FALSE);
    return object;
}
