/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-open: opening must cost the same whatever the size of the disk, and going through all
 * extents must read the BAT once, in memory that does not grow with it.
 *
 * Input files in the folder:
 *
 *     large.vhdx      64 TiB (4 TiB in quick runs) in blocks of 1 MiB, all of them present
 *     small.vhdx      its twin of 1 GiB
 *     scattered.vhdx  1 TiB in blocks of 1 MiB, all present, each an extent of its own
 *     child.vhdx      64 GiB in blocks of 1 MiB, of each of which the first half is present
 */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define OPENS_PER_ROUND 5
#define OPENS_OF_PEAK 5 /* memory that was freed must not make the next opening dearer */
#define PIECE_SIZE (64 * KIB) /* of the baseline's reads of the BAT */

static struct vhdx *open_image(const char *path)
{
    struct vhdx_error err;
    struct vhdx *v;

    require_vhdx(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, &err), &err);
    return v;
}

static int count_extent(const struct vhdx_extent *e, void *opaque)
{
    (void)e;
    ++*(uint64_t *)opaque;
    return 0;
}

/* Returns their number. */
static uint64_t walk(struct vhdx *v)
{
    struct vhdx_error err;
    uint64_t count = 0;

    require_vhdx(vhdx_extents(v, 0, vhdx_size(v), count_extent, &count, &err), &err);
    return count;
}

/* ---- Memory --------------------------------------------------------------------------------- */

static void do_nothing(const char *path)
{
    (void)path;
}

static void open_close(const char *path)
{
    for (int i = 0; i < OPENS_OF_PEAK; i++)
        vhdx_close(open_image(path));
}

static void open_walk_close(const char *path)
{
    struct vhdx *v = open_image(path);

    walk(v);
    vhdx_close(v);
}

/* The peak of a child process, KiB. What it inherits from this process counts as well. */
static double peak_kib(void (*fn)(const char *path), const char *path)
{
    struct rusage usage;
    int status;
    pid_t child = fork();

    require(child >= 0, "fork failed");
    if (child == 0) {
        fn(path);
        _exit(0);
    }
    require(wait4(child, &status, 0, &usage) == child && status == 0, "a child process failed");
    return (double)usage.ru_maxrss;
}

