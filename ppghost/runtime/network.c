/* Arrange values in vectors of channels and pack the weights in the order in which the kernels read them. */
#include "network.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum {
    LINE_BYTES = 64,
    HUGE_BYTES = 2 << 20,
    LEAST_BFLOAT_DEPTH = 33 /* with fewer input channels float32 is faster than packing for the tiles */
};

typedef struct GhostNetwork GhostNetwork;

float *allocate_floats(size_t count)
{
    if (count > SIZE_MAX / 8)
        return NULL;
    const size_t bytes = count * sizeof(float), unit = bytes >= HUGE_BYTES ? HUGE_BYTES : LINE_BYTES;
    const size_t rounded = (bytes + unit - 1) / unit * unit;
    float *memory = aligned_alloc(unit, rounded ? rounded : unit);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (memory && unit == HUGE_BYTES)
        madvise(memory, rounded, MADV_HUGEPAGE); /* fewer address translations; refused is no harm */
#endif
    return memory;
}

/* ------------------------------------------------------------------ layouts */

static Layout layout_of(const GhostNetwork *network, int number)
{
    const Value *value = &network->program.value[number];
    const int lanes = network->kernels.lanes;
    const StepKind kind = network->program.step[number - 1].kind;
    if (kind == DEPTHWISE)
        return network->layout[network->program.step[number - 1].from];
    const int fits = kind == STEM && value->channels <= lanes; /* both halves in one vector */
    Layout layout = {.parts = fits ? 1 : value->parts};
    layout.part_channels = value->channels / layout.parts;
    layout.part_vectors = (layout.part_channels + lanes - 1) / lanes;
    layout.vectors = layout.parts * layout.part_vectors;
    layout.half_vector = layout.parts == 2 ? layout.part_vectors : 0;
    layout.half_lane = layout.parts == 2 ? 0 : value->channels / 2;
    return layout;
}

/* The place of a channel among the lanes of all vectors. */
static long place_of(const Layout *layout, int channel, int lanes)
{
    return (long)(channel / layout->part_channels) * layout->part_vectors * lanes + channel % layout->part_channels;
}

/* ------------------------------------------------------------------ packing */

typedef struct {
    const char *content;
    float *next; /* NULL: only count */
    size_t floats;
    int lanes;
} Packer;

static float *take(Packer *packer, size_t floats)
{
    float *place = packer->next;
    packer->floats += floats;
    if (place)
        memset(packer->next, 0, floats * sizeof(float));
    packer->next += place ? floats : 0;
    return place;
}

static float read_float(const Packer *packer, long offset, size_t index)
{
    float value;
    memcpy(&value, packer->content + offset + index * sizeof(float), sizeof value);
    return value;
}

/* Return the float [c, k] of an array [channels, depth]. */
static float read_element(const Packer *packer, const Step *step, const Array *array, int depth, int c, int k)
{
    const int half = array->cut == CUT_IN ? depth / 2 : step->channels / 2;
    long offset = array->offset;
    if (array->cut != WHOLE && (array->cut == CUT_IN ? k : c) >= half) {
        offset = array->rest;
        k -= array->cut == CUT_IN ? half : 0;
        c -= array->cut == CUT_OUT ? half : 0;
    }
    const int pitch = array->cut == CUT_IN ? half : depth;
    return read_float(packer, offset, step->is_transposed ? (size_t)k * step->channels + c : (size_t)c * pitch + k);
}

/* Pack [channels, depth] as [vectors, depth, lanes]; the channel's place says into which lane it comes. */
static const float *pack_rows(Packer *packer, const Layout *to, const Step *step, int depth, const Array *array)
{
    float *packed = take(packer, (size_t)to->vectors * packer->lanes * depth);
    for (int c = 0; packed && c < step->channels; c++) {
        const long place = place_of(to, c, packer->lanes);
        float *lane = packed + place / packer->lanes * depth * packer->lanes + place % packer->lanes;
        for (int k = 0; k < depth; k++)
            lane[(long)k * packer->lanes] = read_element(packer, step, array, depth, c, k);
    }
    return packed;
}

