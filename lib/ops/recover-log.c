/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The log of an image to be recovered; see recover.h. If a header is left it tells where the log is
 * and whether it counts. Without one, a log that the search has found may be clean or dirty. A
 * clean log's last sequence has reached its place: replaying it would change nothing. So if one of
 * the sequences in a log changes nothing, that was the last session and the log is clean; if the
 * only one changes something, it is taken as dirty.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "io/scratch.h"
#include "log/overlay.h"
#include "ops/recover.h"
#include "util/cleanup.h"

#define GUIDS_MAX 8            /* sessions in one log that are told apart */
#define FOUND_LENGTH_MAX (64 * MIB)
#define FOUND_LOGS_MAX 4
#define COMPARE_STEP (64 * KIB)

/* A sequence that may have to be replayed. */
struct candidate {
    struct guid guid;
    uint64_t offset;
    uint32_t length;
    uint64_t last_number; /* 0: none */
    uint32_t entries;
    bool is_truncated;    /* the file was longer when it was written */
    bool changes;         /* a replay would change the file */
    struct overlay *overlay; /* owned */
};

static void drop(struct candidate *c)
{
    overlay_free(c->overlay);
    *c = (struct candidate){ 0 };
}

/* The active sequence of the log with this GUID. false: none that can be replayed. */
static bool scan(struct recover *rc, uint64_t offset, uint32_t length, const struct guid *guid,
                 struct candidate *ret)
{
    struct log_sequence sequence = { 0 };
    struct log_ring ring = { 0 };
    struct candidate c = { .guid = *guid, .offset = offset, .length = length };

    if (length == 0 || !range_fits(offset, length, rc->size))
        return false;
    int r = log_ring_init(&ring, rc->io, offset, length, NULL);
    if (r == 0)
        r = log_scan(&ring, guid, &sequence, NULL);
    if (r == 0 && sequence.count > 0) {
        c.entries = sequence.count;
        c.last_number = sequence.entries[sequence.count - 1].sequence_number;
        r = overlay_build(&ring, &sequence, rc->size, &c.overlay, NULL);
        if (r == -VHDX_E_TRUNCATED) {
            c.is_truncated = true;
            r = overlay_build(&ring, &sequence, LIMIT_FILE_SIZE, &c.overlay, NULL);
        }
    }
    log_sequence_end(&sequence);
    log_ring_end(&ring);
    if (!c.overlay)
        return false;
    *ret = c;
    return true;
}

static int apply(struct recover *rc, const struct candidate *c, const struct vhdx_io *io,
                 struct vhdx_error *err)
{
    int r = overlay_apply(c->overlay, io, err);

    /* What was cut off stays lost. */
    return r == 0 && c->is_truncated ? io_truncate(io, rc->size, err) : r;
}

static int note_brought(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    struct recover *rc = opaque;

    if (!zero && ranges_reserve(&rc->brought) < 0)
        return -1;
    if (!zero)
        ranges_add(&rc->brought, offset, offset + length);
    return 0;
}

static int replay(struct recover *rc, const struct candidate *c, uint32_t source,
                  uint32_t confidence, struct vhdx_error *err)
{
    int r = apply(rc, c, rc->io, err);

    if (r < 0)
        return r;
    if (scratch_changes(rc->io, note_brought, rc) != 0)
        return fail_nomem(err);
    if (!c->is_truncated)
        rc->size = overlay_size(c->overlay);
    recover_found(rc, VHDX_RECOVER_LOG, source, confidence, c->offset, 0,
                  "%" PRIu32 " entries replayed, up to number %" PRIu64 "%s", c->entries,
                  c->last_number,
                  c->is_truncated ? "; the file was longer when they were written" : "");
    return 0;
}

int recover_known_log(struct recover *rc, struct vhdx_error *err)
{
    const struct header *h = &rc->header;
    struct candidate c = { 0 };

    if (guid_is_zero(&h->log_guid) || header_verify_log(h, 0, NULL, NULL) < 0)
        return 0;
    if (!scan(rc, h->log_offset, h->log_length, &h->log_guid, &c)) {
        recover_found(rc, VHDX_RECOVER_LOG, VHDX_SOURCE_LOST, 50, h->log_offset, 0,
                      "the header says that there is something to replay, but nothing is found");
        return 0;
    }
    int r = replay(rc, &c, VHDX_SOURCE_INTACT, 100, err);
    drop(&c);
    return r;
}

