/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Random changes through the public API, against a copy of the disk in memory.
 *
 *     test-model [--seed N] [--ops N] [--only NAME] [--trace]
 *
 * Each image of the table below lives through a share of the operations: writes, zeros, trims,
 * reads, walks, flushes, ends of sessions, closing and opening again, with and without a
 * vhdx_finish() before. Large disks are changed in windows only: around the beginning, a chunk
 * boundary and the end. Files are not flushed for real; what a crash leaves is tested elsewhere.
 *
 * The model is the content, and per sector whether this image has ever held it: a trim turns held
 * sectors into zeros and leaves all others as they are.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vhdx.h>

#include "bytes.h"
#include "io-order.h"
#include "layer.h"

#define DEFAULT_OPS 110000
#define WINDOWS_MAX 3
#define LONG_OP (3 * M)

struct spec {
    const char *name;
    uint32_t type;
    uint32_t sector;
    uint64_t block, size;
    uint64_t parent_size, grandparent_size; /* 0: there is none */
    enum file_kind file;
    uint64_t window;                        /* 0: all of the disk is changed */
};

static const struct spec specs[] = {
    { "dynamic-512-1m", 2, 512, M, 9 * M + 512, 0, 0, PLAIN, 0 },
    { "dynamic-4096-2m", 2, 4096, 2 * M, 11 * M + 4096, 0, 0, PLAIN, 0 },
    { "dynamic-bare", 2, 512, M, 7 * M + 1536, 0, 0, BARE, 0 },
    { "dynamic-refuses", 2, 4096, M, 6 * M + 8192, 0, 0, REFUSES, 0 },
    { "dynamic-memory", 2, 512, 2 * M, 9 * M - 512, 0, 0, MEMORY, 0 },
    { "dynamic-32m", 2, 512, 32 * M, 70 * M + 512, 0, 0, PLAIN, 0 },
    { "dynamic-two-chunks", 2, 512, M, 4 * G + 5 * M + 512, 0, 0, PLAIN, 3 * M },
    { "fixed-512", 1, 512, M, 6 * M + 512, 0, 0, PLAIN, 0 },
    { "fixed-4096-8m", 1, 4096, 8 * M, 19 * M + 4096, 0, 0, PLAIN, 0 },
    { "fixed-bare", 1, 512, 2 * M, 5 * M + 512, 0, 0, BARE, 0 },
    { "fixed-memory", 1, 4096, M, 3 * M, 0, 0, MEMORY, 0 },
    { "child-512-1m", 3, 512, M, 9 * M + 512, 9 * M + 512, 0, PLAIN, 0 },
    { "child-4096-2m", 3, 4096, 2 * M, 11 * M, 11 * M, 0, PLAIN, 0 },
    { "child-larger", 3, 512, M, 9 * M + 512, 5 * M + 1024, 0, PLAIN, 0 },
    { "child-smaller", 3, 512, 2 * M, 5 * M + 512, 12 * M, 0, PLAIN, 0 },
    { "child-bare", 3, 512, M, 5 * M + 512, 7 * M, 0, BARE, 0 },
    { "child-depth-2", 3, 512, M, 8 * M + 512, 6 * M + 512, 7 * M, PLAIN, 0 },
    { "child-4096-depth-2", 3, 4096, M, 6 * M, 8 * M, 5 * M, REFUSES, 0 },
    { "child-32m", 3, 512, 32 * M, 66 * M, 40 * M, 0, PLAIN, 0 },
    { "child-two-chunks", 3, 512, M, 4 * G + 6 * M + 512, 4 * G + 3 * M, 0, PLAIN, 3 * M },
};

/* One image under test. */
struct subject {
    const struct spec *spec;
    const char *name;          /* of the file */
    char path[512];
    const char *parent_path;   /* NULL: none */
    uint64_t size;
    uint8_t *bytes;            /* the model's content */
    uint8_t *held;             /* one per sector */
    size_t sectors;
    uint64_t windows[WINDOWS_MAX];
    unsigned windows_count;
    uint64_t window;           /* length of each */
    struct vhdx *v;
    struct vhdx_io file;       /* what keeps the bytes: below the layer */
    struct order order;
    uint8_t *buf;              /* for reads, of 'window' bytes */
    uint8_t *data;             /* to write */
    uint64_t random;
    uint64_t op;               /* number of the operation */
};

static uint64_t seed = 20240229;
static bool trace;
static char folder[256];

