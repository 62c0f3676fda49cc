/* The inner loops for AVX2, FMA and F16C (x86-64 since 2013): the *-vector.h files compiled with
 * vectors of 8 floats. */
#define LANES 8
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_avx2 = LDM_LANES_TABLE("avx2");
