/* The pass: the arena's offsets, plan against run, sticky errors, cancelling, reference counts,
 * NaN localised. */
#include "base/checked.h"
#include "layers/arena.h"
#include "layers/elementwise.h"
#include "layers/linear.h"
#include "layers/room.h"
#include "tensor/tensor.h"

#include <math.h>

static size_t take(LdmArena *arena, size_t bytes)
{
    size_t offset = SIZE_MAX;
    g_assert_true(ldm_arena_take(arena, bytes, &offset));
    g_assert_cmpuint(offset % 64, ==, 0);
    return offset;
}

static void test_best_fit(void)
{
    LdmArena arena;
    ldm_arena_init(&arena, SIZE_MAX);
    g_assert_cmpuint(take(&arena, 1000), ==, 0); /* takes 1024 */
    g_assert_cmpuint(take(&arena, 64), ==, 1024);
    g_assert_cmpuint(take(&arena, 128), ==, 1088);
    g_assert_cmpuint(take(&arena, 1), ==, 1216);
    ldm_arena_give(&arena, 0, 1000);
    ldm_arena_give(&arena, 1088, 128);
    g_assert_cmpuint(take(&arena, 100), ==, 1088); /* the smaller hole, though not the first */
    g_assert_cmpuint(take(&arena, 960), ==, 0);
    g_assert_cmpuint(take(&arena, 64), ==, 960); /* what is left of the first */
    g_assert_cmpuint(take(&arena, 64), ==, 1280);
    g_assert_cmpuint(arena.peak, ==, 1344);
    ldm_arena_clear(&arena);
}

static void test_merging(void)
{
    LdmArena arena;
    ldm_arena_init(&arena, 4 * 64);
    for (size_t i = 0; i < 4; i++)
        g_assert_cmpuint(take(&arena, 64), ==, 64 * i);
    size_t offset;
    g_assert_false(ldm_arena_take(&arena, 1, &offset)); /* the limit */
    g_assert_false(ldm_arena_take(&arena, SIZE_MAX - 3, &offset));
    ldm_arena_give(&arena, 0, 64);
    ldm_arena_give(&arena, 128, 64);
    g_assert_cmpuint(arena.holes->len, ==, 2);
    ldm_arena_give(&arena, 64, 64); /* joins both neighbours */
    g_assert_cmpuint(arena.holes->len, ==, 1);
    g_assert_cmpuint(take(&arena, 192), ==, 0);
    ldm_arena_give(&arena, 0, 192);
    ldm_arena_give(&arena, 192, 64); /* the top sinks to the bottom */
    g_assert_cmpuint(arena.top, ==, 0);
    g_assert_cmpuint(arena.holes->len, ==, 0);
    g_assert_cmpuint(take(&arena, 256), ==, 0);
    ldm_arena_clear(&arena);
}

/* A random walk: live blocks never overlap, and a second arena of the first one's peak serves the
 * same calls with the same offsets; one of 64 bytes less does not. */
typedef struct {
    size_t offset, bytes;
} Block;

static bool walk(LdmArena *arena, guint32 seed, GArray *offsets)
{
    g_autoptr(GArray) live = g_array_new(FALSE, FALSE, sizeof(Block));
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    for (int i = 0; i < 500; i++) {
        bool give = live->len > 0 && g_rand_boolean(random) && live->len > 5;
        if (give) {
            guint k = (guint)g_rand_int_range(random, 0, (gint32)live->len);
            Block block = g_array_index(live, Block, k);
            ldm_arena_give(arena, block.offset, block.bytes);
            g_array_remove_index_fast(live, k);
            continue;
        }
        Block block = {.bytes = (size_t)g_rand_int_range(random, 1, 5000)};
        if (!ldm_arena_take(arena, block.bytes, &block.offset))
            return false;
        for (guint k = 0; k < live->len; k++) {
            Block other = g_array_index(live, Block, k);
            g_assert_true(block.offset + block.bytes <= other.offset ||
                          other.offset + other.bytes <= block.offset);
        }
        g_array_append_val(live, block);
        g_array_append_val(offsets, block.offset);
    }
    return true;
}

