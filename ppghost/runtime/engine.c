/* Open networks, start sessions, run programs step by step. */
#include "engine.h"

#include "plan.h"
#include "pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_PROGRAM_BYTES = 1 << 20,
    MOST_THREADS = 256,
    MOST_SIDE = 1 << 14,
    CHUNK = 16,            /* pictures whose vectors are kept at once */
    TASKS_FOR_A_MEMBER = 4 /* pieces of a step: few enough to stay large, enough to even out */
};

/* ------------------------------------------------------------------ networks */

typedef struct {
    const char *name;
    const Kernels *kernels;
} Instructions;

/* Best first. */
static const Instructions all_instructions[] = {
#if defined(__x86_64__)
    {"avx512", &ghost_kernels_avx512},
    {"avx2", &ghost_kernels_avx2},
#endif
    {"baseline", &ghost_kernels_baseline},
};

enum { SETS = sizeof all_instructions / sizeof all_instructions[0] };

static int is_supported(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f");
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return !strcmp(name, "baseline");
}

static const Instructions *choose_instructions(const char *most)
{
    int allowed = !*most;
    for (int set = 0; set < SETS; set++) {
        allowed = allowed || !strcmp(all_instructions[set].name, most);
        if (allowed && is_supported(all_instructions[set].name))
            return &all_instructions[set];
    }
    return NULL;
}

static int read_network(GhostNetwork *network, const char *program_path, const char *weights_path, const char *most,
                        Complaint complaint)
{
    const Instructions *instructions = choose_instructions(most);
    if (!instructions)
        return complain(complaint, "Instruction set '%.40s' is not known here. Accepted: avx512, avx2, baseline.", most);
    size_t text_bytes = 0, weight_bytes = 0;
    char *text = read_file(program_path, MOST_PROGRAM_BYTES, &text_bytes, complaint);
    char *content = text ? read_file(weights_path, (size_t)1 << 32, &weight_bytes, complaint) : NULL;
    int failed = !content || parse_program(text, weight_bytes, &network->program, complaint);
    if (!failed) {
        network->kernels = instructions->kernels;
        network->instructions = instructions->name;
        failed = pack_network(network, content);
        if (failed)
            complain(complaint, "There is no memory for the weights of %s.", weights_path);
    }
    free(text);
    free(content);
    return failed ? -1 : 0;
}

GhostNetwork *ghost_open(const char *program, const char *weights, const char *precision, const char *most, char *error,
                         size_t error_size)
{
    const Complaint complaint = {error, error_size};
    if (strcmp(precision, "fp32")) {
        complain(complaint, "Precision '%.40s' is not known. Accepted: fp32.", precision);
        return NULL;
    }
    GhostNetwork *network = calloc(1, sizeof *network);
    if (!network) {
        complain(complaint, "There is no memory for the program.");
        return NULL;
    }
    atomic_init(&network->references, 1);
    if (read_network(network, program, weights, most, complaint)) {
        ghost_close(network);
        return NULL;
    }
    return network;
}

GhostFacts ghost_facts(const GhostNetwork *network)
{
    return (GhostFacts){network->program.channels, network->program.classes, network->instructions,
                        network->weight_bytes};
}

void ghost_close(GhostNetwork *network)
{
    if (!network || atomic_fetch_sub(&network->references, 1) > 1)
        return;
    free(network->weights);
    free(network);
}

/* ------------------------------------------------------------------ sessions */

/* Memory in which one picture at a time is worked on. */
typedef struct {
    float *maps, *scaled, *plain;
} Workspace;

struct GhostSession {
    GhostNetwork *network;
    Team *team;
    Plan plan;
    int pictures;          /* whose vectors there is memory for */
    float *vectors;
    Workspace *workspaces; /* one for each member; a member's own is made when it works alone */
    float **scratch;
};

static void forget_plan(GhostSession *session)
{
    for (int rank = 0; rank < team_size(session->team); rank++) {
        free(session->workspaces[rank].maps);
        free(session->workspaces[rank].scaled);
        free(session->workspaces[rank].plain);
        free(session->scratch[rank]);
        session->workspaces[rank] = (Workspace){0};
        session->scratch[rank] = NULL;
    }
    free(session->vectors);
    session->vectors = NULL;
    session->pictures = 0;
    session->plan.height = 0;
}

