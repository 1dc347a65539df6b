/* Run the steps of a program: the places of what a step reads and makes, and its tasks. */
#include "session.h"

#include <math.h>
#include <string.h>

enum {
    TASKS_FOR_A_MEMBER = 6, /* pieces of a step: few enough to stay large, enough to even out */
    BYTES_AHEAD = 800000   /* of weights that are fetched before they are used: a part of the second cache */
};

/* ------------------------------------------------------------------ sharing work */

void share(Worker *worker, Task task, void *job, int count)
{
    Team *team = worker->session->team;
    if (members_of(worker) == 1) {
        for (int number = 0; number < count; number++)
            task(job, number);
        return;
    }
    const uint64_t phase = worker->phase++;
    for (int number; (number = team_draw(team, worker->rank, phase, count)) >= 0;) {
        task(job, number);
        team_finish(team, phase, count);
    }
    team_wait(team, phase);
}

int wanted_tasks(const Worker *worker)
{
    return members_of(worker) == 1 ? 1 : members_of(worker) * TASKS_FOR_A_MEMBER;
}

/* Tell the kernels which weights to fetch while they compute a step: this member's share of this and the next steps,
 * without what was fetched already. */
static void look_ahead(Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    const int members = members_of(worker), reached = worker->ahead_step + worker->ahead.current;
    const char *next = worker->ahead.span[worker->ahead.current].next;
    Ahead *ahead = &worker->ahead;
    long bytes = 0;
    worker->ahead_step = reached > number ? reached : number;
    ahead->current = ahead->spans = 0;
    for (int step = number; step < network->program.steps && ahead->spans < MOST_SPANS; step++) {
        const Packed *packed = &network->packed[step];
        const long size = packed->end - packed->begin;
        const char *begin = packed->begin + size * worker->rank / members;
        if (step >= worker->ahead_step) {
            begin = step == reached && next ? next : begin;
            ahead->span[ahead->spans].next = begin;
            ahead->span[ahead->spans++].end = bytes < BYTES_AHEAD ? packed->begin + size * (worker->rank + 1) / members
                                                                  : begin;
        }
        bytes += size / members;
    }
}

/* ------------------------------------------------------------------ steps */

Map window_of(const Worker *worker, int value, float *data, int rows)
{
    const Place *place = &plan_of(worker)->value[value];
    const long lanes = worker->session->network->kernels.lanes;
    return (Map){data, (long)rows * place->width * lanes, place->height, place->width, rows};
}

Map map_of(const Worker *worker, int value)
{
    const Place *place = &plan_of(worker)->value[value];
    return window_of(worker, value, worker->space.maps + place->offset, place->height);
}

Map half_of(const Worker *worker, int value, Map map)
{
    const Layout *layout = &worker->session->network->layout[value];
    map.data += layout->half_vector * map.plane + layout->half_lane;
    return map;
}

float *vector_of(const Worker *worker, int value)
{
    return worker->vectors + plan_of(worker)->value[value].offset;
}

typedef struct {
    const Kernels *kernels;
    void (*multiply)(const Product *job, int pixels, int vectors);
    Product product;
    int pixels, pixels_a_task, blocks, vectors, vectors_a_task;
    int is_whole; /* there is one task */
} ProductJob;

static void multiply_task(void *data, int number)
{
    const ProductJob *job = data;
    Product product = job->product;
    const long lanes = job->kernels->lanes;
    const int pixel = number % job->blocks * job->pixels_a_task;
    int vector = 0, vectors = job->vectors;
    if (!job->is_whole) {
        vector = number / job->blocks * job->vectors_a_task;
        vectors = smaller(job->vectors_a_task, job->vectors - vector);
    }
    product.from += pixel * lanes;
    product.weight += vector * product.weight_pitch;
    product.bias += vector * lanes;
    product.to += pixel * lanes + vector * product.to_plane;
    product.add += product.add ? pixel * lanes + vector * product.add_plane : 0;
    product.plain += product.plain ? pixel * lanes + vector * product.plain_plane : 0;
    job->multiply(&product, smaller(job->pixels_a_task, job->pixels - pixel), vectors);
}

Product product_of(Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Layout *from = &network->layout[step->from];
    return (Product){.parts = from->parts, .part_channels = from->part_channels, .part_vectors = from->part_vectors,
                     .weight = network->packed[number].weight, .bias = network->packed[number].bias,
                     .weight_pitch = network->packed[number].weight_pitch,
                     .gate = step->gate == NONE ? NULL : vector_of(worker, step->gate), .has_relu = step->activation == RELU,
                     .ahead = &worker->ahead, .scratch = worker->scratch + plan_of(worker)->pack_offset};
}

