/* prepare: the window around a mask, pictures of any size, pixels without colour, latent cells. */
#include "prepare/prepare.h"

#include "base/checked.h"
#include "made-array.h"

#include <math.h>

static const LdmPrepareOptions small = {.f = 4, .native = 64, .max_side = 128};

static void mark(LdmTensor *mask, LdmRect r, float s)
{
    for (int y = r.y; y < r.y + r.height; y++)
        for (int x = r.x; x < r.x + r.width; x++)
            ldm_tensor_f32(mask)[(size_t)y * mask->shape[2] + (size_t)x] = s;
}

static void test_bounds(void)
{
    g_autoptr(LdmTensor) mask = array(20, 30, 1, 0.0f);
    LdmRect r = {-1, -1, -1, -1};
    g_assert_false(ldm_mask_bounds(mask, &r));
    ldm_tensor_f32(mask)[3] = NAN;
    g_assert_false(ldm_mask_bounds(mask, &r));
    mark(mask, (LdmRect){7, 2, 1, 1}, 0.01f);
    mark(mask, (LdmRect){29, 19, 1, 1}, 1.0f);
    g_assert_true(ldm_mask_bounds(mask, &r));
    g_assert_cmpint(r.x, ==, 7);
    g_assert_cmpint(r.y, ==, 2);
    g_assert_cmpint(r.width, ==, 23);
    g_assert_cmpint(r.height, ==, 18);
}

/* Whatever the sizes: the window lies in the picture, holds the mark, starts on the f-grid; the
 * work size is a multiple of f, holds the window at its scale, and is bounded. */
static void check_window(size_t W, size_t H, LdmRect m)
{
    LdmPrepared p = {0};
    ldm_prepare_window(&small, W, H, &m, &p);
    LdmRect w = p.window;
    g_assert_true(w.x >= 0 && w.y >= 0 && w.width > 0 && w.height > 0);
    g_assert_true((size_t)(w.x + w.width) <= W && (size_t)(w.y + w.height) <= H);
    g_assert_true(w.x <= m.x && w.y <= m.y && w.x + w.width >= m.x + m.width &&
                  w.y + w.height >= m.y + m.height);
    g_assert_true(w.x % 4 == 0 && w.y % 4 == 0);
    g_assert_true((size_t)w.width >= MIN(W, 64) && (size_t)w.height >= MIN(H, 64));
    g_assert_true(p.H % 4 == 0 && p.W % 4 == 0 && p.H >= 32 && p.W >= 32 && p.H <= 128 &&
                  p.W <= 128);
    g_assert_true(p.inner_h >= 1 && p.inner_w >= 1 && p.inner_h <= p.H && p.inner_w <= p.W);
    g_assert_true(p.scale > 0.0 && p.scale <= 1.0);
    if (m.width <= 108 && m.height <= 108)
        g_assert_cmpfloat(p.scale, ==, 1.0);
}

static void test_window(void)
{
    const size_t sides[] = {1, 3, 31, 64, 65, 127, 200, 1000, 20000};
    for (size_t i = 0; i < G_N_ELEMENTS(sides); i++)
        for (size_t j = 0; j < G_N_ELEMENTS(sides); j++)
            for (int k = 0; k < 40; k++) {
                int W = (int)sides[i], H = (int)sides[j];
                LdmRect m = {g_test_rand_int_range(0, W), g_test_rand_int_range(0, H), 1, 1};
                m.width = g_test_rand_int_range(1, W - m.x + 1);
                m.height = g_test_rand_int_range(1, H - m.y + 1);
                check_window(sides[i], sides[j], m);
            }
}

