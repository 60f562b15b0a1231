/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * nbdkit-vhdx-plugin: serves a VHDX image over NBD. Every call of nbdkit's is one call of the
 * library, which is as parallel as nbdkit is; what is left here is the translation of flags,
 * extents and errors. The life of the image is in served.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <vhdx.h>

#include "parameters.h"
#include "served.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define PREFERRED_BLOCK 4096
#define MAXIMUM_BLOCK (32 * 1024 * 1024)
#define EXTENTS_MAX 65536      /* in one answer; a client asks on from its end */
#define PIECE_LEN (256 * 1024) /* of zeroing by writing, and of caching by reading */

/* A plugin has no other place for what its calls share. */
static struct served served = SERVED_INIT;

/* One connection. */
struct client {
    struct vhdx *v;
    bool is_writable;
};

/* ---- Errors --------------------------------------------------------------------------------- */

/* One of those errno values that the NBD protocol knows: nbdkit makes EINVAL of all others. */
static int errno_of_system(int number)
{
    switch (number) {
    case EPERM:
    case EACCES:
    case EROFS:
        return EPERM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ENOSPC;
    case ENOMEM:
        return ENOMEM;
    default:
        return EIO;
    }
}

static int errno_of(const struct vhdx_error *err)
{
    switch (err->code) {
    case VHDX_E_SYSTEM:
        return errno_of_system(err->sys_errno);
    case VHDX_E_NOMEM:
        return ENOMEM;
    case VHDX_E_INVALID:
    case VHDX_E_RANGE:
        return EINVAL;
    case VHDX_E_READ_ONLY:
        return EPERM;
    case VHDX_E_NOSPACE:
        return ENOSPC;
    default: /* the image is bad, or an earlier flush failed */
        return EIO;
    }
}

/* The result of a callback: 0, or after the error was told to the log and to the client, -1. */
static int answer(int r, const struct vhdx_error *err)
{
    if (r >= 0)
        return 0;
    served_report(err);
    nbdkit_set_error(errno_of(err));
    return -1;
}

/* ---- The server's life ---------------------------------------------------------------------- */

static int on_config(const char *key, const char *value)
{
    return parameters_take(&served.parameters, key, value);
}

static int on_config_complete(void)
{
    return parameters_complete(&served.parameters);
}

static int on_get_ready(void)
{
    return served_check(&served);
}

static int on_after_fork(void)
{
    /* A limit on the size of files shall fail a request, not end the server. */
    signal(SIGXFSZ, SIG_IGN);
    return served_begin(&served);
}

static void on_cleanup(void)
{
    served_end(&served);
}

static void on_unload(void)
{
    served_end(&served);
    parameters_free(&served.parameters);
}

static void on_dump_plugin(void)
{
    printf("vhdx_version=%s\n", vhdx_version());
}

/* ---- Connections ---------------------------------------------------------------------------- */

static void *on_open(int read_only)
{
    struct client *client = malloc(sizeof(*client));

    if (!client) {
        nbdkit_error("out of memory");
        return NULL;
    }
    if (served_acquire(&served, read_only) < 0) {
        free(client);
        return NULL;
    }
    client->v = served.v;
    client->is_writable = served.is_writable && !read_only;
    return client;
}

static void on_close(void *handle)
{
    free(handle);
    served_release(&served);
}

static int64_t on_get_size(void *handle)
{
    const struct client *client = handle;

    return (int64_t)vhdx_size(client->v);
}

static int on_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    const struct client *client = handle;

    *minimum = vhdx_logical_sector_size(client->v);
    *preferred = PREFERRED_BLOCK;
    *maximum = MAXIMUM_BLOCK;
    return 0;
}

static int can_write(void *handle)
{
    const struct client *client = handle;

    return client->is_writable;
}

static int can(void *handle)
{
    (void)handle;
    return 1;
}

static int can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_NATIVE; /* the readahead filter does nothing with emulation */
}

/* ---- Data ----------------------------------------------------------------------------------- */

static uint32_t change_flags(uint32_t flags)
{
    return flags & NBDKIT_FLAG_FUA ? VHDX_FUA : 0;
}

static int on_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    const struct client *client = handle;
    struct vhdx_error err;

    (void)flags;
    return answer(vhdx_pread(client->v, buf, count, offset, &err), &err);
}

static int on_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
                     uint32_t flags)
{
    const struct client *client = handle;
    struct vhdx_error err;

    return answer(vhdx_pwrite(client->v, buf, count, offset, change_flags(flags), &err), &err);
}

/* Reading brings the data, of whichever file of the chain, into the page cache. */
static int on_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    const struct client *client = handle;
    struct vhdx_error err;
    int r = 0;

    (void)flags;
    uint8_t *buf = malloc(PIECE_LEN);
    if (!buf) {
        nbdkit_error("out of memory");
        nbdkit_set_error(ENOMEM);
        return -1;
    }
    while (count > 0 && r == 0) {
        uint32_t len = count < PIECE_LEN ? count : PIECE_LEN;
        r = vhdx_pread(client->v, buf, len, offset, &err);
        offset += len;
        count -= len;
    }
    free(buf);
    return answer(r, &err);
}

