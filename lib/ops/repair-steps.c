/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The steps that mend identifier, headers, log and the end of the file; see repair.h. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ops/recover.h"
#include "ops/repair.h"
#include "util/cleanup.h"
#include "util/limits.h"
#include "util/rules.h"

#define NEW_LOG_LENGTH (1 * MIB)

/* ---- The identifier ------------------------------------------------------------------------- */

static bool ident_applies(const struct repair *r)
{
    return repair_may(r, VHDX_P_IDENT_SIGNATURE);
}

static int mend_ident(struct repair *r, struct vhdx_error *err)
{
    struct ident_disk d;

    ident_encode("", &d);
    int c = io_pwrite(r->io, d.signature, sizeof d.signature, IDENT_OFFSET, err);
    if (c == 0)
        c = io_flush(r->io, err);
    if (c == 0)
        repair_done(r, VHDX_P_IDENT_SIGNATURE, IDENT_OFFSET, 0, 0,
                    "file identifier: signature written again");
    return c;
}

/* ---- Headers -------------------------------------------------------------------------------- */

static bool lost_headers_apply(const struct repair *r)
{
    return repair_may(r, VHDX_P_HEADERS_LOST);
}

/* Nothing says where the log was, or what GUIDs the image had. A log that is found, and whose last
   session had not ended, is replayed, since nothing will say later that it counts. Where a new one
   may lie is not known before the BAT is read. */
static int mend_lost_headers(struct repair *r, struct vhdx_error *err)
{
    struct header h = { 0 };
    bool is_replayed;

    int c = recover_lost_log(r->holes, r->io, &is_replayed, err);
    if (c == 0 && !guid_random(&h.data_write_guid))
        c = fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    r->header = h;
    r->header_copy = 1;
    if (c == 0)
        c = repair_put_headers(r, h, err);
    if (c == 0)
        repair_done(r, VHDX_P_HEADERS_LOST, HEADER_OFFSET(0), 0, 0,
                    "headers: built anew%s; children of the image no longer recognise it",
                    is_replayed ? ", what was found in the old log was replayed" : "");
    return c;
}

static bool ambiguous_headers_apply(const struct repair *r)
{
    return repair_may(r, VHDX_P_HEADERS_AMBIGUOUS);
}

/* Does the header name a log whose active sequence can be found? */
static int has_sequence(const struct repair *r, const struct header *h, bool *ret,
                        struct vhdx_error *err)
{
    struct log_sequence sequence = { 0 };
    struct log_ring ring = { 0 };
    uint64_t size = 0;

    *ret = false;
    if (guid_is_zero(&h->log_guid) || header_verify_log(h, 0, NULL, NULL) < 0)
        return 0;
    int c = io_size(r->io, &size, err);
    if (c < 0 || !range_fits(h->log_offset, h->log_length, size))
        return c;
    c = log_ring_init(&ring, r->io, h->log_offset, h->log_length, err);
    if (c == 0)
        c = log_scan(&ring, &h->log_guid, &sequence, err);
    if (c == 0)
        *ret = sequence.count > 0;
    log_sequence_end(&sequence);
    log_ring_end(&ring);
    return c == -VHDX_E_LIMIT ? 0 : c;
}

static int mend_ambiguous_headers(struct repair *r, struct vhdx_error *err)
{
    struct header_disk disk[2];
    struct header h[2];

    for (int i = 0; i < 2; i++) {
        int c = io_pread(r->io, &disk[i], sizeof disk[i], HEADER_OFFSET((unsigned)i), err);
        if (c == 0)
            c = header_decode(&disk[i], i, NULL, &h[i], err);
        if (c < 0)
            return c;
    }
    bool found[2] = { false, false };
    for (int i = 0; i < 2; i++) {
        int c = has_sequence(r, &h[i], &found[i], err);
        if (c < 0)
            return c;
    }
    int chosen = !found[0] && found[1];
    r->header = h[chosen];
    r->header_copy = chosen;
    int c = repair_put_headers(r, h[chosen], err);
    if (c == 0)
        repair_done(r, VHDX_P_HEADERS_AMBIGUOUS, HEADER_OFFSET((unsigned)!chosen), 0, 0,
                    "header %d: rewritten from header %d", !chosen + 1, chosen + 1);
    return c;
}

