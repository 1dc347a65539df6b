/* Batch norm over [batch, channels, pixels] with an optional ReLU, forward and backward: one instruction set
 * per compilation of this file.
 *
 * Everything is a sweep over rows of at most WIDTH neighbouring numbers, with one sum or one pair of factors
 * per position of the row: a row is a part of a large plane, or several small planes, whose channels differ.
 * So 1 x 1 maps fill vector registers as well as large ones do.
 */
#include "norm.h"
#include "vector.h"

#include <math.h>

enum { WIDTH = 256 };

/* ------------------------------------------------------------------ rows */

typedef struct {
    int channel, channels; /* the block: channels [channel, channel + channels) */
    int width;             /* numbers in a full row */
    int rows;              /* rows that a picture has of this block */
    long size, pitch;      /* numbers a picture has of this block, and in all */
    double count;          /* numbers a channel has in the batch */
} Block;

static Block block_of(const NormShape *s, int index)
{
    const int most = s->pixels < WIDTH ? WIDTH / s->pixels : 1;
    Block block;
    block.channel = index * most;
    block.channels = s->channels - block.channel < most ? s->channels - block.channel : most;
    block.size = (long)block.channels * s->pixels;
    block.width = block.size < WIDTH ? (int)block.size : WIDTH;
    block.rows = (int)((block.size + WIDTH - 1) / WIDTH);
    block.pitch = (long)s->channels * s->pixels;
    block.count = (double)s->batch * s->pixels;
    return block;
}

/* Run `body` with `at`, the place of the row's first number, and `width`, how many it has. */
#define FOR_EACH_ROW(shape, block, body)                                                                   \
    for (int n = 0; n < (shape)->batch; n++)                                                               \
        for (int row = 0; row < (block)->rows; row++) {                                                    \
            const long at = n * (block)->pitch + (long)(block)->channel * (shape)->pixels + (long)row * WIDTH; \
            const long left = (block)->size - (long)row * WIDTH;                                           \
            const int width = left < WIDTH ? (int)left : WIDTH;                                            \
            body;                                                                                          \
        }

INLINE int channel_at(const NormShape *s, int position) { return s->pixels < WIDTH ? position / s->pixels : 0; }

/* total[channel] = the sum of `sums` over the positions that belong to the channel. */
static void gather(double *total, const float *sums, const NormShape *s, const Block *block)
{
    for (int c = 0; c < block->channels; c++)
        total[c] = 0.0;
    for (int j = 0; j < block->width; j++)
        total[channel_at(s, j)] += sums[j];
}

/* row[position] = values[channel of the position]. */
static void spread(float *row, const float *values, const NormShape *s, const Block *block)
{
    for (int j = 0; j < block->width; j++)
        row[j] = values[channel_at(s, j)];
}

/* ------------------------------------------------------------------ sweeps */

static void sum_rows(float *restrict sums, const float *restrict x, int width)
{
    for (int j = 0; j < width; j++)
        sums[j] += x[j];
}

static void sum_squares(float *restrict sums, const float *restrict x, const float *restrict mean, int width)
{
    for (int j = 0; j < width; j++)
        sums[j] += (x[j] - mean[j]) * (x[j] - mean[j]);
}

static void scale_rows(float *restrict y, const float *restrict x, const float *restrict scale,
                       const float *restrict shift, int width, int has_relu)
{
    if (has_relu)
        for (int j = 0; j < width; j++) {
            float value = x[j] * scale[j] + shift[j];
            y[j] = value < 0.0f ? 0.0f : value; /* NaN stays NaN */
        }
    else
        for (int j = 0; j < width; j++)
            y[j] = x[j] * scale[j] + shift[j];
}

/* Gradient that reaches the norm at one position: the output's where the ReLU let the value through. A product,
 * as in the framework: what is not finite is not hidden. */
INLINE float passed(float dy, float x, float scale, float shift, int has_relu)
{
    return has_relu ? dy * (x * scale + shift > 0.0f ? 1.0f : 0.0f) : dy;
}

INLINE void sum_gradients(float *restrict sums, float *restrict products, const float *restrict dy,
                          const float *restrict x, const float *restrict mean, const float *restrict scale,
                          const float *restrict shift, int width, int has_relu)
{
    for (int j = 0; j < width; j++) {
        float gradient = passed(dy[j], x[j], scale[j], shift[j], has_relu);
        sums[j] += gradient;
        products[j] += gradient * (x[j] - mean[j]);
    }
}

