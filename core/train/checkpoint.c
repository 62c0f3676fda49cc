/* Checkpoints. In: optimisers. Out: two files per checkpoint, and back. Both appear by rename
 * after they have reached the disk; a run killed between them leaves arrays without their .json,
 * which the next save removes. Numbers pass through text as hexadecimal bits, not as decimals. */
#include "train/checkpoint.h"

#include "base/error.h"
#include "base/file-atomic.h"
#include "base/folder.h"
#include "weights/json.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define VERSION     1
#define NAME_FORMAT "step-%010" PRIu64
#define STATE_WORDS 9 /* numbers of an optimiser */

/* What is kept of each parameter. */
static const struct {
    const char *prefix;
    size_t offset; /* of the array's pointer in LdmTrained */
} kinds[] = {
    {"weight/", offsetof(LdmTrained, weight)},
    {"moment1/", offsetof(LdmTrained, moment1)},
    {"moment2/", offsetof(LdmTrained, moment2)},
    {"ema/", offsetof(LdmTrained, ema)},
    {"profile0/", offsetof(LdmTrained, profiles[0])},
    {"profile1/", offsetof(LdmTrained, profiles[1])},
};

/* NULL where the run has none of this kind. */
static float *array_of(const LdmTrained *trained, size_t kind)
{
    return *(float *const *)((const char *)trained + kinds[kind].offset);
}

struct LdmCheckpoints {
    char *folder; /* ".../checkpoints" */
    char *settings;
    int keep;
    int lock;
    char *passed_over; /* what is wrong with the newest one, or NULL */
};

/* ---- the folder ---- */

static bool take_lock(LdmCheckpoints *checkpoints, const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, ".lock", NULL);

    checkpoints->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (checkpoints->lock < 0) {
        ldm_set_error(error, FILE, _("“%s” cannot be opened: %s"), path, g_strerror(errno));
        return false;
    }
    if (flock(checkpoints->lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        ldm_set_error(error, FILE,
                      _("another training run is at work in “%s”: wait for it or choose another "
                        "folder"),
                      folder);
    else
        ldm_set_error(error, FILE, _("“%s” cannot be locked: %s"), path, g_strerror(errno));
    return false;
}

LdmCheckpoints *ldm_checkpoints_join(const char *folder)
{
    LdmCheckpoints *checkpoints = g_new0(LdmCheckpoints, 1);

    checkpoints->lock = -1;
    checkpoints->folder = g_build_filename(folder, "checkpoints", NULL);
    checkpoints->settings = g_strdup("");
    return checkpoints;
}

LdmCheckpoints *ldm_checkpoints_open(const char *folder, int keep, GError **error)
{
    g_autoptr(LdmCheckpoints) checkpoints = ldm_checkpoints_join(folder);

    checkpoints->keep = MAX(keep, 1);
    if (!ldm_folder_make(checkpoints->folder, error))
        return NULL;
    return take_lock(checkpoints, folder, error) ? g_steal_pointer(&checkpoints) : NULL;
}

void ldm_checkpoints_free(LdmCheckpoints *checkpoints)
{
    if (checkpoints == NULL)
        return;
    if (checkpoints->lock >= 0)
        close(checkpoints->lock); /* unlocks; the file stays, its removal would race */
    g_free(checkpoints->folder);
    g_free(checkpoints->settings);
    g_free(checkpoints->passed_over);
    g_free(checkpoints);
}

void ldm_checkpoints_set_settings(LdmCheckpoints *checkpoints, const char *settings)
{
    g_free(checkpoints->settings);
    checkpoints->settings = g_strdup(settings);
}

/* Names sort like their steps. */
static int newest_first(gconstpointer a, gconstpointer b)
{
    return -strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "step-N" of every .json file, newest first. */
static GPtrArray *list(const LdmCheckpoints *checkpoints)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(checkpoints->folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (g_str_has_prefix(name, "step-") && g_str_has_suffix(name, ".json"))
            g_ptr_array_add(names, g_strndup(name, strlen(name) - strlen(".json")));
    g_ptr_array_sort(names, newest_first);
    return names;
}

static char *path_of(const LdmCheckpoints *checkpoints, const char *name, const char *ending)
{
    g_autofree char *file = g_strconcat(name, ending, NULL);

    return g_build_filename(checkpoints->folder, file, NULL);
}

bool ldm_checkpoints_exist(LdmCheckpoints *checkpoints)
{
    g_autoptr(GPtrArray) names = list(checkpoints);

    return names->len > 0;
}

/* Removes checkpoints older than those that are kept up to the `newest` (first the .json, which
 * says that the rest is there), those of later steps, from which the run could not go on, and
 * whatever a killed one has left: the folder is locked, so that nobody is writing there. */
static void clean(const LdmCheckpoints *checkpoints, const char *newest)
{
    g_autoptr(GPtrArray) names = list(checkpoints);
    g_autoptr(GHashTable) kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GDir) dir = g_dir_open(checkpoints->folder, 0, NULL);
    const char *name;

    for (guint i = 0; i < names->len; i++) {
        const char *step = g_ptr_array_index(names, i);
        g_autofree char *manifest = path_of(checkpoints, step, ".json");
        if (strcmp(step, newest) > 0 || g_hash_table_size(kept) / 2 >= (guint)checkpoints->keep) {
            g_unlink(manifest);
            continue;
        }
        g_hash_table_add(kept, g_strconcat(step, ".json", NULL));
        g_hash_table_add(kept, g_strconcat(step, ".safetensors", NULL));
    }
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(checkpoints->folder, name, NULL);
        bool ours = g_str_has_prefix(name, "step-") || g_str_has_prefix(name, ".pentimento-");
        if (ours && !g_hash_table_contains(kept, name))
            g_unlink(path);
    }
}

