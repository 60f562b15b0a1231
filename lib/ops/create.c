/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Creating images; see create.h. Laid out as Windows lays them out: header section, log, metadata
 * region, BAT region, then payload. The identifier is written last: without it the file is no VHDX.
 */

#include "ops/create.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/outfile.h"
#include "ops/child.h"
#include "util/cleanup.h"
#include "util/limits.h"

#define METADATA_REGION_SIZE (1 * MIB)
#define DEFAULT_BLOCK_SIZE (2 * MIB)
#define DEFAULT_LOG_SIZE (1 * MIB)
#define ENTRIES_PER_WRITE 8192u
#define PAYLOAD_STEP (64 * MIB) /* between reports of progress */

/* What is to be written, and where. */
struct plan {
    struct metadata metadata;
    struct geometry geometry;
    uint32_t log_length;
    uint64_t metadata_offset, bat_offset, payload_offset;
    uint32_t bat_length;
    uint64_t file_size;
    uint8_t *metadata_region; /* owned, METADATA_REGION_SIZE bytes */
    uint32_t metadata_length; /* of them in use; the rest is zeros */
};

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
static int plan_metadata(struct plan *p, const struct vhdx_create_options *o, uint32_t type,
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

static void plan_layout(struct plan *p, const struct vhdx_create_options *o)
{
    geometry_init(&p->geometry, &p->metadata);
    p->log_length = or_default(o->log_size, DEFAULT_LOG_SIZE);
    p->metadata_offset = HEADER_SECTION_SIZE + p->log_length;
    p->bat_offset = p->metadata_offset + METADATA_REGION_SIZE;
    p->bat_length = (uint32_t)align_up(p->geometry.bat_entries * BAT_ENTRY_SIZE, MIB);
    p->payload_offset = p->bat_offset + p->bat_length;
    p->file_size = p->payload_offset;
    if (p->metadata.leave_allocated)
        p->file_size += p->geometry.payload_blocks << p->geometry.block_shift;
}

static int plan_region(struct plan *p, const struct vhdx_create_options *o, const char *path,
                       const struct image *parent, struct vhdx_error *err)
{
    const struct vhdx_open_options *po = o->parent_options;
    struct metadata_encoder e;

    p->metadata_region = calloc(1, METADATA_REGION_SIZE);
    if (!p->metadata_region)
        return fail_nomem(err);
    metadata_encode_begin(&e, p->metadata_region, METADATA_REGION_SIZE);
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

static int make_plan(struct plan *p, const struct vhdx_create_options *o, const char *path,
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

static int write_headers(const struct vhdx_io *io, const struct plan *p, struct vhdx_error *err)
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

static int write_regions(const struct vhdx_io *io, const struct plan *p, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *table = malloc(REGION_TABLE_SIZE);
    int r = 0;

    if (!table)
        return fail_nomem(err);
    region_table_encode(p->bat_offset, p->bat_length, p->metadata_offset, METADATA_REGION_SIZE,
                        table);
    for (unsigned i = 0; i < 2 && r == 0; i++)
        r = io_pwrite(io, table, REGION_TABLE_SIZE, REGION_TABLE_OFFSET(i), err);
    if (r == 0)
        r = io_pwrite(io, p->metadata_region, p->metadata_length, p->metadata_offset, err);
    return r;
}

/* A fixed image's BAT: every block present, one behind the other. */
static int write_fixed_bat(const struct vhdx_io *io, const struct plan *p, struct vhdx_error *err)
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

static int report(const struct vhdx_progress *progress, uint64_t done, uint64_t total,
                  struct vhdx_error *err)
{
    if (progress->fn && progress->fn(done, total, progress->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

static int write_payload(const struct vhdx_io *io, const struct plan *p,
                         const struct vhdx_progress *progress, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t at = p->payload_offset, n; at < p->file_size && r == 0; at += n) {
        n = min_u64(p->file_size - at, PAYLOAD_STEP);
        r = io_write_zeros(io, at, n, err);
        if (r == 0)
            r = report(progress, at + n, p->file_size, err);
    }
    return r;
}

static int write_image(const struct vhdx_io *io, const struct plan *p,
                       const struct vhdx_create_options *o, struct vhdx_error *err)
{
    struct ident_disk ident;
    int r = io_truncate(io, p->file_size, err);


    if (r == 0)
        r = write_headers(io, p, err);
    if (r == 0)
        r = write_regions(io, p, err);
    if (r == 0 && p->metadata.leave_allocated)
        r = write_fixed_bat(io, p, err);
    if (r == 0 && o->preallocation == VHDX_PREALLOCATION_FULL)
        r = write_payload(io, p, &o->progress, err);
    if (r == 0)
        r = io_flush(io, err);
    if (r < 0)
        return r;
    ident_encode("vhdx " VHDX_VERSION, &ident);
    return io_pwrite(io, &ident, sizeof ident, IDENT_OFFSET, err);
}

/* What was written goes through the verifiers of what is read. io stays open. */
static int verify_image(const struct vhdx_io *io, struct vhdx_error *err)
{
    struct vhdx_io borrowed = *io;
    struct image *img;

    borrowed.close = NULL;
    int r = image_open_io(&borrowed, &img, err);
    if (r < 0)
        return r;
    r = image_load(img, err);
    image_close(img);
    return r;
}

/* ---- Entry points --------------------------------------------------------------------------- */

int create_io(const struct vhdx_io *io, const struct vhdx_create_options *opts,
              struct vhdx_error *err)
{
    struct plan p = { 0 };
    uint64_t size;

    if (opts->parent_path || opts->type == VHDX_TYPE_DIFFERENCING)
        return INVALID("a differencing image is created at a path: its parent is found from there");
    if (opts->preallocation == VHDX_PREALLOCATION_FALLOC)
        return INVALID("a custom file has no space to set aside: preallocation must be another");
    int r = io_size(io, &size, err);
    if (r == 0 && size != 0)
        r = INVALID("the file is %" PRIu64 " bytes long, must be empty", size);
    if (r == 0)
        r = make_plan(&p, opts, NULL, NULL, err);
    if (r == 0)
        r = write_image(io, &p, opts, err);
    if (r == 0)
        r = io_flush(io, err);
    if (r == 0)
        r = verify_image(io, err);
    free(p.metadata_region);
    return r;
}

/*
 * Space for the log, and for a BAT of the size that serves most disks, is set aside always: a disk
 * that fills up later must not keep what is in memory from being committed.
 */
static int set_aside_tables(struct outfile *out, const struct plan *p, struct vhdx_error *err)
{
    int r = outfile_allocate(out, HEADER_SECTION_SIZE, p->log_length, err);

    if (r == 0 && p->bat_length == MIB)
        r = outfile_allocate(out, p->bat_offset, p->bat_length, err);
    return r;
}

static int set_aside_all(struct outfile *out, const struct plan *p,
                         const struct vhdx_progress *progress, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t at = 0, n; at < p->file_size && r == 0; at += n) {
        n = min_u64(p->file_size - at, PAYLOAD_STEP);
        r = outfile_allocate(out, at, n, err);
        if (r == 0)
            r = report(progress, at + n, p->file_size, err);
    }
    return r;
}

static int create_in(struct outfile *out, const struct plan *p,
                     const struct vhdx_create_options *opts, struct vhdx_error *err)
{
    struct vhdx_io io;

    int r = outfile_io(out, &io, err);
    if (r < 0)
        return r;
    if (opts->preallocation == VHDX_PREALLOCATION_FALLOC)
        r = set_aside_all(out, p, &opts->progress, err);
    else
        r = set_aside_tables(out, p, err);
    if (r == 0)
        r = write_image(&io, p, opts, err);
    if (r == 0)
        r = verify_image(&io, err);
    io_close(&io);
    return r;
}

/* With the parent's chain open, so that what is made can be used. */
static int create_with_parent(const char *path, const struct vhdx_create_options *opts,
                              const struct vhdx *parent, struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t ids_count = parent ? chain_file_ids(&parent->chain, ids) : 0;
    struct plan p = { 0 };
    struct outfile *out;

    int r = make_plan(&p, opts, path, parent ? parent->chain.images[0] : NULL, err);
    if (r < 0)
        fail_prefix(err, "%s: ", path);
    else
        r = outfile_open(path, 0, opts->flags & VHDX_CREATE_REPLACE, "the parent", ids, ids_count,
                         &out, err);
    if (r == 0) {
        r = create_in(out, &p, opts, err);
        if (r < 0)
            outfile_discard(out);
        else
            r = outfile_commit(out, err);
    }
    free(p.metadata_region);
    return r;
}

int create_path(const char *path, const struct vhdx_create_options *opts, struct vhdx_error *err)
{
    static const struct vhdx_open_options no_options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx *parent = NULL;
    struct image *img;
    int r = 0;

    if (opts->parent_path) {
        r = image_open_path(opts->parent_path, false, &img, err);
        if (r == 0)
            r = handle_open(img, VHDX_OPEN_RDONLY,
                            opts->parent_options ? opts->parent_options : &no_options, &parent,
                            err);
    }
    if (r == 0 && parent && parent->chain.count == LIMIT_CHAIN_LENGTH)
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the chain has %d images already",
                 LIMIT_CHAIN_LENGTH);
    if (r == 0)
        r = create_with_parent(path, opts, parent, err);
    handle_close(parent);
    return r;
}
