/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The image that all connections share, and when it is opened, for what, and finished.
 *
 * nbdkit tells only when a client connects whether the server is read-only (-r), but what is wrong
 * with an image is to be said before the server goes into the background. Hence served_check(),
 * then:
 *
 *                served_begin             first writable client
 *     (closed) ----------------> read-only --------------------> writable
 *         ^                        |    ^                           |
 *         |    served_end          |    |  a file that cannot be    |  last client gone: finished,
 *         +------------------------+    |  written to               |  and stays open
 *         |                             +---------------------------+
 *         |    served_end, or finishing failed                      |
 *         +---------------------------------------------------------+
 *
 *  1. One handle exists at most. It changes only while no client is connected, under the mutex.
 *  2. No handle exists while nbdkit forks. Locks belong to the open file: a process that nbdkit
 *     leaves behind (with --run, the one that waits for the command) would hold them on, and the
 *     server itself could not open the image for writing.
 *  3. The read-only handle keeps writers out until the first client comes.
 *  4. When the last client leaves, the image is finished: at rest it has no log to replay.
 *  5. A handle that could not be finished (a flush failed) is closed, and the next client gets a
 *     new one: what was not stable then is lost, and the client was told so.
 */
#ifndef VHDX_NBDKIT_SERVED_H
#define VHDX_NBDKIT_SERVED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <vhdx.h>

#include "parameters.h"

struct served {
    struct parameters parameters;
    pthread_mutex_t mutex;   /* for the rest */
    struct vhdx *v;          /* NULL: closed */
    size_t clients;
    bool is_writable;        /* v was opened for writing */
    bool is_fixed;           /* zeroing keeps space allocated */
    bool zeroing_is_fast;    /* the file system can, without writing zeros */
};

#define SERVED_INIT { .mutex = PTHREAD_MUTEX_INITIALIZER }

/* Before the fork: looks whether the image can be served. -1: the reason was reported. */
int served_check(struct served *s);

/* After the fork: opens it, read-only. -1: the reason was reported. */
int served_begin(struct served *s);

/* One more client, which may use s->v until served_release(). -1: the reason was reported. */
int served_acquire(struct served *s, bool read_only);

/* One client less. */
void served_release(struct served *s);

/* Finishes and closes the image. May be called more than once. */
void served_end(struct served *s);

/* Reports an error of the library, in one line. */
void served_report(const struct vhdx_error *err);

#endif /* VHDX_NBDKIT_SERVED_H */
