/* Aspect buckets. In: the side of the square window, in cells, and a picture's size. Out: the shape
 * of the window that loses least of the picture. Sides are even where they can be, so that the
 * denoiser's levels halve. */
#include "train/bucket.h"

#include <math.h>
#include <stdbool.h>

LdmBucket ldm_bucket_shape(size_t side, size_t bucket)
{
    static const double aspects[LDM_BUCKETS] = {1.0 / 2, 2.0 / 3, 3.0 / 4, 1, 4.0 / 3, 3.0 / 2, 2};
    size_t unit = side >= 8 && side % 2 == 0 ? 2 : 1;
    double aspect = aspects[bucket];
    bool tall = aspect < 1;

    /* the long side is rounded, the short one takes what the area leaves */
    double wanted = (double)side * sqrt(tall ? 1 / aspect : aspect) / (double)unit;
    size_t longer = (size_t)lrint(wanted) * unit;
    size_t shorter = side * side / longer / unit * unit;
    if (shorter == 0)
        longer = shorter = side;
    return tall ? (LdmBucket){longer, shorter} : (LdmBucket){shorter, longer};
}

size_t ldm_bucket_of(size_t side, size_t W, size_t H)
{
    double aspect = log((double)W / (double)H), least = INFINITY;
    size_t best = LDM_BUCKET_SQUARE;

    for (size_t i = 0; i < LDM_BUCKETS; i++) {
        LdmBucket shape = ldm_bucket_shape(side, i);
        double distance = fabs(aspect - log((double)shape.w / (double)shape.h));
        if (distance < least) {
            least = distance;
            best = i;
        }
    }
    return best;
}