static void test_deterministic(void)
{
    for (guint32 seed = 0; seed < 20; seed++) {
        g_autoptr(GArray) first = g_array_new(FALSE, FALSE, sizeof(size_t));
        g_autoptr(GArray) second = g_array_new(FALSE, FALSE, sizeof(size_t));
        LdmArena plan, run, small;
        ldm_arena_init(&plan, SIZE_MAX);
        g_assert_true(walk(&plan, seed, first));
        ldm_arena_init(&run, plan.peak);
        g_assert_true(walk(&run, seed, second));
        g_assert_cmpuint(run.peak, ==, plan.peak);
        g_assert_cmpmem(first->data, first->len * sizeof(size_t), second->data,
                        second->len * sizeof(size_t));
        ldm_arena_init(&small, plan.peak - 64);
        g_assert_false(walk(&small, seed, second));
        ldm_arena_clear(&plan);
        ldm_arena_clear(&run);
        ldm_arena_clear(&small);
    }
}

/* ---- a small network: two linear layers and an activation, + x ---- */

typedef struct {
    LdmLinear first, second;
    const LdmTensor *x;
    size_t peak;   /* of the pass that ran last */
    int cancel_at; /* operation before which to cancel; 0 = never */
    GCancellable *cancellable;
    int operations;
} Network;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    Network *network = (Network *)data;
    LdmTensor *x = ldm_pass_input(pass, network->x);
    LdmTensor *h = ldm_linear_forward(pass, &network->first, ldm_pass_keep(pass, x), NULL);
    h = ldm_activation_forward(pass, LDM_ACT_SILU, h);
    h = ldm_linear_forward(pass, &network->second, h, x);
    network->peak = ldm_pass_peak(pass);
    return h;
}

static float weights[8 * 8];

static void network_init(Network *network, LdmParams *params, const LdmTensor *x)
{
    LdmScope root = ldm_scope_root(params);
    *network = (Network){.x = x};
    ldm_linear_init(&network->first, ldm_scope(&root, "first"), 4, 8, false);
    ldm_linear_init(&network->second, ldm_scope(&root, "second"), 8, 4, false);
    for (size_t i = 0; i < G_N_ELEMENTS(weights); i++)
        weights[i] = 0.01f * (float)i;
    network->first.weight->data = network->second.weight->data = weights;
}

static LdmTensor *make_input(void)
{
    LdmTensor *x = ldm_tensor_new(LDM_F32, 2, (size_t[]){3, 4}, NULL);
    for (int i = 0; i < 12; i++)
        ldm_tensor_f32(x)[i] = (float)i - 5;
    return x;
}

static double expected(const LdmTensor *x, size_t row, size_t column)
{
    double y = ldm_tensor_f32(x)[row * 4 + column];
    for (size_t k = 0; k < 8; k++) {
        double h = 0;
        for (size_t c = 0; c < 4; c++)
            h += (double)ldm_tensor_f32(x)[row * 4 + c] * weights[k * 4 + c];
        y += h / (1 + exp(-h)) * weights[column * 8 + k];
    }
    return y;
}

static void assert_expected(const LdmTensor *y, const LdmTensor *x)
{
    for (size_t i = 0; i < 12; i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(y)[i], expected(x, i / 4, i % 4), 1e-5);
}

