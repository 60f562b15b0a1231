/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public entry points of checking and repairing; see api.c. */

#include "api/api.h"
#include "ops/check.h"
#include "ops/problem.h"
#include "ops/repair.h"
#include "ops/salvage.h"
#include "ops/repair-replay.h"
#include "ops/repair-undo.h"

const char *vhdx_problem_name(uint32_t problem)
{
    const struct problem_text *text = problem_text(problem);

    return text ? text->name : NULL;
}

static int take_check_options(struct vhdx_check_options *ours,
                              const struct vhdx_check_options *theirs,
                              struct vhdx_open_options *open, struct vhdx_error *err)
{
    int r = api_take_options(ours, sizeof *ours, theirs, err);

    if (r == 0 && (ours->flags & ~(VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK)))
        r = api_fail(err, "flags");
    if (r == 0 && ours->profile > VHDX_PROFILE_WSL)
        r = api_fail(err, "profile");
    if (r == 0)
        r = api_take_open_options(open, ours->open_options, err);
    ours->open_options = open;
    return r;
}

int vhdx_check(const char *path, const struct vhdx_check_options *opts,
               struct vhdx_check_result *ret, struct vhdx_error *err)
{
    struct vhdx_check_options ours = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_check_result result;

    if (!path || !ret)
        return api_fail(err, "vhdx_check");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = take_check_options(&ours, opts, &open, err);
    if (r == 0)
        r = check_path(path, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}

int vhdx_check_io(const struct vhdx_io *io, const struct vhdx_check_options *opts,
                  struct vhdx_check_result *ret, struct vhdx_error *err)
{
    struct vhdx_check_options ours = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_check_result result;
    struct vhdx_io own;

    if (!ret)
        return api_fail(err, "vhdx_check_io");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = api_take_io(io, false, &own, err);
    if (r == 0)
        r = take_check_options(&ours, opts, &open, err);
    if (r == 0)
        r = check_io(&own, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}

static int take_repair_options(struct vhdx_repair_options *ours,
                               const struct vhdx_repair_options *theirs,
                               struct vhdx_check_options *check, struct vhdx_open_options *open,
                               struct vhdx_error *err)
{
    int r = api_take_options(ours, sizeof *ours, theirs, err);

    if (r == 0 && (ours->flags & ~(VHDX_REPAIR_DRY_RUN | VHDX_REPAIR_NO_UNDO)))
        r = api_fail(err, "flags");
    if (r == 0 && ours->level > VHDX_REPAIR_ALL)
        r = api_fail(err, "level");
    if (r == 0)
        r = take_check_options(check, ours->check, open, err);
    if (ours->level == VHDX_REPAIR_NONE)
        ours->level = VHDX_REPAIR_SAFE;
    ours->check = check;
    return r;
}

int vhdx_repair(const char *path, const struct vhdx_repair_options *opts,
                struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct vhdx_repair_options ours = VHDX_REPAIR_OPTIONS_INIT;
    struct vhdx_check_options check = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_repair_result result = VHDX_REPAIR_RESULT_INIT;

    if (!path || !ret)
        return api_fail(err, "vhdx_repair");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = take_repair_options(&ours, opts, &check, &open, err);
    if (r == 0)
        r = repair_path(path, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}

int vhdx_repair_io(const struct vhdx_io *io, const struct vhdx_repair_options *opts,
                   struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct vhdx_repair_options ours = VHDX_REPAIR_OPTIONS_INIT;
    struct vhdx_check_options check = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_repair_result result = VHDX_REPAIR_RESULT_INIT;
    struct vhdx_io own;

    if (!ret)
        return api_fail(err, "vhdx_repair_io");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = take_repair_options(&ours, opts, &check, &open, err);
    if (r == 0)
        r = api_take_io(io, !(ours.flags & VHDX_REPAIR_DRY_RUN), &own, err);
    if (r == 0)
        r = repair_io(&own, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}

int vhdx_undo(const char *path, uint32_t flags, struct vhdx_error *err)
{
    if (!path || (flags & ~VHDX_UNDO_FORCE))
        return api_fail(err, "vhdx_undo");
    return repair_undo_take_back(path, flags & VHDX_UNDO_FORCE, err);
}

int vhdx_replay(const char *path, uint32_t flags, struct vhdx_replay_result *ret,
                struct vhdx_error *err)
{
    struct vhdx_replay_result result;

    if (!path || !ret || (flags & ~VHDX_REPLAY_DRY_RUN))
        return api_fail(err, "vhdx_replay");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = repair_replay(path, flags, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}

int vhdx_salvage(const char *path, const char *out_path, const struct vhdx_salvage_options *opts,
                 struct vhdx_salvage_result *ret, struct vhdx_error *err)
{
    struct vhdx_salvage_options ours = VHDX_SALVAGE_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_salvage_result result;

    if (!path || !out_path || !ret)
        return api_fail(err, "vhdx_salvage");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = api_take_options(&ours, sizeof ours, opts, err);
    if (r == 0 && (ours.flags & ~VHDX_CONVERT_REPLACE))
        r = api_fail(err, "flags");
    if (r == 0)
        r = api_take_open_options(&open, ours.open_options, err);
    ours.open_options = &open;
    if (r == 0)
        r = salvage_path(path, out_path, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}
