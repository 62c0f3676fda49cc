/* The evaluation of the default model (data/default): what its parts share. Each part measures one
 * model on pictures of the data set and adds its figures to a list. */
#pragma once

#include "ldm.h"

/* ---- the data set ---- */

typedef struct {
    char *path, *caption, *language, *kind, *style, *concept;
} EvaluateRow;

/* The rows (EvaluateRow) of a list that make-set.py has written. Errors: FILE, FORMAT. */
GPtrArray *evaluate_rows_read(const char *folder, const char *name, GError **error);

typedef bool EvaluateWanted(const EvaluateRow *row);

/* Up to `count` of the rows that are wanted (NULL: all), evenly taken; borrowed. */
GPtrArray *evaluate_rows_pick(const GPtrArray *rows, EvaluateWanted *wanted, size_t count);

/* A row's picture, [1, side, side, 3] in [-1, 1]. */
LdmTensor *evaluate_row_picture(const EvaluateRow *row, size_t side, GError **error);

/* The first three of the channels of [1, H, W, 3 or 4], scale * x + shift, within 0..1. */
LdmTensor *evaluate_rgb(const LdmTensor *picture, float scale, float shift, GError **error);

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
    GPtrArray *held_out;
} EvaluateTask;

/* PSNR, SSIM and top-octave power ratio of D(E(x)) on held-out photographs, textures, objects. */
bool evaluate_reconstruction(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                             GError **error);

/* Fills of held-out textures: sliced Wasserstein distance of patches, and the mean of the samples
 * against a hole filled with the mean of its surroundings, in PSNR. */
bool evaluate_fills(const EvaluateTask *task, LdmModel *model, EvaluateResult *result,
                    GError **error);
