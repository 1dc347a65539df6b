/* 1 x 1 convolution for training on a CPU: what the dispatcher and the instruction-set builds share. */
#ifndef PPGHOST_POINTWISE_H
#define PPGHOST_POINTWISE_H

/* One matrix product. For y = w x and dx = w' dy: `to` [batch, rows, pixels] from w and `from`
 * [batch, depth, pixels]. For dw = dy x': dw [rows, depth] from dy in `to` and x in `from`. */
typedef struct {
    int rows, depth, pixels;
    long columns;                /* batch * pixels */
    const float *w, *from;
    long row_pitch, depth_pitch; /* distances in w */
    float *to, *dw;
    float *left, *right;         /* packed factors; right may be NULL: each thread packs what it needs */
    float *partial;              /* [chunks, tiles of dw] */
    int chunks, row_shares;      /* how the work is cut, a function of the sizes alone */
} Product;

/* Work on the pieces [first, last). Returns 0, or -1 when there was no memory. */
typedef int (*ProductWorker)(const void *job, int first, int last);

typedef struct {
    int rows, columns; /* of one tile */
    int depth;         /* of one packed block of the weight's gradient */
    ProductWorker pack_left, pack_right, multiply, pack_right_transposed, weight_gradient, sum_chunks;
} PointwiseKernels;

extern const PointwiseKernels ppghost_pointwise_baseline;
#if defined(__x86_64__)
extern const PointwiseKernels ppghost_pointwise_avx2, ppghost_pointwise_avx512;
#endif

#endif
