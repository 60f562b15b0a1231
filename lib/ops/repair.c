/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The rounds of a repair, its rehearsal and its undo file; see repair.h. */

#include "ops/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/scratch.h"
#include "io/undo.h"
#include "ops/problem.h"
#include "ops/repair-undo.h"
#include "util/cleanup.h"
#include "util/limits.h"

/* ---- What the steps use --------------------------------------------------------------------- */

bool repair_may(const struct repair *r, enum vhdx_problem problem)
{
    uint32_t level = problem_text(problem)->repair;

    return level != VHDX_REPAIR_NONE && level <= r->level && check_count(r->check, problem) > 0;
}

void repair_done(struct repair *r, enum vhdx_problem problem, uint64_t file_offset,
                 uint64_t lost_offset, uint64_t lost_length, const char *fmt, ...)
{
    struct vhdx_error text;
    va_list args;

    r->actions++;
    r->lost_bytes += lost_length;
    if (r->is_silent || !r->opts->action)
        return;
    va_start(args, fmt);
    fail_va(&text, VHDX_E_CORRUPT, file_offset, fmt, args);
    va_end(args);
    const struct vhdx_action action = {
        .struct_size = sizeof action,
        .problem = problem,
        .message = text.message,
        .file_offset = file_offset,
        .lost_offset = lost_offset,
        .lost_length = lost_length,
    };
    r->opts->action(&action, r->opts->opaque);
}

int repair_look_again(struct repair *r, const struct check_hands *hands, struct vhdx_error *err)
{
    const struct vhdx_check_options quiet = { .struct_size = sizeof quiet,
                                              .flags = VHDX_CHECK_NO_PARENT };
    struct check check = { .io = r->io, .holes = r->holes, .opts = &quiet, .hands = hands };

    int c = check_run(&check, err);
    check_end(&check);
    return c;
}

/* ---- Rounds --------------------------------------------------------------------------------- */

static const struct repair_step *next_step(const struct repair *r)
{
    const struct repair_step *step = repair_steps;

    while (step->applies && !step->applies(r))
        step++;
    return step->applies ? step : NULL;
}

/* Checks, and takes the step that applies. *ret_done: none does. */
static int run_round(struct repair *r, const struct vhdx_check_options *opts,
                     const struct repair_step **step, struct vhdx_check_result *ret_found,
                     struct vhdx_error *err)
{
    struct check check = { .io = r->io, .holes = r->holes, .path = r->path, .opts = opts };

    r->check = &check;
    int c = check_run(&check, err);
    if (c == 0) {
        if (check.image) {
            r->header = check.image->header;
            r->header_copy = check.image->header_copy;
        }
        *ret_found = check.result;
        *step = next_step(r);
        if (*step)
            c = (*step)->run(r, err);
    }
    r->check = NULL;
    check_end(&check);
    return c;
}

int repair_run(struct repair *r, struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    const struct vhdx_check_options *first = r->opts->check;
    struct vhdx_check_options later = *first;
    const struct repair_step *step = NULL;

    later.finding = NULL;
    for (int round = 0; round < LIMIT_REPAIR_ROUNDS; round++) {
        struct vhdx_check_result found;
        bool is_told = round == 0 && !r->is_silent;
        int c = run_round(r, is_told ? first : &later, &step, &found, err);
        if (c < 0)
            return c;
        if (round == 0)
            ret->before = found;
        if (step)
            continue;
        ret->after = found;
        ret->actions = r->actions;
        ret->lost_bytes = r->lost_bytes;
        return 0;
    }
    return fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                "repair: does not come to an end after %d rounds", LIMIT_REPAIR_ROUNDS);
}

/* ---- Rehearsal ------------------------------------------------------------------------------ */

/* Is the image better off for the repair? A structure that can be reached at last may turn out to
   have mistakes of its own. */
static bool is_better(const struct vhdx_repair_result *result)
{
    const struct vhdx_check_result *before = &result->before, *after = &result->after;

    if (!before->complete)
        return after->complete || after->fatals <= before->fatals;
    return after->complete && after->errors + after->fatals <= before->errors + before->fatals;
}