/* Round to the nearest bfloat16, to the even one of two; what is not a number stays so. */
static uint16_t to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Pack [channels, depth] in bfloat16 as [vectors, pitch floats]: weight (k, lane) of a vector lies at `index`. */
static const float *pack_bfloat(Packer *packer, const Layout *from, const Layout *to, const Step *step, long pitch)
{
    const int depth = from->parts * from->part_channels, is_dense = step->kind == DENSE;
    float *packed = take(packer, (size_t)to->vectors * pitch);
    for (int c = 0; packed && c < step->channels; c++) {
        const long place = place_of(to, c, packer->lanes);
        uint16_t *vector = (uint16_t *)(packed + place / packer->lanes * pitch);
        for (int k = 0; k < depth; k++) {
            const long lane = is_dense ? k : place_of(from, k, packer->lanes);
            const long row = is_dense ? lane : lane / 2 * 2; /* pairs of input channels lie together */
            const long column = is_dense ? place % packer->lanes : place % packer->lanes * 2 + lane % 2;
            vector[row * packer->lanes + column] =
                to_bfloat(read_element(packer, step, &step->weight, depth, c, k));
        }
    }
    return packed;
}

/* Choose the number format of a step's weights, and pack them. */
static void pack_weight(Packer *packer, const GhostNetwork *network, const Layout *to, const Step *step, Packed *packed)
{
    const Layout *from = &network->layout[step->from];
    const int lanes = network->kernels.lanes, is_product = step->kind == POINTWISE || step->kind == GHOST;
    const long blocks = (from->parts * from->part_vectors + 1L) / 2;
    packed->is_bfloat = network->is_bfloat
                        && (step->kind == DENSE || (is_product && packed->depth >= LEAST_BFLOAT_DEPTH));
    packed->multiply = packed->is_bfloat ? ghost_bfloat_multiply : network->kernels.multiply;
    packed->dense = packed->is_bfloat ? ghost_bfloat_dense : network->kernels.dense;
    packed->weight_pitch = (long)packed->depth * lanes;
    if (packed->is_bfloat)
        packed->weight_pitch = is_product ? blocks * lanes * lanes : (packed->depth + 1L) / 2 * lanes;
    packed->weight = packed->is_bfloat ? pack_bfloat(packer, from, to, step, packed->weight_pitch)
                                       : pack_rows(packer, to, step, packed->depth, &step->weight);
}

static void pack_step(Packer *packer, GhostNetwork *network, int number)
{
    const Step *step = &network->program.step[number];
    const Layout *from = &network->layout[step->from];
    Packed *packed = &network->packed[number];
    Layout to = network->layout[number + 1];
    const int taps = step->kernel * step->kernel;
    if (step->kind == GHOST) { /* its 1x1 convolution makes the first half */
        to.parts = 1;
        to.vectors = to.part_vectors;
    }
    packed->vectors = to.vectors;
    switch (step->kind) {
    case STEM:
    case DEPTHWISE:
        packed->depth = taps * (step->kind == STEM ? network->program.channels : 1);
        break;
    case POINTWISE:
    case GHOST:
    case DENSE:
        packed->depth = from->parts * from->part_channels;
        break;
    case MEAN:
        packed->vectors = from->vectors;
        return;
    case SOFTMAX:
        return;
    }
    packed->begin = (const char *)packer->next;
    pack_weight(packer, network, &to, step, packed);
    packed->bias = pack_rows(packer, &to, step, 1, &step->bias);
    if (step->kind == GHOST) {
        packed->cheap_weight = pack_rows(packer, &to, step, taps, &step->cheap_weight);
        packed->cheap_bias = pack_rows(packer, &to, step, 1, &step->cheap_bias);
    }
    packed->end = (const char *)packer->next;
}

static size_t pack_steps(GhostNetwork *network, const char *content, float *memory)
{
    Packer packer = {content, memory, 0, network->kernels.lanes};
    for (int i = 0; i < network->program.steps; i++)
        pack_step(&packer, network, i);
    return packer.floats;
}

int pack_network(GhostNetwork *network, const char *content)
{
    const Program *program = &network->program;
    for (int i = 1; i <= program->steps; i++)
        network->layout[i] = layout_of(network, i);
    network->tail = program->steps;
    while (network->tail && !program->value[program->step[network->tail - 1].from].is_map)
        network->tail--;
    const size_t floats = pack_steps(network, content, NULL);
    network->weights = allocate_floats(floats);
    network->weight_bytes = floats * sizeof(float);
    if (!network->weights)
        return -1;
    pack_steps(network, content, network->weights);
    return 0;
}
