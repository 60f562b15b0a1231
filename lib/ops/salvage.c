/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Saving what is left of a disk; see salvage.h. Layers of files make a damaged image readable:
 *
 *     file        the image, read only
 *     tolerant    what the disk below cannot read is zeros, and remembered
 *     scratch     the repair's changes, in memory
 *
 * Everything that is not what the image held is listed as lost, and is zeros: blocks that the
 * repair gave up; what could not be read, or lies past the file's end; what entries or bitmap bits
 * that could not be read would tell of; what a parent should supply that is not there.
 */

#include "ops/salvage.h"

#include <stdlib.h>

#include "core/handle.h"
#include "core/map.h"
#include "core/read.h"
#include "core/table.h"
#include "core/write.h"
#include "io/outfile.h"
#include "io/scratch.h"
#include "io/tolerant.h"
#include "ops/info.h"
#include "ops/repair.h"
#include "ops/stream.h"
#include "util/cleanup.h"
#include "util/iszero.h"

/* What is zero in data is left out at this granularity, the block of most file systems. */
#define GRAIN (4 * KIB)

struct salvage {
    const struct salvage_job *job;
    const char *path;
    const struct vhdx_salvage_options *opts;
    struct vhdx_io file, tolerant, scratch;
    uint64_t file_end;    /* what lies behind it in the file was cut off */
    struct ranges lost;   /* of the disk */
    struct ranges hidden[LIMIT_CHAIN_LENGTH]; /* of the disk: what the image of each depth, and
                             those below it, show must not be believed */
    bool is_log_lost;     /* a log was given up that may have held changes */
    bool is_out_of_memory;
    struct vhdx *v;
    struct outfile *out;
    struct vhdx *image; /* what out becomes, if that is an image */
};

static void add_range(struct salvage *s, struct ranges *set, uint64_t offset, uint64_t len)
{
    if (len == 0)
        return;
    if (ranges_reserve(set) < 0)
        s->is_out_of_memory = true;
    else
        ranges_add(set, offset, offset + len);
}

static void add_lost(struct salvage *s, uint64_t offset, uint64_t len)
{
    add_range(s, &s->lost, offset, len);
}

/* ---- Mending in memory ---------------------------------------------------------------------- */

static int open_layers(struct salvage *s, struct vhdx_error *err)
{
    bool supported;

    int r = file_open(s->path, false, &s->file, err);
    if (r == 0)
        r = file_lock(&s->file, &supported, err);
    if (r == 0)
        r = tolerant_open(&s->file, &s->tolerant, err);
    if (r == 0)
        r = scratch_open(&s->tolerant, &s->scratch, err);
    return r;
}

static void on_action(const struct vhdx_action *action, void *opaque)
{
    struct salvage *s = opaque;

    add_lost(s, action->lost_offset, action->lost_length);
    switch (action->problem) {
    case VHDX_P_LOG_BROKEN:
    case VHDX_P_LOG_FORBIDDEN:
    case VHDX_P_LOG_LOST:
    case VHDX_P_HEADERS_LOST:
    case VHDX_P_HEADER_LOG_PLACE:
        s->is_log_lost = true;
        break;
    default:
        break;
    }
}

/* Where the file ends, its log replayed: a log may let it grow. */
static int find_end(struct salvage *s, struct vhdx_error *err)
{
    const struct vhdx_check_options quiet = { .struct_size = sizeof quiet,
                                              .flags = VHDX_CHECK_NO_PARENT };
    struct check check = { .io = &s->scratch, .holes = &s->file, .opts = &quiet };

    int r = check_run(&check, err);
    if (r == 0)
        s->file_end = check.image ? image_size(check.image) : check.result.file_size;
    check_end(&check);
    return r;
}

static int prepare(struct salvage *s, struct vhdx_error *err)
{
    const struct ranges *lost = NULL;

    int r = s->job->prepare(&s->file, &s->scratch, &s->file_end, &lost, s->job->opaque, err);
    for (size_t i = 0; r == 0 && lost && i < lost->count; i++) {
        uint64_t start = lost->items[i].start, len = lost->items[i].end - start;
        add_lost(s, start, len);
        add_range(s, &s->hidden[0], start, len);
    }
    return r;
}

