/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * NBD through libnbd; see nbd.h. A pool of connections: each call takes an idle one, or waits for
 * it, and has one request under way; several calls at once, from several threads, keep all of them
 * busy. Requests are cut to what servers take. Where a server wants whole blocks, reads are rounded
 * outwards; writes, too, by reading the block first, one at a time. What the server says about
 * holes is asked for in stretches far longer than one call wants and kept.
 *
 * Invariants: a handle is in idle[] or used by exactly one call. The last answer about extents is
 * sorted, without gaps, and read and replaced under extents_mutex only.
 */
#include "nbd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#include "interrupt.h"
#include "nbd-extents.h"
#include "process.h"
#include "report.h"
#include "scope.h"

#define PIECE_MAX (2u << 20)      /* bytes of one request */
#define ZERO_MAX (1u << 30)
#define BLOCK_MAX (64u << 10)     /* the largest minimum that the protocol allows */
#define WAIT_MS 100               /* after a signal */
#define ASK_MAX 0xFFFF0000u       /* the longest stretch to ask about, of whole blocks */

struct pool {
    pthread_mutex_t mutex; /* of idle */
    pthread_cond_t freed;
    struct nbd_handle *handles[REMOTE_CONNECTIONS_MAX];
    unsigned count;
    struct nbd_handle *idle[REMOTE_CONNECTIONS_MAX];
    unsigned idle_count;
    uint64_t size;  /* bytes of the disk */
    uint32_t block; /* requests are multiples of this */
    uint32_t piece; /* bytes of one request at most, a multiple of block */
    bool can_zero;
    bool has_flush;
    pthread_mutex_t partial_mutex; /* held while parts of a block are written */
    pthread_mutex_t extents_mutex;
    bool has_status;        /* the server tells holes */
    struct extents extents; /* its last answer */
};

/* ---- The pool ------------------------------------------------------------------------------- */

bool remote_supported(void)
{
    return true;
}

/* NULL after a signal: what is idle then may have a request under way that nobody waits for. */
static struct nbd_handle *take(struct pool *pool)
{
    struct nbd_handle *h = NULL;

    pthread_mutex_lock(&pool->mutex);
    while (pool->idle_count == 0)
        pthread_cond_wait(&pool->freed, &pool->mutex);
    if (interrupt_pending())
        pthread_cond_signal(&pool->freed); /* the next one shall not wait either */
    else
        h = pool->idle[--pool->idle_count];
    pthread_mutex_unlock(&pool->mutex);
    return h;
}

static void give_back(struct pool *pool, struct nbd_handle *h)
{
    pthread_mutex_lock(&pool->mutex);
    pool->idle[pool->idle_count++] = h;
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Of the last call of libnbd in this thread, negative. A lost connection has many numbers. */
static int last_error(struct nbd_handle *h)
{
    int number = nbd_get_errno();

    if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h) || number == ESHUTDOWN || number == ENOTCONN ||
        number == EPIPE)
        return -ECONNRESET;
    return number > 0 ? -number : -EIO;
}

static void close_pool(void *opaque)
{
    struct pool *pool = opaque;

    for (unsigned i = 0; i < pool->count; i++) {
        if (nbd_aio_is_ready(pool->handles[i]) && !interrupt_pending())
            nbd_shutdown(pool->handles[i], 0);
        nbd_close(pool->handles[i]);
    }
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->freed);
    pthread_mutex_destroy(&pool->partial_mutex);
    pthread_mutex_destroy(&pool->extents_mutex);
    free(pool->extents.items);
    free(pool);
}

/* ---- Requests ------------------------------------------------------------------------------- */

/*
 * Waits for a request (negative: it could not even be sent). A signal ends the wait, for a server
 * may be silent for ever. The request is under way then and its buffer not free to be used, but no
 * call uses a connection after a signal.
 */
