/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A replay of anything ends; what could be opened can be opened, and its log is clean. */

#include <stdbool.h>

#include "fuzz.h"
#include "ops/repair-replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_replay_result r;
    struct vhdx_error err;
    struct vhdx_io io;
    struct vhdx *v;

    fuzz_file(data, size, &io);
    fuzz_seal(&io);
    struct vhdx_io borrowed = io;
    borrowed.close = NULL;
    bool opens = vhdx_open_io(&borrowed, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v,
                              &err) == 0;
    if (opens)
        vhdx_close(v);
    if (repair_replay_io(&io, 0, &r, &err) < 0 || !opens) {
        io.close(io.opaque);
        return 0;
    }
    if (vhdx_open_io(&io, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v, &err) < 0)
        fuzz_die("what was replayed cannot be opened", &err);
    if (vhdx_get_info(v, &info, &err) < 0 || info.log_state != VHDX_LOG_CLEAN)
        fuzz_die("the log is not clean", NULL);
    vhdx_close(v);
    return 0;
}
