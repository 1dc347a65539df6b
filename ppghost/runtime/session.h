/* A session at work: its memory, its members, and how they share the tasks of a step. */
#ifndef PPGHOST_SESSION_H
#define PPGHOST_SESSION_H

#include "plan.h"
#include "pool.h"

/* Memory in which one picture at a time is worked on. */
typedef struct {
    float *maps, *plain;
} Workspace;

typedef struct GhostSession {
    struct GhostNetwork *network;
    Team *team;
    Plan *plans; /* for one member, for the whole team */
    int pictures; /* whose vectors there is memory for */
    float *vectors;
    Workspace *workspaces; /* one for each member; a member's own is made when it works alone */
    float **scratch;       /* one for each member: padded rows of the picture, then the windows of a roll */
} GhostSession;

/* A member of the team at work, on a picture of its own or on one that the team shares. */
typedef struct {
    const GhostSession *session;
    int rank, is_alone;
    uint64_t phase; /* of the team's work, the next one */
    Workspace space;
    float *scratch;
    const float *image;
    float *vectors; /* of the picture */
    Ahead ahead;
    int ahead_step; /* the step of the first span */
} Worker;

typedef void (*Task)(void *job, int number);

static inline int pieces_of(int count, int size) { return (count + size - 1) / size; }
static inline int smaller(int a, int b) { return a < b ? a : b; }

/* How many members work on this picture. */
static inline int members_of(const Worker *worker) { return worker->is_alone ? 1 : team_size(worker->session->team); }

static inline const Plan *plan_of(const Worker *worker) { return &worker->session->plans[members_of(worker) > 1]; }

/* Do the tasks [0, count): all of them alone, or as many as come to this member. Members begin with neighbouring
 * tasks, the same ones in every run, and then help the others. */
void share(Worker *worker, Task task, void *job, int count);

/* How many tasks a step should have at least. */
int wanted_tasks(const Worker *worker);

/* A whole map, a window of so many rows at a place, the second half of the channels of either. */
Map map_of(const Worker *worker, int value);
Map window_of(const Worker *worker, int value, float *data, int rows);
Map half_of(const Worker *worker, int value, Map map);
float *vector_of(const Worker *worker, int value);

/* Run the steps [first, last); those that read maps do so for one picture, the others for so many. */
void run_steps(Worker *worker, int first, int last, int pictures);

/* Run the roll that begins with a step. */
void run_roll(Worker *worker, const Roll *roll);

/* What plain steps and rolls have in common: the jobs of a step without the places of what is read and made. */
Product product_of(Worker *worker, int number);
Filter filter_of(const Worker *worker, int number);
Stem stem_of(const Worker *worker, int number);

#endif
