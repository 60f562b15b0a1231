/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Threads that work through a disk piece by piece; see crew.h. */

#include "disk/crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "util/bits.h"

#define THREADS_DEFAULT_MAX 8
#define WAIT_NS 100000000L /* between reports */
#define NS_PER_S 1000000000L
#define PASSED_AHEAD 64u /* pieces that may end before an earlier one has had its turn */

struct crew {
    const struct crew_job *job;
    pthread_t caller;
    pthread_mutex_t next_lock; /* held while next() runs; before lock */
    bool is_over;              /* under next_lock: there are no more pieces */
    uint64_t handed_out;       /* under next_lock: pieces */

    pthread_mutex_t lock;      /* guards the rest */
    pthread_cond_t turn_passed;
    uint64_t turn;             /* number of the piece whose turn it is */
    bool has_passed[PASSED_AHEAD]; /* by number modulo that: ended without waiting for its turn */
    bool is_stopped;           /* a failure: error is the first one */
    int result;
    struct vhdx_error error;
};

/* What fails first counts; the others only stop. */
static void stop(struct crew *c, int result, const struct vhdx_error *error)
{
    pthread_mutex_lock(&c->lock);
    if (!c->is_stopped) {
        c->is_stopped = true;
        c->result = result;
        c->error = *error;
    }
    pthread_cond_broadcast(&c->turn_passed);
    pthread_mutex_unlock(&c->lock);
}

static bool is_stopped(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    bool stopped = c->is_stopped;
    pthread_mutex_unlock(&c->lock);
    return stopped;
}

static void wait_a_while(struct crew *c)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_NS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    pthread_cond_timedwait(&c->turn_passed, &c->lock, &until);
}

int crew_turn(struct crew *c, uint64_t number)
{
    const struct crew_job *job = c->job;
    bool reports = job->report && pthread_equal(pthread_self(), c->caller);
    struct vhdx_error error;
    int r = 0;

    for (;;) {
        if (reports && (r = job->report(job->opaque, &error)) < 0)
            stop(c, r, &error);
        pthread_mutex_lock(&c->lock);
        if (c->turn < number && !c->is_stopped)
            wait_a_while(c);
        bool is_turn = c->turn >= number;
        r = c->is_stopped ? c->result : 0;
        pthread_mutex_unlock(&c->lock);
        if (r < 0 || is_turn)
            return r;
    }
}

void crew_pass(struct crew *c, uint64_t number)
{
    pthread_mutex_lock(&c->lock);
    while (number >= c->turn + PASSED_AHEAD && !c->is_stopped)
        pthread_cond_wait(&c->turn_passed, &c->lock);
    if (number >= c->turn && !c->is_stopped) {
        c->has_passed[number % PASSED_AHEAD] = true;
        for (; c->has_passed[c->turn % PASSED_AHEAD]; c->turn++)
            c->has_passed[c->turn % PASSED_AHEAD] = false;
        pthread_cond_broadcast(&c->turn_passed);
    }
    pthread_mutex_unlock(&c->lock);
}

/* The next piece: 1, 0 at the end, negative. */
static int take_piece(struct crew *c, void *piece, uint64_t *ret_number, struct vhdx_error *err)
{
    int r = 0;

    pthread_mutex_lock(&c->next_lock);
    if (!c->is_over)
        r = c->job->next(c->job->opaque, piece, err);
    if (r <= 0)
        c->is_over = true;
    else
        *ret_number = c->handed_out++;
    pthread_mutex_unlock(&c->next_lock);
    return r;
}

/* A thread's work. The calling thread reports, too. */
static void work_on(struct crew *c, void *piece, bool reports)
{
    const struct crew_job *job = c->job;
    struct vhdx_error error;
    uint64_t number;
    int r;

    while (!is_stopped(c) && (r = take_piece(c, piece, &number, &error)) != 0) {
        if (r > 0) {
            r = job->work(job->opaque, piece, c, number, &error);
            if (r >= 0)
                crew_pass(c, number);
        }
        if (r >= 0 && reports && job->report)
            r = job->report(job->opaque, &error);
        if (r < 0) {
            stop(c, r, &error);
            break;
        }
    }
}

static void *run_thread(void *opaque)
{
    struct crew *c = opaque;
    void *piece = calloc(1, c->job->piece_size);

    if (piece)
        work_on(c, piece, false);
    if (piece && c->job->free_piece)
        c->job->free_piece(piece);
    free(piece);
    return NULL;
}

static unsigned thread_count(unsigned wanted)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (wanted > 0)
        return (unsigned)min_u64(wanted, CREW_THREADS_MAX);
    return processors < 1 ? 1 : (unsigned)min_u64((uint64_t)processors, THREADS_DEFAULT_MAX);
}

/* Signals are for the threads of the program. */
static unsigned start_threads(struct crew *c, pthread_t *threads, unsigned count)
{
    sigset_t all, old;
    unsigned started = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (started < count && pthread_create(&threads[started], NULL, run_thread, c) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

int crew_run(const struct crew_job *job, struct vhdx_error *err)
{
    pthread_t threads[CREW_THREADS_MAX];
    struct crew c = { .job = job, .caller = pthread_self(), .next_lock = PTHREAD_MUTEX_INITIALIZER,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .turn_passed = PTHREAD_COND_INITIALIZER };
    void *piece = calloc(1, job->piece_size);

    if (!piece)
        return fail_nomem(err);
    unsigned started = start_threads(&c, threads, thread_count(job->threads) - 1);
    work_on(&c, piece, true);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (!c.is_stopped && job->report) {
        int r = job->report(job->opaque, &c.error);
        c.is_stopped = r < 0;
        c.result = r;
    }
    if (job->free_piece)
        job->free_piece(piece);
    free(piece);
    if (c.is_stopped && err)
        *err = c.error;
    return c.is_stopped ? c.result : 0;
}
