/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The public entry points: arguments are checked and options brought to this version's size here,
 * and nothing else happens. What each call does is documented in vhdx.h.
 */

#include <string.h>

#include "api/api.h"
#include "core/handle.h"
#include "core/map.h"
#include "core/read.h"
#include "core/write.h"
#include "io/memory.h"
#include "ops/create.h"
#include "ops/hash.h"
#include "ops/info.h"
#include "util/cleanup.h"
#include "util/crc32c.h"

#define OPEN_FLAGS                                                                                 \
    (VHDX_OPEN_RDWR | VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK | VHDX_OPEN_ANY_PARENT |             \
     VHDX_OPEN_PARTIAL_CHAIN)

/* No struct of any version is larger: what claims to be was not initialised. */
#define STRUCT_SIZE_MAX 65536

int api_fail(struct vhdx_error *err, const char *what)
{
    return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "invalid argument: %s", what);
}

int api_take_options(void *ours, size_t our_size, const void *theirs, struct vhdx_error *err)
{
    size_t their_size;

    if (!theirs)
        return 0;
    memcpy(&their_size, theirs, sizeof their_size);
    if (their_size < sizeof their_size || their_size > STRUCT_SIZE_MAX)
        return api_fail(err, "struct_size is not set");
    for (size_t i = our_size; i < their_size; i++)
        if (((const unsigned char *)theirs)[i] != 0)
            return api_fail(err, "an option that this version does not know is set");
    memcpy(ours, theirs, their_size < our_size ? their_size : our_size);
    return 0;
}

int api_verify_result(const void *theirs, struct vhdx_error *err)
{
    size_t their_size;

    memcpy(&their_size, theirs, sizeof their_size);
    if (their_size < sizeof their_size || their_size > STRUCT_SIZE_MAX)
        return api_fail(err, "struct_size is not set");
    return 0;
}

int api_give_result(void *theirs, const void *ours, size_t our_size, struct vhdx_error *err)
{
    size_t their_size, skip = sizeof their_size;

    int r = api_verify_result(theirs, err);
    if (r < 0)
        return r;
    memcpy(&their_size, theirs, sizeof their_size);
    size_t size = their_size < our_size ? their_size : our_size;
    memcpy((char *)theirs + skip, (const char *)ours + skip, size - skip);
    return 0;
}

const char *vhdx_version(void)
{
    return VHDX_VERSION;
}

const char *vhdx_code_name(int code)
{
    switch (code < 0 ? 0u - (unsigned)code : (unsigned)code) {
    case VHDX_OK: return "VHDX_OK";
    case VHDX_E_SYSTEM: return "VHDX_E_SYSTEM";
    case VHDX_E_NOMEM: return "VHDX_E_NOMEM";
    case VHDX_E_INVALID: return "VHDX_E_INVALID";
    case VHDX_E_NOT_VHDX: return "VHDX_E_NOT_VHDX";
    case VHDX_E_CORRUPT: return "VHDX_E_CORRUPT";
    case VHDX_E_CHECKSUM: return "VHDX_E_CHECKSUM";
    case VHDX_E_UNSUPPORTED: return "VHDX_E_UNSUPPORTED";
    case VHDX_E_TRUNCATED: return "VHDX_E_TRUNCATED";
    case VHDX_E_PARENT_MISSING: return "VHDX_E_PARENT_MISSING";
    case VHDX_E_PARENT_MISMATCH: return "VHDX_E_PARENT_MISMATCH";
    case VHDX_E_READ_ONLY: return "VHDX_E_READ_ONLY";
    case VHDX_E_RANGE: return "VHDX_E_RANGE";
    case VHDX_E_NOSPACE: return "VHDX_E_NOSPACE";
    case VHDX_E_LOCKED: return "VHDX_E_LOCKED";
    case VHDX_E_LIMIT: return "VHDX_E_LIMIT";
    case VHDX_E_POISONED: return "VHDX_E_POISONED";
    case VHDX_E_CANCELLED: return "VHDX_E_CANCELLED";
    default: return "VHDX_E_?";
    }
}

