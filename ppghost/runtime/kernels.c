/* The kernels, in vectors as wide as this compilation's instruction set allows. Compiled once for each set, with
 * KERNELS as the name of the table. A kernel's sums have the same order wherever a pixel stands in the work, so
 * that results do not depend on how the work is cut. */
#include "kernels.h"

#include "program.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

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
enum { LINE_BYTES = 64, DENSE_AHEAD = 2048 };
#define LANES (VECTOR_BYTES / (int)sizeof(float))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef int Mask __attribute__((vector_size(VECTOR_BYTES)));
typedef float LooseVector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

INLINE Vector load(const float *p) { return *(const LooseVector *)p; }
INLINE void store(float *p, Vector v) { *(LooseVector *)p = v; }

/* Keep a vector in a register: compilers rather load it again for each use, and loads are what a filter waits for. */
INLINE Vector keep(Vector v)
{
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}

/* The positive part. What is not a number stays so: x86's maximum gives its second operand then, ARM's the NaN. */
INLINE Vector relu(Vector v)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(_mm512_setzero_ps(), v);
#elif defined(__AVX__)
    return _mm256_max_ps(_mm256_setzero_ps(), v);
#elif defined(__x86_64__)
    return _mm_max_ps(_mm_setzero_ps(), v);
#elif defined(__aarch64__)
    return vmaxq_f32(vdupq_n_f32(0.0f), v);
#else
    return (Vector)((Mask)v & ~(v < 0.0f));
#endif
}

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

/* Store `pixels` sums of `vectors` vectors each. */
INLINE void store_all(float *to, long plane, Vector sum[TILE][2], const int pixels, const int vectors)
{
    UNROLL
    for (int v = 0; v < vectors; v++, to += plane)
        UNROLL
        for (int m = 0; m < pixels; m++)
            store(to + m * LANES, sum[m][v]);
}

/* Rectify, add and store sums. */
INLINE void finish(const Product *job, Vector sum[TILE][2], long pixel, const int pixels, const int vectors)
{
    if (job->has_relu)
        UNROLL
        for (int m = 0; m < pixels; m++)
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[m][v] = relu(sum[m][v]);
    if (job->plain)
        store_all(job->plain + pixel * LANES, job->plain_plane, sum, pixels, vectors);
    if (job->add) {
        const float *add = job->add + pixel * LANES;
        UNROLL
        for (int v = 0; v < vectors; v++, add += job->add_plane)
            UNROLL
            for (int m = 0; m < pixels; m++)
                sum[m][v] += load(add + m * LANES);
    }
    if (job->to)
        store_all(job->to + pixel * LANES, job->to_plane, sum, pixels, vectors);
}

/* Return where to fetch the next `lines` cache lines, one for each step of a loop that moves on by *stride. */
INLINE const char *fetch_ahead(Ahead *ahead, int lines, long *stride)
{
    while (ahead->current + 1 < ahead->spans && ahead->span[ahead->current].next >= ahead->span[ahead->current].end)
        ahead->current++;
    const char *next = ahead->span[ahead->current].next;
    *stride = next < ahead->span[ahead->current].end ? LINE_BYTES : 0;
    ahead->span[ahead->current].next += lines * *stride;
    return next;
}

