/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-check: the check goes through a whole BAT in little more time than reading it takes, and in
 * memory that does not grow with it.
 *
 * Input files in the folder:
 *
 *     large.vhdx      64 TiB (4 TiB in quick runs) in blocks of 1 MiB, all of them present
 *     strided.vhdx    the same, its blocks far from their neighbours in the file
 */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define PIECE_SIZE (64 * KIB) /* of the baseline's reads of the BAT */
#define SECONDS_MAX 1.5
#define PEAK_KIB_MAX (32 * 1024)

/* Seconds. */
static double time_check(const char *path)
{
    struct vhdx_check_result result = VHDX_CHECK_RESULT_INIT;
    struct vhdx_error err;
    double start = now_seconds();

    require_vhdx(vhdx_check(path, NULL, &result, &err), &err);
    double seconds = now_seconds() - start;
    require(result.complete && result.errors + result.fatals + result.leaks == 0,
            "the input is not clean");
    require(result.allocated_blocks == result.total_blocks, "the input is not full");
    return seconds;
}

/* Seconds to read the BAT once, piece by piece. */
static double time_bat(const char *path, const struct vhdx_info *info)
{
    static uint8_t buf[PIECE_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    double start = now_seconds();

    require(fd >= 0, path);
    for (uint64_t done = 0; done < info->bat_entries * 8; done += sizeof buf)
        require(pread(fd, buf, sizeof buf, (off_t)(info->bat_offset + done)) > 0, "pread failed");
    double seconds = now_seconds() - start;
    close(fd);
    return seconds;
}

static void report_time(const char *path, const char *name, bool quick)
{
    struct result r = { .name = name, .unit = "s", .baseline_name = "pread of the BAT",
                        .target = TARGET_VALUE_MAX, .limit = quick ? SECONDS_MAX / 16
                                                                   : SECONDS_MAX };
    struct vhdx_info info = VHDX_INFO_INIT;
    static struct duel d;
    struct vhdx_error err;
    struct vhdx *v;

    require_vhdx(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, &err), &err);
    require_vhdx(vhdx_get_info(v, &info, &err), &err);
    d.rounds = 0;
    for (int round = 0; round < (quick ? 5 : 7); round++) {
        double ours = time_check(path);
        duel_add(&d, ours, time_bat(path, &info));
    }
    vhdx_close(v);
    duel_decide(&d, &r);
    report_result(&r);
}

/* The peak of a child process. */
static void report_peak(const char *path)
{
    struct rusage usage;
    int status;
    pid_t child = fork();

    require(child >= 0, "fork failed");
    if (child == 0) {
        time_check(path);
        _exit(0);
    }
    require(wait4(child, &status, 0, &usage) == child && status == 0, "a child process failed");
    report_result(&(struct result){ .name = "peak memory of a check", .unit = "KiB",
                                    .value = (double)usage.ru_maxrss,
                                    .target = TARGET_VALUE_MAX, .limit = PEAK_KIB_MAX });
}

int main(int argc, char **argv)
{
    struct arguments a = arguments_take(argc, argv);
    char *large = path_of(a.dir, "large.vhdx"), *strided = path_of(a.dir, "strided.vhdx");

    report_begin("check");
    report_peak(large); /* first: what this process holds counts for the child */
    report_time(large, "check, blocks in order", a.quick);
    report_time(strided, "check, blocks far apart", a.quick);
    free(large);
    free(strided);
    return report_end(&a);
}