static void fail_at(const struct subject *s, const char *what, uint64_t at,
                    const struct vhdx_error *err)
{
    fprintf(stderr, "%s, operation %" PRIu64 ", seed %" PRIu64 ": %s at %#" PRIx64 "%s%s\n",
            s->spec->name, s->op, seed, what, at, err ? ": " : "", err ? err->message : "");
    exit(1);
}

static void check(const struct subject *s, int r, const char *what, uint64_t at,
                  const struct vhdx_error *err)
{
    if (r < 0)
        fail_at(s, what, at, err);
}

static uint64_t rnd(struct subject *s, uint64_t below)
{
    uint64_t high = next_random(&s->random);

    return (high << 31 | next_random(&s->random)) % below;
}

/* ---- The model ------------------------------------------------------------------------------ */

static void *reserve(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

/* Writes; data NULL: zeros. Zeros need not be held by the file where a parent has nothing, but then
   a trim leaves zeros either way. */
static void model_put(struct subject *s, const uint8_t *data, uint64_t len, uint64_t at)
{
    uint64_t sector = s->spec->sector;

    if (len == 0)
        return;
    if (data)
        memcpy(s->bytes + at, data, len);
    else
        memset(s->bytes + at, 0, len);
    memset(s->held + at / sector, 1, (at + len - 1) / sector - at / sector + 1);
}

static void model_trim(struct subject *s, uint64_t len, uint64_t at)
{
    uint64_t sector = s->spec->sector, end = at + len;

    for (uint64_t next; at < end; at = next) {
        next = (at / sector + 1) * sector;
        next = next < end ? next : end;
        if (s->held[at / sector])
            memset(s->bytes + at, 0, next - at);
    }
}

static void model_inherit(struct subject *s, const struct subject *parent, uint64_t at,
                          uint64_t len)
{
    uint64_t size = s->size < parent->size ? s->size : parent->size;

    if (at < size)
        memcpy(s->bytes + at, parent->bytes + at, len < size - at ? len : size - at);
}

/* The first byte that differs. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    uint64_t i = 0;

    while (i < len && a[i] == b[i])
        i++;
    return i;
}

static bool is_zero(const uint8_t *p, uint64_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static void compare(struct subject *s, struct vhdx *v, uint64_t at, uint64_t len, const char *what)
{
    struct vhdx_error err;

    check(s, vhdx_pread(v, s->buf, len, at, &err), what, at, &err);
    if (memcmp(s->buf, s->bytes + at, len) == 0)
        return;
    uint64_t i = first_difference(s->buf, s->bytes + at, len);
    fprintf(stderr, "found %#x, must be %#x, sector %s\n", s->buf[i], s->bytes[at + i],
            s->held[(at + i) / s->spec->sector] ? "held" : "not held");
    fail_at(s, what, at + i, NULL);
}

/* ---- Extents -------------------------------------------------------------------------------- */

struct walk {
    struct subject *s;
    uint64_t next;
    bool read_file; /* the file holds what was written: compare with it */
};

static void check_data(struct walk *w, const struct vhdx_extent *e)
{
    struct subject *s = w->s;

    for (uint64_t done = 0, n; done < e->length; done += n) {
        n = e->length - done < s->window ? e->length - done : s->window;
        if (s->file.pread(s->file.opaque, s->buf, n, e->file_offset + done) < 0)
            fail_at(s, "extent past the end of the file", e->offset, NULL);
        if (memcmp(s->buf, s->bytes + e->offset + done, n) != 0)
            fail_at(s, "extent: file differs", e->offset + done, NULL);
    }
}

static int check_extent(const struct vhdx_extent *e, void *opaque)
{
    struct walk *w = opaque;
    struct subject *s = w->s;
    uint64_t sector = s->spec->sector;

    if (e->offset != w->next || e->length == 0)
        fail_at(s, "gap between extents", e->offset, NULL);
    w->next += e->length;
    if (e->kind != VHDX_EXTENT_DATA && !is_zero(s->bytes + e->offset, e->length))
        fail_at(s, "extent of zeros holds data", e->offset, NULL);
    if ((e->kind == VHDX_EXTENT_DATA) != (e->file_offset != VHDX_OFFSET_NONE))
        fail_at(s, "extent's file_offset", e->offset, NULL);
    for (uint64_t i = e->offset / sector; e->depth > 0 && e->kind == VHDX_EXTENT_DATA &&
         i < (e->offset + e->length + sector - 1) / sector; i++)
        if (s->held[i])
            fail_at(s, "the parent's extent where this image has written", i * sector, NULL);
    if (w->read_file && e->kind == VHDX_EXTENT_DATA && e->depth == 0)
        check_data(w, e);
    return 0;
}

static void walk(struct subject *s, struct vhdx *v, uint64_t at, uint64_t len, bool read_file)
{
    struct walk w = { s, at, read_file };
    struct vhdx_error err;

    check(s, vhdx_extents(v, at, len, check_extent, &w, &err), "extents", at, &err);
    if (w.next != at + len)
        fail_at(s, "extents end early", w.next, NULL);
}

/* ---- Sessions ------------------------------------------------------------------------------- */

static void open_subject(struct subject *s)
{
    struct vhdx_open_options o = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_io io = layer_over(&s->file, s->spec->file);
    struct vhdx_error err;

    o.parents = &s->parent_path;
    o.parents_count = s->parent_path ? 1 : 0;
    order_wrap(&s->order, &io); /* every write of every session in the order of the rules */
    check(s, vhdx_open_io(&io, VHDX_OPEN_RDWR, &o, &s->v, &err), "opening", 0, &err);
}

static void check_counts(struct subject *s, struct vhdx *v)
{
    struct vhdx_stats st = VHDX_STATS_INIT;
    struct vhdx_error err;
    uint64_t file_size;

    check(s, vhdx_get_stats(v, &st, &err), "vhdx_get_stats", 0, &err);
    if (st.not_present + st.undefined + st.zero + st.unmapped + st.fully_present +
        st.partially_present != st.payload_blocks ||
        st.payload_blocks != (s->size + s->spec->block - 1) / s->spec->block)
        fail_at(s, "the counts do not add up", st.payload_blocks, NULL);
    if (st.lost_blocks || st.cut_blocks || (st.partially_present > 0 && st.bitmap_blocks == 0))
        fail_at(s, "blocks without space", st.lost_blocks, NULL);
    if (!s->parent_path && (st.bitmap_blocks || st.partially_present))
        fail_at(s, "sector bitmaps without a parent", st.bitmap_blocks, NULL);
    if (s->spec->type == VHDX_TYPE_FIXED && st.fully_present != st.payload_blocks)
        fail_at(s, "a fixed image lost blocks", st.fully_present, NULL);
    s->file.size(s->file.opaque, &file_size);
    if (file_size % M || file_size < st.required_file_size)
        fail_at(s, "file size", file_size, NULL);
    /* The disk's last block is required only as far as the disk reaches. */
    if (st.anchored_blocks == 0 && file_size - st.required_file_size >= s->spec->block)
        fail_at(s, "slack was not cut off: file size", file_size, NULL);
}

static void compare_all(struct subject *s, struct vhdx *v, const char *what)
{
    for (unsigned i = 0; i < s->windows_count; i++)
        compare(s, v, s->windows[i], s->window, what);
}

/* What must hold after vhdx_finish(), through this handle and a new one. */
static void check_finished(struct subject *s)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;
    struct vhdx *v = NULL;

    check_counts(s, s->v);
    for (unsigned i = 0; i < s->windows_count; i++)
        walk(s, s->v, s->windows[i], s->window, true);
    if (s->spec->file == MEMORY)
        return;
    check(s, vhdx_open(s->path, VHDX_OPEN_RDONLY | VHDX_OPEN_NO_LOCK, NULL, &v, &err),
          "opening what was finished", 0, &err);
    check(s, vhdx_get_info(v, &info, &err), "vhdx_get_info", 0, &err);
    if (info.log_state != VHDX_LOG_CLEAN || !info.headers[0].valid || !info.headers[1].valid ||
        strcmp(info.log_guid, "00000000-0000-0000-0000-000000000000") != 0)
        fail_at(s, "the log is not clean", 0, NULL);
    check_counts(s, v);
    compare_all(s, v, "finished content");
    vhdx_close(v);
}

