/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Signals that ask a long operation to stop: they are noted, the operation cleans up, and then the
 * program ends by the signal after all.
 */
#ifndef VHDX_CLI_INTERRUPT_H
#define VHDX_CLI_INTERRUPT_H

/* From here on SIGINT, SIGTERM and SIGHUP are only noted. */
void interrupt_catch(void);

/* The signal that came, or 0. */
int interrupt_pending(void);

/* Ends the program by the signal that came, so that a calling shell sees it; returns if none. */
void interrupt_die(void);

#endif /* VHDX_CLI_INTERRUPT_H */
