/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Finding the active sequence of a log; see scan.h. */

#include "log/scan.h"

#include <inttypes.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/iszero.h"
#include "util/limits.h"

#define NO_ENTRY UINT32_MAX

struct scan {
    struct log_ring *ring;
    const struct guid *log_guid;
    struct log_entry *found; /* every valid entry, in the order of its offset */
    uint32_t found_count, found_capacity;
    uint32_t *by_sector;     /* for each sector of the log: the entry that begins there */
    uint64_t work_left;      /* bytes that may still be read, then: entries walked */
    bool has_own;            /* an entry with the GUID was seen, valid or not */
};

int log_entry_descriptors(struct log_ring *ring, const struct log_entry *e,
                          int (*fn)(const struct log_descriptor *d, uint32_t data_offset,
                                    void *opaque, struct vhdx_error *err),
                          void *opaque, struct vhdx_error *err)
{
    uint32_t position = sizeof(struct log_header_disk); /* in the entry */
    uint32_t data = log_descriptor_sectors(e->descriptor_count) * LOG_SECTOR_SIZE;

    for (uint32_t i = 0; i < e->descriptor_count; i++, position += 32) {
        const uint8_t *sector;
        struct log_descriptor_disk disk;
        struct log_descriptor d;

        int r = log_ring_sector(ring, e->offset + (uint32_t)align_down(position, LOG_SECTOR_SIZE),
                                &sector, err);
        if (r < 0)
            return r;
        memcpy(&disk, sector + position % LOG_SECTOR_SIZE, sizeof disk);
        r = log_descriptor_decode(&disk, e, i, log_ring_at(ring, e->offset + position), &d, err);
        if (r == 0)
            r = fn(&d, (e->offset + data) % ring->length, opaque, err);
        if (r < 0)
            return r;
        if (!d.is_zero)
            data += LOG_SECTOR_SIZE;
    }
    return 0;
}

static int count_data(const struct log_descriptor *d, uint32_t data_offset, void *opaque,
                      struct vhdx_error *err)
{
    uint32_t *count = opaque;

    (void)data_offset;
    (void)err;
    *count += !d->is_zero;
    return 0;
}

/* The checksum over the whole entry, and that the sectors behind the descriptors are its own. */
static int verify_sectors(struct scan *s, const struct log_entry *e, uint32_t data_count,
                          struct vhdx_error *err)
{
    uint32_t first_data = log_descriptor_sectors(e->descriptor_count);
    uint32_t crc = 0;

    for (uint32_t i = 0; i < e->length / LOG_SECTOR_SIZE; i++) {
        const uint8_t *sector;
        int r = log_ring_sector(s->ring, e->offset + i * LOG_SECTOR_SIZE, &sector, err);
        if (r < 0)
            return r;
        if (i == 0) {
            crc = log_header_checksum((const struct log_header_disk *)sector);
            crc = crc32c(crc, sector + sizeof(struct log_header_disk),
                         LOG_SECTOR_SIZE - sizeof(struct log_header_disk));
            continue;
        }
        if (i >= first_data && i - first_data < data_count) {
            r = log_data_verify((const struct log_data_disk *)sector, e,
                                log_ring_at(s->ring, e->offset + i * LOG_SECTOR_SIZE), err);
            if (r < 0)
                return r;
        }
        crc = crc32c(crc, sector, LOG_SECTOR_SIZE);
    }
    if (crc != e->checksum)
        return fail(err, VHDX_E_CHECKSUM, e->at + offsetof(struct log_header_disk, checksum),
                    "log entry at %#" PRIx32 ": checksum is %#010" PRIx32 ", must be %#010" PRIx32,
                    e->offset, e->checksum, crc);
    return 0;
}

static bool crosses_window(const struct log_entry *e)
{
    return e->offset % LOG_WINDOW_SIZE + (uint64_t)e->length > LOG_WINDOW_SIZE;
}

/*
 * Is there a valid entry at this sector? 0 with *ret filled, -VHDX_E_CORRUPT or -VHDX_E_CHECKSUM
 * when not, and any other error when that could not be found out.
 */
static int verify_entry(struct scan *s, uint32_t offset, const uint8_t *sector,
                        struct log_entry *ret, struct vhdx_error *err)
{
    uint32_t data_count = 0;

