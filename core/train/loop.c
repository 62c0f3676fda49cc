/* The loop. In: options, an optimiser with the tables that are trained, a function that does one
 * pass. Out: a folder with checkpoints, the log and at last the trained model. What a step draws
 * follows from (seed, step, place in the step), so that it is the same whether the run was
 * interrupted before it or not. */
#include "train/loop.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/check.h"
#include "train/keyed.h"
#include "train/model-write.h"
#include "train/plot.h"
#include "train/snapshots.h"
#include "train/train-log.h"

#include <string.h>

struct LdmLoop {
    const LdmLoopOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmRanks *ranks;
    char *settings;
    LdmCheckpoints *checkpoints;
    LdmOptimiser *optimisers[2]; /* the second: the adversary's, or NULL */
    uint64_t adversary_start;
    size_t *order; /* [count] of `epoch`, or [batches][batch] with buckets */
    size_t count;
    const uint8_t *buckets; /* [count] or NULL */
    size_t batches;         /* of an epoch, with buckets */
    uint64_t epoch;
    char *log_path, *plot_path;
    FILE *log;
    double seconds; /* of one step */
};

LdmLoopOptions ldm_loop_defaults(void)
{
    return (LdmLoopOptions){
        .optimiser = ldm_optimiser_defaults(),
        .batch = 8,
        .accumulate = 1,
        .save_every = 100,
        .keep = 2,
        .look_every = 500,
        .snapshots = 16,
    };
}

void ldm_train_step_add(LdmTrainStep *step, const char *name, double value)
{
    for (size_t i = 0; i < LDM_TRAIN_TERMS; i++) {
        if (step->terms[i].name != NULL && strcmp(step->terms[i].name, name) != 0)
            continue;
        step->terms[i].name = name;
        step->terms[i].value += value;
        return;
    }
}

/* ---- opening ---- */

static bool check_options(const LdmLoopOptions *o, GError **error)
{
    if (o->precision == LDM_TRAIN_BF16 && !ldm_kernels_have_bf16()) {
        ldm_set_error(error, UNSUPPORTED,
                      _("this processor does not multiply bf16 faster: leave precision at f32"));
        return false;
    }
    return ldm_option_check("batch", (double)o->batch, 1, 4096, error) &&
           ldm_option_check("accumulate", (double)o->accumulate, 1, 4096, error) &&
           ldm_option_check("seed", (double)o->seed, 0.0, 9.3e18, error) &&
           ldm_option_check("save-every", (double)o->save_every, 1, 1e9, error) &&
           ldm_option_check("keep", o->keep, 1, 1000, error) &&
           ldm_option_check("samples-every", (double)o->look_every, 0, 1e9, error) &&
           ldm_option_check("ema-snapshots", (double)o->snapshots, 2, 1000, error);
}

/* A run's folder may hold its own model: its checkpoints tell. */
static bool check_room(const LdmLoop *loop, GError **error)
{
    g_autoptr(LdmCheckpoints) own = ldm_checkpoints_join(loop->folder);

    return loop->options->resume || ldm_checkpoints_exist(own) ||
           ldm_model_check_room(loop->folder, error);
}

static bool open_folder(LdmLoop *loop, GError **error)
{
    bool first = ldm_ranks_first(loop->ranks);

    if (first && !check_room(loop, error))
        return false;

    loop->checkpoints = first ? ldm_checkpoints_open(loop->folder, loop->options->keep, error)
                              : ldm_checkpoints_join(loop->folder);
    if (loop->checkpoints == NULL)
        return false;
    if (!first || loop->options->resume || !ldm_checkpoints_exist(loop->checkpoints))
        return ldm_ranks_meet(loop->ranks, error);
    ldm_set_error(error, INVALID,
                  _("“%s” has checkpoints of an earlier run: resume it or choose another folder"),
                  loop->folder);
    return false;
}