static int finish(struct nbd_handle *h, int64_t cookie)
{
    int done = cookie < 0 ? -1 : 0;

    while (done == 0 && (done = nbd_aio_command_completed(h, (uint64_t)cookie)) == 0) {
        if (interrupt_pending())
            return -ECANCELED;
        if (nbd_poll(h, WAIT_MS) < 0)
            done = -1;
    }
    return done < 0 ? last_error(h) : 0;
}

/* What is to be done with whole blocks from offset on: read to, write from, or zero. */
struct transfer {
    char *to;
    const char *from;
    uint64_t offset;
};

/* Sends the request for n bytes of it, after those done already; a cookie, or negative. */
static int64_t send_request(struct nbd_handle *h, const struct transfer *t, uint64_t done,
                            uint64_t n)
{
    if (t->to)
        return nbd_aio_pread(h, t->to + done, n, t->offset + done, NBD_NULL_COMPLETION, 0);
    if (t->from)
        return nbd_aio_pwrite(h, t->from + done, n, t->offset + done, NBD_NULL_COMPLETION, 0);
    return nbd_aio_zero(h, n, t->offset + done, NBD_NULL_COMPLETION, 0);
}

static int transfer_blocks(struct pool *pool, const struct transfer *t, uint64_t len)
{
    uint64_t most = t->to || t->from ? pool->piece : ZERO_MAX;
    struct nbd_handle *h = take(pool);
    int r = 0;

    if (!h)
        return -ECANCELED;
    for (uint64_t done = 0, n; done < len && r == 0; done += n) {
        n = len - done < most ? len - done : most;
        r = finish(h, send_request(h, t, done, n));
    }
    give_back(pool, h);
    return r;
}

static int read_blocks(struct pool *pool, char *buf, size_t len, uint64_t offset)
{
    return transfer_blocks(pool, &(struct transfer){ .to = buf, .offset = offset }, len);
}

static int write_blocks(struct pool *pool, const char *buf, size_t len, uint64_t offset)
{
    return transfer_blocks(pool, &(struct transfer){ .from = buf, .offset = offset }, len);
}

static int zero_blocks(struct pool *pool, uint64_t offset, uint64_t len)
{
    int r = transfer_blocks(pool, &(struct transfer){ .offset = offset }, len);

    return r == -ENOTSUP || r == -EOPNOTSUPP ? -EOPNOTSUPP : r;
}

/* The block around offset; the last of a disk may be short. */
static size_t block_around(const struct pool *pool, uint64_t offset, uint64_t *ret_begin)
{
    uint64_t begin = offset - offset % pool->block;
    uint64_t left = pool->size - begin;

    *ret_begin = begin;
    return left < pool->block ? (size_t)left : pool->block;
}

/* How much of [offset, offset + len) lies in whole blocks from offset on. */
static size_t whole_blocks(const struct pool *pool, uint64_t offset, size_t len)
{
    if (offset % pool->block != 0)
        return 0;
    return offset + len == pool->size ? len : len - len % pool->block;
}

static bool is_inside(const struct pool *pool, uint64_t offset, uint64_t len)
{
    return offset <= pool->size && len <= pool->size - offset;
}

static int remote_read(void *opaque, void *buf, size_t len, uint64_t offset)
{
    SCOPED_FREE char *bounce = NULL;
    struct pool *pool = opaque;
    char *to = buf;
    int r = 0;

    if (!is_inside(pool, offset, len))
        return -EINVAL;
    for (size_t n; len > 0 && r == 0; to += n, offset += n, len -= n) {
        n = whole_blocks(pool, offset, len);
        if (n > 0) {
            r = read_blocks(pool, to, n, offset);
            continue;
        }
        uint64_t begin;
        size_t block = block_around(pool, offset, &begin), skip = (size_t)(offset - begin);
        n = len < block - skip ? len : block - skip;
        if (!bounce && !(bounce = malloc(pool->block)))
            return -ENOMEM;
        r = read_blocks(pool, bounce, block, begin);
        if (r == 0)
            memcpy(to, bounce + skip, n);
    }
    return r;
}

