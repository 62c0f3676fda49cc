/* diffusers' configuration files: those of the published SD 1.5 and SD 2.1 as they are, and the
 * traps in them; the limits of ldm_model_config_check. */
#include "made-model.h"
#include "weights/config-write.h"
#include "weights/diffusers-config.h"

#include <math.h>

static JsonObject *parse(const char *text)
{
    GError *error = NULL;
    JsonObject *json = ldm_json_parse(text, strlen(text), "config.json", &error);
    g_assert_no_error(error);
    return json;
}

/* SD 1.5: old files leave out what later versions of diffusers added. */
static void test_sd1(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) unet = parse(
        "{\"_class_name\":\"UNet2DConditionModel\",\"_diffusers_version\":\"0.6.0\","
        "\"act_fn\":\"silu\",\"attention_head_dim\":8,"
        "\"block_out_channels\":[320,640,1280,1280],\"center_input_sample\":false,"
        "\"cross_attention_dim\":768,\"down_block_types\":[\"CrossAttnDownBlock2D\","
        "\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
        "\"downsample_padding\":1,\"flip_sin_to_cos\":true,\"freq_shift\":0,\"in_channels\":4,"
        "\"layers_per_block\":2,\"mid_block_scale_factor\":1,\"norm_eps\":1e-05,"
        "\"norm_num_groups\":32,\"out_channels\":4,\"sample_size\":64,\"up_block_types\":"
        "[\"UpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\"]}");
    LdmUnetConfig c;
    g_assert_true(ldm_config_read_unet(&c, unet, "config.json", &error));
    g_assert_cmpint(c.levels, ==, 4);
    g_assert_cmpint(c.channels[2], ==, 1280);
    g_assert_cmpint(c.heads[0], ==, 8); /* heads, in spite of the key's name */
    g_assert_cmpint(c.heads[3], ==, 8);
    g_assert_true(c.attention[2] && !c.attention[3] && c.mid_attention);
    g_assert_cmpint(c.context_width, ==, 768);
    g_assert_cmpint(c.depth[1], ==, 1);
    g_assert_false(c.linear_projection);

    g_autoptr(JsonObject) schedule =
        parse("{\"_class_name\":\"PNDMScheduler\",\"beta_end\":0.012,\"beta_schedule\":"
              "\"scaled_linear\",\"beta_start\":0.00085,\"num_train_timesteps\":1000,"
              "\"set_alpha_to_one\":false,\"skip_prk_steps\":true,\"steps_offset\":1,"
              "\"trained_betas\":null,\"clip_sample\":false}");
    LdmScheduleConfig s;
    g_assert_true(ldm_config_read_schedule(&s, schedule, "scheduler_config.json", &error));
    g_assert_cmpint(s.betas, ==, LDM_BETAS_SCALED_LINEAR);
    g_assert_cmpint(s.spacing, ==, LDM_SPACING_LEADING);
    g_assert_cmpint(s.prediction, ==, LDM_PREDICTION_EPSILON);
    g_assert_cmpint(s.steps_offset, ==, 1);
    g_assert_false(s.final_alpha_one || s.zero_terminal_snr);

    g_autoptr(JsonObject) vae = parse(
        "{\"_class_name\":\"AutoencoderKL\",\"act_fn\":\"silu\",\"block_out_channels\":"
        "[128,256,512,512],\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\","
        "\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],\"in_channels\":3,\"latent_channels\":4,"
        "\"layers_per_block\":2,\"norm_num_groups\":32,\"out_channels\":3,\"sample_size\":512,"
        "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\","
        "\"UpDecoderBlock2D\"]}");
    LdmVaeConfig v;
    g_assert_true(ldm_config_read_vae(&v, vae, "config.json", &error));
    g_assert_cmpint(v.levels, ==, 4);
    g_assert_cmpfloat(v.scale_factor, ==, 0.18215);
    g_assert_true(v.mid_attention && v.quant_conv && v.post_quant_conv);
}