static int mend(struct salvage *s, struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    const struct vhdx_check_options quiet = { .struct_size = sizeof quiet,
                                              .flags = VHDX_CHECK_NO_PARENT };
    const struct vhdx_repair_options opts = { .struct_size = sizeof opts, .check = &quiet,
                                              .action = on_action, .opaque = s };
    struct repair repair = { .io = &s->scratch, .holes = &s->file, .opts = &opts,
                             .level = VHDX_REPAIR_ALL };

    int r = s->job->prepare ? prepare(s, err) : find_end(s, err);
    return r < 0 ? r : repair_run(&repair, ret, err);
}

/* The files of the parents: locked, and tolerant too. */
static int open_parent_layer(struct vhdx_io *io, void *opaque, struct vhdx_error *err)
{
    struct vhdx_io file = *io;
    bool supported;

    (void)opaque;
    int r = file_lock(&file, &supported, err);
    if (r < 0) {
        io_close(&file);
        return r;
    }
    return tolerant_adopt(&file, io, err);
}

static int open_mended(struct salvage *s, struct vhdx_error *err)
{
    static const struct vhdx_open_options defaults = VHDX_OPEN_OPTIONS_INIT;
    static const struct image_layer parent_layer = { .open = open_parent_layer };
    const struct vhdx_open_options *opts = s->opts->open_options;
    struct vhdx_io borrowed = s->scratch;
    struct image *img;

    borrowed.close = NULL;
    int r = image_open_io(&borrowed, &img, err);
    if (r < 0)
        return r;
    img->path = strdup(s->path); /* its folder is where the parent may be */
    return handle_open_layered(img, &parent_layer, VHDX_OPEN_PARTIAL_CHAIN | s->job->open_flags,
                               opts ? opts : &defaults, &s->v, err);
}

/* ---- What the image does not tell any more -------------------------------------------------- */

/* The file of the image at a depth, as far as it could be read. */
static const struct vhdx_io *tolerant_file(const struct salvage *s, uint32_t depth)
{
    return depth == 0 ? &s->tolerant : &s->v->chain.images[depth]->io;
}

/* Entries of the BAT that could not be read. */
static void hide_unread_entries(struct salvage *s, uint32_t depth)
{
    const struct image *img = s->v->chain.images[depth];
    uint64_t start = image_bat_region(img)->offset;
    uint64_t end = start + img->geometry.bat_entries * BAT_ENTRY_SIZE;
    struct range bad;

    for (uint64_t at = start; tolerant_next_bad(tolerant_file(s, depth), at, end, &bad);
         at = bad.end) {
        uint64_t last = (bad.end - 1 - start) / BAT_ENTRY_SIZE, offset, len;
        for (uint64_t i = (bad.start - start) / BAT_ENTRY_SIZE; i <= last; i++) {
            check_block_range(&img->geometry, i, &offset, &len);
            add_range(s, &s->hidden[depth], offset, len);
        }
    }
}

/* Bits of a partially present block's bitmap that could not be read. */
static void hide_unread_bits(struct salvage *s, uint32_t depth, uint64_t block,
                             uint64_t bitmap_offset)
{
    const struct geometry *g = &s->v->chain.images[depth]->geometry;
    uint32_t shift = g->sector_shift + 3; /* a byte of the bitmap describes 8 sectors */
    uint64_t bytes = UINT64_C(1) << (g->block_shift - shift);
    uint64_t start = bitmap_offset + (block & ((UINT64_C(1) << g->chunk_shift) - 1)) * bytes;
    struct range bad;

    for (uint64_t at = start;
         tolerant_next_bad(tolerant_file(s, depth), at, start + bytes, &bad); at = bad.end) {
        uint64_t offset = (block << g->block_shift) + ((bad.start - start) << shift);
        uint64_t len = (bad.end - bad.start) << shift;
        if (offset < g->virtual_size)
            add_range(s, &s->hidden[depth], offset, min_u64(len, g->virtual_size - offset));
    }
}

