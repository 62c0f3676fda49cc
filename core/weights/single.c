/* Single files: one safetensors file in the reference's layout (LDM, SD 1.x, SD 2.x). */
#include "base/error.h"
#include "weights/source.h"

bool ldm_source_open_single(LdmSource *source, GError **error)
{
    ldm_set_error(error, UNSUPPORTED, _("%s: only diffusers folders are read"), source->path);
    return false;
}
