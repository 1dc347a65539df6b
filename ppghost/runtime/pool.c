/* Threads that spin for a moment, as the next step of a network is microseconds away, and then sleep. Counters carry the
 * number of their phase, so that they need no reset and a late member cannot take them for its own phase's. */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS_AT_WORK = 2000, SPINS_BEFORE_SLEEP = 2000, LINE = 64, COUNT_BITS = 20 };

typedef struct {
    Team *team;
    int rank;
} Member;

/* A phase in the upper bits, a number of tasks in the lower ones; on a cache line of its own. */
typedef struct {
    _Alignas(LINE) _Atomic(uint64_t) value;
} Counter;

struct Team {
    int size;
    pthread_t *threads;
    Member *members;
    Counter *drawn; /* of each member's share */
    pthread_mutex_t mutex;
    pthread_cond_t has_work;
    int is_over, is_open; /* the team ends; a member that wakes may begin */
    Work *work;
    char job[MOST_JOB_BYTES];
    uint64_t first_phase;
    _Alignas(LINE) atomic_uint piece; /* how many pieces of work were handed out */
    atomic_int walking;               /* members but the first that are at work */
    Counter phase, done;              /* the number of the phase that is not over; its tasks that are done */
};

static void relax(int *spins, int most)
{
    if (++*spins > most)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ------------------------------------------------------------------ phases */

/* Count one more of a phase, up to `most`; returns the number before, or -1 if there is none left. */
static int count_up(Counter *counter, uint64_t phase, int most)
{
    uint64_t value = atomic_load_explicit(&counter->value, memory_order_relaxed);
    for (;;) {
        const uint64_t its = value >> COUNT_BITS;
        const uint64_t count = its == phase ? value & (((uint64_t)1 << COUNT_BITS) - 1) : 0;
        if (its > phase || count >= (uint64_t)most)
            return -1;
        if (atomic_compare_exchange_weak_explicit(&counter->value, &value, (phase << COUNT_BITS) + count + 1,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return (int)count;
    }
}

int team_draw(Team *team, int rank, uint64_t phase, int count)
{
    if (atomic_load_explicit(&team->phase.value, memory_order_acquire) != phase)
        return -1;
    for (int turn = 0; turn < team->size; turn++) {
        const int owner = (rank + turn) % team->size;
        const int first = (int)((long)count * owner / team->size), last = (int)((long)count * (owner + 1) / team->size);
        const int number = count_up(&team->drawn[owner], phase, last - first);
        if (number >= 0)
            return first + number;
    }
    return -1;
}

void team_finish(Team *team, uint64_t phase, int count)
{
    if (count_up(&team->done, phase, count) == count - 1)
        atomic_store_explicit(&team->phase.value, phase + 1, memory_order_release);
}

void team_wait(const Team *team, uint64_t phase)
{
    for (int spins = 0; atomic_load_explicit(&team->phase.value, memory_order_acquire) <= phase;)
        relax(&spins, SPINS_AT_WORK);
}

/* ------------------------------------------------------------------ members */

/* Wait for a piece of work after the one with number `last`; returns its number. */
static unsigned wait_for_work(Team *team, unsigned last)
{
    unsigned piece;
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP;) {
        if ((piece = atomic_load_explicit(&team->piece, memory_order_acquire)) != last)
            return piece;
        relax(&spins, SPINS_BEFORE_SLEEP);
    }
    pthread_mutex_lock(&team->mutex);
    while ((piece = atomic_load_explicit(&team->piece, memory_order_acquire)) == last)
        pthread_cond_wait(&team->has_work, &team->mutex);
    pthread_mutex_unlock(&team->mutex);
    return piece;
}

static void *serve(void *data)
{
    const Member *member = data;
    Team *team = member->team;
    for (unsigned last = 0;;) {
        wait_for_work(team, last);
        char job[MOST_JOB_BYTES];
        pthread_mutex_lock(&team->mutex);
        last = atomic_load_explicit(&team->piece, memory_order_relaxed); /* the newest, if one was missed */
        const int is_over = team->is_over, is_open = team->is_open;
        const uint64_t phase = team->first_phase;
        Work *work = team->work;
        memcpy(job, team->job, sizeof job);
        atomic_fetch_add_explicit(&team->walking, is_open, memory_order_relaxed);
        pthread_mutex_unlock(&team->mutex);
        if (is_over)
            return NULL;
        if (!is_open)
            continue;
        work(job, member->rank, phase);
        atomic_fetch_sub_explicit(&team->walking, 1, memory_order_release);
    }
}

static void hand_out(Team *team, Work *work, const void *job, size_t bytes)
{
    pthread_mutex_lock(&team->mutex);
    memcpy(team->job, job, bytes);
    team->work = work;
    team->is_open = 1;
    team->first_phase = atomic_load_explicit(&team->phase.value, memory_order_relaxed);
    atomic_fetch_add_explicit(&team->piece, 1, memory_order_release);
    pthread_cond_broadcast(&team->has_work);
    pthread_mutex_unlock(&team->mutex);
}

void team_run(Team *team, Work *work, const void *job, size_t bytes)
{
    /* Asked before the others begin, as they may finish the first phase at once. */
    const uint64_t phase = atomic_load_explicit(&team->phase.value, memory_order_relaxed);
    if (team->size > 1)
        hand_out(team, work, job, bytes);
    work(job, 0, phase);
}

void team_settle(Team *team)
{
    for (int is_settled = team->size == 1, spins = 0; !is_settled;) {
        pthread_mutex_lock(&team->mutex);
        team->is_open = 0; /* a member that wakes from now on finds nothing to do */
        is_settled = !atomic_load_explicit(&team->walking, memory_order_acquire);
        pthread_mutex_unlock(&team->mutex);
        relax(&spins, SPINS_AT_WORK);
    }
}

int team_size(const Team *team) { return team->size; }

Team *team_start(int threads)
{
    Team *team = aligned_alloc(LINE, (sizeof(Team) + LINE - 1) / LINE * LINE);
    if (!team)
        return NULL;
    *team = (Team){.size = 1};
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->has_work, NULL);
    team->threads = calloc((size_t)threads, sizeof *team->threads);
    team->members = calloc((size_t)threads, sizeof *team->members);
    team->drawn = aligned_alloc(LINE, sizeof *team->drawn * (size_t)threads);
    int is_whole = team->threads && team->members && team->drawn;
    if (team->drawn)
        memset(team->drawn, 0, sizeof *team->drawn * (size_t)threads);
    while (is_whole && team->size < threads) {
        Member *member = &team->members[team->size];
        *member = (Member){team, team->size};
        is_whole = !pthread_create(&team->threads[team->size], NULL, serve, member);
        team->size += is_whole;
    }
    if (is_whole)
        return team;
    team_stop(team);
    return NULL;
}

void team_stop(Team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->mutex);
    team->is_over = 1;
    atomic_fetch_add_explicit(&team->piece, 1, memory_order_release);
    pthread_cond_broadcast(&team->has_work);
    pthread_mutex_unlock(&team->mutex);
    for (int rank = 1; rank < team->size; rank++)
        pthread_join(team->threads[rank], NULL);
    pthread_cond_destroy(&team->has_work);
    pthread_mutex_destroy(&team->mutex);
    free(team->threads);
    free(team->members);
    free(team->drawn);
    free(team);
}
