/* The inner loops for any processor: the *-vector.h files compiled with vectors of 4 floats, which
 * every compiler knows how to do without. */
#define LANES 4
#include "kernels/table-vector.h"

const LdmLanes ldm_lanes_base = LDM_LANES_TABLE("base");
