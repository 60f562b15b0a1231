/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Going into the background only when all is well: the program that was started waits until its
 * child says so, and otherwise ends with the child's exit code, after the child has said why on the
 * standard error they share.
 */
#ifndef VHDX_FUSE_BACKGROUND_H
#define VHDX_FUSE_BACKGROUND_H

#include <signal.h>
#include <stdbool.h>

struct background {
    int ready_fd; /* in the child: where to say that all is well; else negative */
};

/*
 * Forks. True: this is the child, go on. False: this is the program that was started; the child is
 * ready, or has ended; *ret_exit is the exit code. Not with more than one thread.
 */
bool background_start(struct background *background, int *ret_exit);

/* In the child: lets the program that was started end, and leaves its terminal, folder and
   standard files. Does nothing for a background that was not started (ready_fd negative). */
void background_ready(struct background *background);

/* Lets the signals that end a mount wait, while there is what nobody would clear away. *ret_mask is
   to be set again. */
void background_hold_signals(sigset_t *ret_mask);

#endif /* VHDX_FUSE_BACKGROUND_H */
