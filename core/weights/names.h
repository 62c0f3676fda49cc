/* What parameters are called in files. Our own names are those of diffusers and transformers;
 * the reference's single files (LDM, SD 1.x, SD 2.x) use others. One table serves both ways. */
#pragma once

#include "weights/config.h"

typedef enum { LDM_PART_UNET, LDM_PART_VAE, LDM_PART_TEXT, LDM_N_PARTS } LdmPart;

typedef enum {
    LDM_NAMES_OURS,      /* the same; the text encoder's without "text_model." */
    LDM_NAMES_OLDER_VAE, /* diffusers before 0.15: query, key, value, proj_attn */
    LDM_NAMES_LDM_UNET,  /* openaimodel: input_blocks, middle_block, output_blocks */
    LDM_NAMES_LDM_VAE,   /* down, mid, up */
    LDM_NAMES_OPENCLIP,  /* resblocks, joined in_proj */
    LDM_NAMES_TAESD,     /* TAESD's decoder: places in a list that begins with the clamp */
} LdmNameTable;

/* A table with the sizes its indices depend on. */
typedef struct {
    LdmNameTable table;
    int levels, layers_per_block;
    bool attention[LDM_MAX_LEVELS]; /* UNet: by level, finest first */
} LdmNaming;

LdmNaming ldm_naming_of(LdmNameTable table, LdmPart part, const LdmModelConfig *config);

/* NULL where the table has no such name. A name that ends in "[0]", "[1]" or "[2]" is that third
 * of the array's rows (OpenCLIP's joined query, key, value). Free with g_free. */
char *ldm_name_to_file(const LdmNaming *naming, const char *name);
char *ldm_name_from_file(const LdmNaming *naming, const char *name);
