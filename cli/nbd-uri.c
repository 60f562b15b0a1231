/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What does not need libnbd of nbd.h. */
#include "nbd.h"

#include <string.h>
#include <strings.h>

#include "report.h"

bool remote_is_uri(const char *text)
{
    static const char *const beginnings[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://",
                                              "nbd+vsock://", "nbds+vsock://" };

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncasecmp(text, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

void remote_report_unsupported(const char *name)
{
    report("%s: this vhdx was built without libnbd, which that needs", name);
    report_hint("build it where libnbd's headers are (libnbd-dev, libnbd-devel)");
}

unsigned remote_connections(unsigned asked)
{
    if (asked == 0)
        return REMOTE_CONNECTIONS;
    return asked < REMOTE_CONNECTIONS_MAX ? asked : REMOTE_CONNECTIONS_MAX;
}
