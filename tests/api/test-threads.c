/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Many threads on one handle, compared with a copy read by one thread. Made for a thread sanitizer;
 * each round begins with cold caches, so that threads miss together. The BAT is larger than what is
 * verified on opening, and its blocks are spread over all of its pages.
 */

#include "build.h"

#include <pthread.h>

#include "expect.h"
#include "tempdir.h"

#define GUID_PARENT "b0b0b0b0-1111-2222-3333-444444444444"
#define GUID_CHILD "c1c1c1c1-1111-2222-3333-444444444444"
#define DISK_SIZE (9 * G)
#define THREADS 6
#define ROUNDS 12
#define READS 60

/* Where there is something to read: stretches of 1 MiB and their surroundings. */
static const uint64_t places[] = { 0, 1, 511, 512, 513, 2047, 2048, 4095, 4096, 4097, 6000, 8191,
                                   8192, 8193, 9000, 9215 };

#define AROUND (512 * K)                /* compared on both sides of a place */
#define COPY_SIZE (M + 2 * AROUND)

struct shared {
    struct folder *folder;
    struct build child, parent;
    uint8_t *copies[COUNT(places)]; /* COPY_SIZE bytes each */
    struct vhdx *v;
    pthread_barrier_t start;
};

static uint64_t copy_start(size_t place)
{
    uint64_t at = places[place] * M;

    if (at < AROUND)
        return 0;
    return at + M + AROUND > DISK_SIZE ? DISK_SIZE - COPY_SIZE : at - AROUND;
}

static void build_layers(struct shared *s)
{
    build_begin(&s->child, &(struct build_spec){ .size = DISK_SIZE, .guid = GUID_CHILD, .layer = 1,
                                                 .type = VHDX_TYPE_DIFFERENCING,
                                                 .parent_guid = GUID_PARENT });
    build_begin(&s->parent, &(struct build_spec){ .size = DISK_SIZE - 3 * M, .layer = 2,
                                                  .guid = GUID_PARENT, .sector_size = 512,
                                                  .block_size = 2 * M });
    for (size_t i = 0; i < COUNT(places); i++) {
        uint64_t block = places[i];
        build_block(&s->child, block, i % 4 == 0 ? FULL : i % 4 == 3 ? UNMAPPED : PARTIAL);
        for (uint64_t sector = i; sector < 2048; sector += 5 + i)
            build_present(&s->child, block * M + sector * 512, 512);
        if (block / 2 < s->parent.blocks && s->parent.states[block / 2] == NOT_PRESENT)
            build_block(&s->parent, block / 2, i % 5 == 4 ? ZERO : FULL);
    }
    build_through_log(&s->child, build_bat_sector(&s->child, 0));
    build_through_log(&s->child, build_bat_sector(&s->child, 4096));
    build_through_log(&s->parent, build_bat_sector(&s->parent, 0));
    build_finish(&s->child);
    build_finish(&s->parent);
    build_write(&s->child, in_folder(s->folder, "child.vhdx"));
    build_write(&s->parent, in_folder(s->folder, "parent.vhdx"));
}

