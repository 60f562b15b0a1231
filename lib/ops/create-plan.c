/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What a new image is to look like, and the writing of all of it but payload; see create-plan.h.
 * Laid out as Windows lays images out: header section, log, metadata region, BAT region, payload.
 */

#include "ops/create-plan.h"

#include <inttypes.h>
#include <stdlib.h>

#include "ops/child.h"
#include "util/cleanup.h"
#include "util/limits.h"

#define DEFAULT_BLOCK_SIZE (2 * MIB)
#define DEFAULT_LOG_SIZE (1 * MIB)
#define ENTRIES_PER_WRITE 8192u

#define INVALID(...) fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, __VA_ARGS__)

/* ---- Planning ------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint64_t fallback)
{
    return value ? value : (uint32_t)fallback;
}

/* Options that need no look at the parent. */
static int verify_options(const struct vhdx_create_options *o, uint32_t type,
                          struct vhdx_error *err)
{
    uint32_t block_size = or_default(o->block_size, DEFAULT_BLOCK_SIZE);

    if (type > VHDX_TYPE_DIFFERENCING)
        return INVALID("type is %" PRIu32 ", must be 1 to 3", type);
    if ((type == VHDX_TYPE_DIFFERENCING) != (o->parent_path != NULL))
        return INVALID("a differencing image has a parent, and no other has one");
    if (!is_pow2(block_size) || block_size < LIMIT_BLOCK_SIZE_MIN ||
        block_size > LIMIT_BLOCK_SIZE_MAX)
        return INVALID("block size is %" PRIu32 ", must be a power of two from 1 MiB to 256 MiB",
                       block_size);
    if (!is_aligned(o->log_size, MIB) || o->log_size > LIMIT_LOG_LENGTH)
        return INVALID("log size is %" PRIu32 ", must be a multiple of 1 MiB and at most 1 GiB",
                       o->log_size);
    if (o->preallocation > VHDX_PREALLOCATION_FULL)
        return INVALID("preallocation is %" PRIu32 ", must be 0 to 3", o->preallocation);
    if (o->preallocation >= VHDX_PREALLOCATION_FALLOC && type != VHDX_TYPE_FIXED)
        return INVALID("preallocation of payload is for fixed images only");
    if (o->flags & ~VHDX_CREATE_REPLACE)
        return INVALID("an unknown flag of vhdx_create");
    return 0;
}

static bool is_sector_size(uint32_t size)
{
    return size == 512 || size == 4096;
}

/* Takes from the parent what the caller left open, and refuses what does not go with it. */
static int plan_metadata(struct create_plan *p, const struct vhdx_create_options *o, uint32_t type,
                         const struct image *parent, struct vhdx_error *err)
{
    struct metadata *m = &p->metadata;
    uint32_t logical = parent ? parent->metadata.logical_sector_size : 512;

    *m = (struct metadata){
        .block_size = or_default(o->block_size, DEFAULT_BLOCK_SIZE),
        .logical_sector_size = or_default(o->logical_sector_size, logical),
        .physical_sector_size = or_default(o->physical_sector_size,
                                           parent ? parent->metadata.physical_sector_size : 4096),
        .leave_allocated = type == VHDX_TYPE_FIXED,
        .has_parent = parent != NULL,
        .virtual_size = o->size == 0 && parent ? parent->metadata.virtual_size : o->size,
    };
    if (!is_sector_size(m->logical_sector_size) || !is_sector_size(m->physical_sector_size))
        return INVALID("sector sizes are %" PRIu32 " and %" PRIu32 ", must be 512 or 4096",
                       m->logical_sector_size, m->physical_sector_size);
    if (parent && m->logical_sector_size != logical)
        return INVALID("logical sector size is %" PRIu32 ", must be the parent's %" PRIu32,
                       m->logical_sector_size, logical);
    if (m->virtual_size == 0 || m->virtual_size > LIMIT_VIRTUAL_SIZE ||
        !is_aligned(m->virtual_size, m->logical_sector_size))
        return INVALID("size is %" PRIu64 ", must be a multiple of %" PRIu32
                       " above 0 and at most 64 TiB", m->virtual_size, m->logical_sector_size);
    if (parent)
        m->virtual_disk_id = parent->metadata.virtual_disk_id;
    else if (!guid_random(&m->virtual_disk_id))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    return 0;
}

static void plan_layout(struct create_plan *p, const struct vhdx_create_options *o)
{
    geometry_init(&p->geometry, &p->metadata);
    p->log_length = or_default(o->log_size, DEFAULT_LOG_SIZE);
    p->metadata_offset = HEADER_SECTION_SIZE + p->log_length;
    p->bat_offset = p->metadata_offset + CREATE_METADATA_SIZE;
    p->bat_length = (uint32_t)align_up(p->geometry.bat_entries * BAT_ENTRY_SIZE, MIB);
    p->payload_offset = p->bat_offset + p->bat_length;
    p->file_size = p->payload_offset;
    if (p->metadata.leave_allocated)
        p->file_size += p->geometry.payload_blocks << p->geometry.block_shift;
}

