/* What is trained in place of a model's own weights, which stay frozen as they are mapped: a LoRA
 * (arXiv 2106.09685) beside its layers, or the embeddings of a new word (textual inversion, arXiv
 * 2208.01618). */
#pragma once

#include "pipeline/model.h"
#include "train/optimiser.h"

#define LDM_ADAPTER_TEXT 256 /* bytes of a textual option with its end */

typedef enum { LDM_ADAPTER_NONE, LDM_ADAPTER_LORA, LDM_ADAPTER_WORD } LdmAdapterKind;

typedef struct {
    LdmAdapterKind kind;
    /* LoRA */
    size_t rank;
    double alpha;                   /* scale * rank; 0 = rank */
    char targets[LDM_ADAPTER_TEXT]; /* ends of the layers' names, "to_q, to_k"; "all" */
    bool kohya;                     /* the finished file has kohya-ss's names, not PEFT's */
    /* what that file says about itself; NULL: nothing. The caller's own */
    const char *title, *description, *trigger;
    /* textual inversion */
    char word[LDM_ADAPTER_TEXT];    /* as prompts will write it, "<cat>" */
    char meaning[LDM_ADAPTER_TEXT]; /* what it stands for at first: its tokens, one after another */
    size_t vectors;                 /* token embeddings of the word */
} LdmAdapterOptions;

/* Rank 4, the attentions' projections; one vector. */
LdmAdapterOptions ldm_adapter_defaults(LdmAdapterKind kind);

typedef struct LdmTrainAdapter LdmTrainAdapter;

/* Puts a new adapter on the model: it computes as before until something is trained (a word: as if
 * its meaning stood there). `text`: the text encoder gets one, too. Errors: INVALID (an option;
 * targets that name no layer), UNSUPPORTED (a word for a model without text), MEMORY. */
LdmTrainAdapter *ldm_train_adapter_new(LdmModel *model, const LdmAdapterOptions *options, bool text,
                                       uint64_t seed, GError **error);

/* Takes it off the model. */
void ldm_train_adapter_free(LdmTrainAdapter *adapter);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTrainAdapter, ldm_train_adapter_free)

/* The table that is trained; its parameters have PEFT's names. */
LdmParams *ldm_train_adapter_params(const LdmTrainAdapter *adapter);

/* Weights in that table. */
size_t ldm_train_adapter_count(const LdmTrainAdapter *adapter);

/* What the numbers of a run depend on, as "name=value" words. Free with g_free. */
char *ldm_train_adapter_settings(const LdmTrainAdapter *adapter);

/* The caption to train with: one that does not have the new word gets it put before.
 * Adapter NULL: as it is. Free with g_free. */
char *ldm_train_adapter_caption(const LdmTrainAdapter *adapter, const char *caption);

/* Writes the moving averages of an optimiser that was given the table alone:
 * FOLDER/pytorch_lora_weights.safetensors, or FOLDER/learned_embeds.safetensors; f32, alpha in
 * the matrices (PEFT's names) or beside them (kohya-ss's). Errors: FILE, NONFINITE. */
bool ldm_train_adapter_write(const LdmTrainAdapter *adapter, const LdmOptimiser *optimiser,
                             const char *folder, GError **error);
