/* diffuse: which timesteps a run visits and at which levels. In come the schedule, the sampler, K
 * and the strength; out goes LdmTimes. Follows the reference's DDIM, EulerDiscrete and
 * DPMSolverMultistep schedulers, arithmetic and roundings included, because a timestep that rounds
 * the other way is another picture. */
#include "base/error.h"
#include "diffuse/schedule.h"

/* Stands for alpha_bar = 0 where a finite sigma is needed: the reference's own value. */
#define TINY_ALPHA_BAR 0x1p-24

#define KARRAS_RHO 7.0

/* The training schedule as the k-samplers see it. */
typedef struct {
    const LdmScheduleConfig *config;
    LdmSampler sampler;
    int n; /* train_steps */
    int K;
    double *alpha_bar; /* [n] */
    float *sigma;      /* [n] sqrt((1 - a) / a), rising */
} Table;

static double sigma_to_alpha_bar(double sigma)
{
    return 1.0 / (sigma * sigma + 1.0);
}

static void table_init(Table *table, const LdmScheduleConfig *config, LdmSampler sampler, int K)
{
    int n = config->train_steps;

    *table = (Table){.config = config,
                     .sampler = sampler,
                     .n = n,
                     .K = K,
                     .alpha_bar = g_new(double, n),
                     .sigma = g_new(float, n)};
    ldm_schedule_alpha_bar(config, table->alpha_bar);
    bool needs_signal = sampler != LDM_SAMPLER_DDIM || config->prediction == LDM_PREDICTION_EPSILON;
    if (needs_signal && table->alpha_bar[n - 1] < TINY_ALPHA_BAR && config->zero_terminal_snr)
        table->alpha_bar[n - 1] = TINY_ALPHA_BAR;
    for (int t = 0; t < n; t++) {
        float a = (float)MAX(table->alpha_bar[t], TINY_ALPHA_BAR * TINY_ALPHA_BAR);
        table->sigma[t] = sqrtf((1.0f - a) / a);
    }
}

static void table_clear(Table *table)
{
    g_free(table->alpha_bar);
    g_free(table->sigma);
}

/* Timestep of step k, not yet limited to the schedule. DPM++ divides the schedule into K + 1 parts
 * and leaves the last one out; Euler keeps the fractions of linspace. */
static double spaced_timestep(const Table *table, int k)
{
    int n = table->n, K = table->K;
    bool dpm = table->sampler == LDM_SAMPLER_DPMPP_2M;

    switch (table->config->spacing) {
    case LDM_SPACING_LINSPACE: {
        int points = dpm ? K + 1 : K;
        double step = points > 1 ? (n - 1.0) / (points - 1) : 0.0;
        double t = k == 0 && points > 1 ? n - 1.0 : (points - 1 - k) * step;
        bool fractional =
            table->sampler == LDM_SAMPLER_EULER || table->sampler == LDM_SAMPLER_EULER_A;
        return fractional ? (float)t : rint(t);
    }
    case LDM_SPACING_TRAILING: {
        double step = (double)n / K;
        return rint(n + k * ((n - step) - n)) - 1.0;
    }
    case LDM_SPACING_LEADING: break;
    }
    int stride = MAX(n / (dpm ? K + 1 : K), 1);
    return (double)((dpm ? K - k : K - 1 - k) * stride) + table->config->steps_offset;
}

/* Linear interpolation of sigma at a timestep within the schedule. */
static double sigma_at(const Table *table, double t)
{
    int i = MIN((int)t, table->n - 1);
    double below = table->sigma[i];

    if (i == table->n - 1)
        return below;
    return (table->sigma[i + 1] - below) * (t - i) + below;
}

/* The inverse, linear in log sigma. */
static double timestep_of_sigma(const Table *table, double sigma)
{
    double log_sigma = log(MAX(sigma, 1e-10));
    int low = 0, high = table->n - 1;

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (logf(table->sigma[middle]) <= log_sigma)
            low = middle;
        else
            high = middle;
    }
    float a = logf(table->sigma[low]), b = logf(table->sigma[MIN(low + 1, table->n - 1)]);
    double w = b > a ? (a - log_sigma) / (a - b) : 0.0;
    w = CLAMP(w, 0.0, 1.0);
    return (1.0 - w) * low + w * (low + 1);
}

