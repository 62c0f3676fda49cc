/* The inner loops for AVX-512 F, BW, VL, DQ. */
#define LANES 16
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_avx512 = LDM_LANES_TABLE("avx512");
