/* What tells one model from another. In: a model. Out: a digest of where it lies, what its
 * configuration says of numbers, the tokenizer, and the beginnings of its arrays. */
#include "pipeline/model.h"

#include "base/digest.h"

#define SAMPLED 256 /* bytes of each array: another training differs in all of them */

void ldm_model_digest_table(const LdmParams *params, GChecksum *sum)
{
    for (size_t i = 0; params != NULL && i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        const void *data = param->stored ? (const void *)param->q8.bytes : param->data;
        ldm_digest_text(sum, param->name);
        g_checksum_update(sum, data, (gssize)MIN(ldm_param_file_bytes(param), SAMPLED));
    }
}

void ldm_model_digest_config(const LdmModel *model, GChecksum *sum)
{
    const LdmVaeConfig *vae = &model->config.vae;
    const LdmScheduleConfig *schedule = &model->config.schedule;
    const LdmTextConfig *text = &model->config.text;
    LdmDigits a, b, c, d;
    g_autofree char *numbers =
        g_strdup_printf("%s %s %d %d %d %d %s %s %d %d %d", ldm_digits(&a, vae->scale_factor),
                        ldm_digits(&b, vae->shift_factor), vae->norm_groups,
                        model->config.unet.norm_groups, model->config.unet.hole, schedule->betas,
                        ldm_digits(&c, schedule->beta_start), ldm_digits(&d, schedule->beta_end),
                        schedule->train_steps, schedule->prediction, schedule->zero_terminal_snr);
    g_autofree char *words = g_strdup_printf(
        "%d %d %d %d %s %s", text->heads, text->tokens, text->quick_gelu, text->skip_last,
        ldm_digits(&a, text->norm_eps), ldm_digits(&b, model->config.unet.norm_eps));
    ldm_digest_text(sum, numbers);
    ldm_digest_text(sum, words);
    for (int i = 0; i < model->config.unet.levels; i++) {
        g_autofree char *heads = g_strdup_printf("%d", model->config.unet.heads[i]);
        ldm_digest_text(sum, heads);
    }
    if (model->tokenizer != NULL)
        ldm_tokenizer_digest(model->tokenizer, sum);
}

void ldm_model_digest(const LdmModel *model, GChecksum *sum)
{
    ldm_digest_text(sum, model->info.path);
    ldm_model_digest_config(model, sum);
    ldm_model_digest_table(model->unet_params, sum);
    ldm_model_digest_table(model->vae_params, sum);
    ldm_model_digest_table(model->text_params, sum);
}
