/* Both ends of the line: requests with their task's default values, and what becomes of requests
 * and results when they are no longer needed. */
#include "ldm.h"

LdmRequest *ldm_request_new(LdmTask task)
{
    LdmRequest *request = g_new0(LdmRequest, 1);
    request->task = task;
    request->prompt = g_strdup("");
    request->negative_prompt = g_strdup("");
    request->steps = 20;
    /* noise anew in each step keeps fills to what lies around them (data/default/experiments.md) */
    request->sampler = task == LDM_TASK_INPAINT ? LDM_SAMPLER_EULER_A : LDM_SAMPLER_DPMPP_2M;
    request->schedule = LDM_SIGMAS_MODEL;
    request->guidance = 4.0;
    request->guidance_end = 1.0;
    request->reuse = 1;
    request->strength = task == LDM_TASK_IMG2IMG ? 0.6 : 1.0;
    request->seed = -1;
    return request;
}

void ldm_request_free(LdmRequest *request)
{
    if (request == NULL)
        return;
    g_free(request->prompt);
    g_free(request->negative_prompt);
    g_strfreev(request->loras);
    g_strfreev(request->embeddings);
    ldm_tensor_free(request->picture);
    ldm_tensor_free(request->mask);
    ldm_tensor_free(request->latent);
    g_free(request);
}

void ldm_result_free(LdmResult *result)
{
    if (result == NULL)
        return;
    ldm_tensor_free(result->pixels);
    ldm_tensor_free(result->alpha);
    g_free(result);
}
