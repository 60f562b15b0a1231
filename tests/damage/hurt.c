/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Damage; see hurt.h. A checksum would stop most of it at the door: in half of the cases it is made
 * to fit, so that what lies behind is tried, too.
 */

#include "hurt.h"

#include <endian.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define SECTOR 4096u

void random_begin(struct random *r, uint64_t seed)
{
    r->state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (int i = 0; i < 8; i++)
        random_below(r, 2);
}

/* xorshift64* */
uint64_t random_below(struct random *r, uint64_t below)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (r->state * UINT64_C(2685821657736338717) >> 16) % below;
}

/* ---- Access --------------------------------------------------------------------------------- */

/* Nothing past the end of the file. */
static void get(const struct base *b, void *buf, size_t len, uint64_t offset)
{
    uint64_t size = memfile_size(b->file);

    memset(buf, 0, len);
    if (offset < size)
        memfile_read(b->file, buf, len < size - offset ? len : (size_t)(size - offset), offset);
}

static void put(const struct base *b, const void *buf, size_t len, uint64_t offset)
{
    uint64_t size = memfile_size(b->file);

    if (offset < size)
        memfile_write(b->file, buf, len < size - offset ? len : (size_t)(size - offset), offset);
}

static uint32_t get32(const struct base *b, uint64_t offset)
{
    uint32_t value;

    get(b, &value, sizeof value, offset);
    return le32toh(value);
}

static void seal(const struct base *b, uint64_t offset, size_t len)
{
    static uint8_t buf[4 << 20];
    uint32_t zero = 0, crc;

    if (len < 8 || len > sizeof buf)
        return;
    put(b, &zero, sizeof zero, offset + 4);
    get(b, buf, len, offset);
    crc = htole32(vhdx_crc32c(0, buf, len));
    put(b, &crc, sizeof crc, offset + 4);
}

/* Makes an entry's checksum fit, also round the end of the log. */
static void seal_entry(const struct base *b, uint64_t at)
{
    static uint8_t buf[1 << 20];
    uint32_t len = get32(b, b->log_offset + at + 8), zero = 0;
    uint64_t first = b->log_length - at;

    if (len < SECTOR || len > sizeof buf || len > b->log_length || len % SECTOR != 0)
        return;
    put(b, &zero, sizeof zero, b->log_offset + at + 4);
    first = first < len ? first : len;
    get(b, buf, (size_t)first, b->log_offset + at);
    get(b, buf + first, (size_t)(len - first), b->log_offset);
    uint32_t crc = htole32(vhdx_crc32c(0, buf, len));
    put(b, &crc, sizeof crc, b->log_offset + at + 4);
}

/* ---- Ways to change some bytes -------------------------------------------------------------- */

static uint64_t odd_value(const struct base *b, struct random *r)
{
    uint64_t size = memfile_size(b->file);

    switch (random_below(r, 10)) {
    case 0: return 0;
    case 1: return random_below(r, 9);
    case 2: return UINT64_MAX >> random_below(r, 64);
    case 3: return UINT64_C(1) << random_below(r, 64);
    case 4: return random_below(r, 16) * MIB;
    case 5: return size;
    case 6: return size / MIB * MIB + random_below(r, 4) * MIB;
    case 7: return random_below(r, 300) * 4 * KIB;
    case 8: return UINT64_MAX - random_below(r, 4 * MIB);
    default: return random_below(r, UINT64_C(1) << 47) << random_below(r, 17);
    }
}

/* One change within [offset, offset + len). */
static void change(const struct base *b, struct random *r, uint64_t offset, uint64_t len)
{
    uint8_t bytes[64];
    uint64_t at = offset + random_below(r, len), width = UINT64_C(1) << random_below(r, 4);
    uint64_t value;

    switch (random_below(r, 5)) {
    case 0: /* a bit */
        get(b, bytes, 1, at);
        bytes[0] ^= (uint8_t)(1u << random_below(r, 8));
        put(b, bytes, 1, at);
        break;
    case 1: /* some bytes */
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random_below(r, 256);
        put(b, bytes, 1 + random_below(r, 16), at);
        break;
    case 2: /* zeros */
        memset(bytes, 0, sizeof bytes);
        put(b, bytes, 1 + random_below(r, sizeof bytes), at);
        break;
    default: /* a field */
        value = odd_value(b, r);
        if (random_below(r, 3) == 0) {
            get(b, &value, sizeof value, at / width * width);
            value = le64toh(value) + (random_below(r, 2) ? 1 : UINT64_MAX);
        }
        value = htole64(value);
        put(b, &value, (size_t)width, at / width * width);
        break;
    }
}

/* Copies one of count things of len bytes over another, or exchanges them. */
static void shuffle(const struct base *b, struct random *r, uint64_t offset, size_t len,
                    uint64_t count)
{
    uint8_t x[64], y[64];
    uint64_t i = offset + random_below(r, count) * len, k = offset + random_below(r, count) * len;

    get(b, x, len, i);
    get(b, y, len, k);
    put(b, x, len, k);
    if (random_below(r, 2))
        put(b, y, len, i);
}

/* ---- The structures ------------------------------------------------------------------------- */

