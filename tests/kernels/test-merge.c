/* Token merging against the published rules in double precision: who goes where, the means, and the
 * copies on the way back. */
#include "twin.h"

typedef struct {
    LdmMerge m;
    size_t T, rows;
    TwinArray x, scratch;
} Case;

static Case match(LdmMerge m, TwinArray x)
{
    Case c = {.m = m, .T = m.H * m.W, .rows = m.H * m.W - m.merged, .x = x};
    c.scratch = twin_scratch(ldm_merge_scratch(&m));
    c.m.tokens = g_new(LdmToken, m.N * c.T);
    c.m.scratch = c.scratch.data;
    g_assert_true(ldm_merge_match(&c.m, x.data, NULL));
    return c;
}

static void case_free(Case c)
{
    twin_free(c.x);
    twin_free(c.scratch);
    g_free(c.m.tokens);
}

static double cosine(const float *a, const float *b, size_t C)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t c = 0; c < C; c++) {
        ab += (double)a[c] * b[c];
        aa += (double)a[c] * a[c];
        bb += (double)b[c] * b[c];
    }
    return ab / sqrt(aa * bb);
}

/* Where each token of one picture goes: T where it stays, else the destination; the most similar
 * pairs first, as many as merge. */
static size_t *twin_match(const LdmMerge *m, const float *x)
{
    size_t T = m->H * m->W, D = (m->H / 2) * (m->W / 2);
    g_autofree bool *destination = g_new0(bool, T);
    g_autofree double *similar = g_new(double, T);
    g_autofree size_t *nearest = g_new0(size_t, T);
    size_t *goes = g_new(size_t, T);
    for (size_t d = 0; d < D; d++)
        destination[d / (m->W / 2) * 2 * m->W + d % (m->W / 2) * 2] = true;
    for (size_t i = 0; i < T; i++) {
        goes[i] = T;
        similar[i] = -2;
        for (size_t j = 0; j < T && !destination[i]; j++) {
            double near = destination[j] ? cosine(x + i * m->C, x + j * m->C, m->C) : -2;
            nearest[i] = near > similar[i] ? j : nearest[i];
            similar[i] = MAX(similar[i], near);
        }
    }
    for (size_t r = 0; r < m->merged; r++) {
        size_t best = T;
        for (size_t i = 0; i < T; i++)
            if (!destination[i] && goes[i] == T && (best == T || similar[i] > similar[best]))
                best = i;
        goes[best] = nearest[best];
    }
    return goes;
}

/* Of the tokens that end where token i does. */
static void twin_mean(const Case *c, const float *x, const size_t *goes, size_t i, double *mean)
{
    size_t to = goes[i] == c->T ? i : goes[i], members = 0;
    memset(mean, 0, c->m.C * sizeof *mean);
    for (size_t j = 0; j < c->T; j++) {
        bool member = j == to || goes[j] == to;
        members += member;
        for (size_t k = 0; member && k < c->m.C; k++)
            mean[k] += x[j * c->m.C + k];
    }
    for (size_t k = 0; k < c->m.C; k++)
        mean[k] /= (double)members;
}

/* Places, means and copies of one picture. */
static void check_picture(const Case *c, size_t n, const float *means, const float *back)
{
    size_t C = c->m.C;
    const float *x = c->x.data + n * c->T * C;
    const LdmToken *tokens = c->m.tokens + n * c->T;
    g_autofree size_t *goes = twin_match(&c->m, x);
    g_autofree double *expected = g_new(double, c->T *C);
    uint32_t row = 0;
    for (size_t i = 0; i < c->T; i++)
        if (goes[i] == c->T)
            g_assert_cmpuint(tokens[i].place, ==, row++);
    g_assert_cmpuint(row, ==, c->rows);
    for (size_t i = 0; i < c->T; i++) {
        double *mean = expected + i * C;
        g_assert_true(goes[i] == c->T || tokens[i].place == tokens[goes[i]].place);
        twin_mean(c, x, goes, i, mean);
        twin_compare(means + (n * c->rows + tokens[i].place) * C, mean, C, 1e-6, "merge");
        for (size_t k = 0; k < C; k++)
            mean[k] += x[i * C + k];
    }
    twin_compare(back + n * c->T * C, expected, c->T * C, 1e-6, "unmerge");
}

static void check(size_t N, size_t H, size_t W, size_t C, size_t merged)
{
    LdmMerge m = {.N = N, .H = H, .W = W, .C = C, .merged = merged};
    Case c = match(m, twin_random(N * H * W * C));
    TwinArray means = twin_array(N * c.rows * C), back = twin_array(c.x.n);
    g_assert_true(ldm_merge(&c.m, c.x.data, means.data, NULL));
    g_assert_true(ldm_unmerge(&c.m, means.data, c.x.data, back.data, NULL));
    for (size_t n = 0; n < N; n++)
        check_picture(&c, n, means.data, back.data);
    twin_free(means);
    twin_free(back);
    case_free(c);
}

static void test_rules(void)
{
    check(1, 2, 2, 3, 1);
    check(1, 2, 2, 3, 3);
    check(2, 6, 8, 40, 24);
    check(1, 7, 5, 70, 17); /* a row and a column without a block */
    check(1, 7, 5, 70, ldm_merge_most(7, 5));
    check(1, 28, 26, 9, 300); /* several blocks of similarities */
    check(1, 4, 4, 16, 0);
}

/* There and back, tokens that merged with their equals are what they were, to the bit. */
static void test_equal(void)
{
    enum { SIDE = 6, T = SIDE * SIDE, C = 5, MERGED = 18 };
    LdmMerge m = {.N = 1, .H = SIDE, .W = SIDE, .C = C, .merged = MERGED};
    TwinArray x = twin_random(T * C), means = twin_array((T - MERGED) * C),
              back = twin_array(T * C);
    g_autofree float *zeros = g_new0(float, T *C);
    for (size_t i = 0; i < T; i++) { /* four tokens of a block alike */
        size_t corner = i / SIDE / 2 * 2 * SIDE + i % SIDE / 2 * 2;
        memmove(x.data + i * C, x.data + corner * C, C * sizeof(float));
    }
    Case c = match(m, x);
    g_assert_true(ldm_merge(&c.m, x.data, means.data, NULL));
    g_assert_true(ldm_unmerge(&c.m, means.data, zeros, back.data, NULL));
    for (size_t i = 0; i < T * C; i++)
        g_assert_cmpfloat(back.data[i], ==, x.data[i]);
    twin_free(means);
    twin_free(back);
    case_free(c);
}

/* Zeros and NaN are like nothing; every token has its place all the same. */
static void test_nan(void)
{
    enum { T = 16, C = 3, MERGED = 12 };
    LdmMerge m = {.N = 1, .H = 4, .W = 4, .C = C, .merged = MERGED};
    TwinArray x = twin_random(T * C);
    memset(x.data, 0, 5 * C * sizeof(float));
    x.data[7 * C + 1] = NAN;
    Case c = match(m, x);
    for (size_t i = 0; i < T; i++)
        g_assert_cmpuint(c.m.tokens[i].place, <, T - MERGED);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_merge_match(&c.m, x.data, cancelled));
    case_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/merge/rules", test_rules);
    g_test_add_func("/merge/equal", test_equal);
    g_test_add_func("/merge/nan", test_nan);
    return g_test_run();
}
