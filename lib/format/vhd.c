/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The footer of a fixed VHD; see vhd.h. */

#include "format/vhd.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "util/bits.h"
#include "util/endian.h"

#define FEATURES_RESERVED 2u /* a bit that is always set */
#define VERSION 0x00010000u
#define CREATOR_VERSION 0x000A0000u /* Windows 10's */
#define NO_HEADER UINT64_MAX /* a fixed disk has no further structure */
#define TYPE_FIXED 2u
#define YEAR_2000 INT64_C(946684800) /* in Unix time */

struct vhd_footer_disk {
    char cookie[8];
    struct be32 features, version;
    struct be64 data_offset;
    struct be32 time;
    char creator[4];
    struct be32 creator_version;
    char creator_host[4];
    struct be64 original_size, size;
    struct be16 cylinders;
    uint8_t heads, sectors;
    struct be32 type, checksum;
    struct guid_disk id;
    uint8_t saved_state;
    uint8_t reserved[427];
};

_Static_assert(sizeof(struct vhd_footer_disk) == VHD_FOOTER_SIZE, "the footer is a sector");
_Static_assert(offsetof(struct vhd_footer_disk, size) == 48, "as specified");
_Static_assert(offsetof(struct vhd_footer_disk, checksum) == 64, "as specified");

/*
 * The cylinders are what is left when the track's sectors and the heads are chosen: the fewest of
 * each with which there are at most 1024 cylinders, the BIOS's limit; beyond that 16 heads.
 */
struct vhd_geometry vhd_geometry_of(uint64_t sectors)
{
    static const uint8_t tracks[] = { 17, 31, 63 };
    uint64_t total = min_u64(sectors, vhd_geometry_sectors(VHD_GEOMETRY_MAX));
    uint64_t cylinders_heads = total / 255, heads = 16;
    uint8_t track = 255;

    if (total < UINT64_C(65535) * 16 * 63) {
        for (size_t i = 0; i < ARRAY_LEN(tracks); i++) {
            track = tracks[i];
            cylinders_heads = total / track;
            heads = i == 0 ? max_u64(4, div_ceil(cylinders_heads, 1024)) : 16;
            if (cylinders_heads < heads * 1024 && heads <= 16)
                break;
        }
    }
    return (struct vhd_geometry){ (uint16_t)(cylinders_heads / heads), (uint8_t)heads, track };
}

uint64_t vhd_geometry_sectors(struct vhd_geometry g)
{
    return (uint64_t)g.cylinders * g.heads * g.sectors;
}

struct vhd_footer vhd_footer_for(uint64_t size, const struct guid *id, int64_t unix_time)
{
    int64_t time = unix_time - YEAR_2000;

    return (struct vhd_footer){
        .size = size,
        .time = time < 0 ? 0 : time > UINT32_MAX ? UINT32_MAX : (uint32_t)time,
        .geometry = vhd_geometry_of(size / VHD_SECTOR_SIZE),
        .id = *id,
    };
}

/* One's complement of the sum of all bytes but the checksum's. */
static uint32_t checksum_of(const struct vhd_footer_disk *d)
{
    struct vhd_footer_disk copy = *d;
    uint8_t bytes[VHD_FOOTER_SIZE];
    uint32_t sum = 0;

    copy.checksum = be32_make(0);
    memcpy(bytes, &copy, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i];
    return ~sum;
}

void vhd_footer_encode(const struct vhd_footer *f, uint8_t ret[VHD_FOOTER_SIZE])
{
    struct vhd_footer_disk d = {
        .cookie = { 'c', 'o', 'n', 'e', 'c', 't', 'i', 'x' },
        .features = be32_make(FEATURES_RESERVED),
        .version = be32_make(VERSION),
        .data_offset = be64_make(NO_HEADER),
        .time = be32_make(f->time),
        .creator = { 'w', 'i', 'n', ' ' },
        .creator_version = be32_make(CREATOR_VERSION),
        .creator_host = { 'W', 'i', '2', 'k' },
        .original_size = be64_make(f->size),
        .size = be64_make(f->size),
        .cylinders = be16_make(f->geometry.cylinders),
        .heads = f->geometry.heads,
        .sectors = f->geometry.sectors,
        .type = be32_make(TYPE_FIXED),
        .id = guid_make(&f->id),
    };

    d.checksum = be32_make(checksum_of(&d));
    memcpy(ret, &d, sizeof d);
}

#define WRONG(code, field, ...)                                                                    \
    fail(err, code, offset + offsetof(struct vhd_footer_disk, field), "VHD footer: " __VA_ARGS__)

static int verify(const struct vhd_footer_disk *d, uint64_t offset, struct vhdx_error *err)
{
    uint32_t checksum = checksum_of(d);
    uint64_t size = be64_get(d->size);

    if (memcmp(d->cookie, "conectix", sizeof d->cookie) != 0)
        return WRONG(VHDX_E_CORRUPT, cookie, "cookie is not \"conectix\"");
    if (be32_get(d->checksum) != checksum)
        return WRONG(VHDX_E_CHECKSUM, checksum,
                     "checksum is %#010" PRIx32 ", must be %#010" PRIx32, be32_get(d->checksum),
                     checksum);
    if (be32_get(d->version) >> 16 != VERSION >> 16)
        return WRONG(VHDX_E_UNSUPPORTED, version, "version is %#010" PRIx32 ", must be 1.0",
                     be32_get(d->version));
    if (be32_get(d->type) != TYPE_FIXED)
        return WRONG(VHDX_E_UNSUPPORTED, type, "type is %" PRIu32 ", must be 2 (fixed)",
                     be32_get(d->type));
    if (size == 0 || !is_aligned(size, VHD_SECTOR_SIZE) || size > VHD_SIZE_MAX)
        return WRONG(VHDX_E_CORRUPT, size,
                     "size is %" PRIu64 ", must be a multiple of 512 above 0 and at most 2040 GiB",
                     size);
    return 0;
}

int vhd_footer_decode(const uint8_t buf[VHD_FOOTER_SIZE], uint64_t offset, struct vhd_footer *ret,
                      struct vhdx_error *err)
{
    struct vhd_footer_disk d;

    memcpy(&d, buf, sizeof d);
    int r = verify(&d, offset, err);
    if (r < 0)
        return r;
    *ret = (struct vhd_footer){
        .size = be64_get(d.size),
        .time = be32_get(d.time),
        .geometry = { be16_get(d.cylinders), d.heads, d.sectors },
        .id = guid_get(d.id),
    };
    return 0;
}
