/* Batch norm and ReLU for training on a CPU: what the dispatcher and the instruction-set builds share. */
#ifndef PPGHOST_NORM_H
#define PPGHOST_NORM_H

/* Sizes: float32 [batch, channels, height, width], pixels = height * width; more than one number a channel. */
typedef struct {
    int batch, channels, pixels, has_relu;
    float epsilon, momentum;
} NormShape;

/* One call. Forward reads x, gamma and beta, writes y and stats [2, channels] (mean, 1 / deviation), and moves
 * the running mean and variance. Backward reads x, gamma, beta, stats and dy, writes the gradients; dx may be
 * NULL. */
typedef struct {
    NormShape shape;
    const float *x, *gamma, *beta, *dy;
    float *stats, *y, *running_mean, *running_variance, *dx, *dgamma, *dbeta;
} Norm;

/* Work on the blocks [first, last) of channels. Returns 0. */
typedef int (*NormWorker)(const void *job, int first, int last);

typedef struct {
    int width; /* numbers in a row; a block holds width / pixels channels, at least one */
    NormWorker forward, backward;
} NormKernels;

extern const NormKernels ppghost_norm_baseline;
#if defined(__x86_64__)
extern const NormKernels ppghost_norm_avx2, ppghost_norm_avx512;
#endif

#endif
