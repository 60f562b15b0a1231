/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Noting signals. The flags are the program's only mutable globals: a handler has no other
 * place.
 */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t caught;
static volatile sig_atomic_t queried;

static void note(int number)
{
    caught = number;
}

void interrupt_ignore_limits(void)
{
    signal(SIGXFSZ, SIG_IGN);
}

void interrupt_catch(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action, old;

    memset(&action, 0, sizeof(action));
    action.sa_handler = note;
    action.sa_flags = SA_RESTART; /* system calls of the library need not know */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        /* What nohup or a script's background job ignores stays ignored. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        sigaction(signals[i], &action, NULL);
    }
}

int interrupt_pending(void)
{
    return (int)caught;
}

void interrupt_die(void)
{
    int number = (int)caught;

    if (number == 0)
        return;
    signal(number, SIG_DFL);
    raise(number);
    exit(128 + number); /* the signal is blocked */
}

static void note_query(int number)
{
    (void)number;
    queried = 1;
}

void interrupt_catch_query(void)
{
    struct sigaction action, old;

    memset(&action, 0, sizeof(action));
    action.sa_handler = note_query;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
        return;
    sigaction(SIGUSR1, &action, NULL);
}

bool interrupt_take_query(void)
{
    if (!queried)
        return false;
    queried = 0;
    return true;
}