static void end_session(struct subject *s, bool finish)
{
    struct vhdx_error err;

    if (trace)
        printf("%" PRIu64 " %s, close, open\n", s->op, finish ? "finish" : "flush");
    if (finish) {
        check(s, vhdx_finish(s->v, &err), "finish", 0, &err);
        check_finished(s);
    } else {
        check(s, vhdx_flush(s->v, &err), "flush", 0, &err);
    }
    if (s->spec->file == MEMORY) /* closing would free the bytes */
        return;
    vhdx_close(s->v);
    open_subject(s);
    compare_all(s, s->v, finish ? "content opened again" : "content replayed");
}

/* ---- Operations ----------------------------------------------------------------------------- */

/* Somewhere in a window, with a taste for the boundaries of sectors, blocks and the disk. */
static void pick_range(struct subject *s, uint64_t *ret_at, uint64_t *ret_len)
{
    uint64_t start = s->windows[rnd(s, s->windows_count)], block = s->spec->block;
    uint64_t at = rnd(s, s->window), unit = rnd(s, 2) ? s->spec->sector : 1, len;

    switch (rnd(s, 40)) {
    case 0: len = 1 + rnd(s, LONG_OP), unit = 1; break;
    case 1: len = block, unit = rnd(s, 30) || block < 9 * M ? block : 4096; break;
    case 2: len = 64 * K, unit = 64 * K; break;
    case 3: case 4: len = 1 + rnd(s, 300 * K); break;
    case 5: case 6: case 7: case 8: len = 4096, unit = 4096; break;
    case 9: case 10: len = 1 + rnd(s, 100), at = at / block * block + block - 50; break;
    case 11: len = 1 + rnd(s, 5000), at = s->window - 1 - rnd(s, 5000); break;
    case 12: len = 0; break;
    default: len = 1 + rnd(s, 20 * K); break;
    }
    if (len == block && block > 9 * M && rnd(s, 8))
        len = 4096, unit = 4096;
    at = (start + at) / unit * unit;
    if (len > unit && len < block)
        len = len / unit * unit;
    at = at < s->size ? at : s->size - 1;
    *ret_at = at;
    *ret_len = len < s->size - at ? len : s->size - at;
}

