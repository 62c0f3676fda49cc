/* Parameter tables: the ground under every network. A network's constructor adds its parameters
 * (name, shape); source.c fills in the mapped data. An LdmParam never moves, so layers keep its
 * address; names are looked up in a hash table. */
#include "weights/param.h"

#include "base/checked.h"
#include "base/error.h"

#include <string.h>

struct LdmParams {
    GPtrArray *list;       /* LdmParam, in the order of adding */
    GHashTable *byname;    /* name (owned by the LdmParam) -> LdmParam */
    float *gradients;      /* one block for all trained parameters, or NULL */
    size_t gradient_count; /* of the block */
    uint8_t *copies;       /* one block, or NULL */
};

static void param_free(gpointer data)
{
    LdmParam *param = data;
    g_free(param->name);
    g_free(param);
}

LdmParams *ldm_params_new(void)
{
    LdmParams *params = g_new0(LdmParams, 1);
    params->list = g_ptr_array_new_with_free_func(param_free);
    params->byname = g_hash_table_new(g_str_hash, g_str_equal);
    return params;
}

void ldm_params_free(LdmParams *params)
{
    if (params == NULL)
        return;
    g_hash_table_unref(params->byname);
    g_ptr_array_unref(params->list);
    ldm_aligned_free(params->gradients);
    ldm_aligned_free(params->copies);
    g_free(params);
}

LdmParam *ldm_params_add(LdmParams *params, const char *prefix, const char *name, int rank,
                         const size_t *shape)
{
    LdmParam *param = g_new0(LdmParam, 1);
    bool bare = prefix == NULL || prefix[0] == '\0';
    param->name = bare ? g_strdup(name) : g_strconcat(prefix, ".", name, NULL);
    param->rank = rank;
    for (int i = 0; i < LDM_MAX_RANK; i++)
        param->shape[i] = i < rank ? shape[i] : 1;
#ifndef NDEBUG
    if (g_hash_table_contains(params->byname, param->name))
        g_error("parameter %s added twice", param->name);
#endif
    g_ptr_array_add(params->list, param);
    g_hash_table_insert(params->byname, param->name, param);
    return param;
}

size_t ldm_params_length(const LdmParams *params)
{
    return params->list->len;
}

LdmParam *ldm_params_at(const LdmParams *params, size_t i)
{
    return i < params->list->len ? g_ptr_array_index(params->list, i) : NULL;
}

LdmParam *ldm_params_find(const LdmParams *params, const char *name)
{
    return g_hash_table_lookup(params->byname, name);
}

size_t ldm_param_count(const LdmParam *param)
{
    size_t count = 1;
    for (int i = 0; i < param->rank; i++)
        count *= param->shape[i];
    return count;
}

size_t ldm_params_count(const LdmParams *params)
{
    size_t count = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        count += ldm_param_count(ldm_params_at(params, i));
    return count;
}

size_t ldm_param_bytes(const LdmParam *param)
{
    return ldm_param_count(param) * (param->dtype == LDM_F32 ? 4 : 2);
}

size_t ldm_param_q8_bytes(const LdmParam *param)
{
    return ldm_q8_bytes(param->shape[0], param->shape[1], param->shape[2] * param->shape[3]);
}

size_t ldm_param_file_bytes(const LdmParam *param)
{
    return param->stored ? ldm_param_q8_bytes(param) : ldm_param_bytes(param);
}

size_t ldm_params_copied_bytes(const LdmParams *params)
{
    size_t bytes = 0;
    for (size_t i = 0; i < params->list->len; i++) {
        const LdmParam *param = ldm_params_at(params, i);
        if (param->copied)
            bytes += ldm_param_file_bytes(param);
    }
    return bytes;
}

uint8_t *ldm_params_make_copies(LdmParams *params, size_t bytes, GError **error)
{
    ldm_params_drop_copies(params);
    params->copies = ldm_aligned_alloc(MAX(bytes, 1), 1, _("copies of weights"), error);
    return params->copies;
}

void ldm_params_drop_copies(LdmParams *params)
{
    for (size_t i = 0; i < params->list->len; i++) {
        LdmParam *param = ldm_params_at(params, i);
        if (param->stored)
            param->data = NULL;
        else
            param->q8 = (LdmQ8){0};
    }
    g_clear_pointer(&params->copies, ldm_aligned_free);
}

/* ---- gradients ---- */

void ldm_params_set_trained(LdmParams *params, bool trained)
{
    for (size_t i = 0; i < params->list->len; i++)
        ldm_params_at(params, i)->trained = trained;
}

/* Numbers of a parameter's gradient, rounded up to whole cache lines; 0 where it is not trained. */
static size_t gradient_count(const LdmParam *param)
{
    const size_t line = 16;

    return param->trained ? (ldm_param_count(param) + line - 1) / line * line : 0;
}

bool ldm_params_make_gradients(LdmParams *params, GError **error)
{
    size_t count = 0;
    for (size_t i = 0; i < params->list->len; i++)
        count += gradient_count(ldm_params_at(params, i));
    float *block =
        ldm_aligned_alloc0(MAX(count, 1), sizeof(float), _("the gradients of the network"), error);
    if (block == NULL)
        return false;
    ldm_aligned_free(params->gradients);
    params->gradients = block;
    params->gradient_count = count;
    for (size_t i = 0; i < params->list->len; i++) {
        LdmParam *param = ldm_params_at(params, i);
        param->gradient = param->trained ? block : NULL;
        block += gradient_count(param);
    }
    return true;
}

float *ldm_params_gradients(const LdmParams *params, size_t *count)
{
    *count = params->gradient_count;
    return params->gradients;
}

void ldm_params_clear_gradients(LdmParams *params)
{
    if (params->gradients != NULL)
        memset(params->gradients, 0, params->gradient_count * sizeof(float));
}
