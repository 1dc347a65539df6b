/* What the engine and the instruction-set builds of the kernels share.
 *
 * Maps are [vectors, height, width, lanes]: as many channels as a vector holds lie together, pixel after pixel. The
 * channels of each half of a ghost module's map begin a new vector; the lanes that are left over are read by nobody,
 * so no kernel needs a mask. Weights are packed by vectors of output channels: [vectors, depth, lanes]. */
#ifndef PPGHOST_KERNELS_H
#define PPGHOST_KERNELS_H

enum { MOST_LANES = 16, MOST_TAPS = 25 };

/* Weights that will be needed soon: kernels fetch them into the cache while they compute. */
enum { MOST_SPANS = 32 };

typedef struct {
    struct {
        const char *next, *end;
    } span[MOST_SPANS];
    int current, spans;
} Ahead;

/* A map, or a window on the rows of one that is made and used row by row: row y lies at y % rows. */
typedef struct {
    float *data;
    long plane; /* floats from vector to vector */
    int height, width, rows;
} Map;

/* A 1x1 convolution of pixels that lie one after the other: to = activation(weight from + bias) + add. A plane is the
 * distance between vectors, in floats. */
typedef struct {
    const float *from;
    long from_plane;
    int parts, part_channels, part_vectors; /* of the input: its depth is parts * part_channels */
    const float *weight, *bias;
    long weight_pitch; /* floats from vector to vector */
    const float *gate; /* NULL, or a factor for each input channel */
    float *to;        /* NULL: only `plain` is wanted */
    const float *add; /* NULL: nothing is added */
    float *plain;     /* NULL, or where the output goes without what is added */
    long to_plane, add_plane, plain_plane;
    int has_relu;
    Ahead *ahead;
    float *scratch; /* of the member that computes, for bfloat16 only */
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
} Kernels;

extern const Kernels ghost_kernels_baseline;
#if defined(__x86_64__)
extern const Kernels ghost_kernels_avx2, ghost_kernels_avx512;
#endif

/* The same products with weights in bfloat16, for 16 lanes: those of a 1x1 convolution are packed as [vectors, blocks of
 * 32 lanes of the input, 16 pairs of these, lanes, 2], those of a linear layer as [vectors, depth, lanes]. */
enum { GHOST_BFLOAT_PIXELS = 64 }; /* that are packed at once: scratch is [blocks, pixels, 32] bfloat16 */

/* Tell whether this processor and system have what it takes; asks the system for permission. */
int ghost_bfloat_is_here(void);
void ghost_bfloat_multiply(const Product *job, int pixels, int vectors);
void ghost_bfloat_dense(const Dense *job, int vectors);

#endif
