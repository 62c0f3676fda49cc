/* The evaluation of the default model (data/default): what its parts share. Each part measures one
 * model on pictures of the data set and adds its figures to a list. */
#pragma once

#include "train/image-tower.h"

/* ---- the data set ---- */

typedef struct {
    char *path, *caption, *language, *kind, *style, *concept;
} EvaluateRow;

/* The rows (EvaluateRow) of a list that make-set.py has written. Errors: FILE, FORMAT. */
GPtrArray *evaluate_rows_read(const char *folder, const char *name, GError **error);

typedef bool EvaluateWanted(const EvaluateRow *row);

/* Up to `count` of the rows that are wanted (NULL: all), evenly taken; borrowed. */
GPtrArray *evaluate_rows_pick(const GPtrArray *rows, EvaluateWanted *wanted, size_t count);

/* [1, H, W, 4] on white -> [1, side, side, 3] in [-1, 1], the whole of a square. */
LdmTensor *evaluate_resized(const LdmTensor *picture, size_t side, GError **error);

/* A row's picture, [1, side, side, 3] in [-1, 1]. */
LdmTensor *evaluate_row_picture(const EvaluateRow *row, size_t side, GError **error);

/* The first three of the channels of [1, H, W, 3 or 4], scale * x + shift, within 0..1. */
LdmTensor *evaluate_rgb(const LdmTensor *picture, float scale, float shift, GError **error);

/* ---- pictures as features ---- */

#define EVALUATE_SMALL 32 /* pixels a side at which pictures are compared as such */

typedef struct {
    size_t count;
    LdmTensor *features; /* [count, D] */
    uint8_t *small;      /* [count, EVALUATE_SMALL, EVALUATE_SMALL, 3] */
} EvaluateGallery;

/* Picture i, [1, H, W, 4], 0..1. */
typedef LdmTensor *EvaluateSource(size_t i, void *data, GError **error);

/* `count` pictures, at least 1, as the network (train/image-tower.h) sees them, and small. */
EvaluateGallery *evaluate_gallery_new(const LdmImageTower *tower, size_t count,
                                      EvaluateSource *source, void *data, GError **error);

/* The same of rows. */
EvaluateGallery *evaluate_gallery_of(const LdmImageTower *tower, GPtrArray *rows, GError **error);
void evaluate_gallery_free(EvaluateGallery *gallery);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EvaluateGallery, evaluate_gallery_free)

/* ---- figures ---- */

typedef struct {
    const char *key, *label; /* in JSON, and for people */
    double value;
} EvaluateFigure;

typedef struct {
    const char *name; /* of the model, as given */
    GArray *figures;  /* of EvaluateFigure */
} EvaluateResult;

void evaluate_add(EvaluateResult *result, const char *key, const char *label, double value);

/* Writes FOLDER/figures.json and FOLDER/figures.md, and the latter to standard output. All results
 * have the same figures. */
bool evaluate_write(const EvaluateResult *results, size_t count, const char *folder,
                    GError **error);

/* ---- the parts ---- */

typedef struct {
    int pictures;          /* of each group, encoded and decoded */
    int textures, samples; /* filled; fills of each */
    int steps;             /* of a sampler's run */
    int images;            /* generated for held-out captions */
    int concepts;          /* prompts of seen concepts, and of unseen pairs */
    int gallery;           /* training pictures among which the nearest is sought; 0: all */
    int size;              /* of generated pictures; 0: the model's own */
    int learn;             /* steps of learning from a picture */
    char **settings;       /* "NAME=VALUE", of generated pictures' requests; NULL: the defaults */
    const char *output;    /* folder of pictures */
    const char *features;  /* the folder of the network that sees pictures */
    GPtrArray *held_out, *training;
    struct EvaluateReference *reference; /* what generated pictures are compared with */
} EvaluateTask;

/* PSNR, SSIM and top-octave power ratio of D(E(x)) on held-out photographs, textures, objects. */
bool evaluate_reconstruction(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                             GError **error);

/* A texture of which a part shall be filled. */
typedef struct {
    LdmRequest *request; /* with picture and mask */
    LdmTensor *truth;    /* [1, H, W, 3], 0..1 */
    LdmRect rect;        /* the hole: the middle half of each side */
} EvaluateHole;

#define EVALUATE_FIRST_SEED 1

bool evaluate_hole_open(EvaluateHole *hole, const char *path, GError **error);
void evaluate_hole_clear(EvaluateHole *hole);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(EvaluateHole, evaluate_hole_clear)

/* The whole picture, filled, [1, H, W, 3] in 0..1. */
LdmTensor *evaluate_fill(LdmModel *model, const LdmRequest *request, GError **error);

/* The held-out textures that are filled (EvaluateRow). */
GPtrArray *evaluate_textures(const EvaluateTask *task);

/* Fills of held-out textures: sliced Wasserstein distance of patches, and the mean of the samples
 * against a hole filled with the mean of its surroundings, in PSNR. */
bool evaluate_fills(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                    GError **error);

/* The same distance of fills with and without learning from the picture first; writes
 * OUTPUT/learn-MODEL.png, the pictures of the first seed side by side. */
bool evaluate_learning(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                       GError **error);

/* What does not depend on the model, read and computed once. Errors: those of the parts. */
typedef struct EvaluateReference EvaluateReference;
EvaluateReference *evaluate_reference_new(const EvaluateTask *task, GError **error);
void evaluate_reference_free(EvaluateReference *reference);

/* Generated pictures, as the network sees them: kernel distance to held-out pictures; whether a
 * picture is nearest to those of its own caption; distance to the nearest training picture. */
bool evaluate_pictures(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                       GError **error);
