/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Comparing two disks; see compare.h. Units (compare-units.h) are read and compared by several
 * threads at once; what came of each is told in order:
 *
 *     unit      next unit, under the crew's lock
 *     look      read and compare; the states of its sectors, if any differs
 *     tell      in its turn: each run of differing sectors
 *
 * Most units of most comparisons are equal: that is one memcmp() over bytes that have just come
 * into the processor's cache.
 */

#include "ops/compare.h"

#include <stdlib.h>
#include <string.h>

#include "disk/crew.h"
#include "ops/compare-units.h"
#include "util/cleanup.h"
#include "util/iszero.h"

#define GRAIN 512u
#define STATES (COMPARE_UNIT / GRAIN)

/* Read at once where reading little costs no more: both disks' bytes stay in a processor's second
   cache until they have been compared. */
#define LOCAL_STEP (256 * KIB)

/* Each keeps a unit of both disks: 48 MiB in all. */
#define THREADS_MAX 12u

/* Why the crew stopped although nothing failed; none of vhdx_code. */
#define STOPPED (-1)

enum { SAME, DIFFERS, DIFFERS_ZERO };

/* What became of a unit; a thread keeps one, with its buffers. */
struct piece {
    struct compare_unit unit;
    int failed;                /* negative: next() did, with error */
    struct vhdx_error error;
    uint8_t *buffers[2];       /* owned; COMPARE_UNIT bytes each, or NULL */
    bool differs;
    uint8_t states[STATES];    /* of each grain, if differs */
};

struct comparison {
    struct compare_units units;
    const struct vhdx_progress *progress;
    bool first_only;           /* the first difference is enough */
    bool keeps_bytes;          /* tell() wants the second disk's */
    bool strict;
    bool has_failed;           /* next_piece()'s: nothing comes after a failure */
    uint64_t read_bytes;       /* atomic */

    /* In order. unit is that of the run; bytes are the second disk's, or NULL. */
    int (*tell)(struct comparison *c, const struct compare_unit *unit, uint64_t offset,
                uint64_t len, bool is_zero, const uint8_t *bytes, struct vhdx_error *err);
    const struct compare_sink *sink;

    /* compare_disks() only; in order. */
    const struct vhdx_compare_options *opts;
    struct vhdx_compare_result *result;
    struct vhdx_difference run; /* not told yet: it may go on; length 0: none */
    bool run_is_data;          /* the second disk has data in it */
    int stopped_by;            /* what the callback returned */
};

/* ---- Looking -------------------------------------------------------------------------------- */

static int next_piece(void *opaque, void *piece, struct vhdx_error *err)
{
    struct comparison *c = opaque;
    struct piece *p = piece;

    (void)err;
    int r = c->has_failed ? 0 : compare_units_next(&c->units, &p->unit, &p->error);
    p->failed = r < 0 ? r : 0;
    c->has_failed |= r < 0;
    return r != 0; /* a failure has its turn, too: what differs before it was found before it */
}

/* Reads a side; what is behind its end is zero. */
static int read_side(struct comparison *c, unsigned side, uint8_t *buf, uint64_t offset,
                     uint64_t len, struct vhdx_error *err)
{
    struct vhdx_disk *d = c->units.sides[side].disk;
    uint64_t there = offset < d->size ? min_u64(len, d->size - offset) : 0;
    int r = there > 0 ? disk_read(d, buf, (size_t)there, offset, err) : 0;

    memset(buf + there, 0, (size_t)(len - there));
    __atomic_fetch_add(&c->read_bytes, there, __ATOMIC_RELAXED);
    return r;
}

static int get_buffers(struct piece *p, struct vhdx_error *err)
{
    for (unsigned side = 0; side < 2; side++) {
        if (!p->buffers[side] && (p->unit.with_data & (1u << side)))
            p->buffers[side] = malloc(COMPARE_UNIT);
        if (!p->buffers[side] && (p->unit.with_data & (1u << side)))
            return fail_nomem(err);
    }
    return 0;
}

/* Bytes of both disks; NULL: all zero. */
static bool is_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (a && b)
        return memcmp(a, b, len) == 0;
    return is_zero(a ? a : b, len);
}

