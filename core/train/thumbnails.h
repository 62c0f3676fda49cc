/* The pictures of a data set at one small size, as bytes: in memory where they fit, else read anew
 * each time. The numbers are the same either way. */
#pragma once

#include "train/augment.h"
#include "train/dataset.h"

typedef struct LdmThumbnails LdmThumbnails;

/* Pictures are read when they are asked for, and kept where those of the whole data set take no
 * more than `most` bytes. dataset and augment are borrowed. Errors: MEMORY. */
LdmThumbnails *ldm_thumbnails_new(const LdmDataset *dataset, const LdmAugment *augment,
                                  LdmPictureRead read, void *read_data, size_t most,
                                  GError **error);
void ldm_thumbnails_free(LdmThumbnails *thumbnails);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmThumbnails, ldm_thumbnails_free)

/* Of the pictures that are kept. */
size_t ldm_thumbnails_bytes(const LdmThumbnails *thumbnails);

/* A number of the example's picture: the same for all examples of that file. */
size_t ldm_thumbnails_picture(const LdmThumbnails *thumbnails, size_t example);

/* Variant 0 of an example -> x [height, width, 3] in [-1, 1], or NULL where it need only be read.
 * Errors: the reader's, ldm_augment_picture's. */
bool ldm_thumbnails_get(LdmThumbnails *thumbnails, size_t example, float *x, GError **error);
