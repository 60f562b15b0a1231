/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Replaying a dirty log; see repair-replay.h. */

#include "ops/repair-replay.h"

#include <stdlib.h>

#include "io/scratch.h"
#include "ops/repair.h"
#include "util/cleanup.h"
#include "util/iszero.h"

#define READ_STEP (64 * KIB)

static int is_all_zero(const struct vhdx_io *io, uint64_t offset, uint64_t end, bool *ret,
                       struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *buf = malloc(READ_STEP);
    int r = buf ? 0 : fail_nomem(err);

    *ret = true;
    for (uint64_t n; offset < end && *ret && r == 0; offset += n) {
        n = min_u64(READ_STEP, end - offset);
        r = io_pread(io, buf, (size_t)n, offset, err);
        *ret = r == 0 && is_zero(buf, (size_t)n);
    }
    return r;
}

/*
 * What a writer that died has set aside behind the last structure, and not used, is cut off, as by
 * the next one to write; not if anything is wrong with the image. *ret_size: of the file then.
 */
static int cut_slack(const struct vhdx_io *io, uint64_t *ret_size, struct vhdx_error *err)
{
    const struct vhdx_check_options quiet = { .struct_size = sizeof quiet,
                                              .flags = VHDX_CHECK_NO_PARENT };
    struct file_id id;
    struct check check = { .io = io, .holes = file_get_id(io, &id) ? io : NULL, .opts = &quiet };
    bool is_unused = false;

    int c = check_run(&check, err);
    if (c == 0 && check.result.complete && check.result.errors + check.result.fatals == 0 &&
        check_count(&check, VHDX_P_FILE_TRAILING) > 0)
        c = is_all_zero(io, check.last_end, image_size(check.image), &is_unused, err);
    if (c == 0 && is_unused) {
        c = io_truncate(io, check.last_end, err);
        if (c == 0)
            c = io_flush(io, err);
    }
    check_end(&check);
    return c < 0 ? c : io_size(io, ret_size, err);
}

static int replay(const struct vhdx_io *io, struct image *img, struct vhdx_replay_result *ret,
                  struct vhdx_error *err)
{
    const struct vhdx_check_options quiet = { .struct_size = sizeof quiet };
    const struct vhdx_repair_options opts = { .struct_size = sizeof opts, .check = &quiet };
    struct repair r = { .io = io, .opts = &opts, .header = img->header,
                        .header_copy = img->header_copy };

    *ret = (struct vhdx_replay_result){
        .log_state = img->log.state,
        .entries = img->log.entries,
        .first_sequence_number = img->log.first_sequence_number,
        .last_sequence_number = img->log.last_sequence_number,
        .old_file_size = img->file_size,
        .new_file_size = img->size,
    };
    if (img->overlay)
        overlay_totals(img->overlay, &ret->written_bytes, &ret->zeroed_bytes);
    if (img->overlay) {
        int c = repair_apply_log(&r, img->overlay, err);
        return c < 0 ? c : cut_slack(io, &ret->new_file_size, err);
    }
    bool is_torn = img->headers[0].is_damaged || img->headers[1].is_damaged;
    if (img->log.state == VHDX_LOG_EMPTY || is_torn) {
        r.header.log_guid = (struct guid){ { 0 } };
        return repair_put_headers(&r, r.header, err);
    }
    return 0;
}

static int load_and_replay(const struct vhdx_io *io, struct vhdx_replay_result *ret,
                           struct vhdx_error *err)
{
    struct vhdx_io borrowed = *io;
    struct image *img = NULL;

    borrowed.close = NULL;
    int c = image_open_io(&borrowed, &img, err);
    if (c == 0)
        c = image_load(img, err);
    if (c == 0)
        c = replay(io, img, ret, err);
    image_close(img);
    return c;
}

int repair_replay_io(const struct vhdx_io *io, uint32_t flags, struct vhdx_replay_result *ret,
                     struct vhdx_error *err)
{
    struct vhdx_io rehearsal;

    if (!(flags & VHDX_REPLAY_DRY_RUN))
        return load_and_replay(io, ret, err);
    int c = scratch_open(io, &rehearsal, err);
    if (c == 0) {
        c = load_and_replay(&rehearsal, ret, err);
        io_close(&rehearsal);
    }
    return c;
}

int repair_replay(const char *path, uint32_t flags, struct vhdx_replay_result *ret,
                struct vhdx_error *err)
{
    bool supported;
    struct vhdx_io io;

    int c = file_open(path, !(flags & VHDX_REPLAY_DRY_RUN), &io, err);
    if (c == 0) {
        c = file_lock(&io, &supported, err);
        if (c == 0)
            c = repair_replay_io(&io, flags, ret, err);
        io_close(&io);
    }
    if (c < 0)
        fail_prefix(err, "%s: ", path);
    return c;
}
