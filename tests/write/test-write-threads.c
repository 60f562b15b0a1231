/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Many threads that change one image through one handle. Made for sanitizers. The disk has two
 * halves:
 *
 *     shared    everybody writes, zeros and trims whole sectors anywhere, over each other. Each
 *               eight bytes of a sector hold a stamp: the sector's number and who wrote it. At the
 *               end every sector is of one piece: one writer's, zeros, or the parent's.
 *     striped   slices of odd lengths belong to one thread each, so that neighbours change parts
 *               of the same sectors at once. At the end every slice holds what its owner put there.
 *
 * Others read, walk, count and flush meanwhile. Checked through the handle, after vhdx_finish()
 * through a new one, and after a replay.
 */
#include <inttypes.h>
#include <pthread.h>

#include "expect.h"
#include "tempdir.h"

#define HALF (6 * M)
#define DISK_SIZE (2 * HALF + 512 * 8)
#define WRITERS 5
#define READERS 2
#define SLICE 1237 /* no multiple of anything */
#define LONGEST (96 * K)
#define STEPS 600
#define STAMP UINT64_C(0x5a) /* top byte of a stamp */
#define PARENT WRITERS       /* who wrote the parent */

struct shared {
    struct vhdx *v;
    struct folder *folder;
    uint32_t sector;
    bool has_parent;
    uint8_t *striped; /* HALF bytes: what the owners put there */
    pthread_barrier_t start;
    int writers_left; /* atomic */
};

struct worker {
    struct shared *shared;
    uint64_t random;
    unsigned number;
    uint8_t *buf;
    struct vhdx_error err;
    const char *wrong; /* NULL: all was as it must be */
};

static uint64_t stamp(uint64_t sector, unsigned who, uint64_t step)
{
    return STAMP << 56 | (uint64_t)who << 48 | (step & 0xffff) << 32 | sector;
}

static void stamp_sectors(uint8_t *buf, uint64_t len, uint64_t at, uint32_t sector, unsigned who,
                          uint64_t step)
{
    for (uint64_t i = 0; i < len; i += 8)
        put64(buf + i, stamp((at + i) / sector, who, step));
}

static bool is_stamp_of(uint64_t x, uint64_t sector)
{
    return x == 0 || (x >> 56 == STAMP && (uint32_t)x == sector && (x >> 48 & 255) <= PARENT);
}

/* ---- Changes -------------------------------------------------------------------------------- */

static uint64_t pick(struct worker *w, uint64_t below)
{
    return next_random(&w->random) % below;
}

static int change_shared(struct worker *w, uint64_t step)
{
    struct shared *s = w->shared;
    uint32_t flags = pick(w, 100) == 0 ? VHDX_FUA : 0;
    uint64_t at = pick(w, HALF / s->sector) * s->sector;
    uint64_t len = (1 + pick(w, pick(w, 4) ? 8 : LONGEST / s->sector)) * s->sector;

    if (pick(w, 20) == 0)
        at = at / M * M, len = M; /* a whole block */
    len = len < HALF - at ? len : HALF - at;
    switch (pick(w, 8)) {
    case 0:
        return vhdx_zero(s->v, len, at, flags, &w->err);
    case 1:
        return vhdx_trim(s->v, len, at, flags, &w->err);
    default:
        stamp_sectors(w->buf, len, at, s->sector, w->number, step);
        return vhdx_pwrite(s->v, w->buf, len, at, flags, &w->err);
    }
}

static int change_slice(struct worker *w, uint64_t step)
{
    struct shared *s = w->shared;
    uint64_t slice = pick(w, HALF / SLICE / WRITERS) * WRITERS + w->number;
    uint64_t from = pick(w, SLICE), len = 1 + pick(w, SLICE - from), at = slice * SLICE + from;

    if (pick(w, 3) == 0)
        at = slice * SLICE, len = SLICE;
    if (pick(w, 5) == 0) {
        memset(s->striped + at, 0, len);
        return vhdx_zero(s->v, len, HALF + at, 0, &w->err);
    }
    memset(s->striped + at, (int)(step % 255) + 1, len);
    return vhdx_pwrite(s->v, s->striped + at, len, HALF + at, 0, &w->err);
}

