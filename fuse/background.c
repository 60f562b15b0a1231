/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A pipe between parent and child: a byte means ready, its end without one that the child died.
 */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"
#include "verb.h"

static int wait_for_child(pid_t child, int ready_fd)
{
    char byte;
    int status;
    ssize_t got;

    while ((got = read(ready_fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (got == 1)
        return EXIT_FINE;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_FAILED;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    report("the process in the background was ended by signal %d", WTERMSIG(status));
    return EXIT_FAILED;
}

bool background_start(struct background *background, int *ret_exit)
{
    int fds[2];
    pid_t child;

    *ret_exit = EXIT_FAILED;
    fflush(NULL); /* or both would write what is buffered */
    if (pipe2(fds, O_CLOEXEC) < 0) {
        report("cannot go into the background: %s", strerror(errno));
        return false;
    }
    child = fork();
    if (child == 0) {
        close(fds[0]);
        background->ready_fd = fds[1];
        return true;
    }
    close(fds[1]);
    if (child < 0)
        report("cannot go into the background: %s", strerror(errno));
    else
        *ret_exit = wait_for_child(child, fds[0]);
    close(fds[0]);
    return false;
}

void background_ready(struct background *background)
{
    int null;

    if (background->ready_fd < 0)
        return;
    fflush(NULL);
    setsid();
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
            dup2(null, fd);
        close(null);
    }
    if (chdir("/") < 0)
        report_warning("/: %s", strerror(errno)); /* nothing but that folder stays in use */
    while (write(background->ready_fd, "", 1) < 0 && errno == EINTR)
        ;
    close(background->ready_fd);
    background->ready_fd = -1;
}

void background_hold_signals(sigset_t *ret_mask)
{
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    sigprocmask(SIG_BLOCK, &ending, ret_mask);
}
