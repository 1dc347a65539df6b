/* 1 x 1 convolution, forward and both gradients: one instruction set per compilation of this file.
 *
 * All three are matrix products over the columns (picture, pixel):
 *
 *     y[o, m] = sum_i w[o, i] x[i, m]     dx[i, m] = sum_o w[o, i] dy[o, m]     dw[o, i] = sum_m dy[o, m] x[i, m]
 *
 * The framework multiplies picture by picture, which on small maps is a product with 4 or 16 columns. Here
 * the columns of all pictures stand side by side: both factors are copied into panels (ROWS rows, or COLUMNS
 * columns, with the summed index outermost), and one tile of the product is kept in registers over the whole
 * sum. Source of the scheme: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication".
 */
#include "pointwise.h"
#include "vector.h"

#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__aarch64__)
enum { ROWS = 8 }; /* 8 x 3 sums, 3 loads and a factor fit into 32 registers */
#else
enum { ROWS = 4 };
#endif
enum { VECTORS = 3, COLUMNS = VECTORS * LANES, DEPTH = 192 };

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int panels_of(int count, int size) { return (count + size - 1) / size; }

/* ------------------------------------------------------------------ one tile of a product */

/* to [ROWS, COLUMNS] = or += sum over k < depth of a [k, ROWS] outer b [k, COLUMNS], `vectors` of them. */
INLINE void tile_vectors(float *to, long pitch, const float *a, const float *b, long depth, int adds, int vectors)
{
    Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sum[r][v] = adds ? load(to + r * pitch + v * LANES) : (Vector){0};
    for (long k = 0; k < depth; k++, a += ROWS, b += COLUMNS) {
        Vector right[VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            right[v] = load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const float left = a[r];
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[r][v] += left * right[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            store(to + r * pitch + v * LANES, sum[r][v]);
}

static void tile(float *to, long pitch, const float *a, const float *b, long depth, int adds, int columns)
{
    switch (panels_of(columns, LANES)) { /* a last panel need not be computed at full width */
    case 1: tile_vectors(to, pitch, a, b, depth, adds, 1); break;
    case 2: tile_vectors(to, pitch, a, b, depth, adds, 2); break;
    default: tile_vectors(to, pitch, a, b, depth, adds, 3);
    }
}

/* ------------------------------------------------------------------ pieces of columns */

/* Columns that are neighbours in memory: pixels [pixel, pixel + count) of one picture. */
typedef struct {
    int picture, pixel, count;
} Run;

INLINE Run run_at(long column, long end, int pixels)
{
    Run run = {(int)(column / pixels), (int)(column % pixels), 0};
    run.count = end - column < pixels - run.pixel ? (int)(end - column) : pixels - run.pixel;
    return run;
}

/* to [channels, COLUMNS] = the columns [first, end) of a map [batch, channels, pixels]. */
static void pack_columns(float *to, const float *map, int channels, int pixels, long first, long end)
{
    for (long column = first; column < end;) {
        const Run run = run_at(column, end, pixels);
        const float *from = map + (long)run.picture * channels * pixels + run.pixel;
        float *into = to + (column - first);
        for (int c = 0; c < channels; c++, from += pixels, into += COLUMNS)
            switch (run.count) { /* the small maps' sizes, unrolled */
            case 1: into[0] = from[0]; break;
            case 4: copy_row(into, from, 4); break;
            case 16: copy_row(into, from, 16); break;
            case COLUMNS: copy_row(into, from, COLUMNS); break;
            default: copy_row(into, from, run.count);
            }
        column += run.count;
    }
}

/* The inverse for `rows` channels from `channel` on: a tile [ROWS, COLUMNS] into the map. */
static void unpack_columns(float *map, const float *tile_, int channels, int channel, int rows, int pixels, long first, long end)
{
    for (long column = first; column < end;) {
        const Run run = run_at(column, end, pixels);
        float *into = map + ((long)run.picture * channels + channel) * pixels + run.pixel;
        const float *from = tile_ + (column - first);
        for (int r = 0; r < rows; r++, into += pixels, from += COLUMNS)
            switch (run.count) {
            case 1: into[0] = from[0]; break;
            case 4: copy_row(into, from, 4); break;
            case 16: copy_row(into, from, 16); break;
            default: copy_row(into, from, run.count);
            }
        column += run.count;
    }
}

INLINE void transpose(float *to, const float *from, int channels, int width, int pixels, int count)
{
    for (int c = 0; c < channels; c++, from += pixels)
        for (int j = 0; j < count; j++)
            to[(long)j * width + c] = from[j];
}

/* to [end - first, width] = the transposed columns of `count` channels from `channel` on; the rest is zero. */
static void pack_transposed(float *to, const float *map, int channels, int channel, int count, int width, int pixels, long first, long end)
{
    if (count < width)
        memset(to, 0, sizeof(float) * (end - first) * width);
    for (long column = first; column < end;) {
        const Run run = run_at(column, end, pixels);
        const float *from = map + ((long)run.picture * channels + channel) * pixels + run.pixel;
        float *into = to + (column - first) * width;
        switch (run.count) { /* the small maps' sizes, unrolled */
        case 1: transpose(into, from, count, width, pixels, 1); break;
        case 4: transpose(into, from, count, width, pixels, 4); break;
        case 16: transpose(into, from, count, width, pixels, 16); break;
        default: transpose(into, from, count, width, pixels, run.count);
        }
        column += run.count;
    }
}

/* ------------------------------------------------------------------ y = w x, and dx = w' dy */

/* Pack rows of the left factor: left [panels, depth, ROWS]; piece = one panel. */
static int pack_left(const void *job_, int first, int last)
{
    const Product *job = job_;
    for (int panel = first; panel < last; panel++) {
        float *to = job->left + (long)panel * job->depth * ROWS;
        const int rows = least(ROWS, job->rows - panel * ROWS);
        const float *from = job->w + (long)panel * ROWS * job->row_pitch;
        if (rows < ROWS)
            memset(to, 0, sizeof(float) * job->depth * ROWS);
        if (job->row_pitch == 1 && rows == ROWS)
            for (int k = 0; k < job->depth; k++)
                copy_row(to + (long)k * ROWS, from + (long)k * job->depth_pitch, ROWS);
        else
            for (int r = 0; r < rows; r++)
                for (int k = 0; k < job->depth; k++)
                    to[(long)k * ROWS + r] = from[(long)r * job->row_pitch + (long)k * job->depth_pitch];
    }
    return 0;
}

/* Pack the right factor: right [panels, depth, COLUMNS]; piece = one panel. */
static int pack_right(const void *job_, int first, int last)
{
    const Product *job = job_;
    for (int panel = first; panel < last; panel++) {
        long column = (long)panel * COLUMNS, end = column + COLUMNS < job->columns ? column + COLUMNS : job->columns;
        pack_columns(job->right + (long)panel * job->depth * COLUMNS, job->from, job->depth, job->pixels, column, end);
    }
    return 0;
}

/* Multiply; piece = (column panel, share of the rows). */
static int multiply(const void *job_, int first, int last)
{
    const Product *job = job_;
    const int row_panels = panels_of(job->rows, ROWS);
    float *own = NULL, part[ROWS * COLUMNS];
    int packed = -1;
    if (!job->right) {
        own = malloc(sizeof(float) * job->depth * COLUMNS);
        if (!own)
            return -1;
    }
    for (int index = first; index < last; index++) {
        const int panel = index / job->row_shares, share = index % job->row_shares;
        const long column = (long)panel * COLUMNS;
        const long end = column + COLUMNS < job->columns ? column + COLUMNS : job->columns;
        const float *right = own;
        if (job->right)
            right = job->right + (long)panel * job->depth * COLUMNS;
        else if (packed != panel)
            pack_columns(own, job->from, job->depth, job->pixels, column, end);
        packed = panel;
        const Run run = run_at(column, end, job->pixels);
        const int straight = run.count == COLUMNS;
        for (int r = row_panels * share / job->row_shares; r < row_panels * (share + 1) / job->row_shares; r++) {
            const float *left = job->left + (long)r * job->depth * ROWS;
            const int rows = least(ROWS, job->rows - r * ROWS);
            if (straight && rows == ROWS) {
                float *to = job->to + ((long)run.picture * job->rows + r * ROWS) * job->pixels + run.pixel;
                tile(to, job->pixels, left, right, job->depth, 0, COLUMNS);
            } else {
                tile(part, COLUMNS, left, right, job->depth, 0, (int)(end - column));
                unpack_columns(job->to, part, job->rows, r * ROWS, rows, job->pixels, column, end);
            }
        }
    }
    free(own);
    return 0;
}

/* ------------------------------------------------------------------ dw = dy x' */

/* Pack the right factor: right [panels, columns, COLUMNS]; piece = (panel, DEPTH of the columns). */
static int pack_right_transposed(const void *job_, int first, int last)
{
    const Product *job = job_;
    const int blocks = panels_of((int)job->columns, DEPTH);
    for (int index = first; index < last; index++) {
        const int panel = index / blocks;
        const long column = (long)(index % blocks) * DEPTH;
        const long stop = column + DEPTH < job->columns ? column + DEPTH : job->columns;
        pack_transposed(job->right + (panel * job->columns + column) * COLUMNS, job->from, job->depth,
                        panel * COLUMNS, least(COLUMNS, job->depth - panel * COLUMNS), COLUMNS, job->pixels,
                        column, stop);
    }
    return 0;
}

/* Sum over a share of the columns for a share of the output channels; piece = (columns, channels). The
 * result lies in `partial` as tiles [row panels, column panels, ROWS, COLUMNS]. */
static int weight_gradient(const void *job_, int first, int last)
{
    const Product *job = job_;
    const int row_panels = panels_of(job->rows, ROWS), column_panels = panels_of(job->depth, COLUMNS);
    const long size = (long)row_panels * column_panels * ROWS * COLUMNS;
    float *own = job->right ? NULL : malloc(sizeof(float) * DEPTH * COLUMNS);
    float *dy = malloc(sizeof(float) * panels_of(row_panels, job->row_shares) * DEPTH * ROWS);
    const int failed = (!job->right && !own) || !dy;
    for (int index = first; index < last && !failed; index++) {
        const int chunk = index / job->row_shares, share = index % job->row_shares;
        const int top = row_panels * share / job->row_shares, bottom = row_panels * (share + 1) / job->row_shares;
        const long begin = job->columns * chunk / job->chunks, end = job->columns * (chunk + 1) / job->chunks;
        float *sums = job->partial + size * chunk;
        for (long column = begin; column < end; column += DEPTH) {
            const long stop = column + DEPTH < end ? column + DEPTH : end;
            for (int r = top; r < bottom; r++)
                pack_transposed(dy + (long)(r - top) * DEPTH * ROWS, job->to, job->rows, r * ROWS,
                                least(ROWS, job->rows - r * ROWS), ROWS, job->pixels, column, stop);
            for (int p = 0; p < column_panels; p++) {
                const int columns = least(COLUMNS, job->depth - p * COLUMNS);
                const float *x = job->right ? job->right + (p * job->columns + column) * COLUMNS : own;
                if (!job->right)
                    pack_transposed(own, job->from, job->depth, p * COLUMNS, columns, COLUMNS, job->pixels, column, stop);
                for (int r = top; r < bottom; r++)
                    tile(sums + ((long)r * column_panels + p) * ROWS * COLUMNS, COLUMNS,
                         dy + (long)(r - top) * DEPTH * ROWS, x, stop - column, column > begin, columns);
            }
        }
    }
    free(own);
    free(dy);
    return failed ? -1 : 0;
}

/* Add the chunks in their order; piece = one output channel. */
static int sum_chunks(const void *job_, int first, int last)
{
    const Product *job = job_;
    const int row_panels = panels_of(job->rows, ROWS), column_panels = panels_of(job->depth, COLUMNS);
    const long size = (long)row_panels * column_panels * ROWS * COLUMNS;
    for (int row = first; row < last; row++)
        for (int c = 0; c < job->depth; c++) {
            const float *at = job->partial + (((long)(row / ROWS) * column_panels + c / COLUMNS) * ROWS + row % ROWS) * COLUMNS + c % COLUMNS;
            float sum = at[0];
            for (int chunk = 1; chunk < job->chunks; chunk++)
                sum += at[size * chunk];
            job->dw[(long)row * job->depth + c] = sum;
        }
    return 0;
}

const PointwiseKernels KERNELS = {ROWS, COLUMNS, DEPTH, pack_left, pack_right, multiply,
                                  pack_right_transposed, weight_gradient, sum_chunks};
