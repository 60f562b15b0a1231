/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx umount: ends mounts of `vhdx mount`, and waits until the program behind has finished the
 * image. It needs neither libfuse nor the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ask.h"
#include "mountpoint.h"
#include "options.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

/* Seconds: until a word is said, and from then on. */
#define PATIENCE 3
#define PATIENCE_AT_MOST 12

/* A handle on the program behind the mount; negative when it is dead or cannot be asked: then
   there is nobody to wait for. */
static int open_server(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int32_t pid = 0;
    int server = -1;

    if (folder < 0)
        return -1;
    if (ioctl(folder, MOUNT_ASK_PID, &pid) == 0 && pid > 0)
        server = (int)syscall(SYS_pidfd_open, pid, 0);
    close(folder);
    return server;
}

/* Makes what was written stable while there is still somebody to tell that it went wrong. */
static bool flush(const char *path, const char *name)
{
    SCOPED_FREE char *disk = NULL;
    int code = 0;

    if (asprintf(&disk, "%s/disk", path) < 0) {
        disk = NULL;
        return true;
    }
    int fd = open(disk, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* dead, or another user's: the unmounting will tell */
        return true;
    if (fsync(fd) < 0)
        code = errno;
    close(fd);
    if (code == 0)
        return true;
    report("%s: what was written last may be lost: %s", name, strerror(code));
    return false;
}

static bool has_ended(int server, int seconds)
{
    struct pollfd end = { .fd = server, .events = POLLIN };
    int r;

    while ((r = poll(&end, 1, seconds * 1000)) < 0 && errno == EINTR)
        ;
    return r > 0;
}

/* A mount may be seen at other places, too, and lives as long as the last of them. */
static bool wait_for_end(int server, const char *name)
{
    if (has_ended(server, PATIENCE))
        return true;
    report_note("%s: unmounted; waiting for the program behind to finish the image", name);
    if (has_ended(server, PATIENCE_AT_MOST))
        return true;
    report("%s: unmounted here, but the image is still open", name);
    report_hint("the mount is used elsewhere, too: bound to another folder, or in a container; "
                "'grep vhdx /proc/*/mountinfo' shows where");
    return false;
}

static bool unmount(const char *name)
{
    SCOPED_FREE char *path = mountpoint_resolve(name);
    bool fine = true;
    int server;

    if (!path) {
        report("%s: %s", name, strerror(errno));
        return false;
    }
    switch (mountpoint_look_up(path)) {
    case MOUNTPOINT_FREE:
        report("%s: is not mounted", name);
        return false;
    case MOUNTPOINT_OTHER:
        report("%s: is not a mount of vhdx; 'umount' or 'fusermount3 -u' may be what you want",
               name);
        return false;
    case MOUNTPOINT_OURS:
        break;
    }
    server = open_server(path);
    fine = flush(path, name);
    if (!mountpoint_unmount(path, name))
        fine = false;
    else if (server >= 0)
        fine = wait_for_end(server, name) && fine;
    if (server >= 0)
        close(server);
    return fine;
}

static bool take_option(int option, const char *arg, void *own)
{
    (void)option;
    (void)arg;
    (void)own;
    return false; /* there are none */
}

static int run_umount(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    bool fine = true;
    int exit_code;

    if (!options_parse(argc, argv, &verb_umount, &common, NULL, &exit_code))
        return exit_code;
    for (size_t i = 0; i < common.operands_count; i++)
        if (!unmount(common.operands[i]))
            fine = false;
    return fine ? EXIT_FINE : EXIT_FAILED;
}

static const struct option longs[] = {
    { NULL, 0, NULL, 0 },
};

const struct verb verb_umount = {
    .name = "umount",
    .alias = "dismount-vhd",
    .operands = "DIR...",
    .summary = "end what 'vhdx mount' began",
    .help =
        "Unmounts images that 'vhdx mount' has mounted on the folders, and waits until each is\n"
        "finished and unlocked.\n",
    .shorts = "",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .run = run_umount,
};