/* Do the 1x1 convolution of a step, for a ghost module into the first half of its map. */
static void run_product(Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    const Map from = map_of(worker, step->from), to = map_of(worker, number + 1);
    ProductJob job = {.kernels = &network->kernels, .multiply = packed->multiply, .product = product_of(worker, number),
                      .pixels = to.height * to.width, .vectors = packed->vectors};
    job.product.from = from.data;
    job.product.from_plane = from.plane;
    job.product.to = to.data;
    job.product.to_plane = job.product.plain_plane = to.plane;
    if (step->add != NONE) {
        const Map add = map_of(worker, step->add);
        job.product.add = add.data;
        job.product.add_plane = add.plane;
        job.product.plain = worker->space.plain;
    }
    const int wanted = wanted_tasks(worker), tiles = pieces_of(job.pixels, network->kernels.tile);
    /* In bfloat16 each task packs its pixels for itself, so tasks are wide. */
    job.vectors_a_task = packed->is_bfloat ? 2 * pieces_of(packed->vectors, 2 * members_of(worker)) : 2;
    const int pairs = pieces_of(packed->vectors, job.vectors_a_task);
    const int blocks = smaller(pieces_of(packed->is_bfloat ? members_of(worker) : wanted, pairs), tiles);
    job.pixels_a_task = tiles / blocks * network->kernels.tile;
    job.blocks = pieces_of(job.pixels, job.pixels_a_task);
    job.is_whole = wanted == 1;
    share(worker, multiply_task, &job, job.is_whole ? 1 : job.blocks * pairs);
}

Filter filter_of(const Worker *worker, int number)
{
    const Step *step = &worker->session->network->program.step[number];
    const Packed *packed = &worker->session->network->packed[number];
    const int is_ghost = step->kind == GHOST;
    return (Filter){.kernel = step->kernel, .stride = step->stride, .has_relu = step->activation == RELU,
                    .weight = is_ghost ? packed->cheap_weight : packed->weight,
                    .bias = is_ghost ? packed->cheap_bias : packed->bias};
}

typedef struct {
    const Kernels *kernels;
    Filter filter;
    int rows_a_task, blocks;
} FilterJob;

static void filter_task(void *data, int number)
{
    const FilterJob *job = data;
    const int vector = number / job->blocks, first = number % job->blocks * job->rows_a_task;
    const long lane = (long)vector * job->kernels->lanes;
    Filter filter = job->filter;
    filter.from.data += vector * filter.from.plane;
    filter.to.data += vector * filter.to.plane;
    filter.add.data += filter.add.data ? vector * filter.add.plane : 0;
    filter.weight += lane * filter.kernel * filter.kernel;
    filter.bias += lane;
    job->kernels->filter(&filter, first, smaller(first + job->rows_a_task, filter.to.height), 1);
}

static void run_filter(Worker *worker, const Filter *filter, int vectors)
{
    FilterJob job = {&worker->session->network->kernels, *filter, 0, 0};
    const int wanted = pieces_of(wanted_tasks(worker), vectors);
    job.rows_a_task = pieces_of(filter->to.height, smaller(wanted, filter->to.height));
    job.blocks = pieces_of(filter->to.height, job.rows_a_task);
    share(worker, filter_task, &job, vectors * job.blocks);
}

static void run_depthwise(Worker *worker, int number)
{
    Filter filter = filter_of(worker, number);
    filter.from = map_of(worker, worker->session->network->program.step[number].from);
    filter.to = map_of(worker, number + 1);
    run_filter(worker, &filter, worker->session->network->packed[number].vectors);
}

static void run_ghost(Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const int vectors = network->packed[number].vectors;
    run_product(worker, number);
    Filter filter = filter_of(worker, number);
    filter.from = map_of(worker, number + 1);
    filter.to = half_of(worker, number + 1, filter.from);
    if (step->add != NONE) { /* ghosts come from features without the addend */
        filter.from.data = worker->space.plain;
        filter.add = half_of(worker, step->add, map_of(worker, step->add));
    }
    run_filter(worker, &filter, vectors);
}

typedef struct {
    const Kernels *kernels;
    Stem stem;
    int vectors, rows_a_task;
} StemJob;

static void stem_task(void *data, int number)
{
    const StemJob *job = data;
    const int first = number * job->rows_a_task;
    job->kernels->stem(&job->stem, first, smaller(first + job->rows_a_task, job->stem.to.height), job->vectors);
}

Stem stem_of(const Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    return (Stem){.image = worker->image, .channels = network->program.channels, .height = plan_of(worker)->height,
                  .width = plan_of(worker)->width, .weight = network->packed[number].weight,
                  .bias = network->packed[number].bias,
                  .has_relu = network->program.step[number].activation == RELU, .scratch = worker->scratch};
}

static void run_stem(Worker *worker, int number)
{
    StemJob job = {&worker->session->network->kernels, stem_of(worker, number),
                   worker->session->network->packed[number].vectors, 0};
    job.stem.to = map_of(worker, number + 1);
    job.rows_a_task = pieces_of(job.stem.to.height, smaller(wanted_tasks(worker), job.stem.to.height));
    share(worker, stem_task, &job, pieces_of(job.stem.to.height, job.rows_a_task));
}