/* Repairs a copy in memory. */
static int rehearse(struct repair *r, struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    const struct vhdx_io *io = r->io;
    struct vhdx_io scratch;

    int c = scratch_open(io, &scratch, err);
    if (c < 0)
        return c;
    r->io = &scratch;
    c = repair_run(r, ret, err);
    ret->is_changed = scratch_is_changed(&scratch);
    io_close(&scratch);
    r->io = io;
    if (c == 0 && ret->is_changed && !is_better(ret))
        c = fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                 "repair: would leave %" PRIu64 " errors where %" PRIu64
                 " are: nothing was changed", ret->after.errors + ret->after.fatals,
                 ret->before.errors + ret->before.fatals);
    return c;
}

/* The real thing, silently checked but telling what it does. */
static int perform(struct repair *r, struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct vhdx_repair_options opts = *r->opts;
    struct vhdx_check_options quiet = *opts.check;
    struct vhdx_repair_result result;

    quiet.finding = NULL;
    opts.check = &quiet;
    r->opts = &opts;
    r->actions = r->lost_bytes = 0;
    int c = repair_run(r, &result, err);
    if (c < 0)
        return c;
    ret->after = result.after;
    ret->actions = result.actions;
    ret->lost_bytes = result.lost_bytes;
    return 0;
}

/* With everything that is overwritten saved first. */
static int perform_with_undo(struct repair *r, const char *undo_path,
                             struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    const struct vhdx_io *io = r->io;
    struct vhdx_io undo_file, wrapped;

    int c = repair_undo_create(io, r->path, undo_path, ret->undo_path, &undo_file, err);
    if (c < 0)
        return c;
    c = repair_undo_begin(io, r->path, undo_path, &undo_file, &wrapped, err);
    if (c == 0) {
        r->io = &wrapped;
        c = perform(r, ret, err);
        if (c == 0)
            c = undo_seal(&wrapped, err);
        r->io = io;
        io_close(&wrapped);
    }
    io_close(&undo_file);
    return c;
}

static int repair_file(struct repair *r, struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    bool is_dry = r->opts->flags & VHDX_REPAIR_DRY_RUN;
    void (*action)(const struct vhdx_action *, void *) = r->opts->action;
    struct vhdx_repair_options told = *r->opts;

    /* Findings are told by the rehearsal, actions by what is done at last. */
    told.action = is_dry ? action : NULL;
    const struct vhdx_repair_options *opts = r->opts;
    r->opts = &told;
    int c = rehearse(r, ret, err);
    r->opts = opts;
    if (c < 0 || is_dry || !ret->is_changed)
        return c;
    if ((opts->flags & VHDX_REPAIR_NO_UNDO) || (!r->path && !opts->undo_path))
        return perform(r, ret, err);
    return perform_with_undo(r, opts->undo_path, ret, err);
}

int repair_io(const struct vhdx_io *io, const struct vhdx_repair_options *opts,
              struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct file_id id;
    struct repair r = { .io = io, .holes = file_get_id(io, &id) ? io : NULL, .opts = opts,
                        .level = opts->level };

    return repair_file(&r, ret, err);
}

int repair_path(const char *path, const struct vhdx_repair_options *opts,
                struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct vhdx_io io;
    bool supported;

    int c = file_open(path, !(opts->flags & VHDX_REPAIR_DRY_RUN), &io, err);
    if (c == 0) {
        struct repair r = { .io = &io, .holes = &io, .path = path, .opts = opts,
                            .level = opts->level };
        bool needs_undo = !(opts->flags & (VHDX_REPAIR_DRY_RUN | VHDX_REPAIR_NO_UNDO));
        if (needs_undo && !opts->undo_path && file_is_device(&io))
            c = fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                     "undo file: beside a block device it would not last: its path must be given");
        if (c == 0 && !(opts->check->flags & VHDX_CHECK_NO_LOCK))
            c = file_lock(&io, &supported, err);
        if (c == 0)
            c = repair_file(&r, ret, err);
        io_close(&io);
    }
    if (c < 0)
        fail_prefix(err, "%s: ", path);
    return c;
}
