/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-read: how fast vhdx_pread() is.
 *
 * The baseline is pread() of the very bytes that the library has to read, from the same file, at
 * offsets known beforehand. A raw file of the same content is reported beside it, but is no fair
 * judge: where its pages happen to lie in memory can alone make a file twice as fast as its copy.
 *
 * The two take turns, never read what the other has just read, and change their order from round
 * to round. A measurement during which the scheduler took a processor away is repeated, up to a
 * limit; waiting for a lock does not count as that. All content is checked first, which also warms
 * the page cache.
 *
 * Input files in the folder, all of one virtual size and, holes aside, of one content:
 *
 *     raw.img        the raw file
 *     plain.vhdx     every block present, in random order
 *     partial.vhdx   a child of plain.vhdx; every block partially present: 64 KiB stripes of its
 *                    own alternate with the parent's, its own first
 *     depth-3.vhdx   an empty child, at third remove, of plain.vhdx
 *     holes.vhdx     no block present
 *     dirty.vhdx     as plain.vhdx, but its BAT is in the log, with a hundred other sectors
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "measure.h"

#define RANDOM_SIZE (4 * KIB)
#define RANDOM_COUNT 2048 /* reads of a measurement, by each thread: a few milliseconds */
#define SEQUENTIAL_SIZE (1 * MIB)
#define SEQUENTIAL_COUNT 16
#define THREADS_MAX 2
#define ATTEMPTS 20
#define LATE 0.1 /* share of a measurement by which threads may begin apart */
#define CHAIN_MAX 8

/* One read, both ways. */
struct request {
    uint64_t offset;      /* of the virtual disk */
    uint64_t file_offset; /* the same bytes in fd */
    int fd;               /* -1: a hole */
};

/* The reads of one image in the order in which they are done, over and over. */
struct requests {
    struct request *items;
    size_t count;
    size_t size;   /* bytes of each */
    size_t cursor; /* the next one */
};

struct contender {
    struct vhdx *v;
    struct requests random, sequential;
    int fds[CHAIN_MAX]; /* the files of the chain */
};

struct worker {
    struct vhdx *v; /* NULL: the baseline */
    const struct requests *requests;
    size_t first, count;
    pthread_barrier_t *start; /* NULL when alone */
    double begin, end;        /* seconds */
    long preempted;           /* times */
};

/* ---- One measurement ------------------------------------------------------------------------ */

static void read_both_ways(struct vhdx *v, const struct request *r, void *buf, size_t len)
{
    struct vhdx_error err;

    if (v)
        require_vhdx(vhdx_pread(v, buf, len, r->offset, &err), &err);
    else if (r->fd >= 0)
        require(pread(r->fd, buf, len, (off_t)r->file_offset) == (ssize_t)len, "pread fell short");
    else
        memset(buf, 0, len);
}

static void *run_worker(void *opaque)
{
    static _Thread_local uint8_t buf[SEQUENTIAL_SIZE] __attribute__((aligned(4096)));
    struct worker *w = opaque;
    const struct requests *r = w->requests;
    struct rusage before, after;

    memset(buf, 1, r->size);
    if (w->start)
        pthread_barrier_wait(w->start);
    getrusage(RUSAGE_THREAD, &before);
    w->begin = now_seconds();
    for (size_t i = w->first; i < w->first + w->count; i++)
        read_both_ways(w->v, &r->items[i % r->count], buf, r->size);
    w->end = now_seconds();
    getrusage(RUSAGE_THREAD, &after);
    w->preempted = after.ru_nivcsw - before.ru_nivcsw;
    return NULL;
}

