/* The one table of options that the command line, the worker and the plug-in share, and the only
 * way in for values that come from people or other processes: a GVariant goes in, a field of the
 * request comes out, or one sentence that names the option and its range. */
#include "base/error.h"
#include "kernels/kernels.h"
#include "pipeline/request.h"

#include <math.h>

static const char *const samplers[] = {"ddim", "euler", "euler-a", "dpmpp-2m", NULL};
static const char *const schedules[] = {"model", "karras", NULL};
static const char *const qualities[] = {"exact", "near", "good", "draft", NULL};
static const char *const precisions[] = {"exact", "bf16", "q8", NULL};

#define GENERATE (1u << LDM_TASK_GENERATE)
#define REPAINT  (1u << LDM_TASK_IMG2IMG | 1u << LDM_TASK_INPAINT)
#define INPAINT  (1u << LDM_TASK_INPAINT)
#define ALL      (GENERATE | REPAINT)

#define FIELD(name) offsetof(LdmRequest, name)

static const LdmOption options[] = {
    {"prompt", FIELD(prompt), "s", 0, 0, NULL, ALL, N_("What the picture shall show")},
    {"negative-prompt", FIELD(negative_prompt), "s", 0, 0, NULL, ALL,
     N_("What the picture shall not show")},
    {"width", FIELD(width), "i", 0, LDM_SIDE_MAX, NULL, GENERATE,
     N_("Width in pixels; 0 is the size the model was trained at")},
    {"height", FIELD(height), "i", 0, LDM_SIDE_MAX, NULL, GENERATE,
     N_("Height in pixels; 0 is the size the model was trained at")},
    {"refine", FIELD(refine), "d", 0, 1, NULL, GENERATE,
     N_("Larger pictures than the model was trained at are laid out at its size, enlarged, and "
        "made anew with this strength; 0 makes them at once")},
    {"steps", FIELD(steps), "i", 1, 1000, NULL, ALL,
     N_("Number of denoising steps; more is slower and finer")},
    {"sampler", FIELD(sampler), "s", 0, 0, samplers, ALL, N_("How one step leads to the next")},
    {"schedule", FIELD(schedule), "s", 0, 0, schedules, ALL, N_("How the noise levels are spaced")},
    {"guidance", FIELD(guidance), "d", 0, 30, NULL, ALL,
     N_("How closely the prompt is followed: 1 = loosely, and twice as fast; 3 to 8 are usual")},
    {"guidance-rescale", FIELD(guidance_rescale), "d", 0, 1, NULL, ALL,
     N_("How much of the contrast that guidance adds is taken back; 0 is nothing")},
    {"quality", FIELD(quality), "s", 0, 0, qualities, ALL,
     N_("How much may be approximated for speed: from nothing (exact) to the most (draft)")},
    {"guidance-start", FIELD(guidance_start), "d", 0, 1, NULL, ALL,
     N_("Fraction of the steps before which there is no guidance, which halves their time")},
    {"guidance-end", FIELD(guidance_end), "d", 0, 1, NULL, ALL,
     N_("Fraction of the steps after which there is no guidance, which halves their time")},
    {"reuse", FIELD(reuse), "i", 1, 20, NULL, ALL,
     N_("Compute deep features in every Nth step at the least, foretell them in the others; 1 is "
        "exact")},
    {"merge", FIELD(merge), "d", 0, 0.75, NULL, ALL,
     N_("Share of the tokens that merge with similar ones in large self-attention; 0 is exact")},
    {"surroundings", FIELD(surroundings), "i", 0, 1024, NULL, REPAINT,
     N_("Latent cells around the mask that the network sees; 0 sees all, and is exact")},
    {"precision", FIELD(precision), "s", 0, 0, precisions, ALL,
     N_("How the denoiser multiplies: exact, rounded to bf16 where the processor can, or in 8 bits "
        "(q8), with half the memory")},
    {"strength", FIELD(strength), "d", 0, 1, NULL, REPAINT,
     N_("How far to depart from the picture; 0 keeps it")},
    {"eta", FIELD(eta), "d", 0, 1, NULL, ALL, N_("Fresh noise in every step of the ddim sampler")},
    {"seed", FIELD(seed), "x", -1, (double)G_MAXINT64, NULL, ALL,
     N_("The same seed gives the same picture; -1 picks a new one")},
    {"learn", FIELD(learn), "i", 0, LDM_LEARN_MAX, NULL, INPAINT,
     N_("Steps of learning from the picture itself before it is filled; 0 is none")},
    {"lora", FIELD(loras), "as", 0, 0, NULL, ALL,
     N_("LoRA (.safetensors, or the name of one that was taught); FILE:0.5 takes half of its "
        "effect; may be given several times")},
    {"embedding", FIELD(embeddings), "as", 0, 0, NULL, ALL,
     N_("Word for the prompt, learnt by textual inversion (.safetensors); may be given several "
        "times")},
    {NULL},
};