static const enum vhdx_problem header_problems[] = {
    VHDX_P_HEADER_SIGNATURE, VHDX_P_HEADER_CHECKSUM, VHDX_P_HEADER_VERSION,
    VHDX_P_HEADER_RESERVED,  VHDX_P_HEADER_SEQUENCE,
};

static bool headers_apply(const struct repair *r)
{
    for (size_t i = 0; i < ARRAY_LEN(header_problems); i++)
        if (repair_may(r, header_problems[i]))
            return true;
    return false;
}

static int mend_headers(struct repair *r, struct vhdx_error *err)
{
    int good = r->header_copy;

    int c = repair_put_headers(r, r->header, err);
    for (size_t i = 0; i < ARRAY_LEN(header_problems) && c == 0; i++) {
        enum vhdx_problem p = header_problems[i];
        if (!repair_may(r, p))
            continue;
        if (p == VHDX_P_HEADER_RESERVED)
            repair_done(r, p, VHDX_OFFSET_NONE, 0, 0, "headers: reserved bytes cleared");
        else if (p == VHDX_P_HEADER_SEQUENCE)
            repair_done(r, p, VHDX_OFFSET_NONE, 0, 0, "headers: numbered from 1 again");
        else
            repair_done(r, p, HEADER_OFFSET((unsigned)!good), 0, 0,
                        "header %d: rewritten from header %d", !good + 1, good + 1);
    }
    return c;
}

static bool log_place_applies(const struct repair *r)
{
    return repair_may(r, VHDX_P_HEADER_LOG_PLACE);
}

/* Then it is an image without a log. */
static int forget_log(struct repair *r, struct vhdx_error *err)
{
    struct header h = r->header;

    h.log_guid = (struct guid){ { 0 } };
    h.log_version = 0;
    h.log_offset = 0;
    h.log_length = 0;
    int c = repair_put_headers(r, h, err);
    if (c == 0)
        repair_done(r, VHDX_P_HEADER_LOG_PLACE, HEADER_OFFSET(0), 0, 0,
                    "headers: log offset and length cleared");
    return c;
}

/* ---- The log -------------------------------------------------------------------------------- */

static bool dirty_log_applies(const struct repair *r)
{
    return repair_may(r, VHDX_P_LOG_DIRTY) && r->check->image->overlay;
}

static int replay_log(struct repair *r, struct vhdx_error *err)
{
    const struct log_facts *log = &r->check->image->log;

    int c = repair_apply_log(r, r->check->image->overlay, err);
    if (c == 0)
        repair_done(r, VHDX_P_LOG_DIRTY, r->header.log_offset, 0, 0,
                    "log: %" PRIu32 " entries replayed, numbers %" PRIu64 " to %" PRIu64,
                    log->entries, log->first_sequence_number, log->last_sequence_number);
    return c;
}

/* A file that takes no writes past its end: what was cut off stays lost. */
struct clipped {
    const struct vhdx_io *io;
    uint64_t size;
};

static int clipped_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    const struct clipped *c = opaque;

    if (offset >= c->size)
        return 0;
    return c->io->pwrite(c->io->opaque, buf, (size_t)min_u64(len, c->size - offset), offset);
}

static int clipped_discard(void *opaque, uint64_t offset, uint64_t len)
{
    const struct clipped *c = opaque;

    if (offset >= c->size)
        return 0;
    if (!c->io->discard)
        return -EOPNOTSUPP;
    return c->io->discard(c->io->opaque, offset, min_u64(len, c->size - offset));
}

