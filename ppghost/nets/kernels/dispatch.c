/* Choose the instruction set, share the work among threads. The functions that Python calls. */
#include "depthwise.h"
#include "norm.h"
#include "pointwise.h"

#include <stdlib.h>
#include <string.h>

/* `GOMP_parallel` of whichever OpenMP runtime the framework has loaded: its threads are idle when we run,
 * and a second pool would fight with them for the cores. */
typedef void (*Parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    Parallel parallel; /* NULL: no other threads */
    int threads;
} Team;

/* ------------------------------------------------------------------ instruction sets */

typedef struct {
    const char *name;
    const Kernels *depthwise;
    const PointwiseKernels *pointwise;
    const NormKernels *norm;
} Instructions;

/* Best first. */
static const Instructions all_instructions[] = {
#if defined(__x86_64__)
    {"avx512", &ppghost_depthwise_avx512, &ppghost_pointwise_avx512, &ppghost_norm_avx512},
    {"avx2", &ppghost_depthwise_avx2, &ppghost_pointwise_avx2, &ppghost_norm_avx2},
#endif
    {"baseline", &ppghost_depthwise_baseline, &ppghost_pointwise_baseline, &ppghost_norm_baseline},
};

enum { SETS = sizeof all_instructions / sizeof all_instructions[0] };

static int is_supported(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f");
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return !strcmp(name, "baseline");
}

static const Instructions *chosen = &all_instructions[SETS - 1];

/* Use the best instruction set that this processor has and that `most` allows; "" allows all. Returns its
 * name. Call it before the first kernel. */
const char *ppghost_choose_instructions(const char *most)
{
    int allowed = !*most;
    for (int set = 0; set < SETS; set++) {
        chosen = &all_instructions[set];
        allowed = allowed || !strcmp(chosen->name, most);
        if (allowed && is_supported(chosen->name))
            break;
    }
    return chosen->name;
}

/* ------------------------------------------------------------------ threads */

typedef int (*Work)(const void *job, int first, int last);

typedef struct {
    const void *job;
    Work work;
    int pieces, grain, next, failed;
} Queue;

static void drain(void *data)
{
    Queue *queue = data;
    for (;;) {
        int first = __atomic_fetch_add(&queue->next, queue->grain, __ATOMIC_RELAXED);
        if (first >= queue->pieces)
            return;
        int last = first + queue->grain < queue->pieces ? first + queue->grain : queue->pieces;
        if (queue->work(queue->job, first, last))
            __atomic_store_n(&queue->failed, 1, __ATOMIC_RELAXED);
    }
}

/* Do the pieces [0, pieces) of a job; returns 0, or -1 when one of them failed. */
static int run(const void *job, Work work, int pieces, Team team)
{
    Queue queue = {job, work, pieces, 1, 0, 0};
    queue.grain = pieces / (team.threads * 4);
    if (queue.grain < 1)
        queue.grain = 1;
    if (team.threads > 1 && team.parallel && pieces > 1)
        team.parallel(drain, &queue, (unsigned)team.threads, 0);
    else
        drain(&queue);
    return queue.failed ? -1 : 0;
}

/* ------------------------------------------------------------------ depthwise convolution */

/* Cut the batch where there are few channels; by the shape alone, so that sums do not depend on threads. */
static int chunks_of(const Shape *shape)
{
    int chunks = 1;
    while (shape->channels * chunks < 64 && chunks * 2 <= shape->batch)
        chunks *= 2;
    return chunks;
}

/* y = x convolved with w. Returns 0, or -1 when memory is short. */
int ppghost_depthwise_forward(const Shape *shape, const float *x, const float *w, float *y, int threads,
                              Parallel parallel)
{
    const Job job = {*shape, x, w, 0, y, 0, 0, 0, chunks_of(shape)};
    const Team team = {parallel, threads};
    return run(&job, chosen->depthwise->forward, shape->channels * job.chunks, team);
}

/* Gradients of the input and of the weight from the output's; NULL for one that is not wanted. Returns 0,
 * or -1 when memory is short. */
int ppghost_depthwise_backward(const Shape *shape, const float *x, const float *w, const float *dy, float *dx,
                               float *dw, int threads, Parallel parallel)
{
    Job job = {*shape, x, w, dy, 0, dx, dw, 0, chunks_of(shape)};
    const Team team = {parallel, threads};
    const int taps = shape->kernel * shape->kernel;
    job.partial_dw = calloc((size_t)shape->channels * job.chunks * taps, sizeof(double));
    if (!job.partial_dw)
        return -1;
    int result = run(&job, chosen->depthwise->backward, shape->channels * job.chunks, team);
    for (int c = 0; dw && c < shape->channels; c++)
        for (int t = 0; t < taps; t++) {
            double sum = 0.0;
            for (int chunk = 0; chunk < job.chunks; chunk++)
                sum += job.partial_dw[((long)c * job.chunks + chunk) * taps + t];
            dw[(long)c * taps + t] = (float)sum;
        }
    free(job.partial_dw);
    return result;
}

/* ------------------------------------------------------------------ 1 x 1 convolution */

enum { PIECES = 24, CHUNK_COLUMNS = 256, MOST_CHUNKS = 16 };

static int panels_of(int count, int size) { return (count + size - 1) / size; }

