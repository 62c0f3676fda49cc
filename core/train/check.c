/* One check for every option of training. In: what was asked for. Out: yes, or a sentence with the
 * option's name as files and the command line have it. */
#include "train/check.h"

#include "base/error.h"
#include "train/checkpoint.h"

bool ldm_option_check(const char *name, double value, double least, double most, GError **error)
{
    if (value >= least && value <= most)
        return true;
    ldm_set_error(error, INVALID, _("%s is %g, but must lie between %g and %g"), name, value, least,
                  most);
    return false;
}

void ldm_option_append(GString *settings, const char *name, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append_printf(settings, " %s=%s", name, g_ascii_dtostr(number, sizeof number, value));
}

void ldm_option_append_config(GString *settings, const LdmModel *model)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    ldm_model_digest_config(model, sum);
    g_string_append_printf(settings, LDM_CHECKPOINT_CONFIG "%.16s", g_checksum_get_string(sum));
}