static void report_peaks(const char *large, const char *small)
{
    double nothing = peak_kib(do_nothing, NULL);

    double opening = peak_kib(open_close, large);
    report_result(&(struct result){ .name = "peak memory of open + close, large", .unit = "KiB",
                                    .value = opening,
                                    .baseline_name = "a process that does nothing",
                                    .baseline = nothing, .ratio = opening / nothing,
                                    .target = TARGET_VALUE_MAX, .limit = 8 * 1024 });
    /* To find blocks that overlap takes a bit for each MiB of the file: 8 MiB for 64 TiB. */
    double walking = peak_kib(open_walk_close, large), other = peak_kib(open_walk_close, small);
    report_result(&(struct result){ .name = "peak memory of all extents, large", .unit = "KiB",
                                    .value = walking, .baseline_name = "1 GiB twin",
                                    .baseline = other, .ratio = walking / other,
                                    .target = TARGET_VALUE_MAX, .limit = 16 * 1024 });
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Microseconds. */
static double time_opens(const char *path)
{
    double start = now_seconds();

    for (int i = 0; i < OPENS_PER_ROUND; i++)
        vhdx_close(open_image(path));
    return (now_seconds() - start) / OPENS_PER_ROUND * 1e6;
}

static void report_opens(const char *large, const char *small, bool quick)
{
    static struct duel d;
    struct result r = { .name = "open + close, large", .unit = "us", .baseline_name = "1 GiB twin",
                        .target = TARGET_VALUE_MAX, .limit = 1000 };

    for (int round = 0; round < (quick ? 201 : 1001); round++) {
        double ours = time_opens(large);
        duel_add(&d, ours, time_opens(small));
    }
    duel_decide(&d, &r);
    report_result(&r);
}

/* ---- Extents -------------------------------------------------------------------------------- */

/* Microseconds to read the BAT once, piece by piece. */
static double time_bat(const char *path, const struct vhdx_info *info)
{
    static uint8_t buf[PIECE_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t len = info->bat_entries * 8;
    double start = now_seconds();

    require(fd >= 0, path);
    for (uint64_t done = 0; done < len; done += sizeof buf)
        require(pread(fd, buf, sizeof buf, (off_t)(info->bat_offset + done)) > 0, "pread failed");
    double seconds = now_seconds() - start;
    close(fd);
    return seconds * 1e6;
}

/* Nanoseconds per block of the disk. A handle of its own each time: nothing is loaded. */
static void report_walk(const char *path, const char *name, int rounds)
{
    struct result r = { .name = name, .unit = "ns per block",
                        .baseline_name = "pread of the BAT" };
    static struct duel d;

    d.rounds = 0;
    for (int i = 0; i < rounds; i++) {
        struct vhdx_info info = VHDX_INFO_INIT;
        struct vhdx_error err;
        struct vhdx *v = open_image(path);
        require_vhdx(vhdx_get_info(v, &info, &err), &err);
        double start = now_seconds();
        walk(v);
        double seconds = now_seconds() - start;
        double blocks = (double)(vhdx_size(v) / vhdx_block_size(v));
        duel_add(&d, seconds * 1e9 / blocks, time_bat(path, &info) * 1e3 / blocks);
        vhdx_close(v);
    }
    duel_decide(&d, &r);
    report_result(&r);
}

/* A file that counts how it is read. */
struct counter {
    struct vhdx_io file;
    uint64_t preads, bytes;
    uint64_t bat_offset, bat_end; /* 0 until known */
    uint64_t bat_bytes;           /* of the BAT, those read twice counted twice */
};

static void count_bat(struct counter *c, uint64_t start, uint64_t end)
{
    start = start < c->bat_offset ? c->bat_offset : start;
    end = end > c->bat_end ? c->bat_end : end;
    c->bat_bytes += start < end ? end - start : 0;
}

static int counter_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct counter *c = opaque;

    c->preads++;
    c->bytes += len;
    count_bat(c, offset, offset + len);
    return c->file.pread(c->file.opaque, buf, len, offset);
}

static int counter_size(void *opaque, uint64_t *ret_size)
{
    struct counter *c = opaque;

    return c->file.size(c->file.opaque, ret_size);
}

static void counter_close(void *opaque)
{
    struct counter *c = opaque;

    c->file.close(c->file.opaque);
}

/* folder: where its parent is. */
static struct vhdx *open_counted(const char *path, const char *folder, struct counter *c)
{
    struct vhdx_open_options options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_io io = VHDX_IO_INIT;
    struct vhdx_error err;
    struct vhdx *v;

    require_vhdx(vhdx_io_file(path, VHDX_OPEN_RDONLY, &c->file, &err), &err);
    io.opaque = c;
    io.pread = counter_pread;
    io.size = counter_size;
    io.close = counter_close;
    options.search_dirs = &folder;
    options.search_dirs_count = 1;
    require_vhdx(vhdx_open_io(&io, VHDX_OPEN_RDONLY, &options, &v, &err), &err);
    return v;
}

static void report_count(const char *name, const char *unit, uint64_t value)
{
    report_result(&(struct result){ .name = name, .unit = unit, .value = (double)value });
}

struct counted {
    const char *opening, *opening_bytes, *extents, *preads, *bat_bytes; /* names of results */
    double bat_max; /* times the size of the BAT that may be read of it */
};

static void report_counts(const char *path, const char *folder, const struct counted *names)
{
    struct counter c = { .file = VHDX_IO_INIT };
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;
    struct vhdx *v = open_counted(path, folder, &c);

    require_vhdx(vhdx_get_info(v, &info, &err), &err);
    report_count(names->opening, "calls", c.preads);
    report_count(names->opening_bytes, "bytes", c.bytes);
    c = (struct counter){ .file = c.file, .bat_offset = info.bat_offset,
                          .bat_end = info.bat_offset + 8 * info.bat_entries };
    report_count(names->extents, "extents", walk(v));
    report_count(names->preads, "calls", c.preads);

    double size = (double)(c.bat_end - c.bat_offset), read = (double)c.bat_bytes;
    report_result(&(struct result){ .name = names->bat_bytes, .unit = "bytes", .value = read,
                                    .baseline_name = "size of the BAT", .baseline = size,
                                    .ratio = read / size, .target = TARGET_RATIO_MAX,
                                    .limit = names->bat_max });
    vhdx_close(v);
}

static const struct counted of_large = {
    "preads of opening, large", "bytes of opening, large", "number of extents, large",
    "preads of all extents, large", "BAT bytes of all extents, large", 1,
};

/* An entry of a sector bitmap block is needed before the walk gets there: a page for each chunk. */
static const struct counted of_child = {
    "preads of opening, child", "bytes of opening, child", "number of extents, child",
    "preads of all extents, child", "BAT bytes of all extents, child", 1.125,
};

int main(int argc, char **argv)
{
    struct arguments a = arguments_take(argc, argv);
    char *large = path_of(a.dir, "large.vhdx"), *small = path_of(a.dir, "small.vhdx");
    char *scattered = path_of(a.dir, "scattered.vhdx"), *child = path_of(a.dir, "child.vhdx");

    report_begin("open");
    report_peaks(large, small); /* first: children inherit what this process has touched */
    report_opens(large, small, a.quick);
    report_counts(large, a.dir, &of_large);
    report_counts(child, a.dir, &of_child);
    report_walk(large, "all extents, large", a.quick ? 5 : 3);
    report_walk(scattered, "all extents, each block one", a.quick ? 5 : 15);
    report_walk(child, "all extents, child, each block two", a.quick ? 5 : 15);
    free(large);
    free(small);
    free(scattered);
    free(child);
    return report_end(&a);
}
