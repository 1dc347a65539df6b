/* A network that was read: the program, where values lie in memory, the packed weights. */
#ifndef PPGHOST_NETWORK_H
#define PPGHOST_NETWORK_H

#include "kernels.h"
#include "program.h"

#include <stdatomic.h>

/* How the channels of a value lie in vectors. */
typedef struct {
    int parts, part_channels, part_vectors, vectors;
    int half_vector, half_lane; /* where the second half of the channels begins */
} Layout;

/* What one step needs of the weights. */
typedef struct {
    int vectors, depth; /* of the 1x1 convolution or linear layer */
    long weight_pitch;  /* floats from vector to vector */
    int is_bfloat;      /* the weights are in bfloat16 */
    void (*multiply)(const Product *job, int pixels, int vectors);
    void (*dense)(const Dense *job, int vectors);
    const float *weight, *bias, *cheap_weight, *cheap_bias;
    const char *begin, *end; /* all of it */
} Packed;

struct GhostNetwork {
    Program program;
    Kernels kernels;
    int is_bfloat; /* weights are in bfloat16 where that is faster */
    const char *instructions;
    Layout layout[MOST_STEPS + 1];
    Packed packed[MOST_STEPS];
    float *weights;
    size_t weight_bytes;
    int tail; /* the first step after which all values are vectors: from here on a batch goes together */
    atomic_int references;
};

/* Arrange and pack the weights of a network whose program and kernels are set; `content` is the weights file.
 * Returns 0, or -1 when there is no memory. */
int pack_network(struct GhostNetwork *network, const char *content);

/* Return memory for floats that begins at a cache line, or NULL; free it with free. */
float *allocate_floats(size_t count);

#endif
