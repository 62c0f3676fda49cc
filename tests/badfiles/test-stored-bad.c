/* 8-bit weights in files that are damaged or hostile: each is refused with an error of the right
 * kind that names the tensor; what is odd but harmless loads and runs. */
#include "made-model.h"
#include "pipeline/model.h"
#include "weights/stored.h"

#include <math.h>

#define NAME "mid_block.resnets.0.conv1.weight"

static char *folder;
static MadeModel *made;

/* One thing that is wrong with the array NAME of a good file. */
typedef struct {
    const char *what;
    int code;
    const char *words; /* of the message */
    const char *version;
    bool no_bytes, no_scales, plain, twice, floats,
        halves;  /* arrays missing, too many, of a type */
    int shift;   /* added to a size of the bytes */
    int shrink;  /* taken off a size of the scales */
    float scale; /* the first one, unless 0 */
    int8_t byte; /* all of them, unless 0 */
    int pad;     /* spaces behind the header: where the data lie */
} Fault;

static void add_stored(MadeFile *file, const LdmParam *param, const Fault *fault)
{
    size_t bytes[4], scales[4], taps = param->shape[2] * param->shape[3];
    size_t n = ldm_param_q8_bytes(param), n_scales, n_bytes;
    g_autofree int8_t *memory = g_malloc0(2 * n);
    LdmQ8 q8 = ldm_q8_place(param->shape[0], param->shape[1], taps, memory);
    bool here = strcmp(param->name, NAME) == 0;
    g_autofree char *of_bytes = g_strconcat(param->name, LDM_STORED_BYTES, NULL);
    g_autofree char *of_scales = g_strconcat(param->name, LDM_STORED_SCALES, NULL);
    g_assert_true(ldm_q8_round(&q8, (LdmWeights){param->data, param->dtype}, NULL));
    ldm_q8_shapes(param->shape[0], param->shape[1], taps, bytes, scales);
    if (here) {
        q8.scales[0] = fault->scale != 0 ? fault->scale : q8.scales[0];
        if (fault->byte != 0)
            memset(q8.bytes, fault->byte, n - ldm_q8_scales(q8.N, q8.C, taps) * 4);
        bytes[0] += (size_t)fault->shift;
        scales[0] -= (size_t)fault->shrink;
    }
    n_bytes = bytes[0] * bytes[1] * bytes[2] * bytes[3];
    n_scales = scales[0] * scales[1] * scales[2] * 4;
    if (!here || !fault->no_bytes)
        made_file_add(file, of_bytes, here && fault->floats ? "F32" : "I8", 4,
                      here && fault->floats ? (size_t[]){bytes[0], bytes[1], bytes[2], bytes[3] / 4}
                                            : bytes,
                      q8.bytes, n_bytes);
    if (!here || !fault->no_scales)
        made_file_add(
            file, of_scales, here && fault->halves ? "F16" : "F32", here && fault->halves ? 4 : 3,
            here && fault->halves ? (size_t[]){scales[0], scales[1], scales[2], 2} : scales,
            q8.scales, n_scales);
    if (here && fault->plain)
        made_file_add(file, NAME, "F16", param->rank, param->shape, param->data, made_bytes(param));
}

static void write_unet(const Fault *fault)
{
    LdmParams *params = made->params[LDM_PART_UNET];
    MadeFile *file = made_file_new();
    g_string_assign(file->header, "{\"__metadata__\":{\"format\":\"pt\"");
    if (fault->version != NULL)
        g_string_append_printf(file->header, ",\"" LDM_STORED_KEY "\":\"%s\"", fault->version);
    g_string_append_c(file->header, '}');
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        if (param->coarse)
            add_stored(file, param, fault);
        else
            made_file_add(file, param->name, "F16", param->rank, param->shape, param->data,
                          made_bytes(param));
    }
    if (fault->twice) /* of a matrix that products of 8 bits never read */
        made_file_add(file, "conv_in.weight" LDM_STORED_BYTES, "I8", 1, (size_t[]){1}, "", 1);
    g_autofree char *path =
        g_build_filename(folder, "unet", "diffusion_pytorch_model.q8.safetensors", NULL);
    made_file_write(file, path, fault->pad);
}