static int clipped_truncate(void *opaque, uint64_t size)
{
    (void)opaque;
    (void)size;
    return 0;
}

static int clipped_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct clipped *c = opaque;

    return c->io->pread(c->io->opaque, buf, len, offset);
}

static int clipped_size(void *opaque, uint64_t *ret_size)
{
    const struct clipped *c = opaque;

    *ret_size = c->size;
    return 0;
}

static int clipped_flush(void *opaque)
{
    const struct clipped *c = opaque;

    return c->io->flush(c->io->opaque);
}

static bool truncated_log_applies(const struct repair *r)
{
    return repair_may(r, VHDX_P_LOG_FILE_TRUNCATED);
}

/* The active sequence, as if the file were as long as its entries say. */
static int build_overlay(struct repair *r, struct overlay **ret, struct vhdx_error *err)
{
    struct log_sequence sequence = { 0 };
    struct log_ring ring = { 0 };

    int c = log_ring_init(&ring, r->io, r->header.log_offset, r->header.log_length, err);
    if (c == 0)
        c = log_scan(&ring, &r->header.log_guid, &sequence, err);
    if (c == 0)
        c = overlay_build(&ring, &sequence, LIMIT_FILE_SIZE, ret, err);
    log_sequence_end(&sequence);
    log_ring_end(&ring);
    return c;
}

/* A log that is good for nothing, or whose changes nothing can be made of. */
static int drop_broken_log(struct repair *r, enum vhdx_problem problem, struct vhdx_error *err)
{
    struct header h = r->header;

    h.log_guid = (struct guid){ { 0 } };
    int c = repair_put_headers(r, h, err);
    if (c == 0)
        repair_done(r, problem, h.log_offset, 0, 0,
                    "log: given up, what only it held is lost");
    return c;
}

/*
 * Replays the log into what is left of the file. The file keeps its size, so that the next check
 * finds what was cut off; interrupted, it is done again.
 */
static int mend_truncated_log(struct repair *r, struct vhdx_error *err)
{
    const struct vhdx_io *io = r->io;
    struct clipped clipped = { .io = io };
    const struct vhdx_io view = { .struct_size = sizeof view, .opaque = &clipped,
                                  .pread = clipped_pread, .pwrite = clipped_pwrite,
                                  .flush = clipped_flush, .size = clipped_size,
                                  .truncate = clipped_truncate,
                                  .discard = clipped_discard };
    struct overlay *overlay = NULL;

    int c = io_size(io, &clipped.size, err);
    if (c == 0)
        c = build_overlay(r, &overlay, err);
    if (c == -VHDX_E_TRUNCATED || c == -VHDX_E_CORRUPT || c == -VHDX_E_LIMIT)
        return drop_broken_log(r, VHDX_P_LOG_FILE_TRUNCATED, err);
    if (c == 0) {
        r->io = &view;
        c = repair_apply_log(r, overlay, err);
        r->io = io;
    }
    overlay_free(overlay);
    if (c == 0)
        repair_done(r, VHDX_P_LOG_FILE_TRUNCATED, r->header.log_offset, 0, 0,
                    "log: replayed into what is left of the file");
    return c;
}

static const enum vhdx_problem useless_logs[] = {
    VHDX_P_LOG_EMPTY, VHDX_P_LOG_STALE, VHDX_P_LOG_BROKEN, VHDX_P_LOG_FORBIDDEN, VHDX_P_LOG_LOST,
};

static bool useless_log_applies(const struct repair *r)
{
    for (size_t i = 0; i < ARRAY_LEN(useless_logs); i++)
        if (repair_may(r, useless_logs[i]))
            return true;
    return false;
}

static int drop_log(struct repair *r, struct vhdx_error *err)
{
    struct header h = r->header;

    h.log_guid = (struct guid){ { 0 } };
    int c = repair_put_headers(r, h, err);
    for (size_t i = 0; i < ARRAY_LEN(useless_logs) && c == 0; i++)
        if (repair_may(r, useless_logs[i]))
            repair_done(r, useless_logs[i], h.log_offset, 0, 0, "log: %s",
                        i < 2 ? "log GUID cleared, there was nothing to replay"
                              : "given up, what only it held is lost");
    return c;
}