G_STATIC_ASSERT(G_N_ELEMENTS(options) - 1 <= 64); /* bits of LdmRequest.named */
G_STATIC_ASSERT(sizeof(LdmSampler) == sizeof(int) && sizeof(LdmSigmas) == sizeof(int) &&
                sizeof(LdmPrecision) == sizeof(int) && sizeof(LdmQuality) == sizeof(int));

const LdmOption *ldm_options(void)
{
    return options;
}

/* The row of an option, or that of the NULL at the end. */
static size_t row_of(const char *name)
{
    size_t i = 0;
    while (options[i].name != NULL && !g_str_equal(name, options[i].name))
        i++;
    return i;
}

static bool applies(const LdmOption *option, const LdmRequest *request)
{
    return (option->tasks & 1u << request->task) != 0;
}

/* ---- numbers ---- */

/* A number from any numeric variant: as a double, and as an integer where it is a whole one. */
typedef struct {
    bool number, whole;
    int64_t i;
    double d;
} Number;

static Number number_of_int(int64_t i)
{
    return (Number){true, true, i, (double)i};
}

static Number number_of_double(double d)
{
    /* 2^63 itself is no int64_t; NaN fails the comparison */
    bool whole = d >= -9223372036854775808.0 && d < 9223372036854775808.0 && d == floor(d);
    return (Number){true, whole, whole ? (int64_t)d : 0, d};
}

static Number number_of_variant(GVariant *value)
{
    switch (g_variant_classify(value)) {
    case G_VARIANT_CLASS_BYTE: return number_of_int(g_variant_get_byte(value));
    case G_VARIANT_CLASS_INT16: return number_of_int(g_variant_get_int16(value));
    case G_VARIANT_CLASS_UINT16: return number_of_int(g_variant_get_uint16(value));
    case G_VARIANT_CLASS_INT32: return number_of_int(g_variant_get_int32(value));
    case G_VARIANT_CLASS_UINT32: return number_of_int(g_variant_get_uint32(value));
    case G_VARIANT_CLASS_INT64: return number_of_int(g_variant_get_int64(value));
    case G_VARIANT_CLASS_UINT64: {
        guint64 u = g_variant_get_uint64(value);
        return u <= G_MAXINT64 ? number_of_int((int64_t)u) : (Number){true, false, 0, (double)u};
    }
    case G_VARIANT_CLASS_DOUBLE: return number_of_double(g_variant_get_double(value));
    default: return (Number){0};
    }
}

/* "0.5", "1000": the shortest form, whatever the locale. */
static const char *plain(char buffer[G_ASCII_DTOSTR_BUF_SIZE], double d)
{
    return g_ascii_formatd(buffer, G_ASCII_DTOSTR_BUF_SIZE, "%.15g", d);
}

static bool set_range_error(const LdmOption *option, GError **error)
{
    char low[G_ASCII_DTOSTR_BUF_SIZE], high[G_ASCII_DTOSTR_BUF_SIZE];
    if (option->type[0] == 'x')
        ldm_set_error(error, INVALID, _("%s must be a whole number from 0 to 2^63-1, or -1"),
                      option->name);
    else if (option->type[0] == 'i')
        ldm_set_error(error, INVALID, _("%s must be a whole number from %s to %s"), option->name,
                      plain(low, option->minimum), plain(high, option->maximum));
    else
        ldm_set_error(error, INVALID, _("%s must be a number from %s to %s"), option->name,
                      plain(low, option->minimum), plain(high, option->maximum));
    return false;
}

static bool set_number(const LdmOption *option, void *field, GVariant *value, GError **error)
{
    Number n = number_of_variant(value);
    bool integer = option->type[0] != 'd';
    /* written so that NaN is out of range */
    bool fits = n.number && n.d >= option->minimum && n.d <= option->maximum;
    if (!fits || (integer && !n.whole))
        return set_range_error(option, error);
    if (option->type[0] == 'i')
        *(int *)field = (int)n.i;
    else if (option->type[0] == 'x')
        *(int64_t *)field = n.i;
    else
        *(double *)field = n.d;
    return true;
}

/* ---- strings ---- */

