/* Choose the steps that are rolled, and give every value its place: places of maps that are needed at the same time
 * do not overlap. */
#include "plan.h"

enum {
    SLACK = 64,               /* floats behind each value: a last vector may be read beyond it */
    FLOATS_OF_A_ROLL = 150000 /* a map of this size is worth rolling */
};

static const size_t most_floats = (size_t)1 << 33;

static size_t rounded(size_t floats) { return (floats + 2 * SLACK - 1) / SLACK * SLACK; }

static size_t floats_of(const struct GhostNetwork *network, const Plan *plan, int value)
{
    return (size_t)plan->value[value].height * plan->value[value].width * network->layout[value].vectors
           * network->kernels.lanes;
}

/* ------------------------------------------------------------------ rolls */

static int is_rollable(const Step *step)
{
    const int is_rowwise = step->kind == STEM || step->kind == POINTWISE || step->kind == DEPTHWISE || step->kind == GHOST;
    return is_rowwise && step->gate == NONE;
}

static int is_used(const Program *program, int value, int first, int last)
{
    for (int i = first; i < last; i++)
        if (program->step[i].from == value || program->step[i].add == value)
            return 1;
    return 0;
}

/* Tell how many values the steps [first, last) leave behind; 0 if they cannot be rolled. */
static int count_left(const Program *program, const Plan *plan, int first, int last)
{
    int left = 0;
    for (int value = first + 1; value <= last; value++)
        if (is_used(program, value, last, program->steps)) {
            if (plan->value[value].height != plan->value[last].height || is_used(program, value, first, last))
                return 0;
            left++;
        }
    return left;
}

/* Return where a roll that begins at `first` ends, or `first` if there is none. */
static int end_of_roll(const struct GhostNetwork *network, const Plan *plan, int first)
{
    const Program *program = &network->program;
    int end = first;
    for (int last = first; last < program->steps && is_rollable(&program->step[last]);) {
        const int from = program->step[last].from;
        const int is_worth = floats_of(network, plan, ++last) >= FLOATS_OF_A_ROLL
                             || (from && floats_of(network, plan, from) >= FLOATS_OF_A_ROLL);
        const int left = is_worth ? count_left(program, plan, first, last) : 0;
        if (!left)
            continue;
        end = last;
        if (left == 1 && program->value[last].level > program->value[first + 1].level)
            break; /* a seam here costs less than the rows made twice on a longer way */
    }
    return end - first > 1 ? end : first;
}

static void choose_rolls(const struct GhostNetwork *network, int members, Plan *plan)
{
    const Program *program = &network->program;
    for (int first = 0; first < program->steps && plan->rolls < MOST_ROLLS;) {
        const int end = end_of_roll(network, plan, first);
        if (end > first) {
            const Roll roll = {first, end, plan->value[end].height};
            for (int value = first + 1; value <= end; value++)
                plan->value[value].is_left = is_used(program, value, end, program->steps);
            rehearse_roll(network, plan, &roll, 1);
            rehearse_roll(network, plan, &roll, members);
            plan->roll[plan->rolls++] = roll;
        }
        first = end > first ? end : first + 1;
    }
}

/* Give the windows of the rolls their places in scratch, behind the padded rows of the picture. */
static void place_windows(const struct GhostNetwork *network, Plan *plan)
{
    const size_t begin = rounded((size_t)network->program.channels * 3 * ((size_t)plan->width + 2));
    plan->scratch_floats = begin;
    for (int i = 0; i < plan->rolls; i++) {
        size_t next = begin;
        for (int value = plan->roll[i].first + 1; value <= plan->roll[i].last; value++) {
            Place *place = &plan->value[value];
            const Layout *layout = &network->layout[value];
            const size_t row = (size_t)place->width * network->kernels.lanes;
            if (place->rows) {
                place->offset = next;
                next += rounded(row * place->rows * layout->vectors);
            }
            if (place->plain_rows) {
                place->plain_offset = next;
                next += rounded(row * place->plain_rows * layout->part_vectors);
            }
        }
        plan->scratch_floats = larger(plan->scratch_floats, next);
    }
}