static void hurt_header(const struct base *b, struct random *r)
{
    uint64_t at = random_below(r, 2) ? 64 * KIB : 128 * KIB;
    uint8_t sector[SECTOR];

    if (random_below(r, 8) == 0) {
        get(b, sector, sizeof sector, 192 * KIB - at); /* the other one */
        put(b, sector, sizeof sector, at);
    }
    if (random_below(r, 8) == 0)
        memset(sector, 0, sizeof sector), put(b, sector, sizeof sector, at);
    change(b, r, at, random_below(r, 8) ? 80 : SECTOR);
    if (random_below(r, 2))
        seal(b, at, SECTOR);
}

static void hurt_region_table(const struct base *b, struct random *r)
{
    uint64_t at = random_below(r, 2) ? 192 * KIB : 256 * KIB;

    if (random_below(r, 4) == 0)
        shuffle(b, r, at + 16, 32, 3);
    else
        change(b, r, at, random_below(r, 8) ? 16 + 3 * 32 : 64 * KIB);
    if (random_below(r, 2)) {
        seal(b, at, 64 * KIB);
        if (random_below(r, 3) == 0) { /* and the other one says the same */
            static uint8_t table[64 << 10];
            get(b, table, sizeof table, at);
            put(b, table, sizeof table, 448 * KIB - at);
        }
    }
}

/* An entry of the log, or any sector where none is. */
static void hurt_log(const struct base *b, struct random *r)
{
    uint64_t entries[256], count = 0;
    uint64_t at;

    for (at = 0; at + SECTOR <= b->log_length && count < 256; at += SECTOR)
        if (get32(b, b->log_offset + at) == 0x65676f6c)
            entries[count++] = at;
    if (count == 0 || random_below(r, 10) == 0) {
        change(b, r, b->log_offset + random_below(r, 16) * SECTOR, 128);
        return;
    }
    /* The last few are those that count. */
    uint64_t back = random_below(r, count < 6 ? count : 6);
    at = entries[random_below(r, 3) ? count - 1 - back : random_below(r, count)];
    uint64_t offset = b->log_offset + at, room = b->log_offset + b->log_length - offset;
    switch (random_below(r, 6)) {
    case 0:
        shuffle(b, r, offset + 64, 32, 4);
        break;
    case 1:
        change(b, r, offset + SECTOR, room > 3 * SECTOR ? 2 * SECTOR : 8);
        break;
    case 2:
    case 3:
        change(b, r, offset + 64, 3 * 32); /* descriptors */
        break;
    default:
        change(b, r, offset, 64);
        break;
    }
    if (random_below(r, 4))
        seal_entry(b, at);
}

static void hurt_metadata(const struct base *b, struct random *r)
{
    uint64_t at = b->metadata_offset;

    switch (random_below(r, 5)) {
    case 0:
        shuffle(b, r, at + 32, 32, 7);
        break;
    case 1:
        change(b, r, at + 64 * KIB, 256); /* items */
        break;
    case 2:
        change(b, r, at, 32);
        break;
    default:
        change(b, r, at + 32, 7 * 32);
        break;
    }
}

static void hurt_bat(const struct base *b, struct random *r)
{
    uint64_t last = b->bat_entries - 1;
    uint64_t i = random_below(r, 8) ? random_below(r, last < 8 ? last + 1 : 8) : last;
    uint64_t entry, mibs = memfile_size(b->file) / MIB + 2;

    switch (random_below(r, 6)) {
    case 0:
        change(b, r, b->bat_offset + i * 8, 8);
        return;
    case 1:
        shuffle(b, r, b->bat_offset, 8, last < 9 ? last + 1 : 9);
        return;
    case 2: /* another state */
        get(b, &entry, sizeof entry, b->bat_offset + i * 8);
        entry = (le64toh(entry) & ~UINT64_C(7)) | random_below(r, 8);
        break;
    default:
        entry = random_below(r, 8) | random_below(r, mibs) << 20;
        break;
    }
    entry = htole64(entry);
    put(b, &entry, sizeof entry, b->bat_offset + i * 8);
}

static void hurt_bitmap(const struct base *b, struct random *r)
{
    if (b->bitmap_count == 0)
        hurt_bat(b, r);
    else
        change(b, r, b->bitmaps[random_below(r, b->bitmap_count)], random_below(r, 4) ? 4096 : MIB);
}

static void hurt_size(const struct base *b, struct random *r)
{
    uint64_t size = memfile_size(b->file), mibs = size / MIB + 1;

    switch (random_below(r, 4)) {
    case 0:
        memfile_truncate(b->file, random_below(r, mibs) * MIB);
        break;
    case 1:
        memfile_truncate(b->file, random_below(r, size + 1));
        break;
    case 2:
        memfile_truncate(b->file, size + random_below(r, 3 * MIB));
        break;
    default: /* with something in it */
        memfile_write(b->file, "lost and found", 14, size + random_below(r, 3 * MIB));
        break;
    }
}

static void hurt_anywhere(const struct base *b, struct random *r)
{
    uint64_t size = memfile_size(b->file);

    if (size > 0)
        change(b, r, random_below(r, 2) ? 0 : random_below(r, size), 64 * KIB);
}

void hurt(const struct base *b, struct random *r)
{
    static void (*const ways[])(const struct base *, struct random *) = {
        hurt_header, hurt_header, hurt_region_table, hurt_log,    hurt_log, hurt_metadata,
        hurt_bat,    hurt_bat,    hurt_bat,          hurt_bitmap, hurt_size, hurt_anywhere,
    };
    uint64_t count = 1 + random_below(r, 2) * random_below(r, 4);

    for (uint64_t i = 0; i < count; i++)
        ways[random_below(r, sizeof ways / sizeof *ways)](b, r);
}
