/* The arithmetic of power profiles. In: widths and times. Out: how the optimiser follows an
 * average, and how kept ones add up to another. */
#include "train/power-ema.h"

#include <glib.h>
#include <math.h>

#define GAMMA_MOST 1e5   /* LDM_POWER_LEAST needs less */
#define RIDGE      1e-10 /* beside 1: profiles so alike that rounding tells them apart share */

double ldm_power_gamma(double sigma_rel)
{
    double low = 0.0, high = GAMMA_MOST;

    for (int i = 0; i < 100; i++) {
        double g = 0.5 * (low + high); /* wider profiles have smaller exponents */
        double width = sqrt((g + 1.0) / (g + 3.0)) / (g + 2.0);
        *(width > sigma_rel ? &low : &high) = g;
    }
    return 0.5 * (low + high);
}

double ldm_power_follow(double gamma, uint64_t t)
{
    return 1.0 - pow(1.0 - 1.0 / (double)t, gamma + 1.0);
}

/* Both are (gamma + 1) tau^gamma / t^(gamma + 1) up to their own time, then 0. */
double ldm_power_product(LdmPower a, LdmPower b)
{
    double size = (a.gamma + 1.0) * (b.gamma + 1.0) / (a.gamma + b.gamma + 1.0);

    return a.t < b.t ? size * pow(a.t / b.t, b.gamma) / b.t : size * pow(b.t / a.t, a.gamma) / a.t;
}

/* ---- least squares ---- */

/* A x = b, b becomes x; A [n, n], symmetric and positive, becomes its Cholesky factor. */
static void solve(double *A, double *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k <= i; k++) {
            double rest = A[i * n + k];
            for (size_t c = 0; c < k; c++)
                rest -= A[i * n + c] * A[k * n + c];
            A[i * n + k] = k < i ? rest / A[k * n + k] : sqrt(rest);
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < i; c++)
            b[i] -= A[i * n + c] * b[c];
        b[i] /= A[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t c = i + 1; c < n; c++)
            b[i] -= A[c * n + i] * b[c];
        b[i] /= A[i * n + i];
    }
}

void ldm_power_fit(const LdmPower *have, size_t n, LdmPower wanted, double *factors)
{
    g_autofree double *A = g_new(double, n *n);
    g_autofree double *lengths = g_new(double, n);
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        lengths[i] = sqrt(ldm_power_product(have[i], have[i]));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++)
            A[i * n + k] = ldm_power_product(have[i], have[k]) / (lengths[i] * lengths[k]);
        A[i * n + i] += RIDGE;
        factors[i] = ldm_power_product(have[i], wanted) / lengths[i];
    }
    solve(A, factors, n);
    for (size_t i = 0; i < n; i++)
        sum += factors[i] /= lengths[i];
    for (size_t i = 0; i < n; i++)
        factors[i] /= sum;
}