static void model_times(const Table *table, LdmTimes *times)
{
    int n = table->n, K = table->K, stride = n / K;
    bool ddim = table->sampler == LDM_SAMPLER_DDIM;
    double final = ddim && !table->config->final_alpha_one ? table->alpha_bar[0] : 1.0;

    for (int k = 0; k < K; k++) {
        double spaced = spaced_timestep(table, k), t = CLAMP(spaced, 0.0, n - 1.0);
        times->timesteps[k] = t;
        times->alpha_bar[k] =
            ddim ? table->alpha_bar[(int)t] : sigma_to_alpha_bar((float)sigma_at(table, t));
        if (ddim) {
            int before = MIN((int)spaced - stride, n - 1);
            times->alpha_next[k] = before >= 0 ? table->alpha_bar[before] : final;
        }
    }
    times->alpha_bar[K] = final;
    for (int k = 0; !ddim && k < K; k++)
        times->alpha_next[k] = times->alpha_bar[k + 1];
}

/* sigma_k = (max^(1/rho) + k/(K-1) (min^(1/rho) - max^(1/rho)))^rho. Euler's range is that of its
 * own timesteps, DPM++'s the whole schedule; DPM++ gives the network whole timesteps (the cosine
 * schedule's cut, the others' rounded). */
static void karras_times(const Table *table, LdmTimes *times)
{
    int n = table->n, K = table->K;
    bool dpm = table->sampler == LDM_SAMPLER_DPMPP_2M;
    double t_max = dpm ? n - 1.0 : CLAMP(spaced_timestep(table, 0), 0.0, n - 1.0);
    double t_min = dpm ? 0.0 : CLAMP(spaced_timestep(table, K - 1), 0.0, n - 1.0);
    double high = pow(sigma_at(table, t_max), 1.0 / KARRAS_RHO);
    double low = pow(sigma_at(table, t_min), 1.0 / KARRAS_RHO);
    bool ddim = table->sampler == LDM_SAMPLER_DDIM;

    for (int k = 0; k < K; k++) {
        double ramp = K > 1 ? (double)k / (K - 1) : 0.0;
        double sigma = pow(high + ramp * (low - high), KARRAS_RHO);
        double t = timestep_of_sigma(table, sigma);
        if (dpm)
            t = table->config->betas == LDM_BETAS_SQUAREDCOS ? floor(t) : rint(t);
        times->timesteps[k] = (float)t;
        times->alpha_bar[k] = sigma_to_alpha_bar((float)sigma);
        if (k > 0)
            times->alpha_next[k - 1] = times->alpha_bar[k];
    }
    times->alpha_bar[K] = ddim && !table->config->final_alpha_one ? table->alpha_bar[0] : 1.0;
    times->alpha_next[K - 1] = times->alpha_bar[K];
}

/* Euler's reference starts from sigma_max * noise with linspace and trailing spacing, which in our
 * space is sigma / sqrt(sigma^2 + 1) = sqrt(1 - alpha_bar). */
static double noise_scale(const Table *table, const LdmTimes *times)
{
    bool euler = table->sampler == LDM_SAMPLER_EULER || table->sampler == LDM_SAMPLER_EULER_A;

    if (!euler || table->config->spacing == LDM_SPACING_LEADING)
        return 1.0;
    return sqrt(1.0 - times->alpha_bar[0]);
}

bool ldm_times_init(LdmTimes *times, const LdmScheduleConfig *config, LdmSampler sampler,
                    LdmSigmas sigmas, int steps, double strength, GError **error)
{
    Table table;

    *times = (LdmTimes){0};
    if (steps < 1 || steps > config->train_steps) {
        ldm_set_error(error, INVALID,
                      _("the number of steps is %d; this model takes 1 to %d steps"), steps,
                      config->train_steps);
        return false;
    }
    if (!(strength >= 0.0 && strength <= 1.0)) {
        ldm_set_error(error, INVALID, _("the strength must lie between 0 and 1"));
        return false;
    }
    times->steps = steps;
    times->start = ldm_start_step(steps, strength);
    times->timesteps = g_new(double, steps);
    times->alpha_bar = g_new(double, steps + 1);
    times->alpha_next = g_new(double, steps);
    table_init(&table, config, sampler, steps);
    if (sigmas == LDM_SIGMAS_KARRAS)
        karras_times(&table, times);
    else
        model_times(&table, times);
    times->noise_scale = noise_scale(&table, times);
    table_clear(&table);
    return true;
}
