/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-write: changes of an image, next to the same pwrite() and fdatasync() calls on a sparse raw
 * file. It makes its files in the folder itself. What is about flushes means something on a disk
 * only, not in a memory file system.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define SMALL (4 * KIB)
#define OVERWRITE_SIZE (256 * MIB)
#define OVERWRITE_COUNT 4096
#define SCATTER_COUNT 4096
#define SCATTER_LEN (64 * KIB)
#define BLOCK_SIZE (2 * MIB)
#define COMMITS 100

static uint8_t data[MIB] __attribute__((aligned(4096)));

/* An image, and a raw file to compare with. */
struct pair {
    struct vhdx *v;
    int fd;
    char *path, *raw;
};

static void create(const char *path, uint64_t size, uint32_t block_size, const char *parent)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_error err;

    o.size = size;
    o.block_size = block_size;
    o.parent_path = parent;
    o.flags = VHDX_CREATE_REPLACE;
    require_vhdx(vhdx_create(path, &o, &err), &err);
}

static struct vhdx *open_image(const char *path)
{
    struct vhdx_error err;
    struct vhdx *v;

    require_vhdx(vhdx_open(path, VHDX_OPEN_RDWR, NULL, &v, &err), &err);
    return v;
}

static struct pair pair_begin(const char *dir, uint64_t size, uint32_t block_size)
{
    struct pair p = { .path = path_of(dir, "write.vhdx"), .raw = path_of(dir, "write.img") };

    create(p.path, size, block_size, NULL);
    p.v = open_image(p.path);
    p.fd = open(p.raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    require(p.fd >= 0 && ftruncate(p.fd, (off_t)size) == 0, "the raw file cannot be made");
    return p;
}

static void pair_end(struct pair *p)
{
    vhdx_close(p->v);
    close(p->fd);
    unlink(p->path);
    unlink(p->raw);
    free(p->path);
    free(p->raw);
}

/* v NULL: the raw file. */
static void put(const struct pair *p, bool raw, size_t len, uint64_t offset)
{
    struct vhdx_error err;

    if (raw)
        require(pwrite(p->fd, data, len, (off_t)offset) == (ssize_t)len, "pwrite fell short");
    else
        require_vhdx(vhdx_pwrite(p->v, data, len, offset, 0, &err), &err);
}

static void flush(const struct pair *p, bool raw)
{
    struct vhdx_error err;

    if (raw)
        require(fdatasync(p->fd) == 0, "fdatasync failed");
    else
        require_vhdx(vhdx_flush(p->v, &err), &err);
}

static void report(struct duel *d, const char *name, const char *unit, const char *baseline,
                   enum target target, double limit)
{
    struct result r = { .name = name, .unit = unit, .baseline_name = baseline, .target = target,
                        .limit = limit };