/* What the masked picture shows in its hole: our own key, mid-grey without it. */
static void test_hole(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) filled = parse("{\"masked_hole\":\"filled\"}"), none = parse("{}");
    g_autoptr(JsonObject) odd = parse("{\"masked_hole\":\"noise\"}");
    LdmUnetConfig c;
    g_assert_true(ldm_config_read_unet(&c, none, "config.json", &error));
    g_assert_cmpint(c.hole, ==, LDM_HOLE_GREY);
    g_autoptr(JsonObject) plain = ldm_config_write_unet(&c);
    g_assert_false(json_object_has_member(plain, "masked_hole"));
    g_assert_true(ldm_config_read_unet(&c, filled, "config.json", &error));
    g_autoptr(JsonObject) written = ldm_config_write_unet(&c);
    g_assert_true(ldm_config_read_unet(&c, written, "config.json", &error));
    g_assert_cmpint(c.hole, ==, LDM_HOLE_FILLED);
    g_assert_false(ldm_config_read_unet(&c, odd, "config.json", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "masked_hole is \"noise\""));
}

/* SD 2.1: heads by level, linear projections, v-prediction, exact GELU. */
static void test_sd2(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) unet = parse(
        "{\"_class_name\":\"UNet2DConditionModel\",\"attention_head_dim\":[5,10,20,20],"
        "\"block_out_channels\":[320,640,1280,1280],\"cross_attention_dim\":1024,"
        "\"dual_cross_attention\":false,\"num_class_embeds\":null,\"only_cross_attention\":false,"
        "\"sample_size\":96,\"upcast_attention\":true,\"use_linear_projection\":true,"
        "\"transformer_layers_per_block\":[1,2,3,4]}");
    LdmUnetConfig c;
    g_assert_true(ldm_config_read_unet(&c, unet, "config.json", &error));
    g_assert_cmpint(c.heads[0], ==, 5);
    g_assert_cmpint(c.heads[3], ==, 20);
    g_assert_cmpint(c.depth[2], ==, 3);
    g_assert_cmpint(c.sample_size, ==, 96);
    g_assert_true(c.linear_projection);
    g_assert_true(c.attention[0] && !c.attention[3]); /* diffusers' defaults */

    g_autoptr(JsonObject) schedule =
        parse("{\"_class_name\":\"DDIMScheduler\",\"beta_end\":0.012,\"beta_schedule\":"
              "\"scaled_linear\",\"beta_start\":0.00085,\"clip_sample\":false,\"prediction_type\":"
              "\"v_prediction\",\"set_alpha_to_one\":false,\"steps_offset\":1,"
              "\"rescale_betas_zero_snr\":true,\"timestep_spacing\":\"trailing\"}");
    LdmScheduleConfig s;
    g_assert_true(ldm_config_read_schedule(&s, schedule, "scheduler_config.json", &error));
    g_assert_cmpint(s.prediction, ==, LDM_PREDICTION_V);
    g_assert_cmpint(s.spacing, ==, LDM_SPACING_TRAILING);
    g_assert_true(s.zero_terminal_snr);

    g_autoptr(JsonObject) text =
        parse("{\"architectures\":[\"CLIPTextModel\"],\"bos_token_id\":0,\"eos_token_id\":2,"
              "\"hidden_act\":\"gelu\",\"hidden_size\":1024,\"intermediate_size\":4096,"
              "\"layer_norm_eps\":1e-05,\"max_position_embeddings\":77,\"model_type\":"
              "\"clip_text_model\",\"num_attention_heads\":16,\"num_hidden_layers\":23,"
              "\"pad_token_id\":1,\"vocab_size\":49408}");
    LdmTextConfig t;
    g_assert_true(ldm_config_read_text(&t, text, "config.json", &error));
    g_assert_cmpint(t.layers, ==, 23);
    g_assert_cmpint(t.skip_last, ==, 0);
    g_assert_false(t.quick_gelu);
}