/* ---- Without a header ----------------------------------------------------------------------- */

struct comparison {
    const struct vhdx_io *before, *after;
    uint64_t before_size;
    bool differs;
    uint8_t *bufs; /* 2 * COMPARE_STEP bytes */
};

static int compare(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    struct comparison *c = opaque;
    uint8_t *a = c->bufs, *b = c->bufs + COMPARE_STEP;

    /* A log may make a file as long as files can be: what is new was nothing, and is zeros. */
    if (zero)
        length = min_u64(length, c->before_size - min_u64(offset, c->before_size));
    for (uint64_t at = 0, n; at < length; at += n) {
        n = min_u64(COMPARE_STEP, length - at);
        uint64_t there = offset + at < c->before_size
                             ? min_u64(n, c->before_size - offset - at) : 0;
        memset(a, 0, COMPARE_STEP);
        if ((there && io_pread(c->before, a, (size_t)there, offset + at, NULL) < 0) ||
            io_pread(c->after, b, (size_t)n, offset + at, NULL) < 0 ||
            memcmp(a, b, (size_t)n) != 0) {
            c->differs = true;
            return 1;
        }
    }
    return 0;
}

static int find_changes(struct recover *rc, struct candidate *c, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *bufs = malloc(2 * COMPARE_STEP);
    struct vhdx_io trial;

    if (!bufs)
        return fail_nomem(err);
    int r = scratch_open(rc->io, &trial, err);
    if (r < 0)
        return r;
    r = apply(rc, c, &trial, err);
    struct comparison comparison = { .before = rc->io, .after = &trial, .before_size = rc->size,
                                     .bufs = bufs };
    if (r == 0)
        scratch_changes(&trial, compare, &comparison);
    c->changes = comparison.differs;
    io_close(&trial);
    return r;
}

/* The GUIDs of entries in a log; returns how many. */
static uint32_t collect_guids(struct recover *rc, uint64_t offset, uint32_t length,
                              struct guid ret[GUIDS_MAX])
{
    struct log_header_disk d;
    uint32_t count = 0, k;

    for (uint32_t at = 0; at < length && count < GUIDS_MAX; at += LOG_SECTOR_SIZE) {
        if (io_pread(rc->io, &d, sizeof d, offset + at, NULL) < 0 ||
            memcmp(d.signature, "loge", 4) != 0)
            continue;
        struct guid g = guid_get(d.log_guid);
        for (k = 0; k < count && !guid_equal(&g, &ret[k]); k++)
            ;
        if (k == count && !guid_is_zero(&g))
            ret[count++] = g;
    }
    return count;
}

/* How long may a log here be? It ends before the next thing that is recognised. */
static uint64_t longest(const struct recover *rc, uint64_t offset)
{
    uint64_t end = min_u64(align_down(rc->size, MIB), offset + FOUND_LENGTH_MAX);

    for (uint32_t i = 0; i < rc->metadata_count; i++)
        if (rc->metadata[i].offset > offset)
            end = min_u64(end, rc->metadata[i].offset);
    return end - offset;
}

/* The last sequence of one session: among all lengths that the log may have, the one that shows the
   latest entry. */
static void scan_lengths(struct recover *rc, uint64_t offset, uint64_t max,
                         const struct guid *guid, struct candidate *best)
{
    for (uint64_t length = MIB; length <= max; length *= 2) {
        struct candidate c = { 0 };
        if (!scan(rc, offset, (uint32_t)length, guid, &c))
            continue;
        if (c.last_number > best->last_number) {
            drop(best);
            *best = c;
        } else {
            drop(&c);
        }
    }
}

/* One log that was found. *ret_done: it was dealt with. */
static int look_at_log(struct recover *rc, uint64_t offset, bool *ret_done,
                       struct vhdx_error *err)
{
    struct candidate all[GUIDS_MAX] = { 0 }, *last = NULL;
    struct guid guids[GUIDS_MAX];
    uint64_t max = longest(rc, offset);
    uint32_t count = collect_guids(rc, offset, (uint32_t)max, guids), sessions = 0;
    bool is_clean = false;
    int r = 0;

