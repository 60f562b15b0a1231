/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The progress bar: on standard error, by default only if that is a terminal.
 */
#ifndef VHDX_CLI_PROGRESS_H
#define VHDX_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum progress_mode {
    PROGRESS_ON_TERMINAL,
    PROGRESS_NEVER,  /* -q */
    PROGRESS_ALWAYS, /* -p */
    PROGRESS_JSON,   /* --progress=json */
};

struct progress {
    bool enabled;
    bool json;
    bool finished;         /* the line that says so was printed */
    bool updated;
    uint64_t done, total;  /* as last told */
    bool terminal;         /* redraw one line there; elsewhere print lines */
    bool drawn;            /* a line stands on the terminal */
    struct timespec start;
    double drawn_seconds;  /* when the last line was drawn, since start */
};

#define PROGRESS_LINE_TEXT 160

/* Starts the clock; from here on SIGUSR1 is only noted, and answered by the next update. */
void progress_init(struct progress *progress, enum progress_mode mode);

/* Draws the bar, at most a few times a second. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/* Removes the bar from the terminal. Before anything else is printed. */
void progress_finish(struct progress *progress);

/* Fills line with a bar of at most columns characters; seconds have passed since the start. */
void progress_format(char line[PROGRESS_LINE_TEXT], unsigned columns, uint64_t done,
                     uint64_t total, double seconds);

#endif /* VHDX_CLI_PROGRESS_H */
