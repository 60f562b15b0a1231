/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The journal, and the rules by which an image survives a loss of power at any instant.
 *
 * What the disk may do: keep, drop, reorder or tear (at sectors) any write that no flush has
 * covered.
 *
 *  1. Nothing is written by opening, but the replay of a dirty log. Before a session's first change
 *     the headers get a new FileWriteGuid (both copies, a flush after each), before its first
 *     visible change a new DataWriteGuid, before log space is overwritten a new LogGuid; one header
 *     update may carry all three. Before a header with a new LogGuid is written, an empty entry (no
 *     descriptors, Tail on itself) with that LogGuid is written to the log and flushed: at no
 *     instant does a non-zero LogGuid stand in a header without a valid sequence in the log.
 *  2. Metadata (BAT, sector bitmaps) changes in memory first and marks its 4 KiB sector dirty. A
 *     write that allocates costs no flush. Payload never goes through the log.
 *  3. Flush = one commit: all dirty sectors go into one log entry, then ONE flush of the file makes
 *     payload and entry stable together; the sectors are then written in place without a flush of
 *     their own. The next commit's flush covers them, and only then may Tail pass the entry.
 *     Flushes that arrive together share one. When nothing is dirty a flush is one flush of the
 *     file, or none if nothing was written.
 *  4. One flush is enough only where the newly mapped space reads as zeros even after a crash
 *     (fresh space past the old end of the file) and the virtual sectors read as zeros before.
 *     Otherwise (recycled space, any image with a parent, where a bitmap bit or a state hides the
 *     parent's data) the payload is made stable before the entry is written: two flushes.
 *  5. A trimmed block keeps its place (state 3 with its offset) while the host space is punched
 *     out; rewriting it needs no allocation, and what is not rewritten reads as zeros. A block's
 *     space is never given to another block.
 *  6. A full log: what was written in place is made stable, and an empty entry with Tail on itself,
 *     itself made stable, releases all others. LastFileOffset and FlushedFileOffset are those of
 *     the moment the entry is written.
 *  7. finish: commit, make the sectors stable in place, cut slack off the end, clear LogGuid in
 *     both headers.
 *  8. A failed flush or metadata write poisons the handle: reads go on, changes fail. A failed
 *     flush is never retried as if it could succeed.
 *  9. The promise: at any instant, with any subset of unflushed writes lost or torn, reopening
 *     gives an image that checks clean, in which every sector has the value of the last flush or of
 *     some write made after it, and never anything else: not another block's data, not zeros where
 *     the parent's data stood.
 *
 * The ring, with entries k-1 (written in place, perhaps not stable there) and k (being written):
 *
 *          tail           unsettled      head
 *            |                |            |
 *     -------[ entry k-2 ][ entry k-1 ][ entry k ]-----------------
 *             Tail -> k-3   Tail -> k-2   Tail -> k-1
 *
 * If entry k is torn, k-1 is the newest and its sequence begins at its Tail. So what lies from
 * there to the head is never overwritten; entry k goes behind it, and must leave one sector free
 * for the empty entry of rule 6. An entry is in one of these states:
 *
 *     built --journal_append--> written --flush--> stable --journal_apply--> in place --flush-->
 *     settled
 */

#include "log/journal.h"

#include <stdlib.h>

#include "util/limits.h"
#include "util/rules.h"

int journal_init(struct journal *j, const struct vhdx_io *io, uint64_t log_offset,
                 uint32_t log_length, struct vhdx_error *err)
{
    *j = (struct journal){ .io = io, .log_offset = log_offset, .log_length = log_length };
    if (log_length < MIB)
        return fail(err, VHDX_E_CORRUPT, log_offset,
                    "log: length is %u, must be at least 1 MiB to write to the image", log_length);
    return 0;
}

void journal_end(struct journal *j)
{
    free(j->entry);
    *j = (struct journal){ 0 };
}

static uint32_t entry_length(uint32_t data_count)
{
    return (log_descriptor_sectors(data_count) + data_count) * LOG_SECTOR_SIZE;
}

/* Bytes of the ring that may be overwritten. */
static uint32_t free_bytes(const struct journal *j)
{
    uint32_t used = j->head >= j->tail ? j->head - j->tail : j->log_length - j->tail + j->head;

    return j->log_length - used;
}

/* What a commit may hold after rule 6 has been applied: the ring but for the empty entry, the
   sector for the next empty entry, and one more, so that head and tail never meet. */
uint32_t journal_capacity(const struct journal *j)
{
    uint32_t sectors = (uint32_t)min_u64(j->log_length, LIMIT_COMMIT_LENGTH) / LOG_SECTOR_SIZE - 3;

    return sectors - log_descriptor_sectors(sectors);
}

/* ---- Building ------------------------------------------------------------------------------- */

static int reserve(struct journal *j, uint32_t length, struct vhdx_error *err)
{
    if (length > j->entry_capacity) {
        uint8_t *entry = realloc(j->entry, length);
        if (!entry)
            return fail_nomem(err);
        j->entry = entry;
        j->entry_capacity = length;
    }
    return 0;
}

static int build(struct journal *j, uint32_t count, uint32_t tail, uint64_t flushed_file_offset,
                 uint64_t last_file_offset, struct vhdx_error *err)
{
    uint32_t length = entry_length(count);
    struct log_header_disk header;

    int r = reserve(j, length, err);
    if (r < 0)
        return r;
    j->building = (struct log_entry){
        .offset = j->head,
        .length = length,
        .tail = tail,
        .descriptor_count = count,
        .sequence_number = j->sequence_number + 1,
        .flushed_file_offset = flushed_file_offset,
        .last_file_offset = last_file_offset,
    };
    j->descriptor_count = 0;
    memset(j->entry, 0, (size_t)log_descriptor_sectors(count) * LOG_SECTOR_SIZE);
    log_header_encode(&j->building, &j->guid, &header);
    memcpy(j->entry, &header, sizeof header);
    return 0;
}

static struct log_descriptor_disk *descriptor_at(const struct journal *j, uint32_t i)
{
    return (struct log_descriptor_disk *)(j->entry + sizeof(struct log_header_disk)) + i;
}

static struct log_data_disk *data_at(const struct journal *j, uint32_t i)
{
    uint32_t first = log_descriptor_sectors(j->building.descriptor_count);

    return (struct log_data_disk *)(j->entry + (size_t)(first + i) * LOG_SECTOR_SIZE);
}

void journal_add(struct journal *j, uint64_t file_offset, const uint8_t *sector)
{
    uint32_t i = j->descriptor_count++;

    log_data_encode(&j->building, file_offset, sector, descriptor_at(j, i), data_at(j, i));
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* Writes to the ring, round its end if need be. */
static int ring_write(const struct journal *j, uint32_t offset, const uint8_t *buf, uint32_t len,
                      struct vhdx_error *err)
{
    uint32_t first = (uint32_t)min_u64(len, j->log_length - offset);

    int r = io_pwrite(j->io, buf, first, j->log_offset + offset, err);
    if (r == 0 && first < len)
        r = io_pwrite(j->io, buf + first, len - first, j->log_offset, err);
    return r;
}

int journal_append(struct journal *j, struct vhdx_error *err)
{
    struct log_entry *e = &j->building;

    log_entry_seal(j->entry, e->length);
    int r = ring_write(j, e->offset, j->entry, e->length, err);
    if (r < 0)
        return r;
    j->sequence_number = e->sequence_number;
    j->head = (e->offset + e->length) % j->log_length;
    return 0;
}

int journal_apply(struct journal *j, struct vhdx_error *err)
{
    uint8_t sector[LOG_SECTOR_SIZE];

    j->tail = j->building.tail;
    j->has_unsettled = true;
    j->unsettled = j->building.offset;
    for (uint32_t i = 0; i < j->building.descriptor_count; i++) {
        const struct log_descriptor_disk *d = descriptor_at(j, i);
        log_data_decode(d, data_at(j, i), sector);
        int r = io_pwrite(j->io, sector, sizeof sector, le64_get(d->file_offset), err);
        if (r < 0)
            return r;
    }
    return 0;
}

void journal_settled(struct journal *j)
{
    j->has_unsettled = false;
}

/* An empty entry with Tail on itself, made stable: all other entries are released. */
static int write_empty_entry(struct journal *j, uint64_t flushed_file_offset,
                             uint64_t last_file_offset, struct vhdx_error *err)
{
    int r = build(j, 0, j->head, flushed_file_offset, last_file_offset, err);

    if (r == 0)
        r = journal_append(j, err);
    if (r == 0 && RULE_HOLDS(RULE_ENTRY_BEFORE_HEADER))
        r = io_flush(j->io, err);
    if (r < 0)
        return r;
    j->tail = j->building.offset;
    j->has_unsettled = false;
    return 0;
}

int journal_start(struct journal *j, const struct guid *guid, uint64_t flushed_file_offset,
                  uint64_t last_file_offset, struct vhdx_error *err)
{
    j->guid = *guid;
    j->sequence_number = 0;
    j->head = j->tail = 0;
    return write_empty_entry(j, flushed_file_offset, last_file_offset, err);
}

void journal_stop(struct journal *j)
{
    j->guid = (struct guid){ { 0 } };
    j->has_unsettled = false;
}

int journal_begin(struct journal *j, uint32_t count, uint64_t flushed_file_offset,
                  uint64_t last_file_offset, struct vhdx_error *err)
{
    if (entry_length(count) + 2 * LOG_SECTOR_SIZE > free_bytes(j) &&
        RULE_HOLDS(RULE_FULL_LOG)) {
        int r = io_flush(j->io, err); /* what was written in place */
        if (r == 0)
            r = write_empty_entry(j, flushed_file_offset, last_file_offset, err);
        if (r < 0)
            return r;
    }
    bool keep = j->has_unsettled && RULE_HOLDS(RULE_TAIL_SETTLED);
    return build(j, count, keep ? j->unsettled : j->head, flushed_file_offset, last_file_offset,
                 err);
}