/* Finds the grains that differ in a part of the unit that begins at done. */
static void find_grains(const struct comparison *c, struct piece *p, const uint8_t *a,
                        const uint8_t *b, uint64_t done, size_t len)
{
    size_t grain = c->units.grain;

    if (!p->differs)
        memset(p->states, SAME, sizeof p->states);
    p->differs = true;
    for (size_t at = 0; at < len; at += grain) {
        size_t n = grain < len - at ? grain : len - at;
        if (is_equal(a ? a + at : NULL, b ? b + at : NULL, n))
            continue;
        p->states[(done + at) / grain] = !b || is_zero(b + at, n) ? DIFFERS_ZERO : DIFFERS;
        if (c->first_only)
            return;
    }
}

static int look(struct comparison *c, struct piece *p, struct vhdx_error *err)
{
    const struct compare_unit *u = &p->unit;
    uint64_t step = u->is_local ? LOCAL_STEP : COMPARE_UNIT;
    const uint8_t *parts[2] = { NULL, NULL };

    int r = get_buffers(p, err);
    for (uint64_t done = 0, n; done < u->length && r == 0; done += n) {
        n = min_u64(step, u->length - done);
        for (unsigned side = 0; side < 2 && r == 0; side++) {
            if (!(u->with_data & (1u << side)))
                continue;
            uint8_t *buf = p->buffers[side] + (side == 1 && c->keeps_bytes ? done : 0);
            parts[side] = buf;
            r = read_side(c, side, buf, u->offset + done, n, err);
        }
        if (r == 0 && !is_equal(parts[0], parts[1], (size_t)n)) {
            find_grains(c, p, parts[0], parts[1], done, (size_t)n);
            if (c->first_only)
                break;
        }
    }
    return r;
}

/* ---- Telling -------------------------------------------------------------------------------- */

static int tell_runs(struct comparison *c, struct piece *p, struct vhdx_error *err)
{
    const struct compare_unit *u = &p->unit;
    uint64_t grain = c->units.grain, count = div_ceil(u->length, grain);
    const uint8_t *bytes = u->with_data & COMPARE_B ? p->buffers[1] : NULL;
    int r = 0;

    for (uint64_t i = 0, end; i < count && r == 0; i = end) {
        bool zero = true;
        for (end = i; end < count && p->states[end] != SAME; end++)
            zero &= p->states[end] == DIFFERS_ZERO;
        if (end == i)
            end++;
        else
            r = c->tell(c, u, u->offset + i * grain, min_u64(end * grain, u->length) - i * grain,
                        zero, bytes && c->keeps_bytes ? bytes + i * grain : NULL, err);
    }
    return r;
}

static void note_outcome(struct comparison *c, uint32_t outcome, uint64_t offset)
{
    if (c->result->outcome != VHDX_COMPARE_SAME)
        return;
    c->result->outcome = outcome;
    c->result->offset = offset;
}

static int work(void *opaque, void *piece, struct crew *crew, uint64_t number,
                struct vhdx_error *err)
{
    struct comparison *c = opaque;
    struct piece *p = piece;
    bool is_mismatch = c->strict && p->unit.is_mismatch;
    int r = p->failed;

    p->differs = false;
    if (r < 0 && err)
        *err = p->error;
    if (r == 0 && !(is_mismatch && c->first_only))
        r = look(c, p, err);
    /* Nothing to be told needs no turn. */
    if (r == 0 && !p->differs && !is_mismatch)
        return 0;
    int turn = crew_turn(crew, number);
    if (turn < 0 || r < 0)
        return turn < 0 ? turn : r;
    if (is_mismatch)
        note_outcome(c, VHDX_COMPARE_ALLOCATION, p->unit.offset);
    if (is_mismatch && c->first_only)
        return STOPPED;
    return p->differs ? tell_runs(c, p, err) : 0;
}

static void free_piece(void *piece)
{
    struct piece *p = piece;

    free(p->buffers[0]);
    free(p->buffers[1]);
}

