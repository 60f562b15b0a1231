/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Crews: every piece is worked on once, turns come in order, and the first failure ends all. */

#include "disk/crew.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "expect.h"
#include "util/bits.h"

#define PIECES 3000u
#define NEVER UINT64_MAX

struct work {
    uint64_t next;             /* number of the piece to be handed out */
    uint64_t turns[PIECES];    /* numbers, in the order of their turns */
    uint64_t turns_count;      /* changed in turns only */
    unsigned done[PIECES];     /* how often each piece was worked on */
    uint64_t next_fails_at, work_fails_at, report_fails_at;
    bool without_turns;        /* work() of every other piece takes none */
    uint64_t reports;
    pthread_t caller;
    bool reported_elsewhere;
};

struct piece {
    uint64_t number;
    struct work *work;
    unsigned salt; /* to take unequal time */
};

static int next(void *opaque, void *piece, struct vhdx_error *err)
{
    struct work *w = opaque;
    struct piece *p = piece;

    if (w->next == w->next_fails_at)
        return fail(err, VHDX_E_TRUNCATED, 1, "next fails");
    if (w->next == PIECES)
        return 0;
    p->number = w->next++;
    p->work = w;
    return 1;
}

static int work(void *opaque, void *piece, struct crew *crew, uint64_t number,
                struct vhdx_error *err)
{
    struct work *w = opaque;
    struct piece *p = piece;
    int r = 0;

    assert_int_equal(p->number, number);
    w->done[number]++;
    p->salt = p->salt * 1103515245 + 12345;
    if (p->salt >> 16 & 1)
        usleep(p->salt >> 16 & 63);
    if (number == w->work_fails_at)
        return fail(err, VHDX_E_CORRUPT, number, "work fails");
    if (w->without_turns && number % 2 == 1)
        return 0;
    r = crew_turn(crew, number);
    if (r < 0)
        return r;
    w->turns[w->turns_count++] = number;
    if (number % 3 == 0)
        crew_pass(crew, number);
    if (number % 6 == 0)
        crew_pass(crew, number);
    return 0;
}

static int report(void *opaque, struct vhdx_error *err)
{
    struct work *w = opaque;

    w->reported_elsewhere |= !pthread_equal(pthread_self(), w->caller);
    return w->reports++ == w->report_fails_at ? fail(err, VHDX_E_CANCELLED, 2, "enough") : 0;
}

static int run(struct work *w, unsigned threads, struct vhdx_error *err)
{
    const struct crew_job job = { .threads = threads, .piece_size = sizeof(struct piece),
                                  .opaque = w, .next = next, .work = work, .report = report };

    w->caller = pthread_self();
    return crew_run(&job, err);
}

static struct work *new_work(void)
{
    struct work *w = calloc(1, sizeof *w);

    w->next_fails_at = w->work_fails_at = w->report_fails_at = NEVER;
    return w;
}

static void every_piece_has_its_turn_in_order(void **state)
{
    static const unsigned threads[] = { 0, 1, 2, 3, 7, CREW_THREADS_MAX };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(threads); i++) {
        struct work *w = new_work();
        struct vhdx_error err = { .code = 77 };
        w->without_turns = i % 2 == 1;
        uint64_t step = w->without_turns ? 2 : 1;
        assert_int_equal(run(w, threads[i / 2], &err), 0);
        assert_int_equal(err.code, 77);
        assert_int_equal(w->turns_count, PIECES / step);
        for (uint64_t n = 0; n < PIECES; n++)
            assert_int_equal(w->done[n], 1);
        for (uint64_t n = 0; n < w->turns_count; n++)
            assert_int_equal(w->turns[n], n * step);
        assert_true(w->reports >= 1);
        assert_false(w->reported_elsewhere);
        free(w);
    }
}

static void verify_failure(struct work *w, unsigned threads, int code)
{
    struct vhdx_error err = { 0 };

    assert_int_equal(run(w, threads, &err), -code);
    assert_int_equal(err.code, code);
    for (uint64_t n = 0; n < w->turns_count; n++) /* nothing out of order on the way */
        assert_int_equal(w->turns[n], n);
    for (uint64_t n = 0; n < PIECES; n++)
        assert_true(w->done[n] <= 1);
    free(w);
}

static void first_failure_ends_the_work(void **state)
{
    static const uint64_t places[] = { 0, 1, 2, 500, PIECES - 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (unsigned threads = 1; threads <= 5; threads += 2) {
            struct work *w = new_work();
            w->next_fails_at = places[i];
            verify_failure(w, threads, VHDX_E_TRUNCATED);
            w = new_work();
            w->work_fails_at = places[i];
            verify_failure(w, threads, VHDX_E_CORRUPT);
            w = new_work();
            w->report_fails_at = i; /* the last reports of a run are few */
            verify_failure(w, threads, VHDX_E_CANCELLED);
        }
    }
}

static void nothing_to_do(void **state)
{
    struct work *w = new_work();

    (void)state;
    w->next = PIECES;
    assert_int_equal(run(w, 4, NULL), 0);
    assert_int_equal(w->turns_count, 0);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_has_its_turn_in_order),
        cmocka_unit_test(first_failure_ends_the_work),
        cmocka_unit_test(nothing_to_do),
    };

    return cmocka_run_group_tests_name("crew", tests, NULL, NULL);
}