/* Writes n bytes inside of one block; from NULL means zeros. */
static int write_partial(struct pool *pool, const char *from, size_t n, uint64_t offset)
{
    uint64_t begin;
    size_t block = block_around(pool, offset, &begin), skip = (size_t)(offset - begin);
    SCOPED_FREE char *bounce = malloc(block);

    if (!bounce)
        return -ENOMEM;
    pthread_mutex_lock(&pool->partial_mutex);
    int r = read_blocks(pool, bounce, block, begin);
    if (r == 0) {
        if (from)
            memcpy(bounce + skip, from, n);
        else
            memset(bounce + skip, 0, n);
        r = write_blocks(pool, bounce, block, begin);
    }
    pthread_mutex_unlock(&pool->partial_mutex);
    return r;
}

/* The bytes from offset on that are in one block with it. */
static size_t rest_of_block(const struct pool *pool, uint64_t offset, uint64_t len)
{
    uint64_t rest = pool->block - offset % pool->block;

    return (size_t)(len < rest ? len : rest);
}

static int remote_write(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct pool *pool = opaque;
    const char *from = buf;
    int r = 0;

    if (!is_inside(pool, offset, len))
        return -ENOSPC;
    for (size_t n; len > 0 && r == 0; from += n, offset += n, len -= n) {
        n = whole_blocks(pool, offset, len);
        if (n > 0) {
            r = write_blocks(pool, from, n, offset);
            continue;
        }
        n = rest_of_block(pool, offset, len);
        r = write_partial(pool, from, n, offset);
    }
    return r;
}

static int remote_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct pool *pool = opaque;
    int r = 0;

    if (!pool->can_zero)
        return -EOPNOTSUPP;
    if (!is_inside(pool, offset, len))
        return -ENOSPC;
    for (uint64_t n; len > 0 && r == 0; offset += n, len -= n) {
        n = offset + len == pool->size ? len : len - len % pool->block;
        if (offset % pool->block == 0 && n > 0) {
            r = zero_blocks(pool, offset, n);
            continue;
        }
        n = rest_of_block(pool, offset, len);
        r = write_partial(pool, NULL, (size_t)n, offset);
    }
    return r;
}

/* There are several connections only if one flushes what all of them wrote. */
static int remote_flush(void *opaque)
{
    struct pool *pool = opaque;

    if (!pool->has_flush)
        return 0;
    struct nbd_handle *h = take(pool);
    if (!h)
        return -ECANCELED;
    int r = finish(h, nbd_aio_flush(h, NBD_NULL_COMPLETION, 0));
    give_back(pool, h);
    return r;
}

static int remote_size(void *opaque, uint64_t *ret_size)
{
    *ret_size = ((struct pool *)opaque)->size;
    return 0;
}

/* ---- Extents -------------------------------------------------------------------------------- */

/* The answer: pairs of a length and flags. */
static int on_answer(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                     size_t count, int *error)
{
    struct extents *extents = opaque;

    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 || offset != extents->end)
        return 0;
    for (size_t i = 0; i + 1 < count; i += 2)
        if (!extents_add(extents, entries[i], entries[i + 1]))
            break;
    return 0;
}

/*
 * Replaces the last answer by one that begins at or before offset. A server that does not answer is
 * not asked again: all is data then.
 */
static void ask(struct pool *pool, uint64_t offset)
{
    struct extents *extents = &pool->extents;
    uint64_t begin = offset - offset % pool->block, len = pool->size - begin;

    if (len > ASK_MAX)
        len = ASK_MAX;
    extents_restart(extents, begin, pool->size);
    if (pool->has_status) {
        nbd_extent_callback callback = { .callback = on_answer, .user_data = extents };
        struct nbd_handle *h = take(pool);
        pool->has_status = h && finish(h, nbd_aio_block_status(h, len, begin, callback,
                                                               NBD_NULL_COMPLETION, 0)) == 0;
        if (h)
            give_back(pool, h);
    }
    if (extents->end <= offset) {
        extents_restart(extents, begin, pool->size);
        extents_add(extents, len, 0);
    }
}

