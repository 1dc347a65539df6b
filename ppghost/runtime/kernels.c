/* The kernels, in vectors as wide as this compilation's instruction set allows. Compiled once for each set, with
 * KERNELS as the name of the table. A kernel's sums have the same order wherever a pixel stands in the work, so
 * that results do not depend on how the work is cut. */
#include "kernels.h"

#include "program.h"

#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
enum { TILE = 14 };
#elif defined(__AVX__)
#define VECTOR_BYTES 32
enum { TILE = 6 };
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
enum { TILE = 12 };
#else
#define VECTOR_BYTES 16
enum { TILE = 6 };
#endif
#define LANES (VECTOR_BYTES / (int)sizeof(float))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef int Mask __attribute__((vector_size(VECTOR_BYTES)));
typedef float LooseVector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

INLINE Vector load(const float *p) { return *(const LooseVector *)p; }
INLINE void store(float *p, Vector v) { *(LooseVector *)p = v; }

/* What is not a number stays so. */
INLINE Vector relu(Vector v) { return (Vector)((Mask)v & ~(v < 0.0f)); }
INLINE Vector at_most_one(Vector v)
{
    const Mask is_above = v > 1.0f;
    return (Vector)(((Mask)((Vector){0} + 1.0f) & is_above) | ((Mask)v & ~is_above));
}

/* Call STEP(count) with a constant count in [1, TILE]. */
#define CASE(STEP, count) case count: if (count <= TILE) { STEP(count <= TILE ? count : 1); } break;
#define WITH_CONSTANT(STEP, count) \
    switch (count) { \
        CASE(STEP, 1) CASE(STEP, 2) CASE(STEP, 3) CASE(STEP, 4) CASE(STEP, 5) CASE(STEP, 6) CASE(STEP, 7) \
        CASE(STEP, 8) CASE(STEP, 9) CASE(STEP, 10) CASE(STEP, 11) CASE(STEP, 12) CASE(STEP, 13) CASE(STEP, 14) \
    }

/* ------------------------------------------------------------------ 1x1 convolution */

/* Finish `pixels` sums of `vectors` vectors each: rectify, add, store. */
INLINE void finish(const Product *job, Vector sum[TILE][2], long pixel, const int pixels, const int vectors)
{
    UNROLL
    for (int m = 0; m < pixels; m++)
        UNROLL
        for (int v = 0; v < vectors; v++) {
            Vector y = job->has_relu ? relu(sum[m][v]) : sum[m][v];
            if (job->plain)
                store(job->plain + (pixel + m) * job->plain_pitch + v * LANES, y);
            if (job->add)
                y += load(job->add + (pixel + m) * job->add_pitch + v * LANES);
            store(job->to + (pixel + m) * job->to_pitch + v * LANES, y);
        }
}

/* Do `pixels` pixels and `vectors` vectors of output channels with all sums in registers. */
INLINE void multiply_tile(const Product *job, long pixel, const int pixels, const int vectors)
{
    const long pitch = job->from_pitch, distance = (long)job->parts * job->part_channels * LANES;
    const float *weight = job->weight;
    Vector sum[TILE][2];
    UNROLL
    for (int m = 0; m < pixels; m++)
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[m][v] = load(job->bias + v * LANES);
    for (int part = 0; part < job->parts; part++) {
        const float *from = job->from + pixel * pitch + part * job->part_pitch;
        for (int k = 0; k < job->part_channels; k++, weight += LANES, from++) {
            Vector w[2];
            UNROLL
            for (int v = 0; v < vectors; v++)
                w[v] = load(weight + v * distance);
            UNROLL
            for (int m = 0; m < pixels; m++)
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[m][v] += w[v] * from[m * pitch];
        }
    }
    finish(job, sum, pixel, pixels, vectors);
}

static void multiply_tiles(const Product *job, int pixels, int vectors)
{
    long pixel = 0;
#define ONE(count) multiply_tile(job, pixel, count, 1)
#define TWO(count) multiply_tile(job, pixel, count, 2)
    if (vectors == 2) {
        for (; pixel + TILE <= pixels; pixel += TILE)
            TWO(TILE);
        WITH_CONSTANT(TWO, pixels - pixel)
    } else {
        for (; pixel + TILE <= pixels; pixel += TILE)
            ONE(TILE);
        WITH_CONSTANT(ONE, pixels - pixel)
    }
#undef ONE
#undef TWO
}