/* Reads all of an image's tables, so that what of them cannot be read is known. */
static int hide_unread_tables(struct salvage *s, uint32_t depth, struct vhdx_error *err)
{
    struct image *img = s->v->chain.images[depth];
    CLEANUP_FREE uint8_t *buf = malloc(BITMAP_BLOCK_SIZE);
    struct table_window window = { 0 };
    uint64_t entry, bitmap = 0, read = UINT64_MAX;
    int r = buf ? 0 : fail_nomem(err);

    for (uint64_t block = 0; block < img->geometry.payload_blocks && r == 0; block++) {
        r = table_bat_entry(img, &window, bat_index_of_block(&img->geometry, block), &entry, err);
        if (r < 0 || bat_state(entry) != BLOCK_PARTIALLY_PRESENT)
            continue;
        r = table_bitmap_entry(img, &window, block, &bitmap, err);
        if (r == 0 && bat_file_offset(bitmap) != read) {
            read = bat_file_offset(bitmap);
            r = image_pread(img, "sector bitmap block", buf, BITMAP_BLOCK_SIZE, read, err);
        }
        if (r == 0)
            hide_unread_bits(s, depth, block, read);
    }
    table_window_end(&window);
    if (r == 0)
        hide_unread_entries(s, depth);
    return r;
}

/* What of an extent must not be believed: an image above the one that decided, or that one, may
   have said something else. */
static int on_extent(const struct vhdx_extent *e, void *opaque)
{
    struct salvage *s = opaque;
    const struct chain *c = &s->v->chain;
    bool is_whole = !c->images[c->count - 1]->metadata.has_parent;
    uint64_t end = e->offset + e->length;
    struct range hidden;

    /* What the parent that is not there should supply. */
    if (!is_whole && e->kind == VHDX_EXTENT_HOLE && e->depth + 1 >= c->count)
        add_lost(s, e->offset, e->length);
    for (uint32_t d = 0; d <= e->depth && d < c->count; d++)
        for (uint64_t at = e->offset; ranges_next(&s->hidden[d], at, end, &hidden);
             at = hidden.end)
            add_lost(s, hidden.start, hidden.end - hidden.start);
    return 0;
}

static void tell_of_parent(const struct salvage *s)
{
    const struct chain *c = &s->v->chain;
    struct vhdx_link link;

    if (c->link_count == c->count || !s->opts->parent_lost)
        return;
    info_link(s->v, c->count, &link);
    link.struct_size = sizeof link;
    s->opts->parent_lost(&link, s->opts->opaque);
}

static int find_untold(struct salvage *s, struct vhdx_error *err)
{
    const struct chain *c = &s->v->chain;
    int r = 0;

    tell_of_parent(s);

    for (uint32_t d = 0; d < c->count && r == 0; d++)
        r = hide_unread_tables(s, d, err);
    return r < 0 ? r : map_walk(c, 0, c->images[0]->geometry.virtual_size, on_extent, s, err);
}

/* ---- Copying -------------------------------------------------------------------------------- */

/* What of a piece was cut off its file, or could not be read. */
static void note_losses(struct salvage *s, const struct vhdx_extent *piece)
{
    uint64_t end = piece->file_offset + piece->length, shift = piece->offset - piece->file_offset;
    uint64_t file_end =
        piece->depth == 0 ? s->file_end : image_size(s->v->chain.images[piece->depth]);
    uint64_t cut = max_u64(piece->file_offset, file_end);
    struct range bad;

    if (cut < end)
        add_lost(s, cut + shift, end - cut);
    for (uint64_t at = piece->file_offset;
         tolerant_next_bad(tolerant_file(s, piece->depth), at, end, &bad); at = bad.end)
        add_lost(s, bad.start + shift, bad.end - bad.start);
}

static int read_piece(const struct chain *c, const struct vhdx_extent *piece, void *buf,
                      void *opaque, struct vhdx_error *err)
{
    struct salvage *s = opaque;
    uint64_t end = piece->offset + piece->length;
    struct range hidden;

    int r = chain_read_extent(c, piece, buf, err);
    if (r == -VHDX_E_TRUNCATED) { /* a parent's block that lies past the end of its file */
        memset(buf, 0, (size_t)piece->length);
        add_lost(s, piece->offset, piece->length);
        return 0;
    }
    if (r < 0)
        return r;
    note_losses(s, piece);
    for (uint32_t d = 0; d <= piece->depth; d++)
        for (uint64_t at = piece->offset; ranges_next(&s->hidden[d], at, end, &hidden);
             at = hidden.end)
            memset((uint8_t *)buf + (hidden.start - piece->offset), 0,
                   (size_t)(hidden.end - hidden.start));
    return 0;
}

static int write_piece(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
                       struct vhdx_error *err)
{
    const struct salvage *s = opaque;
    size_t start, end = 0;
    int r = 0;