/* to = w from, with w [rows, depth] read at the given distances. */
static int multiply(Product *job, Team team)
{
    const PointwiseKernels *kernels = chosen->pointwise;
    const int row_panels = panels_of(job->rows, kernels->rows);
    const int column_panels = (int)((job->columns + kernels->columns - 1) / kernels->columns);
    job->left = malloc(sizeof(float) * row_panels * kernels->rows * job->depth);
    job->right = NULL;
    job->row_shares = 1;
    int result = job->left ? 0 : -1;
    if (!result && column_panels < PIECES) { /* few columns: cut the rows too, and pack the columns once */
        job->row_shares = panels_of(PIECES, column_panels);
        if (job->row_shares > row_panels)
            job->row_shares = row_panels;
        job->right = malloc(sizeof(float) * column_panels * kernels->columns * job->depth);
        result = job->right ? run(job, kernels->pack_right, column_panels, team) : -1;
    }
    if (!result)
        result = run(job, kernels->pack_left, row_panels, team);
    if (!result)
        result = run(job, kernels->multiply, column_panels * job->row_shares, team);
    free(job->left);
    free(job->right);
    return result;
}

/* dw = dy x'. Many columns are cut into chunks; few are packed once, and the rows are cut. */
static int multiply_transposed(Product *job, Team team)
{
    const PointwiseKernels *kernels = chosen->pointwise;
    const int row_panels = panels_of(job->rows, kernels->rows);
    const int column_panels = panels_of(job->depth, kernels->columns);
    const long width = (long)column_panels * kernels->columns;
    int result = 0;
    job->right = NULL;
    job->chunks = job->columns < MOST_CHUNKS * CHUNK_COLUMNS ? 1 : MOST_CHUNKS;
    job->row_shares = 1;
    if (job->chunks == 1) {
        job->row_shares = row_panels < PIECES ? row_panels : PIECES;
        job->right = malloc(sizeof(float) * width * job->columns);
        const int pieces = column_panels * panels_of((int)job->columns, kernels->depth);
        result = job->right ? run(job, kernels->pack_right_transposed, pieces, team) : -1;
    }
    job->partial = malloc(sizeof(float) * row_panels * kernels->rows * width * job->chunks);
    if (!job->partial)
        result = -1;
    if (!result)
        result = run(job, kernels->weight_gradient, job->chunks * job->row_shares, team);
    if (!result)
        result = run(job, kernels->sum_chunks, job->rows, team);
    free(job->right);
    free(job->partial);
    return result;
}

/* Sizes of one 1 x 1 convolution: float32 [batch, channels, height, width], pixels = height * width. */
typedef struct {
    int batch, in_channels, out_channels, pixels;
} PointwiseShape;

/* y = w x, w [out_channels, in_channels]. Returns 0, or -1 when memory is short. */
int ppghost_pointwise_forward(const PointwiseShape *shape, const float *x, const float *w, float *y, int threads,
                              Parallel parallel)
{
    const Team team = {parallel, threads};
    Product job = {.rows = shape->out_channels, .depth = shape->in_channels, .pixels = shape->pixels,
                   .columns = (long)shape->batch * shape->pixels, .w = w, .from = x, .to = y,
                   .row_pitch = shape->in_channels, .depth_pitch = 1};
    return multiply(&job, team);
}

/* Gradients of the input and of the weight from the output's; NULL for one that is not wanted. Returns 0,
 * or -1 when memory is short. */
int ppghost_pointwise_backward(const PointwiseShape *shape, const float *x, const float *w, const float *dy,
                               float *dx, float *dw, int threads, Parallel parallel)
{
    const Team team = {parallel, threads};
    const long columns = (long)shape->batch * shape->pixels;
    int result = 0;
    if (dx) {
        Product job = {.rows = shape->in_channels, .depth = shape->out_channels, .pixels = shape->pixels,
                       .columns = columns, .w = w, .from = dy, .to = dx,
                       .row_pitch = 1, .depth_pitch = shape->in_channels};
        result = multiply(&job, team);
    }
    if (dw && !result) {
        Product job = {.rows = shape->out_channels, .depth = shape->in_channels, .pixels = shape->pixels,
                       .columns = columns, .from = x, .to = (float *)dy, .dw = dw};
        result = multiply_transposed(&job, team);
    }
    return result;
}

/* ------------------------------------------------------------------ batch norm and ReLU */

static int run_norm(const Norm *job, NormWorker work, Team team)
{
    const int most = job->shape.pixels < chosen->norm->width ? chosen->norm->width / job->shape.pixels : 1;
    return run(job, work, panels_of(job->shape.channels, most), team);
}

/* y = norm of x; writes stats [2, channels] and moves the running mean and variance. Returns 0. */
int ppghost_norm_forward(const NormShape *shape, const float *x, const float *gamma, const float *beta, float *y,
                         float *stats, float *running_mean, float *running_variance, int threads, Parallel parallel)
{
    const Team team = {parallel, threads};
    const Norm job = {.shape = *shape, .x = x, .gamma = gamma, .beta = beta, .y = y, .stats = stats,
                      .running_mean = running_mean, .running_variance = running_variance};
    return run_norm(&job, chosen->norm->forward, team);
}

/* Gradients from the output's; dx may be NULL. Returns 0. */
int ppghost_norm_backward(const NormShape *shape, const float *x, const float *gamma, const float *beta,
                          const float *dy, float *stats, float *dx, float *dgamma, float *dbeta, int threads,
                          Parallel parallel)
{
    const Team team = {parallel, threads};
    const Norm job = {.shape = *shape, .x = x, .gamma = gamma, .beta = beta, .dy = dy, .stats = stats,
                      .dx = dx, .dgamma = dgamma, .dbeta = dbeta};
    return run_norm(&job, chosen->norm->backward, team);
}