static int report(void *opaque, struct vhdx_error *err)
{
    struct comparison *c = opaque;
    const struct vhdx_progress *progress = c->progress;
    uint64_t done = __atomic_load_n(&c->units.position, __ATOMIC_RELAXED);

    if (progress->fn && progress->fn(done, c->units.size, progress->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

/* 0, also when stopped early, which *ret_stopped tells; else negative. */
static int run(struct comparison *c, struct vhdx_disk *a, struct vhdx_disk *b, uint64_t size,
               uint32_t grain, unsigned threads, bool *ret_stopped, struct vhdx_error *err)
{
    const struct crew_job job = { .threads = threads < THREADS_MAX ? threads : THREADS_MAX,
                                  .piece_size = sizeof(struct piece),
                                  .opaque = c,
                                  .next = next_piece,
                                  .work = work,
                                  .report = report,
                                  .free_piece = free_piece };
    struct vhdx_error problem;

    int r = compare_units_begin(a, b, size, grain, &c->units, &problem);
    if (r == 0)
        r = crew_run(&job, &problem);
    compare_units_end(&c->units);
    *ret_stopped = r == STOPPED;
    if (r == 0)
        r = disk_verify_end(a, &problem);
    if (r == 0)
        r = disk_verify_end(b, &problem);
    if (r < 0 && r != STOPPED && err)
        *err = problem;
    return r == STOPPED ? 0 : r;
}

/* ---- For what is made of the differences ---------------------------------------------------- */

static int tell_sink(struct comparison *c, const struct compare_unit *unit, uint64_t offset,
                     uint64_t len, bool is_zero, const uint8_t *bytes, struct vhdx_error *err)
{
    (void)unit;
    return c->sink->fn(c->sink->opaque, offset, len, is_zero ? NULL : bytes, err);
}

int compare_each(struct vhdx_disk *a, struct vhdx_disk *b, unsigned threads,
                 const struct vhdx_progress *progress, const struct compare_sink *sink,
                 uint64_t *read_bytes, struct vhdx_error *err)
{
    struct comparison c = { .progress = progress,
                            .keeps_bytes = true,
                            .tell = tell_sink,
                            .sink = sink };
    bool stopped;

    int r = run(&c, a, b, sink->size, sink->grain, threads, &stopped, err);
    *read_bytes += c.read_bytes;
    return r;
}

/* ---- vhdx_compare() ------------------------------------------------------------------------- */

static int stop_at_first(struct comparison *c, const struct compare_unit *unit, uint64_t offset,
                         uint64_t len, bool is_zero, const uint8_t *bytes, struct vhdx_error *err)
{
    (void)unit;
    (void)len;
    (void)is_zero;
    (void)bytes;
    (void)err;
    note_outcome(c, VHDX_COMPARE_CONTENT, offset);
    return STOPPED;
}

/* Calls back with the run that has ended. */
static int end_run(struct comparison *c)
{
    int r = 0;

    if (c->run.length == 0)
        return 0;
    c->result->differing_bytes += c->run.length;
    r = c->opts->differs(&c->run, c->opts->opaque);
    c->run.length = 0;
    c->stopped_by = r;
    return r == 0 ? 0 : STOPPED;
}

static int join_run(struct comparison *c, const struct compare_unit *unit, uint64_t offset,
                    uint64_t len, bool is_zero, const uint8_t *bytes, struct vhdx_error *err)
{
    bool is_data = unit->with_data & COMPARE_B;
    int r = 0;

    (void)bytes;
    (void)err;
    note_outcome(c, VHDX_COMPARE_CONTENT, offset);
    if (c->run.length > 0 && c->run.offset + c->run.length == offset &&
        c->run_is_data == is_data) {
        c->run.length += len;
        c->run.is_zero &= is_zero;
        return 0;
    }
    r = end_run(c);
    c->run = (struct vhdx_difference){ .struct_size = sizeof c->run,
                                       .offset = offset,
                                       .length = len,
                                       .is_zero = is_zero };
    c->run_is_data = is_data;
    return r;
}

int compare_disks(struct vhdx_disk *a, struct vhdx_disk *b,
                  const struct vhdx_compare_options *opts, struct vhdx_compare_result *ret,
                  struct vhdx_error *err)
{
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;
    struct comparison c = { .progress = &opts->progress,
                            .first_only = !opts->differs,
                            .strict = opts->flags & VHDX_COMPARE_STRICT,
                            .tell = opts->differs ? join_run : stop_at_first,
                            .opts = opts,
                            .result = &result };
    bool stopped;

    result.size_differs = a->size != b->size;
    if (c.strict && result.size_differs) {
        result.outcome = VHDX_COMPARE_SIZE;
        *ret = result;
        return 0;
    }
    int r = run(&c, a, b, max_u64(a->size, b->size), GRAIN, opts->threads, &stopped, err);
    if (r < 0)
        return r;
    if (!stopped)
        (void)end_run(&c);
    if (c.stopped_by != 0)
        return c.stopped_by;
    result.read_bytes = c.read_bytes;
    *ret = result;
    return 0;
}