/* The cells around a mark: a margin, at least half the native side, on the network's grid. */
static void test_cells(void)
{
    LdmPrepared p = {.window = {280, 180, 128, 96}, .scale = 0.5, .W = 64, .H = 48};
    LdmPrepareOptions options = {.f = 4, .native = 16};
    LdmRect cells = ldm_prepare_cells(&options, &p, &(LdmRect){330, 190, 9, 16}, 1, 2);
    g_assert_cmpint(cells.x, ==, 4); /* 6.25 .. 7.4, margin, grid */
    g_assert_cmpint(cells.width, ==, 6);
    g_assert_cmpint(cells.y, ==, 0); /* 1.25 .. 3.25 */
    g_assert_cmpint(cells.height, ==, 6);
    cells = ldm_prepare_cells(&options, &p, &(LdmRect){280, 180, 1, 1}, 0, 1);
    g_assert_cmpint(cells.x, ==, 0);
    g_assert_cmpint(cells.width, ==, 2); /* half of native */
    cells = ldm_prepare_cells(&options, &p, &(LdmRect){300, 200, 50, 50}, 1000, 4);
    g_assert_cmpint(cells.width, ==, 16); /* no more than there are */
    g_assert_cmpint(cells.height, ==, 12);
}

static void test_window_known(void)
{
    LdmPrepared p = {0};
    ldm_prepare_window(&small, 640, 480, &(LdmRect){300, 200, 40, 40}, &p); /* margin 20 */
    g_assert_cmpint(p.window.x, ==, 280);
    g_assert_cmpint(p.window.y, ==, 180);
    g_assert_cmpint(p.window.width, ==, 80);
    g_assert_cmpint(p.window.height, ==, 80);
    ldm_prepare_window(&small, 640, 480, &(LdmRect){0, 472, 8, 8}, &p); /* into a corner */
    g_assert_cmpint(p.window.x, ==, 0);
    g_assert_cmpint(p.window.y, ==, 416);
    g_assert_cmpint(p.window.width, ==, 64);
    g_assert_cmpint(p.window.height, ==, 64);
    ldm_prepare_window(&small, 20000, 50, NULL, &p);
    g_assert_cmpfloat(p.scale, ==, 128.0 / 20000.0);
    g_assert_cmpuint(p.inner_w, ==, 128);
    g_assert_cmpuint(p.inner_h, ==, 1);
    ldm_prepare_blank(&small, 63, 1, &p);
    g_assert_cmpuint(p.W, ==, 64);
    g_assert_cmpuint(p.H, ==, 4);
}

static LdmPrepared prepare(const LdmTensor *picture, const LdmTensor *mask, bool all)
{
    LdmPrepared p = {0};
    LdmRect m;
    g_autoptr(GError) error = NULL;
    if (mask != NULL)
        g_assert_true(ldm_mask_bounds(mask, &m));
    ldm_prepare_window(&small, picture->shape[2], picture->shape[1], mask == NULL ? NULL : &m, &p);
    g_assert_true(ldm_prepare(picture, mask, 4, &p, NULL, &error));
    g_assert_no_error(error);
    g_assert_true(ldm_prepare_masked(LDM_HOLE_GREY, all, &p, NULL, &error));
    g_assert_no_error(error);
    return p;
}

static void fill_noise(LdmTensor *picture)
{
    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = i % 4 == 3 ? 1.0f : (float)g_test_rand_double();
}

/* At scale 1 the work image is the picture's own values, its padding copies of the edge. */
static void test_exact(void)
{
    g_autoptr(LdmTensor) picture = array(41, 50, 4, 0.0f), mask = array(41, 50, 1, 0.0f);
    fill_noise(picture);
    mark(mask, (LdmRect){10, 12, 3, 5}, 0.25f);
    mark(mask, (LdmRect){12, 16, 1, 1}, 0.75f);
    g_auto(LdmPrepared) p = prepare(picture, mask, false);
    g_assert_cmpuint(p.H, ==, 44);
    g_assert_cmpuint(p.W, ==, 52);
    for (size_t y = 0; y < p.H; y++)
        for (size_t x = 0; x < p.W; x++) {
            size_t from = MIN(y, 40) * 50 + MIN(x, 49), at = y * p.W + x;
            float s = ldm_tensor_f32(mask)[from];
            g_assert_cmpfloat(ldm_tensor_f32(p.mask)[at], ==, s);
            for (size_t c = 0; c < 3; c++) {
                float v = ldm_tensor_f32(picture)[from * 4 + c] * 2.0f - 1.0f;
                g_assert_cmpfloat(ldm_tensor_f32(p.image)[at * 3 + c], ==, v);
                g_assert_cmpfloat(ldm_tensor_f32(p.masked)[at * 3 + c], ==, s > 0.0f ? 0.0f : v);
            }
        }
    for (size_t y = 0; y < 11; y++)
        for (size_t x = 0; x < 13; x++) {
            bool hit = (y == 3 || y == 4) && (x == 2 || x == 3);
            float s = !hit ? 0.0f : y == 4 && x == 3 ? 0.75f : 0.25f;
            g_assert_cmpfloat(ldm_tensor_f32(p.cells)[y * 13 + x], ==, s);
        }
}