    for (uint32_t i = 0; i < count && r == 0; i++) {
        scan_lengths(rc, offset, max, &guids[i], &all[i]);
        if (!all[i].overlay)
            continue;
        r = find_changes(rc, &all[i], err);
        sessions++;
        is_clean = is_clean || !all[i].changes;
        if (!last || all[i].last_number > last->last_number)
            last = &all[i];
    }
    *ret_done = sessions > 0;
    if (r == 0 && is_clean)
        recover_found(rc, VHDX_RECOVER_LOG, VHDX_SOURCE_FOUND, 95, offset, 0,
                      "clean: what its last entries say has reached its place");
    else if (r == 0 && last)
        r = replay(rc, last, VHDX_SOURCE_FOUND, sessions == 1 ? 85 : 50, err);
    for (uint32_t i = 0; i < count; i++)
        drop(&all[i]);
    return r;
}

int recover_found_log(struct recover *rc, bool *ret_replayed, struct vhdx_error *err)
{
    bool done = false;
    size_t before = rc->brought.count;
    int r = 0;

    for (uint32_t i = 0; i < rc->logs_count && i < FOUND_LOGS_MAX && r == 0 && !done; i++)
        r = look_at_log(rc, rc->logs[i], &done, err);
    *ret_replayed = rc->brought.count != before;
    return r;
}

/* ---- For a repair --------------------------------------------------------------------------- */

struct copy {
    const struct vhdx_io *from, *to;
    uint64_t to_size; /* before it grew */
    struct vhdx_error *err;
};

static int copy_change(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    const struct copy *c = opaque;
    CLEANUP_FREE uint8_t *buf = malloc(COMPARE_STEP);
    int r = buf ? 0 : fail_nomem(c->err);

    if (zero && r == 0)
        return io_discard(c->to, offset,
                          min_u64(length, c->to_size - min_u64(offset, c->to_size)), true, c->err);
    for (uint64_t at = 0, n; at < length && r == 0; at += n) {
        n = min_u64(COMPARE_STEP, length - at);
        r = io_pread(c->from, buf, (size_t)n, offset + at, c->err);
        if (r == 0)
            r = io_pwrite(c->to, buf, (size_t)n, offset + at, c->err);
    }
    return r;
}

/* The search passes over what cannot be read; a repair must not, or it would leave out a log. */
struct witness {
    const struct vhdx_io *file;
    int failure;     /* -errno of the first read that failed */
    uint64_t offset; /* where that was */
};

static int witness_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct witness *w = opaque;
    int r = w->file->pread(w->file->opaque, buf, len, offset);

    if (r < 0 && w->failure == 0) {
        w->failure = r;
        w->offset = offset;
    }
    return r;
}

static int witness_size(void *opaque, uint64_t *ret)
{
    const struct witness *w = opaque;

    return w->file->size(w->file->opaque, ret);
}

/* What the replay has made of the rehearsal goes into the file; done again, it is the same. */
static int perform(const struct recover *rc, const struct vhdx_io *io, struct vhdx_error *err)
{
    struct copy copy = { .from = rc->io, .to = io, .err = err };

    int r = io_size(io, &copy.to_size, err);
    if (r == 0 && copy.to_size < rc->size)
        r = io_truncate(io, rc->size, err);
    if (r == 0)
        r = scratch_changes(rc->io, copy_change, &copy);
    return r == 0 ? io_flush(io, err) : r;
}

int recover_lost_log(const struct vhdx_io *holes, const struct vhdx_io *io, bool *ret_replayed,
                     struct vhdx_error *err)
{
    const struct vhdx_recover_options silent = { .struct_size = sizeof silent };
    CLEANUP_FREE struct recover *rc = calloc(1, sizeof *rc);
    struct witness witness = { .file = io };
    const struct vhdx_io watched = { .struct_size = sizeof watched, .opaque = &witness,
                                     .pread = witness_pread, .size = witness_size };
    struct vhdx_io rehearsal;

    *ret_replayed = false;
    if (!rc)
        return fail_nomem(err);
    int r = scratch_open(&watched, &rehearsal, err);
    if (r < 0)
        return r;
    rc->file = holes;
    rc->io = &rehearsal;
    rc->opts = &silent;
    r = io_size(io, &rc->size, err);
    if (r == 0)
        r = recover_scan(rc, err);
    if (r == 0)
        r = recover_found_log(rc, ret_replayed, err);
    if (r == 0 && witness.failure < 0)
        r = fail_errno(err, -witness.failure, witness.offset, "looking for a log");
    if (r == 0 && *ret_replayed)
        r = perform(rc, io, err);
    io_close(&rehearsal);
    space_end(&rc->data);
    ranges_free(&rc->brought);
    return r;
}