static int plan_region(struct create_plan *p, const struct vhdx_create_options *o, const char *path,
                       const struct image *parent, struct vhdx_error *err)
{
    const struct vhdx_open_options *po = o->parent_options;
    struct metadata_encoder e;

    p->metadata_region = calloc(1, CREATE_METADATA_SIZE);
    if (!p->metadata_region)
        return fail_nomem(err);
    metadata_encode_begin(&e, p->metadata_region, CREATE_METADATA_SIZE);
    if (!metadata_encode_known(&e, &p->metadata))
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the metadata region is full");
    int r = 0;
    if (parent)
        r = child_add_locator(&e, path, parent, po ? po->path_maps : NULL,
                              po ? po->path_maps_count : 0, err);
    if (r == 0 && parent)
        r = child_copy_items(&e, parent, err);
    p->metadata_length = (uint32_t)align_up(e.end, 4 * KIB);
    return r;
}

int create_plan_make(struct create_plan *p, const struct vhdx_create_options *o, const char *path,
                     const struct image *parent, struct vhdx_error *err)
{
    uint32_t type = o->type ? o->type
                            : o->parent_path ? VHDX_TYPE_DIFFERENCING : VHDX_TYPE_DYNAMIC;

    int r = verify_options(o, type, err);
    if (r == 0)
        r = plan_metadata(p, o, type, parent, err);
    if (r < 0)
        return r;
    plan_layout(p, o);
    return plan_region(p, o, path, parent, err);
}

/* ---- Writing -------------------------------------------------------------------------------- */

static int write_headers(const struct vhdx_io *io, const struct create_plan *p,
                         struct vhdx_error *err)
{
    struct header h = { .log_length = p->log_length, .log_offset = HEADER_SECTION_SIZE };
    struct header_disk disk;
    int r = 0;

    if (!guid_random(&h.file_write_guid) || !guid_random(&h.data_write_guid))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        h.sequence_number = i + 1;
        header_encode(&h, &disk);
        r = io_pwrite(io, &disk, sizeof disk, HEADER_OFFSET(i), err);
    }
    return r;
}

static int write_regions(const struct vhdx_io *io, const struct create_plan *p,
                         struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *table = malloc(REGION_TABLE_SIZE);
    int r = 0;

    if (!table)
        return fail_nomem(err);
    region_table_encode(p->bat_offset, p->bat_length, p->metadata_offset, CREATE_METADATA_SIZE,
                        table);
    for (unsigned i = 0; i < 2 && r == 0; i++)
        r = io_pwrite(io, table, REGION_TABLE_SIZE, REGION_TABLE_OFFSET(i), err);
    if (r == 0)
        r = io_pwrite(io, p->metadata_region, p->metadata_length, p->metadata_offset, err);
    return r;
}

int create_plan_write_fixed_bat(const struct vhdx_io *io, const struct create_plan *p,
                                struct vhdx_error *err)
{
    const struct geometry *g = &p->geometry;
    CLEANUP_FREE struct le64 *entries = malloc(ENTRIES_PER_WRITE * sizeof *entries);
    int r = 0;

    if (!entries)
        return fail_nomem(err);
    for (uint64_t first = 0; first < g->bat_entries && r == 0; first += ENTRIES_PER_WRITE) {
        uint64_t count = min_u64(ENTRIES_PER_WRITE, g->bat_entries - first);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t block;
            bool is_bitmap = bat_index_is_bitmap(g, first + i, &block);
            uint64_t at = p->payload_offset + (block << g->block_shift);
            entries[i] = le64_make(is_bitmap ? 0 : at | BLOCK_FULLY_PRESENT);
        }
        r = io_pwrite(io, entries, (size_t)count * BAT_ENTRY_SIZE,
                      p->bat_offset + first * BAT_ENTRY_SIZE, err);
    }
    return r;
}

void create_options_of_disk(struct vhdx_create_options *o, const struct vhdx_disk *d)
{
    if (o->logical_sector_size == 0)
        o->logical_sector_size = d->logical_sector_size;
    if (o->physical_sector_size == 0)
        o->physical_sector_size = d->physical_sector_size;
}

void create_plan_free(struct create_plan *p)
{
    free(p->metadata_region);
    p->metadata_region = NULL;
}

int create_plan_write_head(const struct vhdx_io *io, const struct create_plan *p,
                           struct vhdx_error *err)
{
    int r = write_headers(io, p, err);

    return r < 0 ? r : write_regions(io, p, err);
}

int create_plan_write_identifier(const struct vhdx_io *io, struct vhdx_error *err)
{
    struct ident_disk ident;

    ident_encode("vhdx " VHDX_VERSION, &ident);
    return io_pwrite(io, &ident, sizeof ident, IDENT_OFFSET, err);
}
