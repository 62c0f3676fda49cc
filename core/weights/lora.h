/* LoRA files: low-rank adapters for the denoiser and the text encoder, under the names of PEFT and
 * diffusers ("unet.NAME.lora_A.weight"), of older diffusers ("unet.NAME.lora.down.weight",
 * "NAME.processor.to_q_lora.down.weight") and of kohya-ss ("lora_unet_NAME.lora_down.weight" with
 * "lora_unet_NAME.alpha"; also with the names of the reference's single files). */
#pragma once

#include "weights/names.h"
#include "weights/param.h"

typedef struct LdmLora LdmLora;

/* Metadata that say what a file is for, under the names of Stability AI's ModelSpec: what it is
 * called, what it shows, and what prompts have to say. */
#define LDM_LORA_TITLE       "modelspec.title"
#define LDM_LORA_DESCRIPTION "modelspec.description"
#define LDM_LORA_TRIGGER     "modelspec.trigger_phrase"

/* Maps a file and puts its adapters beside the weights of the tables (by LdmPart; NULL or empty:
 * the model has none), `weight` times as strong as the file has it; with weight 0 the file is
 * checked and nothing is put anywhere. Errors, naming the tensor: FILE, FORMAT, MISSING, SHAPE,
 * UNSUPPORTED (other kinds of adapters, other dtypes). */
LdmLora *ldm_lora_load(const char *path, double weight, LdmParams *const tables[LDM_N_PARTS],
                       const LdmModelConfig *config, GError **error);

/* False and NONFINITE, naming the tensor, where what stands beside weights holds NaN or infinity:
 * loading does not look, since that would read the whole file. */
bool ldm_lora_check_finite(const LdmLora *lora, GError **error);

/* Takes them away again; the tables must still be there. */
void ldm_lora_free(LdmLora *lora);

/* The part of a parameter's name that says which layer it is, as kohya-ss writes it:
 * "down_blocks_0_attentions_0_…_to_q" for "….to_q.weight". NULL where it is no matrix that an
 * adapter can stand beside. Free with g_free. */
char *ldm_lora_layer(const LdmParam *param);
