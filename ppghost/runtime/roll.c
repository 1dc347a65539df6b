/* Rolls: steps made together, row by row. A row of the end asks for the rows that it reads, they ask for theirs, and
 * each row is made once. A rehearsal goes the same way without computing and notes how long rows must be kept. */
#include "session.h"

#include <stddef.h>

typedef struct {
    const Program *program;
    const Roll *roll;
    const Plan *plan;
    Plan *notes;    /* the plan in a rehearsal, else NULL */
    Worker *worker; /* NULL in a rehearsal */
    int first, last; /* rows of the end that are made */
    int made[MOST_STEPS + 1];  /* the next row of each value */
    int front[MOST_STEPS + 1]; /* the next row of a ghost module's first half */
} Progress;

static int is_inside(const Progress *progress, int value)
{
    return value > progress->roll->first && value <= progress->roll->last;
}

static int larger_row(int a, int b) { return a > b ? a : b; }

/* Note that rows from `row` on of what `rows` counts are read when `next` is its next row. */
static void note(int *rows, int next, int row)
{
    if (next - row > *rows)
        *rows = next - row;
}

/* Rows from `row` on of a value are about to be read. */
static void note_use(const Progress *progress, int value, int row)
{
    if (!progress->notes || !is_inside(progress, value) || progress->plan->value[value].is_left)
        return;
    const int is_ghost = progress->program->step[value - 1].kind == GHOST;
    note(&progress->notes->value[value].rows, is_ghost ? progress->front[value] : progress->made[value], row);
}

/* Whether ghosts are made from a copy of the first half: it has no addend, and no rows that another member makes. */
static int has_plain(const Progress *progress, int number)
{
    return progress->program->step[number].add != NONE || progress->plan->value[number + 1].is_left;
}

/* ------------------------------------------------------------------ computing a row */

static Map place_of(const Worker *worker, const Plan *plan, int value)
{
    const Place *place = &plan->value[value];
    return place->rows ? window_of(worker, value, worker->scratch + place->offset, place->rows) : map_of(worker, value);
}

static Map plain_of(const Worker *worker, const Plan *plan, int value)
{
    const Place *place = &plan->value[value];
    return window_of(worker, value, worker->scratch + place->plain_offset, place->plain_rows);
}

static float *row_of(const Worker *worker, const Map *map, int row)
{
    return map->data + (long)(row % map->rows) * map->width * worker->session->network->kernels.lanes;
}

static void multiply_row(const Progress *progress, int number, int row)
{
    Worker *worker = progress->worker;
    const Step *step = &progress->program->step[number];
    const Packed *packed = &worker->session->network->packed[number];
    const Map from = place_of(worker, progress->plan, step->from), to = place_of(worker, progress->plan, number + 1);
    Product product = product_of(worker, number);
    product.from = row_of(worker, &from, row);
    product.from_plane = from.plane;
    product.to = row_of(worker, &to, row);
    product.to_plane = to.plane;
    if (step->kind == GHOST && has_plain(progress, number)) {
        const Map plain = plain_of(worker, progress->plan, number + 1);
        product.plain = row_of(worker, &plain, row);
        product.plain_plane = plain.plane;
    }
    if (step->add != NONE) {
        const Map add = place_of(worker, progress->plan, step->add);
        product.add = row_of(worker, &add, row);
        product.add_plane = add.plane;
    }
    if (progress->plan->value[number + 1].is_left && (row < progress->first || row >= progress->last)) {
        product.to = NULL; /* another member makes it; here it is needed for ghosts only */
        product.add = NULL;
    }
    packed->multiply(&product, to.width, packed->vectors);
}

static void filter_row(const Progress *progress, int number, int row)
{
    const Worker *worker = progress->worker;
    const Step *step = &progress->program->step[number];
    Filter filter = filter_of(worker, number);
    filter.to = place_of(worker, progress->plan, number + 1);
    filter.from = step->kind == GHOST ? filter.to : place_of(worker, progress->plan, step->from);
    if (step->kind == GHOST) {
        filter.to = half_of(worker, number + 1, filter.to);
        if (has_plain(progress, number))
            filter.from = plain_of(worker, progress->plan, number + 1);
    }
    if (step->add != NONE) {
        filter.add = half_of(worker, step->add, place_of(worker, progress->plan, step->add));
    }
    worker->session->network->kernels.filter(&filter, row, row + 1, worker->session->network->packed[number].vectors);
}

