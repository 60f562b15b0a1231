/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-convert: vhdx_convert() to a raw file, from within a process; bench/run measures whole
 * processes. An empty disk must cost next to nothing however large it is. The baseline for a
 * half-full one is the least that any copy must do: read what is there, write it, make it stable.
 *
 * Input files in the folder:
 *
 *     empty.vhdx   256 GiB, no block present
 *     half.vhdx    1 GiB (256 MiB in quick runs), every other block present, in random order
 *     half.img     the same disk as a sparse raw file
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"

#define PIECE_SIZE (1 * MIB)

/* Milliseconds of the conversion alone; the output is removed again. */
static double time_convert(const char *path, const char *output)
{
    struct vhdx_error err;
    struct vhdx *v;

    require_vhdx(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, &err), &err);
    double start = now_seconds();
    require_vhdx(vhdx_convert(v, output, NULL, &err), &err);
    double seconds = now_seconds() - start;
    vhdx_close(v);
    unlink(output);
    return seconds * 1e3;
}

static void copy_data(int in, int out, off_t size)
{
    static uint8_t buf[PIECE_SIZE] __attribute__((aligned(4096)));

    for (off_t at = 0; at < size;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0)
            return;
        off_t hole = lseek(in, data, SEEK_HOLE);
        for (at = data; at < hole;) {
            size_t n = (size_t)(hole - at) < sizeof buf ? (size_t)(hole - at) : sizeof buf;
            require(pread(in, buf, n, at) == (ssize_t)n, "pread fell short");
            require(pwrite(out, buf, n, at) == (ssize_t)n, "pwrite fell short");
            at += (off_t)n;
        }
    }
}

/* Milliseconds to copy the data of a sparse file. */
static double time_copy(const char *path, const char *output)
{
    struct stat st;
    double start = now_seconds();
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(output, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    require(in >= 0 && out >= 0 && fstat(in, &st) == 0, "a file cannot be opened");
    require(ftruncate(out, st.st_size) == 0, "ftruncate failed");
    copy_data(in, out, st.st_size);
    require(fsync(out) == 0, "fsync failed");
    close(in);
    close(out);
    double seconds = now_seconds() - start;
    unlink(output);
    return seconds * 1e3;
}

static void report_empty(const char *dir, const char *output, bool quick)
{
    char *path = path_of(dir, "empty.vhdx");
    static double ms[ROUNDS_MAX];
    size_t rounds = quick ? 21 : 101;

    for (size_t i = 0; i < rounds; i++)
        ms[i] = time_convert(path, output);
    report_result(&(struct result){ .name = "vhdx_convert, empty 256 GiB", .unit = "ms",
                                    .value = median(ms, rounds), .target = TARGET_VALUE_MAX,
                                    .limit = 20 });
    free(path);
}

static void report_half(const char *dir, const char *output, bool quick)
{
    char *path = path_of(dir, "half.vhdx"), *raw = path_of(dir, "half.img");
    struct result r = { .name = "vhdx_convert, half-full", .unit = "ms",
                        .baseline_name = "read, write, sync" };
    static struct duel d;

    for (int i = 0; i < (quick ? 5 : 11); i++) {
        double baseline = i % 2 ? time_copy(raw, output) : 0;
        double ours = time_convert(path, output);
        duel_add(&d, ours, i % 2 ? baseline : time_copy(raw, output));
    }
    duel_decide(&d, &r);
    report_result(&r);
    free(path);
    free(raw);
}

int main(int argc, char **argv)
{
    struct arguments a = arguments_take(argc, argv);
    char *output = path_of(a.dir, "output.img");

    unlink(output);
    report_begin("convert");
    report_empty(a.dir, output, a.quick);
    report_half(a.dir, output, a.quick);
    free(output);
    return report_end(&a);
}
