/* Leaky ReLU: features in, features out, in tiles. As in PyTorch its derivative at zero is the
 * slope. */
#include "layers/leaky-relu.h"

#include "base/parallel.h"
#include "layers/tape.h"

#define TILE ((size_t)1 << 16) /* numbers */

typedef struct {
    size_t n;
    float slope;
    const float *x, *dy;
    float *out;
    bool add;
} Job;

static void forward_tile(size_t index, int thread, void *data)
{
    const Job *job = data;

    for (size_t i = index * TILE; i < MIN((index + 1) * TILE, job->n); i++)
        job->out[i] = job->x[i] > 0.0f ? job->x[i] : job->slope * job->x[i];
}

static void backward_tile(size_t index, int thread, void *data)
{
    const Job *job = data;

    for (size_t i = index * TILE; i < MIN((index + 1) * TILE, job->n); i++) {
        float d = job->x[i] > 0.0f ? job->dy[i] : job->slope * job->dy[i];
        job->out[i] = job->add ? job->out[i] + d : d;
    }
}

static void leaky_relu_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    Job job = {.n = ldm_tensor_count(op->output),
               .slope = *(const float *)op->detail,
               .x = op->inputs[0]->data,
               .dy = ldm_tape_output(pass, op)->data,
               .out = dx.data,
               .add = dx.add};

    if (dx.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_parallel_for((job.n + TILE - 1) / TILE, backward_tile, &job,
                                              ldm_pass_cancellable(pass)));
}

LdmTensor *ldm_leaky_relu_forward(LdmPass *pass, LdmTensor *x, float slope)
{
    LdmTensor *y = ldm_pass_over(pass, x);
    Job job = {.n = ldm_tensor_count(x), .slope = slope, .x = x->data, .out = y->data};

    if (ldm_pass_op(pass, &(LdmOp){.name = "leaky-relu",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = leaky_relu_backward,
                                   .saved = LDM_SAVE_INPUT(0),
                                   .detail = &slope,
                                   .detail_bytes = sizeof slope}))
        ldm_pass_check(pass, ldm_parallel_for((job.n + TILE - 1) / TILE, forward_tile, &job,
                                              ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}