static bool set_choice(const LdmOption *option, int *field, const char *nick, GError **error)
{
    for (int i = 0; option->choices[i] != NULL; i++)
        if (g_str_equal(nick, option->choices[i])) {
            *field = i;
            return true;
        }
    g_autofree char *list = g_strjoinv(", ", (char **)option->choices);
    g_autofree char *shown = g_utf8_make_valid(nick, MIN(strlen(nick), 40));
    ldm_set_error(error, INVALID, _("%s cannot be “%s”: choose one of %s"), option->name, shown,
                  list);
    return false;
}

static bool check_prompt(const char *name, const char *text, GError **error)
{
    if (text == NULL)
        ldm_set_error(error, INVALID, _("%s must be text"), name);
    else if (strlen(text) > LDM_PROMPT_MAX)
        ldm_set_error(error, INVALID, _("%s is longer than 64 KiB: shorten it"), name);
    else if (!g_utf8_validate(text, -1, NULL))
        ldm_set_error(error, INVALID, _("%s is not valid UTF-8 text"), name);
    else
        return true;
    return false;
}

static bool set_string(const LdmOption *option, void *field, GVariant *value, GError **error)
{
    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
        ldm_set_error(error, INVALID, _("%s must be text"), option->name);
        return false;
    }
    const char *text = g_variant_get_string(value, NULL);
    if (option->choices != NULL)
        return set_choice(option, field, text, error);
    if (!check_prompt(option->name, text, error))
        return false;
    g_free(*(char **)field);
    *(char **)field = g_strdup(text);
    return true;
}

/* ---- lists of files ---- */

static bool check_list(const char *name, char *const *list, GError **error)
{
    if (list != NULL && g_strv_length((char **)list) > LDM_LIST_MAX) {
        ldm_set_error(error, INVALID, _("%s can be given %d times at most"), name, LDM_LIST_MAX);
        return false;
    }
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (list[i][0] != '\0' && strlen(list[i]) <= LDM_PATH_MAX)
            continue;
        ldm_set_error(error, INVALID, _("%s must be a file's name"), name);
        return false;
    }
    return true;
}

static bool set_list(const LdmOption *option, char ***field, GVariant *value, GError **error)
{
    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_STRING_ARRAY)) {
        ldm_set_error(error, INVALID, _("%s must be a list of files' names"), option->name);
        return false;
    }
    g_auto(GStrv) list = g_variant_dup_strv(value, NULL);
    if (!check_list(option->name, list, error))
        return false;
    g_strfreev(*field);
    *field = g_steal_pointer(&list);
    return true;
}

/* ---- quality and speed ---- */

/* What each place sets: points of the front that docs/performance-fast.md measures, where less time
 * costs the least. */
static const struct {
    const char *option;
    double values[G_N_ELEMENTS(qualities) - 1];
} places[] = {
    {"guidance-end", {1.0, 1.0, 1.0, 0.8}},
    {"reuse", {1, 2, 3, 5}},
    {"merge", {0.0, 0.0, 0.0, 0.5}},
    {"surroundings", {0, 0, 0, 4}},
    {"precision",
     {LDM_PRECISION_EXACT, LDM_PRECISION_BF16, LDM_PRECISION_BF16, LDM_PRECISION_BF16}},
};

static void set_place(LdmRequest *request)
{
    for (size_t p = 0; p < G_N_ELEMENTS(places); p++) {
        size_t i = row_of(places[p].option);
        void *field = (char *)request + options[i].field;
        if (!applies(&options[i], request) || (request->named >> i & 1) != 0)
            continue;
        if (options[i].type[0] == 'd')
            *(double *)field = places[p].values[request->quality];
        else
            *(int *)field = (int)places[p].values[request->quality];
        if (options[i].choices == precisions && !ldm_kernels_have_bf16())
            request->precision = LDM_PRECISION_EXACT;
    }
}

/* ---- the request ---- */

static bool set_field(LdmRequest *request, size_t i, GVariant *value, GError **error)
{
    void *field = (char *)request + options[i].field;
    if (options[i].type[0] == 'a')
        return set_list(&options[i], field, value, error);
    return options[i].type[0] == 's' ? set_string(&options[i], field, value, error)
                                     : set_number(&options[i], field, value, error);
}

