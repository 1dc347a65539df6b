/* Open networks, start sessions, run programs step by step. */
#include "engine.h"

#include "session.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_PROGRAM_BYTES = 1 << 20,
    MOST_THREADS = 256,
    MOST_SIDE = 1 << 14,
    CHUNK = 16 /* pictures whose vectors are kept at once */
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

/* Set the kernels of a network. */
static int set_kernels(GhostNetwork *network, const char *precision, const char *most, Complaint complaint)
{
    const Instructions *instructions = choose_instructions(most);
    if (!instructions)
        return complain(complaint, "Instruction set '%.40s' is not known here. Accepted: avx512, avx2, baseline.", most);
    network->kernels = *instructions->kernels;
    network->instructions = instructions->name;
    network->is_bfloat = !strcmp(precision, "bf16");
    if (!network->is_bfloat)
        return strcmp(precision, "fp32")
                   ? complain(complaint, "Precision '%.40s' is not known. Accepted: fp32, bf16.", precision)
                   : 0;
    if (strcmp(instructions->name, "avx512") || !ghost_has_bf16())
        return complain(complaint, "bf16 needs a processor with AVX-512 and AMX tiles and a system that lets programs "
                                   "use them; here it is not to be had. Use fp32.");
    return 0;
}

static int read_network(GhostNetwork *network, const char *program_path, const char *weights_path, Complaint complaint)
{
    size_t text_bytes = 0, weight_bytes = 0;
    char *text = read_file(program_path, MOST_PROGRAM_BYTES, &text_bytes, complaint);
    char *content = text ? read_file(weights_path, (size_t)1 << 32, &weight_bytes, complaint) : NULL;
    int failed = !content || parse_program(text, weight_bytes, &network->program, complaint);
    if (!failed) {
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
    GhostNetwork *network = calloc(1, sizeof *network);
    if (!network) {
        complain(complaint, "There is no memory for the program.");
        return NULL;
    }
    atomic_init(&network->references, 1);
    if (set_kernels(network, precision, most, complaint) || read_network(network, program, weights, complaint)) {
        ghost_close(network);
        return NULL;
    }
    return network;
}

int ghost_has_bf16(void)
{
    const Instructions *instructions = choose_instructions("");
    return instructions && !strcmp(instructions->name, "avx512") && ghost_bfloat_is_here();
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

static void forget_plan(GhostSession *session)
{
    team_settle(session->team);
    for (int rank = 0; rank < team_size(session->team); rank++) {
        free(session->workspaces[rank].maps);
        free(session->workspaces[rank].plain);
        free(session->scratch[rank]);
        session->workspaces[rank] = (Workspace){0};
        session->scratch[rank] = NULL;
    }
    free(session->vectors);
    session->vectors = NULL;
    session->pictures = 0;
    session->plans[0].height = 0;
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
        session->plans = calloc(2, sizeof *session->plans);
    }
    if (!team || !session->workspaces || !session->scratch || !session->plans) {
        complain(complaint, "The system gives no memory or no thread for a session with %d threads.", threads);
        team_stop(team);
        if (session) {
            free(session->workspaces);
            free(session->scratch);
            free(session->plans);
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
    free(session->plans);
    ghost_close(session->network);
    free(session);
}

/* Make sure that there is memory for so many pictures at once and for so many members that work alone. */
static int provide_memory(GhostSession *session, int pictures, int members)
{
    const Plan *one = &session->plans[0], *all = &session->plans[1];
    for (int rank = 0; rank < team_size(session->team); rank++) {
        Workspace *space = &session->workspaces[rank];
        float **scratch = &session->scratch[rank];
        if (!*scratch && !(*scratch = allocate_floats(larger(one->scratch_floats, all->scratch_floats))))
            return -1;
        if (rank < members && !space->maps) {
            space->maps = allocate_floats(larger(one->map_floats, all->map_floats));
            space->plain = allocate_floats(larger(one->plain_floats, all->plain_floats));
            if (!space->maps || !space->plain)
                return -1;
        }
    }
    if (pictures > session->pictures) {
        team_settle(session->team);
        free(session->vectors);
        session->vectors = allocate_floats((size_t)pictures * one->vector_floats);
        session->pictures = session->vectors ? pictures : 0;
    }
    return session->vectors ? 0 : -1;
}

/* Make the plans for pictures of a size, unless they are there. */
static int prepare(GhostSession *session, int height, int width)
{
    if (session->plans[0].height == height && session->plans[0].width == width)
        return 0;
    forget_plan(session);
    if (!make_plan(session->network, height, width, 1, &session->plans[0])
        && !make_plan(session->network, height, width, team_size(session->team), &session->plans[1]))
        return 0;
    session->plans[0].height = 0;
    return -1;
}

/* ------------------------------------------------------------------ a run */

typedef struct {
    GhostSession *session;
    const float *images;
    int pictures, alone; /* the first `alone` pictures are each worked on by one member alone */
} Run;

static void work(const void *data, int rank, uint64_t phase)
{
    const Run *run = data;
    GhostSession *session = run->session;
    const Plan *plan = &session->plans[0];
    const Program *program = &session->network->program;
    const size_t image_floats = (size_t)program->channels * plan->height * plan->width;
    Worker worker = {.session = session, .rank = rank, .phase = phase, .scratch = session->scratch[rank]};
    int picture;
    if (run->alone) {
        worker.is_alone = 1;
        worker.space = session->workspaces[rank];
        while ((picture = team_draw(session->team, rank, phase, run->alone)) >= 0) {
            worker.image = run->images + picture * image_floats;
            worker.vectors = session->vectors + picture * plan->vector_floats;
            run_steps(&worker, 0, session->network->tail, 1);
            team_finish(session->team, phase, run->alone);
        }
        team_wait(session->team, worker.phase++);
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
    if (batch < 0 || height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE)
        return complain(complaint, "A batch of %d pictures of %d x %d is not possible. Accepted: sides from 1 to %d.",
                        batch, height, width, MOST_SIDE);
    if (prepare(session, height, width))
        return complain(complaint, "Pictures of %d x %d are too large for this network.", height, width);
    const Plan *plan = &session->plans[0];
    const size_t image_floats = (size_t)program->channels * height * width;
    const int members = team_size(session->team);
    for (int first = 0; first < batch; first += CHUNK) {
        Run run = {session, images + first * image_floats, smaller(CHUNK, batch - first), 0};
        run.alone = members > 1 ? run.pictures / members * members : 0;
        if (provide_memory(session, run.pictures, run.alone ? members : 1)) {
            forget_plan(session);
            return complain(complaint, "There is no memory to work on pictures of %d x %d.", height, width);
        }
        team_run(session->team, work, &run, sizeof run);
        for (int i = 0; i < run.pictures; i++)
            memcpy(scores + (size_t)(first + i) * program->classes,
                   session->vectors + i * plan->vector_floats + plan->value[program->steps].offset,
                   sizeof(float) * program->classes);
    }
    return 0;
}