/* ---- The end of the file -------------------------------------------------------------------- */

/* Where the file ends, if no structure but the log and blocks reaches beyond that; else 0. */
static uint64_t plain_end(const struct check *c)
{
    uint64_t end = align_up(image_size(c->image), MIB);

    for (uint32_t i = 0; i < c->image->regions->count; i++) {
        const struct region *g = &c->image->regions->regions[i];
        if (g->offset + g->length > end)
            return 0;
    }
    return end;
}

/*
 * An image may have no log, or a clean one that lies behind the end of the file: that holds
 * nothing, and may as well be elsewhere. A new one comes behind all that the file holds, but not
 * where a block is that the file has lost: that would come back as zeros, as if it were whole, or,
 * lying on the log, keep a small image from being opened.
 */
static bool new_log_applies(const struct repair *r)
{
    const struct check *c = r->check;
    bool is_far = repair_may(r, VHDX_P_LOG_CUT) && c->image &&
                  r->header.log_offset >= image_size(c->image);

    if (!c->has_tables || plain_end(c) == 0 || !(is_far || repair_may(r, VHDX_P_HEADER_NO_LOG)))
        return false;
    uint64_t place = max_u64(plain_end(c), c->last_end);
    return c->first_lost >= place && c->first_lost - place >= NEW_LOG_LENGTH &&
           check_count(c, VHDX_P_BAT_OVERLAP) + check_count(c, VHDX_P_BAT_ON_REGION) == 0;
}

static int make_log(struct repair *r, struct vhdx_error *err)
{
    bool is_missing = repair_may(r, VHDX_P_HEADER_NO_LOG);
    struct header h = r->header;

    h.log_guid = (struct guid){ { 0 } };
    h.log_version = 0;
    h.log_offset = max_u64(plain_end(r->check), r->check->last_end);
    h.log_length = NEW_LOG_LENGTH;
    int c = io_truncate(r->io, h.log_offset + h.log_length, err);
    if (c == 0)
        c = io_flush(r->io, err);
    if (c == 0)
        c = repair_put_headers(r, h, err);
    if (c == 0)
        repair_done(r, is_missing ? VHDX_P_HEADER_NO_LOG : VHDX_P_LOG_CUT, h.log_offset, 0, 0,
                    "log: a new, empty one made at %#" PRIx64, h.log_offset);
    return c;
}

/* Invariant 3: is nothing wrong but leaks, and what no repair of this file can mend? */
static bool only_leaks_left(const struct repair *r)
{
    const struct check *c = r->check;
    uint64_t others = 0;

    for (uint32_t p = VHDX_P_PARENT_MISSING; p <= VHDX_P_PARENT_BROKEN; p++)
        others += check_count(c, (enum vhdx_problem)p);
    for (uint32_t p = VHDX_P_PROFILE_SPARSE; p <= VHDX_P_PROFILE_WSL_CHAIN; p++)
        others += check_count(c, (enum vhdx_problem)p);
    return c->result.complete && (c->result.fatals + c->result.errors <= others ||
                                  !RULE_HOLDS(RULE_REPAIR_LEAKS_LAST));
}

static const enum vhdx_problem short_files[] = {
    VHDX_P_LOG_CUT, VHDX_P_REGION_CUT, VHDX_P_BAT_CUT, VHDX_P_FILE_SIZE_UNALIGNED,
};

/* Where the file should end: it must hold all that begins in it. A rest behind that is cut off, but
   for the space that a fixed image sets aside, if nothing else is wrong; else it stays. */
