/* A team of threads that do one piece of work together and sleep between pieces. */
#ifndef PPGHOST_POOL_H
#define PPGHOST_POOL_H

typedef struct Team Team;

/* Make a team of `threads`, the calling one among them. Returns NULL when the system gives no thread or memory. */
Team *team_start(int threads);
void team_stop(Team *team);
int team_size(const Team *team);

/* Call work(data, rank) in every member, rank 0 in the calling thread; returns when all are done. */
void team_run(Team *team, void (*work)(void *data, int rank), void *data);

/* For members at work: wait until all have come here. */
void team_meet(Team *team);

/* For members at work: return a number of [0, count) that no member got since the last meeting, or -1 when there is
 * none. Each member gets the numbers of its own share first, in order. */
int team_draw(Team *team, int rank, int count);

#endif
