/* A picture's finest detail beside it, amplified: what 2x2 means leave over is small where pictures
 * are smooth, and a network whose weights begin alike for all frequencies is slow to see it. */
#pragma once

#include "layers/pass.h"

/* x [N, H, W, C], H and W even -> [N, H, W, 2C]: x, then gain (x - the mean of its 2x2 block);
 * takes x over. */
LdmTensor *ldm_detail_forward(LdmPass *pass, LdmTensor *x, float gain);
