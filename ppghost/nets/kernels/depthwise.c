/* Depthwise convolution, forward and both gradients: one instruction set per compilation of this file
 * (KERNELS names the result; the compiler's flags choose the instructions).
 *
 * The idea: copy a plane into a small zero-padded buffer whose row length is the output's plus the padding.
 * Then a kernel tap is a constant offset, and the two-dimensional convolution is a one-dimensional one
 *
 *     y[i] = sum over taps t of  w[t] * x[i + offset[t]],
 *
 * which fills vector registers however narrow the map is. Planes of one channel are strung together, so
 * that even 2 x 2 maps make long vectors. With stride 2 the padded plane is kept as its four phases (even
 * and odd rows by even and odd columns), which turns every tap into a constant offset again. The positions
 * between the rows are computed and thrown away, or multiplied by zero.
 *
 * Zeros times infinity are NaN, and zeros stand here where the definition has no term at all; channels in
 * which anything is not finite are done by plain loops.
 */
#include "depthwise.h"
#include "vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TAPS = 25, UNROLL = 4, SLACK = UNROLL * LANES, GROUP_FLOATS = 4096 };

/* ------------------------------------------------------------------ the two inner loops */

/* y[i] = sum of w[t] * x[i + offset[t]] for i < length; writes up to SLACK floats more. */
INLINE void correlate_taps(float *y, const float *x, const long *offset, const float *w, long length, int taps)
{
    for (long i = 0; i < length; i += UNROLL * LANES) {
        Vector sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};
#pragma GCC unroll 25
        for (int t = 0; t < taps; t++) {
            const float *from = x + i + offset[t];
            sum0 += w[t] * load(from);
            sum1 += w[t] * load(from + LANES);
            sum2 += w[t] * load(from + 2 * LANES);
            sum3 += w[t] * load(from + 3 * LANES);
        }
        store(y + i, sum0);
        store(y + i + LANES, sum1);
        store(y + i + 2 * LANES, sum2);
        store(y + i + 3 * LANES, sum3);
    }
}

static void correlate(float *y, const float *x, const long *offset, const float *w, long length, int taps)
{
    switch (taps) { /* the tap counts that occur, so that the compiler unrolls them */
    case 1: correlate_taps(y, x, offset, w, length, 1); break;
    case 2: correlate_taps(y, x, offset, w, length, 2); break;
    case 4: correlate_taps(y, x, offset, w, length, 4); break;
    case 6: correlate_taps(y, x, offset, w, length, 6); break;
    case 9: correlate_taps(y, x, offset, w, length, 9); break;
    default: correlate_taps(y, x, offset, w, length, taps);
    }
}

/* total[t] += sum over i < length of g[i] * x[i + offset[t]]; g must be zero from length to the next
 * multiple of LANES. Vectors are summed in float, then added to the totals in double. */
INLINE void dots_taps(double *total, const float *g, const float *x, const long *offset, long length, int taps)
{
    Vector sum[5] = {{0}};
    if (taps == 1) {
        for (long i = 0; i < length; i += LANES)
            sum[0] += load(g + i) * load(x + i + offset[0]);
    } else {
        for (long i = 0; i < length; i += LANES) {
            Vector here = load(g + i);
#pragma GCC unroll 5
            for (int t = 0; t < taps; t++)
                sum[t] += here * load(x + i + offset[t]);
        }
    }
    for (int t = 0; t < taps; t++) {
        float lanes = 0.0f;
        for (int lane = 0; lane < LANES; lane++)
            lanes += sum[t][lane];
        total[t] += lanes;
    }
}

static void dots(double *total, const float *g, const float *x, const long *offset, long length, int kernel)
{
    for (int row = 0; row < kernel; row++) { /* one kernel row at a time: its sums stay in registers */
        const long *at = offset + row * kernel;
        double *into = total + row * kernel;
        switch (kernel) {
        case 1: dots_taps(into, g, x, at, length, 1); break;
        case 3: dots_taps(into, g, x, at, length, 3); break;
        default: dots_taps(into, g, x, at, length, 5);
        }
    }
}

/* ------------------------------------------------------------------ the padded layout */

typedef struct {
    int height, width, out_height, out_width; /* of the map and of the convolution's output */
    int kernel, crop, padding, stride;        /* the kernel without the rim that only ever meets padding */
    int group;                                /* planes strung together */
    long row, plane, phase;                   /* distances in floats: rows, planes, phases */
} Layout;