/* ---- writing ---- */

/* The trained parameters of all optimisers, one after another. */
static GPtrArray *all_trained(LdmOptimiser *const *optimisers, size_t count)
{
    GPtrArray *all = g_ptr_array_new();

    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < ldm_optimiser_length(optimisers[k]); i++)
            g_ptr_array_add(all, ldm_optimiser_at(optimisers[k], i));
    return all;
}

static bool save_arrays(const GPtrArray *all, const char *path, GError **error)
{
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();

    for (size_t kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
        for (guint i = 0; i < all->len; i++) {
            const LdmTrained *trained = g_ptr_array_index(all, i);
            g_autofree char *name = g_strconcat(kinds[kind].prefix, trained->name, NULL);
            if (array_of(trained, kind) != NULL)
                ldm_file_writer_declare(writer, name, LDM_F32, trained->param->rank,
                                        trained->param->shape);
        }
    }
    if (!ldm_file_writer_open(writer, path, error))
        return false;
    for (size_t kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
        for (guint i = 0; i < all->len; i++) {
            LdmTrained *trained = g_ptr_array_index(all, i);
            const float *values = array_of(trained, kind);
            if (values != NULL && !ldm_file_writer_put(writer, values, trained->count, error))
                return false;
        }
    }
    return ldm_file_writer_close(writer, error);
}

/* The counters as one text: whole numbers, and doubles as their bits. */
static char *state_text(const LdmOptimiserState *s)
{
    const double doubles[4] = {s->loss.mean, s->loss.variance, s->norm.mean, s->norm.variance};
    uint64_t bits[4];

    memcpy(bits, doubles, sizeof bits);
    return g_strdup_printf("%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64
                           " %" PRIx64 " %" PRIx64 " %" PRIx64,
                           s->step, s->taken, s->outliers, s->nonfinite, s->nonfinite_row, bits[0],
                           bits[1], bits[2], bits[3]);
}

static bool state_parse(char *const *words, LdmOptimiserState *s)
{
    uint64_t n[STATE_WORDS];
    double doubles[4];

    for (size_t i = 0; i < G_N_ELEMENTS(n); i++)
        if (!g_ascii_string_to_unsigned(words[i], 16, 0, G_MAXUINT64, &n[i], NULL))
            return false;
    memcpy(doubles, n + 5, sizeof doubles);
    *s = (LdmOptimiserState){
        .step = n[0],
        .taken = n[1],
        .outliers = n[2],
        .nonfinite = n[3],
        .nonfinite_row = n[4],
        .loss = {doubles[0], doubles[1]},
        .norm = {doubles[2], doubles[3]},
    };
    return true;
}

static bool states_parse(const char *text, LdmOptimiserState *states, size_t count)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    bool good = g_strv_length(words) == count * STATE_WORDS;

    for (size_t k = 0; good && k < count; k++)
        good = state_parse(words + k * STATE_WORDS, &states[k]);
    return good;
}

static bool save_manifest(const LdmCheckpoints *checkpoints, LdmOptimiser *const *optimisers,
                          size_t count, const char *path, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autoptr(JsonNode) root = json_node_alloc();
    g_autoptr(GString) counters = g_string_new(NULL);

    for (size_t k = 0; k < count; k++) {
        g_autofree char *words = state_text(ldm_optimiser_state(optimisers[k]));
        g_string_append_printf(counters, "%s%s", k > 0 ? " " : "", words);
    }
    json_object_set_int_member(object, "version", VERSION);
    json_object_set_int_member(object, "step", (gint64)ldm_optimiser_state(optimisers[0])->step);
    json_object_set_string_member(object, "state", counters->str);
    json_object_set_string_member(object, "settings", checkpoints->settings);
    json_node_init_object(root, object);
    g_autofree char *text = json_to_string(root, TRUE);
    return ldm_file_write_atomic(path, text, strlen(text), error);
}

