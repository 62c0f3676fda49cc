/* denoise: the UNet as the loop's network. In come z_t with its extra channels, the timestep and
 * the tokens; out goes the raw output. Tests drive the loop with other networks. */
#include "denoise/loop.h"

LdmTensor *ldm_network_unet(LdmPass *pass, const void *data, LdmTensor *x, const double *timesteps,
                            LdmTensor *context)
{
    return ldm_unet_forward(pass, data, x, timesteps, context);
}
