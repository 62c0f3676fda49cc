/* The linear path of an autoencoder. In: the picture, or its bands, or the latent. Out: its share
 * of the moments, or of the picture or its bands. */
#include "layers/linear-path.h"

#include "layers/haar.h"

static size_t coefficients(size_t channels, int splits)
{
    return channels << (2 * splits);
}

void ldm_linear_path_init_encode(LdmLinearPath *path, LdmScope scope, size_t channels, int splits,
                                 size_t moments)
{
    path->splits = splits;
    ldm_linear_init(&path->linear, scope, coefficients(channels, splits), moments, true);
}

void ldm_linear_path_init_decode(LdmLinearPath *path, LdmScope scope, size_t latent,
                                 size_t channels, int splits)
{
    path->splits = splits;
    ldm_linear_init(&path->linear, scope, latent, coefficients(channels, splits), true);
}

LdmTensor *ldm_linear_path_encode(LdmPass *pass, const LdmLinearPath *path, LdmTensor *x)
{
    for (int i = 0; i < path->splits; i++)
        x = ldm_haar_split_forward(pass, x);
    return ldm_linear_forward(pass, &path->linear, x, NULL);
}

LdmTensor *ldm_linear_path_decode(LdmPass *pass, const LdmLinearPath *path, LdmTensor *z)
{
    LdmTensor *h = ldm_linear_forward(pass, &path->linear, z, NULL);

    for (int i = 0; i < path->splits; i++)
        h = ldm_haar_join_forward(pass, h);
    return h;
}