static const Fault faults[] = {
    {"no version", LDM_ERROR_UNSUPPORTED, "version", NULL},
    {"version 2", LDM_ERROR_UNSUPPORTED, "version 2", "2"},
    {"no scales", LDM_ERROR_MISSING, NAME, "1", .no_scales = true},
    {"no bytes", LDM_ERROR_MISSING, NAME, "1", .no_bytes = true},
    {"nothing", LDM_ERROR_MISSING, NAME, "1", .no_bytes = true, .no_scales = true},
    {"scale NaN", LDM_ERROR_FORMAT, NAME LDM_STORED_SCALES, "1", .scale = NAN},
    {"scale infinite", LDM_ERROR_FORMAT, NAME LDM_STORED_SCALES, "1", .scale = INFINITY},
    {"scale negative", LDM_ERROR_FORMAT, NAME LDM_STORED_SCALES, "1", .scale = -0.5f},
    {"scale too large", LDM_ERROR_FORMAT, NAME LDM_STORED_SCALES, "1", .scale = 600.0f},
    {"bytes of another shape", LDM_ERROR_SHAPE, NAME LDM_STORED_BYTES, "1", .shift = 1},
    {"scales of another shape", LDM_ERROR_SHAPE, NAME LDM_STORED_SCALES, "1", .shrink = 1},
    {"bytes as floats", LDM_ERROR_UNSUPPORTED, NAME LDM_STORED_BYTES, "1", .floats = true},
    {"scales as halves", LDM_ERROR_UNSUPPORTED, NAME LDM_STORED_SCALES, "1", .halves = true},
    {"both forms", LDM_ERROR_FORMAT, NAME ".q8", "1", .plain = true},
    {"a form too many", LDM_ERROR_FORMAT, "conv_in.weight.q8", "1", .twice = true},
};

static void test_refused(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autoptr(GError) error = NULL;
        write_unet(&faults[i]);
        g_autoptr(LdmModel) model = ldm_model_load(folder, &error);
        if (model != NULL || error->domain != LDM_ERROR || error->code != faults[i].code ||
            strstr(error->message, faults[i].words) == NULL)
            g_error("%s: %s", faults[i].what, error != NULL ? error->message : "was accepted");
    }
}

static void run(LdmPrecision precision, bool finite)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    request->precision = precision;
    request->steps = 1;
    request->width = request->height = 16;
    LdmResult *result = ldm_generate(model, request, NULL, &error);
    if (finite)
        g_assert_no_error(error);
    ldm_result_free(result);
}

/* The good file; data that lie on no multiple of anything; bytes that no writer writes. */
static void test_odd(void)
{
    static const Fault odd[] = {
        {"good", .version = "1"},
        {"unaligned by one", .version = "1", .pad = 1},
        {"unaligned by two", .version = "1", .pad = 2},
        {"-128", .version = "1", .byte = -128},
        {"largest scale", .version = "1", .scale = 515.0f},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        write_unet(&odd[i]);
        run(LDM_PRECISION_Q8, i < 3);
        run(LDM_PRECISION_EXACT, i < 3);
    }
}

/* Cut short anywhere. */
static void test_prefixes(void)
{
    g_autofree char *text = NULL;
    gsize length;
    g_autofree char *path =
        g_build_filename(folder, "unet", "diffusion_pytorch_model.q8.safetensors", NULL);
    write_unet(&(Fault){.version = "1"});
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    for (size_t i = 0; i < 40; i++) {
        g_autoptr(GError) error = NULL;
        made_write(path, text, length * i / 40);
        g_autoptr(LdmModel) model = ldm_model_load(folder, &error);
        g_assert_null(model);
        g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-stored-XXXXXX", NULL);
    LdmModelConfig config = made_config(false, MADE_WORDS);
    made = made_model_new(&config);
    made_folder(made, folder);
    g_autofree char *plain =
        g_build_filename(folder, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_remove(plain);
    g_test_add_func("/stored-bad/refused", test_refused);
    g_test_add_func("/stored-bad/odd", test_odd);
    g_test_add_func("/stored-bad/prefixes", test_prefixes);
    int result = g_test_run();
    made_model_free(made);
    made_remove(folder);
    g_free(folder);
    return result;
}