/* A filled hole goes on with what is around it: a plain one exactly, a slope without steps, what is
 * known untouched; nothing to go on with is mid-grey. */
static void test_filled(void)
{
    g_autoptr(GError) error = NULL;
    const size_t H = 45, W = 52;
    g_autofree float *rgb = g_new(float, H *W * 3), *mask = g_new0(float, H *W);
    for (size_t i = 0; i < H * W; i++) {
        float slope = (float)(i % W) / (float)W - 0.5f;
        bool hidden = i % W >= 12 && i % W < 40 && i / W >= 10 && i / W < 37;
        rgb[i * 3] = hidden ? 1.0f : 0.25f;
        rgb[i * 3 + 1] = hidden ? -1.0f : slope;
        rgb[i * 3 + 2] = slope;
        mask[i] = hidden ? 0.125f : 0.0f;
    }
    g_assert_true(ldm_hide(LDM_HOLE_FILLED, rgb, mask, H, W, NULL, &error));
    g_assert_no_error(error);
    for (size_t i = 0; i < H * W; i++) {
        float slope = (float)(i % W) / (float)W - 0.5f;
        g_assert_cmpfloat_with_epsilon(rgb[i * 3], 0.25f, 1e-6);
        g_assert_cmpfloat_with_epsilon(rgb[i * 3 + 1], slope, mask[i] > 0.0f ? 0.15 : 1e-6);
        if (i % W > 0)
            g_assert_cmpfloat_with_epsilon(rgb[i * 3 + 1], rgb[i * 3 - 2], 0.08);
        mask[i] = 1.0f;
    }
    g_assert_true(ldm_hide(LDM_HOLE_FILLED, rgb, mask, H, W, NULL, &error));
    for (size_t i = 0; i < H * W * 3; i++)
        g_assert_cmpfloat(rgb[i], ==, 0.0f);
}

/* The fill's memory is what is planned for it, and no more than half as much again as it starts
 * with; where that is not to be had, or it is cancelled, an error says so. */
