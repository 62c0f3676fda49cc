/* The optimiser. In: gradients, added up by the backward pass into one array per parameter. Out:
 * the weights that the network computes with, and their moving average. AdamW in float32 in the
 * order of torch.optim.AdamW, so that loss curves can be compared; the norm is added up in double
 * over pieces of fixed size, so that its last bit does not depend on the number of threads. */
#include "train/optimiser.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "kernels/kernels.h"
#include "train/check.h"
#include "train/muon.h"
#include "train/squares.h"

#include <math.h>
#include <string.h>

#define PIECE  ((size_t)1 << 16) /* elements of one tile */
#define ARRAYS 5                 /* per parameter, without averages over profiles */
#define ALIGN  16                /* floats of a cache line */

/* Loss and norm: how fast "the usual" follows, and how many steps it is only learnt. */
#define SPREAD_DECAY 0.98
#define SPREAD_LEARN 50

/* A piece of one parameter. */
typedef struct {
    LdmTrained *trained;
    size_t first, count;
} Piece;

struct LdmOptimiser {
    LdmOptimiserOptions options;
    LdmOptimiserState state;
    double gammas[LDM_PROFILES];
    GPtrArray *trained;   /* LdmTrained */
    GPtrArray *memory;    /* one block per table */
    GPtrArray *tables;    /* LdmParams, which have the gradients; borrowed */
    GArray *pieces;       /* Piece */
    double *squares;      /* [pieces] of the gradient */
    char *scratch;        /* Muon's, of each thread */
    size_t scratch_bytes; /* of one */
};

LdmOptimiserOptions ldm_optimiser_defaults(void)
{
    return (LdmOptimiserOptions){
        .rate = 1e-4,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .weight_decay = 0.01,
        .warm_up = 100,
        .steps = 1000,
        .clip = 1.0,
        .ema = 0.999,
        .outlier = 6.0,
        .patience = 10,
    };
}

bool ldm_optimiser_has_profiles(const LdmOptimiserOptions *options)
{
    return options->profiles[0] != 0.0 || options->profiles[1] != 0.0;
}

static bool check_profiles(const LdmOptimiserOptions *o, GError **error)
{
    const double *p = o->profiles;

    if (!ldm_optimiser_has_profiles(o) ||
        (p[0] >= LDM_POWER_LEAST && p[0] < p[1] && p[1] <= LDM_POWER_MOST))
        return true;
    ldm_set_error(error, INVALID,
                  _("ema-profiles is %g %g, but must be two numbers between %g and %g, the smaller "
                    "first"),
                  p[0], p[1], LDM_POWER_LEAST, LDM_POWER_MOST);
    return false;
}

static bool check_cool_down(const LdmOptimiserOptions *o, GError **error)
{
    if (o->cool_down == 0 || o->decay_from > 0)
        return true;
    ldm_set_error(error, INVALID,
                  _("cool-down needs decay-from: without it the rate falls to zero by itself"));
    return false;
}

static bool check_options(const LdmOptimiserOptions *o, GError **error)
{
    const double below_one = nextafter(1.0, 0.0);
    double longest = o->decay_from > 0 ? 1e12 : (double)o->steps;

    return check_profiles(o, error) && ldm_option_check("rate", o->rate, 0.0, 1.0, error) &&
           ldm_option_check("beta1", o->beta1, 0.0, below_one, error) &&
           ldm_option_check("beta2", o->beta2, 0.0, below_one, error) &&
           ldm_option_check("eps", o->eps, 1e-30, 1.0, error) &&
           ldm_option_check("weight-decay", o->weight_decay, 0.0, 10.0, error) &&
           ldm_option_check("clip", o->clip, 0.0, 1e30, error) &&
           ldm_option_check("ema", o->ema, 0.0, below_one, error) &&
           ldm_option_check("outlier", o->outlier, 0.0, 1e6, error) &&
           ldm_option_check("patience", o->patience, 0, 1e6, error) &&
           ldm_option_check("steps", (double)o->steps, 1, 1e12, error) &&
           ldm_option_check("warm-up", (double)o->warm_up, 0, longest, error) &&
           ldm_option_check("decay-from", (double)o->decay_from, 0, 1e12, error) &&
           ldm_option_check("cool-down", (double)o->cool_down, 0, (double)o->steps, error) &&
           check_cool_down(o, error);
}

static void trained_free(gpointer data)
{
    LdmTrained *trained = data;

    g_free(trained->name);
    g_free(trained);
}