GhostSession *ghost_start(GhostNetwork *network, int threads, char *error, size_t error_size)
{
    const Complaint complaint = {error, error_size};
    if (threads < 1 || threads > MOST_THREADS) {
        complain(complaint, "%d threads are not possible. Accepted: 1 to %d.", threads, MOST_THREADS);
        return NULL;
    }
    GhostSession *session = calloc(1, sizeof *session);
    Team *team = session ? team_start(threads) : NULL;
    if (team) {
        session->team = team;
        session->workspaces = calloc((size_t)threads, sizeof *session->workspaces);
        session->scratch = calloc((size_t)threads, sizeof *session->scratch);
    }
    if (!team || !session->workspaces || !session->scratch) {
        complain(complaint, "The system gives no memory or no thread for a session with %d threads.", threads);
        team_stop(team);
        if (session) {
            free(session->workspaces);
            free(session->scratch);
        }
        free(session);
        return NULL;
    }
    session->network = network;
    atomic_fetch_add(&network->references, 1);
    return session;
}

void ghost_stop(GhostSession *session)
{
    if (!session)
        return;
    forget_plan(session);
    team_stop(session->team);
    free(session->workspaces);
    free(session->scratch);
    ghost_close(session->network);
    free(session);
}

/* Make sure that there is memory for so many pictures at once and for so many members that work alone. */
static int provide_memory(GhostSession *session, int pictures, int members)
{
    const Plan *plan = &session->plan;
    for (int rank = 0; rank < team_size(session->team); rank++) {
        Workspace *space = &session->workspaces[rank];
        if (!session->scratch[rank] && !(session->scratch[rank] = allocate_floats(plan->scratch_floats)))
            return -1;
        if (rank < members && !space->maps) {
            space->maps = allocate_floats(plan->map_floats);
            space->scaled = allocate_floats(plan->scaled_floats);
            space->plain = allocate_floats(plan->plain_floats);
            if (!space->maps || !space->scaled || !space->plain)
                return -1;
        }
    }
    if (pictures > session->pictures) {
        free(session->vectors);
        session->vectors = allocate_floats((size_t)pictures * plan->vector_floats);
        session->pictures = session->vectors ? pictures : 0;
    }
    return session->vectors ? 0 : -1;
}

/* ------------------------------------------------------------------ sharing work */

/* A member of the team at work, on a picture of its own or on one that the team shares. */
typedef struct {
    GhostSession *session;
    int is_alone;
    Workspace space;
    float *scratch;
    const float *image;
    float *vectors; /* of the picture */
} Worker;

typedef void (*Task)(void *job, int number);

/* Do the tasks [0, count): all of them alone, or as many as come to this member. */
static void share(const Worker *worker, Task task, void *job, int count)
{
    Team *team = worker->session->team;
    if (worker->is_alone || team_size(team) == 1) {
        for (int number = 0; number < count; number++)
            task(job, number);
        return;
    }
    for (int number; (number = team_draw(team)) < count;)
        task(job, number);
    team_meet(team);
}

static int pieces_of(int count, int size) { return (count + size - 1) / size; }
static int smaller(int a, int b) { return a < b ? a : b; }

/* How many tasks a step should have at least. */
static int wanted_tasks(const Worker *worker)
{
    return worker->is_alone || team_size(worker->session->team) == 1
               ? 1
               : team_size(worker->session->team) * TASKS_FOR_A_MEMBER;
}

/* ------------------------------------------------------------------ steps */

static Map map_of(const Worker *worker, int value)
{
    const Plan *plan = &worker->session->plan;
    const int height = plan->value[value].height;
    return (Map){worker->space.maps + plan->value[value].offset, worker->session->network->layout[value].pitch, height,
                 plan->value[value].width, height};
}

static float *vector_of(const Worker *worker, int value)
{
    return worker->vectors + worker->session->plan.value[value].offset;
}

typedef struct {
    const Kernels *kernels;
    Product product;
    int pixels, pixels_a_task, blocks, vectors;
    int is_whole; /* there is one task */
} ProductJob;

static void multiply_task(void *data, int number)
{
    const ProductJob *job = data;
    Product product = job->product;
    const long depth = (long)product.parts * product.part_channels, lanes = job->kernels->lanes;
    const int pixel = number % job->blocks * job->pixels_a_task;
    int vector = 0, vectors = job->vectors;
    if (!job->is_whole) {
        vector = number / job->blocks * 2;
        vectors = smaller(2, job->vectors - vector);
    }
    product.from += pixel * product.from_pitch;
    product.weight += vector * depth * lanes;
    product.bias += vector * lanes;
    product.to += pixel * product.to_pitch + vector * lanes;
    product.add += product.add ? pixel * product.add_pitch + vector * lanes : 0;
    product.plain += product.plain ? pixel * product.plain_pitch + vector * lanes : 0;
    job->kernels->multiply(&product, smaller(job->pixels_a_task, job->pixels - pixel), vectors);
}

typedef struct {
    const Kernels *kernels;
    const float *weight, *gate;
    float *to;
    int depth;
} ScaleJob;

static void scale_task(void *data, int number)
{
    const ScaleJob *job = data;
    const long offset = (long)number * job->depth * job->kernels->lanes;
    job->kernels->scale(job->weight + offset, job->gate, job->to + offset, job->depth, 1);
}

