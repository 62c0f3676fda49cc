/* Matrices that a file holds in 8 bits, in the arrangement that products read them in, so that they
 * are used where they lie mapped. Version 1: in place of NAME, shape [N, C] or [N, C, KH, KW], are
 *
 *     NAME.q8         I8   [panels, taps * quads, 16, 4]
 *     NAME.q8_scales  F32  [panels, taps * blocks, 16]
 *
 * with panels = ceil(N / 16), taps = KH * KW, quads = ceil(C / 4), blocks = ceil(C / 640), and
 * length = 4 * ceil(ceil(C / blocks) / 4) input channels in every block but the last. The weight of
 * output channel n, input channel c and tap t is byte * scale: the byte, from -127 to 127, at
 * [n / 16, t * quads + c / 4, n % 16, c % 4], the scale at
 * [n / 16, t * blocks + c / length, n % 16]. What is beyond N or C is zero. The file's metadata say
 * "pentimento_q8": "1". No array has the name or the form that other programs look for. */
#pragma once

#include "weights/param.h"
#include "weights/safetensors.h"

#define LDM_STORED_BYTES   ".q8"
#define LDM_STORED_SCALES  ".q8_scales"
#define LDM_STORED_KEY     "pentimento_q8"
#define LDM_STORED_VERSION "1"

/* Largest scale: expanded, the largest number of a block still is an f16. */
#define LDM_STORED_MOST (65504.0f / 127.0f * 1.0001f)

/* The arrays of a parameter that the file calls NAME; bytes NULL: it is not stored so. */
typedef struct {
    const LdmFileTensor *bytes, *scales;
} LdmStored;
LdmStored ldm_stored_find(const LdmFiles *files, const char *name);

/* The first of n scales that is no such number (negative, not finite, too large), or NULL. */
const float *ldm_stored_flaw(const float *scales, size_t n);

/* Gives the parameter its q8. Errors: MISSING (scales), UNSUPPORTED (types, version), SHAPE,
 * FORMAT (flawed scales), MEMORY. */
bool ldm_stored_bind(LdmFiles *files, LdmParam *param, const LdmStored *stored, GError **error);
