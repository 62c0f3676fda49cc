/* denoise: between network and sampler. In comes the network's raw output, of one or two branches;
 * out go the predicted x0 and epsilon. */
#include "denoise/guidance.h"

#include <math.h>

void ldm_guide(float *out, const float *o_u, const float *o_c, size_t n, double g)
{
    float scale = (float)g;

    for (size_t i = 0; i < n; i++)
        out[i] = o_u[i] + scale * (o_c[i] - o_u[i]);
}

/* Standard deviation of n values, n > 0. */
static double spread_of(const float *x, size_t n)
{
    double sum = 0.0, squares = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    return sqrt(squares / (double)n);
}

void ldm_guide_rescale(float *out, const float *o_c, size_t n, double phi)
{
    double guided = spread_of(out, n);
    float factor = (float)(guided > 0.0 ? 1.0 - phi + phi * spread_of(o_c, n) / guided : 1.0);

    for (size_t i = 0; i < n; i++)
        out[i] *= factor;
}

void ldm_predict_x0(LdmPrediction prediction, double alpha_bar, const float *z, const float *o,
                    size_t n, float *x0, float *eps)
{
    double signal = sqrt(alpha_bar), spread = sqrt(1.0 - alpha_bar);

    for (size_t i = 0; i < n; i++) {
        double out = o[i], in = z[i];
        switch (prediction) {
        case LDM_PREDICTION_EPSILON:
            x0[i] = (float)((in - spread * out) / signal);
            eps[i] = (float)out;
            break;
        case LDM_PREDICTION_V:
            x0[i] = (float)(signal * in - spread * out);
            eps[i] = (float)(signal * out + spread * in);
            break;
        case LDM_PREDICTION_SAMPLE:
            x0[i] = (float)out;
            eps[i] = (float)(spread > 0.0 ? (in - signal * out) / spread : 0.0);
            break;
        }
    }
}
