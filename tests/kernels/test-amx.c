/* How the tiles on AMX go through its registers, with plain twins in place of the instructions, so
 * that every machine can tell; test-gemm, test-attention and test-q8 run the instructions where
 * they are. */
#define LANES 4
#include "twin.h"

#include "kernels/lanes.h"

static struct {
    uint8_t rows[8];
    float words[8][16][16];
    int shaped, shapes; /* for rows; how often */
    bool bytes;         /* are multiplied, and not pairs */
} amx;

static void twin_configure(uint8_t palette, const uint8_t *rows, const uint16_t *row_bytes)
{
    g_assert_cmpint(palette, ==, 1);
    for (int i = 0; i < 8; i++) {
        g_assert_cmpint(rows[i], <=, 16);
        g_assert_cmpint(row_bytes[i], ==, rows[i] > 0 ? 64 : 0);
    }
    memcpy(amx.rows, rows, sizeof amx.rows);
    memset(amx.words, 0, sizeof amx.words);
    amx.shapes++;
}

static void twin_move(int r, char *p, size_t bytes, bool out)
{
    g_assert_cmpint(amx.rows[r], >, 0);
    for (int i = 0; i < amx.rows[r]; i++, p += bytes)
        memcpy(out ? p : (char *)amx.words[r][i], out ? (char *)amx.words[r][i] : p, 64);
}

static void twin_zero(int r)
{
    g_assert_cmpint(amx.rows[r], >, 0);
    memset(amx.words[r], 0, sizeof amx.words[r]);
}

static float half_of(float word, int k)
{
    return ldm_bf16_to_f32((uint16_t)(ldm_float_bits(word) >> (16 * k)));
}

static int32_t byte_of(float word, int k)
{
    return (int8_t)(ldm_float_bits(word) >> (8 * k));
}

/* What a product of two words adds to a word. */
static float twin_words_product(float c, float a, float b)
{
    if (!amx.bytes)
        return c + half_of(a, 0) * half_of(b, 0) + half_of(a, 1) * half_of(b, 1);
    int32_t sum = (int32_t)ldm_float_bits(c);
    for (int k = 0; k < 4; k++)
        sum += byte_of(a, k) * byte_of(b, k);
    return ldm_float_from_bits((uint32_t)sum);
}

/* c[m][n] += a[m][k] . b[k][n] */
static void twin_multiply(int c, int a, int b)
{
    g_assert_cmpint(amx.rows[c], ==, amx.rows[a]);
    g_assert_cmpint(amx.rows[b], ==, 16);
    for (int m = 0; m < amx.rows[c]; m++)
        for (int n = 0; n < 16; n++)
            for (int k = 0; k < 16; k++)
                amx.words[c][m][n] =
                    twin_words_product(amx.words[c][m][n], amx.words[a][m][k], amx.words[b][k][n]);
}

#define AMX_CONFIGURE(config)  twin_configure(config.palette, config.rows, config.row_bytes)
#define AMX_ZERO(r)            twin_zero(r)
#define AMX_LOAD(r, p, bytes)  twin_move(r, (char *)(p), bytes, false)
#define AMX_STORE(r, p, bytes) twin_move(r, p, bytes, true)
#define AMX_MULTIPLY(c, a, b)  twin_multiply(c, a, b)
#define AMX_SHAPED             amx.shaped
#include "kernels/q8-tile-amx.h"
#include "kernels/tile-amx.h"

/* Words of two random bf16 numbers, between guards. */
static TwinArray twin_words(size_t n)
{
    TwinArray words = twin_array(n);
    for (size_t i = 0; i < n; i++) {
        uint32_t low = ldm_f32_to_bf16((float)g_test_rand_double_range(-1, 1));
        uint32_t high = ldm_f32_to_bf16((float)g_test_rand_double_range(-1, 1));
        words.data[i] = ldm_float_from_bits(high << 16 | low);
    }
    return words;
}

