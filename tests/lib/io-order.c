/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Watches the order of writes to an image; see io-order.h. */

#include "io-order.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define HEADER_SIZE 4096u
#define LOG_SECTOR 4096u
#define ENTRIES_MAX (sizeof((struct order *)0)->entries / sizeof(struct order_entry))

static const uint8_t no_guid[16];

#define DEMAND(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "FAILED: order of writes: " __VA_ARGS__);                              \
            fprintf(stderr, "\n");                                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static bool lies_in(uint64_t offset, uint64_t start, uint64_t length)
{
    return offset >= start && offset - start < length;
}

/* ---- Headers -------------------------------------------------------------------------------- */

static bool is_header(const uint8_t *h)
{
    static const uint8_t no_checksum[4];
    uint32_t crc = vhdx_crc32c(0, h, 4);

    crc = vhdx_crc32c(crc, no_checksum, 4);
    return memcmp(h, "head", 4) == 0 && vhdx_crc32c(crc, h + 8, HEADER_SIZE - 8) == get32(h + 4);
}

static void take_header(struct order *o, const uint8_t *h)
{
    o->header_sequence = get64(h + 8);
    memcpy(o->file_guid, h + 16, 16);
    memcpy(o->data_guid, h + 32, 16);
    memcpy(o->log_guid, h + 48, 16);
    o->log_length = get32(h + 68);
    o->log_offset = get64(h + 72);
}

/* The newest stable entry with this LogGuid, or NULL. */
static const struct order_entry *newest_stable(const struct order *o, const uint8_t *guid)
{
    for (size_t i = o->entry_count; i > 0; i--)
        if (o->entries[i - 1].is_stable && memcmp(o->entries[i - 1].guid, guid, 16) == 0)
            return &o->entries[i - 1];
    return NULL;
}

static void watch_header(struct order *o, const uint8_t *h)
{
    bool same_log = memcmp(h + 48, o->stable_log_guid, 16) == 0;

    DEMAND(is_header(h), "a header that is not valid");
    DEMAND(get64(h + 8) > o->header_sequence, "a header's sequence number does not rise");
    DEMAND(same_log || memcmp(h + 48, no_guid, 16) == 0 || newest_stable(o, h + 48),
           "a header names a log without a stable sequence");
    if (memcmp(h + 16, o->file_guid, 16) != 0)
        o->is_file_session = true;
    if (memcmp(h + 32, o->data_guid, 16) != 0)
        o->is_data_session = true;
    DEMAND(o->is_file_session, "a header is written without a new FileWriteGuid");
    take_header(o, h);
}

/* ---- The log -------------------------------------------------------------------------------- */

static void keep_sector(struct order *o, uint64_t offset, const uint8_t *bytes)
{
    if (o->sector_count == o->sector_capacity) {
        o->sector_capacity = o->sector_capacity ? 2 * o->sector_capacity : 64;
        o->sectors = realloc(o->sectors, o->sector_capacity * sizeof *o->sectors);
        if (!o->sectors)
            abort();
    }
    struct order_sector *s = &o->sectors[o->sector_count++];
    *s = (struct order_sector){ .offset = offset };
    memcpy(s->bytes, bytes, sizeof s->bytes);
}

/* Keeps the sectors that the entry carries; only the newest two entries can matter. */
static void keep_sectors(struct order *o, const uint8_t *entry)
{
    uint32_t count = get32(entry + 24);
    uint32_t first = (64 + count * 32 + LOG_SECTOR - 1) / LOG_SECTOR;
    uint8_t bytes[LOG_SECTOR];
    size_t kept = 0;

    for (size_t i = 0; i < o->sector_count; i++)
        if (o->sectors[i].is_newest)
            o->sectors[kept++] = o->sectors[i];
    o->sector_count = kept;
    for (size_t i = 0; i < kept; i++)
        o->sectors[i].is_newest = false;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *d = entry + 64 + (size_t)i * 32;
        const uint8_t *data = entry + (size_t)(first + i) * LOG_SECTOR;
        DEMAND(memcmp(d, "desc", 4) == 0 && memcmp(data, "data", 4) == 0 &&
                   get64(d + 24) == get64(entry + 16), "a log entry that is not valid");
        memcpy(bytes, d + 8, 8);
        memcpy(bytes + 8, data + 8, 4084);
        memcpy(bytes + 4092, d + 4, 4);
        keep_sector(o, get64(d + 16), bytes);
        o->sectors[o->sector_count - 1].is_newest = true;
    }
}

