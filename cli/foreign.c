/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Reading images of other formats; see foreign.h. */
#include "foreign.h"

#include <stddef.h>
#include <string.h>

#include "qemu.h"

const char *foreign_format(const char *format)
{
    static const char *const known[] = { "bochs", "cloop", "dmg", "parallels", "qcow", "qcow2",
                                         "qed", "vdi", "vmdk", "vpc" };

    if (strcmp(format, "vhd") == 0)
        return "vpc";
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(format, known[i]) == 0)
            return known[i];
    return NULL;
}

bool foreign_open(const struct foreign_input *input, struct qemu_server **ret,
                  struct vhdx_disk **ret_disk)
{
    struct qemu_image image = {
        .path = input->path,
        .name = input->path,
        .format = input->format,
        .force_share = input->open_flags & VHDX_OPEN_NO_LOCK,
        .connections = input->connections,
    };

    return qemu_start(&image, ret, ret_disk, NULL);
}