/* What a missing key means depends on the scheduler's class. */
static void test_scheduler_defaults(void)
{
    static const struct {
        const char *json;
        LdmSpacing spacing;
        bool final_alpha_one;
    } rows[] = {
        {"{}", LDM_SPACING_LEADING, true},
        {"{\"_class_name\":\"DDIMScheduler\"}", LDM_SPACING_LEADING, true},
        {"{\"_class_name\":\"PNDMScheduler\"}", LDM_SPACING_LEADING, false},
        {"{\"_class_name\":\"EulerDiscreteScheduler\"}", LDM_SPACING_LINSPACE, true},
        {"{\"_class_name\":\"DPMSolverMultistepScheduler\"}", LDM_SPACING_LINSPACE, true},
        {"{\"_class_name\":\"EulerDiscreteScheduler\",\"timestep_spacing\":\"leading\"}",
         LDM_SPACING_LEADING, true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) json = parse(rows[i].json);
        LdmScheduleConfig c;
        g_assert_true(ldm_config_read_schedule(&c, json, "scheduler_config.json", &error));
        g_assert_cmpint(c.spacing, ==, rows[i].spacing);
        g_assert_cmpint(c.final_alpha_one, ==, rows[i].final_alpha_one);
        g_assert_cmpint(c.betas, ==, LDM_BETAS_LINEAR);
        g_assert_cmpfloat(c.beta_start, ==, 0.0001);
        g_assert_cmpint(c.steps_offset, ==, 0);
    }
}

/* One number out of bounds at a time. */
static void test_limits(void)
{
    LdmModelConfig good = made_config(false, 49408), c;
    g_autoptr(GError) none = NULL;
    g_assert_true(ldm_model_config_check(&good, "here", &none));
#define REFUSED(field, value, words)                                \
    do {                                                            \
        g_autoptr(GError) error = NULL;                             \
        c = good;                                                   \
        c.field = value;                                            \
        g_assert_false(ldm_model_config_check(&c, "here", &error)); \
        g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);    \
        g_assert_nonnull(strstr(error->message, "here"));           \
        g_assert_nonnull(strstr(error->message, words));            \
    } while (0)
    REFUSED(vae.levels, 0, "vae levels is 0");
    REFUSED(vae.levels, 9, "vae levels is 9");
    REFUSED(vae.channels[1], 0, "block_out_channels is 0");
    REFUSED(vae.channels[1], 33, "33 is not a multiple of norm_num_groups 32");
    REFUSED(vae.channels[0], 1 << 30, "16384");
    REFUSED(vae.norm_groups, 0, "norm_num_groups");
    REFUSED(vae.latent_channels, 65, "latent_channels is 65");
    REFUSED(vae.in_channels, 4, "vae in_channels is 4");
    REFUSED(vae.layers_per_block, -1, "layers_per_block");
    REFUSED(vae.scale_factor, 0, "scaling_factor is 0");
    REFUSED(vae.scale_factor, (double)NAN, "scaling_factor");
    REFUSED(vae.shift_factor, (double)INFINITY, "shift_factor");
    REFUSED(unet.in_channels, 8, "4 (plain) or 9 (inpainting)");
    REFUSED(unet.out_channels, 8, "unet out_channels is 8");
    REFUSED(unet.heads[0], 0, "number of heads");
    REFUSED(unet.heads[0], 5, "not a multiple");
    REFUSED(unet.heads[1], 0, "number of heads"); /* the middle block's */
    REFUSED(unet.depth[0], 65, "transformer_layers_per_block");
    REFUSED(unet.context_width, 0, "cross_attention_dim");
    REFUSED(unet.sample_size, 0, "sample_size");
    REFUSED(unet.norm_eps, -1, "norm_eps is -1");
    REFUSED(text.width, 64, "hidden_size is 64; 32 to 32");
    REFUSED(text.heads, 3, "hidden_size 32 is not a multiple");
    REFUSED(text.skip_last, 2, "left out");
    REFUSED(text.tokens, 1, "max_position_embeddings");
    REFUSED(text.tokens, 4097, "max_position_embeddings");
    REFUSED(text.eos, 49408, "eos_token_id is 49408");
    REFUSED(text.pad, -1, "pad_token_id is -1");
    REFUSED(schedule.train_steps, 0, "num_train_timesteps");
    REFUSED(schedule.steps_offset, -1, "steps_offset");
    REFUSED(schedule.beta_start, 0, "beta_start");
    REFUSED(schedule.beta_end, 1, "beta_end is 1");
#undef REFUSED
    c = good;
    c.has_text = false;
    c.text.width = 0;
    g_assert_true(ldm_model_config_check(&c, "here", &none));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/sd1", test_sd1);
    g_test_add_func("/config/hole", test_hole);
    g_test_add_func("/config/sd2", test_sd2);
    g_test_add_func("/config/scheduler-defaults", test_scheduler_defaults);
    g_test_add_func("/config/limits", test_limits);
    return g_test_run();
}
