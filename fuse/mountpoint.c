/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Mount points. Root unmounts by itself, everybody else through fusermount3, which is set-user-ID
 * and allows it for one's own mounts.
 */
#include "mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture.h"
#include "report.h"
#include "scope.h"

static void close_stream(FILE **stream)
{
    if (*stream)
        fclose(*stream);
}

static void close_folder(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

/* PARENT/NAME with PARENT resolved: the folder itself is not touched, its server may be gone. */
static char *resolve_parent(const char *dir)
{
    SCOPED_FREE char *for_parent = strdup(dir), *for_name = strdup(dir), *parent = NULL;
    char *path;

    if (!for_parent || !for_name)
        return NULL;
    parent = realpath(dirname(for_parent), NULL);
    if (!parent || asprintf(&path, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent,
                            basename(for_name)) < 0)
        return NULL;
    return path;
}

char *mountpoint_resolve(const char *dir)
{
    char *path = realpath(dir, NULL);

    return path || (errno != ENOTCONN && errno != EACCES && errno != ECONNABORTED && errno != EIO)
               ? path : resolve_parent(dir);
}

/* "\040" and its like, as the kernel writes spaces and other characters there. In place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        unsigned digits[3];
        bool escaped = from[0] == '\\';
        for (int i = 0; escaped && i < 3; i++) {
            digits[i] = (unsigned)from[1 + i] - '0';
            escaped = digits[i] < 8;
        }
        *to = escaped ? (char)(digits[0] << 6 | digits[1] << 3 | digits[2]) : *from;
        from += escaped ? 4 : 1;
    }
    *to = '\0';
}

/* The mount point, unescaped in place, of a line of mountinfo; empty if there is none. */
static char *place_of(char *line)
{
    for (int field = 0; field < 4; field++) {
        line += strcspn(line, " ");
        line += *line == ' ' ? 1 : 0;
    }
    line[strcspn(line, " ")] = '\0';
    unescape(line);
    return line;
}

enum mountpoint_state mountpoint_look_up(const char *path)
{
    SCOPED(close_stream) FILE *mounts = fopen("/proc/self/mountinfo", "re");
    SCOPED_FREE char *line = NULL;
    size_t line_size = 0;
    enum mountpoint_state state = MOUNTPOINT_FREE;

    /* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS: proc(5). Of
       several at one place the last is the one on top. */
    while (mounts && getline(&line, &line_size, mounts) > 0) {
        const char *rest = strstr(line, " - ");

        if (rest && strcmp(place_of(line), path) == 0)
            state = strncmp(rest + 3, MOUNTPOINT_TYPE " ", sizeof(MOUNTPOINT_TYPE)) == 0
                        ? MOUNTPOINT_OURS : MOUNTPOINT_OTHER;
    }
    return state;
}

static bool is_empty(DIR *folder)
{
    struct dirent *entry;

    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return false;
    return true;
}

bool mountpoint_check(const char *dir)
{
    SCOPED(close_folder) DIR *folder = opendir(dir);

    if (!folder) {
        int code = errno;
        report("%s: %s", dir, strerror(code));
        if (code == ENOENT)
            report_hint("make the folder first: 'mkdir FOLDER'");
        if (code == ENOTCONN || code == ECONNABORTED)
            report_hint("a mount without its program is left there: 'vhdx umount FOLDER' removes "
                        "it");
        return false;
    }
    if (is_empty(folder))
        return true;
    report("%s: is not empty: something may be mounted there already", dir);
    report_hint("mount on an empty folder; 'vhdx umount FOLDER' ends an earlier mount");
    return false;
}

/* Returns what fusermount3 has to say; NULL when it succeeded. */
static const char *run_fusermount(const char *path, char text[CAPTURE_TEXT])
{
    char name[] = "fusermount3", option[] = "-u", end[] = "--";
    SCOPED_FREE char *operand = strdup(path);
    char *const argv[] = { name, option, end, operand, NULL };
    struct capture capture;
    int status = 0;
    pid_t child;

    if (!operand)
        return "out of memory";
    capture_begin(&capture);
    int r = posix_spawnp(&child, name, NULL, NULL, argv, environ);
    while (r == 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    capture_end(&capture, text);
    if (r == ENOENT)
        return "fusermount3 is not installed (package fuse3)";
    if (r != 0)
        return strerror(r);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    return text[0] != '\0' ? text : "fusermount3 failed";
}

bool mountpoint_unmount(const char *path, const char *name)
{
    char text[CAPTURE_TEXT];
    const char *problem = NULL;

    if (umount2(path, UMOUNT_NOFOLLOW) == 0)
        return true;
    if (geteuid() == 0)
        problem = strerror(errno);
    else
        problem = run_fusermount(path, text);
    if (!problem)
        return true;
    report("%s: %s", name, problem);
    if (strstr(problem, strerror(EBUSY)))
        report_hint("a program still uses it: 'fuser -vm FOLDER' shows which");
    return false;
}