typedef struct {
    const Kernels *kernels;
    const Layout *layout;
    Map from;
    float *to;
} MeanJob;

static void mean_task(void *data, int number)
{
    const MeanJob *job = data;
    const Layout *layout = job->layout;
    const int lanes = job->kernels->lanes, first = number % layout->part_vectors * lanes;
    float means[MOST_LANES];
    Map from = job->from;
    from.data += number * from.plane;
    job->kernels->mean(&from, 1, means);
    memcpy(job->to + number / layout->part_vectors * layout->part_channels + first, means,
           sizeof(float) * (size_t)smaller(lanes, layout->part_channels - first));
}

static void run_mean(Worker *worker, int number)
{
    const struct GhostNetwork *network = worker->session->network;
    const int from = network->program.step[number].from;
    MeanJob job = {&network->kernels, &network->layout[from], map_of(worker, from), vector_of(worker, number + 1)};
    share(worker, mean_task, &job, network->packed[number].vectors);
}

/* A linear layer for `pictures` pictures, whose vectors lie `distance` floats apart: each piece of the weights is
 * used for all of them while it is near. */
typedef struct {
    const Kernels *kernels;
    void (*run)(const Dense *job, int vectors);
    Dense dense;
    int pictures, vectors, vectors_a_task;
    long weight_pitch;
    size_t distance;
} DenseJob;

static void dense_task(void *data, int number)
{
    const DenseJob *job = data;
    const int first = number * job->vectors_a_task, last = smaller(first + job->vectors_a_task, job->vectors);
    for (int vector = first; vector < last; vector++)
        for (int picture = 0; picture < job->pictures; picture++) {
            const long lane = (long)vector * job->kernels->lanes;
            Dense dense = job->dense;
            dense.from += picture * job->distance;
            dense.to += picture * job->distance + lane;
            dense.weight += vector * job->weight_pitch;
            dense.bias += lane;
            job->run(&dense, 1);
        }
}

static void run_dense(Worker *worker, int number, int pictures)
{
    const struct GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    DenseJob job = {
        .kernels = &network->kernels,
        .run = packed->dense,
        .dense = {vector_of(worker, step->from), packed->weight, packed->bias, vector_of(worker, number + 1),
                  packed->depth, step->activation},
        .pictures = pictures,
        .vectors = packed->vectors,
        .weight_pitch = packed->weight_pitch,
        .distance = plan_of(worker)->vector_floats,
    };
    job.vectors_a_task = pieces_of(packed->vectors, smaller(wanted_tasks(worker), packed->vectors));
    share(worker, dense_task, &job, pieces_of(packed->vectors, job.vectors_a_task));
}

typedef struct {
    const float *from;
    float *to;
    int count;
    size_t distance;
} SoftmaxJob;

static void softmax_task(void *data, int number)
{
    const SoftmaxJob *job = data;
    const float *from = job->from + number * job->distance;
    float *to = job->to + number * job->distance, highest = from[0], sum = 0.0f;
    for (int i = 1; i < job->count; i++)
        highest = from[i] > highest ? from[i] : highest;
    for (int i = 0; i < job->count; i++)
        sum += to[i] = expf(from[i] - highest);
    for (int i = 0; i < job->count; i++)
        to[i] /= sum;
}

static void run_softmax(Worker *worker, int number, int pictures)
{
    const int from = worker->session->network->program.step[number].from;
    SoftmaxJob job = {vector_of(worker, from), vector_of(worker, number + 1),
                      worker->session->network->program.value[from].channels, plan_of(worker)->vector_floats};
    share(worker, softmax_task, &job, pictures);
}

static void run_step(Worker *worker, int number, int pictures)
{
    switch (worker->session->network->program.step[number].kind) {
    case STEM: run_stem(worker, number); break;
    case POINTWISE: run_product(worker, number); break;
    case DEPTHWISE: run_depthwise(worker, number); break;
    case GHOST: run_ghost(worker, number); break;
    case MEAN: run_mean(worker, number); break;
    case DENSE: run_dense(worker, number, pictures); break;
    case SOFTMAX: run_softmax(worker, number, pictures); break;
    }
}

void run_steps(Worker *worker, int first, int last, int pictures)
{
    const Plan *plan = plan_of(worker);
    int next = 0;
    worker->ahead.current = 0;
    worker->ahead.span[0].next = NULL;
    worker->ahead_step = first;
    for (int number = first; number < last;) {
        while (next < plan->rolls && plan->roll[next].first < number)
            next++;
        look_ahead(worker, number);
        if (next < plan->rolls && plan->roll[next].first == number) {
            run_roll(worker, &plan->roll[next]);
            number = plan->roll[next].last;
        } else
            run_step(worker, number++, pictures);
    }
}