LdmOptimiser *ldm_optimiser_new(const LdmOptimiserOptions *options, GError **error)
{
    if (!check_options(options, error))
        return NULL;
    LdmOptimiser *optimiser = g_new0(LdmOptimiser, 1);
    optimiser->options = *options;
    for (size_t i = 0; i < LDM_PROFILES; i++)
        optimiser->gammas[i] = ldm_power_gamma(options->profiles[i]);
    optimiser->trained = g_ptr_array_new_with_free_func(trained_free);
    optimiser->memory = g_ptr_array_new_with_free_func(ldm_aligned_free);
    optimiser->tables = g_ptr_array_new();
    optimiser->pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    return optimiser;
}

void ldm_optimiser_free(LdmOptimiser *optimiser)
{
    if (optimiser == NULL)
        return;
    g_ptr_array_unref(optimiser->trained);
    g_ptr_array_unref(optimiser->memory);
    g_ptr_array_unref(optimiser->tables);
    g_array_unref(optimiser->pieces);
    g_free(optimiser->squares);
    ldm_aligned_free(optimiser->scratch);
    g_free(optimiser);
}

/* ---- tables ---- */

/* Elements, rounded up so that every array begins a cache line. */
static size_t padded_count(const LdmParam *param, size_t *count)
{
    *count = ldm_param_count(param); /* bound: the file held as much */
    return (*count + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t arrays_of(const LdmOptimiserOptions *options)
{
    return ARRAYS + (ldm_optimiser_has_profiles(options) ? LDM_PROFILES : 0);
}

/* Rows of a matrix that Muon is for, or 0: not for vectors, nor for what the network begins and
 * ends with, nor for tables of vectors. Convolutions are matrices [out, in * taps]. */
static size_t muon_rows(const LdmParam *param, size_t count)
{
    const size_t least = 16;
    size_t rows = param->rank > 1 ? param->shape[0] : 0;

    if (rows < least || count / rows < least || g_str_has_suffix(param->name, "conv_in.weight") ||
        g_str_has_suffix(param->name, "conv_out.weight") ||
        g_str_has_suffix(param->name, "_embedding.weight"))
        return 0;
    return rows;
}

/* What a thread needs for the steps of a matrix, in whole cache lines; 0: no Muon. */
static size_t scratch_for(const LdmOptimiserOptions *options, size_t rows, size_t count)
{
    const size_t line = ALIGN * sizeof(float);

    if (options->kind != LDM_MUON || rows == 0)
        return 0;
    return (ldm_muon_scratch(rows, count / rows) + line - 1) / line * line;
}

size_t ldm_optimiser_bytes(const LdmOptimiserOptions *options, const LdmParams *const *tables)
{
    size_t bytes = 0, scratch = 0;

    for (; *tables != NULL; tables++)
        for (size_t i = 0; i < ldm_params_length(*tables); i++) {
            const LdmParam *param = ldm_params_at(*tables, i);
            size_t count, padded = padded_count(param, &count);
            bytes += padded * arrays_of(options) * sizeof(float);
            scratch = MAX(scratch, scratch_for(options, muon_rows(param, count), count));
        }
    return bytes + (size_t)ldm_threads() * scratch;
}

static void add_param(LdmOptimiser *optimiser, const char *part, LdmParam *param, float *memory)
{
    LdmTrained *trained = g_new0(LdmTrained, 1);
    size_t padded = padded_count(param, &trained->count);

    trained->name = g_strconcat(part, "/", param->name, NULL);
    trained->param = param;
    if (optimiser->options.kind == LDM_MUON)
        trained->rows = muon_rows(param, trained->count);
    trained->weight = memory;
    trained->gradient = param->gradient;
    trained->moment1 = memory + padded;
    trained->moment2 = memory + 2 * padded;
    trained->ema = memory + 3 * padded;
    ldm_convert_to_f32(param->data, param->dtype, trained->weight, trained->count);
    memcpy(trained->ema, trained->weight, trained->count * sizeof(float));
    for (size_t i = 0; ldm_optimiser_has_profiles(&optimiser->options) && i < LDM_PROFILES; i++) {
        trained->profiles[i] = memory + (4 + i) * padded;
        memcpy(trained->profiles[i], trained->weight, trained->count * sizeof(float));
    }
    param->dtype = LDM_F32;
    param->data = trained->weight;
    g_ptr_array_add(optimiser->trained, trained);
    for (size_t first = 0; first < trained->count; first += PIECE) {
        Piece piece = {trained, first, MIN(PIECE, trained->count - first)};
        g_array_append_val(optimiser->pieces, piece);
    }
}

/* Enough for the largest matrix. */
static bool make_scratch(LdmOptimiser *optimiser, GError **error)
{
    size_t bytes = 0, threads = (size_t)ldm_threads();

    for (guint i = 0; i < optimiser->trained->len; i++) {
        const LdmTrained *t = g_ptr_array_index(optimiser->trained, i);
        bytes = MAX(bytes, scratch_for(&optimiser->options, t->rows, t->count));
    }
    if (bytes <= optimiser->scratch_bytes)
        return true;
    ldm_aligned_free(optimiser->scratch);
    optimiser->scratch = ldm_aligned_alloc0(threads, bytes, _("the steps of matrices"), error);
    optimiser->scratch_bytes = optimiser->scratch != NULL ? bytes : 0;
    return optimiser->scratch != NULL;
}

bool ldm_optimiser_add(LdmOptimiser *optimiser, const char *part, LdmParams *params, GError **error)
{
    size_t total = 0, own = arrays_of(&optimiser->options) - 1,
           count; /* gradients are the table's */

    ldm_params_set_trained(params, true);
    if (!ldm_params_make_gradients(params, error))
        return false;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        total += padded_count(ldm_params_at(params, i), &count);
    float *memory = ldm_aligned_alloc0(total, own * sizeof(float),
                                       _("the weights in training and their averages"), error);
    if (memory == NULL)
        return false;
    g_ptr_array_add(optimiser->memory, memory);
    g_ptr_array_add(optimiser->tables, params);
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        add_param(optimiser, part, param, memory);
        memory += own * padded_count(param, &count);
    }
    optimiser->squares = g_renew(double, optimiser->squares, optimiser->pieces->len);
    return make_scratch(optimiser, error);
}

size_t ldm_optimiser_length(const LdmOptimiser *optimiser)
{
    return optimiser->trained->len;
}

LdmTrained *ldm_optimiser_at(const LdmOptimiser *optimiser, size_t i)
{
    return g_ptr_array_index(optimiser->trained, i);
}

LdmOptimiserState *ldm_optimiser_state(LdmOptimiser *optimiser)
{
    return &optimiser->state;
}

const LdmOptimiserOptions *ldm_optimiser_options(const LdmOptimiser *optimiser)
{
    return &optimiser->options;
}

void ldm_optimiser_clear_gradients(LdmOptimiser *optimiser)
{
    for (guint i = 0; i < optimiser->tables->len; i++)
        ldm_params_clear_gradients(g_ptr_array_index(optimiser->tables, i));
}

bool ldm_optimiser_sum_gradients(LdmOptimiser *optimiser, LdmRanks *ranks, GError **error)
{
    for (guint i = 0; i < optimiser->tables->len; i++) {
        size_t count;
        float *gradients = ldm_params_gradients(g_ptr_array_index(optimiser->tables, i), &count);
        if (!ldm_ranks_sum(ranks, gradients, count, error))
            return false;
    }
    return true;
}

void ldm_optimiser_digest(const LdmOptimiser *optimiser, GChecksum *sum)
{
    for (guint i = 0; i < optimiser->trained->len; i++) {
        const LdmTrained *trained = g_ptr_array_index(optimiser->trained, i);
        g_checksum_update(sum, (const guchar *)trained->weight,
                          (gssize)(trained->count * sizeof(float)));
    }
}

/* ---- one step ---- */

/* What an endless run's rate is multiplied by. */
static double cooled(const LdmOptimiserOptions *options, uint64_t step)
{
    uint64_t left = step < options->steps ? options->steps - step : 0;

    if (left >= options->cool_down)
        return 1.0;
    return 1.0 - sqrt(1.0 - (double)left / (double)options->cool_down);
}

double ldm_optimiser_rate(const LdmOptimiserOptions *options, uint64_t step)
{
    double warm_up = (double)options->warm_up, rest = (double)options->steps - warm_up;

    if (step < options->warm_up)
        return options->rate * (double)(step + 1) / warm_up * cooled(options, step);
    if (options->decay_from > 0)
        return options->rate * cooled(options, step) /
               sqrt(MAX((double)step / (double)options->decay_from, 1.0));
    if (rest <= 0.0)
        return options->rate;
    double along = MIN(((double)step - warm_up) / rest, 1.0);
    return options->rate * 0.5 * (1.0 + cos(G_PI * along));
}

static void square_piece(size_t index, int thread, void *data)
{
    LdmOptimiser *optimiser = data;
    const Piece *piece = &g_array_index(optimiser->pieces, Piece, index);

    optimiser->squares[index] =
        ldm_sum_of_squares(piece->trained->gradient + piece->first, piece->count);
}

static double gradient_norm(LdmOptimiser *optimiser)
{
    double sum = 0.0;

    ldm_parallel_for(optimiser->pieces->len, square_piece, optimiser, NULL);
    for (guint i = 0; i < optimiser->pieces->len; i++)
        sum += optimiser->squares[i];
    return sqrt(sum);
}

/* The numbers of one update, as torch computes them: in double, then used as float. */
typedef struct {
    LdmOptimiser *optimiser;
    float shrink;  /* of the weights: 1 - rate * decay */
    float scale;   /* of the gradient: clipping */
    float follow1; /* 1 - beta1 */
    float beta2, follow2;
    float root2;                  /* sqrt(1 - beta2^n) */
    float eps, size;              /* rate / (1 - beta1^n) */
    float average;                /* 1 - decay of the moving average */
    float muon_follow, muon_size; /* 1 - momentum; rate times share, for a longer side of 1 */
    float profiles[LDM_PROFILES];
} Update;

/* That no two arrays overlap, and sqrtf sets no errno (meson.build), lets the compiler take several
 * elements at once; each is rounded as if alone. */
static void update_arrays(const Update *update, const LdmTrained *t, size_t first, size_t count)
{
    const Update u = *update;
    const float *restrict gradient = t->gradient + first;
    float *restrict moment1 = t->moment1 + first, *restrict moment2 = t->moment2 + first;
    float *restrict weight = t->weight + first, *restrict ema = t->ema + first;

    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * u.scale;
        float m = moment1[i] + u.follow1 * (g - moment1[i]);
        float v = moment2[i] * u.beta2 + u.follow2 * g * g;
        float w = weight[i] * u.shrink - u.size * (m / (sqrtf(v) / u.root2 + u.eps));

        moment1[i] = m;
        moment2[i] = v;
        weight[i] = w;
        ema[i] += u.average * (w - ema[i]);
    }
}

