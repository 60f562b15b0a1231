/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Building small images; see build.h. */

#include "build.h"

#include <stdio.h>
#include <stdlib.h>

#include "logbuild.h"

#define LOG_LENGTH (1 * M)
#define SEQUENCE 77 /* of the log entry */

static void require(bool good)
{
    if (!good)
        abort();
}

/* A word of the pattern; no byte of it is 0 in every layer. */
static uint64_t pattern_word(uint32_t layer, uint64_t index)
{
    uint64_t x = (index + 1) * UINT64_C(0x9e3779b97f4a7c15) + layer * UINT64_C(0xd1b54a32d192ed03);

    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 32;
}

uint8_t build_byte(uint32_t layer, uint64_t offset)
{
    return (uint8_t)(pattern_word(layer, offset / 8) >> (8 * (offset % 8)));
}

static void fill_pattern(uint8_t *p, uint32_t layer, uint64_t offset, uint64_t len)
{
    for (uint64_t i = 0; i < len; i += 8)
        put64(p + i, pattern_word(layer, (offset + i) / 8));
}

/* ---- The file ------------------------------------------------------------------------------- */

/* Appends len zeros at a MiB boundary; returns where. */
static uint64_t append(struct build *b, uint64_t len)
{
    uint64_t at = (b->length + M - 1) / M * M;

    if (at + len > b->capacity) {
        b->capacity = 2 * (at + len);
        b->bytes = realloc(b->bytes, b->capacity);
        require(b->bytes != NULL);
    }
    memset(b->bytes + b->length, 0, at + len - b->length);
    b->length = at + len;
    return at;
}

static uint64_t bat_index(const struct build *b, uint64_t block)
{
    return block + block / b->ratio;
}

static void put_bat(struct build *b, uint64_t index, uint64_t offset, unsigned state)
{
    put64(b->bytes + BUILD_BAT + 8 * index, offset | state);
}

void build_begin(struct build *b, const struct build_spec *spec)
{
    *b = (struct build){ .spec = *spec };
    if (b->spec.block_size == 0)
        b->spec.block_size = M;
    if (b->spec.sector_size == 0)
        b->spec.sector_size = 512;
    if (b->spec.type == 0)
        b->spec.type = VHDX_TYPE_DYNAMIC;
    b->blocks = (b->spec.size + b->spec.block_size - 1) / b->spec.block_size;
    b->ratio = ((uint64_t)b->spec.sector_size << 23) / b->spec.block_size;
    b->states = calloc(1, b->blocks + 1);
    b->bits = calloc(1, b->spec.size / b->spec.sector_size / 8 + 1);
    require(b->states && b->bits);

    uint64_t chunks = (b->blocks + b->ratio - 1) / b->ratio;
    append(b, BUILD_BAT);
    append(b, (chunks * (b->ratio + 1) * 8 + M - 1) / M * M);
}

void build_end(struct build *b)
{
    free(b->bytes);
    free(b->states);
    free(b->bits);
    *b = (struct build){ 0 };
}

uint64_t build_block(struct build *b, uint64_t block, unsigned state)
{
    uint64_t at = 0;

    if (state >= FULL) {
        at = append(b, b->spec.block_size);
        fill_pattern(b->bytes + at, b->spec.layer, block * b->spec.block_size,
                     b->spec.block_size);
    }
    b->states[block] = (uint8_t)state;
    put_bat(b, bat_index(b, block), at, state);
    return at;
}

void build_present(struct build *b, uint64_t offset, uint64_t len)
{
    uint64_t chunk_size = (uint64_t)b->spec.sector_size << 23;

    for (uint64_t o = offset; o < offset + len; o += b->spec.sector_size) {
        uint64_t chunk = o / chunk_size, sector = o / b->spec.sector_size;
        uint64_t index = chunk * (b->ratio + 1) + b->ratio;
        uint64_t entry = get_int(b->bytes + BUILD_BAT + 8 * index, 8);
        if (entry == 0) {
            entry = append(b, M) | FULL;
            put_bat(b, index, entry - FULL, FULL);
        }
        uint64_t in_chunk = o % chunk_size / b->spec.sector_size;
        b->bytes[(entry & ~(M - 1)) + in_chunk / 8] |= (uint8_t)(1u << in_chunk % 8);
        b->bits[sector / 8] |= (uint8_t)(1u << sector % 8);
    }
}