    int r = log_header_decode((const struct log_header_disk *)sector, offset, s->ring->offset,
                              s->ring->length, s->log_guid, ret, err);
    if (r < 0)
        return r;
    /* An entry is read twice, and makes the window move there and back. */
    uint64_t work = ret->length + 2 * LOG_WINDOW_SIZE * (crosses_window(ret) ? 1 : 0);
    if (work > s->work_left)
        return fail(err, VHDX_E_LIMIT, ret->at,
                    "log: entries overlap each other: more than %" PRIu64 " bytes to verify",
                    LIMIT_LOG_SCAN(s->ring->length));
    s->work_left -= work;

    r = log_entry_descriptors(s->ring, ret, count_data, &data_count, err);
    if (r < 0)
        return r;
    if (log_descriptor_sectors(ret->descriptor_count) + (uint64_t)data_count >
        ret->length / LOG_SECTOR_SIZE)
        return fail(err, VHDX_E_CORRUPT, ret->at + offsetof(struct log_header_disk, entry_length),
                    "log entry at %#" PRIx32 ": entry length is %" PRIu32 ", must hold %" PRIu32
                    " data sectors", offset, ret->length, data_count);
    return verify_sectors(s, ret, data_count, err);
}

static int add_found(struct scan *s, const struct log_entry *e, struct vhdx_error *err)
{
    if (s->found_count == s->found_capacity) {
        uint32_t capacity = s->found_capacity ? 2 * s->found_capacity : 64;
        struct log_entry *found = realloc(s->found, capacity * sizeof *found);
        if (!found)
            return fail_nomem(err);
        s->found = found;
        s->found_capacity = capacity;
    }
    s->by_sector[e->offset / LOG_SECTOR_SIZE] = s->found_count;
    s->found[s->found_count++] = *e;
    return 0;
}

static bool is_own(const struct scan *s, const uint8_t *sector)
{
    const struct log_header_disk *d = (const struct log_header_disk *)sector;
    struct guid guid = guid_get(d->log_guid);

    return memcmp(d->signature, "loge", 4) == 0 && guid_equal(&guid, s->log_guid);
}

static int find_entries(struct scan *s, bool *ret_all_zero, struct vhdx_error *err)
{
    struct vhdx_error problem; /* why there is no entry at a sector interests nobody */
    bool all_zero = true;

    for (uint32_t offset = 0; offset < s->ring->length; offset += LOG_SECTOR_SIZE) {
        const uint8_t *sector;
        struct log_entry e;

        s->by_sector[offset / LOG_SECTOR_SIZE] = NO_ENTRY;
        int r = log_ring_sector(s->ring, offset, &sector, err);
        if (r < 0)
            return r;
        all_zero = all_zero && is_zero(sector, LOG_SECTOR_SIZE);
        if (memcmp(sector, "loge", 4) != 0)
            continue;
        s->has_own = s->has_own || is_own(s, sector);
        r = verify_entry(s, offset, sector, &e, &problem);
        if (r == 0)
            r = add_found(s, &e, &problem);
        if (r < 0 && r != -VHDX_E_CORRUPT && r != -VHDX_E_CHECKSUM) {
            if (err)
                *err = problem;
            return r;
        }
    }
    *ret_all_zero = all_zero;
    return 0;
}

/* The entry that continues entry i, or NO_ENTRY. */
static uint32_t next_of(const struct scan *s, uint32_t i)
{
    const struct log_entry *e = &s->found[i];
    uint64_t end = ((uint64_t)e->offset + e->length) % s->ring->length;
    uint32_t next = s->by_sector[end / LOG_SECTOR_SIZE];

    if (next == NO_ENTRY || s->found[next].sequence_number != e->sequence_number + 1)
        return NO_ENTRY;
    return next;
}

/*
 * Follows the chain that begins with entry first to its last entry and says whether it is complete.
 * Numbers rise along a chain, so an entry lies on it if following reaches it; *ret_tail is the
 * entry that Tail names.
 */