    duel_decide(d, &r);
    report_result(&r);
}

/* ---- Overwriting ---------------------------------------------------------------------------- */

/* Writes per second; the same places for both. */
static double time_overwrite(const struct pair *p, bool raw, uint64_t round)
{
    uint64_t state = 88172645463325252u + round;
    double start = now_seconds();

    for (int i = 0; i < OVERWRITE_COUNT; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        put(p, raw, SMALL, state % (OVERWRITE_SIZE / SMALL) * SMALL);
    }
    return OVERWRITE_COUNT / (now_seconds() - start);
}

static void bench_overwrite(const struct arguments *a)
{
    struct pair p = pair_begin(a->dir, OVERWRITE_SIZE, BLOCK_SIZE);
    static struct duel d;

    for (uint64_t at = 0; at < OVERWRITE_SIZE; at += sizeof data) {
        put(&p, false, sizeof data, at);
        put(&p, true, sizeof data, at);
    }
    flush(&p, false);
    flush(&p, true);
    for (uint64_t i = 0; i < (a->quick ? 21 : 101); i++) {
        double baseline = i % 2 ? time_overwrite(&p, true, i) : 0;
        double ours = time_overwrite(&p, false, i);
        duel_add(&d, ours, i % 2 ? baseline : time_overwrite(&p, true, i));
    }
    report(&d, "overwriting, random 4 KiB", "writes/s", "pwrite", TARGET_RATIO_MIN, 0.9);
    pair_end(&p);
}

/* ---- Allocating ----------------------------------------------------------------------------- */

/* Each write falls into another block. */
static double time_scatter(const struct pair *p, bool raw)
{
    double start = now_seconds();

    for (uint64_t i = 0; i < SCATTER_COUNT; i++)
        put(p, raw, SCATTER_LEN,
            i * 1597 % SCATTER_COUNT * BLOCK_SIZE +
                i * 7 % (BLOCK_SIZE / SCATTER_LEN) * SCATTER_LEN);
    flush(p, raw);
    return (now_seconds() - start) * 1e3;
}

static void bench_scatter(const struct arguments *a)
{
    static struct duel d;

    for (int i = 0; i < (a->quick ? 3 : 7); i++) {
        struct pair p = pair_begin(a->dir, SCATTER_COUNT * BLOCK_SIZE, BLOCK_SIZE);
        double baseline = i % 2 ? time_scatter(&p, true) : 0;
        double ours = time_scatter(&p, false);
        duel_add(&d, ours, i % 2 ? baseline : time_scatter(&p, true));
        pair_end(&p);
    }
    report(&d, "4096 scattered 64 KiB and a flush", "ms", "pwrite, fdatasync",
           TARGET_RATIO_MAX, 1.5);
}

static double time_fill(const struct pair *p, bool raw, uint64_t size)
{
    double start = now_seconds();

    for (uint64_t at = 0; at < size; at += sizeof data)
        put(p, raw, sizeof data, at);
    flush(p, raw);
    return (double)(size / MIB) / (now_seconds() - start);
}

static void bench_fill(const struct arguments *a)
{
    uint64_t size = a->quick ? GIB / 2 : 4 * GIB;
    static struct duel d;

    for (int i = 0; i < 3; i++) {
        struct pair p = pair_begin(a->dir, size, 32 * MIB);
        double baseline = i % 2 ? time_fill(&p, true, size) : 0;
        double ours = time_fill(&p, false, size);
        duel_add(&d, ours, i % 2 ? baseline : time_fill(&p, true, size));
        pair_end(&p);
    }
    report(&d, a->quick ? "filling 512 MiB" : "filling 4 GiB", "MiB/s", "pwrite, fdatasync",
           TARGET_RATIO_MIN, 0.9);
}

/* ---- Flushing ------------------------------------------------------------------------------- */

/* Commits per second: an allocating write and a flush each. */
static double time_commits(const struct pair *p, bool raw, uint64_t first)
{
    double start = now_seconds();

    for (uint64_t i = 0; i < COMMITS; i++) {
        put(p, raw, SMALL, (first + i) * MIB);
        flush(p, raw);
    }
    return COMMITS / (now_seconds() - start);
}

static void bench_commits(const struct arguments *a)
{
    struct pair p = pair_begin(a->dir, 64 * GIB, MIB);
    static struct duel d;

    time_commits(&p, false, 0); /* the session begins */
    time_commits(&p, true, 0);
    for (uint64_t i = 1; i <= (a->quick ? 3 : 9); i++) {
        double baseline = i % 2 ? time_commits(&p, true, i * COMMITS) : 0;
        double ours = time_commits(&p, false, i * COMMITS);
        duel_add(&d, ours, i % 2 ? baseline : time_commits(&p, true, i * COMMITS));
    }
    report(&d, "allocating 4 KiB and a flush", "1/s", "pwrite, fdatasync", TARGET_RATIO_MIN, 0.7);
    pair_end(&p);
}

static unsigned flushes;
static int (*real_flush)(void *opaque);

static int count_flush(void *opaque)
{
    flushes++;
    return real_flush(opaque);
}

static void bench_flush_count(const struct arguments *a, const char *name, bool is_child)
{
    char *path = path_of(a->dir, "count.vhdx"), *parent = path_of(a->dir, "parent.vhdx");
    const char *parents[1] = { parent };
    struct vhdx_open_options o = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_error err;
    struct vhdx_io io;
    struct pair p = { .fd = -1 };

    create(parent, 4 * GIB, MIB, NULL);
    create(path, 4 * GIB, MIB, is_child ? parent : NULL);
    require_vhdx(vhdx_io_file(path, VHDX_OPEN_RDWR, &io, &err), &err);
    real_flush = io.flush;
    io.flush = count_flush;
    o.parents = parents;
    o.parents_count = is_child;
    require_vhdx(vhdx_open_io(&io, VHDX_OPEN_RDWR, &o, &p.v, &err), &err);
    time_commits(&p, false, 0);
    flushes = 0;
    for (uint64_t i = 1; i <= 4; i++)
        time_commits(&p, false, i * COMMITS);
    report_result(&(struct result){ .name = name, .unit = "flushes", .target = TARGET_VALUE_MAX,
                                    .value = (double)flushes / (4 * COMMITS),
                                    .limit = is_child ? 2 : 1 });
    vhdx_close(p.v);
    unlink(path);
    unlink(parent);
    free(path);
    free(parent);
}

/* ---- Memory and creation -------------------------------------------------------------------- */

/* The field of /proc/self/status that begins with name, in MiB. */
static double status_mib(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;

    require(file != NULL, "there is no /proc");
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), "%lf", &kib);
    fclose(file);
    return kib / 1024;
}