/* Threads on one handle, or on the same descriptors; a single one is the process's only thread. */
static void run_workers(struct worker *workers, size_t count)
{
    pthread_t threads[THREADS_MAX];
    pthread_barrier_t start;

    if (count == 1) {
        run_worker(&workers[0]);
        return;
    }
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        workers[i].start = &start;
        require(pthread_create(&threads[i], NULL, run_worker, &workers[i]) == 0,
                "a thread did not start");
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

/* Reads per second, of all threads together. */
static double judge_workers(const struct worker *w, size_t count, bool *ret_undisturbed)
{
    double begin = w[0].begin, last_begin = w[0].begin, end = w[0].end;
    long preempted = 0;
    size_t reads = 0;

    for (size_t i = 0; i < count; i++) {
        begin = w[i].begin < begin ? w[i].begin : begin;
        last_begin = w[i].begin > last_begin ? w[i].begin : last_begin;
        end = w[i].end > end ? w[i].end : end;
        preempted += w[i].preempted;
        reads += w[i].count;
    }
    *ret_undisturbed = preempted == 0 && last_begin - begin < LATE * (end - begin);
    return (double)reads / (end - begin);
}

/* Reads per second. v NULL: the baseline. */
static double measure(struct vhdx *v, struct requests *r, size_t count, size_t threads)
{
    double speed = 0;
    bool undisturbed = false;

    for (int i = 0; i < ATTEMPTS && !undisturbed; i++) {
        struct worker workers[THREADS_MAX];
        for (size_t t = 0; t < threads; t++, r->cursor += count)
            workers[t] = (struct worker){ .v = v, .requests = r, .first = r->cursor,
                                          .count = count };
        run_workers(workers, threads);
        speed = judge_workers(workers, threads, &undisturbed);
    }
    return speed;
}

/* ---- Contenders ----------------------------------------------------------------------------- */

enum {
    PLAIN,
    PARTIAL,
    DEPTH_3,
    HOLES,
    DIRTY,
    IMAGES,
};

static const struct {
    const char *file;
    const char *name;
    uint64_t clear; /* bits of the offset that must be 0 */
} images[IMAGES] = {
    [PLAIN] = { "plain.vhdx", "random 4 KiB, 1 thread", 0 },
    [PARTIAL] = { "partial.vhdx", "random 4 KiB, partially present block", 64 * KIB },
    [DEPTH_3] = { "depth-3.vhdx", "random 4 KiB, parent at depth 3", 0 },
    [HOLES] = { "holes.vhdx", "random 4 KiB, holes", 0 },
    [DIRTY] = { "dirty.vhdx", "random 4 KiB, dirty log", 0 },
};

static struct vhdx *open_image(const char *dir, const char *name)
{
    struct vhdx_error err;
    struct vhdx *v;
    char *path = path_of(dir, name);

    require_vhdx(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, &err), &err);
    free(path);
    return v;
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    require(fd >= 0, path);
    return fd;
}

static void open_chain_files(struct contender *c)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;

    require_vhdx(vhdx_get_info(c->v, &info, &err), &err);
    require(info.chain_length <= CHAIN_MAX, "the chain is too long");
    for (uint32_t i = 0; i < info.chain_length; i++) {
        struct vhdx_link link = VHDX_LINK_INIT;
        require_vhdx(vhdx_get_link(c->v, i, &link, &err), &err);
        c->fds[i] = open_file(link.path);
    }
}

/* The extent that holds a whole request. */
static int take_extent(const struct vhdx_extent *e, void *opaque)
{
    struct vhdx_extent *ret = opaque;

    require(ret->length == 0, "a request lies in more than one extent");
    *ret = *e;
    return 0;
}

/* All pieces of the disk; random: in a random order, the same one each time. */
static struct requests make_requests(const struct contender *c, size_t size, uint64_t clear,
                                     bool random)
{
    struct requests r = { .count = (size_t)(vhdx_size(c->v) / size), .size = size };
    uint64_t state = 88172645463325252u; /* xorshift64 */
    struct vhdx_error err;

    r.items = calloc(r.count, sizeof *r.items);
    require(r.items != NULL, "out of memory");
    for (size_t i = 0; i < r.count; i++) {
        struct vhdx_extent e = { 0 };
        uint64_t offset = i * size & ~clear;
        require_vhdx(vhdx_extents(c->v, offset, size, take_extent, &e, &err), &err);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        size_t k = random ? (size_t)(state % (i + 1)) : i;
        r.items[i] = r.items[k];
        r.items[k] = (struct request){ offset, e.file_offset,
                                       e.kind == VHDX_EXTENT_DATA ? c->fds[e.depth] : -1 };
    }
    return r;
}

/* Every request, both ways, and against the raw file. */
static void check_content(const struct contender *c, const char *name, int raw, bool is_zero)
{
    static uint8_t expected[RANDOM_SIZE], ours[RANDOM_SIZE], baseline[RANDOM_SIZE];

    for (size_t i = 0; i < c->random.count; i++) {
        const struct request *r = &c->random.items[i];
        struct request in_raw = { r->offset, r->offset, is_zero ? -1 : raw };
        read_both_ways(NULL, &in_raw, expected, sizeof expected);
        read_both_ways(NULL, r, baseline, sizeof baseline);
        read_both_ways(c->v, r, ours, sizeof ours);
        require(memcmp(expected, ours, sizeof ours) == 0 &&
                memcmp(expected, baseline, sizeof baseline) == 0, name);
    }
}

static void contender_open(struct contender *c, size_t which, const char *dir, int raw)
{
    for (size_t i = 0; i < CHAIN_MAX; i++)
        c->fds[i] = -1;
    c->v = open_image(dir, images[which].file);
    open_chain_files(c);
    c->random = make_requests(c, RANDOM_SIZE, images[which].clear, true);
    if (which == PLAIN)
        c->sequential = make_requests(c, SEQUENTIAL_SIZE, 0, false);
    check_content(c, images[which].file, raw, which == HOLES);
}

