/* Detail beside a picture: features in, twice as many out. Taking 2x2 means away is its own
 * transpose, so both directions have the same four numbers to do. Rows of blocks are shared out
 * among the threads. */
#include "layers/detail.h"

#include "base/parallel.h"
#include "layers/tape.h"

typedef struct {
    size_t W, C;    /* of x */
    size_t rows;    /* of 2x2 blocks, of all pictures */
    const float *x; /* what is read: x, or dy */
    float *out;     /* y, or dx */
    float gain;
    bool back, add; /* the direction; add to dx */
} Job;

/* Four values less their mean, times gain. */
static void high_pass(const float in[4], float gain, float out[4])
{
    float mean = 0.25f * (in[0] + in[1] + in[2] + in[3]);

    for (int i = 0; i < 4; i++)
        out[i] = gain * (in[i] - mean);
}

/* The pixels of a block, counted through all pictures. */
static void block_pixels(const Job *job, size_t row, size_t column, size_t pixels[4])
{
    size_t top = 2 * row * job->W + 2 * column;

    pixels[0] = top;
    pixels[1] = top + 1;
    pixels[2] = top + job->W;
    pixels[3] = top + job->W + 1;
}

static void do_row(size_t row, int thread, void *data)
{
    const Job *job = data;
    size_t C = job->C, from = job->back ? 2 * C : C, at = job->back ? C : 0, pixels[4];
    float in[4], detail[4];

    for (size_t column = 0; column < job->W / 2; column++) {
        block_pixels(job, row, column, pixels);
        for (size_t c = 0; c < C; c++) {
            for (int i = 0; i < 4; i++)
                in[i] = job->x[pixels[i] * from + at + c];
            high_pass(in, job->gain, detail);
            for (int i = 0; i < 4; i++) {
                size_t one = pixels[i] * C + c, two = pixels[i] * 2 * C + c;
                if (job->back) {
                    job->out[one] = (job->add ? job->out[one] : 0.0f) + job->x[two] + detail[i];
                } else {
                    job->out[two] = in[i];
                    job->out[two + C] = detail[i];
                }
            }
        }
    }
}

static void run(LdmPass *pass, Job *job)
{
    ldm_pass_check(pass, ldm_parallel_for(job->rows, do_row, job, ldm_pass_cancellable(pass)));
}

/* Of a picture of x's shape. */
static Job job_of(const LdmTensor *x, float gain)
{
    const size_t *s = x->shape;

    return (Job){.W = s[2], .C = s[3], .rows = s[0] * (s[1] / 2), .gain = gain};
}

static void detail_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    Job job = job_of(op->inputs[0], *(const float *)op->detail);

    job.x = ldm_tape_output(pass, op)->data;
    job.out = dx.data;
    job.back = true;
    job.add = dx.add;
    if (dx.wanted && ldm_tape_computes(pass))
        run(pass, &job);
}

LdmTensor *ldm_detail_forward(LdmPass *pass, LdmTensor *x, float gain)
{
    LdmTensor *y = ldm_pass_like(pass, x, 2 * x->shape[3]);
    Job job = job_of(x, gain);

    job.x = x->data;
    job.out = y->data;
    if (ldm_pass_op(pass, &(LdmOp){.name = "detail",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = detail_backward,
                                   .detail = &gain,
                                   .detail_bytes = sizeof gain}))
        run(pass, &job);
    ldm_pass_drop(pass, x);
    return y;
}