/* What lies from the Tail of the newest stable entry to its end may not be written. */
static void demand_free(const struct order *o, uint32_t offset, uint32_t length)
{
    const struct order_entry *e = newest_stable(o, o->log_guid);

    if (!e || memcmp(o->log_guid, no_guid, 16) == 0)
        return;
    uint32_t end = (e->offset + e->length) % o->log_length;
    uint32_t used = (end + o->log_length - e->tail - 1) % o->log_length + 1;
    for (uint32_t at = offset; at < offset + length; at += LOG_SECTOR) {
        uint32_t distance = (at % o->log_length + o->log_length - e->tail) % o->log_length;
        DEMAND(distance >= used, "the log at %#x is overwritten, but is still needed", at);
    }
}

static void watch_entry(struct order *o, uint32_t offset, const uint8_t *entry, uint32_t length)
{
    const struct order_entry *last = o->entry_count ? &o->entries[o->entry_count - 1] : NULL;
    struct order_entry e = { offset, length, get32(entry + 12), get64(entry + 16), { 0 }, false };

    memcpy(e.guid, entry + 32, 16);
    if (last && memcmp(last->guid, e.guid, 16) == 0)
        DEMAND(e.sequence_number == last->sequence_number + 1,
               "an entry's sequence number does not follow that of the last");
    else
        DEMAND(e.tail == offset && get32(entry + 24) == 0, "a log does not begin empty");
    demand_free(o, offset, length);
    if (o->entry_count == ENTRIES_MAX)
        memmove(o->entries, o->entries + 1, --o->entry_count * sizeof *o->entries);
    o->entries[o->entry_count++] = e;
    keep_sectors(o, entry);
}

/* An entry that goes round the end of the ring comes in two writes. */
static void watch_log(struct order *o, uint64_t offset, const uint8_t *buf, size_t len)
{
    uint32_t at = (uint32_t)(offset - o->log_offset);

    if (o->part_length > 0) {
        memcpy(o->part + o->part_length, buf, len);
        DEMAND(at == 0 && o->part_length + len == get32(o->part + 8), "an entry in pieces");
        watch_entry(o, o->part_offset, o->part, get32(o->part + 8));
        o->part_length = 0;
        return;
    }
    DEMAND(len >= 64 && memcmp(buf, "loge", 4) == 0, "the log holds something else than entries");
    uint32_t length = get32(buf + 8);
    DEMAND(length >= len && length <= o->log_length, "an entry's length is wrong");
    if (length == len) {
        watch_entry(o, at, buf, length);
        return;
    }
    free(o->part);
    o->part = malloc(length);
    if (!o->part)
        abort();
    memcpy(o->part, buf, len);
    o->part_length = (uint32_t)len;
    o->part_offset = at;
}

/* ---- The rest ------------------------------------------------------------------------------- */

/* A sector of the tables is written in place: what a stable entry carries for it. */
static void watch_table(const struct order *o, uint64_t offset, const uint8_t *buf)
{
    if (o->is_replaying)
        return;
    for (size_t i = o->sector_count; i > 0; i--) {
        const struct order_sector *s = &o->sectors[i - 1];
        if (s->offset == offset && s->is_stable && memcmp(s->bytes, buf, LOG_SECTOR) == 0)
            return;
    }
    DEMAND(false, "a sector at %#" PRIx64 " is written in place, but is not stable in the log",
           offset);
}

static void watch_write(struct order *o, uint64_t offset, const uint8_t *buf, size_t len)
{
    if (offset == 64 * KIB || offset == 128 * KIB) {
        DEMAND(len == HEADER_SIZE, "a header is not written as a whole");
        watch_header(o, buf);
        return;
    }
    DEMAND(o->is_file_session, "something is written before the new FileWriteGuid");
    DEMAND(offset >= 1024 * KIB, "something is written among the headers");
    if (lies_in(offset, o->log_offset, o->log_length))
        watch_log(o, offset, buf, len);
    else if (lies_in(offset, o->bat_offset, o->bat_length) ||
             lies_in(offset, o->metadata_offset, o->metadata_length))
        watch_table(o, offset, buf);
    else
        DEMAND(o->is_data_session || o->is_replaying,
               "payload is written before the new DataWriteGuid");
}

