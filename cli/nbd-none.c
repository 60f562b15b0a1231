/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* nbd.h in a build without libnbd. */
#include "nbd.h"

#include <stdio.h>
#include <unistd.h>

bool remote_supported(void)
{
    return false;
}

bool remote_open_source(const char *uri, const char *name, unsigned connections,
                        struct vhdx_disk **ret)
{
    (void)uri;
    (void)connections;
    (void)ret;
    remote_report_unsupported(name);
    return false;
}

bool remote_open_target(const char *uri, const char *name, unsigned connections,
                        struct vhdx_io *ret)
{
    (void)uri;
    (void)connections;
    (void)ret;
    remote_report_unsupported(name);
    return false;
}

static bool refuse_sockets(const int *sockets, unsigned count, char ret_reason[REMOTE_REASON_TEXT])
{
    for (unsigned i = 0; i < count; i++)
        close(sockets[i]);
    snprintf(ret_reason, REMOTE_REASON_TEXT, "built without libnbd");
    return false;
}

bool remote_adopt_source(const int *sockets, unsigned count, const char *name,
                         struct vhdx_disk **ret, char ret_reason[REMOTE_REASON_TEXT])
{
    (void)name;
    (void)ret;
    return refuse_sockets(sockets, count, ret_reason);
}

bool remote_adopt_target(const int *sockets, unsigned count, struct vhdx_io *ret,
                         char ret_reason[REMOTE_REASON_TEXT])
{
    (void)ret;
    return refuse_sockets(sockets, count, ret_reason);
}
