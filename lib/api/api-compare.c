/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public entry points of comparing and measuring; see api.c. */

#include "api/api.h"
#include "disk/crew.h"
#include "ops/compare.h"

int vhdx_compare(struct vhdx_disk *a, struct vhdx_disk *b,
                 const struct vhdx_compare_options *opts, struct vhdx_compare_result *ret,
                 struct vhdx_error *err)
{
    struct vhdx_compare_options ours = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;

    if (!a || !b || !ret)
        return api_fail(err, "vhdx_compare without two disks or a result");
    if (disk_is_stream(a) || disk_is_stream(b))
        return api_fail(err, "vhdx_compare: a stream is not compared");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = api_take_options(&ours, sizeof ours, opts, err);
    if (r < 0)
        return r;
    if (ours.flags & ~VHDX_COMPARE_STRICT)
        return api_fail(err, "vhdx_compare: an unknown flag");
    if (ours.threads > CREW_THREADS_MAX)
        return api_fail(err, "vhdx_compare: threads must be 1 to 64, or 0");
    r = compare_disks(a, b, &ours, &result, err);
    return r != 0 ? r : api_give_result(ret, &result, sizeof result, err);
}