bool ldm_request_set(LdmRequest *request, const char *name, GVariant *value, GError **error)
{
    g_autoptr(GVariant) held = g_variant_ref_sink(value);
    size_t i = row_of(name);
    if (options[i].name == NULL) {
        g_autofree char *shown = g_utf8_make_valid(name, MIN(strlen(name), 40));
        ldm_set_error(error, INVALID, _("there is no option “%s”"), shown);
        return false;
    }
    if (!applies(&options[i], request)) {
        ldm_set_error(error, INVALID, _("%s does not apply to this task: leave it out"), name);
        return false;
    }
    if (!set_field(request, i, held, error))
        return false;
    request->named |= (uint64_t)1 << i;
    if (options[i].choices == qualities)
        set_place(request);
    return true;
}

GVariant *ldm_request_get(const LdmRequest *request, const char *name)
{
    size_t i = row_of(name);
    if (options[i].name == NULL || !applies(&options[i], request))
        return NULL;
    const void *field = (const char *)request + options[i].field;
    if (options[i].choices != NULL)
        return g_variant_new_string(options[i].choices[*(const int *)field]);
    switch (options[i].type[0]) {
    case 's': return g_variant_new_string(*(char *const *)field);
    case 'a': {
        const char *const *list = *(const char *const *const *)field;
        return g_variant_new_strv(list, list != NULL ? -1 : 0);
    }
    case 'i': return g_variant_new_int32(*(const int *)field);
    case 'x': return g_variant_new_int64(*(const int64_t *)field);
    default: return g_variant_new_double(*(const double *)field);
    }
}

static bool check_field(const LdmRequest *request, size_t i, GError **error)
{
    const LdmOption *option = &options[i];
    const void *field = (const char *)request + options[i].field;
    if (option->choices != NULL) {
        int value = *(const int *)field;
        if (value >= 0 && (guint)value < g_strv_length((char **)option->choices))
            return true;
        ldm_set_error(error, INVALID, _("%s is not one of its choices"), option->name);
        return false;
    }
    if (option->type[0] == 's')
        return check_prompt(option->name, *(char *const *)field, error);
    if (option->type[0] == 'a')
        return check_list(option->name, *(char *const *const *)field, error);
    double d = option->type[0] == 'i'   ? (double)*(const int *)field
               : option->type[0] == 'x' ? (double)*(const int64_t *)field
                                        : *(const double *)field;
    return (d >= option->minimum && d <= option->maximum) || set_range_error(option, error);
}

static bool is_array(const LdmTensor *t, size_t channels)
{
    return t->dtype == LDM_F32 && t->rank == 4 && t->shape[0] == 1 && t->shape[3] == channels &&
           t->shape[1] > 0 && t->shape[2] > 0 && t->shape[1] <= G_MAXINT && t->shape[2] <= G_MAXINT;
}

static bool check_pictures(const LdmRequest *request, GError **error)
{
    const LdmTensor *picture = request->picture, *mask = request->mask;
    if (picture == NULL) {
        ldm_set_error(error, MISSING, _("there is no picture to work on: give one"));
        return false;
    }
    if (!is_array(picture, 4)) {
        ldm_set_error(error, INVALID,
                      _("the picture must be a [1, height, width, 4] array of f32"));
        return false;
    }
    if (mask == NULL && request->task == LDM_TASK_INPAINT) {
        ldm_set_error(error, MISSING, _("nothing is marked for repainting: give a mask"));
        return false;
    }
    if (mask == NULL)
        return true;
    if (!is_array(mask, 1)) {
        ldm_set_error(error, INVALID, _("the mask must be a [1, height, width, 1] array of f32"));
        return false;
    }
    if (mask->shape[1] != picture->shape[1] || mask->shape[2] != picture->shape[2]) {
        ldm_set_error(error, INVALID,
                      _("the mask is %zu×%zu pixels and the picture %zu×%zu: make them equal"),
                      mask->shape[2], mask->shape[1], picture->shape[2], picture->shape[1]);
        return false;
    }
    return true;
}

bool ldm_request_check(const LdmRequest *request, GError **error)
{
    if ((unsigned)request->task > LDM_TASK_INPAINT) {
        ldm_set_error(error, INVALID, _("there is no such task"));
        return false;
    }
    for (size_t i = 0; options[i].name != NULL; i++)
        if (applies(&options[i], request) && !check_field(request, i, error))
            return false;
    if (request->guidance_start > request->guidance_end) {
        ldm_set_error(error, INVALID, _("guidance ends before it starts"));
        return false;
    }
    if (request->task == LDM_TASK_GENERATE && request->refine > 0 && request->latent != NULL) {
        ldm_set_error(error, INVALID,
                      _("a picture that begins with a given latent is made at once: leave refine "
                        "at 0"));
        return false;
    }
    return request->task == LDM_TASK_GENERATE || check_pictures(request, error);
}