static Layout plan(const Shape *s, int most_planes)
{
    Layout at;
    int longest = s->height > s->width ? s->height : s->width;
    at.height = s->height;
    at.width = s->width;
    at.out_height = (s->height + s->stride - 1) / s->stride;
    at.out_width = (s->width + s->stride - 1) / s->stride;
    at.kernel = s->kernel < 2 * longest - 1 ? s->kernel : 2 * longest - 1;
    at.crop = (s->kernel - at.kernel) / 2;
    at.padding = (at.kernel - 1) / 2;
    at.stride = s->stride;
    at.row = at.out_width + at.padding;
    at.plane = (at.out_height + at.padding) * at.row;
    at.group = (int)(GROUP_FLOATS / at.plane);
    if (at.group < 1)
        at.group = 1;
    if (at.group > most_planes)
        at.group = most_planes;
    at.phase = at.group * at.plane + 2 * at.padding * (at.row + 1) + 2 * SLACK;
    return at;
}

static float *zeros(long count) { return calloc((size_t)count, sizeof(float)); }

/* Call `function` with the last argument, a row's length, as a constant where it is a common one: rows of a
 * few numbers are then moved by single instructions. */
#define WITH_CONSTANT_WIDTH(width, function, ...)      \
    switch (width) {                                   \
    case 1: function(__VA_ARGS__, 1); break;           \
    case 2: function(__VA_ARGS__, 2); break;           \
    case 3: function(__VA_ARGS__, 3); break;           \
    case 4: function(__VA_ARGS__, 4); break;           \
    case 6: function(__VA_ARGS__, 6); break;           \
    case 7: function(__VA_ARGS__, 7); break;           \
    case 8: function(__VA_ARGS__, 8); break;           \
    case 12: function(__VA_ARGS__, 12); break;         \
    case 14: function(__VA_ARGS__, 14); break;         \
    case 16: function(__VA_ARGS__, 16); break;         \
    default: function(__VA_ARGS__, (width));           \
    }

INLINE void copy_rows(float *to, long to_row, const float *from, long from_row, int rows, int width)
{
    for (int i = 0; i < rows; i++, to += to_row, from += from_row)
        copy_row(to, from, width);
}

/* Write one plane [out_height, out_width] of a gradient; its first element lands at padding * (row + 1). */
static void pack_gradient(float *to, const float *from, const Layout *at)
{
    to += at->padding * (at->row + 1);
    WITH_CONSTANT_WIDTH(at->out_width, copy_rows, to, at->row, from, at->out_width, at->out_height)
}

/* Where column c (0 or 1) of row r is in the phases; every second one follows it. */
INLINE float *phase_of(float *buffer, const Layout *at, int r, int c)
{
    const int y = r + at->padding, x = c + at->padding;
    return buffer + ((y & 1) * 2 + (x & 1)) * at->phase + (y >> 1) * at->row + (x >> 1);
}

INLINE void split_rows(float *to, const float *from, const Layout *at, int width)
{
    for (int r = 0; r < at->height; r++, from += width) {
        float *first = phase_of(to, at, r, 0), *second = phase_of(to, at, r, 1);
        for (int j = 0; j < width / 2; j++) {
            first[j] = from[2 * j];
            second[j] = from[2 * j + 1];
        }
        if (width & 1)
            first[width / 2] = from[width - 1];
    }
}

/* Write one plane [height, width] of the input. */
static void pack_input(float *to, const float *from, const Layout *at)
{
    if (at->stride == 1) {
        to += at->padding * (at->row + 1);
        WITH_CONSTANT_WIDTH(at->width, copy_rows, to, at->row, from, at->width, at->height)
    } else {
        WITH_CONSTANT_WIDTH(at->width, split_rows, to, from, at)
    }
}

INLINE void join_rows(float *to, float *from, const Layout *at, int width)
{
    for (int r = 0; r < at->height; r++, to += width) {
        const float *first = phase_of(from, at, r, 0), *second = phase_of(from, at, r, 1);
        for (int j = 0; j < width / 2; j++) {
            to[2 * j] = first[j];
            to[2 * j + 1] = second[j];
        }
        if (width & 1)
            to[width - 1] = first[width / 2];
    }
}

/* The inverse of `pack_input` for stride 2. */
static void unpack_phases(float *to, float *from, const Layout *at)
{
    WITH_CONSTANT_WIDTH(at->width, join_rows, to, from, at)
}

static void unpack_rows(float *to, const float *from, const Layout *at)
{
    WITH_CONSTANT_WIDTH(at->out_width, copy_rows, to, at->out_width, from, at->row, at->out_height)
}

/* Offsets of the taps into a packed input, and the weights that belong to them. */
static void input_taps(long *offset, float *weight, const float *w, const Layout *at, int full_kernel)
{
    for (int r = 0; r < at->kernel; r++)
        for (int c = 0; c < at->kernel; c++) {
            int t = r * at->kernel + c, s = at->stride;
            long phase = s == 1 ? 0 : (r & 1) * 2 + (c & 1);
            offset[t] = phase * at->phase + (r / s) * at->row + c / s;
            weight[t] = w[(r + at->crop) * full_kernel + c + at->crop];
        }
}