/* Do `pixels` pixels and `vectors` vectors of output channels with all sums in registers. */
INLINE void multiply_tile(const Product *job, long pixel, const int pixels, const int vectors, const int has_gate)
{
    const int depth = job->parts * job->part_channels;
    const float *weight = job->weight, *gate = job->gate;
    long stride;
    const char *ahead = fetch_ahead(job->ahead, depth, &stride);
    Vector sum[TILE][2];
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const Vector bias = load(job->bias + v * LANES);
        UNROLL
        for (int m = 0; m < pixels; m++)
            sum[m][v] = bias;
    }
    for (int part = 0; part < job->parts; part++)
        for (int block = 0; block < job->part_vectors; block++) {
            const float *from = job->from + (part * job->part_vectors + block) * job->from_plane + pixel * LANES;
            const int left = job->part_channels - block * LANES;
            for (const float *end = from + (left < LANES ? left : LANES); from < end; from++) {
                Vector w[2];
                __builtin_prefetch(ahead, 0, 2);
                UNROLL
                for (int v = 0; v < vectors; v++) {
                    w[v] = load(weight + v * job->weight_pitch);
                    w[v] = has_gate ? w[v] * *gate : w[v];
                }
                UNROLL
                for (int m = 0; m < pixels; m++)
                    UNROLL
                    for (int v = 0; v < vectors; v++)
                        sum[m][v] += w[v] * from[m * LANES];
                weight += LANES;
                gate += has_gate;
                ahead += stride;
            }
        }
    finish(job, sum, pixel, pixels, vectors);
}

INLINE void multiply_tiles(const Product *job, int pixels, const int vectors, const int has_gate)
{
    long pixel = 0;
#define PASS(count) multiply_tile(job, pixel, count, vectors, has_gate)
    for (; pixel + TILE <= pixels; pixel += TILE)
        PASS(TILE);
    WITH_CONSTANT(PASS, pixels - pixel)
#undef PASS
}

static void multiply(const Product *given, int pixels, int vectors)
{
    Product job = *given;
    for (int count; vectors; vectors -= count) {
        count = vectors < 2 ? vectors : 2;
        if (count == 2 && job.gate)
            multiply_tiles(&job, pixels, 2, 1);
        else if (count == 2)
            multiply_tiles(&job, pixels, 2, 0);
        else if (job.gate)
            multiply_tiles(&job, pixels, 1, 1);
        else
            multiply_tiles(&job, pixels, 1, 0);
        job.weight += count * job.weight_pitch;
        job.bias += count * LANES;
        job.to += job.to ? count * job.to_plane : 0;
        job.add += job.add ? count * job.add_plane : 0;
        job.plain += job.plain ? count * job.plain_plane : 0;
    }
}

/* ------------------------------------------------------------------ depthwise convolution */

/* Most output pixels that one pass takes. */
enum { COUNT = 8 };

INLINE float *row_of(const Map *map, int row)
{
    return map->data + (long)(row < map->rows ? row : row % map->rows) * map->width * LANES;
}

/* What one output row needs: the input rows that are inside of the map, and the first of the kernel's that meets one. */
typedef struct {
    const float *row[5];
    int rows, first, width;
    const float *weight, *bias;
} Window;

INLINE Window window_at(const Filter *job, int first)
{
    Window window = {.width = job->from.width, .weight = job->weight, .bias = job->bias};
    window.first = first < 0 ? -first : 0;
    for (int i = window.first; i < job->kernel && first + i < job->from.height; i++)
        window.row[window.rows++] = row_of(&job->from, first + i);
    return window;
}

/* `count` output pixels side by side, the first of which reads from `column` on: each input pixel is loaded once. At
 * both ends as many as half a kernel may lie outside of the map. */
INLINE void filter_pixels(const Window *window, int column, const int kernel, const int stride, const int count,
                          Vector *sum)
{
    const int reach = kernel / 2, columns = (count - 1) * stride + kernel;
    const int is_first = column < 0, left = -column, right = window->width - column, is_last = right < columns;
    const float *weight = window->weight + window->first * kernel * LANES;
    UNROLL
    for (int x = 0; x < count; x++)
        sum[x] = load(window->bias);
    for (int i = 0; i < window->rows; i++, weight += kernel * LANES) {
        const float *from = window->row[i] + (long)column * LANES;
        Vector w[5];
        UNROLL
        for (int j = 0; j < kernel; j++)
            w[j] = load(weight + j * LANES);
        UNROLL
        for (int j = 0; j < columns; j++) {
            if ((j < reach && is_first && j < left) || (j >= columns - reach && is_last && j >= right))
                continue;
            const Vector pixel = keep(load(from + j * LANES));
            UNROLL
            for (int x = 0; x < count; x++)
                if (j >= x * stride && j < x * stride + kernel)
                    sum[x] += w[j - x * stride] * pixel;
        }
    }
}