uint64_t build_bat_sector(const struct build *b, uint64_t block)
{
    return BUILD_BAT + 8 * bat_index(b, block) / SECTOR * SECTOR;
}

void build_through_log(struct build *b, uint64_t offset)
{
    require(b->logged_count < COUNT(b->logged));
    b->logged[b->logged_count++] = offset;
}

/* ---- Its structures ------------------------------------------------------------------------- */

static void put_header(struct build *b, unsigned copy)
{
    uint8_t *p = b->bytes + 64 * K * (copy + 1);

    memcpy(p, "head", 4);
    put64(p + 8, 10 + copy);
    put_guid(p + 16, "f0f0f0f0-1111-2222-3333-444444444444");
    put_guid(p + 32, b->spec.guid ? b->spec.guid : "d0d0d0d0-1111-2222-3333-444444444444");
    if (b->logged_count > 0)
        put_guid(p + 48, LOG_GUID);
    put16(p + 66, 1);
    put32(p + 68, LOG_LENGTH);
    put64(p + 72, BUILD_LOG);
    put_crc(p, 4096);
}

static void put_region(uint8_t *p, const char *guid, uint64_t offset, uint64_t length)
{
    put_guid(p, guid);
    put64(p + 16, offset);
    put32(p + 24, (uint32_t)length);
    put32(p + 28, 1);
}

static void put_regions(struct build *b, unsigned copy)
{
    uint8_t *p = b->bytes + 192 * K + 64 * K * copy;
    uint64_t chunks = (b->blocks + b->ratio - 1) / b->ratio;
    uint64_t bat = (chunks * (b->ratio + 1) * 8 + M - 1) / M * M;

    memcpy(p, "regi", 4);
    put32(p + 8, 2);
    put_region(p + 16, "2DC27766-F623-4200-9D64-115E9BFD4A08", BUILD_BAT, bat ? bat : M);
    put_region(p + 48, "8B7CA206-4790-4B9A-B8FE-575F050F886E", BUILD_METADATA, M);
    put_crc(p, 64 * K);
}

static uint8_t *put_item(uint8_t *region, unsigned index, const char *guid, uint32_t offset,
                         uint32_t length, uint32_t flags)
{
    uint8_t *p = region + 32 + 32 * index;

    put16(region + 10, index + 1);
    put_guid(p, guid);
    put32(p + 16, offset);
    put32(p + 20, length);
    put32(p + 24, flags);
    return region + offset;
}

static uint32_t put_pair(uint8_t *item, unsigned index, uint32_t at, const char *key,
                         const char *value)
{
    uint8_t *p = item + 20 + 12 * index;
    uint32_t key_length = (uint32_t)put_text16(item + at, key);
    uint32_t value_length = (uint32_t)put_text16(item + at + key_length, value);

    put32(p, at);
    put32(p + 4, at + key_length);
    put16(p + 8, key_length);
    put16(p + 10, value_length);
    return at + key_length + value_length;
}

static void put_locator(struct build *b, uint8_t *region)
{
    uint8_t *item = region + 128 * K;
    char linkage[64];

    snprintf(linkage, sizeof linkage, "{%s}", b->spec.parent_guid);
    put_guid(item, "B04AEFB7-D19E-4A81-B789-25B8E9445913");
    put16(item + 18, 2);
    uint32_t end = put_pair(item, 0, 44, "parent_linkage", linkage);
    end = put_pair(item, 1, end, "relative_path",
                   b->spec.relative_path ? b->spec.relative_path : ".\\parent.vhdx");
    put_item(region, 5, "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", 128 * K, end, 4);
}