/* The taps into a packed gradient that make phase (a, b) of the input's gradient; returns their number. */
static int gradient_taps(long *offset, float *weight, const float *w, const Layout *at, int full_kernel, int a, int b)
{
    int taps = 0, s = at->stride, reach = s == 1 ? at->kernel - 1 : at->padding;
    for (int r = a; r < at->kernel; r += s)
        for (int c = b; c < at->kernel; c += s) {
            offset[taps] = (reach - r / s) * at->row + reach - c / s;
            weight[taps++] = w[(r + at->crop) * full_kernel + c + at->crop];
        }
    return taps;
}

/* ------------------------------------------------------------------ plain loops for what is not finite */

static int all_finite(const float *values, int count)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

/* Visit every (output pixel, tap) of one plane. The framework's op multiplies the padding's zeros too, save
 * in the input's gradient; NaN and infinity must come out where they come out there. */
#define FOR_EACH_TERM(at, full, body)                                                                      \
    for (int i = 0; i < (at)->out_height; i++)                                                             \
        for (int j = 0; j < (at)->out_width; j++)                                                          \
            for (int tap = 0; tap < (full) * (full); tap++) {                                              \
                const int y = i * (at)->stride + tap / (full) - (full) / 2;                                \
                const int x = j * (at)->stride + tap % (full) - (full) / 2;                                \
                const int is_inside = y >= 0 && y < (at)->height && x >= 0 && x < (at)->width;             \
                const long out = (long)i * (at)->out_width + j, in = (long)y * (at)->width + x;            \
                body;                                                                                      \
            }

static void plain_forward(float *to, const float *from, const float *w, const Layout *at, int full)
{
    memset(to, 0, sizeof(float) * at->out_height * at->out_width);
    FOR_EACH_TERM(at, full, to[out] += w[tap] * (is_inside ? from[in] : 0.0f))
}

static void plain_input_gradient(float *to, const float *g, const float *w, const Layout *at, int full)
{
    memset(to, 0, sizeof(float) * at->height * at->width);
    FOR_EACH_TERM(at, full, if (is_inside) to[in] += w[tap] * g[out])
}

static void plain_weight_gradient(double *total, const float *g, const float *from, const Layout *at, int full)
{
    FOR_EACH_TERM(at, full, total[tap] += (double)g[out] * (is_inside ? from[in] : 0.0f))
}

/* ------------------------------------------------------------------ the two jobs */

typedef struct {
    int channel, begin, end; /* pictures [begin, end) */
} Piece;

static Piece piece_of(const Job *job, int index)
{
    int chunk = index % job->chunks;
    Piece piece = {index / job->chunks, (int)((long)job->shape.batch * chunk / job->chunks),
                   (int)((long)job->shape.batch * (chunk + 1) / job->chunks)};
    return piece;
}

INLINE long plane_index(const Job *job, int picture, int channel)
{
    return (long)picture * job->shape.channels + channel;
}

static int forward(const void *job_, int first, int last)
{
    const Job *job = job_;
    const Shape *s = &job->shape;
    const Layout at = plan(s, (s->batch + job->chunks - 1) / job->chunks);
    const long in_size = (long)s->height * s->width, out_size = (long)at.out_height * at.out_width;
    float *in = zeros(at.phase * s->stride * s->stride), *out = zeros(at.phase);
    if (!in || !out) {
        free(in);
        free(out);
        return -1;
    }
    for (int index = first; index < last; index++) {
        const Piece piece = piece_of(job, index);
        const float *w = job->w + (long)piece.channel * s->kernel * s->kernel;
        const int is_finite = all_finite(w, s->kernel * s->kernel);
        long offset[MAX_TAPS];
        float weight[MAX_TAPS];
        input_taps(offset, weight, w, &at, s->kernel);
        for (int n = piece.begin; n < piece.end; n += at.group) {
            int planes = piece.end - n < at.group ? piece.end - n : at.group;
            if (!is_finite) {
                for (int g = 0; g < planes; g++) {
                    long plane = plane_index(job, n + g, piece.channel);
                    plain_forward(job->y + plane * out_size, job->x + plane * in_size, w, &at, s->kernel);
                }
                continue;
            }
            for (int g = 0; g < planes; g++)
                pack_input(in + g * at.plane, job->x + plane_index(job, n + g, piece.channel) * in_size, &at);
            correlate(out, in, offset, weight, planes * at.plane - at.padding * at.row, at.kernel * at.kernel);
            for (int g = 0; g < planes; g++)
                unpack_rows(job->y + plane_index(job, n + g, piece.channel) * out_size, out + g * at.plane, &at);
        }
    }
    free(in);
    free(out);
    return 0;
}

