/* What the engine and the instruction-set builds of the kernels share.
 *
 * Maps are rows of pixels, pixels are rows of channels. The channels of a part of a map begin at a multiple of
 * the vector width and end with lanes that nobody reads, so no kernel needs a mask. Weights are packed by
 * vectors of output channels: [vectors, depth, lanes]. */
#ifndef PPGHOST_KERNELS_H
#define PPGHOST_KERNELS_H

enum { MOST_LANES = 16, MOST_TAPS = 25 };

/* A map, or a window on the rows of one that is made and used row by row: row y lies at y % rows. */
typedef struct {
    float *data;
    long pitch; /* floats from pixel to pixel */
    int height, width, rows;
} Map;

/* A 1x1 convolution of pixels that lie one after the other: to = activation(weight from + bias) + add. */
typedef struct {
    const float *from;
    long from_pitch, part_pitch;
    int parts, part_channels; /* of the input: its depth is their product */
    const float *weight, *bias;
    float *to;
    long to_pitch;
    const float *add; /* NULL: nothing is added */
    long add_pitch;
    float *plain; /* NULL, or where the output goes without what is added */
    long plain_pitch;
    int has_relu;
} Product;

/* A depthwise convolution with padding kernel / 2: to = activation(weight * from + bias) + add. */
typedef struct {
    Map from, to, add; /* add.data NULL: nothing is added */
    int kernel, stride;
    const float *weight, *bias; /* [vectors, kernel * kernel, lanes], [vectors, lanes] */
    int has_relu;
} Filter;

/* The first convolution, 3x3 with stride 2: it reads planes [channels, height, width]. */
typedef struct {
    const float *image;
    int channels, height, width;
    const float *weight, *bias; /* [vectors, channels * 9, lanes] */
    Map to;
    int has_relu;
    float *scratch; /* [channels, 3, width + 2] */
} Stem;

/* A linear layer for one vector: to = activation(weight from + bias). */
typedef struct {
    const float *from, *weight, *bias;
    float *to; /* [vectors, lanes] */
    int depth, activation; /* an `Activation` */
} Dense;

typedef struct {
    int lanes;
    int tile; /* pixels that one pass of `multiply` takes at most */
    void (*multiply)(const Product *job, int pixels, int vectors);
    void (*filter)(const Filter *job, int first_row, int last_row, int vectors);
    void (*stem)(const Stem *job, int first_row, int last_row, int vectors);
    void (*dense)(const Dense *job, int vectors);
    void (*mean)(const Map *from, int vectors, float *to);
    /* Multiply packed weights [vectors, depth, lanes] by gate [depth]. */
    void (*scale)(const float *weight, const float *gate, float *to, int depth, int vectors);
} Kernels;

extern const Kernels ghost_kernels_baseline;
#if defined(__x86_64__)
extern const Kernels ghost_kernels_avx2, ghost_kernels_avx512;
#endif

#endif