static void multiply(const Product *given, int pixels, int vectors)
{
    Product job = *given;
    const long depth = (long)job.parts * job.part_channels;
    for (int count; vectors; vectors -= count) {
        count = vectors < 2 ? vectors : 2;
        multiply_tiles(&job, pixels, count);
        job.weight += count * depth * LANES;
        job.bias += count * LANES;
        job.to += count * LANES;
        job.add += job.add ? count * LANES : 0;
        job.plain += job.plain ? count * LANES : 0;
    }
}

/* ------------------------------------------------------------------ depthwise convolution */

static const float zero_pixel[MOST_LANES];

INLINE float *row_of(const Map *map, int row) { return map->data + (long)(row % map->rows) * map->width * map->pitch; }

/* The rows that one output row reads; a row outside of the map is one pixel of zeros with pitch 0. */
typedef struct {
    const float *row[5];
    long pitch[5];
} Rows;

INLINE Rows rows_around(const Map *from, int first, const int kernel)
{
    Rows rows;
    UNROLL
    for (int i = 0; i < kernel; i++) {
        const int is_inside = first + i >= 0 && first + i < from->height;
        rows.row[i] = is_inside ? row_of(from, first + i) : zero_pixel;
        rows.pitch[i] = is_inside ? from->pitch : 0;
    }
    return rows;
}

INLINE void finish_pixel(const Filter *job, Vector y, float *to, const float *add)
{
    y = job->has_relu ? relu(y) : y;
    store(to, add ? y + load(add) : y);
}

/* One output pixel at the border: the columns [left, right) of the kernel are inside. */
INLINE Vector filter_border(const Rows *rows, const Vector *weight, Vector bias, int column, int width,
                            const int kernel)
{
    const int left = column < 0 ? -column : 0, right = column + kernel > width ? width - column : kernel;
    Vector sum = bias;
    UNROLL
    for (int i = 0; i < kernel; i++)
        for (int j = left; j < right; j++)
            sum += weight[i * kernel + j] * load(rows->row[i] + (column + j) * rows->pitch[i]);
    return sum;
}

/* `count` output pixels side by side, all inside: each input pixel is loaded once. */
INLINE void filter_inside(const Rows *rows, const Vector *weight, Vector bias, int column, const int kernel,
                          const int stride, const int count, Vector *sum)
{
    UNROLL
    for (int x = 0; x < count; x++)
        sum[x] = bias;
    UNROLL
    for (int i = 0; i < kernel; i++) {
        const float *from = rows->row[i] + column * rows->pitch[i];
        UNROLL
        for (int j = 0; j < (count - 1) * stride + kernel; j++) {
            const Vector pixel = load(from + j * rows->pitch[i]);
            UNROLL
            for (int x = 0; x < count; x++)
                if (j >= x * stride && j < x * stride + kernel)
                    sum[x] += weight[i * kernel + j - x * stride] * pixel;
        }
    }
}

INLINE void filter_row(const Filter *job, const Vector *weight, Vector bias, int row, const int kernel,
                       const int stride)
{
    enum { COUNT = 4 };
    const Rows rows = rows_around(&job->from, row * stride - kernel / 2, kernel);
    const int width = job->to.width, in_width = job->from.width;
    float *to = row_of(&job->to, row);
    const float *add = job->add.data ? row_of(&job->add, row) : NULL;
    for (int x = 0; x < width;) {
        const int column = x * stride - kernel / 2;
        Vector sum[COUNT];
        int done = 1;
        if (column < 0 || column + kernel > in_width)
            sum[0] = filter_border(&rows, weight, bias, column, in_width, kernel);
        else if (column + (COUNT - 1) * stride + kernel <= in_width)
            filter_inside(&rows, weight, bias, column, kernel, stride, done = COUNT, sum);
        else
            filter_inside(&rows, weight, bias, column, kernel, stride, 1, sum);
        for (int i = 0; i < done; i++, x++)
            finish_pixel(job, sum[i], to + x * job->to.pitch, add ? add + x * job->add.pitch : NULL);
    }
}

INLINE void filter_vector(const Filter *job, int first_row, int last_row, const int kernel, const int stride)
{
    Vector weight[MOST_TAPS];
    UNROLL
    for (int t = 0; t < kernel * kernel; t++)
        weight[t] = load(job->weight + t * LANES);
    for (int row = first_row; row < last_row; row++)
        filter_row(job, weight, load(job->bias), row, kernel, stride);
}

