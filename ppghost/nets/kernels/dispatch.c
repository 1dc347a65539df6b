/* Depthwise convolution: choose the instruction set, share the work among threads. */
#include "depthwise.h"

#include <stdlib.h>

/* `GOMP_parallel` of whichever OpenMP runtime the framework has loaded: its threads are idle when we run,
 * and a second pool would fight with them for the cores. */
typedef void (*Parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    const Job *job;
    Worker work;
    int pieces, grain, next, failed;
} Queue;

static const Kernels *best_kernels(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return &ppghost_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &ppghost_kernels_avx2;
#endif
    return &ppghost_kernels_baseline;
}

const char *ppghost_depthwise_instructions(void)
{
    const Kernels *best = best_kernels();
#if defined(__x86_64__)
    if (best == &ppghost_kernels_avx512)
        return "avx512";
    if (best == &ppghost_kernels_avx2)
        return "avx2";
#endif
    return best == &ppghost_kernels_baseline ? "baseline" : "unknown";
}

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

static int run(const Job *job, Worker work, int threads, Parallel parallel)
{
    Queue queue = {job, work, job->shape.channels * job->chunks, 1, 0, 0};
    queue.grain = queue.pieces / (threads * 4);
    if (queue.grain < 1)
        queue.grain = 1;
    if (threads > 1 && parallel)
        parallel(drain, &queue, (unsigned)threads, 0);
    else
        drain(&queue);
    return queue.failed ? -1 : 0;
}

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
    Job job = {*shape, x, w, 0, y, 0, 0, 0, chunks_of(shape)};
    return run(&job, best_kernels()->forward, threads, parallel);
}

/* Gradients of the input and of the weight from the output's; NULL for one that is not wanted. Returns 0,
 * or -1 when memory is short. */
int ppghost_depthwise_backward(const Shape *shape, const float *x, const float *w, const float *dy, float *dx,
                               float *dw, int threads, Parallel parallel)
{
    Job job = {*shape, x, w, dy, 0, dx, dw, 0, chunks_of(shape)};
    const int taps = shape->kernel * shape->kernel;
    job.partial_dw = calloc((size_t)shape->channels * job.chunks * taps, sizeof(double));
    if (!job.partial_dw)
        return -1;
    int result = run(&job, best_kernels()->backward, threads, parallel);
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