INLINE void filter_some(const Filter *job, const Window *window, int x, float *to, const float *add, const int kernel,
                        const int stride, const int count)
{
    Vector sum[COUNT];
    filter_pixels(window, x * stride - kernel / 2, kernel, stride, count, sum);
    if (job->has_relu)
        UNROLL
        for (int i = 0; i < count; i++)
            sum[i] = relu(sum[i]);
    if (add)
        UNROLL
        for (int i = 0; i < count; i++)
            sum[i] += load(add + (x + i) * LANES);
    UNROLL
    for (int i = 0; i < count; i++)
        store(to + (x + i) * LANES, sum[i]);
}

INLINE void filter_row(const Filter *job, const Window *window, float *to, const float *add, const int kernel,
                       const int stride)
{
    const int width = job->to.width;
    int x = 0;
#define SOME(count) filter_some(job, window, x, to, add, kernel, stride, count)
    for (; x + COUNT <= width; x += COUNT)
        SOME(COUNT);
    switch (width - x) {
    case 1: SOME(1); break;
    case 2: SOME(2); break;
    case 3: SOME(3); break;
    case 4: SOME(4); break;
    case 5: SOME(5); break;
    case 6: SOME(6); break;
    case 7: SOME(7); break;
    }
#undef SOME
}

static void filter(const Filter *job, int first_row, int last_row, int vectors)
{
    for (int row = first_row; row < last_row; row++) {
        Window window = window_at(job, row * job->stride - job->kernel / 2);
        float *to = row_of(&job->to, row);
        const float *add = job->add.data ? row_of(&job->add, row) : NULL;
        for (int v = 0; v < vectors; v++) {
            if (job->kernel == 3 && job->stride == 1)
                filter_row(job, &window, to, add, 3, 1);
            else if (job->kernel == 3)
                filter_row(job, &window, to, add, 3, 2);
            else if (job->stride == 1)
                filter_row(job, &window, to, add, 5, 1);
            else
                filter_row(job, &window, to, add, 5, 2);
            window.weight += job->kernel * job->kernel * LANES;
            window.bias += LANES;
            for (int i = 0; i < window.rows; i++)
                window.row[i] += job->from.plane;
            to += job->to.plane;
            add += add ? job->add.plane : 0;
        }
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
    if (job->has_relu)
        UNROLL
        for (int m = 0; m < pixels; m++)
            sum[m] = relu(sum[m]);
    UNROLL
    for (int m = 0; m < pixels; m++)
        store(to + m * LANES, sum[m]);
}

static void stem(const Stem *job, int first_row, int last_row, int vectors)
{
    for (int row = first_row; row < last_row; row++) {
        gather_rows(job, 2 * row - 1);
        for (int v = 0; v < vectors; v++) {
            const float *weight = job->weight + (long)v * job->channels * 9 * LANES;
            const Vector bias = load(job->bias + v * LANES);
            float *to = row_of(&job->to, row) + v * job->to.plane;
            int x = 0;
#define STEM(count) stem_tile(job, weight, bias, to + x * LANES, x, count)
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
            for (int chain = 0; chain < CHAINS; chain++, weight += LANES) {
                __builtin_prefetch(weight + DENSE_AHEAD, 0, 3);
                sum[chain] += load(weight) * job->from[k + chain];
            }
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
        const float *pixel = from->data + v * from->plane;
        Vector sum[CHAINS] = {{0}};
        long i = 0;
        for (; i + CHAINS <= pixels; i += CHAINS)
            UNROLL
            for (int chain = 0; chain < CHAINS; chain++, pixel += LANES)
                sum[chain] += load(pixel);
        for (; i < pixels; i++, pixel += LANES)
            sum[0] += load(pixel);
        store(to + v * LANES, sum_of(sum) / (float)pixels);
    }
}

const Kernels KERNELS = {LANES, TILE, multiply, filter, stem, dense, mean};
