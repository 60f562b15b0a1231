/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Catching standard error, also that of programs that are started meanwhile, in an anonymous file.
 */
#include "capture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void capture_begin(struct capture *capture)
{
    int memory = memfd_create("standard-error", MFD_CLOEXEC);

    capture->saved = memory < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (capture->saved >= 0 && dup2(memory, STDERR_FILENO) < 0) {
        close(capture->saved);
        capture->saved = -1;
    }
    if (memory >= 0)
        close(memory);
}

/* Drops "PROGRAM: " from the beginning and all from the first newline on. */
static void trim_line(char *text)
{
    char *colon;

    text[strcspn(text, "\n")] = '\0';
    colon = strstr(text, ": ");
    if (colon && strcspn(text, " ") > (size_t)(colon - text))
        memmove(text, colon + 2, strlen(colon + 2) + 1);
}

void capture_end(struct capture *capture, char text[CAPTURE_TEXT])
{
    ssize_t len;

    text[0] = '\0';
    if (capture->saved < 0)
        return;
    len = pread(STDERR_FILENO, text, CAPTURE_TEXT - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    trim_line(text);
}