typedef struct {
    float *gradient, *in, *out;
} Scratch;

/* The input's gradient of `planes` pictures, whose output gradients are packed in `scratch`. */
static void input_gradient(const Job *job, const Layout *at, const Scratch *scratch, const Piece *piece, int n, int planes)
{
    const Shape *s = &job->shape;
    const long in_size = (long)s->height * s->width, out_size = (long)at->out_height * at->out_width;
    const float *w = job->w + (long)piece->channel * s->kernel * s->kernel;
    long offset[MAX_TAPS];
    float weight[MAX_TAPS];
    if (!all_finite(w, s->kernel * s->kernel)) {
        for (int g = 0; g < planes; g++) {
            long plane = plane_index(job, n + g, piece->channel);
            plain_input_gradient(job->dx + plane * in_size, job->dy + plane * out_size, w, at, s->kernel);
        }
        return;
    }
    for (int a = 0; a < s->stride; a++)
        for (int b = 0; b < s->stride; b++) {
            int taps = gradient_taps(offset, weight, w, at, s->kernel, a, b);
            correlate(scratch->out + (a * 2 + b) * at->phase, scratch->gradient, offset, weight, planes * at->plane, taps);
        }
    for (int g = 0; g < planes; g++) {
        float *to = job->dx + plane_index(job, n + g, piece->channel) * in_size;
        if (s->stride == 1)
            unpack_rows(to, scratch->out + g * at->plane, at);
        else
            unpack_phases(to, scratch->out + g * at->plane, at);
    }
}

/* Add the weight's gradient of `planes` pictures, packed in `scratch`, to total [kernel * kernel]. */
static void weight_gradient(double *total, const Layout *at, const Scratch *scratch, int full_kernel, int planes)
{
    const long length = planes * at->plane - at->padding * at->row;
    float *gradient = scratch->gradient + at->padding * (at->row + 1);
    double part[MAX_TAPS] = {0};
    long offset[MAX_TAPS];
    float unused[MAX_TAPS], no_weight[MAX_TAPS] = {0};
    /* A larger group may have left a plane behind this one; the next group packs it anew. */
    memset(gradient + length, 0, sizeof(float) * LANES);
    input_taps(offset, unused, no_weight, at, full_kernel);
    dots(part, gradient, scratch->in, offset, length, at->kernel);
    for (int r = 0; r < at->kernel; r++)
        for (int c = 0; c < at->kernel; c++)
            total[(r + at->crop) * full_kernel + c + at->crop] += part[r * at->kernel + c];
}

static int backward(const void *job_, int first, int last)
{
    const Job *job = job_;
    const Shape *s = &job->shape;
    const Layout at = plan(s, (s->batch + job->chunks - 1) / job->chunks);
    const long in_size = (long)s->height * s->width, out_size = (long)at.out_height * at.out_width;
    const int taps = s->kernel * s->kernel, phases = s->stride * s->stride;
    const Scratch scratch = {zeros(at.phase), zeros(at.phase * phases), zeros(at.phase * phases)};
    int failed = !scratch.gradient || !scratch.in || !scratch.out;
    for (int index = first; index < last && !failed; index++) {
        const Piece piece = piece_of(job, index);
        double *total = job->partial_dw + (long)index * taps;
        for (int n = piece.begin; n < piece.end; n += at.group) {
            int planes = piece.end - n < at.group ? piece.end - n : at.group;
            for (int g = 0; g < planes; g++) {
                long plane = plane_index(job, n + g, piece.channel);
                pack_gradient(scratch.gradient + g * at.plane, job->dy + plane * out_size, &at);
                if (job->dw)
                    pack_input(scratch.in + g * at.plane, job->x + plane * in_size, &at);
            }
            if (job->dx)
                input_gradient(job, &at, &scratch, &piece, n, planes);
            if (job->dw)
                weight_gradient(total, &at, &scratch, s->kernel, planes);
        }
        if (!job->dw)
            continue;
        int is_finite = 1;
        for (int t = 0; t < taps; t++)
            is_finite = is_finite && isfinite(total[t]);
        if (is_finite)
            continue;
        memset(total, 0, sizeof(double) * taps);
        for (int n = piece.begin; n < piece.end; n++) {
            long plane = plane_index(job, n, piece.channel);
            plain_weight_gradient(total, job->dy + plane * out_size, job->x + plane * in_size, &at, s->kernel);
        }
    }
    free(scratch.gradient);
    free(scratch.in);
    free(scratch.out);
    return failed ? -1 : 0;
}

const Kernels KERNELS = {forward, backward};
