/* diffuse: the training schedule. In comes the model's schedule configuration, out goes alpha_bar
 * of every training timestep. The reference computes betas in float32 and the running product in
 * double, rounding each entry; this does the same, so that levels agree to the last bit or
 * nearly. */
#include "diffuse/schedule.h"

/* torch.linspace in float32: counted from the nearer end. */
static float linspace(float start, float end, int n, int i)
{
    if (n == 1)
        return start;
    float step = (end - start) / (float)(n - 1);
    return i < n / 2 ? start + step * (float)i : end - step * (float)(n - 1 - i);
}

/* alpha_bar(u) of the cosine schedule, u in 0 .. 1 (arXiv 2102.09672, equation 17). */
static double cosine_alpha_bar(double u)
{
    double c = cos((u + 0.008) / 1.008 * G_PI / 2);

    return c * c;
}

static float beta(const LdmScheduleConfig *config, int t)
{
    int n = config->train_steps;

    switch (config->betas) {
    case LDM_BETAS_LINEAR:
        return linspace((float)config->beta_start, (float)config->beta_end, n, t);
    case LDM_BETAS_SCALED_LINEAR: {
        float root = linspace((float)sqrt(config->beta_start), (float)sqrt(config->beta_end), n, t);
        return root * root;
    }
    case LDM_BETAS_SQUAREDCOS: break;
    }
    double ratio = cosine_alpha_bar((t + 1.0) / n) / cosine_alpha_bar((double)t / n);
    return (float)MIN(1.0 - ratio, 0.999);
}

/* Shifts and scales sqrt(alpha_bar) so that the last one is 0 and the first one stays
 * (arXiv 2305.08891, algorithm 1), through betas and back as the reference does. */
static void rescale_to_zero_snr(double *alpha_bar, int n)
{
    float first = sqrtf((float)alpha_bar[0]), last = sqrtf((float)alpha_bar[n - 1]);
    float scale = first / (first - last), before = 1.0f;
    double product = 1.0;

    for (int t = 0; t < n; t++) {
        float root = (sqrtf((float)alpha_bar[t]) - last) * scale;
        float level = root * root;
        float step_beta = 1.0f - level / before;
        before = level;
        product *= 1.0f - step_beta;
        alpha_bar[t] = (float)product;
    }
}

void ldm_schedule_alpha_bar(const LdmScheduleConfig *config, double *alpha_bar)
{
    double product = 1.0;

    for (int t = 0; t < config->train_steps; t++) {
        product *= 1.0f - beta(config, t);
        alpha_bar[t] = (float)product;
    }
    if (config->zero_terminal_snr && config->train_steps > 1)
        rescale_to_zero_snr(alpha_bar, config->train_steps);
}