static int on_flush(void *handle, uint32_t flags)
{
    const struct client *client = handle;
    struct vhdx_error err;

    (void)flags;
    return answer(vhdx_flush(client->v, &err), &err);
}

static int on_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    const struct client *client = handle;
    struct vhdx_error err;

    return answer(vhdx_trim(client->v, count, offset, change_flags(flags), &err), &err);
}

/* Zeros that take space, so that later writes find it. */
static int write_zeros(struct vhdx *v, uint32_t count, uint64_t offset, uint32_t flags,
                       struct vhdx_error *err)
{
    static uint8_t zeros[PIECE_LEN]; /* never written; const would take up space in the plugin */
    int r = 0;

    while (count > 0 && r == 0) {
        uint32_t len = count < PIECE_LEN ? count : PIECE_LEN;
        r = vhdx_pwrite(v, zeros, len, offset, 0, err);
        offset += len;
        count -= len;
    }
    return r == 0 && (flags & NBDKIT_FLAG_FUA) ? vhdx_flush(v, err) : r;
}

/*
 * Without leave to trim, the range must have its space afterwards: in a fixed image it keeps that,
 * in others zeros are written. A fast zero is one that writes none.
 */
static int on_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    const struct client *client = handle;
    bool is_written = !(flags & NBDKIT_FLAG_MAY_TRIM) && !served.is_fixed;
    struct vhdx_error err;

    if ((flags & NBDKIT_FLAG_FAST_ZERO) && (is_written || !served.zeroing_is_fast)) {
        nbdkit_set_error(EOPNOTSUPP);
        return -1;
    }
    if (is_written)
        return answer(write_zeros(client->v, count, offset, flags, &err), &err);
    return answer(vhdx_zero(client->v, count, offset, change_flags(flags), &err), &err);
}

/* ---- Extents -------------------------------------------------------------------------------- */

enum { WALK_ON = 0, WALK_DONE = 1, WALK_FAILED = 2 };

/* Neighbours that NBD does not tell apart are joined, wherever they lie. */
struct walk {
    struct nbdkit_extents *list;
    uint64_t offset, length; /* of the extent that still may grow; none if length is 0 */
    uint32_t type;           /* NBDKIT_EXTENT_... */
    size_t left;             /* how many the answer may still have */
};

static int hand_over(struct walk *w)
{
    if (w->length == 0)
        return WALK_ON;
    if (nbdkit_add_extent(w->list, w->offset, w->length, w->type) < 0)
        return WALK_FAILED;
    w->left--;
    return w->left == 0 ? WALK_DONE : WALK_ON;
}

static int on_extent(const struct vhdx_extent *extent, void *opaque)
{
    uint32_t type = extent->kind == VHDX_EXTENT_DATA ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
    struct walk *w = opaque;

    if (w->length > 0 && w->type == type) {
        w->length += extent->length;
        return WALK_ON;
    }
    int r = hand_over(w);
    w->offset = extent->offset;
    w->length = extent->length;
    w->type = type;
    return r;
}

static int on_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                      struct nbdkit_extents *extents)
{
    const struct client *client = handle;
    struct walk w = { .list = extents, .left = flags & NBDKIT_FLAG_REQ_ONE ? 1 : EXTENTS_MAX };
    struct vhdx_error err;

    int r = vhdx_extents(client->v, offset, count, on_extent, &w, &err);
    if (r < 0)
        return answer(r, &err);
    if (r == WALK_ON)
        r = hand_over(&w);
    return r == WALK_FAILED ? -1 : 0;
}

/* ---- Registration --------------------------------------------------------------------------- */

static struct nbdkit_plugin plugin = {
    .name = "vhdx",
    .longname = "VHDX disk images",
    .version = VHDX_VERSION,
    .description = "Serves Microsoft VHDX disk images (.vhdx, .avhdx): fixed, dynamic and\n"
                   "differencing ones with their parents, clean or with a log to replay.",
    .unload = on_unload,
    .config = on_config,
    .config_complete = on_config_complete,
    .config_help = PARAMETERS_HELP,
    .magic_config_key = "file",
    .dump_plugin = on_dump_plugin,
    .get_ready = on_get_ready,
    .after_fork = on_after_fork,
    .cleanup = on_cleanup,
    .open = on_open,
    .close = on_close,
    .get_size = on_get_size,
    .block_size = on_block_size,
    .can_write = can_write,
    .can_flush = can,
    .can_trim = can,
    .can_zero = can,
    .can_fast_zero = can,
    .can_fua = can_fua,
    .can_multi_conn = can, /* one handle: a flush covers the writes of all connections */
    .can_extents = can,
    .can_cache = can_cache,
    .pread = on_pread,
    .pwrite = on_pwrite,
    .flush = on_flush,
    .trim = on_trim,
    .cache = on_cache,
    .zero = on_zero,
    .extents = on_extents,
};

/* What the macro defines: nbdkit looks for it by name. */
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
