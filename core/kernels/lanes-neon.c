/* The inner loops for NEON (arm64, always there): the *-vector.h files compiled with vectors of 4
 * floats and for 32 registers of them. */
#define LANES 4
#define NEON
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_neon = LDM_LANES_TABLE("neon");
