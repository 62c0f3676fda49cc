/* The beginning of an autoencoder's linear path: what principal components give. */
#pragma once

#include "pipeline/model.h"
#include "train/windows.h"

/* Sets the weights of the linear path of a model whose autoencoder was drawn: the z directions in
 * which cells of the data set's pictures differ most, there and back. Does nothing where there is
 * no such path. Errors: those of reading pictures. */
bool ldm_linear_start(LdmModel *model, const LdmWindows *windows, GError **error);