static void test_run(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    g_autoptr(LdmTensor) before = ldm_tensor_copy(x, NULL);
    Network network;
    size_t bytes;
    double flops;
    network_init(&network, params, x);
    g_assert_true(ldm_forward_measure(forward, &network, &bytes, &flops, &error));
    g_assert_cmpfloat(flops, ==, 2.0 * 3 * 4 * 8 * 2);
    g_assert_cmpuint(network.peak, ==, bytes);
    network.peak = 0;
    g_autoptr(LdmTensor) y = ldm_forward_run(forward, &network, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(network.peak, ==, bytes);
    assert_expected(y, x);
    /* the caller's own array is never written over, though its last handle was given away */
    g_assert_cmpmem(x->data, 12 * sizeof(float), before->data, 12 * sizeof(float));
}

/* One pass serves several forwards; the plan is exact: 64 bytes less do not do. */
static void test_reset(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    size_t bytes;
    double flops;
    network_init(&network, params, x);
    ldm_forward_measure(forward, &network, &bytes, &flops, &error);
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(bytes, NULL, &error);
    for (int i = 0; i < 3; i++) {
        LdmTensor *y = forward(pass, &network);
        g_assert_true(ldm_pass_end(pass, &error));
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(y)[7], expected(x, 1, 3), 1e-5);
        g_assert_cmpfloat(ldm_pass_flops(pass), ==, flops);
        ldm_pass_reset(pass);
    }
    g_autoptr(LdmPass) small = ldm_pass_new_compute(bytes - 64, NULL, &error);
    forward(small, &network);
    g_assert_false(ldm_pass_end(small, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
    g_clear_error(&error);
    ldm_pass_reset(small); /* a failed pass is as good as new */
    g_assert_true(ldm_pass_end(small, &error));
}

static void test_handles(void)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    LdmTensor *a = ldm_pass_nhwc(pass, 1, 2, 4, 8); /* 256 bytes */
    g_assert_null(a->data);
    LdmTensor *over = ldm_pass_over(pass, a); /* one handle: the same array */
    g_assert_true(over == a);
    LdmTensor *other = ldm_pass_over(pass, a); /* two by now */
    g_assert_true(other != a);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 512);
    ldm_pass_drop(pass, a);
    LdmTensor *c = ldm_pass_like(pass, other, 8); /* `over` still holds the first block */
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 768);
    ldm_pass_drop(pass, over);
    LdmTensor *d = ldm_pass_scratch(pass, 250);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 768);
    ldm_pass_drop(pass, c);
    ldm_pass_drop(pass, d);
    ldm_pass_drop(pass, other);
    ldm_pass_drop(pass, NULL);
    ldm_pass_drop(pass, ldm_pass_nhwc(pass, 1, 2, 4, 24)); /* one block again */
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 768);
}