/* The gated weights of a step, or its weights as they are. */
static const float *weights_of(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const Packed *packed = &network->packed[number];
    const int gate = network->program.step[number].gate;
    if (gate == NONE)
        return packed->weight;
    ScaleJob job = {network->kernels, packed->weight, vector_of(worker, gate), worker->space.scaled, packed->depth};
    share(worker, scale_task, &job, packed->vectors);
    return worker->space.scaled;
}

/* Do the 1x1 convolution of a step, for a ghost module into the first half of its map. */
static void run_product(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    const Layout *layout = &network->layout[step->from];
    const Map from = map_of(worker, step->from), to = map_of(worker, number + 1);
    ProductJob job = {
        .kernels = network->kernels,
        .product = {.from = from.data, .from_pitch = from.pitch, .part_pitch = layout->part_pitch,
                    .parts = layout->parts, .part_channels = layout->part_channels,
                    .weight = weights_of(worker, number), .bias = packed->bias,
                    .to = to.data, .to_pitch = to.pitch, .has_relu = step->activation == RELU},
        .pixels = to.height * to.width,
        .vectors = packed->vectors,
    };
    if (step->add != NONE) {
        const Map add = map_of(worker, step->add);
        job.product.add = add.data;
        job.product.add_pitch = add.pitch;
        job.product.plain = worker->space.plain;
        job.product.plain_pitch = (long)packed->vectors * network->kernels->lanes;
    }
    const int pairs = pieces_of(packed->vectors, 2), tile = network->kernels->tile, wanted = wanted_tasks(worker);
    job.blocks = smaller(pieces_of(wanted, pairs), pieces_of(job.pixels, tile));
    job.pixels_a_task = pieces_of(pieces_of(job.pixels, job.blocks), tile) * tile;
    job.blocks = pieces_of(job.pixels, job.pixels_a_task);
    job.is_whole = wanted == 1;
    share(worker, multiply_task, &job, job.is_whole ? 1 : job.blocks * pairs);
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
    filter.from.data += lane;
    filter.to.data += lane;
    filter.add.data += filter.add.data ? lane : 0;
    filter.weight += lane * filter.kernel * filter.kernel;
    filter.bias += lane;
    job->kernels->filter(&filter, first, smaller(first + job->rows_a_task, filter.to.height), 1);
}

static void run_filter(const Worker *worker, const Filter *filter, int vectors)
{
    FilterJob job = {worker->session->network->kernels, *filter, 0, 0};
    const int wanted = pieces_of(wanted_tasks(worker), vectors);
    job.rows_a_task = pieces_of(filter->to.height, smaller(wanted, filter->to.height));
    job.blocks = pieces_of(filter->to.height, job.rows_a_task);
    share(worker, filter_task, &job, vectors * job.blocks);
}

static void run_depthwise(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    const Filter filter = {.from = map_of(worker, step->from), .to = map_of(worker, number + 1),
                           .kernel = step->kernel, .stride = step->stride, .weight = packed->weight,
                           .bias = packed->bias, .has_relu = step->activation == RELU};
    run_filter(worker, &filter, packed->vectors);
}

static void run_ghost(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    run_product(worker, number);
    Filter filter = {.from = map_of(worker, number + 1), .to = map_of(worker, number + 1),
                     .kernel = step->kernel, .stride = 1, .weight = packed->cheap_weight,
                     .bias = packed->cheap_bias, .has_relu = step->activation == RELU};
    filter.to.data += network->layout[number + 1].half;
    if (step->add != NONE) { /* ghosts come from features without the addend */
        filter.from.data = worker->space.plain;
        filter.from.pitch = (long)packed->vectors * network->kernels->lanes;
        filter.add = map_of(worker, step->add);
        filter.add.data += network->layout[step->add].half;
    }
    run_filter(worker, &filter, packed->vectors);
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

static void run_stem(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const Packed *packed = &network->packed[number];
    const Plan *plan = &worker->session->plan;
    StemJob job = {
        .kernels = network->kernels,
        .stem = {.image = worker->image, .channels = network->program.channels, .height = plan->height,
                 .width = plan->width, .weight = packed->weight, .bias = packed->bias,
                 .to = map_of(worker, number + 1), .has_relu = network->program.step[number].activation == RELU,
                 .scratch = worker->scratch},
        .vectors = packed->vectors,
    };
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
    const long lane = (long)number * job->kernels->lanes;
    const long part = lane / job->layout->part_pitch, first = lane % job->layout->part_pitch;
    float sums[MOST_LANES];
    Map from = job->from;
    from.data += lane;
    job->kernels->mean(&from, 1, sums);
    const long count = job->layout->part_channels - first;
    memcpy(job->to + part * job->layout->part_channels + first, sums,
           sizeof(float) * (size_t)(count < job->kernels->lanes ? count : job->kernels->lanes));
}

static void run_mean(const Worker *worker, int number)
{
    const GhostNetwork *network = worker->session->network;
    const int from = network->program.step[number].from;
    MeanJob job = {network->kernels, &network->layout[from], map_of(worker, from), vector_of(worker, number + 1)};
    share(worker, mean_task, &job, network->packed[number].vectors);
}

/* A linear layer for `pictures` pictures, whose vectors lie `distance` floats apart: each piece of the weights is
 * used for all of them while it is near. */
typedef struct {
    const Kernels *kernels;
    Dense dense;
    int pictures, vectors, vectors_a_task;
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
            dense.weight += lane * dense.depth;
            dense.bias += lane;
            job->kernels->dense(&dense, 1);
        }
}