static void put_metadata(struct build *b)
{
    uint8_t *region = b->bytes + BUILD_METADATA, *p;
    uint32_t at = 64 * K;

    memcpy(region, "metadata", 8);
    p = put_item(region, 0, "CAA16737-FA36-4D43-B3B6-33F0AA44E76B", at, 8, 4);
    put32(p, b->spec.block_size);
    put32(p + 4, b->spec.type == VHDX_TYPE_FIXED ? 1 : b->spec.type == VHDX_TYPE_DYNAMIC ? 0 : 2);
    p = put_item(region, 1, "2FA54224-CD1B-4876-B211-5DBED83BF4B8", at + 8, 8, 6);
    put64(p, b->spec.size);
    p = put_item(region, 2, "BECA12AB-B2E6-4523-93EF-C309E000C746", at + 16, 16, 6);
    put_guid(p, "1d1d1d1d-1111-2222-3333-444444444444");
    p = put_item(region, 3, "8141BF1D-A96F-4709-BA47-F233A8FAAB5F", at + 32, 4, 6);
    put32(p, b->spec.sector_size);
    p = put_item(region, 4, "CDA348C7-445D-4471-9CC9-E9885251C556", at + 36, 4, 6);
    put32(p, 4096);
    if (b->spec.type == VHDX_TYPE_DIFFERENCING)
        put_locator(b, region);
}

/* One data descriptor, with the bytes that stand at the offset now; then noise in their place. */
static void move_to_log(uint8_t *d, uint8_t *data, uint8_t *sector, uint64_t offset)
{
    memcpy(d, "desc", 4);
    memcpy(d + 4, sector + 4092, 4);
    memcpy(d + 8, sector, 8);
    put64(d + 16, offset);
    put64(d + 24, SEQUENCE);
    memcpy(data, "data", 4);
    put32(data + 4, 0);
    memcpy(data + 8, sector + 8, 4084);
    put32(data + 4092, SEQUENCE);
    memset(sector, 0xdb, SECTOR);
}

static void put_log(struct build *b)
{
    uint32_t length = (1 + b->logged_count) * SECTOR;
    uint32_t at = (uint32_t)LOG_LENGTH - 2 * SECTOR; /* so that it wraps */
    uint8_t *p = calloc(1, length);
    struct log_spec e = { .at = at, .tail = at, .sequence = SEQUENCE, .count = b->logged_count,
                          .flushed = b->length, .last = b->end };

    require(p != NULL);
    put_log_header(p, &e, length);
    for (unsigned i = 0; i < b->logged_count; i++)
        move_to_log(p + 64 + 32 * i, p + (1 + i) * SECTOR, b->bytes + b->logged[i], b->logged[i]);
    put_crc(p, length);
    memcpy(b->bytes + BUILD_LOG + at, p, 2 * SECTOR < length ? 2 * SECTOR : length);
    if (length > 2 * SECTOR)
        memcpy(b->bytes + BUILD_LOG, p + 2 * SECTOR, length - 2 * SECTOR);
    free(p);
}

void build_finish(struct build *b)
{
    memcpy(b->bytes, "vhdxfile", 8);
    put_text16(b->bytes + 8, "API tests");
    put_metadata(b);
    for (unsigned copy = 0; copy < 2; copy++) {
        put_header(b, copy);
        put_regions(b, copy);
    }
    b->end = b->length;
    b->length -= b->cut;
    if (b->logged_count > 0)
        put_log(b);
}

void build_write(const struct build *b, const char *path)
{
    FILE *f = fopen(path, "wb");

    require(f && fwrite(b->bytes, 1, b->length, f) == b->length && fclose(f) == 0);
}

struct vhdx_io build_io(const struct build *b)
{
    struct vhdx_io io;

    require(vhdx_io_memory(b->bytes, b->length, &io, NULL) == 0);
    return io;
}

/* ---- The model ------------------------------------------------------------------------------ */

/* The byte that the chain from layer first on holds. */
static uint8_t expect_byte(const struct build *const layers[], unsigned count, uint64_t offset)
{
    for (unsigned i = 0; i < count; i++) {
        const struct build *b = layers[i];
        if (offset >= b->spec.size)
            return 0;
        uint64_t sector = offset / b->spec.sector_size;
        unsigned state = b->states[offset / b->spec.block_size];
        if (state == FULL || (state == PARTIAL && (b->bits[sector / 8] >> sector % 8 & 1)))
            return build_byte(b->spec.layer, offset);
        if (state != NOT_PRESENT && state != PARTIAL)
            return 0;
    }
    return 0;
}

void build_expect(const struct build *const layers[], unsigned count, uint64_t offset, void *buf,
                  size_t len)
{
    uint8_t *p = buf;

    for (size_t i = 0; i < len; i++)
        p[i] = expect_byte(layers, count, offset + i);
}
