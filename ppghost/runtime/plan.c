/* Give every map of a network its place: places of maps that are needed at the same time do not overlap. */
#include "plan.h"

enum { SLACK = 64 }; /* floats behind each value: a last vector may be read beyond it */

static const size_t most_floats = (size_t)1 << 33;

typedef struct {
    size_t offset, floats;
    int first, last; /* steps at which the map lives */
} Stay;

static int last_use(const Program *program, int value)
{
    int last = value - 1;
    for (int i = value; i < program->steps; i++)
        if (program->step[i].from == value || program->step[i].add == value)
            last = i;
    return last;
}

/* Put a map at the lowest place where no map lies that lives at the same time. */
static void place(Stay *stays, int count, Stay *stay)
{
    stay->offset = 0;
    for (int i = 0; i < count; i++) {
        const Stay *other = &stays[i];
        const int meets = other->first <= stay->last && stay->first <= other->last;
        if (meets && other->offset < stay->offset + stay->floats && stay->offset < other->offset + other->floats) {
            stay->offset = other->offset + other->floats;
            i = -1; /* look at all of them again from the new place */
        }
    }
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static int place_values(const struct GhostNetwork *network, Plan *plan)
{
    const Program *program = &network->program;
    Stay stays[MOST_STEPS];
    int count = 0;
    for (int v = 1; v <= program->steps; v++) {
        const size_t pixels = (size_t)plan->value[v].height * plan->value[v].width;
        if (!program->value[v].is_map) {
            plan->value[v].offset = plan->vector_floats;
            plan->vector_floats += ((size_t)program->value[v].channels + 2 * SLACK) / SLACK * SLACK;
            continue;
        }
        Stay stay = {0, pixels * (size_t)network->layout[v].pitch + SLACK, v - 1, last_use(program, v)};
        stay.floats = (stay.floats + SLACK - 1) / SLACK * SLACK;
        place(stays, count, &stay);
        stays[count++] = stay;
        plan->value[v].offset = stay.offset;
        plan->map_floats = larger(plan->map_floats, stay.offset + stay.floats);
        if (plan->map_floats > most_floats)
            return -1;
    }
    return 0;
}

int make_plan(const struct GhostNetwork *network, int height, int width, Plan *plan)
{
    const Program *program = &network->program;
    *plan = (Plan){.height = height, .width = width};
    for (int v = 0; v <= program->steps; v++) {
        int *sides[2] = {&plan->value[v].height, &plan->value[v].width};
        plan->value[v].height = height;
        plan->value[v].width = width;
        for (int side = 0; side < 2; side++)
            for (int level = 0; level < program->value[v].level && *sides[side] > 1; level++)
                *sides[side] = (*sides[side] + 1) / 2;
    }
    for (int i = 0; i < program->steps; i++) {
        const size_t lanes = (size_t)network->packed[i].vectors * network->kernels->lanes;
        const size_t pixels = (size_t)plan->value[i + 1].height * plan->value[i + 1].width;
        if (program->step[i].gate != NONE)
            plan->scaled_floats = larger(plan->scaled_floats, lanes * network->packed[i].depth);
        if (program->step[i].add != NONE)
            plan->plain_floats = larger(plan->plain_floats, lanes * pixels);
    }
    plan->scratch_floats = (size_t)program->channels * 3 * ((size_t)width + 2) + SLACK;
    return place_values(network, plan);
}
