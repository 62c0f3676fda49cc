/* The inner loops for AVX-512 F, BW, VL, DQ: the *-vector.h files compiled with vectors of 16
 * floats. */
#define LANES 16
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_avx512 = LDM_LANES_TABLE("avx512");