static struct vhdx *open_cold(struct shared *s)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    if (vhdx_open(in_folder(s->folder, "child.vhdx"), 0, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    return v;
}

/* By one thread, through a handle of its own; and held against the model. */
static void make_copies(struct shared *s)
{
    const struct build *const model[2] = { &s->child, &s->parent };
    uint8_t *expected = malloc(COPY_SIZE);
    struct vhdx *v = open_cold(s);

    for (size_t i = 0; i < COUNT(places); i++) {
        s->copies[i] = malloc(COPY_SIZE);
        assert_int_equal(vhdx_pread(v, s->copies[i], COPY_SIZE, copy_start(i), NULL), 0);
        build_expect(model, 2, copy_start(i), expected, COPY_SIZE);
        assert_memory_equal(s->copies[i], expected, COPY_SIZE);
    }
    vhdx_close(v);
    free(expected);
}

static int make_shared(void **state)
{
    struct shared *s = calloc(1, sizeof *s);
    void *folder = NULL;

    if (make_folder(&folder) < 0)
        return -1;
    s->folder = folder;
    build_layers(s);
    make_copies(s);
    *state = s;
    return 0;
}

static int free_shared(void **state)
{
    struct shared *s = *state;
    void *folder = s->folder;

    for (size_t i = 0; i < COUNT(places); i++)
        free(s->copies[i]);
    build_end(&s->child);
    build_end(&s->parent);
    free(s);
    return remove_folder(&folder);
}

/* ---- The threads ---------------------------------------------------------------------------- */

struct worker {
    struct shared *shared;
    uint64_t random;
    unsigned number;
    const char *wrong; /* NULL: all was as it must be */
};

static const char *read_once(struct worker *w, uint8_t *buf)
{
    size_t place = next_random(&w->random) % COUNT(places);
    uint64_t skip = next_random(&w->random) % COPY_SIZE;
    size_t len = next_random(&w->random) % (next_random(&w->random) % 4 ? 9000 : 300000);

    if (len > COPY_SIZE - skip)
        len = COPY_SIZE - skip;
    if (vhdx_pread(w->shared->v, buf, len, copy_start(place) + skip, NULL) < 0)
        return "a read failed";
    return memcmp(buf, w->shared->copies[place] + skip, len) == 0 ? NULL : "a read differs";
}

static int add_length(const struct vhdx_extent *e, void *opaque)
{
    *(uint64_t *)opaque += e->length;
    return 0;
}

/* What else may run at once: walks, counts, facts. */
static const char *query_once(struct worker *w)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_link link = VHDX_LINK_INIT;
    uint64_t seen = 0;

    if (vhdx_extents(w->shared->v, 4000 * M, 300 * M, add_length, &seen, NULL) < 0 ||
        seen != 300 * M)
        return "a walk failed";
    if (vhdx_get_stats(w->shared->v, &stats, NULL) < 0 || stats.fully_present != 4)
        return "counting failed";
    if (vhdx_get_info(w->shared->v, &info, NULL) < 0 || info.chain_length != 2 ||
        vhdx_get_link(w->shared->v, 1, &link, NULL) < 0 || link.log_state != VHDX_LOG_DIRTY)
        return "facts differ";
    return vhdx_size(w->shared->v) == DISK_SIZE ? NULL : "the size differs";
}

static void *work(void *opaque)
{
    struct worker *w = opaque;
    uint8_t *buf = malloc(COPY_SIZE);

    pthread_barrier_wait(&w->shared->start);
    for (int i = 0; i < READS && !w->wrong; i++)
        w->wrong = w->number == 0 && i % 20 == 0 ? query_once(w) : read_once(w, buf);
    free(buf);
    return NULL;
}

static void run_round(struct shared *s, uint64_t seed)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];

    s->v = open_cold(s);
    pthread_barrier_init(&s->start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .shared = s, .random = seed + 1000 * i, .number = i };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (workers[i].wrong)
            fail_test("thread %u: %s\n", i, workers[i].wrong);
    }
    pthread_barrier_destroy(&s->start);
    vhdx_close(s->v);
}

static void threads_read_what_one_thread_reads(void **state)
{
    for (uint64_t round = 0; round < ROUNDS; round++)
        run_round(*state, round);
}

static void *open_and_close(void *opaque)
{
    struct worker *w = opaque;
    const char *path = w->wrong;
    struct vhdx *v = NULL;
    uint8_t buf[512];

    w->wrong = NULL;
    for (int i = 0; i < 10 && !w->wrong; i++) {
        if (vhdx_open(path, 0, NULL, &v, NULL) < 0)
            w->wrong = "opening failed";
        else if (vhdx_pread(v, buf, sizeof buf, 4096 * M, NULL) < 0)
            w->wrong = "a read failed";
        vhdx_close(v);
        v = NULL;
    }
    return NULL;
}

/* Separate handles are independent. */
static void threads_open_one_file_many_times(void **state)
{
    struct shared *s = *state;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    const char *path = in_folder(s->folder, "child.vhdx");

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .wrong = path };
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (workers[i].wrong)
            fail_test("thread %u: %s\n", i, workers[i].wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_read_what_one_thread_reads),
        cmocka_unit_test(threads_open_one_file_many_times),
    };

    return cmocka_run_group_tests_name("threads", tests, make_shared, free_shared);
}