static int follow(struct scan *s, uint32_t first, bool *ret_complete, uint32_t *ret_tail,
                  uint32_t *ret_last, struct vhdx_error *err)
{
    uint32_t last = first, next;

    while ((next = next_of(s, last)) != NO_ENTRY) {
        if (s->work_left-- == 0)
            return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                        "log: entries overlap each other: too many chains to follow");
        last = next;
    }

    uint32_t tail = s->by_sector[s->found[last].tail / LOG_SECTOR_SIZE];
    *ret_complete = false;
    *ret_tail = tail;
    *ret_last = last;
    for (uint32_t i = first; tail != NO_ENTRY && i != NO_ENTRY; i = next_of(s, i)) {
        if (i == tail) {
            *ret_complete = true;
            break;
        }
    }
    return 0;
}

/* Copies the entries from first to last, along the chain, to *ret. */
static int extract(const struct scan *s, uint32_t first, uint32_t last, struct log_sequence *ret,
                   struct vhdx_error *err)
{
    uint64_t count = s->found[last].sequence_number - s->found[first].sequence_number + 1;

    ret->entries = malloc(count * sizeof *ret->entries);
    if (!ret->entries)
        return fail_nomem(err);
    ret->count = (uint32_t)count;
    for (uint32_t i = first, n = 0; n < count; i = next_of(s, i))
        ret->entries[n++] = s->found[i];
    return 0;
}

static int choose_sequence(struct scan *s, struct log_sequence *ret, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *continues = calloc(s->found_count ? s->found_count : 1, 1);
    uint32_t best_tail = NO_ENTRY, best_last = NO_ENTRY;

    if (!continues)
        return fail_nomem(err);
    for (uint32_t i = 0; i < s->found_count; i++) {
        uint32_t next = next_of(s, i);
        if (next != NO_ENTRY)
            continues[next] = 1;
    }

    for (uint32_t i = 0; i < s->found_count; i++) {
        bool complete = false;
        uint32_t tail = NO_ENTRY, last = NO_ENTRY;

        if (continues[i])
            continue; /* the chain that it continues is as good and longer */
        int r = follow(s, i, &complete, &tail, &last, err);
        if (r < 0)
            return r;
        if (complete && (best_last == NO_ENTRY || s->found[last].sequence_number >
                                                      s->found[best_last].sequence_number)) {
            best_tail = tail;
            best_last = last;
        }
    }
    return best_last == NO_ENTRY ? 0 : extract(s, best_tail, best_last, ret, err);
}

/* What follows the last entry: nothing, what is older, or the entry that was being written. */
static int look_behind(struct scan *s, struct log_sequence *ret, struct vhdx_error *err)
{
    const struct log_entry *last = &ret->entries[ret->count - 1];
    const uint8_t *sector;

    ret->end = (uint32_t)(((uint64_t)last->offset + last->length) % s->ring->length);
    int r = log_ring_sector(s->ring, ret->end, &sector, err);
    if (r < 0 || !is_own(s, sector))
        return r;
    const struct log_header_disk *d = (const struct log_header_disk *)sector;
    ret->is_torn = le64_get(d->sequence_number) == last->sequence_number + 1;
    return 0;
}

int log_scan(struct log_ring *ring, const struct guid *log_guid, struct log_sequence *ret,
             struct vhdx_error *err)
{
    struct log_sequence sequence = { 0 };
    uint32_t sectors = ring->length / LOG_SECTOR_SIZE;
    struct scan s = { .ring = ring, .log_guid = log_guid,
                      .by_sector = malloc(sectors * sizeof *s.by_sector),
                      .work_left = LIMIT_LOG_SCAN(ring->length) };

    int r = s.by_sector ? find_entries(&s, &sequence.log_is_zero, err) : fail_nomem(err);
    if (r == 0) {
        s.work_left = LIMIT_LOG_SCAN(ring->length) / LOG_SECTOR_SIZE;
        r = choose_sequence(&s, &sequence, err);
    }
    sequence.has_own = s.has_own;
    if (r == 0 && sequence.count > 0)
        r = look_behind(&s, &sequence, err);
    free(s.found);
    free(s.by_sector);
    if (r == 0)
        *ret = sequence;
    else
        log_sequence_end(&sequence);
    return r;
}

void log_sequence_end(struct log_sequence *s)
{
    free(s->entries);
    *s = (struct log_sequence){ 0 };
}
