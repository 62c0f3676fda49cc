/* The inner loops for any processor (SSE2 on x86-64, NEON on arm64): the *-vector.h files compiled
 * with vectors of 4 floats. */
#define LANES 4
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_base = LDM_LANES_TABLE("base");