static void fill(struct subject *s, uint64_t len)
{
    uint64_t skip = rnd(s, 4096) * 8;

    for (uint64_t i = 0; i < len; i += 64)
        s->data[i] = (uint8_t)(skip + i * 7 + s->op);
    if (len >= 8)
        put64(s->data, s->op << 20 | skip);
}

static void change(struct subject *s, unsigned what)
{
    uint32_t flags = rnd(s, 50) == 0 ? VHDX_FUA : 0;
    struct vhdx_error err;
    uint64_t at, len;

    pick_range(s, &at, &len);
    if (trace)
        printf("%" PRIu64 " %s %#" PRIx64 " +%#" PRIx64 " flags %u\n", s->op,
               what < 6 ? "pwrite" : what < 8 ? "zero" : "trim", at, len, flags);
    if (what < 6) {
        fill(s, len);
        check(s, vhdx_pwrite(s->v, s->data, len, at, flags, &err), "pwrite", at, &err);
        model_put(s, s->data, len, at);
    } else if (what < 8) {
        check(s, vhdx_zero(s->v, len, at, flags, &err), "zero", at, &err);
        model_put(s, NULL, len, at);
    } else {
        check(s, vhdx_trim(s->v, len, at, flags, &err), "trim", at, &err);
        model_trim(s, len, at);
    }
    /* The range and what surrounds it. */
    uint64_t low = at < 5000 ? 0 : at - 5000;
    uint64_t high = at + len + 5000 < s->size ? at + len + 5000 : s->size;
    if (high - low <= s->window && (high - low < 64 * K || rnd(s, 4) == 0))
        compare(s, s->v, low, high - low, what < 6 ? "after pwrite" : what < 8 ? "after zero" :
                "after trim");
}

static void look(struct subject *s)
{
    uint64_t at, len;

    pick_range(s, &at, &len);
    if (rnd(s, 3))
        compare(s, s->v, at, len < s->window ? len : s->window, "pread");
    else
        walk(s, s->v, at, len, false);
}

static void step(struct subject *s)
{
    uint64_t dice = rnd(s, 1000);
    struct vhdx_error err;

    s->op++;
    if (dice < 700)
        change(s, (unsigned)rnd(s, 10));
    else if (dice < 960)
        look(s);
    else if (dice < 993)
        check(s, vhdx_flush(s->v, &err), "flush", 0, &err);
    else if (dice < 997)
        compare_all(s, s->v, "all");
    else if (s->op % 3 == 0 || s->size < 20 * M)
        end_session(s, rnd(s, 2));
}

/* ---- Images --------------------------------------------------------------------------------- */

static void choose_windows(struct subject *s)
{
    uint64_t near_chunk = 4 * G - M - M / 2;

    s->window = s->spec->window && s->size > G ? s->spec->window : s->size;
    s->windows[0] = 0;
    s->windows_count = 1;
    if (s->window < s->size) {
        s->windows[s->windows_count++] = near_chunk;
        s->windows[s->windows_count++] = s->size - s->window;
    }
}