/* Muon's moment, and where it leads to (Nesterov) into moment2. */
static void lead_piece(size_t index, int thread, void *data)
{
    const Update u = *(const Update *)data;
    const Piece *piece = &g_array_index(u.optimiser->pieces, Piece, index);
    const LdmTrained *t = piece->trained;
    const float *restrict gradient = t->gradient + piece->first;
    float *restrict moment = t->moment1 + piece->first, *restrict lead = t->moment2 + piece->first;

    if (t->rows == 0 || !t->param->trained)
        return;
    for (size_t i = 0; i < piece->count; i++) {
        float g = gradient[i] * u.scale;
        float m = moment[i] + u.muon_follow * (g - moment[i]);

        moment[i] = m;
        lead[i] = m + u.muon_follow * (g - m);
    }
}

static void update_matrix(const Update *u, const LdmTrained *t, size_t first, size_t count)
{
    const float shrink = u->shrink, average = u->average;
    const float size = u->muon_size * sqrtf((float)MAX(t->rows, t->count / t->rows));
    const float *restrict step = t->moment2 + first;
    float *restrict weight = t->weight + first, *restrict ema = t->ema + first;

    for (size_t i = 0; i < count; i++) {
        float w = weight[i] * shrink - size * step[i];

        weight[i] = w;
        ema[i] += average * (w - ema[i]);
    }
}

