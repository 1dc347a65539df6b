/* Products in bfloat16 by the tiles of AMX. Sums, biases and all maps stay float32; what is rounded are the weights and
 * the input of a 1x1 convolution, and the weights alone of a linear layer. */
#include "kernels.h"

#include "program.h"

#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 12)

#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
enum {
    LANES = 16,
    ROWS = 16,          /* of a tile: pixels, or pairs of input channels */
    ROW_BYTES = 64,     /* 32 input channels, or 16 pairs of weights, or 16 sums */
    TILE_FLOATS = 256,  /* as many floats are as long as a tile */
    REQUEST_TILES = 0x1023, /* arch_prctl's ARCH_REQ_XCOMP_PERM */
    TILE_DATA = 18,         /* the processor state that is asked for */
};

int ghost_bfloat_is_here(void)
{
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    const int has_tiles = (d >> 22 & 1) && (d >> 24 & 1);
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    const int has_conversion = a >> 5 & 1;
    return has_tiles && has_conversion && !syscall(SYS_arch_prctl, REQUEST_TILES, TILE_DATA);
}

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileSettings;

TARGET static void configure_tiles(void)
{
    TileSettings settings = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        settings.row_bytes[tile] = ROW_BYTES;
        settings.rows[tile] = ROWS;
    }
    _tile_loadconfig(&settings);
}

/* Pack `pixels` pixels as [blocks of 32 channels, GHOST_BFLOAT_PIXELS, 32]: rounded, gated, without the lanes that
 * nobody may read. */
