/* What diffusers' configuration files call things: for reading, writing and telling them. */
#pragma once

/* By LdmBetas, LdmPrediction and LdmSpacing; NULL ends each. */
extern const char *const ldm_beta_names[], *const ldm_prediction_names[],
                                               *const ldm_spacing_names[];

/* By LdmHole; NULL ends them. Our own: diffusers has no word for it. */
extern const char *const ldm_hole_names[];

/* Blocks of a level without attention, with it. */
extern const char *const ldm_unet_down_names[2], *const ldm_unet_up_names[2];
extern const char *const ldm_vae_down_names[2], *const ldm_vae_up_names[2];