static void *write_much(void *opaque)
{
    struct worker *w = opaque;

    pthread_barrier_wait(&w->shared->start);
    for (uint64_t step = 1; step <= STEPS && !w->wrong; step++) {
        int r = pick(w, 2) ? change_shared(w, step) : change_slice(w, step);
        if (r == 0 && pick(w, 60) == 0)
            r = vhdx_flush(w->shared->v, &w->err);
        if (r < 0)
            w->wrong = w->err.message;
    }
    __atomic_sub_fetch(&w->shared->writers_left, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

/* ---- Looking on ----------------------------------------------------------------------------- */

/* Eight bytes at a time: a read that overlaps a write may see a part of it. */
static const char *read_shared(struct worker *w)
{
    struct shared *s = w->shared;
    uint64_t at = pick(w, HALF / s->sector) * s->sector, len = (1 + pick(w, 16)) * s->sector;

    len = len < HALF - at ? len : HALF - at;
    if (vhdx_pread(s->v, w->buf, len, at, &w->err) < 0)
        return w->err.message;
    for (uint64_t i = 0; i < len; i += 8)
        if (!is_stamp_of(get_int(w->buf + i, 8), (at + i) / s->sector))
            return "a reader saw what nobody wrote there";
    return NULL;
}

static int add_length(const struct vhdx_extent *e, void *opaque)
{
    *(uint64_t *)opaque += e->length;
    return 0;
}

static const char *ask(struct worker *w)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_info info = VHDX_INFO_INIT;
    uint64_t seen = 0;

    if (vhdx_extents(w->shared->v, 0, DISK_SIZE, add_length, &seen, &w->err) < 0 ||
        vhdx_get_stats(w->shared->v, &stats, &w->err) < 0 ||
        vhdx_get_info(w->shared->v, &info, &w->err) < 0)
        return w->err.message;
    return seen == DISK_SIZE ? NULL : "a walk has gaps";
}

static void *read_much(void *opaque)
{
    struct worker *w = opaque;
    struct shared *s = w->shared;

    pthread_barrier_wait(&s->start);
    while (!w->wrong && __atomic_load_n(&s->writers_left, __ATOMIC_ACQUIRE) > 0) {
        w->wrong = pick(w, 50) ? read_shared(w) : ask(w);
        if (!w->wrong && vhdx_pread(s->v, w->buf, 5000, HALF + pick(w, HALF - 5000), &w->err) < 0)
            w->wrong = w->err.message;
        if (!w->wrong && w->number == WRITERS && pick(w, 100) == 0 &&
            vhdx_flush(s->v, &w->err) < 0)
            w->wrong = w->err.message;
    }
    return NULL;
}

static void run_threads(struct shared *s)
{
    struct worker workers[WRITERS + READERS];
    pthread_t threads[WRITERS + READERS];

    s->writers_left = WRITERS;
    pthread_barrier_init(&s->start, NULL, COUNT(threads));
    for (unsigned i = 0; i < COUNT(threads); i++) {
        workers[i] = (struct worker){ .shared = s, .number = i, .random = 77 + i,
                                      .buf = malloc(M + LONGEST) };
        assert_int_equal(pthread_create(&threads[i], NULL, i < WRITERS ? write_much : read_much,
                                        &workers[i]), 0);
    }
    for (unsigned i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (workers[i].wrong)
            fail_test("thread %u: %s\n", i, workers[i].wrong);
        free(workers[i].buf);
    }
    pthread_barrier_destroy(&s->start);
}

/* ---- The outcome ---------------------------------------------------------------------------- */

static void check_shared(const struct shared *s, const uint8_t *half)
{
    for (uint64_t at = 0; at < HALF; at += s->sector) {
        uint64_t first = get_int(half + at, 8);
        if (!is_stamp_of(first, at / s->sector))
            fail_test("sector %" PRIu64 " holds %#" PRIx64 "\n", at / s->sector, first);
        for (uint64_t i = 8; i < s->sector; i += 8)
            if (get_int(half + at + i, 8) != first)
                fail_test("sector %" PRIu64 " is of more than one piece\n", at / s->sector);
    }
}

/* Returns what the shared half holds; to be freed. */
static uint8_t *check_disk(const struct shared *s, struct vhdx *v, const uint8_t *same)
{
    uint8_t *half = malloc(HALF);

    assert_int_equal(vhdx_pread(v, half, HALF, HALF, NULL), 0);
    for (uint64_t i = 0; i < HALF; i++)
        if (half[i] != s->striped[i])
            fail_test("byte %" PRIu64 " of slice %" PRIu64 ": %#x, must be %#x\n", i % SLICE,
                      i / SLICE, half[i], s->striped[i]);
    assert_int_equal(vhdx_pread(v, half, HALF, 0, NULL), 0);
    check_shared(s, half);
    if (same)
        assert_memory_equal(half, same, HALF);
    return half;
}

static void reopen_and_check(struct shared *s, const uint8_t *same, uint32_t log_state)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err = blank_error();
    struct vhdx *v;

    vhdx_close(s->v);
    if (vhdx_open(in_folder(s->folder, "disk.vhdx"), VHDX_OPEN_RDONLY, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_int_equal(vhdx_get_info(v, &info, NULL), 0);
    assert_int_equal(info.log_state, log_state);
    free(check_disk(s, v, same));
    vhdx_close(v);
    if (vhdx_open(in_folder(s->folder, "disk.vhdx"), VHDX_OPEN_RDWR, NULL, &s->v, &err) < 0)
        fail_test("%s\n", err.message);
}

/* ---- Images --------------------------------------------------------------------------------- */

static struct vhdx *create(struct shared *s, const char *name, const char *parent)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_error err = blank_error();
    const char *path = in_folder(s->folder, name);
    struct vhdx *v = NULL;

    o.size = DISK_SIZE;
    o.block_size = M;
    o.logical_sector_size = s->sector;
    o.parent_path = parent ? in_folder(s->folder, parent) : NULL;
    if (vhdx_create(path, &o, &err) < 0 || vhdx_open(path, VHDX_OPEN_RDWR, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    return v;
}

static void create_parent(struct shared *s)
{
    struct vhdx *v = create(s, "parent.vhdx", NULL);
    uint8_t *half = malloc(HALF);

    stamp_sectors(half, HALF, 0, s->sector, PARENT, 0);
    assert_int_equal(vhdx_pwrite(v, half, HALF, 0, 0, NULL), 0);
    for (uint64_t i = 0; i < HALF; i++)
        s->striped[i] = (uint8_t)(i % 249 + 1);
    assert_int_equal(vhdx_pwrite(v, s->striped, HALF, HALF, 0, NULL), 0);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    free(half);
}

static void run(void **state, uint32_t sector, bool has_parent)
{
    struct shared s = { .folder = *state, .sector = sector, .has_parent = has_parent,
                        .striped = calloc(1, HALF) };

    if (has_parent)
        create_parent(&s);
    s.v = create(&s, "disk.vhdx", has_parent ? "parent.vhdx" : NULL);
    run_threads(&s);
    uint8_t *half = check_disk(&s, s.v, NULL);
    assert_int_equal(vhdx_flush(s.v, NULL), 0);
    reopen_and_check(&s, half, VHDX_LOG_DIRTY);
    free(half);

    run_threads(&s);
    half = check_disk(&s, s.v, NULL);
    assert_int_equal(vhdx_finish(s.v, NULL), 0);
    reopen_and_check(&s, half, VHDX_LOG_CLEAN);
    free(half);
    vhdx_close(s.v);
    free(s.striped);
}

static void threads_on_a_dynamic_image(void **state)
{
    run(state, 512, false);
}

static void threads_on_a_child(void **state)
{
    run(state, 512, true);
}

static void threads_on_a_child_with_4096_byte_sectors(void **state)
{
    run(state, 4096, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(threads_on_a_dynamic_image),
        WITH_FOLDER(threads_on_a_child),
        WITH_FOLDER(threads_on_a_child_with_4096_byte_sectors),
    };

    return cmocka_run_group_tests_name("write-threads", tests, NULL, NULL);
}
