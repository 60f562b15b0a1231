/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A repair of anything ends, agrees with a check afterwards, and has nothing left to do. */

#include <stdlib.h>

#include "fuzz.h"

static int repair(const struct vhdx_io *io, uint32_t level, struct vhdx_repair_result *ret,
                  struct vhdx_error *err)
{
    struct vhdx_repair_options o = VHDX_REPAIR_OPTIONS_INIT;
    struct vhdx_check_options check = VHDX_CHECK_OPTIONS_INIT;

    check.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    o.check = &check;
    o.level = level;
    o.flags = VHDX_REPAIR_NO_UNDO;
    return vhdx_repair_io(io, &o, ret, err);
}

static void repair_one(const uint8_t *data, size_t size, uint32_t level)
{
    struct vhdx_repair_result first = VHDX_REPAIR_RESULT_INIT, second = VHDX_REPAIR_RESULT_INIT;
    struct vhdx_check_options o = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_check_result r = VHDX_CHECK_RESULT_INIT;
    struct vhdx_error err;
    struct vhdx_io io;

    fuzz_file(data, size, &io);
    fuzz_seal(&io);
    if (repair(&io, level, &first, &err) == 0) {
        o.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
        if (vhdx_check_io(&io, &o, &r, &err) < 0)
            fuzz_die("what was repaired cannot be checked", &err);
        if (r.errors != first.after.errors || r.fatals != first.after.fatals ||
            r.leaks != first.after.leaks || r.complete != first.after.complete)
            fuzz_die("a check does not agree with a repair", NULL);
        if (repair(&io, level, &second, &err) < 0)
            fuzz_die("a second repair fails", &err);
        if (second.is_changed)
            fuzz_die("a second repair changes something", NULL);
    }
    io.close(io.opaque);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    repair_one(data, size, VHDX_REPAIR_SAFE);
    repair_one(data, size, VHDX_REPAIR_ALL);
    return 0;
}