static void follow(float *restrict average, const float *restrict weight, float share, size_t count)
{
    for (size_t i = 0; i < count; i++)
        average[i] += share * (weight[i] - average[i]);
}

static void update_piece(size_t index, int thread, void *data)
{
    const Update *u = data;
    const Piece *piece = &g_array_index(u->optimiser->pieces, Piece, index);
    const LdmTrained *t = piece->trained;

    if (!t->param->trained)
        return;
    if (t->rows > 0)
        update_matrix(u, t, piece->first, piece->count);
    else
        update_arrays(u, t, piece->first, piece->count);
    for (size_t i = 0; i < LDM_PROFILES && t->profiles[i] != NULL; i++)
        follow(t->profiles[i] + piece->first, t->weight + piece->first, u->profiles[i],
               piece->count);
}

/* A matrix's step. */
static void orthogonalise_one(size_t index, int thread, void *data)
{
    const LdmOptimiser *o = ((const Update *)data)->optimiser;
    const LdmTrained *t = g_ptr_array_index(o->trained, index);

    if (t->rows > 0 && t->param->trained)
        ldm_muon_orthogonalise(t->moment2, t->rows, t->count / t->rows, o->options.bf16,
                               o->scratch + (size_t)thread * o->scratch_bytes);
}

static void update(LdmOptimiser *optimiser, double norm, double rate)
{
    const LdmOptimiserOptions *o = &optimiser->options;
    double n = (double)++optimiser->state.taken;
    double decay = MIN(o->ema, (1.0 + n) / (10.0 + n));
    /* torch.nn.utils.clip_grad_norm_ */
    double scale = o->clip > 0.0 ? MIN(o->clip / (norm + 1e-6), 1.0) : 1.0;
    Update u = {
        .optimiser = optimiser,
        .shrink = (float)(1.0 - rate * o->weight_decay),
        .scale = (float)scale,
        .follow1 = (float)(1.0 - o->beta1),
        .beta2 = (float)o->beta2,
        .follow2 = (float)(1.0 - o->beta2),
        .root2 = (float)sqrt(1.0 - pow(o->beta2, n)),
        .eps = (float)o->eps,
        .size = (float)(rate / (1.0 - pow(o->beta1, n))),
        .average = (float)(1.0 - decay),
        .muon_follow = (float)(1.0 - LDM_MUON_MOMENTUM),
        .muon_size = (float)(rate * LDM_MUON_SHARE),
    };

    for (size_t i = 0; i < LDM_PROFILES; i++)
        u.profiles[i] = (float)ldm_power_follow(optimiser->gammas[i], optimiser->state.taken);
    if (o->kind == LDM_MUON) {
        ldm_parallel_for(optimiser->pieces->len, lead_piece, &u, NULL);
        ldm_parallel_for(optimiser->trained->len, orthogonalise_one, &u, NULL);
    }
    ldm_parallel_for(optimiser->pieces->len, update_piece, &u, NULL);
}

