/* denoise: the UNet as the loop's network; tests drive the loop with others. */
#include "denoise/loop.h"

LdmTensor *ldm_network_unet(LdmPass *pass, const void *data, LdmTensor *x, const double *timesteps,
                            LdmTensor *context)
{
    return ldm_unet_forward(pass, data, x, timesteps, context);
}
