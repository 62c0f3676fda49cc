/* decode, the cheapest way: a linear map from a latent's cell to a colour. In: latents and the
 * colours of their cells. Out: the map, from the normal equations by Cholesky's decomposition. */
#include "decode/rgb-map.h"

#include "base/error.h"
#include "tensor/tensor.h"

#include <math.h>

#define COLOURS 3
#define PULL    1e-4 /* on the squares of the map's numbers, beside the mean square error */

/* Of the system A map = b, n = z + 1 unknowns for each colour; A is symmetric. */
typedef struct {
    size_t n;
    double *A, *b; /* [n, n], [n, 3] */
} System;

static double channel(const float *cell, size_t i, size_t z)
{
    return i < z ? cell[i] : 1.0;
}

static void add_up(System *system, const LdmTensor *z, const LdmTensor *rgb)
{
    size_t Z = system->n - 1, n = system->n, cells = ldm_tensor_count(z) / Z;

    for (size_t cell = 0; cell < cells; cell++) {
        const float *from = (const float *)z->data + cell * Z;
        const float *colour = (const float *)rgb->data + cell * COLOURS;
        for (size_t i = 0; i < n; i++) {
            double x = channel(from, i, Z) / (double)cells;
            for (size_t k = 0; k <= i; k++)
                system->A[i * n + k] += x * channel(from, k, Z);
            for (size_t c = 0; c < COLOURS; c++)
                system->b[i * COLOURS + c] += x * colour[c];
        }
    }
    for (size_t i = 0; i < Z; i++)
        system->A[i * n + i] += PULL;
}

/* A = L L^T in place; false where A is not positive. */
static bool decompose(System *system)
{
    size_t n = system->n;
    double *A = system->A;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k <= i; k++) {
            double sum = A[i * n + k];
            for (size_t j = 0; j < k; j++)
                sum -= A[i * n + j] * A[k * n + j];
            if (i == k && !(sum > 0.0))
                return false;
            A[i * n + k] = i == k ? sqrt(sum) : sum / A[k * n + k];
        }
    return true;
}

static void solve(System *system, float *map)
{
    size_t n = system->n;
    const double *L = system->A;

    for (size_t c = 0; c < COLOURS; c++) {
        double *x = system->b + c;
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < i; k++)
                x[i * COLOURS] -= L[i * n + k] * x[k * COLOURS];
            x[i * COLOURS] /= L[i * n + i];
        }
        for (size_t i = n; i-- > 0;) {
            for (size_t k = i + 1; k < n; k++)
                x[i * COLOURS] -= L[k * n + i] * x[k * COLOURS];
            x[i * COLOURS] /= L[i * n + i];
        }
        for (size_t i = 0; i < n; i++)
            map[i * COLOURS + c] = (float)x[i * COLOURS];
    }
}

LdmTensor *ldm_rgb_map_fit(const LdmTensor *z, const LdmTensor *rgb, GError **error)
{
    size_t n = z->shape[3] + 1; /* at most 65: the configuration is checked */
    g_autofree double *A = g_new0(double, n *n), *b = g_new0(double, n *COLOURS);
    System system = {n, A, b};
    g_autoptr(LdmTensor) map = ldm_tensor_new(LDM_F32, 2, (size_t[]){n, COLOURS}, error);

    if (map == NULL)
        return NULL;
    add_up(&system, z, rgb);
    if (!decompose(&system)) {
        ldm_set_error(error, NONFINITE, _("the model's latents are not finite"));
        return NULL;
    }
    solve(&system, ldm_tensor_f32(map));
    return g_steal_pointer(&map);
}

bool ldm_rgb_map_fits(const LdmTensor *map, size_t channels)
{
    if (map->rank != 2 || map->shape[0] != channels + 1 || map->shape[1] != COLOURS)
        return false;
    for (size_t i = 0; i < ldm_tensor_count(map); i++)
        if (!isfinite(((const float *)map->data)[i]))
            return false;
    return true;
}

LdmTensor *ldm_rgb_map_apply(const LdmTensor *map, const LdmTensor *z, GError **error)
{
    size_t Z = z->shape[3], cells = ldm_tensor_count(z) / Z;
    const float *weights = map->data, *constant = weights + Z * COLOURS;
    LdmTensor *rgb = ldm_tensor_new_nhwc(z->shape[0], z->shape[1], z->shape[2], COLOURS, error);

    for (size_t cell = 0; rgb != NULL && cell < cells; cell++) {
        const float *from = (const float *)z->data + cell * Z;
        float *to = ldm_tensor_f32(rgb) + cell * COLOURS;
        for (size_t c = 0; c < COLOURS; c++) {
            to[c] = constant[c];
            for (size_t i = 0; i < Z; i++)
                to[c] += from[i] * weights[i * COLOURS + c];
        }
    }
    return rgb;
}
