/* Converting a network: its table in, with data in whatever dtype it is stored; a file out. What is
 * in 8 bits comes first in the file, so that all of it lies on cache lines, and apart from what a
 * run reads besides. */
#include "weights/table-write.h"

#include "base/checked.h"
#include "base/error.h"
#include "tensor/tensor.h"
#include "weights/safetensors-write.h"
#include "weights/stored.h"

#define PIECE 65536 /* numbers converted at a time */

static bool becomes_q8(const LdmParam *param, LdmDtype dtype)
{
    return dtype == LDM_Q8 && param->coarse;
}

static LdmDtype dtype_of(const LdmParam *param, LdmDtype dtype)
{
    if (dtype != LDM_Q8)
        return dtype;
    return param->dtype == LDM_BF16 ? LDM_BF16 : LDM_F16;
}

uint64_t ldm_table_bytes(const LdmParams *params, LdmDtype dtype)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        bytes += becomes_q8(param, dtype)
                     ? ldm_param_q8_bytes(param)
                     : ldm_param_count(param) * ldm_dtype_size(dtype_of(param, dtype));
    }
    return bytes;
}

static void declare(const LdmTableWrite *job, const LdmParam *param, LdmFileWriter *writer)
{
    if (!becomes_q8(param, job->dtype)) {
        ldm_file_writer_declare(writer, param->name, dtype_of(param, job->dtype), param->rank,
                                param->shape);
        return;
    }
    size_t bytes[LDM_MAX_RANK], scales[LDM_MAX_RANK];
    g_autofree char *of_bytes = g_strconcat(param->name, LDM_STORED_BYTES, NULL);
    g_autofree char *of_scales = g_strconcat(param->name, LDM_STORED_SCALES, NULL);
    ldm_q8_shapes(param->shape[0], param->shape[1], param->shape[2] * param->shape[3], bytes,
                  scales);
    ldm_file_writer_declare(writer, of_bytes, LDM_Q8, 4, bytes);
    ldm_file_writer_declare(writer, of_scales, LDM_F32, 3, scales);
}

static void tell(const LdmTableWrite *job, size_t bytes)
{
    if (job->wrote != NULL)
        job->wrote(bytes, job->data);
}

/* ---- in 8 bits ---- */

static bool put_q8(const LdmTableWrite *job, const LdmParam *param, const LdmQ8 *q8,
                   LdmFileWriter *writer, GError **error)
{
    size_t n = ldm_q8_scales(q8->N, q8->C, q8->taps);
    const float *flaw = ldm_stored_flaw(q8->scales, n);
    if (flaw != NULL) {
        ldm_set_error(error, NONFINITE,
                      _("tensor %s holds NaN, infinity or numbers above %g: they cannot be stored "
                        "in 8 bits"),
                      param->name, 65504.0);
        return false;
    }
    if (!ldm_file_writer_put_raw(writer, q8->bytes, error) ||
        !ldm_file_writer_put_raw(writer, q8->scales, error))
        return false;
    tell(job, ldm_param_q8_bytes(param));
    return true;
}

static bool round_q8(const LdmTableWrite *job, const LdmParam *param, LdmFileWriter *writer,
                     GError **error)
{
    if (param->stored)
        return put_q8(job, param, &param->q8, writer, error);
    void *memory = ldm_aligned_alloc(ldm_param_q8_bytes(param), 1, _("copies of weights"), error);
    if (memory == NULL)
        return false;
    LdmQ8 q8 =
        ldm_q8_place(param->shape[0], param->shape[1], param->shape[2] * param->shape[3], memory);
    bool done = ldm_q8_round(&q8, (LdmWeights){param->data, param->dtype}, job->cancellable)
                    ? put_q8(job, param, &q8, writer, error)
                    : !ldm_cancelled(job->cancellable, error);
    ldm_aligned_free(memory);
    return done;
}

/* ---- in 16 bits ---- */

static bool put_wide(const LdmTableWrite *job, const LdmParam *param, const uint8_t *data,
                     LdmFileWriter *writer, GError **error)
{
    g_autofree float *piece = g_new(float, PIECE);
    size_t count = ldm_param_count(param), size = ldm_dtype_size(param->dtype);
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = MIN(count - at, (size_t)PIECE);
        ldm_convert_to_f32(data + at * size, param->dtype, piece, n);
        if (ldm_cancelled(job->cancellable, error) || !ldm_file_writer_put(writer, piece, n, error))
            return false;
        tell(job, n * ldm_dtype_size(dtype_of(param, job->dtype)));
    }
    return true;
}

static bool expand(const LdmTableWrite *job, const LdmParam *param, LdmFileWriter *writer,
                   GError **error)
{
    if (!param->stored)
        return put_wide(job, param, param->data, writer, error);
    void *memory = ldm_aligned_alloc(ldm_param_bytes(param), 1, _("copies of weights"), error);
    if (memory == NULL)
        return false;
    bool done = ldm_q8_expand(&param->q8, memory, job->cancellable)
                    ? put_wide(job, param, memory, writer, error)
                    : !ldm_cancelled(job->cancellable, error);
    ldm_aligned_free(memory);
    return done;
}

/* ---- all of it ---- */

static bool put_all(const LdmTableWrite *job, bool q8, LdmFileWriter *writer, GError **error)
{
    for (size_t i = 0; i < ldm_params_length(job->params); i++) {
        const LdmParam *param = ldm_params_at(job->params, i);
        if (becomes_q8(param, job->dtype) != q8)
            continue;
        if (!(q8 ? round_q8(job, param, writer, error) : expand(job, param, writer, error)))
            return false;
    }
    return true;
}

bool ldm_table_write(const LdmTableWrite *job, const char *path, GError **error)
{
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    bool any = false;
    for (int q8 = 1; q8 >= 0; q8--)
        for (size_t i = 0; i < ldm_params_length(job->params); i++) {
            const LdmParam *param = ldm_params_at(job->params, i);
            if (becomes_q8(param, job->dtype) != (q8 == 1))
                continue;
            declare(job, param, writer);
            any = any || q8 == 1;
        }
    if (any)
        ldm_file_writer_describe(writer, LDM_STORED_KEY, LDM_STORED_VERSION);
    return ldm_file_writer_open(writer, path, error) && put_all(job, true, writer, error) &&
           put_all(job, false, writer, error) && ldm_file_writer_close(writer, error);
}
