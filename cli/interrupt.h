/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Signals that ask a long operation to stop: they are noted, the operation cleans up, and then the
 * program ends by the signal after all.
 */
#ifndef VHDX_CLI_INTERRUPT_H
#define VHDX_CLI_INTERRUPT_H

#include <stdbool.h>

/* At the program's start: writing past RLIMIT_FSIZE is an error (EFBIG) from here on, not a signal
   that would leave temporary files; the same for what this program starts. */
void interrupt_ignore_limits(void);

/* From here on SIGINT, SIGTERM and SIGHUP are only noted. */
void interrupt_catch(void);

/* The signal that came, or 0. */
int interrupt_pending(void);

/* Ends the program by the signal that came, so that a calling shell sees it; returns if none. */
void interrupt_die(void);

/* From here on SIGUSR1, unless it is ignored, asks how far the work is. */
void interrupt_catch_query(void);

/* True, once, after SIGUSR1 came. */
bool interrupt_take_query(void);

#endif /* VHDX_CLI_INTERRUPT_H */