uint32_t vhdx_crc32c(uint32_t crc, const void *buf, size_t len)
{
    return crc32c(crc, buf, len);
}

/* ---- Custom files --------------------------------------------------------------------------- */

int vhdx_io_file(const char *path, uint32_t flags, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct vhdx_io io;
    bool supported;

    if (!path || !ret || (flags & ~(VHDX_OPEN_NO_LOCK | VHDX_OPEN_RDWR)))
        return api_fail(err, "vhdx_io_file");
    int r = file_open(path, flags & VHDX_OPEN_RDWR, &io, err);
    if (r == 0 && !(flags & VHDX_OPEN_NO_LOCK)) {
        r = file_lock(&io, &supported, err);
        if (r < 0)
            io_close(&io);
    }
    if (r < 0)
        fail_prefix(err, "%s: ", path);
    else
        *ret = io;
    return r;
}

int vhdx_io_memory(const void *data, size_t len, struct vhdx_io *ret, struct vhdx_error *err)
{
    if (!ret || (!data && len > 0))
        return api_fail(err, "vhdx_io_memory");
    return memory_open(data, len, ret, err);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int verify_open_options(const struct vhdx_open_options *o, struct vhdx_error *err)
{
    if ((o->parents_count > 0 && !o->parents) || (o->search_dirs_count > 0 && !o->search_dirs) ||
        (o->path_maps_count > 0 && !o->path_maps))
        return api_fail(err, "a count without its array");
    for (size_t i = 0; i < o->parents_count; i++)
        if (!o->parents[i])
            return api_fail(err, "a parent is NULL");
    for (size_t i = 0; i < o->search_dirs_count; i++)
        if (!o->search_dirs[i])
            return api_fail(err, "a search folder is NULL");
    for (size_t i = 0; i < o->path_maps_count; i++)
        if (!o->path_maps[i].windows || !o->path_maps[i].local || !*o->path_maps[i].local)
            return api_fail(err, "a path map has no local folder");
    return 0;
}

int api_take_open_options(struct vhdx_open_options *ours, const struct vhdx_open_options *theirs,
                          struct vhdx_error *err)
{
    int r = api_take_options(ours, sizeof *ours, theirs, err);

    return r < 0 ? r : verify_open_options(ours, err);
}

static int take_open_arguments(uint32_t flags, const struct vhdx_open_options *opts,
                               struct vhdx_open_options *ret, struct vhdx_error *err)
{
    if (flags & ~OPEN_FLAGS)
        return api_fail(err, "an unknown flag of vhdx_open");
    return api_take_open_options(ret, opts, err);
}

int vhdx_open(const char *path, uint32_t flags, const struct vhdx_open_options *opts,
              struct vhdx **ret, struct vhdx_error *err)
{
    struct vhdx_open_options options = VHDX_OPEN_OPTIONS_INIT;
    struct image *img;

    if (!path || !ret)
        return api_fail(err, "vhdx_open without a path or a result");
    int r = take_open_arguments(flags, opts, &options, err);
    if (r == 0)
        r = image_open_path(path, flags & VHDX_OPEN_RDWR, &img, err);
    return r < 0 ? r : handle_open(img, flags, &options, ret, err);
}

/* The caller's table may be of another version. */
static bool copy_io(const struct vhdx_io *io, struct vhdx_io *ret)
{
    if (io->struct_size < offsetof(struct vhdx_io, size) + sizeof io->size)
        return false;
    *ret = (struct vhdx_io){ 0 };
    memcpy(ret, io, io->struct_size < sizeof *ret ? io->struct_size : sizeof *ret);
    return true;
}

/* What reading needs, and for writing what cannot be done in another way. */
static bool has_calls(const struct vhdx_io *io, bool writable)
{
    if (!io->pread || !io->size)
        return false;
    return !writable || (io->pwrite && io->flush && io->truncate);
}

int api_take_io(const struct vhdx_io *io, bool writable, struct vhdx_io *ret,
                struct vhdx_error *err)
{
    if (!io || !copy_io(io, ret))
        return api_fail(err, "no file");
    if (!has_calls(ret, writable))
        return api_fail(err, "a file without pread or size, or what writing needs");
    return 0;
}

int vhdx_open_io(struct vhdx_io *io, uint32_t flags, const struct vhdx_open_options *opts,
                 struct vhdx **ret, struct vhdx_error *err)
{
    struct vhdx_open_options options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_io own = { 0 };
    struct image *img;

    if (!io || !copy_io(io, &own))
        return api_fail(err, "vhdx_open_io without a file");
    int r = 0;
    if (!ret)
        r = api_fail(err, "vhdx_open_io without a result");
    else if (!has_calls(&own, flags & VHDX_OPEN_RDWR))
        r = api_fail(err, "a file without pread or size, or what writing needs");
    else
        r = take_open_arguments(flags, opts, &options, err);
    if (r < 0) {
        io_close(&own);
        return r;
    }
    r = image_open_io(&own, &img, err);
    if (r < 0) {
        fail_prefix(err, "(custom file): ");
        return r;
    }
    return handle_open(img, flags, &options, ret, err);
}

int vhdx_finish(struct vhdx *v, struct vhdx_error *err)
{
    if (!v)
        return api_fail(err, "vhdx_finish");
    return handle_finish(v, err);
}

void vhdx_close(struct vhdx *v)
{
    handle_close(v);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static int verify_range(const struct vhdx *v, uint64_t len, uint64_t offset,
                        struct vhdx_error *err)
{
    uint64_t size = vhdx_size(v);

    if (range_fits(offset, len, size))
        return 0;
    return fail(err, VHDX_E_RANGE, VHDX_OFFSET_NONE,
                "%s: range %llu + %llu reaches beyond the end of the virtual disk at %llu",
                image_name(v->chain.images[0]), (unsigned long long)offset,
                (unsigned long long)len, (unsigned long long)size);
}

int vhdx_pread(struct vhdx *v, void *buf, size_t len, uint64_t offset, struct vhdx_error *err)
{
    if (!v || (!buf && len > 0))
        return api_fail(err, "vhdx_pread");
    int r = verify_range(v, len, offset, err);
    return r < 0 || len == 0 ? r : chain_read(&v->chain, buf, len, offset, err);
}

/* ---- Writing -------------------------------------------------------------------------------- */

static int verify_change(const struct vhdx *v, uint64_t len, uint64_t offset, uint32_t flags,
                         struct vhdx_error *err)
{
    if (!v || (flags & ~VHDX_FUA))
        return api_fail(err, "no handle, or an unknown flag");
    return verify_range(v, len, offset, err);
}

/* After a change: what VHDX_FUA asks for. */
static int end_change(struct vhdx *v, int r, uint32_t flags, struct vhdx_error *err)
{
    return r == 0 && (flags & VHDX_FUA) ? handle_flush(v, err) : r;
}

int vhdx_pwrite(struct vhdx *v, const void *buf, size_t len, uint64_t offset, uint32_t flags,
                struct vhdx_error *err)
{
    if (!buf && len > 0)
        return api_fail(err, "vhdx_pwrite");
    int r = verify_change(v, len, offset, flags, err);
    if (r == 0)
        r = chain_write(&v->chain, buf, len, offset, err);
    return end_change(v, r, flags, err);
}

int vhdx_zero(struct vhdx *v, uint64_t len, uint64_t offset, uint32_t flags,
              struct vhdx_error *err)
{
    int r = verify_change(v, len, offset, flags, err);

    if (r == 0)
        r = chain_write(&v->chain, NULL, len, offset, err);
    return end_change(v, r, flags, err);
}

int vhdx_trim(struct vhdx *v, uint64_t len, uint64_t offset, uint32_t flags,
              struct vhdx_error *err)
{
    int r = verify_change(v, len, offset, flags, err);

    if (r == 0)
        r = chain_trim(&v->chain, len, offset, err);
    return end_change(v, r, flags, err);
}

int vhdx_flush(struct vhdx *v, struct vhdx_error *err)
{
    if (!v)
        return api_fail(err, "vhdx_flush");
    return handle_flush(v, err);
}

/* ---- Extents -------------------------------------------------------------------------------- */

int vhdx_extents(struct vhdx *v, uint64_t offset, uint64_t len,
                 int (*fn)(const struct vhdx_extent *extent, void *opaque), void *opaque,
                 struct vhdx_error *err)
{
    if (!v || !fn)
        return api_fail(err, "vhdx_extents");
    int r = verify_range(v, len, offset, err);
    return r < 0 ? r : map_walk(&v->chain, offset, len, fn, opaque, err);
}

/* ---- Facts ---------------------------------------------------------------------------------- */

uint64_t vhdx_size(const struct vhdx *v)
{
    return v->chain.images[0]->metadata.virtual_size;
}

uint32_t vhdx_block_size(const struct vhdx *v)
{
    return v->chain.images[0]->metadata.block_size;
}

uint32_t vhdx_logical_sector_size(const struct vhdx *v)
{
    return v->chain.images[0]->metadata.logical_sector_size;
}

uint32_t vhdx_physical_sector_size(const struct vhdx *v)
{
    return v->chain.images[0]->metadata.physical_sector_size;
}

int vhdx_get_info(struct vhdx *v, struct vhdx_info *ret, struct vhdx_error *err)
{
    struct vhdx_info info;

    if (!v || !ret)
        return api_fail(err, "vhdx_get_info");
    info_get(v, &info);
    return api_give_result(ret, &info, sizeof info, err);
}

int vhdx_get_stats(struct vhdx *v, struct vhdx_stats *ret, struct vhdx_error *err)
{
    struct vhdx_stats stats;

    if (!v || !ret)
        return api_fail(err, "vhdx_get_stats");
    int r = info_stats(v, &stats, err);
    return r < 0 ? r : api_give_result(ret, &stats, sizeof stats, err);
}

int vhdx_get_link(struct vhdx *v, uint32_t depth, struct vhdx_link *ret, struct vhdx_error *err)
{
    struct vhdx_link link;

    if (!v || !ret)
        return api_fail(err, "vhdx_get_link");
    if (depth >= v->chain.link_count)
        return fail(err, VHDX_E_RANGE, VHDX_OFFSET_NONE, "the chain has %u images, not %u",
                    v->chain.link_count, depth + 1);
    info_link(v, depth, &link);
    return api_give_result(ret, &link, sizeof link, err);
}

/* ---- Creating ------------------------------------------------------------------------------- */

int vhdx_create(const char *path, const struct vhdx_create_options *opts, struct vhdx_error *err)
{
    struct vhdx_create_options options = VHDX_CREATE_OPTIONS_INIT;

    if (!path)
        return api_fail(err, "vhdx_create");
    int r = api_take_options(&options, sizeof options, opts, err);
    return r < 0 ? r : create_path(path, &options, err);
}

int vhdx_create_io(struct vhdx_io *io, const struct vhdx_create_options *opts,
                   struct vhdx_error *err)
{
    struct vhdx_create_options options = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_io own;

    if (!io || !copy_io(io, &own) || !has_calls(&own, VHDX_OPEN_RDWR))
        return api_fail(err, "vhdx_create_io: a file without what writing needs");
    int r = api_take_options(&options, sizeof options, opts, err);
    return r < 0 ? r : create_io(&own, &options, err);
}

/* ---- Whole-image operations ----------------------------------------------------------------- */

int vhdx_hash(struct vhdx *v, const struct vhdx_hash_options *opts, char ret_hex[VHDX_HASH_TEXT],
              struct vhdx_error *err)
{
    struct vhdx_hash_options options = VHDX_HASH_OPTIONS_INIT;

    if (!v || !ret_hex)
        return api_fail(err, "vhdx_hash");
    int r = api_take_options(&options, sizeof options, opts, err);
    return r < 0 ? r : hash_disk(v, &options, ret_hex, err);
}
