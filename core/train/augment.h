/* What becomes of a picture before the encoder sees it: a random window, perhaps mirrored; and for
 * models that fill holes, a random hole. */
#pragma once

#include "ldm.h"

typedef struct {
    size_t side;          /* of the window, pixels */
    size_t width, height; /* of a window that is no square; 0: side */
    double crop;          /* 0 .. 0.9: largest share of the short side that is cut away */
    bool flip;            /* every second variant is mirrored */
    bool partly;          /* what is not opaque is not known: no white shows through */
    uint64_t seed;
} LdmAugment;

/* Variant `variant` of example `example`: picture [1, H, W, 4] on white -> the window, [1, height,
 * width, 3] in [-1, 1]. Errors: FORMAT (a side shorter than a quarter of the window's, or not
 * finite), MEMORY. */
LdmTensor *ldm_augment_picture(const LdmAugment *augment, size_t example, size_t variant,
                               const LdmTensor *picture, GError **error);

/* The same window of what is known, [1, height, width, 1]: 1 where the picture is opaque, else 0.
 * Errors: MEMORY. */
LdmTensor *ldm_augment_known(const LdmAugment *augment, size_t example, size_t variant,
                             const LdmTensor *picture, GError **error);

/* A hole of the window's size, [1, height, width, 1], 1 inside and 0 outside: everything in a
 * quarter of the cases, else a few rectangles, ellipses and strokes. Errors: MEMORY. */
LdmTensor *ldm_augment_mask(const LdmAugment *augment, size_t example, size_t variant,
                            GError **error);
