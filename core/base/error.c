/* The library's error domain and the names of the stages of the line: what every folder above
 * needs in order to say what went wrong, and where. */
#include "base/error.h"

G_DEFINE_QUARK(ldm - error - quark, ldm_error)

bool ldm_cancelled(GCancellable *cancellable, GError **error)
{
    if (!g_cancellable_is_cancelled(cancellable))
        return false;
    ldm_set_error(error, CANCELLED, _("cancelled"));
    return true;
}

bool ldm_set_no_memory(GError **error, const char *what, size_t bytes)
{
    ldm_set_error(error, MEMORY,
                  _("Not enough memory for %s (%zu MB): choose a smaller size, or close other "
                    "programs"),
                  what, bytes / 1000000 + (bytes % 1000000 != 0));
    return false;
}

const char *ldm_stage_name(LdmStage stage)
{
    static const char *const names[LDM_N_STAGES] = {
        [LDM_STAGE_LOAD] = "load",       [LDM_STAGE_LEARN] = "learn",
        [LDM_STAGE_PREPARE] = "prepare", [LDM_STAGE_CONDITION] = "condition",
        [LDM_STAGE_ENCODE] = "encode",   [LDM_STAGE_DIFFUSE] = "diffuse",
        [LDM_STAGE_DENOISE] = "denoise", [LDM_STAGE_DECODE] = "decode",
        [LDM_STAGE_FINISH] = "finish",
    };
    return (unsigned)stage < LDM_N_STAGES ? names[stage] : "unknown";
}
