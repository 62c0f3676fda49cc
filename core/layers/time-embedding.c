/* Timestep embedding: for i < half = channels / 2, f_i = exp(-ln(10000) i / half) and
 * e = [cos(t f) | sin(t f)], zero at the end where channels is odd; then the two linear layers.
 * The angles are rounded to f32 at each step as in the reference: at t = 999 one ulp of an angle
 * is 6e-5 of the result, so more exact angles would be further away from what models learned. */
#include "layers/time-embedding.h"

#include "layers/elementwise.h"

#include <math.h>

void ldm_time_embedding_init(LdmTimeEmbedding *layer, LdmScope scope, size_t channels, size_t width)
{
    layer->channels = channels;
    ldm_linear_init(&layer->linear1, ldm_scope(&scope, "linear_1"), channels, width, true);
    ldm_linear_init(&layer->linear2, ldm_scope(&scope, "linear_2"), width, width, true);
}

static void sinusoid(float *e, size_t channels, float t)
{
    size_t half = channels / 2;
    for (size_t i = 0; i < half; i++) {
        float exponent = (float)-log(10000.0) * (float)i / (float)half;
        float angle = t * (float)exp(exponent);
        e[i] = (float)cos(angle);
        e[half + i] = (float)sin(angle);
    }
    if (channels % 2 != 0)
        e[channels - 1] = 0;
}

LdmTensor *ldm_time_embedding_forward(LdmPass *pass, const LdmTimeEmbedding *layer,
                                      const double *timesteps, size_t N)
{
    size_t C = layer->channels;
    LdmTensor *e = ldm_pass_tensor(pass, 2, (size_t[]){N, C});
    if (ldm_pass_op(pass, &(LdmOp){.name = "timestep-sinusoid", .output = e})) {
        for (size_t n = 0; n < N; n++)
            sinusoid((float *)e->data + n * C, C, (float)timesteps[n]);
        ldm_pass_check(pass, true);
    }
    e = ldm_linear_forward(pass, &layer->linear1, e, NULL);
    e = ldm_activation_forward(pass, LDM_ACT_SILU, e);
    return ldm_linear_forward(pass, &layer->linear2, e, NULL);
}
