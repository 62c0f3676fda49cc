/* The Haar wavelet: a picture in, four bands of half its sides out, and back. Rows of bands are
 * shared out among the threads. */
#include "layers/haar.h"

#include "base/parallel.h"
#include "layers/tape.h"

typedef struct {
    size_t w, C;    /* columns of a band, channels of the picture */
    size_t rows;    /* of bands, of all pictures */
    const float *x; /* what is read */
    float *out;
    bool join, add; /* the direction; add to out */
} Job;

static void put(const Job *job, size_t at, float value)
{
    job->out[at] = job->add ? job->out[at] + value : value;
}

/* Two rows of the picture, one of bands. */
static void do_row(size_t row, int thread, void *data)
{
    const Job *job = data;
    size_t C = job->C, width = 2 * job->w * C;

    for (size_t i = 0; i < job->w * C; i++) {
        size_t top = 2 * row * width + i / C * 2 * C + i % C,
               band = row * 2 * width + i / C * 4 * C;
        size_t pixels[4] = {top, top + C, top + width, top + width + C};
        size_t bands[4] = {band + i % C, band + C + i % C, band + 2 * C + i % C,
                           band + 3 * C + i % C};
        const size_t *from = job->join ? bands : pixels, *to = job->join ? pixels : bands;
        float a = job->x[from[0]], b = job->x[from[1]], c = job->x[from[2]], d = job->x[from[3]];
        put(job, to[0], 0.5f * (a + b + c + d));
        put(job, to[1], 0.5f * (a - b + c - d));
        put(job, to[2], 0.5f * (a + b - c - d));
        put(job, to[3], 0.5f * (a - b - c + d));
    }
}

/* Of the picture's shape. */
static Job job_of(const LdmTensor *picture)
{
    const size_t *s = picture->shape;

    return (Job){.w = s[2] / 2, .C = s[3], .rows = s[0] * (s[1] / 2)};
}

static void run(LdmPass *pass, Job *job)
{
    ldm_pass_check(pass, ldm_parallel_for(job->rows, do_row, job, ldm_pass_cancellable(pass)));
}

static void haar_backward(LdmPass *pass, const LdmOp *op)
{
    bool join = *(const bool *)op->detail;
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    Job job = job_of(join ? op->output : op->inputs[0]);

    job.x = ldm_tape_output(pass, op)->data;
    job.out = dx.data;
    job.add = dx.add;
    job.join = !join;
    if (dx.wanted && ldm_tape_computes(pass))
        run(pass, &job);
}

static LdmTensor *haar_forward(LdmPass *pass, LdmTensor *x, LdmTensor *y, bool join)
{
    Job job = job_of(join ? y : x);

    job.x = x->data;
    job.out = y->data;
    job.join = join;
    if (ldm_pass_op(pass, &(LdmOp){.name = "haar",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = haar_backward,
                                   .detail = &join,
                                   .detail_bytes = sizeof join}))
        run(pass, &job);
    ldm_pass_drop(pass, x);
    return y;
}

LdmTensor *ldm_haar_split_forward(LdmPass *pass, LdmTensor *x)
{
    const size_t *s = x->shape;

    return haar_forward(pass, x, ldm_pass_nhwc(pass, s[0], s[1] / 2, s[2] / 2, 4 * s[3]), false);
}

LdmTensor *ldm_haar_join_forward(LdmPass *pass, LdmTensor *x)
{
    const size_t *s = x->shape;

    return haar_forward(pass, x, ldm_pass_nhwc(pass, s[0], 2 * s[1], 2 * s[2], s[3] / 4), true);
}

void ldm_haar_split(const LdmTensor *picture, float *bands)
{
    Job job = job_of(picture);

    job.x = picture->data;
    job.out = bands;
    ldm_parallel_for(job.rows, do_row, &job, NULL);
}
