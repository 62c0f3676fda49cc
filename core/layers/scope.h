/* Where a layer's parameters are registered: a table and the dotted name so far. */
#pragma once

#include "kernels/kernels.h"
#include "weights/param.h"

typedef struct {
    LdmParams *params;
    char prefix[192];
} LdmScope;

/* The top of a table. */
LdmScope ldm_scope_root(LdmParams *params);

/* The scope of a part: "OUTER.NAME", or NAME at the top. */
LdmScope ldm_scope(const LdmScope *outer, const char *format, ...) G_GNUC_PRINTF(2, 3);

LdmParam *ldm_scope_add(const LdmScope *scope, const char *name, int rank, const size_t *shape);

/* A parameter as the kernels take it; NULL = none. */
static inline LdmWeights ldm_param_weights(const LdmParam *param)
{
    return param == NULL ? (LdmWeights){0} : (LdmWeights){param->data, param->dtype};
}