LdmLoop *ldm_loop_new(const LdmLoopOptions *options, const LdmTrainWatch *watch, const char *folder,
                      GError **error)
{
    g_autoptr(LdmLoop) loop = g_new0(LdmLoop, 1);

    loop->options = options;
    loop->watch = watch;
    loop->folder = folder;
    loop->ranks = watch->ranks;
    if (!check_options(options, error) || !open_folder(loop, error))
        return NULL;
    LdmOptimiserOptions optimiser = options->optimiser;
    optimiser.bf16 = options->precision == LDM_TRAIN_BF16;
    loop->optimisers[0] = ldm_optimiser_new(&optimiser, error);
    return loop->optimisers[0] != NULL ? g_steal_pointer(&loop) : NULL;
}

void ldm_loop_free(LdmLoop *loop)
{
    if (loop == NULL)
        return;
    g_clear_pointer(&loop->log, fclose);
    g_free(loop->log_path);
    g_free(loop->plot_path);
    g_free(loop->order);
    g_free(loop->settings);
    for (size_t i = 0; i < G_N_ELEMENTS(loop->optimisers); i++)
        ldm_optimiser_free(loop->optimisers[i]);
    ldm_checkpoints_free(loop->checkpoints);
    g_free(loop);
}

LdmOptimiser *ldm_loop_optimiser(LdmLoop *loop)
{
    return loop->optimisers[0];
}

LdmOptimiser *ldm_loop_add_adversary(LdmLoop *loop, const LdmOptimiserOptions *options,
                                     uint64_t start, GError **error)
{
    loop->optimisers[1] = ldm_optimiser_new(options, error);
    loop->adversary_start = start;
    return loop->optimisers[1];
}

LdmOptimiser *ldm_loop_adversary(LdmLoop *loop)
{
    return loop->optimisers[1];
}

/* Of all processes. */
static size_t whole_batch(const LdmLoop *loop)
{
    return loop->options->batch * (size_t)ldm_ranks_count(loop->ranks);
}

static void append_profiles(GString *text, const LdmOptimiserOptions *o)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    for (size_t i = 0; i < LDM_PROFILES; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? "," : " ema-profiles=",
                               g_ascii_dtostr(number, sizeof number, o->profiles[i]));
}

/* What a run that goes on must have been begun with. Not the precision, which the processor at hand
 * decides, as it does the sums' order. */
bool ldm_loop_set_settings(LdmLoop *loop, const char *others, GError **error)
{
    const LdmLoopOptions *o = loop->options;
    const LdmOptimiserOptions *a = &o->optimiser;
    const double numbers[] = {a->rate,         a->beta1, a->beta2, a->eps,
                              a->weight_decay, a->clip,  a->ema,   a->outlier};
    static const char *const names[] = {"rate",         "beta1", "beta2", "eps",
                                        "weight-decay", "clip",  "ema",   "outlier"};
    bool endless = a->decay_from > 0; /* such a run may go on for more steps than were planned */
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_printf(text,
                    "seed=%" G_GINT64_FORMAT " batch=%zu accumulate=%zu %s=%" G_GUINT64_FORMAT
                    " warm-up=%" G_GUINT64_FORMAT,
                    (gint64)o->seed, whole_batch(loop), o->accumulate,
                    endless ? "decay-from" : "steps", (guint64)(endless ? a->decay_from : a->steps),
                    (guint64)a->warm_up);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        ldm_option_append(text, names[i], numbers[i]);
    if (a->kind == LDM_MUON)
        g_string_append(text, " optimiser=muon");
    if (ldm_optimiser_has_profiles(a))
        append_profiles(text, a);
    g_string_append_printf(text, " %s", others);
    ldm_checkpoints_set_settings(loop->checkpoints, text->str);
    g_set_str(&loop->settings, text->str);
    return !o->resume || ldm_checkpoints_check(loop->checkpoints, error);
}

/* ---- examples ---- */

/* Fisher and Yates, once an epoch. */
static void shuffle(LdmLoop *loop, uint64_t epoch)
{
    LdmKeyed keyed = ldm_keyed((uint64_t)loop->options->seed, LDM_KEY_ORDER, epoch, 0);

    for (size_t i = 0; i < loop->count; i++)
        loop->order[i] = i;
    for (size_t i = loop->count; i > 1; i--) {
        size_t k = ldm_keyed_below(&keyed, i), kept = loop->order[i - 1];
        loop->order[i - 1] = loop->order[k];
        loop->order[k] = kept;
    }
    loop->epoch = epoch;
}