TARGET static void pack_pixels(const Product *job, long pixel, int pixels, char *to)
{
    const int planes = job->parts * job->part_vectors;
    for (int plane = 0; plane < planes; plane += 2) {
        const float *from[2] = {0};
        __m512 gate[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        __mmask16 mask[2] = {0, 0};
        for (int i = 0; i < 2 && plane + i < planes; i++) {
            const int part = (plane + i) / job->part_vectors, first = (plane + i) % job->part_vectors * LANES;
            const int left = job->part_channels - first;
            mask[i] = (__mmask16)(left < LANES ? (1u << left) - 1 : 0xffff);
            gate[i] = job->gate ? _mm512_maskz_loadu_ps(mask[i], job->gate + part * job->part_channels + first)
                                : _mm512_set1_ps(1.0f);
            from[i] = job->from + (plane + i) * job->from_plane + pixel * LANES;
        }
        for (int m = 0; m < pixels; m++) {
            __m512 x[2];
            for (int i = 0; i < 2; i++)
                x[i] = mask[i] ? _mm512_maskz_mul_ps(mask[i], _mm512_loadu_ps(from[i] + m * LANES), gate[i])
                               : _mm512_setzero_ps();
            _mm512_storeu_si512(to + m * ROW_BYTES, (__m512i)_mm512_cvtne2ps_pbh(x[1], x[0]));
        }
        to += GHOST_BFLOAT_PIXELS * ROW_BYTES;
    }
}

/* Rectify, add and store the sums of up to 16 pixels. */
TARGET static void finish(const Product *job, const float *sums, long pixel, int pixels, int vector)
{
    const __m512 zero = _mm512_setzero_ps();
    const long place = pixel * LANES;
    for (int m = 0; m < pixels; m++) {
        __m512 y = _mm512_loadu_ps(sums + m * LANES);
        if (job->has_relu) /* the second operand stays what it is if it is not a number */
            y = _mm512_max_ps(zero, y);
        if (job->plain)
            _mm512_storeu_ps(job->plain + vector * job->plain_plane + place + m * LANES, y);
        if (job->add)
            y = _mm512_add_ps(y, _mm512_loadu_ps(job->add + vector * job->add_plane + place + m * LANES));
        if (job->to)
            _mm512_storeu_ps(job->to + vector * job->to_plane + place + m * LANES, y);
    }
}

static void fetch(Ahead *ahead, int lines)
{
    while (ahead->current + 1 < ahead->spans && ahead->span[ahead->current].next >= ahead->span[ahead->current].end)
        ahead->current++;
    for (int i = 0; i < lines && ahead->span[ahead->current].next < ahead->span[ahead->current].end; i++) {
        __builtin_prefetch(ahead->span[ahead->current].next, 0, 2);
        ahead->span[ahead->current].next += ROW_BYTES;
    }
}

/* Sum up to 32 packed pixels and up to 2 vectors of output channels: four tiles of sums, two of either factor. */
TARGET static void multiply_tiles(const Product *job, const char *pixels, int blocks, int vector, int vectors,
                                  int is_wide, float *sums)
{
    const float *bias = job->bias + vector * LANES, *weight = job->weight + vector * job->weight_pitch;
    const float *second = vectors > 1 ? weight + job->weight_pitch : weight;
    _tile_loadd(0, bias, 0); /* every row is the bias */
    _tile_loadd(1, bias, 0);
    _tile_loadd(2, bias + (vectors > 1 ? LANES : 0), 0);
    _tile_loadd(3, bias + (vectors > 1 ? LANES : 0), 0);
    for (int block = 0; block < blocks; block++) {
        const char *from = pixels + (long)block * GHOST_BFLOAT_PIXELS * ROW_BYTES;
        fetch(job->ahead, 4);
        _tile_loadd(4, from, ROW_BYTES);
        _tile_loadd(6, weight + (long)block * TILE_FLOATS, ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        if (is_wide) {
            _tile_loadd(5, from + ROWS * ROW_BYTES, ROW_BYTES);
            _tile_dpbf16ps(1, 5, 6);
        }
        if (vectors > 1) {
            _tile_loadd(7, second + (long)block * TILE_FLOATS, ROW_BYTES);
            _tile_dpbf16ps(2, 4, 7);
            if (is_wide)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, ROW_BYTES);
    _tile_stored(1, sums + TILE_FLOATS, ROW_BYTES);
    _tile_stored(2, sums + 2 * TILE_FLOATS, ROW_BYTES);
    _tile_stored(3, sums + 3 * TILE_FLOATS, ROW_BYTES);
}

TARGET void ghost_bfloat_multiply(const Product *job, int pixels, int vectors)
{
    const int blocks = (job->parts * job->part_vectors + 1) / 2;
    char *packed = (char *)job->scratch;
    float sums[4 * TILE_FLOATS] __attribute__((aligned(64)));
    configure_tiles();
    for (int first = 0; first < pixels; first += GHOST_BFLOAT_PIXELS) {
        const int count = pixels - first < GHOST_BFLOAT_PIXELS ? pixels - first : GHOST_BFLOAT_PIXELS;
        pack_pixels(job, first, count, packed);
        for (int vector = 0; vector < vectors; vector += 2)
            for (int m = 0; m < count; m += 2 * ROWS) {
                const int pair = vectors - vector < 2 ? 1 : 2, left = count - m;
                multiply_tiles(job, packed + (long)m * ROW_BYTES, blocks, vector, pair, left > ROWS, sums);
                for (int v = 0; v < pair; v++) {
                    finish(job, sums + 2 * v * TILE_FLOATS, first + m, left < ROWS ? left : ROWS, vector + v);
                    if (left > ROWS)
                        finish(job, sums + (2 * v + 1) * TILE_FLOATS, first + m + ROWS,
                               left < 2 * ROWS ? left - ROWS : ROWS, vector + v);
                }
            }
    }
    _tile_release(); /* so that a switch of threads has no tiles to save */
}

/* Return 16 weights as floats. */
TARGET static inline __m512 widen(const uint16_t *weight)
{
    const __m256i half = _mm256_loadu_si256((const __m256i *)weight);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}

TARGET void ghost_bfloat_dense(const Dense *job, int vectors)
{
    enum { CHAINS = 8, AHEAD = 4096 };
    const uint16_t *weight = (const uint16_t *)job->weight;
    for (int v = 0; v < vectors; v++) {
        __m512 sum[CHAINS] = {_mm512_loadu_ps(job->bias + v * LANES)};
        for (int chain = 1; chain < CHAINS; chain++)
            sum[chain] = _mm512_setzero_ps();
        int k = 0;
        for (; k + CHAINS <= job->depth; k += CHAINS)
            for (int chain = 0; chain < CHAINS; chain++, weight += LANES) {
                if (chain % 2 == 0)
                    __builtin_prefetch(weight + AHEAD, 0, 3);
                sum[chain] = _mm512_fmadd_ps(widen(weight), _mm512_set1_ps(job->from[k + chain]), sum[chain]);
            }
        for (; k < job->depth; k++, weight += LANES)
            sum[0] = _mm512_fmadd_ps(widen(weight), _mm512_set1_ps(job->from[k]), sum[0]);
        for (int distance = CHAINS / 2; distance; distance /= 2)
            for (int chain = 0; chain < distance; chain++)
                sum[chain] = _mm512_add_ps(sum[chain], sum[chain + distance]);
        __m512 y = sum[0];
        if (job->activation != LINEAR)
            y = _mm512_max_ps(_mm512_setzero_ps(), y);
        if (job->activation == CLIP)
            y = _mm512_min_ps(_mm512_set1_ps(1.0f), y);
        _mm512_storeu_ps(job->to + v * LANES, y);
    }
}

#else

int ghost_bfloat_is_here(void) { return 0; }
void ghost_bfloat_multiply(const Product *job, int pixels, int vectors) { (void)job, (void)pixels, (void)vectors; }
void ghost_bfloat_dense(const Dense *job, int vectors) { (void)job, (void)vectors; }

#endif
