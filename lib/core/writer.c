/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The state of an image that is open for writing; see writer.h. */

#include "core/writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/commit.h"
#include "core/table.h"
#include "util/cleanup.h"
#include "util/limits.h"
#include "util/rules.h"

/* The file grows by this much at a time, as Windows grows it, so that not every allocation changes
   the file's size. */
#define GROWTH_STEP (32 * MIB)

int writer_poison(struct image *img, int code)
{
    __atomic_store_n(&img->writer->poisoned, 1, __ATOMIC_RELEASE);
    return code;
}

static int fail_poisoned(struct vhdx_error *err)
{
    return fail(err, VHDX_E_POISONED, VHDX_OFFSET_NONE,
                "an earlier flush or metadata write failed: the image takes no more changes; close "
                "it and open it again");
}

/* ---- Headers -------------------------------------------------------------------------------- */

/* Writes h as the next header to a copy, the first or second of the two, and makes it stable. */
static int write_header(struct image *img, int copy, bool is_second, const struct header *h,
                        struct vhdx_error *err)
{
    struct header_disk disk;
    struct header check;

    header_encode(h, &disk);
    int r = header_decode(&disk, copy, NULL, &check, err);
    assert(r == 0);
    uint64_t size = image_size(img);
    r = io_pwrite(&img->io, &disk, sizeof disk, HEADER_OFFSET((unsigned)copy), err);
    if (r == 0 && (is_second || RULE_HOLDS(RULE_HEADERS_APART)))
        r = io_flush(&img->io, err);
    if (r < 0)
        return writer_poison(img, r);
    __atomic_store_n(&img->writer->stable_size, size, __ATOMIC_RELEASE);
    img->header = *h;
    img->header_copy = copy;
    img->headers[copy].valid = img->headers[copy].in_use = true;
    img->headers[copy].sequence_number = h->sequence_number;
    img->headers[!copy].in_use = false;
    return 0;
}

/*
 * Makes both copies say what h says, the one that is not current first ([MS-VHDX] 2.2.2.1). With
 * header_lock held.
 */