/* The shuffled examples of a bucket, in whole batches -> out; returns their number of batches. */
static size_t fill_batches(const LdmLoop *loop, const size_t *order, uint8_t bucket, size_t *out)
{
    size_t batch = whole_batch(loop), n = 0;

    for (size_t i = 0; i < loop->count; i++)
        if (loop->buckets[order[i]] == bucket)
            out[n++] = order[i];
    for (size_t have = n; n % batch != 0; n++)
        out[n] = out[n % have];
    return n / batch;
}

/* An epoch's batches, each from one bucket, in an order of their own. */
static void shuffle_batches(LdmLoop *loop, uint64_t epoch)
{
    size_t batch = whole_batch(loop), bytes = batch * sizeof(size_t);
    LdmKeyed keyed = ldm_keyed((uint64_t)loop->options->seed, LDM_KEY_BATCHES, epoch, 0);
    g_autofree size_t *order = NULL, *kept = g_new(size_t, batch);

    loop->order = g_renew(size_t, loop->order, loop->count);
    shuffle(loop, epoch);
    order = g_steal_pointer(&loop->order);
    loop->order = g_new(size_t, loop->count + (UINT8_MAX + 1) * batch);
    loop->batches = 0;
    for (unsigned bucket = 0; bucket <= UINT8_MAX; bucket++)
        loop->batches +=
            fill_batches(loop, order, (uint8_t)bucket, loop->order + loop->batches * batch);
    for (size_t i = loop->batches; i > 1; i--) {
        size_t *a = loop->order + (i - 1) * batch;
        size_t *b = loop->order + ldm_keyed_below(&keyed, i) * batch;
        memcpy(kept, a, bytes);
        memmove(a, b, bytes);
        memcpy(b, kept, bytes);
    }
}

void ldm_loop_set_examples(LdmLoop *loop, size_t count)
{
    loop->order = g_renew(size_t, loop->order, count);
    loop->count = count;
    shuffle(loop, 0);
}

void ldm_loop_set_buckets(LdmLoop *loop, const uint8_t *buckets)
{
    loop->buckets = buckets;
    shuffle_batches(loop, 0);
}

size_t ldm_loop_example(LdmLoop *loop, uint64_t step, size_t sample)
{
    size_t batch = whole_batch(loop);
    uint64_t n = step * batch * loop->options->accumulate + sample;

    if (loop->buckets != NULL) {
        if (n / batch / loop->batches != loop->epoch)
            shuffle_batches(loop, n / batch / loop->batches);
        return loop->order[n % (loop->batches * batch)];
    }
    if (n / loop->count != loop->epoch)
        shuffle(loop, n / loop->count);
    return loop->order[n % loop->count];
}

size_t ldm_loop_sample(const LdmLoop *loop, size_t number, size_t place)
{
    size_t rank = loop->ranks != NULL ? (size_t)loop->ranks->rank : 0;

    return number * whole_batch(loop) + rank * loop->options->batch + place;
}

double ldm_loop_share(const LdmLoop *loop)
{
    return 1.0 / ((double)loop->options->accumulate * ldm_ranks_count(loop->ranks));
}

/* ---- steps ---- */

static LdmTrainStep step_new(const LdmLoop *loop, uint64_t number)
{
    return (LdmTrainStep){.step = number + 1, .steps = loop->options->optimiser.steps};
}

/* Sums of what each process has of the step. */
static bool add_up(LdmLoop *loop, LdmTrainStep *step, GError **error)
{
    double values[2 + LDM_TRAIN_TERMS] = {step->loss, step->adversary};

    for (size_t i = 0; i < LDM_TRAIN_TERMS; i++)
        values[2 + i] = step->terms[i].value;
    if (!ldm_ranks_sum_doubles(loop->ranks, values, G_N_ELEMENTS(values), error))
        return false;
    step->loss = values[0];
    step->adversary = values[1];
    for (size_t i = 0; i < LDM_TRAIN_TERMS; i++)
        step->terms[i].value = values[2 + i];
    for (size_t i = 0; i < G_N_ELEMENTS(loop->optimisers); i++)
        if (loop->optimisers[i] != NULL &&
            !ldm_optimiser_sum_gradients(loop->optimisers[i], loop->ranks, error))
            return false;
    return true;
}

