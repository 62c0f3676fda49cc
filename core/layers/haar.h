/* One level of the Haar wavelet, which halves each side without losing anything: of every four
 * neighbours a b / c d of a channel
 *
 *     (a + b + c + d) / 2,  (a - b + c - d) / 2,  (a + b - c - d) / 2,  (a - b - c + d) / 2,
 *
 * each band's channels together. The matrix is its own inverse and transpose, so the way back of
 * one direction is the other. An autoencoder that begins and ends with it does no convolution at
 * full size (after LiteVAE, arXiv 2405.14477). */
#pragma once

#include "layers/pass.h"

/* x [N, H, W, C], H and W even -> [N, H/2, W/2, 4C]; takes x over. */
LdmTensor *ldm_haar_split_forward(LdmPass *pass, LdmTensor *x);

/* x [N, h, w, 4C] -> [N, 2h, 2w, C]; takes x over. */
LdmTensor *ldm_haar_join_forward(LdmPass *pass, LdmTensor *x);

/* The arithmetic of the first, outside a pass: picture and bands as above. */
void ldm_haar_split(const LdmTensor *picture, float *bands);
