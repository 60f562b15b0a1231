/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Freeing what a scope owns when it ends. A pointer handed on to somebody else leaves through
 * steal_ptr().
 */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close)))

/* Holds the mutex until the end of the scope. One per scope. */
#define LOCK_FOR_SCOPE(m)                                                                          \
    __attribute__((cleanup(cleanup_unlock))) pthread_mutex_t *lock_for_scope_ = (m);               \
    pthread_mutex_lock(lock_for_scope_)

#define steal_ptr(p) __extension__({ __typeof__(p) stolen_ = (p); (p) = NULL; stolen_; })

#endif
