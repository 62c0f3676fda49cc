/* Processes that train together. In: two exchanges that the caller lends (MPI's, in the command
 * line). Out: meetings that spread errors, and sums. A sum is made in slices, each added up by one
 * process and then handed to all: no order depends on who was faster. */
#include "train/ranks.h"

#include "base/error.h"

#include <string.h>

#define ROUND ((size_t)1 << 20) /* floats of one round of a sum: bounds the memory it takes */
#define TEXT  8192              /* bytes of an error's message */

int ldm_ranks_count(const LdmRanks *ranks)
{
    return ranks != NULL ? ranks->count : 1;
}

bool ldm_ranks_first(const LdmRanks *ranks)
{
    return ranks == NULL || ranks->rank == 0;
}

/* ---- meetings ---- */

typedef struct {
    int code; /* of LDM_ERROR */
    char text[TEXT];
} Fault;

static Fault *fault_new(const GError *error)
{
    Fault *fault = g_new0(Fault, 1);
    const char *end;

    if (error == NULL)
        return fault;
    fault->code = error->domain == LDM_ERROR ? error->code : LDM_ERROR_INVALID;
    g_strlcpy(fault->text, error->message, TEXT);
    if (!g_utf8_validate(fault->text, -1, &end)) /* cut inside a character */
        fault->text[end - fault->text] = '\0';
    return fault;
}

/* The error of the first that has failed becomes everybody's. */
static void share_fault(LdmRanks *ranks, int failed, GError **error)
{
    g_autofree Fault *own = fault_new(error != NULL ? *error : NULL);
    g_autofree Fault *all = g_new0(Fault, ranks->count);

    ranks->gather(own, sizeof *own, all, ranks->data);
    if (failed == ranks->rank)
        return;
    g_clear_error(error);
    g_set_error_literal(error, LDM_ERROR, all[failed].code, all[failed].text);
}

/* error must not be NULL. */
static bool meet(LdmRanks *ranks, bool good, GError **error)
{
    g_autofree guint8 *all = g_new(guint8, ranks->count);
    guint8 own = good;

    ranks->gather(&own, 1, all, ranks->data);
    const guint8 *failed = memchr(all, false, (size_t)ranks->count);
    if (failed == NULL)
        return true;
    ranks->parted = true;
    share_fault(ranks, (int)(failed - all), error);
    return false;
}

bool ldm_ranks_meet(LdmRanks *ranks, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (ranks == NULL || (!ranks->parted && meet(ranks, true, &reason)))
        return true;
    if (reason == NULL) /* told already */
        ldm_set_error(&reason, CANCELLED, _("cancelled"));
    g_propagate_error(error, g_steal_pointer(&reason));
    return false;
}

bool ldm_ranks_end(LdmRanks *ranks, bool good, GError **error)
{
    return ranks == NULL || ranks->parted ? good : meet(ranks, good, error);
}

bool ldm_ranks_compare(LdmRanks *ranks, const char *text, GError **error)
{
    if (ranks == NULL)
        return true;
    g_autofree char *own = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    size_t bytes = strlen(own);
    g_autofree char *all = g_new(char, (size_t)ranks->count *bytes);

    if (!ldm_ranks_meet(ranks, error))
        return false;
    ranks->gather(own, bytes, all, ranks->data);
    for (int k = 1; k < ranks->count; k++) {
        if (memcmp(all, all + (size_t)k * bytes, bytes) == 0)
            continue;
        ldm_set_error(error, INVALID,
                      _("process %d begins with another model, data set or checkpoint than process "
                        "0: all need the same files"),
                      k);
        return false;
    }
    return true;
}

/* ---- sums ---- */

bool ldm_ranks_sum_doubles(LdmRanks *ranks, double *values, size_t count, GError **error)
{
    if (ranks == NULL)
        return true;
    g_autofree double *all = g_new(double, (size_t)ranks->count *count);

    if (!ldm_ranks_meet(ranks, error))
        return false;
    ranks->gather(values, count * sizeof *values, all, ranks->data);
    memcpy(values, all, count * sizeof *values);
    for (int k = 1; k < ranks->count; k++)
        for (size_t i = 0; i < count; i++)
            values[i] += all[(size_t)k * count + i];
    return true;
}

bool ldm_ranks_sum(LdmRanks *ranks, float *values, size_t count, GError **error)
{
    if (ranks == NULL)
        return true;
    if (!ldm_ranks_meet(ranks, error))
        return false;
    size_t K = (size_t)ranks->count, most = (MIN(count, ROUND) + K - 1) / K;
    g_autofree float *own = g_new0(float, K *most), *got = g_new(float, K *most);

    for (size_t first = 0; first < count; first += K * most) {
        size_t n = MIN(K * most, count - first), each = (n + K - 1) / K;
        memcpy(own, values + first, n * sizeof(float));
        ranks->swap(own, each * sizeof(float), got, ranks->data);
        for (size_t k = 1; k < K; k++)
            for (size_t i = 0; i < each; i++)
                got[i] += got[k * each + i];
        ranks->gather(got, each * sizeof(float), own, ranks->data);
        memcpy(values + first, own, n * sizeof(float));
    }
    return true;
}
