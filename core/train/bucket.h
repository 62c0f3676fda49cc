/* Windows for pictures of differing aspect: about as many cells as the square has, in a few shapes,
 * so that batches of one shape can be made. */
#pragma once

#include <stddef.h>

#define LDM_BUCKETS       7
#define LDM_BUCKET_SQUARE 3

typedef struct {
    size_t h, w; /* cells of the latent */
} LdmBucket;

/* Bucket 0 .. LDM_BUCKETS - 1, from 1 : 2 to 2 : 1; h * w is side * side at most. Small sides have
 * buckets of the same shape. */
LdmBucket ldm_bucket_shape(size_t side, size_t bucket);

/* The bucket whose aspect is nearest to that of W x H pixels; of those of one shape the first. */
size_t ldm_bucket_of(size_t side, size_t W, size_t H);