static void test_filled_memory(void)
{
    LdmPrepared p = {.H = 45, .W = 52};
    g_autoptr(GError) error = NULL;
    float rgb[8 * 8 * 3] = {0}, mask[8 * 8];
    size_t pixels = p.H * p.W * 4 * sizeof(float), all = pixels;
    for (size_t i = 0; i < 8 * 8; i++)
        mask[i] = i > 0;
    g_assert_cmpuint(ldm_prepare_masked_scratch(LDM_HOLE_GREY, &p), ==, 0);
    for (size_t h = 45, w = 52; h * w > 1; h = (h + 1) / 2, w = (w + 1) / 2)
        all += (h + 1) / 2 * ((w + 1) / 2) * 4 * sizeof(float);
    g_assert_cmpuint(ldm_prepare_masked_scratch(LDM_HOLE_FILLED, &p), ==, all);
    g_assert_cmpuint(all, <, pixels * 3 / 2);
    for (int n = 0; n < 4; n++) { /* the copy; halves of 4, 2 and 1 */
        ldm_alloc_fail_after(n, false);
        g_assert_false(ldm_hide(LDM_HOLE_FILLED, rgb, mask, 8, 8, NULL, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
        g_clear_error(&error);
    }
    ldm_alloc_fail_after(-1, false);
    g_assert_true(ldm_hide(LDM_HOLE_FILLED, rgb, mask, 8, 8, NULL, &error));
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_cancellable_cancel(cancellable);
    g_assert_false(ldm_hide(LDM_HOLE_FILLED, rgb, mask, 8, 8, cancellable, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
}

/* No mask: everything is marked, and all of `masked` is mid-grey. */
static void test_unmasked(void)
{
    g_autoptr(LdmTensor) picture = array(1, 1, 4, 0.75f);
    g_auto(LdmPrepared) p = prepare(picture, NULL, true);
    g_assert_cmpuint(p.H, ==, 32);
    for (size_t i = 0; i < p.H * p.W * 3; i++) {
        g_assert_cmpfloat(ldm_tensor_f32(p.image)[i], ==, 0.5f);
        g_assert_cmpfloat(ldm_tensor_f32(p.masked)[i], ==, 0.0f);
    }
    for (size_t i = 0; i < ldm_tensor_count(p.cells); i++)
        g_assert_cmpfloat(ldm_tensor_f32(p.cells)[i], ==, 1.0f);
}

/* Clear, NaN and infinite pixels get the colour around them; nothing but those is mid-grey. */
static void test_holes(void)
{
    g_autoptr(LdmTensor) picture = array(40, 40, 4, 0.25f);
    float *v = ldm_tensor_f32(picture);
    for (size_t i = 0; i < 40 * 40; i++) {
        bool clear = i % 40 > 10 && i / 40 > 10;
        v[i * 4] = clear ? 123.0f : 0.25f;
        v[i * 4 + 3] = clear ? 0.0f : 0.5f;
    }
    v[1] = NAN;
    v[8 * 4 + 2] = INFINITY;
    g_auto(LdmPrepared) p = prepare(picture, NULL, true);
    for (size_t i = 0; i < ldm_tensor_count(p.image); i++)
        g_assert_cmpfloat(ldm_tensor_f32(p.image)[i], ==, -0.5f);
    for (size_t i = 0; i < 40 * 40; i++)
        v[i * 4 + 3] = 0.0f;
    g_auto(LdmPrepared) none = prepare(picture, NULL, true);
    for (size_t i = 0; i < ldm_tensor_count(none.image); i++)
        g_assert_cmpfloat(ldm_tensor_f32(none.image)[i], ==, 0.0f);
}

/* Reducing keeps a flat picture flat, and no marked pixel is lost. */
static void test_reduced(void)
{
    g_autoptr(LdmTensor) picture = array(300, 1111, 4, 0.75f), mask = array(300, 1111, 1, 0.0f);
    mark(mask, (LdmRect){5, 5, 1, 1}, 0.5f);
    mark(mask, (LdmRect){1110, 299, 1, 1}, 1.0f);
    g_auto(LdmPrepared) p = prepare(picture, mask, false);
    g_assert_cmpfloat_with_epsilon(p.scale, 128.0 / 1111.0, 1e-12);
    double sum = 0.0;
    for (size_t i = 0; i < p.H * p.W; i++) {
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(p.image)[i * 3], 0.5f, 1e-5f);
        sum += ldm_tensor_f32(p.mask)[i] > 0.0f;
    }
    g_assert_cmpfloat(sum, >=, 2.0);
    g_assert_cmpfloat(ldm_tensor_f32(p.cells)[0], ==, 0.5f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prepare/bounds", test_bounds);
    g_test_add_func("/prepare/window", test_window);
    g_test_add_func("/prepare/window-known", test_window_known);
    g_test_add_func("/prepare/cells", test_cells);
    g_test_add_func("/prepare/exact", test_exact);
    g_test_add_func("/prepare/filled", test_filled);
    g_test_add_func("/prepare/filled-memory", test_filled_memory);
    g_test_add_func("/prepare/unmasked", test_unmasked);
    g_test_add_func("/prepare/holes", test_holes);
    g_test_add_func("/prepare/reduced", test_reduced);
    return g_test_run();
}