/* ------------------------------------------------------------------ maps */

typedef struct {
    size_t offset, floats;
    int first, last; /* steps at which the map lives */
} Stay;

/* The step at which a value begins or, for one that a roll leaves behind, the roll's first; and its last use. */
static Stay stay_of(const struct GhostNetwork *network, const Plan *plan, int value)
{
    const Program *program = &network->program;
    Stay stay = {0, rounded(floats_of(network, plan, value)), value - 1, value - 1};
    for (int i = value; i < program->steps; i++)
        if (program->step[i].from == value || program->step[i].add == value)
            stay.last = i;
    for (int i = 0; i < plan->rolls; i++) { /* all of a roll happens at the same time */
        const Roll *roll = &plan->roll[i];
        if (stay.first >= roll->first && stay.first < roll->last)
            stay.first = roll->first;
        if (stay.last >= roll->first && stay.last < roll->last)
            stay.last = roll->last - 1;
    }
    return stay;
}

/* Put a map at the lowest place where no map lies that lives at the same time. */
static void place(const Stay *stays, int count, Stay *stay)
{
    for (int i = 0; i < count; i++) {
        const Stay *other = &stays[i];
        const int meets = other->first <= stay->last && stay->first <= other->last;
        if (meets && other->offset < stay->offset + stay->floats && stay->offset < other->offset + other->floats) {
            stay->offset = other->offset + other->floats;
            i = -1; /* look at all of them again from the new place */
        }
    }
}

static int place_values(const struct GhostNetwork *network, Plan *plan)
{
    const Program *program = &network->program;
    Stay stays[MOST_STEPS];
    int count = 0;
    for (int value = 1; value <= program->steps; value++) {
        if (!program->value[value].is_map) {
            plan->value[value].offset = plan->vector_floats;
            plan->vector_floats += rounded(program->value[value].channels);
            continue;
        }
        if (floats_of(network, plan, value) > most_floats)
            return -1;
        if (plan->value[value].rows)
            continue;
        Stay stay = stay_of(network, plan, value);
        place(stays, count, &stay);
        stays[count++] = stay;
        plan->value[value].offset = stay.offset;
        plan->map_floats = larger(plan->map_floats, stay.offset + stay.floats);
        if (plan->map_floats > most_floats)
            return -1;
    }
    return 0;
}

/* Floats of scratch that a step takes to pack pixels in bfloat16. */
static size_t pack_floats(const struct GhostNetwork *network, int number)
{
    const Layout *from = &network->layout[network->program.step[number].from];
    return rounded((size_t)(from->parts * from->part_vectors + 1) / 2 * GHOST_BFLOAT_PIXELS * network->kernels.lanes);
}

static int halved(int side, int times)
{
    while (times-- && side > 1)
        side = (side + 1) / 2;
    return side;
}

int make_plan(const struct GhostNetwork *network, int height, int width, int members, Plan *plan)
{
    const Program *program = &network->program;
    *plan = (Plan){.height = height, .width = width};
    for (int value = 0; value <= program->steps; value++) {
        plan->value[value].height = halved(height, program->value[value].level);
        plan->value[value].width = halved(width, program->value[value].level);
    }
    choose_rolls(network, members, plan);
    for (int i = 0; i < program->steps; i++) {
        const size_t lanes = (size_t)network->packed[i].vectors * network->kernels.lanes;
        const size_t pixels = (size_t)plan->value[i + 1].height * plan->value[i + 1].width;
        if (program->step[i].add != NONE && !plan->value[i + 1].plain_rows)
            plan->plain_floats = larger(plan->plain_floats, lanes * pixels);
    }
    place_windows(network, plan);
    plan->pack_offset = plan->scratch_floats;
    for (int i = 0; network->is_bfloat && i < program->steps; i++)
        plan->scratch_floats = larger(plan->scratch_floats, plan->pack_offset + pack_floats(network, i));
    return place_values(network, plan);
}
