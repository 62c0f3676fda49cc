/* The beginning of an autoencoder's linear path: what principal components give. */
#pragma once

#include "pipeline/model.h"
#include "train/windows.h"

/* Sets the weights (f32) of the linear path, there and back, but for the first `known` channels of
 * the latent, which have theirs: the directions in which cells of the data set's pictures differ
 * most; with known channels, in which they do in what a linear map of these cannot tell. Does
 * nothing where there is no such path. Errors: those of reading pictures. */
bool ldm_linear_start(LdmModel *model, const LdmWindows *windows, size_t known, GError **error);
