/* Binding what a file holds in 8 bits. In: the two arrays of a matrix, from anywhere. Out: the
 * parameter's q8, mapped. All scales are looked at, since one NaN would spoil every picture; bytes
 * are not: none of their values does harm. */
#include "weights/stored.h"

#include "base/error.h"
#include "tensor/tensor.h"

#include <string.h>

LdmStored ldm_stored_find(const LdmFiles *files, const char *name)
{
    g_autofree char *bytes = g_strconcat(name, LDM_STORED_BYTES, NULL);
    g_autofree char *scales = g_strconcat(name, LDM_STORED_SCALES, NULL);
    return (LdmStored){ldm_files_find(files, bytes), ldm_files_find(files, scales)};
}

static bool check_version(const LdmFiles *files, GError **error)
{
    const char *version = ldm_files_metadata(files, LDM_STORED_KEY);
    if (g_strcmp0(version, LDM_STORED_VERSION) == 0)
        return true;
    ldm_set_error(error, UNSUPPORTED,
                  _("%s: its 8-bit weights are of version %s, only 1 is read: convert the model "
                    "anew with this program"),
                  ldm_files_path(files), version != NULL ? version : _("unknown"));
    return false;
}

static bool check_array(const LdmFileTensor *t, const char *type, int rank, const size_t *shape,
                        GError **error)
{
    if (strcmp(t->type, type) != 0) {
        ldm_set_error(error, UNSUPPORTED, _("%s: tensor %s is stored as %s, expected %s"),
                      ldm_file_path(t->file), t->name, t->type, type);
        return false;
    }
    if (t->rank == rank && memcmp(t->shape, shape, LDM_MAX_RANK * sizeof *shape) == 0)
        return true;
    return ldm_file_tensor_set_shape(t, rank, shape, error);
}

const float *ldm_stored_flaw(const float *scales, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(scales[i] >= 0.0f && scales[i] <= LDM_STORED_MOST))
            return &scales[i];
    return NULL;
}

static bool check_scales(const LdmFileTensor *t, const float *scales, GError **error)
{
    const float *flaw = ldm_stored_flaw(scales, t->bytes / sizeof *scales);
    if (flaw != NULL)
        ldm_set_error(error, FORMAT, _("%s is damaged: tensor %s holds the scale %g"),
                      ldm_file_path(t->file), t->name, (double)*flaw);
    return flaw == NULL;
}

/* Where it lies, or a copy where that is no place for numbers of 4 bytes. */
static const void *aligned(LdmFiles *files, const LdmFileTensor *t, GError **error)
{
    return (uintptr_t)t->data % sizeof(float) == 0
               ? t->data
               : ldm_files_copy(files, t->data, t->bytes, error);
}

bool ldm_stored_bind(LdmFiles *files, LdmParam *param, const LdmStored *stored, GError **error)
{
    const LdmFileTensor *bytes = stored->bytes, *scales = stored->scales;
    size_t N = param->shape[0], C = param->shape[1], taps = param->shape[2] * param->shape[3];
    size_t bytes_shape[LDM_MAX_RANK], scales_shape[LDM_MAX_RANK];
    if (scales == NULL) {
        ldm_set_error(error, MISSING, _("%s: tensor %s lacks its scales: get the model again"),
                      ldm_file_path(bytes->file), bytes->name);
        return false;
    }
    ldm_q8_shapes(N, C, taps, bytes_shape, scales_shape);
    if (!check_version(files, error) || !check_array(bytes, "I8", 4, bytes_shape, error) ||
        !check_array(scales, "F32", 3, scales_shape, error))
        return false;
    const void *words = aligned(files, bytes, error);
    const float *numbers = words != NULL ? aligned(files, scales, error) : NULL;
    if (numbers == NULL || !check_scales(scales, numbers, error))
        return false;
    ldm_files_release(files, numbers, scales->bytes, true);
    /* Products only read what is mapped for reading. */
    param->q8 = (LdmQ8){N, C, taps, (int8_t *)words, (float *)numbers};
    param->dtype = LDM_F16;
    param->copied = words != bytes->data;
    param->stored = true;
    return true;
}