/* True where `value` is unusual. An outlier counts as the largest usual value, so that a loss that
 * has changed for good is soon usual. */
static bool watch(LdmSpread *spread, double value, double limit, uint64_t seen)
{
    double ceiling = spread->mean + limit * sqrt(spread->variance);
    bool unusual = limit > 0.0 && seen >= SPREAD_LEARN && value > ceiling;
    double follow = MAX(1.0 - SPREAD_DECAY, 1.0 / (double)(seen + 1));
    double distance = (unusual ? ceiling : value) - spread->mean;

    spread->mean += follow * distance;
    spread->variance = (1.0 - follow) * (spread->variance + follow * distance * distance);
    return unusual;
}

static LdmStepKind judge(LdmOptimiser *optimiser, double loss, double norm)
{
    LdmOptimiserState *state = &optimiser->state;
    uint64_t seen = state->taken + state->outliers;
    double limit = optimiser->options.outlier;

    if (!isfinite(loss) || !isfinite(norm)) {
        state->nonfinite++;
        state->nonfinite_row++;
        return LDM_STEP_NONFINITE;
    }
    state->nonfinite_row = 0;
    bool loss_unusual = watch(&state->loss, loss, limit, seen);
    bool norm_unusual = watch(&state->norm, norm, limit, seen);
    if (!loss_unusual && !norm_unusual)
        return LDM_STEP_TAKEN;
    state->outliers++;
    return LDM_STEP_OUTLIER;
}

bool ldm_optimiser_step(LdmOptimiser *optimiser, double loss, LdmStep *step, GError **error)
{
    LdmOptimiserState *state = &optimiser->state;

    step->norm = gradient_norm(optimiser);
    step->rate = ldm_optimiser_rate(&optimiser->options, state->step++);
    step->kind = judge(optimiser, loss, step->norm);
    if (step->kind == LDM_STEP_TAKEN)
        update(optimiser, step->norm, step->rate);
    ldm_optimiser_clear_gradients(optimiser);
    if (state->nonfinite_row <= (uint64_t)optimiser->options.patience)
        return true;
    ldm_set_error(error, NONFINITE,
                  _("the loss or its gradient was not a finite number in %d steps in a row: "
                    "lower the learning rate"),
                  (int)state->nonfinite_row);
    return false;
}