static int remote_extents(void *opaque, uint64_t offset, uint64_t len,
                          int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                          void *fn_opaque)
{
    struct pool *pool = opaque;
    int r = 0;

    if (!is_inside(pool, offset, len))
        return -EINVAL;
    for (uint64_t end = offset + len; offset < end && r == 0;) {
        pthread_mutex_lock(&pool->extents_mutex);
        if (offset < pool->extents.begin || offset >= pool->extents.end)
            ask(pool, offset);
        struct vhdx_extent e = extents_at(&pool->extents, offset);
        pthread_mutex_unlock(&pool->extents_mutex);
        if (e.length > end - offset)
            e.length = end - offset;
        offset += e.length;
        r = fn(&e, fn_opaque);
    }
    return r;
}

/* ---- Connecting ----------------------------------------------------------------------------- */

/* Where a server is: a URI, or sockets that are connected already. */
struct place {
    const char *uri;
    const int *sockets;
    unsigned count; /* connections at most */
    bool writes;
};

/* libnbd's text begins with the name of the call. */
static void take_reason(char ret_reason[REMOTE_REASON_TEXT])
{
    const char *text = nbd_get_error(), *colon = text ? strstr(text, ": ") : NULL;

    if (colon && strncmp(text, "nbd_", 4) == 0)
        text = colon + 2;
    snprintf(ret_reason, REMOTE_REASON_TEXT, "%s", text ? text : "no connection");
}

static bool connect_one(struct pool *pool, const struct place *place,
                        char ret_reason[REMOTE_REASON_TEXT])
{
    struct nbd_handle *h = nbd_create();
    int r = h ? 0 : -1;

    if (h) {
        unsigned number = pool->count;
        pool->handles[pool->count++] = h;
        /* The last block of a disk may be a short one. */
        nbd_set_strict_mode(h, nbd_get_strict_mode(h) & ~LIBNBD_STRICT_ALIGN);
        nbd_set_uri_allow_local_file(h, true);
        if (!place->writes)
            r = nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION);
        if (r == 0)
            r = place->uri ? nbd_connect_uri(h, place->uri)
                           : nbd_connect_socket(h, place->sockets[number]);
    }
    if (r < 0)
        take_reason(ret_reason);
    return r == 0;
}

/* What the first connection says holds for all. */
static bool learn(struct pool *pool, const struct place *place,
                  char ret_reason[REMOTE_REASON_TEXT])
{
    struct nbd_handle *h = pool->handles[0];
    int64_t size = nbd_get_size(h), block = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
    int64_t piece = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);

    if (size < 0) {
        take_reason(ret_reason);
        return false;
    }
    if (block > BLOCK_MAX || (block > 0 && (block & (block - 1)) != 0)) {
        snprintf(ret_reason, REMOTE_REASON_TEXT, "the server's block size of %lld is none",
                 (long long)block);
        return false;
    }
    if (place->writes && nbd_is_read_only(h) != 0) {
        snprintf(ret_reason, REMOTE_REASON_TEXT, "the server does not let it be written to");
        return false;
    }
    pool->size = (uint64_t)size;
    pool->block = block > 0 ? (uint32_t)block : 1;
    pool->piece = piece > 0 && piece < PIECE_MAX ? (uint32_t)piece : PIECE_MAX;
    pool->piece -= pool->piece % pool->block;
    if (pool->piece == 0)
        pool->piece = pool->block;
    pool->can_zero = nbd_can_zero(h) == 1;
    pool->has_flush = nbd_can_flush(h) == 1;
    pool->has_status = nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    return true;
}

