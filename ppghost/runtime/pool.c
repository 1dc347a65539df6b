/* Threads that spin for a moment, as the next step of a network is microseconds away, and then sleep. */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS_AT_WORK = 4000, SPINS_BEFORE_SLEEP = 4000, LINE = 64 };

typedef struct {
    Team *team;
    int rank;
} Member;

/* How many numbers of a member's share are drawn, after an even and after an odd number of meetings. */
typedef struct Drawn {
    _Alignas(LINE) atomic_int count[2];
} Drawn;

struct Team {
    int size;
    pthread_t *threads;
    Member *members;
    Drawn *drawn; /* one for each member */
    void (*work)(void *data, int rank);
    void *data;
    pthread_mutex_t mutex;
    pthread_cond_t has_work;
    int is_over;
    /* Each on a cache line of its own, as members write them at the same time. */
    _Alignas(LINE) atomic_uint piece;       /* how many pieces of work were handed out */
    _Alignas(LINE) atomic_int arrived;      /* members at the meeting */
    _Alignas(LINE) atomic_uint meetings;    /* that are over */
};



static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void team_meet(Team *team)
{
    if (team->size == 1)
        return;
    const unsigned meeting = atomic_load_explicit(&team->meetings, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->size - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        /* The counters of the work that follows; everyone has left the last work that used them. */
        for (int rank = 0; rank < team->size; rank++)
            atomic_store_explicit(&team->drawn[rank].count[(meeting + 1) & 1], 0, memory_order_relaxed);
        atomic_store_explicit(&team->meetings, meeting + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&team->meetings, memory_order_acquire) == meeting; spins++)
        if (spins < SPINS_AT_WORK)
            relax();
        else
            sched_yield();
}

int team_draw(Team *team, int rank, int count)
{
    const unsigned parity = atomic_load_explicit(&team->meetings, memory_order_relaxed) & 1;
    for (int turn = 0; turn < team->size; turn++) {
        const int owner = (rank + turn) % team->size;
        const int first = (int)((long)count * owner / team->size), last = (int)((long)count * (owner + 1) / team->size);
        atomic_int *drawn = &team->drawn[owner].count[parity];
        if (atomic_load_explicit(drawn, memory_order_relaxed) >= last - first)
            continue;
        const int number = first + atomic_fetch_add_explicit(drawn, 1, memory_order_relaxed);
        if (number < last)
            return number;
    }
    return -1;
}

/* Wait for a piece of work after the one with number `last`; returns its number. */
static unsigned wait_for_work(Team *team, unsigned last)
{
    unsigned piece;
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
        if ((piece = atomic_load_explicit(&team->piece, memory_order_acquire)) != last)
            return piece;
        relax();
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
        last = wait_for_work(team, last);
        if (team->is_over)
            return NULL;
        team->work(team->data, member->rank);
        team_meet(team);
    }
}

static void hand_out(Team *team)
{
    pthread_mutex_lock(&team->mutex);
    atomic_fetch_add_explicit(&team->piece, 1, memory_order_release);
    pthread_cond_broadcast(&team->has_work);
    pthread_mutex_unlock(&team->mutex);
}

void team_run(Team *team, void (*work)(void *data, int rank), void *data)
{
    team->work = work;
    team->data = data;
    if (team->size > 1)
        hand_out(team);
    work(data, 0);
    team_meet(team);
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
    team->is_over = 1;
    hand_out(team);
    for (int rank = 1; rank < team->size; rank++)
        pthread_join(team->threads[rank], NULL);
    pthread_cond_destroy(&team->has_work);
    pthread_mutex_destroy(&team->mutex);
    free(team->threads);
    free(team->members);
    free(team->drawn);
    free(team);
}
