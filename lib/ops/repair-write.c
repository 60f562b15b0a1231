/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* How the changes of a repair reach the file; see repair.h. */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log/journal.h"
#include "ops/repair.h"
#include "util/cleanup.h"
#include "util/limits.h"
#include "util/rules.h"

/* ---- Headers -------------------------------------------------------------------------------- */

static int write_header(struct repair *r, int copy, const struct header *h, struct vhdx_error *err)
{
    struct header_disk disk;
    struct header check;

    header_encode(h, &disk);
    int c = header_decode(&disk, copy, NULL, &check, err);
    assert(c == 0);
    c = io_pwrite(r->io, &disk, sizeof disk, HEADER_OFFSET((unsigned)copy), err);
    if (c == 0 && RULE_HOLDS(RULE_REPAIR_HEADERS_APART))
        c = io_flush(r->io, err);
    if (c < 0)
        return c;
    r->header = *h;
    r->header_copy = copy;
    return 0;
}

int repair_put_headers(struct repair *r, struct header h, struct vhdx_error *err)
{
    /* Where no higher number is left, the other copy begins anew: it does not count until the one
       with the highest number is overwritten, and then says the same. */
    uint64_t number = r->header.sequence_number;
    if (number > UINT64_MAX - 2 * HEADER_NUMBERS_KEPT)
        number = 0;

    if (!RULE_HOLDS(RULE_REPAIR_DATA_GUID_KEPT))
        guid_random(&h.data_write_guid);
    if (!guid_random(&h.file_write_guid))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    for (int i = 0; i < 2; i++) {
        h.sequence_number = ++number;
        int c = write_header(r, !r->header_copy, &h, err);
        if (c < 0)
            return c;
    }
    return 0;
}

int repair_apply_log(struct repair *r, const struct overlay *overlay, struct vhdx_error *err)
{
    struct header h = r->header;

    if (!RULE_HOLDS(RULE_REPAIR_LOG_KEPT))
        h.log_guid = (struct guid){ { 0 } };
    /* The same log GUID: interrupted anywhere, the replay starts over. */
    int c = repair_put_headers(r, h, err);
    if (c == 0)
        c = overlay_apply(overlay, r->io, err);
    h.log_guid = (struct guid){ { 0 } };
    return c < 0 ? c : repair_put_headers(r, h, err);
}

/* ---- Patches -------------------------------------------------------------------------------- */

#define SECTORS_MAX 256 /* of one log entry: 1 MiB of memory */

struct patch_sector {
    uint64_t offset; /* in the file, a multiple of LOG_SECTOR_SIZE */
    uint8_t bytes[LOG_SECTOR_SIZE];
};

struct patches {
    struct repair *r;
    struct journal journal;
    struct patch_sector *sectors; /* owned; in the order of their first change */
    uint32_t count, capacity;
    bool has_begun;               /* the headers name the log */
};

int repair_patches_begin(struct repair *r, struct patches **ret, struct vhdx_error *err)
{
    const struct header *h = &r->header;
    struct patches *p = calloc(1, sizeof *p);
    uint64_t size = 0;

    if (!p)
        return fail_nomem(err);
    p->r = r;
    int c = io_size(r->io, &size, err);
    if (c == 0 && !range_fits(h->log_offset, h->log_length, size))
        c = fail(err, VHDX_E_TRUNCATED, h->log_offset,
                 "log: file is %" PRIu64 " bytes long, must reach to %" PRIu64
                 " to be repaired through the log", size, h->log_offset + h->log_length);
    if (c == 0)
        c = journal_init(&p->journal, r->io, h->log_offset, h->log_length, err);
    if (c == 0) {
        p->capacity = (uint32_t)min_u64(SECTORS_MAX, journal_capacity(&p->journal));
        p->sectors = malloc(p->capacity * sizeof *p->sectors);
        c = p->sectors ? 0 : fail_nomem(err);
    }
    if (c < 0) {
        repair_patches_drop(p);
        return c;
    }
    *ret = p;
    return 0;
}

void repair_patches_drop(struct patches *p)
{
    if (!p)
        return;
    journal_end(&p->journal);
    free(p->sectors);
    free(p);
}

/* File sizes for the entries: what is there is stable, and nothing is needed beyond. A rest behind
   the last structure is none of it: a replay does not make it whole. */
static int file_sizes(struct patches *p, uint64_t *ret_flushed, uint64_t *ret_last,
                      struct vhdx_error *err)
{
    uint64_t size = 0;