INLINE void input_gradients(float *restrict dx, const float *restrict dy, const float *restrict x,
                            const float *restrict scale, const float *restrict shift,
                            const float *restrict slope, const float *restrict offset, int width, int has_relu)
{
    for (int j = 0; j < width; j++)
        dx[j] = scale[j] * passed(dy[j], x[j], scale[j], shift[j], has_relu) + slope[j] * x[j] + offset[j];
}

/* ------------------------------------------------------------------ the two jobs */

static int forward(const void *job_, int first, int last)
{
    const Norm *job = job_;
    const NormShape *s = &job->shape;
    for (int index = first; index < last; index++) {
        const Block block = block_of(s, index);
        float *mean = job->stats + block.channel, *inverse = mean + s->channels;
        float sums[WIDTH] = {0}, squares[WIDTH] = {0}, means[WIDTH], scales[WIDTH], shifts[WIDTH];
        float scale[WIDTH], shift[WIDTH];
        double total[WIDTH];
        FOR_EACH_ROW(s, &block, sum_rows(sums, job->x + at, width))
        gather(total, sums, s, &block);
        for (int c = 0; c < block.channels; c++)
            mean[c] = (float)(total[c] / block.count);
        spread(means, mean, s, &block);
        FOR_EACH_ROW(s, &block, sum_squares(squares, job->x + at, means, width))
        gather(total, squares, s, &block);
        for (int c = 0; c < block.channels; c++) {
            const int channel = block.channel + c;
            const double variance = total[c] / block.count;
            inverse[c] = (float)(1.0 / sqrt(variance + s->epsilon));
            scale[c] = job->gamma[channel] * inverse[c];
            shift[c] = job->beta[channel] - mean[c] * scale[c];
            float *running = job->running_mean + channel;
            *running = *running * s->momentum + mean[c] * (1.0f - s->momentum);
            running = job->running_variance + channel;
            *running = *running * s->momentum + (float)variance * (1.0f - s->momentum);
        }
        spread(scales, scale, s, &block);
        spread(shifts, shift, s, &block);
        FOR_EACH_ROW(s, &block, scale_rows(job->y + at, job->x + at, scales, shifts, width, s->has_relu))
    }
    return 0;
}

static int backward(const void *job_, int first, int last)
{
    const Norm *job = job_;
    const NormShape *s = &job->shape;
    for (int index = first; index < last; index++) {
        const Block block = block_of(s, index);
        const float *mean = job->stats + block.channel, *inverse = mean + s->channels;
        float sums[WIDTH] = {0}, products[WIDTH] = {0}, means[WIDTH], scales[WIDTH], shifts[WIDTH];
        float slopes[WIDTH], offsets[WIDTH], scale[WIDTH], shift[WIDTH], slope[WIDTH], offset[WIDTH];
        double total[WIDTH], product[WIDTH];
        for (int c = 0; c < block.channels; c++) {
            scale[c] = job->gamma[block.channel + c] * inverse[c];
            shift[c] = job->beta[block.channel + c] - mean[c] * scale[c];
        }
        spread(means, mean, s, &block);
        spread(scales, scale, s, &block);
        spread(shifts, shift, s, &block);
        if (s->has_relu)
            FOR_EACH_ROW(s, &block, sum_gradients(sums, products, job->dy + at, job->x + at, means, scales, shifts, width, 1))
        else
            FOR_EACH_ROW(s, &block, sum_gradients(sums, products, job->dy + at, job->x + at, means, scales, shifts, width, 0))
        gather(total, sums, s, &block);
        gather(product, products, s, &block);
        for (int c = 0; c < block.channels; c++) {
            job->dbeta[block.channel + c] = (float)total[c];
            job->dgamma[block.channel + c] = (float)(product[c] * inverse[c]);
            slope[c] = (float)(-scale[c] * (double)inverse[c] * inverse[c] * product[c] / block.count);
            offset[c] = (float)(-scale[c] * total[c] / block.count - (double)slope[c] * mean[c]);
        }
        if (!job->dx)
            continue;
        spread(slopes, slope, s, &block);
        spread(offsets, offset, s, &block);
        if (s->has_relu)
            FOR_EACH_ROW(s, &block, input_gradients(job->dx + at, job->dy + at, job->x + at, scales, shifts, slopes, offsets, width, 1))
        else
            FOR_EACH_ROW(s, &block, input_gradients(job->dx + at, job->dy + at, job->x + at, scales, shifts, slopes, offsets, width, 0))
    }
    return 0;
}

const NormKernels KERNELS = {WIDTH, forward, backward};
