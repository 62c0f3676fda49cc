/* Parameter tables: the ground under every network. A network's constructor adds its parameters
 * (name, shape); bind.c fills in the mapped data. An LdmParam never moves, so layers keep its
 * address; names are looked up in a hash table. */
#include "weights/param.h"

#include <string.h>

struct LdmParams {
    GPtrArray *list;    /* LdmParam, in the order of adding */
    GHashTable *byname; /* name (owned by the LdmParam) -> LdmParam */
};

static void param_free(gpointer data)
{
    LdmParam *param = data;
    g_free(param->name);
    g_free(param);
}

LdmParams *ldm_params_new(void)
{
    LdmParams *params = g_new(LdmParams, 1);
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