static void create(struct subject *s, const char *name, const struct subject *parent)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    uint32_t type = parent ? VHDX_TYPE_DIFFERENCING
                           : s->spec->type == VHDX_TYPE_FIXED ? VHDX_TYPE_FIXED : VHDX_TYPE_DYNAMIC;
    struct vhdx_error err;

    o.type = type;
    o.size = s->size;
    o.block_size = (uint32_t)s->spec->block;
    o.logical_sector_size = parent ? 0 : s->spec->sector;
    o.flags = VHDX_CREATE_REPLACE;
    o.parent_path = parent ? parent->path : NULL;
    snprintf(s->path, sizeof s->path, "%s/%s-%s.vhdx", folder, s->spec->name, name);
    if (s->spec->file == MEMORY) {
        check(s, vhdx_io_memory(NULL, 0, &s->file, &err), "memory", 0, &err);
        check(s, vhdx_create_io(&s->file, &o, &err), "vhdx_create_io", 0, &err);
        return;
    }
    check(s, vhdx_create(s->path, &o, &err), "vhdx_create", 0, &err);
    check(s, vhdx_io_file(s->path, VHDX_OPEN_RDWR, &s->file, &err), "vhdx_io_file", 0, &err);
}

/* An image over a parent (NULL: none), with a share of the operations done to it. */
static struct subject *make(const struct spec *spec, const char *name, uint64_t size,
                            const struct subject *parent, uint64_t ops)
{
    struct subject *s = calloc(1, sizeof *s);

    *s = (struct subject){ .spec = spec, .name = name, .size = size };
    s->random = seed * 1000 + (uint64_t)(spec - specs) * 10 + (parent != NULL);
    s->sectors = (size / spec->sector) + 1;
    s->bytes = reserve(size);
    s->held = reserve(s->sectors);
    choose_windows(s);
    s->buf = reserve(s->window + 1);
    s->data = reserve((s->window > LONG_OP ? s->window : LONG_OP) + 64);
    if (parent) {
        s->parent_path = parent->path;
        for (unsigned i = 0; i < parent->windows_count; i++)
            model_inherit(s, parent, parent->windows[i] < M ? 0 : parent->windows[i] - M,
                          parent->window + 2 * LONG_OP);
    }
    create(s, name, parent);
    open_subject(s);
    for (uint64_t i = 0; i < ops; i++)
        step(s);
    s->op++;
    struct vhdx_error err;
    check(s, vhdx_finish(s->v, &err), "finish", 0, &err);
    check_finished(s);
    vhdx_close(s->v);
    s->file.close(s->file.opaque); /* and with it the lock */
    return s;
}

static void end(struct subject *s)
{
    if (!s)
        return;
    unlink(s->path);
    munmap(s->bytes, s->size);
    munmap(s->held, s->sectors);
    munmap(s->buf, s->window + 1);
    munmap(s->data, (s->window > LONG_OP ? s->window : LONG_OP) + 64);
    order_end(&s->order);
    free(s);
}

static void run(const struct spec *spec, uint64_t ops)
{
    struct subject *grandparent = NULL, *parent = NULL;
    uint64_t below = ops / 10;

    if (spec->grandparent_size)
        grandparent = make(spec, "grandparent", spec->grandparent_size, NULL, below);
    if (spec->parent_size)
        parent = make(spec, "parent", spec->parent_size, grandparent, below);
    end(make(spec, "disk", spec->size, parent, ops - (parent != NULL) * below));
    end(parent);
    end(grandparent);
}

int main(int argc, char **argv)
{
    const char *base = getenv("TMPDIR"), *only = NULL;
    uint64_t ops = DEFAULT_OPS, done = 0;

    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && strcmp(argv[i], "--seed") == 0 &&
            sscanf(argv[++i], "%" SCNu64, &seed) == 1)
            continue;
        if (i + 1 < argc && strcmp(argv[i], "--ops") == 0 &&
            sscanf(argv[++i], "%" SCNu64, &ops) == 1)
            continue;
        if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
            only = argv[++i];
            continue;
        }
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
            continue;
        }
        fprintf(stderr, "usage: %s [--seed N] [--ops N] [--only NAME] [--trace]\n", argv[0]);
        return 2;
    }
    snprintf(folder, sizeof folder, "%s/vhdx-model-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        return 2;
    printf("seed %" PRIu64 ", %" PRIu64 " operations, in %s\n", seed, ops, folder);
    fflush(stdout);
    for (size_t i = 0; i < COUNT(specs); i++) {
        if (only && strcmp(only, specs[i].name) != 0)
            continue;
        run(&specs[i], ops / COUNT(specs));
        done += ops / COUNT(specs);
    }
    rmdir(folder);
    printf("%" PRIu64 " operations, all as the model\n", done);
    return done > 0 ? 0 : 2;
}
