/* Depthwise convolution for training on a CPU: what the dispatcher and the instruction-set builds share. */
#ifndef PPGHOST_DEPTHWISE_H
#define PPGHOST_DEPTHWISE_H

/* Sizes of one convolution: float32 [batch, channels, height, width], a square odd kernel of 3 or 5,
 * stride 1 or 2, padding (kernel - 1) / 2, no dilation. Everything is contiguous, C order. */
typedef struct {
    int batch, channels, height, width, kernel, stride;
} Shape;

/* One call. Forward reads x and w and writes y. Backward reads x, w and y's gradient dy and writes dx
 * and dw; either may be NULL when nobody wants it. w and dw: [channels, kernel, kernel]. */
typedef struct {
    Shape shape;
    const float *x, *w, *dy;
    float *y, *dx, *dw;
    double *partial_dw; /* [channels, chunks, kernel * kernel] */
    int chunks;         /* pieces that the batch is cut into, a function of the shape alone */
} Job;

/* Work on the pieces [first, last) of the job, a piece being one (channel, part of the batch).
 * Returns 0, or -1 when there was no memory for the scratch buffers. */
typedef int (*Worker)(const void *job, int first, int last);

typedef struct {
    Worker forward, backward;
} Kernels;

extern const Kernels ppghost_depthwise_baseline;
#if defined(__x86_64__)
extern const Kernels ppghost_depthwise_avx2, ppghost_depthwise_avx512;
#endif

#endif
