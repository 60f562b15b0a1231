/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Threads that work through a disk piece by piece. Pieces are handed out in order and worked on at
 * once; what must happen in order waits for its turn:
 *
 *     next()  one thread at a time, in order: what is the next piece?
 *     work()  any thread at once: read, look, compare
 *       crew_turn()      waits until all earlier pieces have had theirs
 *                        decide, count, report
 *       crew_pass()      lets the next piece have its turn; at the latest when work() returns
 *             write
 */
#ifndef DISK_CREW_H
#define DISK_CREW_H

#include <stddef.h>
#include <stdint.h>

#include "util/fail.h"

#define CREW_THREADS_MAX 64u

struct crew;

struct crew_job {
    unsigned threads;     /* 1 .. CREW_THREADS_MAX, or 0: one for each processor, at most 8 */
    size_t piece_size;    /* of the caller's struct for a piece; each thread has one, zeroed at the
                             beginning and kept from piece to piece */
    void *opaque;         /* first argument of all calls */

    /* Fills *piece; 1, or 0 after the last one, or negative. */
    int (*next)(void *opaque, void *piece, struct vhdx_error *err);

    /* number counts pieces from 0: for crew_turn() and crew_pass(). */
    int (*work)(void *opaque, void *piece, struct crew *crew, uint64_t number,
                struct vhdx_error *err);

    /* In the calling thread, now and then and at the end: a failure ends the work. May be NULL. */
    int (*report)(void *opaque, struct vhdx_error *err);

    /* Frees what the caller keeps in a piece. May be NULL. */
    void (*free_piece)(void *piece);
};

/* Works until next() gives 0, or until the first failure, which is returned with its error. Where
   threads cannot be had, the calling one works alone. */
int crew_run(const struct crew_job *job, struct vhdx_error *err);

/* Waits for the piece's turn, and reports meanwhile. Negative when the work has failed elsewhere:
   work() returns that. May be repeated during the turn, to report and to see. */
int crew_turn(struct crew *crew, uint64_t number);

/* Ends the piece's turn. Harmless when repeated. */
void crew_pass(struct crew *crew, uint64_t number);

#endif