static void watch_flush(struct order *o)
{
    for (size_t i = 0; i < o->entry_count; i++)
        o->entries[i].is_stable = true;
    for (size_t i = 0; i < o->sector_count; i++)
        o->sectors[i].is_stable = true;
    memcpy(o->stable_log_guid, o->log_guid, 16);
    if (memcmp(o->log_guid, no_guid, 16) == 0)
        o->is_replaying = false;
}

/* ---- The I/O table -------------------------------------------------------------------------- */

static int order_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct order *o = opaque;

    return o->io.pread(o->io.opaque, buf, len, offset);
}

static int order_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct order *o = opaque;

    if (!o->off)
        watch_write(o, offset, buf, len);
    int r = o->io.pwrite(o->io.opaque, buf, len, offset);
    o->off |= r < 0; /* what the file holds now nobody knows */
    return r;
}

static int order_flush(void *opaque)
{
    struct order *o = opaque;
    int r = o->io.flush(o->io.opaque);

    o->off |= r < 0;
    if (!o->off)
        watch_flush(o);
    return r;
}

static int order_size(void *opaque, uint64_t *ret_size)
{
    struct order *o = opaque;

    return o->io.size(o->io.opaque, ret_size);
}

static int order_truncate(void *opaque, uint64_t size)
{
    struct order *o = opaque;

    DEMAND(o->off || o->is_file_session, "the file is resized before the new FileWriteGuid");
    return o->io.truncate(o->io.opaque, size);
}

static int order_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct order *o = opaque;

    DEMAND(o->off || o->is_data_session || o->is_replaying,
           "payload is zeroed before the new DataWriteGuid");
    return o->io.zero ? o->io.zero(o->io.opaque, offset, len) : -EOPNOTSUPP;
}

static int order_discard(void *opaque, uint64_t offset, uint64_t len)
{
    struct order *o = opaque;

    DEMAND(o->off || o->is_data_session || o->is_replaying,
           "payload is discarded before the new DataWriteGuid");
    return o->io.discard ? o->io.discard(o->io.opaque, offset, len) : -EOPNOTSUPP;
}

static void order_close(void *opaque)
{
    struct order *o = opaque;

    if (o->io.close)
        o->io.close(o->io.opaque);
}

/* ---- A session ------------------------------------------------------------------------------ */

/* Where the BAT and the metadata region are. */
static void read_regions(struct order *o)
{
    static const uint8_t bat[4] = { 0x66, 0x77, 0xc2, 0x2d };
    uint8_t table[4096];

    if (o->io.pread(o->io.opaque, table, sizeof table, 192 * KIB) < 0)
        o->off = 1;
    for (uint32_t i = 0; !o->off && i < get32(table + 8) && i < 100; i++) {
        const uint8_t *e = table + 16 + (size_t)i * 32;
        bool is_bat = memcmp(e, bat, sizeof bat) == 0;
        *(is_bat ? &o->bat_offset : &o->metadata_offset) = get64(e + 16);
        *(is_bat ? &o->bat_length : &o->metadata_length) = get32(e + 24);
    }
}

void order_wrap(struct order *o, struct vhdx_io *io)
{
    uint8_t h[HEADER_SIZE];

    order_end(o);
    *o = (struct order){ .io = *io };
    for (unsigned i = 0; i < 2; i++) {
        if (io->pread(io->opaque, h, sizeof h, 64 * KIB * (i + 1)) < 0)
            o->off = 1;
        else if (is_header(h) && get64(h + 8) >= o->header_sequence)
            take_header(o, h);
    }
    memcpy(o->stable_log_guid, o->log_guid, 16);
    o->is_replaying = memcmp(o->log_guid, no_guid, 16) != 0;
    read_regions(o);
    *io = (struct vhdx_io){ sizeof *io,  o,          order_pread,    order_pwrite,
                            order_flush, order_size, order_truncate, order_zero,
                            order_discard, order_close };
}

void order_end(struct order *o)
{
    free(o->sectors);
    free(o->part);
    o->sectors = NULL;
    o->part = NULL;
    o->sector_count = o->sector_capacity = 0;
}
