/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running other programs: their command lines, starting them so that they neither outlive this one
 * nor end before it, and a private folder for what they share with it. Where memory runs out the
 * program ends.
 */
#ifndef VHDX_CLI_PROCESS_H
#define VHDX_CLI_PROCESS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Returns memory. Ends the program if it is NULL. */
void *demand(void *memory);

/* The text, to be freed. */
__attribute__((format(printf, 1, 2))) char *text_of(const char *format, ...);

/* Growing array of strings, each owned, and a NULL after the last. */
struct word_list {
    char **items;
    size_t count;
};

__attribute__((format(printf, 2, 3))) void word_add(struct word_list *words, const char *format,
                                                    ...);
void word_add_all(struct word_list *words, const struct word_list *more);
void word_list_free(struct word_list *words);

/* A new folder for this user only, to be removed and freed. NULL: the reason was reported. */
char *folder_make_private(void);

struct process_options {
    bool own_group;     /* Ctrl-C does not reach it; and standard input is /dev/null */
    bool quiet;         /* standard output and standard error are /dev/null */
    int death_signal;   /* comes when the thread ends that started it; 0: none */
    const sigset_t *mask; /* of blocked signals; NULL: as in this thread */
    int stderr_fd;      /* where standard error goes; 0: where ours goes */
    int listen_fd;      /* handed over as systemd hands over a listening socket; 0: none */
};

/* Starts the program argv[0], found on PATH. The result is an errno value. */
int process_start(char **argv, const struct process_options *options, pid_t *ret);

/* Waits for its end; returns what waitpid() says of it. */
int process_wait(pid_t child);

#endif /* VHDX_CLI_PROCESS_H */