/* After the first error nothing runs, shapes stay meaningful and the first error is told. */
static void test_sticky(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    size_t huge = (size_t)1 << 40;
    LdmTensor *a = ldm_pass_nhwc(pass, huge, huge, 2, 8);
    LdmTensor *b = ldm_pass_nhwc(pass, 1, 2, 3, 4);
    g_assert_cmpuint(b->shape[2], ==, 3);
    ldm_pass_fail(pass, g_error_new_literal(LDM_ERROR, LDM_ERROR_FILE, "later"));
    g_assert_false(ldm_pass_op(pass, &(LdmOp){.name = "test", .output = b, .flops = 5}));
    ldm_pass_check(pass, false);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 0);
    g_assert_cmpfloat(ldm_pass_flops(pass), ==, 0);
    ldm_pass_drop(pass, a);
    g_assert_false(ldm_pass_end(pass, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
}

static void watch(double flops, void *data)
{
    Network *network = data;
    if (++network->operations == network->cancel_at)
        g_cancellable_cancel(network->cancellable);
}

static void test_progress_and_cancel(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    network_init(&network, params, x);
    for (network.cancel_at = 1; network.cancel_at <= 4; network.cancel_at++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        network.cancellable = cancellable;
        network.operations = 0;
        g_autoptr(LdmTensor) y =
            ldm_forward_run(forward, &network, watch, &network, cancellable, &error);
        g_assert_cmpint(network.operations, ==, MIN(network.cancel_at, 3));
        if (network.cancel_at < 3)
            g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
        else
            g_assert_nonnull(y);
    }
}

static void test_nonfinite(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    network_init(&network, params, x);
    float broken[32] = {[3] = NAN};
    network.second.weight->data = broken;
    g_setenv("PENTIMENTO_CHECK", "finite", TRUE);
    g_autoptr(LdmTensor) y = ldm_forward_run(forward, &network, NULL, NULL, NULL, &error);
    g_unsetenv("PENTIMENTO_CHECK");
    g_assert_null(y);
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_assert_nonnull(strstr(error->message, "linear (second.weight)"));
}

static void test_unbound(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    network_init(&network, params, x);
    network.first.weight->data = NULL;
    g_assert_null(ldm_forward_run(forward, &network, NULL, NULL, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_assert_nonnull(strstr(error->message, "first.weight"));
}

/* No memory for the arena, or for the result. */
static void test_no_memory(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    network_init(&network, params, x);
    for (int n = 0; n < 2; n++) {
        g_autoptr(GError) error = NULL;
        ldm_alloc_fail_after(n, false);
        g_assert_null(ldm_forward_run(forward, &network, NULL, NULL, NULL, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
        ldm_alloc_fail_after(-1, false);
    }
}

/* What a pass leaves is the next one's where the caller wants that, and no larger one's. */
static void test_room(void)
{
    size_t held, other;
    ldm_keep_memory(true);
    uint8_t *first = ldm_room_take(4096, &held, NULL);
    g_assert_cmpuint(held, ==, 4096);
    uint8_t *second = ldm_room_take(64, &other, NULL); /* two at a time */
    g_assert_true(first != NULL && second != NULL && first != second);
    ldm_room_leave(first, held);
    ldm_room_leave(second, other); /* the larger one waits */
    uint8_t *again = ldm_room_take(100, &held, NULL);
    g_assert_true(again == first);
    g_assert_cmpuint(held, ==, 4096);
    ldm_room_leave(again, held);
    uint8_t *larger = ldm_room_take(8192, &held, NULL);
    g_assert_cmpuint(held, ==, 8192);
    ldm_room_leave(larger, held);
    ldm_room_leave(NULL, 0);
    ldm_keep_memory(false);
    larger = ldm_room_take(16, &held, NULL);
    g_assert_cmpuint(held, ==, 16);
    ldm_room_leave(larger, held);
}

/* Whatever an arena held before, a forward makes the same of it. */
static void test_kept_forward(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = make_input();
    Network network;
    network_init(&network, params, x);
    size_t held;
    ldm_keep_memory(true);
    uint8_t *dirty = ldm_room_take(1 << 16, &held, NULL);
    memset(dirty, 0xff, held); /* NaN */
    ldm_room_leave(dirty, held);
    for (int i = 0; i < 2; i++) {
        g_autoptr(LdmTensor) y = ldm_forward_run(forward, &network, NULL, NULL, NULL, &error);
        g_assert_no_error(error);
        assert_expected(y, x);
    }
    ldm_keep_memory(false);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/arena/best-fit", test_best_fit);
    g_test_add_func("/arena/merging", test_merging);
    g_test_add_func("/arena/deterministic", test_deterministic);
    g_test_add_func("/pass/run", test_run);
    g_test_add_func("/pass/reset", test_reset);
    g_test_add_func("/pass/handles", test_handles);
    g_test_add_func("/pass/sticky", test_sticky);
    g_test_add_func("/pass/progress-and-cancel", test_progress_and_cancel);
    g_test_add_func("/pass/nonfinite", test_nonfinite);
    g_test_add_func("/pass/unbound", test_unbound);
    g_test_add_func("/pass/no-memory", test_no_memory);
    g_test_add_func("/pass/room", test_room);
    g_test_add_func("/pass/kept", test_kept_forward);
    return g_test_run();
}
