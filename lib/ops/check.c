/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The course of a check; see check.h. */

#include "ops/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "io/scratch.h"
#include "ops/problem.h"
#include "util/cleanup.h"
#include "util/iszero.h"
#include "util/limits.h"
#include "util/rules.h"

/* ---- Findings ------------------------------------------------------------------------------- */

static void count_finding(struct check *c, const struct problem_text *text)
{
    struct vhdx_check_result *r = &c->result;

    switch (text->severity) {
    case VHDX_SEVERITY_NOTE: r->notes++; break;
    case VHDX_SEVERITY_LEAK: r->leaks++; break;
    case VHDX_SEVERITY_ERROR: r->errors++; break;
    default: r->fatals++; break;
    }
    r->repairable_safe += text->repair == VHDX_REPAIR_SAFE;
    r->repairable_all += text->repair == VHDX_REPAIR_ALL;
}

static void add_finding(struct check *c, enum vhdx_problem problem, const struct vhdx_error *what,
                        uint64_t virtual_offset, uint64_t virtual_length)
{
    const struct problem_text *text = problem_text(problem);
    const struct vhdx_finding finding = {
        .struct_size = sizeof finding,
        .problem = problem,
        .severity = text->severity,
        .repair = text->repair,
        .name = text->name,
        .message = what->message,
        .effect = text->effect,
        .remedy = text->remedy,
        .file_offset = what->file_offset,
        .virtual_offset = virtual_offset,
        .virtual_length = virtual_length,
    };

    count_finding(c, text);
    if (c->counts[check_slot(problem)]++ < LIMIT_FINDINGS_REPORTED && c->opts->finding)
        c->opts->finding(&finding, c->opts->opaque);
}

bool check_tells(const struct check *c, enum vhdx_problem problem)
{
    return c->opts->finding && c->counts[check_slot(problem)] < LIMIT_FINDINGS_REPORTED;
}

void check_counted(struct check *c, enum vhdx_problem problem)
{
    count_finding(c, problem_text(problem));
    c->counts[check_slot(problem)]++;
}

void check_found(struct check *c, enum vhdx_problem problem, uint64_t file_offset,
                 uint64_t virtual_offset, uint64_t virtual_length, const char *fmt, ...)
{
    struct vhdx_error what;
    va_list args;

    va_start(args, fmt);
    fail_va(&what, VHDX_E_CORRUPT, file_offset, fmt, args);
    va_end(args);
    add_finding(c, problem, &what, virtual_offset, virtual_length);
}

static void on_problem(enum vhdx_problem problem, const struct vhdx_error *what, void *opaque)
{
    add_finding(opaque, problem, what, 0, 0);
}

