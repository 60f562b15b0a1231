/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The group commit; see commit.h, and for the rules the top comment of log/journal.c. */

#include "core/commit.h"

#include "core/writer.h"
#include "util/cleanup.h"
#include "util/rules.h"

/* A completed flush makes stable the size that the file had before. */
static int flush_file(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    uint64_t size = image_size(img);

    int r = io_flush(&img->io, err);
    if (r < 0)
        return writer_poison(img, r);
    __atomic_store_n(&w->stable_size, size, __ATOMIC_RELEASE);
    journal_settled(&w->journal);
    return 0;
}

/* FlushedFileOffset: stable, and never more than finish() cuts the file to. */
static uint64_t flushed_file_offset(const struct writer *w)
{
    uint64_t stable = RULE_HOLDS(RULE_FLUSHED_SIZE)
                          ? __atomic_load_n(&w->stable_size, __ATOMIC_ACQUIRE) : UINT64_MAX;

    return align_down(min_u64(stable, w->space_end), MIB);
}

/* Rule 1. */
static int start_log(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    struct guid guid;

    if (journal_is_started(&w->journal))
        return 0;
    if (!guid_random(&guid))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    pthread_mutex_lock(&w->meta_lock);
    uint64_t flushed = flushed_file_offset(w), last = w->space_end;
    pthread_mutex_unlock(&w->meta_lock);
    int r = journal_start(&w->journal, &guid, flushed, last, err);
    if (r == -VHDX_E_NOSPACE || r == -VHDX_E_NOMEM) {
        journal_stop(&w->journal); /* no header names it yet: nothing is lost, and space may come */
        return r;
    }
    if (r == 0)
        r = writer_set_log_guid(img, &guid, err);
    return r < 0 ? writer_poison(img, r) : 0;
}

/* Copies the dirty pages into an entry: what is changed from now on is the next commit's. */
static int take_snapshot(struct image *img, bool *ret_payload_first, struct vhdx_error *err)
{
    struct writer *w = img->writer;

    LOCK_FOR_SCOPE(&w->meta_lock);
    int r = journal_begin(&w->journal, w->dirty_count, flushed_file_offset(w), w->space_end, err);
    if (r < 0)
        return r;
    for (struct page *p = w->dirty; p; p = p->next_dirty) {
        journal_add(&w->journal, p->file_offset, p->bytes);
        p->is_dirty = false;
    }
    w->dirty = NULL;
    w->dirty_count = 0;
    *ret_payload_first = w->payload_first;
    w->payload_first = false;
    return 0;
}

static int commit_tables(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    bool payload_first;

    int r = start_log(img, err);
    if (r < 0) {
        writer_set_unflushed(img);
        return r;
    }
    r = take_snapshot(img, &payload_first, err);
    if (r == 0 && payload_first && RULE_HOLDS(RULE_PAYLOAD_FIRST))
        r = flush_file(img, err);
    if (r == 0)
        r = journal_append(&w->journal, err);
    if (r == 0 && RULE_HOLDS(RULE_ENTRY_BEFORE_PLACE))
        r = flush_file(img, err);
    if (r == 0)
        r = journal_apply(&w->journal, err);
    if (r == 0 && !RULE_HOLDS(RULE_ENTRY_BEFORE_PLACE))
        r = flush_file(img, err);
    return r < 0 ? writer_poison(img, r) : 0;
}

static int commit_once(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    bool unflushed = __atomic_exchange_n(&w->unflushed, 0, __ATOMIC_ACQ_REL);

    if (__atomic_load_n(&w->poisoned, __ATOMIC_ACQUIRE))
        return fail(err, VHDX_E_POISONED, VHDX_OFFSET_NONE,
                    "an earlier flush or metadata write failed: what was written since the last "
                    "successful flush may be lost");
    pthread_mutex_lock(&w->meta_lock);
    bool is_dirty = w->dirty_count > 0;
    pthread_mutex_unlock(&w->meta_lock);
    if (is_dirty)
        return commit_tables(img, err);
    return unflushed ? flush_file(img, err) : 0;
}

/*
 * A commit that starts after this call covers it. If one is running, the next one will do, and one
 * of those who wait for it runs it.
 */
int commit(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    int r = 0;

    pthread_mutex_lock(&w->commit_lock);
    uint64_t wanted = w->commits_started + 1;
    while (w->commits_ended < wanted) {
        if (w->committing) {
            pthread_cond_wait(&w->commit_ended, &w->commit_lock);
            continue;
        }
        w->committing = true;
        uint64_t number = ++w->commits_started;
        pthread_mutex_unlock(&w->commit_lock);
        r = commit_once(img, err);
        pthread_mutex_lock(&w->commit_lock);
        w->committing = false;
        w->commits_ended = number;
        pthread_cond_broadcast(&w->commit_ended);
    }
    pthread_mutex_unlock(&w->commit_lock);
    if (r == 0 && __atomic_load_n(&w->poisoned, __ATOMIC_ACQUIRE))
        return fail(err, VHDX_E_POISONED, VHDX_OFFSET_NONE,
                    "a flush or metadata write failed: what was written since the last successful "
                    "flush may be lost");
    return r;
}

int commit_finish(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;

    int r = commit(img, err);
    if (r == 0 && w->journal.has_unsettled && RULE_HOLDS(RULE_FINISH_SETTLED))
        r = flush_file(img, err);
    if (r == 0 && w->session && !w->has_fixed_size && image_size(img) > w->space_end) {
        r = io_truncate(&img->io, w->space_end, err);
        if (r < 0)
            return writer_poison(img, r);
        __atomic_store_n(&img->size, w->space_end, __ATOMIC_RELEASE);
        __atomic_store_n(&w->stable_size, w->space_end, __ATOMIC_RELEASE);
        writer_set_unflushed(img);
    }
    if (r == 0 && journal_is_started(&w->journal)) {
        r = writer_set_log_guid(img, NULL, err); /* its flushes cover the cut */
        if (r == 0)
            journal_stop(&w->journal);
    } else if (r == 0) {
        r = commit(img, err);
    }
    return r;
}
