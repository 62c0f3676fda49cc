/* Fixtures of reference/make_networks.py: tiny models, and what the reference made of some
 * inputs. */
#pragma once

#include "fixture.h"
#include "weights/source.h"

#include <math.h>

static const char *const network_models[] = {"sd1", "sd2", "inpaint"};

static inline char *network_folder(const char *model)
{
    return fixture_path("networks", model);
}

static inline LdmSource *network_source(const char *model)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = network_folder(model);
    LdmSource *source = ldm_source_open(path, &error);
    g_assert_no_error(error);
    return source;
}

static inline void network_bind(LdmSource *source, LdmPart part, LdmParams *params)
{
    g_autoptr(GError) error = NULL;
    ldm_source_bind(source, part, params, &error);
    g_assert_no_error(error);
}

/* networks/MODEL/arrays/NAME.npy; the name is a printf format. */
G_GNUC_PRINTF(2, 3)
static inline LdmTensor *network_array(const char *model, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *name = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *folder = g_build_filename("networks", model, "arrays", NULL);
    return fixture_array(folder, "%s", name);
}

/* max|a - b| <= 1e-4 max|b| */
static inline void assert_close(const LdmTensor *a, const LdmTensor *b, const char *what)
{
    double worst = 0, size = 0;
    g_assert_nonnull(a);
    g_assert_true(ldm_tensor_same_shape(a, b));
    for (size_t i = 0, n = ldm_tensor_count(b); i < n; i++) {
        double difference = fabs((double)ldm_tensor_f32(a)[i] - ldm_tensor_f32(b)[i]);
        if (!(difference <= worst))
            worst = difference; /* NaN stays */
        size = fmax(size, fabs((double)ldm_tensor_f32(b)[i]));
    }
    g_test_message("%s: max|a - b| / max|b| = %.2e", what, worst / size);
    g_assert_true(worst <= 1e-4 * size);
}