static void filter(const Filter *given, int first_row, int last_row, int vectors)
{
    Filter job = *given;
    for (int v = 0; v < vectors; v++) {
        if (job.kernel == 3 && job.stride == 1)
            filter_vector(&job, first_row, last_row, 3, 1);
        else if (job.kernel == 3)
            filter_vector(&job, first_row, last_row, 3, 2);
        else if (job.stride == 1)
            filter_vector(&job, first_row, last_row, 5, 1);
        else
            filter_vector(&job, first_row, last_row, 5, 2);
        job.weight += job.kernel * job.kernel * LANES;
        job.bias += LANES;
        job.from.data += LANES;
        job.to.data += LANES;
        job.add.data += job.add.data ? LANES : 0;
    }
}

/* ------------------------------------------------------------------ the first convolution */

/* Copy the rows that one output row reads, with a column of zeros on both sides. */
static void gather_rows(const Stem *job, int first)
{
    float *to = job->scratch;
    for (int c = 0; c < job->channels; c++)
        for (int row = first; row < first + 3; row++, to += job->width + 2) {
            to[0] = to[job->width + 1] = 0.0f;
            if (row >= 0 && row < job->height)
                memcpy(to + 1, job->image + ((long)c * job->height + row) * job->width, sizeof(float) * job->width);
            else
                memset(to + 1, 0, sizeof(float) * job->width);
        }
}

INLINE void stem_tile(const Stem *job, const float *weight, Vector bias, float *to, int x, const int pixels)
{
    Vector sum[TILE];
    UNROLL
    for (int m = 0; m < pixels; m++)
        sum[m] = bias;
    const float *from = job->scratch + 2 * x;
    for (int row = 0; row < 3 * job->channels; row++, from += job->width + 2)
        UNROLL
        for (int j = 0; j < 3; j++, weight += LANES) {
            const Vector w = load(weight);
            UNROLL
            for (int m = 0; m < pixels; m++)
                sum[m] += w * from[2 * m + j];
        }
    UNROLL
    for (int m = 0; m < pixels; m++)
        store(to + m * job->to.pitch, job->has_relu ? relu(sum[m]) : sum[m]);
}

static void stem(const Stem *job, int first_row, int last_row, int vectors)
{
    for (int row = first_row; row < last_row; row++) {
        gather_rows(job, 2 * row - 1);
        for (int v = 0; v < vectors; v++) {
            const float *weight = job->weight + (long)v * job->channels * 9 * LANES;
            const Vector bias = load(job->bias + v * LANES);
            float *to = row_of(&job->to, row) + v * LANES;
            int x = 0;
#define STEM(count) stem_tile(job, weight, bias, to + x * job->to.pitch, x, count)
            for (; x + TILE <= job->to.width; x += TILE)
                STEM(TILE);
            WITH_CONSTANT(STEM, job->to.width - x)
#undef STEM
        }
    }
}

/* ------------------------------------------------------------------ vectors */

enum { CHAINS = 8 }; /* sums side by side hide the latency of an addition */

INLINE Vector sum_of(const Vector *sum)
{
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void dense(const Dense *job, int vectors)
{
    const float *weight = job->weight;
    for (int v = 0; v < vectors; v++) {
        Vector sum[CHAINS] = {load(job->bias + v * LANES)};
        int k = 0;
        for (; k + CHAINS <= job->depth; k += CHAINS)
            UNROLL
            for (int chain = 0; chain < CHAINS; chain++, weight += LANES)
                sum[chain] += load(weight) * job->from[k + chain];
        for (; k < job->depth; k++, weight += LANES)
            sum[0] += load(weight) * job->from[k];
        Vector y = sum_of(sum);
        if (job->activation != LINEAR)
            y = relu(y);
        if (job->activation == CLIP)
            y = at_most_one(y);
        store(job->to + v * LANES, y);
    }
}

static void mean(const Map *from, int vectors, float *to)
{
    const long pixels = (long)from->height * from->width;
    for (int v = 0; v < vectors; v++) {
        const float *pixel = from->data + v * LANES;
        Vector sum[CHAINS] = {{0}};
        long i = 0;
        for (; i + CHAINS <= pixels; i += CHAINS)
            UNROLL
            for (int chain = 0; chain < CHAINS; chain++, pixel += from->pitch)
                sum[chain] += load(pixel);
        for (; i < pixels; i++, pixel += from->pitch)
            sum[0] += load(pixel);
        store(to + v * LANES, sum_of(sum) / (float)pixels);
    }
}

static void scale(const float *weight, const float *gate, float *to, int depth, int vectors)
{
    for (int v = 0; v < vectors; v++)
        for (int k = 0; k < depth; k++, weight += LANES, to += LANES)
            store(to, load(weight) * gate[k]);
}

const Kernels KERNELS = {LANES, TILE, multiply, filter, stem, dense, mean, scale};