bool ldm_checkpoints_save(LdmCheckpoints *checkpoints, LdmOptimiser *const *optimisers,
                          size_t count, GError **error)
{
    g_autofree char *name = g_strdup_printf(NAME_FORMAT, ldm_optimiser_state(optimisers[0])->step);
    g_autoptr(GPtrArray) all = all_trained(optimisers, count);
    g_autofree char *arrays = path_of(checkpoints, name, ".safetensors");
    g_autofree char *manifest = path_of(checkpoints, name, ".json");

    if (!save_arrays(all, arrays, error) ||
        !save_manifest(checkpoints, optimisers, count, manifest, error))
        return false;
    clean(checkpoints, name);
    return true;
}

/* ---- reading ---- */

static const char *member_string(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

/* The words of `theirs` that are not in `ours`: "batch=4 rate=0.001". */
static char *words_beyond(const char *theirs, const char *ours)
{
    g_auto(GStrv) words = g_strsplit(theirs, " ", -1);
    g_auto(GStrv) known = g_strsplit(ours, " ", -1);
    GString *text = g_string_new(NULL);

    for (guint i = 0; words[i] != NULL; i++)
        if (!g_strv_contains((const char *const *)known, words[i]))
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", words[i]);
    return g_string_free(text, FALSE);
}

/* What the checkpoint has that this run has not, or the other way round. */
static char *difference(const char *theirs, const char *ours)
{
    g_autofree char *more = words_beyond(theirs, ours);
    g_autofree char *less = words_beyond(ours, theirs);

    return *more != '\0' ? g_steal_pointer(&more) : g_strdup_printf(_("without %s"), less);
}

/* `ours` without what comes last, where an older checkpoint says nothing of it. */
static char *comparable(const char *theirs, const char *ours)
{
    static const char *const last[] = {LDM_CHECKPOINT_CAPTIONS, LDM_CHECKPOINT_MODEL,
                                       LDM_CHECKPOINT_CONFIG};

    for (size_t i = 0; i < G_N_ELEMENTS(last); i++)
        if (strstr(theirs, last[i]) == NULL && strstr(ours, last[i]) != NULL)
            return g_strndup(ours, (gsize)(strstr(ours, last[i]) - ours));
    return g_strdup(ours);
}

static bool refuse_settings(const char *path, const char *theirs, const char *ours, GError **error)
{
    g_autofree char *other = difference(theirs, ours);

    ldm_set_error(
        error, INVALID,
        _("%s was made with other settings (%s): resume with the same ones, or train into "
          "another folder"),
        path, other);
    return false;
}

/* The words of `theirs` whose names `ours` have, too. */
static char *words_shared(const char *theirs, const char *ours)
{
    g_auto(GStrv) words = g_strsplit(theirs, " ", -1);
    g_autofree char *known = g_strconcat(" ", ours, NULL);
    GString *text = g_string_new(NULL);

    for (guint i = 0; words[i] != NULL; i++) {
        g_autofree char *name = g_strdup_printf(" %.*s=", (int)strcspn(words[i], "="), words[i]);
        if (strstr(known, name) != NULL)
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", words[i]);
    }
    return g_string_free(text, FALSE);
}

static bool refuse_empty(const LdmCheckpoints *checkpoints, GError **error)
{
    ldm_set_error(error, MISSING, _("there is no checkpoint in “%s” to resume from"),
                  checkpoints->folder);
    return false;
}

bool ldm_checkpoints_check(const LdmCheckpoints *checkpoints, GError **error)
{
    g_autoptr(GPtrArray) names = list(checkpoints);
    if (names->len == 0)
        return refuse_empty(checkpoints, error);
    g_autofree char *path = path_of(checkpoints, g_ptr_array_index(names, 0), ".json");
    g_autoptr(JsonObject) object = ldm_json_load(path, LDM_CONFIG_BYTES, NULL);
    const char *theirs = object != NULL ? member_string(object, "settings") : NULL;

    if (theirs == NULL || json_object_get_int_member_with_default(object, "version", 0) != VERSION)
        return true;
    g_autofree char *ours = comparable(theirs, checkpoints->settings);
    g_autofree char *missing = words_beyond(ours, theirs);
    g_autofree char *shared = words_shared(theirs, ours);
    return *missing == '\0' || refuse_settings(path, shared, ours, error);
}

static bool load_manifest(const LdmCheckpoints *checkpoints, const char *path,
                          LdmOptimiserState *states, size_t count, GError **error)
{
    g_autoptr(JsonObject) object = ldm_json_load(path, LDM_CONFIG_BYTES, error);

    if (object == NULL)
        return false;
    if (json_object_get_int_member_with_default(object, "version", 0) != VERSION) {
        ldm_set_error(error, UNSUPPORTED, _("%s was written by another version of the program"),
                      path);
        return false;
    }
    const char *text = member_string(object, "state");
    const char *settings = member_string(object, "settings");
    if (text == NULL || settings == NULL || !states_parse(text, states, count)) {
        ldm_set_error(error, FORMAT, _("%s is damaged"), path);
        return false;
    }
    g_autofree char *ours = comparable(settings, checkpoints->settings);
    return strcmp(settings, ours) == 0 || refuse_settings(path, settings, ours, error);
}

static bool same_shape(const LdmFileTensor *t, const LdmParam *param)
{
    return t->weights && t->dtype == LDM_F32 && t->rank == param->rank &&
           memcmp(t->shape, param->shape, sizeof t->shape) == 0;
}

/* Looks through everything before anything is changed. */
static bool check_arrays(const LdmFiles *files, const GPtrArray *all, GError **error)
{
    for (size_t k = 0; k < G_N_ELEMENTS(kinds) * all->len; k++) {
        const LdmTrained *trained = g_ptr_array_index(all, k / G_N_ELEMENTS(kinds));
        g_autofree char *name =
            g_strconcat(kinds[k % G_N_ELEMENTS(kinds)].prefix, trained->name, NULL);
        const LdmFileTensor *t = ldm_files_find(files, name);
        bool wanted = array_of(trained, k % G_N_ELEMENTS(kinds)) != NULL;
        if (!wanted || (t != NULL && same_shape(t, trained->param)))
            continue;
        ldm_set_error(error, SHAPE, _("%s is of another model: its tensor %s is not what it needs"),
                      ldm_files_path(files), name);
        return false;
    }
    return true;
}

static bool load_arrays(const GPtrArray *all, const char *path, GError **error)
{
    g_autoptr(LdmFiles) files = ldm_files_new();

    if (!ldm_files_add(files, path, error) || !check_arrays(files, all, error))
        return false;
    for (guint i = 0; i < all->len; i++) {
        LdmTrained *trained = g_ptr_array_index(all, i);
        for (size_t kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
            g_autofree char *name = g_strconcat(kinds[kind].prefix, trained->name, NULL);
            float *values = array_of(trained, kind);
            if (values != NULL)
                memcpy(values, ldm_files_find(files, name)->data, trained->count * sizeof(float));
        }
        memset(trained->gradient, 0, trained->count * sizeof(float));
    }
    return true;
}

static bool load_one(const LdmCheckpoints *checkpoints, const char *name,
                     LdmOptimiser *const *optimisers, size_t count, GError **error)
{
    g_autoptr(GPtrArray) all = all_trained(optimisers, count);
    g_autofree LdmOptimiserState *states = g_new(LdmOptimiserState, count);
    g_autofree char *arrays = path_of(checkpoints, name, ".safetensors");
    g_autofree char *manifest = path_of(checkpoints, name, ".json");

    if (!load_manifest(checkpoints, manifest, states, count, error) ||
        !load_arrays(all, arrays, error))
        return false;
    for (size_t k = 0; k < count; k++)
        *ldm_optimiser_state(optimisers[k]) = states[k];
    return true;
}

bool ldm_checkpoints_load(LdmCheckpoints *checkpoints, LdmOptimiser *const *optimisers,
                          size_t count, GError **error)
{
    g_autoptr(GPtrArray) names = list(checkpoints);
    g_autoptr(GError) first = NULL;

    for (guint i = 0; i < names->len; i++) {
        g_autoptr(GError) reason = NULL;
        if (load_one(checkpoints, g_ptr_array_index(names, i), optimisers, count, &reason)) {
            g_set_str(&checkpoints->passed_over, first != NULL ? first->message : NULL);
            return true;
        }
        bool refused = g_error_matches(reason, LDM_ERROR, LDM_ERROR_INVALID) ||
                       g_error_matches(reason, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
        if (first == NULL)
            first = g_steal_pointer(&reason);
        if (refused)
            break; /* not damage: the user has to decide */
    }
    if (first != NULL)
        g_propagate_error(error, g_steal_pointer(&first));
    else
        refuse_empty(checkpoints, error);
    return false;
}

const char *ldm_checkpoints_passed_over(const LdmCheckpoints *checkpoints)
{
    return checkpoints->passed_over;
}
