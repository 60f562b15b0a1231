/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Signals that ask a long operation to stop: they are noted, the operation cleans up, and then the
 * program ends by the signal after all.
 */
#ifndef VHDX_CLI_INTERRUPT_H
#define VHDX_CLI_INTERRUPT_H

#include <stdbool.h>

/* From here on SIGINT, SIGTERM and SIGHUP are only noted, and SIGXFSZ is ignored. */
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