static uint64_t wanted_size(const struct repair *r)
{
    uint64_t size = image_size(r->check->image), end = r->check->last_end;

    if (size > end && (!only_leaks_left(r) || repair_may(r, VHDX_P_FILE_TRAILING)))
        return size;
    if (size > end && size - end < MIB && !r->check->image->metadata.leave_allocated)
        return end;
    return align_up(max_u64(size, end), MIB);
}

/*
 * The file does not grow past a block that it has lost: that would come back as zeros, as if it
 * were whole, or lie on what the file grew for.
 */
static bool short_file_applies(const struct repair *r)
{
    bool found = false;

    for (size_t i = 0; i < ARRAY_LEN(short_files); i++)
        found = found || repair_may(r, short_files[i]);
    return found && r->check->has_tables && wanted_size(r) != image_size(r->check->image) &&
           (r->check->first_lost >= wanted_size(r) || !RULE_HOLDS(RULE_REPAIR_NOT_PAST_LOST));
}

static int mend_short_file(struct repair *r, struct vhdx_error *err)
{
    uint64_t size = wanted_size(r);
    const char *what = size < image_size(r->check->image) ? "cut" : "extended";

    int c = io_truncate(r->io, size, err);
    if (c == 0)
        c = io_flush(r->io, err);
    for (size_t i = 0; i < ARRAY_LEN(short_files) && c == 0; i++) {
        bool is_cut = short_files[i] == VHDX_P_BAT_CUT;
        if (repair_may(r, short_files[i]))
            repair_done(r, short_files[i], VHDX_OFFSET_NONE, is_cut ? r->check->cut_offset : 0,
                        is_cut ? r->check->cut_length : 0,
                        "file: %s to %" PRIu64 " bytes", what, size);
    }
    return c;
}

static bool trailing_applies(const struct repair *r)
{
    return repair_may(r, VHDX_P_FILE_TRAILING) && only_leaks_left(r);
}

static int cut_file(struct repair *r, struct vhdx_error *err)
{
    int c = io_truncate(r->io, r->check->last_end, err);

    if (c == 0)
        c = io_flush(r->io, err);
    if (c == 0)
        repair_done(r, VHDX_P_FILE_TRAILING, r->check->last_end, 0, 0,
                    "file: cut to %" PRIu64 " bytes", r->check->last_end);
    return c;
}

static bool leaks_apply(const struct repair *r)
{
    return repair_may(r, VHDX_P_SPACE_LEAKED) && only_leaks_left(r);
}

static int free_leak(struct check *c, uint64_t offset, uint64_t len, void *opaque,
                     struct vhdx_error *err)
{
    struct repair *r = opaque;

    (void)c;
    int e = io_discard(r->io, offset, len, true, err);
    if (e == 0)
        repair_done(r, VHDX_P_SPACE_LEAKED, offset, 0, 0,
                    "file range %#" PRIx64 " + %" PRIu64 ": freed", offset, len);
    return e;
}

static int free_leaks(struct repair *r, struct vhdx_error *err)
{
    const struct check_hands hands = { .leak = free_leak, .opaque = r };

    int c = repair_look_again(r, &hands, err);
    return c < 0 ? c : io_flush(r->io, err);
}

/* ---- The order ------------------------------------------------------------------------------ */

const struct repair_step repair_steps[] = {
    { ident_applies, mend_ident },
    { lost_headers_apply, mend_lost_headers },
    { ambiguous_headers_apply, mend_ambiguous_headers },
    { log_place_applies, forget_log },
    { headers_apply, mend_headers },
    { dirty_log_applies, replay_log },
    { truncated_log_applies, mend_truncated_log },
    { useless_log_applies, drop_log },
    { short_file_applies, mend_short_file },
    { new_log_applies, make_log },
    { repair_states_apply, repair_states },
    { repair_tables_apply, repair_tables },
    { repair_metadata_apply, repair_metadata },
    { repair_bat_apply, repair_bat },
    { trailing_applies, cut_file },
    { leaks_apply, free_leaks },
    { NULL, NULL },
};