/* Segments lie a row of A apart, so that they overlap as the taps of a convolution do. */
static void check(int rows, int vectors, size_t K, bool add)
{
    enum { SEGMENTS = 3 };
    const size_t columns = (size_t)vectors * SIDE;
    const ptrdiff_t offsets[SEGMENTS] = {0, (ptrdiff_t)K, 2 * (ptrdiff_t)K};
    const size_t segments = rows % 3 == 0 ? SEGMENTS : 1;
    TwinArray a = twin_words(((size_t)rows + SEGMENTS - 1) * K);
    TwinArray b = twin_words(SEGMENTS * K * NR);
    TwinArray c = twin_random((size_t)rows * columns);
    g_autofree double *expected = g_new(double, (size_t)rows *columns);
    for (size_t m = 0; m < (size_t)rows; m++)
        for (size_t n = 0; n < columns; n++) {
            double sum = add ? c.data[m * columns + n] : 0;
            for (size_t k = 0; k < 2 * K * segments; k++)
                sum += (double)half_of(a.data[m * K + k / 2], k % 2) *
                       half_of(b.data[k / 2 * NR + n], k % 2);
            expected[m * columns + n] = sum;
        }
    tile(rows, &(LdmTile){.segments = segments,
                          .offsets = segments > 1 ? offsets : NULL,
                          .K = K,
                          .a = a.data,
                          .lda = K,
                          .b = b.data,
                          .c = c.data,
                          .ldc = columns,
                          .vectors = vectors,
                          .add = add});
    twin_compare(c.data, expected, (size_t)rows * columns, 2e-6, "tile");
    twin_free(a);
    twin_free(b);
    twin_free(c);
}

static void test_tile(void)
{
    static const size_t depths[] = {1, 15, 16, 17, 48};
    amx.bytes = false;
    amx.shaped = amx.shapes = 0;
    for (int rows = 1; rows <= AMX_ROWS; rows++)
        for (size_t i = 0; i < G_N_ELEMENTS(depths); i++)
            for (int vectors = 1; vectors <= 2; vectors++)
                check(rows, vectors, depths[i], (rows + i) % 2 == 0);
    g_assert_cmpint(amx.shapes, ==, AMX_ROWS); /* once for each number of rows */
}

static TwinArray twin_bytes(size_t words)
{
    TwinArray array = twin_array(words);
    for (size_t i = 0; i < 4 * words; i++)
        ((int8_t *)array.data)[i] = (int8_t)g_test_rand_int_range(-127, 128);
    return array;
}

/* Two panels lie further apart than one is long, rows of x likewise; whole sums are exact. */
static void check_bytes(int rows, int panels, size_t words, bool add)
{
    const size_t columns = (size_t)panels * LDM_Q8_PANEL, ldx = 4 * words + 4;
    const size_t panel = 4 * LDM_Q8_PANEL * words, next = panel + 64;
    TwinArray x = twin_bytes((size_t)rows * ldx / 4), w = twin_bytes((panel + next) / 4);
    TwinArray scales = twin_random(2 * (LDM_Q8_PANEL + 3)), c = twin_random((size_t)rows * columns);
    g_autofree double *expected = g_new(double, (size_t)rows *columns);
    LdmQ8Row entries[2 * AMX_ROWS];
    for (int m = 0; m < rows; m++)
        entries[2 * m] = (LdmQ8Row){.scale = (float)g_test_rand_double_range(0.1, 1)};
    for (size_t i = 0; i < (size_t)rows * columns; i++) {
        size_t m = i / columns, p = i % columns / LDM_Q8_PANEL, n = i % LDM_Q8_PANEL;
        const int8_t *row = (int8_t *)x.data + m * ldx, *column = (int8_t *)w.data + p * next;
        int sum = 0;
        for (size_t k = 0; k < 4 * words; k++)
            sum += row[k] * column[(k / 4 * LDM_Q8_PANEL + n) * 4 + k % 4];
        expected[i] = (double)sum * entries[2 * m].scale * scales.data[p * (LDM_Q8_PANEL + 3) + n] +
                      (add ? c.data[i] : 0);
    }
    q8_tile(rows, &(LdmQ8Tile){.words = words,
                               .x = (int8_t *)x.data,
                               .rows = entries,
                               .ldx = ldx,
                               .ld_rows = 2,
                               .w = (int8_t *)w.data,
                               .scales = scales.data,
                               .next_w = next,
                               .next_scales = LDM_Q8_PANEL + 3,
                               .c = c.data,
                               .ldc = columns,
                               .panels = panels,
                               .add = add});
    twin_compare(c.data, expected, (size_t)rows * columns, 1e-6, "tile of bytes");
    twin_free(x);
    twin_free(w);
    twin_free(scales);
    twin_free(c);
}

static void test_bytes(void)
{
    static const size_t depths[] = {1, 15, 16, 17, 48};
    amx.bytes = true;
    amx.shaped = amx.shapes = 0;
    for (int rows = 1; rows <= AMX_ROWS; rows++)
        for (size_t i = 0; i < G_N_ELEMENTS(depths); i++)
            for (int panels = 1; panels <= 2; panels++)
                check_bytes(rows, panels, depths[i], (rows + i) % 2 == 0);
    g_assert_cmpint(amx.shapes, ==, AMX_ROWS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/amx/tile", test_tile);
    g_test_add_func("/amx/bytes", test_bytes);
    return g_test_run();
}