static void run_dense(const Worker *worker, int number, int pictures)
{
    const GhostNetwork *network = worker->session->network;
    const Step *step = &network->program.step[number];
    const Packed *packed = &network->packed[number];
    DenseJob job = {
        .kernels = network->kernels,
        .dense = {vector_of(worker, step->from), packed->weight, packed->bias, vector_of(worker, number + 1),
                  packed->depth, step->activation},
        .pictures = pictures,
        .vectors = packed->vectors,
        .distance = worker->session->plan.vector_floats,
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

static void run_softmax(const Worker *worker, int number, int pictures)
{
    const int from = worker->session->network->program.step[number].from;
    SoftmaxJob job = {vector_of(worker, from), vector_of(worker, number + 1),
                      worker->session->network->program.value[from].channels, worker->session->plan.vector_floats};
    share(worker, softmax_task, &job, pictures);
}

/* Run the steps [first, last); those that read maps do so for one picture. */
static void run_steps(const Worker *worker, int first, int last, int pictures)
{
    for (int number = first; number < last; number++)
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

/* ------------------------------------------------------------------ a run */

typedef struct {
    GhostSession *session;
    const float *images;
    int pictures, alone; /* the first `alone` pictures are each worked on by one member alone */
} Run;

static void work(void *data, int rank)
{
    const Run *run = data;
    GhostSession *session = run->session;
    const Plan *plan = &session->plan;
    const Program *program = &session->network->program;
    const size_t image_floats = (size_t)program->channels * plan->height * plan->width;
    Worker worker = {.session = session, .scratch = session->scratch[rank]};
    int picture = run->alone;
    if (run->alone) {
        worker.is_alone = 1;
        worker.space = session->workspaces[rank];
        while ((picture = team_draw(session->team)) < run->alone) {
            worker.image = run->images + picture * image_floats;
            worker.vectors = session->vectors + picture * plan->vector_floats;
            run_steps(&worker, 0, session->network->tail, 1);
        }
        team_meet(session->team);
    }
    worker.is_alone = 0;
    worker.space = session->workspaces[0];
    for (picture = run->alone; picture < run->pictures; picture++) {
        worker.image = run->images + picture * image_floats;
        worker.vectors = session->vectors + picture * plan->vector_floats;
        run_steps(&worker, 0, session->network->tail, 1);
    }
    worker.vectors = session->vectors;
    run_steps(&worker, session->network->tail, program->steps, run->pictures);
}

int ghost_run(GhostSession *session, const float *images, int batch, int height, int width, float *scores, char *error,
              size_t error_size)
{
    const Complaint complaint = {error, error_size};
    const Program *program = &session->network->program;
    Plan *plan = &session->plan;
    if (batch < 0 || height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE)
        return complain(complaint, "A batch of %d pictures of %d x %d is not possible. Accepted: sides from 1 to %d.",
                        batch, height, width, MOST_SIDE);
    if (plan->height != height || plan->width != width) {
        forget_plan(session);
        if (make_plan(session->network, height, width, plan)) {
            plan->height = 0;
            return complain(complaint, "Pictures of %d x %d are too large for this network.", height, width);
        }
    }
    const size_t image_floats = (size_t)program->channels * height * width;
    const int members = team_size(session->team);
    for (int first = 0; first < batch; first += CHUNK) {
        Run run = {session, images + first * image_floats, smaller(CHUNK, batch - first), 0};
        run.alone = members > 1 ? run.pictures / members * members : 0;
        if (provide_memory(session, run.pictures, run.alone ? members : 1)) {
            forget_plan(session);
            return complain(complaint, "There is no memory to work on pictures of %d x %d.", height, width);
        }
        team_run(session->team, work, &run);
        for (int i = 0; i < run.pictures; i++)
            memcpy(scores + (size_t)(first + i) * program->classes,
                   session->vectors + i * plan->vector_floats + plan->value[program->steps].offset,
                   sizeof(float) * program->classes);
    }
    return 0;
}
