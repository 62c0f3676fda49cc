/* Crops of one picture as examples for training: what an adapter learns a picture from that is to
 * be filled. Of what is to be filled nothing is seen. */
#pragma once

#include "train/dataset.h"

typedef struct {
    const LdmTensor *picture; /* [1, H, W, 4] R'G'B' and straight alpha; borrowed, as the mask is */
    const LdmTensor *mask;    /* [1, H, W, 1]: not known where > 0, nor where alpha is 0 */
    LdmRect area;             /* where crops come from; it may reach beyond the picture */
    size_t side;              /* of a crop: work pixels */
    double scale;             /* work pixels per picture pixel, > 0 */
    double zoom;              /* >= 1: crops show up to as many times more at a smaller scale */
    uint64_t seed;
} LdmCrops;

/* Whether a single pixel is known. */
bool ldm_crops_any(const LdmCrops *crops);

/* `count` crops, all with one caption; ldm_crops_read knows their names. */
LdmDataset *ldm_crops_dataset(size_t count, const char *caption);

/* LdmPictureRead; `data` is the LdmCrops. A square [1, n, n, 4] of at least `side` pixels but where
 * the area is smaller: alpha 1 where all is known, else 0 and the colour of the neighbourhood. The
 * crop follows from seed and name alone. Errors: FORMAT (nothing in it is known), MEMORY. */
LdmTensor *ldm_crops_read(const char *name, void *data, GError **error);

/* Adds what all of them depend on to a digest: colours where they are known, and where that is. */
void ldm_crops_digest(const LdmCrops *crops, GChecksum *sum);
