/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What a disk's own beginning tells; see recover.h. Everything read here is a hint from data that
 * nobody vouches for: numbers are used only if they make sense together.
 */

#include "ops/recover.h"

#define GPT_HEADER_MIN 92u
#define MBR_PARTITIONS 4
#define START_SIZE 4096u

static bool read_at(const struct disk_reader *r, uint64_t offset, void *buf, size_t len)
{
    return r->read(offset, buf, len, r->opaque);
}

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)u16_at(p) | (uint32_t)u16_at(p + 2) << 16;
}

static uint64_t u64_at(const uint8_t *p)
{
    return (uint64_t)u32_at(p) | (uint64_t)u32_at(p + 4) << 32;
}

static uint32_t be32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void sign(struct disk_signs *s, enum disk_strength strength, const char *text)
{
    if (strength > s->strength) {
        s->strength = strength;
        s->text = text;
    }
}

/* count units of a size that is a power of two: so many bytes, at least. */
static void sign_size(struct disk_signs *s, uint64_t count, uint64_t unit)
{
    if (is_pow2(unit) && count <= LIMIT_VIRTUAL_SIZE / unit)
        s->size = max_u64(s->size, count * unit);
}

/* ---- GPT ------------------------------------------------------------------------------------ */

/* The CRC-32 of GPT, which is not that of VHDX, over a header's own length. */
static uint32_t crc32_of(const uint8_t *p, uint32_t len)
{
    uint32_t crc = UINT32_MAX;

    for (uint32_t i = 0; i < len; i++) {
        crc ^= i >= 16 && i < 20 ? 0 : p[i]; /* its own field */
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* A header with a right checksum that says it stands in this sector. */
static bool is_gpt_header(const uint8_t *p, uint64_t sector)
{
    uint32_t len = u32_at(p + 12);

    return memcmp(p, "EFI PART", 8) == 0 && len >= GPT_HEADER_MIN && len <= 512 &&
           u32_at(p + 16) == crc32_of(p, len) && u64_at(p + 24) == sector;
}

static bool sign_gpt(const struct disk_reader *r, uint32_t sector_size, struct disk_signs *s)
{
    uint8_t buf[512];

    if (!read_at(r, sector_size, buf, sizeof buf) || !is_gpt_header(buf, 1))
        return false;
    uint64_t last = u64_at(buf + 32);
    if (last < 2 || last >= LIMIT_VIRTUAL_SIZE / sector_size)
        return false;
    sign(s, DISK_GPT, "GPT");
    s->sector_size = sector_size;
    s->size = (last + 1) * sector_size;
    s->is_exact = true;
    if (read_at(r, last * sector_size, buf, sizeof buf) && is_gpt_header(buf, last))
        sign(s, DISK_GPT_BACKUP, "GPT, and its copy at the disk's end");
    return true;
}

/* ---- MBR and file systems ------------------------------------------------------------------- */

static void sign_mbr(const uint8_t *p, struct disk_signs *s)
{
    uint64_t end = 0;

    if (p[510] != 0x55 || p[511] != 0xAA)
        return;
    sign(s, DISK_BOOT, "boot sector signature");
    for (int i = 0; i < MBR_PARTITIONS; i++) {
        const uint8_t *e = p + 446 + 16 * i;
        if (e[0] & 0x7F)
            return; /* neither active nor inactive */
        if (e[4] == 0)
            continue;
        if (e[4] == 0xEE || u32_at(e + 8) == 0 || u32_at(e + 12) == 0)
            return;
        end = max_u64(end, (uint64_t)u32_at(e + 8) + u32_at(e + 12));
    }
    if (end == 0)
        return;
    sign(s, DISK_FORMATTED, "MBR partition table");
    sign_size(s, end, 512);
}

static void sign_boot_sector(const uint8_t *p, struct disk_signs *s)
{
    if (memcmp(p + 3, "NTFS    ", 8) == 0) {
        sign(s, DISK_FORMATTED, "NTFS");
        sign_size(s, min_u64(u64_at(p + 40), UINT64_MAX - 1) + 1, u16_at(p + 11));
    } else if (memcmp(p + 3, "EXFAT   ", 8) == 0 && p[108] >= 9 && p[108] <= 12) {
        sign(s, DISK_FORMATTED, "exFAT");
        sign_size(s, u64_at(p + 72), UINT64_C(1) << p[108]);
    } else if (memcmp(p + 82, "FAT32   ", 8) == 0 || memcmp(p + 54, "FAT1", 4) == 0) {
        sign(s, DISK_FORMATTED, "FAT");
        sign_size(s, u16_at(p + 19) ? u16_at(p + 19) : u32_at(p + 32), u16_at(p + 11));
    } else if (memcmp(p, "XFSB", 4) == 0) {
        sign(s, DISK_FORMATTED, "XFS");
        sign_size(s, (uint64_t)be32_at(p + 8) << 32 | be32_at(p + 12), be32_at(p + 4));
    }
}

static void sign_ext(const uint8_t *p, struct disk_signs *s)
{
    const uint32_t has_64bit = 0x80;

    if (u16_at(p + 56) != 0xEF53 || u32_at(p + 24) > 6 || u32_at(p + 4) == 0)
        return;
    uint64_t blocks = u32_at(p + 4);
    if (u32_at(p + 96) & has_64bit)
        blocks |= (uint64_t)u32_at(p + 0x150) << 32;
    sign(s, DISK_FORMATTED, "ext file system");
    sign_size(s, blocks, UINT64_C(1024) << u32_at(p + 24));
}

static void sign_btrfs(const struct disk_reader *r, struct disk_signs *s)
{
    uint8_t buf[512];

    if (!read_at(r, 64 * KIB, buf, sizeof buf) || memcmp(buf + 64, "_BHRfS_M", 8) != 0)
        return;
    sign(s, DISK_FORMATTED, "btrfs");
    sign_size(s, u64_at(buf + 112), 1);
}

void recover_signs(const struct disk_reader *reader, struct disk_signs *ret)
{
    uint8_t buf[START_SIZE];

    *ret = (struct disk_signs){ .text = "nothing" };
    if (!read_at(reader, 0, buf, sizeof buf))
        return;
    if (sign_gpt(reader, 512, ret) || sign_gpt(reader, 4096, ret))
        return;
    sign_boot_sector(buf, ret);
    if (ret->strength < DISK_FORMATTED)
        sign_mbr(buf, ret);
    sign_ext(buf + 1024, ret);
    sign_btrfs(reader, ret);
}