static void forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");

    require(file && fputs("5", file) >= 0 && fclose(file) == 0, "clear_refs cannot be written");
}

/* In a process of its own, whose peak nothing else has raised. */
static double child_peak_mib(const char *dir)
{
    double before, peak = 0;
    int ends[2];

    require(pipe(ends) == 0, "pipe failed");
    fflush(stdout);
    pid_t pid = fork();
    require(pid >= 0, "fork failed");
    if (pid == 0) {
        struct pair p = pair_begin(dir, 64 * GIB, MIB);
        put(&p, false, SMALL, 0); /* what is not for the writing comes into memory */
        flush(&p, false);
        forget_peak();
        before = status_mib("VmRSS:");
        time_fill(&p, false, GIB);
        time_scatter(&p, false);
        peak = status_mib("VmHWM:") - before;
        pair_end(&p);
        _exit(write(ends[1], &peak, sizeof peak) == sizeof peak ? 0 : 1);
    }
    require(read(ends[0], &peak, sizeof peak) == sizeof peak, "no answer");
    waitpid(pid, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    return peak;
}

static void bench_create(const struct arguments *a)
{
    char *path = path_of(a->dir, "large.vhdx");
    static double ms[ROUNDS_MAX];
    struct stat st;
    int rounds = a->quick ? 11 : 51;

    for (int i = 0; i < rounds; i++) {
        unlink(path);
        double start = now_seconds();
        create(path, 64 * TIB, MIB, NULL);
        ms[i] = (now_seconds() - start) * 1e3;
    }
    require(stat(path, &st) == 0, path);
    report_result(&(struct result){ .name = "vhdx_create, 64 TiB", .unit = "ms",
                                    .value = median(ms, (size_t)rounds),
                                    .target = TARGET_VALUE_MAX, .limit = 10 });
    report_result(&(struct result){ .name = "its space on disk", .unit = "MiB",
                                    .value = (double)st.st_blocks * 512 / MIB,
                                    .target = TARGET_VALUE_MAX, .limit = 4 });
    unlink(path);
    free(path);
}

int main(int argc, char **argv)
{
    struct arguments a = arguments_take(argc, argv);

    memset(data, 0x5a, sizeof data);
    report_begin("write");
    report_result(&(struct result){ .name = "peak memory while writing", .unit = "MiB",
                                    .value = child_peak_mib(a.dir), .target = TARGET_VALUE_MAX,
                                    .limit = 16 });
    bench_create(&a);
    bench_flush_count(&a, "flushes of a commit", false);
    bench_flush_count(&a, "flushes of a commit, child", true);
    bench_overwrite(&a);
    bench_commits(&a);
    bench_scatter(&a);
    bench_fill(&a);
    return report_end(&a);
}