    if (s->is_out_of_memory)
        return fail_nomem(err);
    while (buf && r == 0 && next_nonzero(buf, (size_t)len, offset, GRAIN, &start, &end))
        r = s->image ? chain_write(&s->image->chain, buf + start, end - start, offset + start, err)
                     : outfile_pwrite(s->out, buf + start, end - start, offset + start, err);
    return r;
}

/* The disk into the output, which is open. */
static int copy_disk(struct salvage *s, struct vhdx_error *err)
{
    const struct chain *c = &s->v->chain;
    int r = 0;

    if (s->job->format == VHDX_FORMAT_VHDX)
        r = salvage_image_begin(s->out, &c->images[0]->metadata, &s->image, err);
    if (r == 0)
        r = stream_disk(c, &s->opts->progress, read_piece, write_piece, s, err);
    if (r == 0 && s->is_out_of_memory)
        r = fail_nomem(err);
    if (s->image) {
        int e = salvage_image_end(s->image, r == 0, r == 0 ? err : NULL);
        r = r == 0 ? e : r;
    }
    return r;
}

static int copy(struct salvage *s, const char *out_path, struct vhdx_error *err)
{
    const struct chain *c = &s->v->chain;
    bool is_raw = s->job->format != VHDX_FORMAT_VHDX;
    struct file_id ids[LIMIT_CHAIN_LENGTH + 1]; /* the image first: messages name it so */
    bool has_id = file_get_id(&s->file, &ids[0]);
    size_t count = chain_file_ids(c, ids + has_id) + has_id;

    int r = outfile_open(out_path, is_raw ? c->images[0]->geometry.virtual_size : 0,
                         s->opts->flags & VHDX_CONVERT_REPLACE, "the input", ids, count, &s->out,
                         err);
    if (r < 0)
        return r;
    r = copy_disk(s, err);
    if (r < 0) {
        outfile_discard(s->out);
        return r;
    }
    return outfile_commit(s->out, err);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void tell(const struct salvage *s, struct vhdx_salvage_result *ret)
{
    for (size_t i = 0; i < s->lost.count; i++) {
        const struct vhdx_lost_range range = {
            .struct_size = sizeof range,
            .offset = s->lost.items[i].start,
            .length = s->lost.items[i].end - s->lost.items[i].start,
        };
        ret->lost_bytes += range.length;
        if (s->opts->lost)
            s->opts->lost(&range, s->opts->opaque);
    }
    ret->lost_ranges = s->lost.count;
}

static int run(struct salvage *s, const char *out_path, struct vhdx_salvage_result *ret,
               struct vhdx_error *err)
{
    struct vhdx_repair_result repaired;

    int r = open_layers(s, err);
    if (r == 0)
        r = mend(s, &repaired, err);
    if (r < 0) {
        fail_prefix(err, "%s: ", s->path);
        return r;
    }
    r = open_mended(s, err);
    if (r == 0)
        r = find_untold(s, err);
    if (r == 0 && out_path)
        r = copy(s, out_path, err);
    if (r < 0)
        return r;
    *ret = (struct vhdx_salvage_result){
        .virtual_size = s->v->chain.images[0]->geometry.virtual_size,
        .findings = repaired.before.errors + repaired.before.fatals,
        .is_log_lost = s->is_log_lost,
    };
    tell(s, ret);
    return 0;
}

int salvage_run(const struct salvage_job *job, struct vhdx_salvage_result *ret,
                struct vhdx_error *err)
{
    struct salvage s = { .job = job, .path = job->path, .opts = job->opts };

    int r = run(&s, job->out_path, ret, err);
    handle_close(s.v);
    io_close(&s.scratch);
    io_close(&s.tolerant);
    io_close(&s.file);
    ranges_free(&s.lost);
    for (int i = 0; i < LIMIT_CHAIN_LENGTH; i++)
        ranges_free(&s.hidden[i]);
    return r;
}

int salvage_path(const char *path, const char *out_path, const struct vhdx_salvage_options *opts,
                 struct vhdx_salvage_result *ret, struct vhdx_error *err)
{
    const struct salvage_job job = { .path = path, .out_path = out_path, .opts = opts,
                                     .format = VHDX_FORMAT_RAW };

    return salvage_run(&job, ret, err);
}