static void contender_close(struct contender *c)
{
    vhdx_close(c->v);
    for (size_t i = 0; i < CHAIN_MAX; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    free(c->random.items);
    free(c->sequential.items);
}

/* The same requests in the raw file. */
static struct requests requests_in_raw(const struct requests *r, int raw)
{
    struct requests other = *r;

    other.items = malloc(r->count * sizeof *r->items);
    require(other.items != NULL, "out of memory");
    for (size_t i = 0; i < r->count; i++)
        other.items[i] = (struct request){ r->items[i].offset, r->items[i].offset, raw };
    return other;
}

/* ---- Rounds --------------------------------------------------------------------------------- */

struct duels {
    struct duel single[IMAGES], threads, scaling, sequential, raw, raw_sequential;
};

static void fight(struct duel *d, struct contender *c, struct requests *r, size_t count,
                  size_t threads, size_t round)
{
    double baseline = 0;

    if (round % 2)
        baseline = measure(NULL, r, count, threads);
    double ours = measure(c->v, r, count, threads);
    if (round % 2 == 0)
        baseline = measure(NULL, r, count, threads);
    duel_add(d, ours, baseline);
}

static void run_round(struct duels *d, struct contender *c, struct requests raw[2], size_t round)
{
    struct contender *plain = &c[PLAIN];

    for (size_t i = 0; i < IMAGES; i++) {
        fight(&d->single[i], &c[i], &c[i].random, RANDOM_COUNT, 1, round);
        c[i].random.cursor += RANDOM_COUNT; /* another share for each in the next turn */
    }
    fight(&d->threads, plain, &plain->random, RANDOM_COUNT, THREADS_MAX, round);
    duel_add(&d->scaling, d->threads.ours[round] / d->single[PLAIN].ours[round],
             d->threads.baseline[round] / d->single[PLAIN].baseline[round]);
    fight(&d->sequential, plain, &plain->sequential, SEQUENTIAL_COUNT, 1, round);
    duel_add(&d->raw, d->single[PLAIN].ours[round], measure(NULL, &raw[0], RANDOM_COUNT, 1));
    duel_add(&d->raw_sequential, d->sequential.ours[round],
             measure(NULL, &raw[1], SEQUENTIAL_COUNT, 1));
}

static void report(struct duel *d, const char *name, const char *unit, const char *baseline,
                   enum target target, double limit)
{
    struct result r = { .name = name, .unit = unit, .baseline_name = baseline, .target = target,
                        .limit = limit };

    duel_decide(d, &r);
    report_result(&r);
}

static void report_all(struct duels *d)
{
    static const char same[] = "pread of the same bytes", raw[] = "pread of raw.img";

    report(&d->single[PLAIN], images[PLAIN].name, "reads/s", same, TARGET_RATIO_MIN, 0.9);
    report(&d->raw, "random 4 KiB, to a raw file", "reads/s", raw, TARGET_NONE, 0);
    report(&d->threads, "random 4 KiB, 2 threads", "reads/s", same, TARGET_NONE, 0);
    report(&d->scaling, "2 threads to 1 thread", "times", same, TARGET_RATIO_MIN, 0.9);
    report(&d->sequential, "sequential 1 MiB", "reads/s", same, TARGET_RATIO_MIN, 0.95);
    report(&d->raw_sequential, "sequential 1 MiB, to a raw file", "reads/s", raw, TARGET_NONE, 0);
    for (size_t i = PLAIN + 1; i < IMAGES; i++)
        report(&d->single[i], images[i].name, "reads/s", i == HOLES ? "memset" : same, TARGET_NONE,
               0);
}

int main(int argc, char **argv)
{
    struct arguments a = arguments_take(argc, argv);
    static struct contender c[IMAGES];
    static struct duels d;
    char *path = path_of(a.dir, "raw.img");
    int fd = open_file(path);

    for (size_t i = 0; i < IMAGES; i++)
        contender_open(&c[i], i, a.dir, fd);
    struct requests raw[2] = { requests_in_raw(&c[PLAIN].random, fd),
                               requests_in_raw(&c[PLAIN].sequential, fd) };
    for (size_t round = 0; round < (a.quick ? 31 : 101); round++)
        run_round(&d, c, raw, round);

    report_begin("read");
    report_all(&d);
    for (size_t i = 0; i < IMAGES; i++)
        contender_close(&c[i]);
    for (size_t i = 0; i < ARRAY_LEN(raw); i++)
        free(raw[i].items);
    close(fd);
    free(path);
    return report_end(&a);
}