static int update_headers(struct image *img, struct header h, struct vhdx_error *err)
{
    /* The last numbers are for ending what has begun: a session that starts can also finish. */
    uint64_t reserved = guid_is_zero(&h.log_guid) && !guid_is_zero(&img->header.log_guid)
                            ? 2
                            : HEADER_NUMBERS_KEPT;

    if (img->header.sequence_number > UINT64_MAX - reserved)
        return fail(err, VHDX_E_LIMIT, HEADER_OFFSET((unsigned)img->header_copy) + 8,
                    "header %d: sequence number is %" PRIu64 ": no higher one is left",
                    img->header_copy + 1, img->header.sequence_number);
    for (int i = 0; i < 2; i++) {
        h.sequence_number = img->header.sequence_number + 1;
        int r = write_header(img, !img->header_copy, i == 1, &h, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int new_guid(struct guid *ret, struct vhdx_error *err)
{
    return guid_random(ret) ? 0 : fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE,
                                       "no random numbers for a new GUID");
}

/* The header with this session's FileWriteGuid. With header_lock held. */
static int session_header(const struct image *img, struct header *ret, struct vhdx_error *err)
{
    *ret = img->header;
    return img->writer->file_session ? 0 : new_guid(&ret->file_write_guid, err);
}

static int new_data_guid(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    struct header h;

    LOCK_FOR_SCOPE(&w->header_lock);
    int r = session_header(img, &h, err);
    if (r == 0)
        r = new_guid(&h.data_write_guid, err);
    if (r == 0)
        r = update_headers(img, h, err);
    if (r == 0)
        w->file_session = true;
    return r;
}

int writer_set_log_guid(struct image *img, const struct guid *log_guid, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    struct header h;

    LOCK_FOR_SCOPE(&w->header_lock);
    int r = session_header(img, &h, err);
    if (r < 0)
        return r;
    h.log_guid = log_guid ? *log_guid : (struct guid){ { 0 } };
    r = update_headers(img, h, err);
    if (r == 0)
        w->file_session = true;
    return r;
}

void writer_lock_headers(struct image *img)
{
    if (img->writer)
        pthread_mutex_lock(&img->writer->header_lock);
}

void writer_unlock_headers(struct image *img)
{
    if (img->writer)
        pthread_mutex_unlock(&img->writer->header_lock);
}

int writer_verify(const struct image *img, struct vhdx_error *err)
{
    if (!img->writer)
        return fail(err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE, "the image is open read-only");
    if (__atomic_load_n(&img->writer->poisoned, __ATOMIC_ACQUIRE))
        return fail_poisoned(err);
    return 0;
}

/* ---- The session's beginning ---------------------------------------------------------------- */

/* What a walk over the BAT finds out. */
struct survey {
    uint64_t end; /* behind the last structure */
    bool has_anchors;
    uint64_t *bad_anchors; /* as in struct writer */
};

static uint64_t bad_bytes(const struct image *img)
{
    return (img->geometry.payload_blocks / 64 + 1) * sizeof(uint64_t);
}

/* Loading the page of an entry has verified it and claimed its space. */
static int survey_present(const struct image *img, uint64_t index, uint64_t entry,
                          struct survey *s, struct vhdx_error *err)
{
    uint64_t number, offset = bat_file_offset(entry), size = image_size(img);
    bool is_bitmap = bat_index_is_bitmap(&img->geometry, index, &number);

    if (offset >= size)
        return fail(err, VHDX_E_TRUNCATED, image_bat_region(img)->offset + index * BAT_ENTRY_SIZE,
                    "BAT entry %" PRIu64 ": file is %" PRIu64 " bytes long, but the block begins "
                    "at %" PRIu64 ": a truncated image is not written to", index, size, offset);
    s->end = max_u64(s->end, offset + (is_bitmap ? BITMAP_BLOCK_SIZE
                                                 : UINT64_C(1) << img->geometry.block_shift));
    return 0;
}

/* After all blocks that are present: what an anchor names must be nobody else's. */
static int survey_anchor(struct image *img, uint64_t index, uint64_t entry, struct survey *s,
                         struct vhdx_error *err)
{
    uint64_t number, offset = bat_file_offset(entry);
    uint64_t len = UINT64_C(1) << img->geometry.block_shift;

    if (bat_index_is_bitmap(&img->geometry, index, &number) ||
        number >= img->geometry.payload_blocks)
        return 0;
    LOCK_FOR_SCOPE(&img->claim_lock);
    if (offset >= HEADER_SECTION_SIZE && range_fits(offset, len, image_size(img)) &&
        space_claim(&img->space, offset, len)) {
        s->end = max_u64(s->end, offset + len);
        return 0;
    }
    if (!s->bad_anchors)
        s->bad_anchors = zeros_reserve(bad_bytes(img));
    if (!s->bad_anchors)
        return fail_nomem(err);
    s->bad_anchors[number / 64] |= UINT64_C(1) << number % 64;
    return 0;
}

static int survey_bat(struct image *img, bool anchors, struct survey *s, struct vhdx_error *err)
{
    struct table_window window = { 0 };
    int r = 0;

    for (uint64_t i = 0; i < img->geometry.bat_entries && r == 0; i++) {
        uint64_t entry = 0;
        r = table_bat_entry(img, &window, i, &entry, err);
        if (r < 0 || entry == 0)
            continue;
        bool is_anchor = bat_is_anchor(entry);
        s->has_anchors |= is_anchor;
        if (anchors && is_anchor)
            r = survey_anchor(img, i, entry, s, err);
        else if (!anchors && bat_is_present(entry))
            r = survey_present(img, i, entry, s, err);
    }
    table_window_end(&window);
    return r;
}

/*
 * Brings the file to the size that its structures need. What lies behind the last one is not in
 * use, but not zero either where a crash left it: it is gone, and stably so, before that space is
 * given out. A last block that was cut short gets its end.
 */
static int fit_file(struct image *img, uint64_t end, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    uint64_t size;
    bool cut = image_size(img) > end;

    w->space_end = end;
    if (image_size(img) == end || (cut && !RULE_HOLDS(RULE_SLACK_CUT)))
        return 0;
    int r = io_truncate(&img->io, end, err);
    if (r == 0 && cut)
        r = io_flush(&img->io, err);
    if (r == 0)
        r = io_size(&img->io, &size, err);
    if (r < 0)
        return r;
    w->has_fixed_size = size > end;
    __atomic_store_n(&img->size, size, __ATOMIC_RELEASE);
    return 0;
}

/* Takes the places of bad anchors from their blocks, in as many commits as that needs. */
static int drop_bad_anchors(struct image *img, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;
    const uint64_t *bad = img->writer->bad_anchors;

    for (uint64_t block = 0; bad && block < g->payload_blocks; block++) {
        uint64_t index = bat_index_of_block(g, block), entry = 0;
        if (!(bad[block / 64] >> block % 64 & 1))
            continue;
        int r = table_bat_entry(img, NULL, index, &entry, err);
        if (r == 0)
            r = writer_lock(img, err);
        if (r < 0)
            return r;
        table_set_bat_entry(img, index, bat_state(entry));
        writer_unlock(img);
    }
    return 0;
}

static uint64_t end_of_regions(const struct image *img)
{
    uint64_t end = HEADER_SECTION_SIZE;

    if (img->header.log_length > 0)
        end = img->header.log_offset + img->header.log_length;
    for (uint32_t i = 0; i < img->regions->count; i++)
        end = max_u64(end, img->regions->regions[i].offset + img->regions->regions[i].length);
    return end;
}

/* Goes through the BAT, once. Writes nothing. */
static int survey(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;
    struct survey s = { .end = end_of_regions(img) };

    if (w->is_surveyed)
        return 0;
    int r = survey_bat(img, false, &s, err);
    if (r == 0 && s.has_anchors)
        r = survey_bat(img, true, &s, err);
    if (r < 0) {
        zeros_release(s.bad_anchors, bad_bytes(img));
        return r;
    }
    w->bad_anchors = s.bad_anchors;
    w->last_end = align_up(s.end, MIB);
    w->is_surveyed = true;
    return 0;
}

int writer_begin_change(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;

    if (__atomic_load_n(&w->session, __ATOMIC_ACQUIRE))
        return 0;

    LOCK_FOR_SCOPE(&w->session_lock);
    if (w->session)
        return 0;
    int r = survey(img, err);
    if (r == 0)
        r = new_data_guid(img, err);
    if (r == 0)
        r = fit_file(img, w->last_end, err);
    if (r == 0)
        r = drop_bad_anchors(img, err);
    if (r == 0)
        __atomic_store_n(&w->session, 1, __ATOMIC_RELEASE);
    return r;
}

/* ---- Space ---------------------------------------------------------------------------------- */

static int grow(struct image *img, uint64_t size, struct vhdx_error *err)
{
    uint64_t target = align_up(size, GROWTH_STEP);

    if (size <= image_size(img))
        return 0;
    if (io_truncate(&img->io, target, NULL) < 0) {
        target = size;
        int r = io_truncate(&img->io, target, err);
        if (r < 0)
            return r;
    }
    __atomic_store_n(&img->size, target, __ATOMIC_RELEASE);
    return 0;
}

int writer_allocate(struct image *img, uint64_t len, uint64_t *ret_offset, bool *ret_recycled,
                    struct vhdx_error *err)
{
    struct writer *w = img->writer;

    if (len == UINT64_C(1) << img->geometry.block_shift && w->spare_count > 0) {
        *ret_offset = w->spares[--w->spare_count];
        *ret_recycled = true;
        return 0;
    }
    if (w->space_end > LIMIT_FILE_SIZE - len)
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "file would grow beyond 256 TiB");
    int r = grow(img, w->space_end + len, err);
    if (r == 0 && w->has_fixed_size)
        r = io_discard(&img->io, w->space_end, len, true, err);
    if (r < 0)
        return r;
    *ret_offset = w->space_end;
    *ret_recycled = w->has_fixed_size;
    w->space_end += len;
    return 0;
}

void writer_give_back(struct image *img, uint64_t offset)
{
    struct writer *w = img->writer;

    if (io_discard(&img->io, offset, UINT64_C(1) << img->geometry.block_shift, true, NULL) < 0)
        return; /* unusable: lost until the image is compacted */
    LOCK_FOR_SCOPE(&w->meta_lock);
    if (w->spare_count < WRITER_SPARES)
        w->spares[w->spare_count++] = offset;
}

/* ---- Opening and closing -------------------------------------------------------------------- */

/*
 * Replays the log into the file: the new FileWriteGuid first, with the LogGuid still there; then
 * the segments, made stable; then the headers without the LogGuid. Interrupted anywhere, it starts
 * over.
 */
static int replay(struct image *img, struct vhdx_error *err)
{
    struct guid log_guid = img->header.log_guid;

    int r = writer_set_log_guid(img, &log_guid, err);
    if (r == 0 && !RULE_HOLDS(RULE_REPLAY_STABLE))
        r = writer_set_log_guid(img, NULL, err);
    if (r == 0)
        r = overlay_apply(img->overlay, &img->io, err);
    if (r == 0)
        r = writer_set_log_guid(img, NULL, err);
    if (r < 0)
        return r;
    overlay_free(steal_ptr(img->overlay));
    return 0;
}

/* Readers of a stripe are writers of data: a stream of them must not keep a change out for ever. */
static void init_stripes(struct writer *w)
{
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    for (int i = 0; i < WRITER_STRIPES; i++)
        pthread_rwlock_init(&w->stripes[i], &attr);
    pthread_rwlockattr_destroy(&attr);
}

int writer_open(struct image *img, struct vhdx_error *err)
{
    struct writer *w = calloc(1, sizeof *w);

    if (!w)
        return fail_nomem(err);
    init_stripes(w);
    pthread_mutex_init(&w->session_lock, NULL);
    pthread_mutex_init(&w->commit_lock, NULL);
    pthread_cond_init(&w->commit_ended, NULL);
    pthread_mutex_init(&w->header_lock, NULL);
    pthread_mutex_init(&w->meta_lock, NULL);
    /* A program that died may have written what no flush has covered, and we may have read it. */
    w->unflushed = 1;
    img->writer = w;

    int r = journal_init(&w->journal, &img->io, img->header.log_offset, img->header.log_length,
                         err);
    /* A header that was torn while it was written; a replay writes both anyway. */
    if (r == 0 && !img->overlay && (img->headers[0].is_damaged || img->headers[1].is_damaged))
        r = writer_set_log_guid(img, NULL, err);
    if (r == 0 && img->overlay) {
        r = replay(img, err);
        /* What the crash left behind the last structure goes too. What is wrong with the BAT is for
           the first change to say: reading may go on. */
        if (r == 0 && survey(img, NULL) == 0)
            r = fit_file(img, w->last_end, err);
    }
    /* A LogGuid over a log of zeros means nothing; the next header update drops it. */
    if (img->log.state == VHDX_LOG_EMPTY)
        img->header.log_guid = (struct guid){ { 0 } };
    img->file_size = image_size(img);
    return r;
}

void writer_close(struct image *img)
{
    struct writer *w = img->writer;

    if (!w)
        return;
    for (int i = 0; i < WRITER_STRIPES; i++)
        pthread_rwlock_destroy(&w->stripes[i]);
    pthread_mutex_destroy(&w->session_lock);
    pthread_mutex_destroy(&w->commit_lock);
    pthread_cond_destroy(&w->commit_ended);
    pthread_mutex_destroy(&w->header_lock);
    pthread_mutex_destroy(&w->meta_lock);
    journal_end(&w->journal);
    zeros_release(w->bad_anchors, bad_bytes(img));
    free(w);
    img->writer = NULL;
}

/* ---- Changes of the tables ------------------------------------------------------------------ */

int writer_lock(struct image *img, struct vhdx_error *err)
{
    struct writer *w = img->writer;

    for (;;) {
        pthread_mutex_lock(&w->meta_lock);
        if (w->dirty_count + WRITER_PAGES_PER_CHANGE <= journal_capacity(&w->journal))
            return 0;
        pthread_mutex_unlock(&w->meta_lock);
        int r = commit(img, err);
        if (r < 0)
            return r;
    }
}

void writer_unlock(struct image *img)
{
    pthread_mutex_unlock(&img->writer->meta_lock);
}

void writer_mark_dirty(struct image *img, struct page *page, uint64_t file_offset)
{
    struct writer *w = img->writer;

    if (page->is_dirty)
        return;
    page->is_dirty = true;
    page->file_offset = file_offset;
    page->next_dirty = w->dirty;
    w->dirty = page;
    w->dirty_count++;
    if (img->geometry.has_parent)
        w->payload_first = true;
}
