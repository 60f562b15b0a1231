/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What an image that is open for writing keeps besides: the session's headers, the journal, what is
 * dirty, and where the file's free space begins. core/write, core/zero and core/commit are built on
 * this; the rules are the top comment of log/journal.c.
 *
 * Locks, in the order in which they are taken:
 *
 *     stripes[]     a block's: shared by writers of data that is mapped, exclusive for a change of
 *                   the block's mapping, so that neither overtakes the other
 *     commit_lock   one committer at a time; never held while a commit runs
 *     session_lock  the session's beginning
 *     header_lock   one header update at a time
 *     meta_lock     the tables, what is dirty, the allocation; held for one change of them
 *
 * Readers take none of them.
 */
#ifndef CORE_WRITER_H
#define CORE_WRITER_H

#include <pthread.h>
#include <stdbool.h>

#include "core/image.h"
#include "log/journal.h"

#define WRITER_STRIPES 64
#define WRITER_SPARES 16

/* Most table pages that one change of a block touches: its BAT page, its bitmap's BAT page, and the
   bitmap of a 256 MiB block with 512-byte sectors. */
#define WRITER_PAGES_PER_CHANGE 18

struct writer {
    pthread_rwlock_t stripes[WRITER_STRIPES];

    pthread_mutex_t commit_lock; /* guards the next three */
    pthread_cond_t commit_ended;
    bool committing;
    uint64_t commits_started, commits_ended;
    struct journal journal;      /* the committer's */

    pthread_mutex_t session_lock;
    int session;                 /* atomic: the session has begun */

    pthread_mutex_t header_lock; /* guards img->header and the next one */
    bool file_session;           /* FileWriteGuid is this session's */

    int poisoned;                /* atomic */
    int unflushed;               /* atomic: something may not be stable that no flush has covered */
    uint64_t stable_size;        /* atomic: a size of the file that survives a crash */

    pthread_mutex_t meta_lock;   /* guards the rest */
    struct page *dirty;          /* list of pages */
    uint32_t dirty_count;
    bool payload_first;          /* rule 4: the next commit takes two flushes */
    uint64_t space_end;          /* offset behind the last structure: the next to be given out */
    bool is_surveyed;            /* the BAT has been gone through: see writer_begin_change() */
    uint64_t last_end;           /* behind the last structure, as the survey found it */
    uint64_t *bad_anchors;       /* owned; bit i: payload block i keeps a place that is not its
                                    alone; NULL: none */
    bool has_fixed_size;         /* a block device: what is given out may hold anything */
    uint64_t spares[WRITER_SPARES]; /* blocks that were allocated, but could not be written */
    uint32_t spare_count;
};

/*
 * Makes a loaded image writable; its file must be. Replays a dirty log into the file, which is the
 * only thing that opening writes.
 */
int writer_open(struct image *img, struct vhdx_error *err);

/* Frees without writing anything. Harmless for an image that is not writable. */
void writer_close(struct image *img);

/* Refuses a read-only or poisoned image. */
int writer_verify(const struct image *img, struct vhdx_error *err);

/*
 * Before anything changes; the first call begins the session. It goes through the whole BAT:
 * verifies it, refuses a truncated image, finds where the last structure ends, cuts off or adds
 * what the file has too much or too little, and takes from freed blocks the places that are not
 * theirs alone. Then it gives the headers the session's FileWriteGuid and DataWriteGuid.
 */
int writer_begin_change(struct image *img, struct vhdx_error *err);

/* Gives the headers a new LogGuid (NULL: none) besides. */
int writer_set_log_guid(struct image *img, const struct guid *log_guid, struct vhdx_error *err);

/* Keeps the headers of an image, writable or not, from changing while they are looked at. */
void writer_lock_headers(struct image *img);
void writer_unlock_headers(struct image *img);

/* Rule 8. Returns code, for return statements. */
int writer_poison(struct image *img, int code);

/*
 * Takes meta_lock for a change of a block's tables, after making sure that the next commit has room
 * for it. The session has begun. Then writer_unlock().
 */
int writer_lock(struct image *img, struct vhdx_error *err);

void writer_unlock(struct image *img);

/* With meta_lock held: the page belongs into the next commit, at file_offset. */
void writer_mark_dirty(struct image *img, struct page *page, uint64_t file_offset);

/*
 * With meta_lock held: gives out len bytes (a payload or bitmap block) that read as zeros. Grows
 * the file if it must; VHDX_E_NOSPACE leaves everything as it was. *ret_recycled: the zeros may not
 * be stable yet, so that mapping the space sets payload_first.
 */
int writer_allocate(struct image *img, uint64_t len, uint64_t *ret_offset, bool *ret_recycled,
                    struct vhdx_error *err);

/* Takes back a payload block that was never mapped. */
void writer_give_back(struct image *img, uint64_t offset);

/* The block's lock. */
static inline pthread_rwlock_t *writer_stripe(const struct image *img, uint64_t block)
{
    return &img->writer->stripes[block % WRITER_STRIPES];
}

static inline void writer_set_unflushed(struct image *img)
{
    __atomic_store_n(&img->writer->unflushed, 1, __ATOMIC_RELEASE);
}

#endif
