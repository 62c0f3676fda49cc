/* A small convolutional network from pictures to vectors: what contrastive training teaches beside
 * the text encoder (CLIP's image tower, arXiv 2103.00020), and by which finished models are
 * evaluated. A convolution cuts the picture into patches of 4 x 4 pixels; on each level a resblock,
 * between the levels a strided convolution; GroupNorm, SiLU, the mean over all places, a matrix. */
#pragma once

#include "layers/pass.h"

#define LDM_TOWER_LEVELS 6 /* at most */

typedef struct {
    size_t side; /* of the pictures, pixels: a multiple of 2 << levels */
    size_t
        channels; /* of the first level, a multiple of 16; each further one has half as many more */
    size_t levels;
    size_t width; /* of the vector */
} LdmImageTowerConfig;

typedef struct LdmImageTower LdmImageTower;

/* 64 pixels, 64-96-128 channels, vectors of 128. */
LdmImageTowerConfig ldm_image_tower_defaults(void);

/* Errors: INVALID (says which number). */
bool ldm_image_tower_check(const LdmImageTowerConfig *config, GError **error);

LdmImageTower *ldm_image_tower_new(const LdmImageTowerConfig *config);
void ldm_image_tower_free(LdmImageTower *tower);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmImageTower, ldm_image_tower_free)

const LdmImageTowerConfig *ldm_image_tower_config(const LdmImageTower *tower);

/* Its parameters, without data until they are drawn or loaded. */
LdmParams *ldm_image_tower_params(const LdmImageTower *tower);

/* x [N, side, side, 3] in [-1, 1] -> [N, width]; borrows x. */
LdmTensor *ldm_image_tower_forward(LdmPass *pass, const LdmImageTower *tower, LdmTensor *x);

/* From a folder with config.json and model.safetensors. Errors: FILE, FORMAT, MISSING, SHAPE ... */
LdmImageTower *ldm_image_tower_load(const char *folder, GError **error);

/* The text of config.json; free with g_free. */
char *ldm_image_tower_json(const LdmImageTowerConfig *config);
