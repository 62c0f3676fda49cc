/* Products of bytes for any processor, in GCC's vectors. Two products of bytes, and their sum, fit
 * 16 bits. */
#define LANES          4
#define Q8_ROWS        2
#define Q8_PANELS      1
#define DOT(sum, w, x) dot(sum, w, x)

#include "kernels/vector.h"

typedef int16_t Halves __attribute__((vector_size(16)));

ALWAYS_INLINE VecI dot(VecI sum, VecI w, VecI x)
{
    Halves even = (((Halves)w << 8) >> 8) * (((Halves)x << 8) >> 8);
    VecI pairs = (VecI)(even + ((Halves)w >> 8) * ((Halves)x >> 8));
    return sum + ((pairs << 16) >> 16) + (pairs >> 16);
}

#include "kernels/q8-tile-vector.h"

const LdmQ8Lanes ldm_q8_base = LDM_Q8_TABLE("base");
