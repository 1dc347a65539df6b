/* A team of threads that do one piece of work together and sleep between pieces.
 *
 * Work is a sequence of phases, the same for every member; a phase is a number of tasks. A phase is over when its tasks
 * are done, not when every member has come: a member that the system runs late finds phases over and goes on to the one
 * that is not, so on a busy machine nobody waits for a thread that does nothing. */
#ifndef PPGHOST_POOL_H
#define PPGHOST_POOL_H

#include <stddef.h>
#include <stdint.h>

enum { MOST_JOB_BYTES = 64 };

typedef struct Team Team;
typedef void Work(const void *job, int rank, uint64_t phase);

/* Make a team of `threads`, the calling one among them. Returns NULL when the system gives no thread or memory. */
Team *team_start(int threads);
void team_stop(Team *team);
int team_size(const Team *team);

/* Call work in every member, each with a copy of the job and the number of the first phase, rank 0 in the calling thread.
 * Returns when rank 0 has come to the end; others may still be on their way there. */
void team_run(Team *team, Work *work, const void *job, size_t bytes);

/* Wait until every member has come to the end: before anything changes that members read outside of tasks. */
void team_settle(Team *team);

/* For members at work: return a task of a phase with `count` tasks that no member got, or -1. A member gets the tasks of
 * its own share first, in order, then those of the others. */
int team_draw(Team *team, int rank, uint64_t phase, int count);

/* For members at work: a task of the phase is done. */
void team_finish(Team *team, uint64_t phase, int count);

/* For members at work: wait until the phase is over. */
void team_wait(const Team *team, uint64_t phase);

#endif