    int c = io_size(p->r->io, &size, err);
    *ret_flushed = align_down(size, MIB);
    bool is_rest = p->r->check->last_end <= align_down(size, MIB);
    *ret_last = is_rest ? align_down(size, MIB) : align_up(size, MIB);
    return c;
}

/* Rule 1 of the journal: the log has a valid sequence before a header names it. */
static int start_log(struct patches *p, struct vhdx_error *err)
{
    struct header h = p->r->header;
    uint64_t flushed, last;

    if (p->has_begun)
        return 0;
    if (!guid_random(&h.log_guid))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    int c = io_flush(p->r->io, err); /* so that the size is stable */
    if (c == 0 && !RULE_HOLDS(RULE_REPAIR_ENTRY_BEFORE_HEADER))
        c = repair_put_headers(p->r, h, err);
    if (c == 0)
        c = file_sizes(p, &flushed, &last, err);
    if (c == 0)
        c = journal_start(&p->journal, &h.log_guid, flushed, last, err);
    if (c == 0)
        c = repair_put_headers(p->r, h, err);
    if (c == 0)
        p->has_begun = true;
    return c;
}

static int commit(struct patches *p, struct vhdx_error *err)
{
    uint64_t flushed, last;

    if (p->count == 0)
        return 0;
    int c = start_log(p, err);
    if (c == 0)
        c = file_sizes(p, &flushed, &last, err);
    if (c == 0)
        c = journal_begin(&p->journal, p->count, flushed, last, err);
    if (c < 0)
        return c;
    for (uint32_t i = 0; i < p->count; i++)
        journal_add(&p->journal, p->sectors[i].offset, p->sectors[i].bytes);
    p->count = 0;
    c = journal_append(&p->journal, err);
    if (c == 0 && RULE_HOLDS(RULE_REPAIR_ENTRY_BEFORE_PLACE))
        c = io_flush(p->r->io, err);
    if (c == 0) {
        journal_settled(&p->journal);
        c = journal_apply(&p->journal, err);
    }
    return c;
}

/* The sector as the file holds it; what lies past the end is zero. */
static int read_sector(const struct vhdx_io *io, struct patch_sector *s, struct vhdx_error *err)
{
    uint64_t size = 0;

    memset(s->bytes, 0, sizeof s->bytes);
    int c = io_size(io, &size, err);
    if (c < 0 || s->offset >= size)
        return c;
    return io_pread(io, s->bytes, (size_t)min_u64(sizeof s->bytes, size - s->offset), s->offset,
                    err);
}

/* The sector at offset among those that are changed; the last ones are the likely ones. */
static int find_sector(struct patches *p, uint64_t offset, struct patch_sector **ret,
                       struct vhdx_error *err)
{
    for (uint32_t i = p->count; i-- > 0;) {
        if (p->sectors[i].offset == offset) {
            *ret = &p->sectors[i];
            return 0;
        }
    }
    if (p->count == p->capacity) {
        int c = commit(p, err);
        if (c < 0)
            return c;
    }
    struct patch_sector *s = &p->sectors[p->count];
    s->offset = offset;
    int c = read_sector(p->r->io, s, err);
    if (c < 0)
        return c;
    p->count++;
    *ret = s;
    return 0;
}

int repair_patch(struct patches *p, const void *buf, size_t len, uint64_t offset,
                 struct vhdx_error *err)
{
    const uint8_t *from = buf;

    while (len > 0) {
        size_t at = (size_t)(offset % LOG_SECTOR_SIZE);
        size_t n = (size_t)min_u64(LOG_SECTOR_SIZE - at, len);
        struct patch_sector *s;
        int c = find_sector(p, offset - at, &s, err);
        if (c < 0)
            return c;
        memcpy(s->bytes + at, from, n);
        from += n;
        offset += n;
        len -= n;
    }
    return 0;
}

static int end_log(struct patches *p, struct vhdx_error *err)
{
    struct header h = p->r->header;

    int c = commit(p, err);
    if (c < 0 || !p->has_begun)
        return c;
    if (RULE_HOLDS(RULE_REPAIR_LOG_SETTLED))
        c = io_flush(p->r->io, err);
    h = p->r->header;
    h.log_guid = (struct guid){ { 0 } };
    return c < 0 ? c : repair_put_headers(p->r, h, err);
}

int repair_patches_end(struct patches *p, bool *ret_changed, struct vhdx_error *err)
{
    int c = end_log(p, err);

    if (c == 0)
        *ret_changed = p->has_begun;
    repair_patches_drop(p);
    return c;
}
