/* Names of parameters, built while a network is built: each part adds its own word, so that
 * "down_blocks.0.resnets.1.conv2.weight" is never spelled out anywhere. */
#include "layers/scope.h"

#include <string.h>

LdmScope ldm_scope_root(LdmParams *params)
{
    return (LdmScope){.params = params};
}

LdmScope ldm_scope(const LdmScope *outer, const char *format, ...)
{
    LdmScope scope = *outer;
    size_t used = strlen(scope.prefix);
    va_list arguments;
    if (used > 0)
        scope.prefix[used++] = '.';
    va_start(arguments, format);
    g_vsnprintf(scope.prefix + used, sizeof scope.prefix - used, format, arguments);
    va_end(arguments);
    return scope;
}

LdmParam *ldm_scope_add(const LdmScope *scope, const char *name, int rank, const size_t *shape)
{
    return ldm_params_add(scope->params, scope->prefix, name, rank, shape);
}