static bool update(LdmLoop *loop, LdmTrainStep *step, GError **error)
{
    LdmOptimiser *adversary = loop->optimisers[1];
    LdmStep other;

    return ldm_optimiser_step(loop->optimisers[0], step->loss, &step->update, error) &&
           (adversary == NULL || step->step <= loop->adversary_start ||
            ldm_optimiser_step(adversary, step->adversary, &other, error));
}

static bool take_step(LdmLoop *loop, const LdmLoopWork *work, LdmTrainStep *step, GError **error)
{
    gint64 begun = g_get_monotonic_time();

    *step = step_new(loop, ldm_optimiser_state(loop->optimisers[0])->step);
    for (size_t k = 0; k < loop->options->accumulate; k++)
        if (!work->pass(work->data, k, step, error))
            return false;
    if (!add_up(loop, step, error))
        return false;
    bool good = update(loop, step, error);
    double seconds = (double)(g_get_monotonic_time() - begun) / 1e6;
    loop->seconds = 0.9 * loop->seconds + 0.1 * seconds;
    step->seconds_left = loop->seconds * (double)(step->steps - step->step);
    return (loop->log == NULL ||
            ldm_train_log_step(loop->log, loop->log_path, step, good ? error : NULL)) &&
           good;
}

static bool save(LdmLoop *loop, uint64_t *saved, GError **error)
{
    uint64_t step = ldm_optimiser_state(loop->optimisers[0])->step;

    if (step == *saved || !ldm_ranks_first(loop->ranks))
        return true;
    *saved = step;
    return ldm_checkpoints_save(loop->checkpoints, loop->optimisers,
                                loop->optimisers[1] != NULL ? 2 : 1, error) &&
           ldm_plot_write(loop->log_path, loop->plot_path, error);
}

static bool has_snapshots(const LdmLoop *loop)
{
    return ldm_optimiser_has_profiles(&loop->options->optimiser) && ldm_ranks_first(loop->ranks);
}

/* Before any checkpoint of the same step: what a run goes on from has all snapshots up to it. */
static bool take_snapshot(LdmLoop *loop, uint64_t step, GError **error)
{
    const LdmLoopOptions *o = loop->options;

    return !has_snapshots(loop) || !ldm_snapshot_due(step, o->optimiser.steps, o->snapshots) ||
           ldm_snapshot_write(loop->optimisers[0], loop->folder, error);
}

static bool look(LdmLoop *loop, const LdmLoopWork *work, uint64_t step, GError **error)
{
    size_t every = loop->options->look_every;

    return !ldm_ranks_first(loop->ranks) || work->look == NULL || every == 0 || step % every != 0 ||
           work->look(work->data, error);
}

/* A step and what follows it. */
static bool advance(LdmLoop *loop, const LdmLoopWork *work, uint64_t *saved, GError **error)
{
    LdmTrainStep step;

    if (!take_step(loop, work, &step, error))
        return false;
    if (loop->watch->stepped != NULL)
        loop->watch->stepped(&step, loop->watch->data);
    return take_snapshot(loop, step.step, error) &&
           (step.step % loop->options->save_every != 0 || save(loop, saved, error)) &&
           look(loop, work, step.step, error);
}

static bool take_steps(LdmLoop *loop, const LdmLoopWork *work, GError **error)
{
    const LdmOptimiserState *state = ldm_optimiser_state(loop->optimisers[0]);
    uint64_t saved = state->step;

    while (state->step < loop->options->optimiser.steps) {
        g_autoptr(GError) reason = NULL;
        if (advance(loop, work, &saved, &reason))
            continue;
        /* an interrupted step has changed no weight */
        if (!g_error_matches(reason, LDM_ERROR, LDM_ERROR_CANCELLED) || save(loop, &saved, error))
            g_propagate_error(error, g_steal_pointer(&reason));
        return false;
    }
    return save(loop, &saved, error) &&
           (!ldm_ranks_first(loop->ranks) || work->write(work->data, error));
}

