/* The image tower. In: pictures [N, side, side, 3]. Out: vectors [N, width], of any length. On disk
 * it is a folder with config.json and model.safetensors. */
#include "train/image-tower.h"

#include "base/error.h"
#include "layers/conv2d.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/pool.h"
#include "layers/resblock.h"
#include "train/check.h"
#include "weights/json.h"
#include "weights/source.h"

#define PATCH    4 /* pixels a side */
#define GROUPS   8
#define NORM_EPS 1e-5

typedef struct {
    LdmConv2d downsample; /* before the block; on all levels but the first */
    LdmResblock block;
} Level;

struct LdmImageTower {
    LdmImageTowerConfig config;
    LdmParams *params;
    LdmFiles *files; /* what the parameters lie in; NULL where they were not loaded */
    LdmConv2d patches;
    Level levels[LDM_TOWER_LEVELS];
    LdmNorm norm;
    LdmLinear projection;
};

/* The configuration's numbers, by name. */
static const struct {
    const char *name;
    size_t offset, least, most;
} numbers[] = {
    {"side", offsetof(LdmImageTowerConfig, side), 8, 1024},
    {"channels", offsetof(LdmImageTowerConfig, channels), 16, 1024},
    {"levels", offsetof(LdmImageTowerConfig, levels), 1, LDM_TOWER_LEVELS},
    {"width", offsetof(LdmImageTowerConfig, width), 1, 4096},
};

static size_t *number_of(const LdmImageTowerConfig *config, size_t i)
{
    return (size_t *)((char *)config + numbers[i].offset);
}

LdmImageTowerConfig ldm_image_tower_defaults(void)
{
    return (LdmImageTowerConfig){.side = 64, .channels = 64, .levels = 3, .width = 128};
}

bool ldm_image_tower_check(const LdmImageTowerConfig *config, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (!ldm_option_check(numbers[i].name, (double)*number_of(config, i),
                              (double)numbers[i].least, (double)numbers[i].most, error))
            return false;
    size_t multiple = (size_t)(PATCH / 2) << config->levels;
    if (config->channels % (2 * GROUPS) == 0 && config->side % multiple == 0)
        return true;
    ldm_set_error(error, INVALID,
                  _("an image tower of %zu levels needs channels that are a multiple of %d and "
                    "pictures whose side is a multiple of %zu; %zu and %zu are given"),
                  config->levels, 2 * GROUPS, multiple, config->channels, config->side);
    return false;
}

/* ---- the network ---- */

LdmImageTower *ldm_image_tower_new(const LdmImageTowerConfig *config)
{
    LdmImageTower *tower = g_new0(LdmImageTower, 1);
    tower->config = *config;
    tower->params = ldm_params_new();
    LdmScope root = ldm_scope_root(tower->params);
    size_t C = config->channels;

    ldm_conv2d_init(&tower->patches, ldm_scope(&root, "patches"), 3, C, PATCH);
    tower->patches.stride = PATCH;
    tower->patches.before = tower->patches.after = 0;
    for (size_t i = 0; i < config->levels; i++) {
        Level *level = &tower->levels[i];
        size_t out = config->channels * (2 + i) / 2;
        LdmResblockSizes sizes = {.in = C, .out = out, .groups = GROUPS, .eps = NORM_EPS};
        if (i > 0)
            ldm_conv2d_init_downsample(&level->downsample,
                                       ldm_scope(&root, "levels.%zu.downsample", i), C, true);
        ldm_resblock_init(&level->block, ldm_scope(&root, "levels.%zu.block", i), &sizes);
        C = out;
    }
    ldm_group_norm_init(&tower->norm, ldm_scope(&root, "norm"), C, GROUPS, NORM_EPS);
    ldm_linear_init(&tower->projection, ldm_scope(&root, "visual_projection"), C, config->width,
                    false);
    return tower;
}

void ldm_image_tower_free(LdmImageTower *tower)
{
    if (tower == NULL)
        return;
    ldm_params_free(tower->params);
    g_clear_pointer(&tower->files, ldm_files_free);
    g_free(tower);
}

const LdmImageTowerConfig *ldm_image_tower_config(const LdmImageTower *tower)
{
    return &tower->config;
}

LdmParams *ldm_image_tower_params(const LdmImageTower *tower)
{
    return tower->params;
}

LdmTensor *ldm_image_tower_forward(LdmPass *pass, const LdmImageTower *tower, LdmTensor *x)
{
    ldm_pass_expect(pass, x, 3, _("the picture"));
    LdmTensor *h = ldm_conv2d_forward(pass, &tower->patches, ldm_pass_keep(pass, x), NULL);

    for (size_t i = 0; i < tower->config.levels; i++) {
        if (i > 0)
            h = ldm_conv2d_forward(pass, &tower->levels[i].downsample, h, NULL);
        h = ldm_resblock_forward(pass, &tower->levels[i].block, h, NULL);
    }
    h = ldm_group_norm_forward(pass, &tower->norm, h, true);
    return ldm_linear_forward(pass, &tower->projection, ldm_mean_pool_forward(pass, h), NULL);
}

/* ---- the folder ---- */

char *ldm_image_tower_json(const LdmImageTowerConfig *config)
{
    GString *text = g_string_new("{");

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        g_string_append_printf(text, "%s\n  \"%s\": %zu", i > 0 ? "," : "", numbers[i].name,
                               *number_of(config, i));
    g_string_append(text, "\n}\n");
    return g_string_free(text, FALSE);
}

static bool read_config(const char *folder, LdmImageTowerConfig *config, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "config.json", NULL);
    g_autoptr(JsonObject) json = ldm_json_load(path, LDM_CONFIG_BYTES, error);

    for (size_t i = 0; json != NULL && i < G_N_ELEMENTS(numbers); i++) {
        JsonNode *node = json_object_get_member(json, numbers[i].name);
        gint64 value = node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
        *number_of(config, i) = (size_t)CLAMP(value, 0, 1 << 20);
    }
    return json != NULL && ldm_image_tower_check(config, error);
}

LdmImageTower *ldm_image_tower_load(const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "model.safetensors", NULL);
    LdmImageTowerConfig config;

    if (!read_config(folder, &config, error))
        return NULL;
    g_autoptr(LdmImageTower) tower = ldm_image_tower_new(&config);
    tower->files = ldm_files_new();
    if (!ldm_files_add(tower->files, path, error) ||
        !ldm_files_bind(tower->files, "", tower->params, error))
        return NULL;
    return g_steal_pointer(&tower);
}