int check_progress(struct check *c, uint64_t done, struct vhdx_error *err)
{
    const struct vhdx_progress *p = &c->opts->progress;
    uint64_t total = c->image->geometry.virtual_size;

    if (p->fn && p->fn(min_u64(done, total), total, p->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

/* ---- Space that nothing owns ---------------------------------------------------------------- */

/* The first MiB at or after one, below end, that is owned or is not; whole words are passed at
   once. end if there is none. */
static uint64_t next_mib(const struct space *s, bool owned, uint64_t mib, uint64_t end)
{
    while (mib < end) {
        uint64_t word = (owned ? s->owned[mib / 64] : ~s->owned[mib / 64]) >> mib % 64;
        if (word != 0)
            return min_u64(mib + (uint64_t)__builtin_ctzll(word), end);
        mib = align_down(mib, 64) + 64;
    }
    return end;
}

static int report_leak(struct check *c, uint64_t first, uint64_t end, struct vhdx_error *err)
{
    uint64_t offset = first * MIB, len = (end - first) * MIB;

    if (offset >= c->last_end)
        return 0; /* behind the last structure: that is said once, of all of it */
    c->result.leaked_bytes += len;
    check_found(c, VHDX_P_SPACE_LEAKED, offset, 0, 0,
                "file range %#" PRIx64 " + %" PRIu64 ": holds data, but belongs to no structure",
                offset, len);
    if (!c->hands || !c->hands->leak)
        return 0;
    return c->hands->leak(c, offset, len, c->hands->opaque, err);
}

/* The first MiB of [mib, end) that holds a byte that is not zero; end if none does. Holes are
   passed over without being read where the file system tells them. */
static int next_data(struct check *c, uint64_t mib, uint64_t end, uint8_t *buf, uint64_t *ret,
                     struct vhdx_error *err)
{
    for (; mib < end; mib++) {
        if (c->holes)
            mib = min_u64(max_u64(file_next_data(c->holes, mib * MIB) / MIB, mib), end);
        mib = min_u64(max_u64(scratch_next_data(c->io, mib * MIB) / MIB, mib), end);
        if (mib == end)
            break;
        size_t len = (size_t)min_u64(MIB, image_size(c->image) - mib * MIB);
        int r = image_pread(c->image, "file", buf, len, mib * MIB, err);
        if (r < 0)
            return r;
        if (!is_zero(buf, len))
            break;
    }
    *ret = mib;
    return 0;
}

/* Reports the MiBs of [mib, end), which nothing owns, that hold data. */
static int report_leaks(struct check *c, uint64_t mib, uint64_t end, uint8_t *buf,
                        struct vhdx_error *err)
{
    uint64_t first = mib, data = 0, count = 0;
    int r = 0;

    for (; mib < end && r == 0; mib = data + 1) {
        r = next_data(c, mib, end, buf, &data, err);
        if (r == 0 && count > 0 && (data == end || data != first + count)) {
            r = report_leak(c, first, first + count, err);
            count = 0;
        }
        if (r < 0 || data == end)
            break;
        if (count++ == 0)
            first = data;
    }
    if (r == 0 && count > 0)
        r = report_leak(c, first, first + count, err);
    return r;
}

/*
 * A stretch that nothing owns. If a block's entry was lost with a page that was moved, one that is
 * as long as a block may be that block: it is put aside until it is known to be the only one that
 * has room for it.
 */
static int check_unowned(struct check *c, uint64_t mib, uint64_t end, uint8_t *buf,
                         struct vhdx_error *err)
{
    uint64_t block_mib = (UINT64_C(1) << c->image->geometry.block_shift) / MIB, data = 0;

    if (c->lost_entries == 0 || end - mib < block_mib)
        return report_leaks(c, mib, end, buf, err);
    int r = next_data(c, mib, end, buf, &data, err);
    if (r < 0 || data == end)
        return r;
    if (c->orphans++ > 0 || end - mib > block_mib)
        return report_leaks(c, mib, end, buf, err);
    c->orphan_offset = mib * MIB;
    c->has_orphan = true;
    return 0;
}

/*
 * Unowned space that holds data; holes and zeros waste nothing. What lies behind the last structure
 * is looked at only if a block's entry was lost, which may have pointed there.
 */
static int check_leaks(struct check *c, struct vhdx_error *err)
{
    const struct space *s = &c->image->space;
    uint64_t end = c->lost_entries > 0 ? s->size_mib : min_u64(c->last_end / MIB, s->size_mib);
    CLEANUP_FREE uint8_t *buf = malloc(MIB);
    int r = buf ? 0 : fail_nomem(err);

    for (uint64_t mib = next_mib(s, false, 0, end), next; mib < end && r == 0;
         mib = next_mib(s, false, next, end)) {
        next = next_mib(s, true, mib, end);
        r = check_unowned(c, mib, next, buf, err);
    }
    if (r == 0 && c->has_orphan && (c->orphans > 1 || c->lost_entries > 1)) {
        uint64_t mib = c->orphan_offset / MIB;
        c->has_orphan = false;
        r = report_leaks(c, mib, next_mib(s, true, mib, end), buf, err);
    }
    return r;
}

/* QEMU's first block begins at a multiple of this and of the block's size; its files are so long
   from the beginning. */
#define QEMU_FIRST_BLOCK (8 * MIB)

static void check_file_end(struct check *c)
{
    uint64_t size = image_size(c->image), spare = 0;

    /* A fixed image sets the space of its blocks aside, also where they are not present yet. */
    if (c->image->metadata.leave_allocated)
        spare = (c->result.total_blocks - c->result.allocated_blocks)
                << c->image->geometry.block_shift;
    if (c->image->metadata.leave_allocated || c->result.allocated_blocks == 0)
        spare += max_u64(QEMU_FIRST_BLOCK, UINT64_C(1) << c->image->geometry.block_shift);
    c->result.image_end_offset = c->last_end;
    if (c->holes && file_is_device(c->holes))
        return;
    if (size < c->last_end + spare + MIB ||
        check_count(c, VHDX_P_LOG_CUT) + check_count(c, VHDX_P_REGION_CUT) > 0)
        return;
    c->result.leaked_bytes += size - c->last_end;
    check_found(c, VHDX_P_FILE_TRAILING, c->last_end, 0, 0,
                "file is %" PRIu64 " bytes long, its last structure ends at %" PRIu64, size,
                c->last_end);
}

/* ---- The course ----------------------------------------------------------------------------- */

/*
 * Where the structures end that begin in the file, the blocks aside. What begins behind its end is
 * none of it: if a repair let the file grow there, a block that was lost in between would come back
 * as zeros, as if it were whole.
 */
static uint64_t regions_end(const struct image *img)
{
    uint64_t end = HEADER_SECTION_SIZE;

    if (img->header.log_offset < image_size(img) || !RULE_HOLDS(RULE_REPAIR_NOT_PAST_LOST))
        end = max_u64(end, img->header.log_offset + img->header.log_length);
    for (uint32_t i = 0; i < img->regions->count; i++) {
        const struct region *g = &img->regions->regions[i];
        if (g->offset < image_size(img))
            end = max_u64(end, g->offset + g->length);
    }
    return end;
}

/* Space is freed only when nothing else is wrong with the file (ops/repair.h, 3): what else must be
   mended first decides which repair can do that. */
static void count_leaks_again(struct check *c)
{
    struct vhdx_check_result *r = &c->result;
    uint64_t safe = 0, all = 0, none = 0;

    if (r->leaks == 0)
        return;
    for (uint32_t p = 100; p < 800; p++) {
        const struct problem_text *text = problem_text(p);
        if (!text || text->severity < VHDX_SEVERITY_ERROR)
            continue;
        *(text->repair == VHDX_REPAIR_SAFE ? &safe : text->repair == VHDX_REPAIR_ALL ? &all : &none)
            += check_count(c, (enum vhdx_problem)p);
    }
    if (all + none == 0)
        return;
    r->repairable_safe -= r->leaks;
    r->repairable_all += none == 0 ? r->leaks : 0;
}

static int check_blocks(struct check *c, struct vhdx_error *err)
{
    c->has_tables = true;
    c->result.total_blocks = c->image->geometry.payload_blocks;
    c->last_end = regions_end(c->image);
    c->first_lost = UINT64_MAX;

    int r = check_progress(c, 0, err);
    if (r == 0)
        r = check_bat(c, err);
    if (r == 0)
        r = check_leaks(c, err);
    if (r < 0)
        return r;
    check_file_end(c);
    if (c->image->metadata.has_parent && !(c->opts->flags & VHDX_CHECK_NO_PARENT))
        r = check_chain(c, err);
    if (r == 0)
        r = check_profile(c, err);
    c->result.complete = r == 0;
    count_leaks_again(c);
    return r;
}

/* Is this failure one that the sink was told of, the end of what can be checked? */
static bool was_reported(const struct check *c, int r)
{
    return c->result.fatals > 0 && r != -VHDX_E_SYSTEM && r != -VHDX_E_NOMEM;
}

int check_run(struct check *c, struct vhdx_error *err)
{
    c->sink = (struct problem_sink){ on_problem, c };
    int r = io_size(c->io, &c->result.file_size, err);
    if (r == 0)
        r = image_open_checked(c->io, &c->sink, &c->image, err);
    if (r < 0)
        return was_reported(c, r) ? 0 : r;
    if (c->path && !(c->image->path = strdup(c->path)))
        return fail_nomem(err);
    c->image->has_id = c->holes && file_get_id(c->holes, &c->image->id);
    r = image_load(c->image, err);
    if (r < 0)
        return was_reported(c, r) ? 0 : r;
    return check_blocks(c, err);
}

void check_end(struct check *c)
{
    image_close(c->image);
    c->image = NULL;
}

static int run_once(struct check *c, struct vhdx_check_result *ret, struct vhdx_error *err)
{
    int r = check_run(c, err);

    if (r == 0)
        *ret = c->result;
    check_end(c);
    return r;
}

int check_io(const struct vhdx_io *io, const struct vhdx_check_options *opts,
             struct vhdx_check_result *ret, struct vhdx_error *err)
{
    struct file_id id;
    struct check c = { .io = io, .opts = opts, .holes = file_get_id(io, &id) ? io : NULL };

    return run_once(&c, ret, err);
}

int check_path(const char *path, const struct vhdx_check_options *opts,
               struct vhdx_check_result *ret, struct vhdx_error *err)
{
    struct vhdx_io io;
    bool supported;

    int r = file_open(path, false, &io, err);
    if (r == 0) {
        struct check c = { .io = &io, .opts = opts, .holes = &io, .path = path };
        if (!(opts->flags & VHDX_CHECK_NO_LOCK))
            r = file_lock(&io, &supported, err);
        if (r == 0)
            r = run_once(&c, ret, err);
        io_close(&io);
    }
    if (r < 0)
        fail_prefix(err, "%s: ", path);
    return r;
}
