/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public entry points of disks and conversions: argument checks, no logic. */

#include "api/api.h"
#include "core/handle.h"
#include "disk/crew.h"
#include "disk/disk.h"
#include "io/io.h"
#include "ops/convert-stream.h"
#include "ops/convert.h"
#include "util/bits.h"

/* ---- Disks ---------------------------------------------------------------------------------- */

int vhdx_disk_of(struct vhdx *v, struct vhdx_disk **ret, struct vhdx_error *err)
{
    return v && ret ? disk_of_image(v, ret, err) : api_fail(err, "vhdx_disk_of");
}

int vhdx_disk_raw(const char *path, uint32_t flags, struct vhdx_disk **ret, struct vhdx_error *err)
{
    if (!path || !ret || (flags & ~VHDX_OPEN_NO_LOCK) != 0)
        return api_fail(err, "vhdx_disk_raw");
    return disk_open_raw(path, (flags & VHDX_OPEN_NO_LOCK) == 0, ret, err);
}

int vhdx_disk_stream(int fd, struct vhdx_disk **ret, struct vhdx_error *err)
{
    return fd >= 0 && ret ? disk_open_stream(fd, ret, err) : api_fail(err, "vhdx_disk_stream");
}

int vhdx_disk_spool(struct vhdx_disk *stream, const struct vhdx_progress *progress,
                    struct vhdx_disk **ret, struct vhdx_error *err)
{
    const struct vhdx_progress none = { NULL, NULL };

    if (!stream || !ret || !disk_is_stream(stream))
        return api_fail(err, "vhdx_disk_spool");
    return convert_spool(stream, progress ? progress : &none, ret, err);
}

int vhdx_disk_custom(const struct vhdx_io *io, vhdx_io_extents *extents, const char *name,
                     struct vhdx_disk **ret, struct vhdx_error *err)
{
    struct vhdx_io own;

    int r = api_take_io(io, false, &own, err);
    if (r < 0)
        return r;
    if (!name || !ret) {
        io_close(&own);
        return api_fail(err, "vhdx_disk_custom");
    }
    return disk_open_custom(&own, extents, name, ret, err);
}

uint64_t vhdx_disk_size(const struct vhdx_disk *d)
{
    return d->size;
}

void vhdx_disk_close(struct vhdx_disk *d)
{
    disk_close(d);
}

/* ---- Converting ----------------------------------------------------------------------------- */

#define CONVERT_FLAGS                                                                              \
    (VHDX_CONVERT_REPLACE | VHDX_CONVERT_NO_SPARSE | VHDX_CONVERT_VERIFY | VHDX_CONVERT_AZURE |    \
     VHDX_CONVERT_NO_CLONE)

static int verify_create(const struct vhdx_convert_options *o, const struct vhdx_create_options *c,
                         struct vhdx_error *err)
{
    if (c->size != 0 || c->flags != 0 || c->progress.fn)
        return api_fail(err, "converting: the size is the disk's; flags and progress are those of "
                             "the conversion");
    if (o->format == VHDX_FORMAT_VHDX)
        return 0;
    if (c->parent_path || c->type || c->block_size || c->log_size || c->logical_sector_size ||
        c->physical_sector_size)
        return api_fail(err, "converting: only a VHDX has these options");
    return c->preallocation <= VHDX_PREALLOCATION_FULL
               ? 0
               : api_fail(err, "converting: an unknown preallocation");
}

static int take_options(struct vhdx_convert_options *ours, struct vhdx_create_options *create,
                        const struct vhdx_convert_options *theirs, struct vhdx_error *err)
{
    int r = api_take_options(ours, sizeof *ours, theirs, err);

    if (r == 0 && ours->create) {
        r = api_take_options(create, sizeof *create, ours->create, err);
        ours->create = create;
    }
    if (r < 0)
        return r;
    if (ours->format == 0)
        ours->format = VHDX_FORMAT_RAW;
    if (ours->format > VHDX_FORMAT_VHD || (ours->flags & ~CONVERT_FLAGS) != 0)
        return api_fail(err, "converting: an unknown format or flag");
    if ((ours->flags & VHDX_CONVERT_AZURE) != 0 && ours->format != VHDX_FORMAT_VHD)
        return api_fail(err, "converting: Azure takes VHDs");
    if (ours->threads > CREW_THREADS_MAX)
        return api_fail(err, "converting: at most 64 threads");
    if (!is_aligned(ours->sparse_size, 512) || ours->sparse_size > MIB)
        return api_fail(err, "converting: a sparse size that is no multiple of 512, or too large");
    return ours->create ? verify_create(ours, ours->create, err) : 0;
}

int vhdx_convert(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;

    if (!v || !path)
        return api_fail(err, "vhdx_convert");
    int r = take_options(&options, &create, opts, err);
    return r < 0 ? r : convert_disk(v, path, &options, err);
}

/* The caller's result, if there is one, is looked at before anything is done. */
static int take(const struct vhdx_convert_options *opts, struct vhdx_convert_options *ret,
                struct vhdx_create_options *create, struct vhdx_convert_result *result,
                struct vhdx_error *err)
{
    int r = result ? api_verify_result(result, err) : 0;

    return r < 0 ? r : take_options(ret, create, opts, err);
}

static int give(struct vhdx_convert_result *theirs, const struct vhdx_convert_result *ours,
                struct vhdx_error *err)
{
    return theirs ? api_give_result(theirs, ours, sizeof *ours, err) : 0;
}

int vhdx_convert_disk(struct vhdx_disk *from, const char *path,
                      const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                      struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;

    if (!from || !path)
        return api_fail(err, "vhdx_convert_disk");
    int r = take(opts, &options, &create, ret, err);
    if (r == 0)
        r = convert_to_path(from, path, &options, &result, err);
    return r < 0 ? r : give(ret, &result, err);
}

int vhdx_convert_to_stream(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                           struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;

    if (!from || fd < 0)
        return api_fail(err, "vhdx_convert_to_stream");
    int r = take(opts, &options, &create, ret, err);
    if (r == 0 && ((options.flags & VHDX_CONVERT_VERIFY) != 0 || create.parent_path))
        r = api_fail(err, "vhdx_convert_to_stream: nothing is read back from a stream, and a child "
                          "needs a path");
    if (r == 0)
        r = convert_stream(from, fd, &options, &result, err);
    return r < 0 ? r : give(ret, &result, err);
}

int vhdx_convert_to_io(struct vhdx_disk *from, const struct vhdx_io *to,
                       const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                       struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    struct vhdx_io own;

    if (!from || !to || !to->pwrite || !to->flush)
        return api_fail(err, "vhdx_convert_to_io");
    int r = api_take_io(to, false, &own, err);
    if (r == 0)
        r = take(opts, &options, &create, ret, err);
    if (r == 0 && options.format != VHDX_FORMAT_RAW)
        r = api_fail(err, "vhdx_convert_to_io: raw only");
    if (r == 0)
        r = convert_to_io(from, &own, &options, &result, err);
    return r < 0 ? r : give(ret, &result, err);
}