/*
 * More connections help only where the server takes them: one that serves a single client would
 * keep the second waiting for ever.
 */
static bool connect_all(struct pool *pool, const struct place *place,
                        char ret_reason[REMOTE_REASON_TEXT])
{
    if (!connect_one(pool, place, ret_reason) || !learn(pool, place, ret_reason))
        return false;
    if (nbd_can_multi_conn(pool->handles[0]) == 1)
        while (pool->count < place->count)
            if (!connect_one(pool, place, ret_reason))
                return false;
    for (unsigned i = 0; i < pool->count; i++)
        pool->idle[pool->idle_count++] = pool->handles[i];
    return true;
}

/* NULL: ret_reason says why. */
static struct pool *open_pool(const struct place *place, char ret_reason[REMOTE_REASON_TEXT])
{
    struct pool *pool = demand(calloc(1, sizeof(*pool)));
    unsigned used;

    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->freed, NULL);
    pthread_mutex_init(&pool->partial_mutex, NULL);
    pthread_mutex_init(&pool->extents_mutex, NULL);
    if (!place->writes)
        pool->extents.items = demand(calloc(EXTENTS_MAX, sizeof(struct vhdx_extent)));
    bool fine = connect_all(pool, place, ret_reason);
    used = pool->count;
    for (unsigned i = used; place->sockets && i < place->count; i++)
        close(place->sockets[i]);
    if (fine)
        return pool;
    close_pool(pool);
    return NULL;
}

static struct vhdx_io io_of(struct pool *pool)
{
    struct vhdx_io io = VHDX_IO_INIT;

    io.opaque = pool;
    io.pread = remote_read;
    io.size = remote_size;
    io.close = close_pool;
    return io;
}

static bool open_source(const struct place *place, const char *name, struct vhdx_disk **ret,
                        char ret_reason[REMOTE_REASON_TEXT])
{
    struct pool *pool = open_pool(place, ret_reason);
    struct vhdx_error err;

    if (!pool)
        return false;
    struct vhdx_io io = io_of(pool);
    if (vhdx_disk_custom(&io, remote_extents, name, ret, &err) == 0)
        return true;
    snprintf(ret_reason, REMOTE_REASON_TEXT, "%s", err.message);
    return false;
}

static bool open_target(const struct place *place, struct vhdx_io *ret,
                        char ret_reason[REMOTE_REASON_TEXT])
{
    struct pool *pool = open_pool(place, ret_reason);

    if (!pool)
        return false;
    *ret = io_of(pool);
    ret->pwrite = remote_write;
    ret->zero = remote_zero;
    ret->flush = remote_flush;
    return true;
}

bool remote_open_source(const char *uri, const char *name, unsigned connections,
                        struct vhdx_disk **ret)
{
    struct place place = { .uri = uri, .count = remote_connections(connections) };
    char reason[REMOTE_REASON_TEXT];
    bool fine = open_source(&place, name, ret, reason);

    if (!fine)
        report("%s: %s", name, reason);
    return fine;
}

bool remote_open_target(const char *uri, const char *name, unsigned connections,
                        struct vhdx_io *ret)
{
    struct place place = { .uri = uri, .count = remote_connections(connections), .writes = true };
    char reason[REMOTE_REASON_TEXT];
    bool fine = open_target(&place, ret, reason);

    if (!fine)
        report("%s: %s", name, reason);
    return fine;
}

bool remote_adopt_source(const int *sockets, unsigned count, const char *name,
                         struct vhdx_disk **ret, char ret_reason[REMOTE_REASON_TEXT])
{
    struct place place = { .sockets = sockets, .count = count };

    return open_source(&place, name, ret, ret_reason);
}

bool remote_adopt_target(const int *sockets, unsigned count, struct vhdx_io *ret,
                         char ret_reason[REMOTE_REASON_TEXT])
{
    struct place place = { .sockets = sockets, .count = count, .writes = true };

    return open_target(&place, ret, ret_reason);
}