static void stem_row(const Progress *progress, int number, int row)
{
    const Worker *worker = progress->worker;
    Stem stem = stem_of(worker, number);
    stem.to = place_of(worker, progress->plan, number + 1);
    worker->session->network->kernels.stem(&stem, row, row + 1, worker->session->network->packed[number].vectors);
}

/* ------------------------------------------------------------------ asking for rows */

static void make_rows(Progress *progress, int value, int end);

static void make_ghost_row(Progress *progress, int number, int row)
{
    const Step *step = &progress->program->step[number];
    const int reach = step->kernel / 2, end = smaller(progress->plan->value[number + 1].height, row + reach + 1);
    const int oldest = larger_row(0, row - reach);
    int *front = &progress->front[number + 1];
    for (; *front < end; ++*front) {
        make_rows(progress, step->from, *front + 1);
        if (step->add != NONE)
            make_rows(progress, step->add, *front + 1);
        note_use(progress, step->from, *front);
        if (progress->worker)
            multiply_row(progress, number, *front);
    }
    if (step->add != NONE)
        note_use(progress, step->add, row);
    if (progress->worker)
        filter_row(progress, number, row);
    else if (has_plain(progress, number))
        note(&progress->notes->value[number + 1].plain_rows, *front, oldest);
    note_use(progress, number + 1, has_plain(progress, number) ? row : oldest);
}

static void make_row(Progress *progress, int number, int row)
{
    const Step *step = &progress->program->step[number];
    const int first = step->kind == DEPTHWISE ? larger_row(0, row * step->stride - step->kernel / 2) : row;
    switch (step->kind) {
    case STEM:
        if (progress->worker)
            stem_row(progress, number, row);
        break;
    case POINTWISE:
        make_rows(progress, step->from, row + 1);
        note_use(progress, step->from, first);
        if (progress->worker)
            multiply_row(progress, number, row);
        break;
    case DEPTHWISE:
        make_rows(progress, step->from,
                  smaller(progress->plan->value[step->from].height, row * step->stride + step->kernel / 2 + 1));
        note_use(progress, step->from, first);
        if (progress->worker)
            filter_row(progress, number, row);
        break;
    default:
        make_ghost_row(progress, number, row);
    }
}

static void make_rows(Progress *progress, int value, int end)
{
    if (is_inside(progress, value))
        for (; progress->made[value] < end; progress->made[value]++)
            make_row(progress, value - 1, progress->made[value]);
}

/* Set the first row of each value that the rows from `row` on of the end need. */
static void set_first_rows(Progress *progress, int row)
{
    const Program *program = progress->program;
    for (int value = progress->roll->first + 1; value <= progress->roll->last; value++)
        progress->made[value] = progress->plan->value[value].is_left ? row : progress->plan->value[value].height;
    for (int number = progress->roll->last - 1; number >= progress->roll->first; number--) {
        const Step *step = &program->step[number];
        int first = progress->made[number + 1];
        if (step->kind == DEPTHWISE || step->kind == GHOST)
            first = larger_row(0, first * step->stride - step->kernel / 2);
        progress->front[number + 1] = first;
        if (is_inside(progress, step->from))
            progress->made[step->from] = smaller(progress->made[step->from], first);
        if (step->add != NONE && is_inside(progress, step->add))
            progress->made[step->add] = smaller(progress->made[step->add], first);
    }
}

/* Make the part of the end that falls to one of `members`. */
static void make_part(Progress *progress, int part, int members)
{
    progress->first = (int)((long)progress->roll->height * part / members);
    progress->last = (int)((long)progress->roll->height * (part + 1) / members);
    set_first_rows(progress, progress->first);
    for (int row = progress->first; row < progress->last; row++)
        for (int value = progress->roll->first + 1; value <= progress->roll->last; value++)
            if (progress->plan->value[value].is_left)
                make_rows(progress, value, row + 1);
}

void rehearse_roll(const struct GhostNetwork *network, Plan *plan, const Roll *roll, int members)
{
    Progress progress = {.program = &network->program, .roll = roll, .plan = plan, .notes = plan};
    for (int part = 0; part < members; part++)
        make_part(&progress, part, members);
}

typedef struct {
    Worker *worker;
    const Roll *roll;
} RollJob;

static void roll_task(void *data, int part)
{
    const RollJob *job = data;
    Progress progress = {.program = &job->worker->session->network->program, .roll = job->roll,
                         .plan = plan_of(job->worker), .worker = job->worker};
    make_part(&progress, part, members_of(job->worker));
}

void run_roll(Worker *worker, const Roll *roll)
{
    RollJob job = {worker, roll};
    share(worker, roll_task, &job, members_of(worker));
}