/* ---- before the first ---- */

bool ldm_loop_check_memory(LdmRanks *ranks, size_t bytes, GError **error)
{
    if (ranks != NULL)
        bytes *= (size_t)ranks->neighbours; /* of this machine's memory */
    if (bytes <= ldm_memory_available())
        return ldm_ranks_meet(ranks, error); /* nobody takes any before all have looked */
    g_autofree char *needed = g_format_size(bytes);
    g_autofree char *left = g_format_size(ldm_memory_available());
    ldm_set_error(error, MEMORY,
                  _("training needs %s of memory and %s are free: take a smaller batch or size"),
                  needed, left);
    return false;
}

/* A pass that is not counted tells how long a step takes. */
static bool time_step(LdmLoop *loop, const LdmLoopWork *work, GError **error)
{
    gint64 begun = g_get_monotonic_time();
    LdmTrainStep step = step_new(loop, ldm_optimiser_state(loop->optimisers[0])->step);

    if (!work->pass(work->data, 0, &step, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(loop->optimisers); i++)
        if (loop->optimisers[i] != NULL)
            ldm_optimiser_clear_gradients(loop->optimisers[i]);
    loop->seconds =
        (double)(g_get_monotonic_time() - begun) / 1e6 * (double)loop->options->accumulate;
    return true;
}

/* All processes begin with the same weights. */
static bool compare(const LdmLoop *loop, GError **error)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    if (loop->ranks == NULL)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(loop->optimisers); i++)
        if (loop->optimisers[i] != NULL)
            ldm_optimiser_digest(loop->optimisers[i], sum);
    g_autofree char *text = g_strdup_printf(
        "%s examples=%zu step=%" G_GUINT64_FORMAT " %s", loop->settings, loop->count,
        (guint64)ldm_optimiser_state(loop->optimisers[0])->step, g_checksum_get_string(sum));
    return ldm_ranks_compare(loop->ranks, text, error);
}

bool ldm_loop_run(LdmLoop *loop, LdmTrainPlan *plan, const GPtrArray *skipped,
                  const LdmLoopWork *work, GError **error)
{
    if (loop->options->resume && !ldm_checkpoints_load(loop->checkpoints, loop->optimisers,
                                                       loop->optimisers[1] != NULL ? 2 : 1, error))
        return false;
    plan->steps = loop->options->optimiser.steps;
    plan->first_step = ldm_optimiser_state(loop->optimisers[0])->step;
    plan->passed_over = ldm_checkpoints_passed_over(loop->checkpoints);
    plan->processes = ldm_ranks_count(loop->ranks);
    if (ldm_optimiser_has_profiles(&loop->options->optimiser))
        plan->snapshots = loop->options->snapshots;
    plan->snapshot_bytes = plan->snapshots * ldm_snapshot_bytes(loop->optimisers[0]);
    if (!compare(loop, error) || (!loop->options->finish && !time_step(loop, work, error)))
        return false;
    plan->seconds = loop->seconds;
    if (loop->watch->planned != NULL)
        loop->watch->planned(plan, skipped, loop->watch->data);
    if (loop->options->finish)
        return !ldm_ranks_first(loop->ranks) || work->write(work->data, error);
    if (!ldm_ranks_first(loop->ranks))
        return take_steps(loop, work, error);
    if (has_snapshots(loop))
        ldm_snapshots_cut(loop->folder, plan->first_step);
    loop->log_path = g_build_filename(loop->folder, "log.jsonl", NULL);
    loop->plot_path = g_build_filename(loop->folder, "loss.png", NULL);
    loop->log = ldm_train_log_open(loop->log_path, plan->first_step, error);
    return loop->log != NULL && take_steps(loop, work, error);
}
