/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public entry points of comparing and measuring; see api.c. */

#include "api/api.h"
#include "disk/crew.h"
#include "ops/compare.h"
#include "ops/create-measure.h"

#define MEASURE_FLAGS                                                                              \
    (VHDX_CONVERT_REPLACE | VHDX_CONVERT_NO_SPARSE | VHDX_CONVERT_VERIFY | VHDX_CONVERT_AZURE |    \
     VHDX_CONVERT_NO_CLONE)

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

int vhdx_measure(struct vhdx_disk *from, const struct vhdx_convert_options *opts,
                 struct vhdx_measure_result *ret, struct vhdx_error *err)
{
    struct vhdx_convert_options ours = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_measure_result result = VHDX_MEASURE_RESULT_INIT;

    if (!ret)
        return api_fail(err, "vhdx_measure without a result");
    if (from && disk_is_stream(from))
        return api_fail(err, "vhdx_measure: the size of a stream is not known");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = api_take_options(&ours, sizeof ours, opts, err);
    if (r == 0)
        r = api_take_options(&create, sizeof create, ours.create, err);
    if (r < 0)
        return r;
    ours.create = &create;
    if (from && create.size != 0)
        return api_fail(err, "vhdx_measure: the size is the disk's");
    if (ours.format != VHDX_FORMAT_VHDX &&
        (create.parent_path || create.type || create.block_size || create.log_size ||
         create.logical_sector_size || create.physical_sector_size))
        return api_fail(err, "vhdx_measure: only a VHDX has these options");
    if ((ours.flags & VHDX_CONVERT_AZURE) && ours.format != VHDX_FORMAT_VHD)
        return api_fail(err, "vhdx_measure: Azure takes VHDs");
    if (ours.format > VHDX_FORMAT_VHD || (ours.flags & ~MEASURE_FLAGS))
        return api_fail(err, "vhdx_measure: an unknown format or flag");
    r = create_measure(from, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}
