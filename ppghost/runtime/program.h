/* A program: the network as a list of steps, read from text and checked against its weights file. */
#ifndef PPGHOST_PROGRAM_H
#define PPGHOST_PROGRAM_H

#include <stddef.h>

enum { MOST_STEPS = 1024, MOST_CHANNELS = 1 << 16, NONE = -1 };

typedef enum { STEM, POINTWISE, DEPTHWISE, GHOST, MEAN, DENSE, SOFTMAX } StepKind;
typedef enum { LINEAR, RELU, CLIP } Activation;

/* A value is a map [height, width, channels] or a vector [channels]; step i makes value i + 1, the picture is
 * value 0. `level` counts how often its sides were halved, rounded up. */
typedef struct {
    int channels, level, is_map, parts; /* two parts: the channels of a ghost module's halves */
} Value;

/* Where an array [out, in, ...] of floats lies in the weights file: in one piece, or the last half of its input or
 * output channels in another. */
typedef enum { WHOLE, CUT_IN, CUT_OUT } Cut;

typedef struct {
    long offset, rest; /* in bytes */
    Cut cut;
} Array;

typedef struct {
    StepKind kind;
    int from, gate, add; /* values; NONE where there is none */
    int channels;        /* of the 1x1 convolution's output; a ghost module has twice as many */
    int kernel, stride;
    int is_transposed; /* dense weights lie as [in, out] */
    Activation activation;
    Array weight, bias;
    Array cheap_weight, cheap_bias; /* of a ghost module's depthwise convolution */
} Step;

typedef struct {
    int steps, channels, classes;
    Step step[MOST_STEPS];
    Value value[MOST_STEPS + 1];
} Program;

/* Where an error is written; `size` may be 0. */
typedef struct {
    char *text;
    size_t size;
} Complaint;

/* Write a sentence. Returns -1. */
int complain(Complaint complaint, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Return the content of a file with a 0 behind it, to be freed, or NULL after complaining. */
char *read_file(const char *path, size_t most, size_t *size, Complaint complaint);

/* Read a program from `text`, which is changed by it, for a weights file of `weight_bytes`. Returns 0, or -1 after
 * complaining. */
int parse_program(char *text, size_t weight_bytes, Program *program, Complaint complaint);

#endif
