/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* vhdx.h comes first and twice: it needs nothing before it, and including it again does no harm. */
#include <vhdx.h>
#include <vhdx.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    struct vhdx_io io = VHDX_IO_INIT;
    struct vhdx_open_options open_options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_link link = VHDX_LINK_INIT;
    struct vhdx_hash_options hash_options = VHDX_HASH_OPTIONS_INIT;
    struct vhdx_convert_options convert_options = VHDX_CONVERT_OPTIONS_INIT;
    int wrong = 0;

    wrong |= io.struct_size != sizeof io || open_options.struct_size != sizeof open_options;
    wrong |= info.struct_size != sizeof info || stats.struct_size != sizeof stats;
    wrong |= link.struct_size != sizeof link;
    wrong |= hash_options.struct_size != sizeof hash_options;
    wrong |= convert_options.struct_size != sizeof convert_options;
    wrong |= sizeof(struct vhdx_error) != 512;
    wrong |= vhdx_crc32c(0, "123456789", 9) != 0xE3069283u;
    wrong |= strcmp(vhdx_code_name(-VHDX_E_CORRUPT), "VHDX_E_CORRUPT") != 0;
    printf("libvhdx %s as seen from C99: %s\n", vhdx_version(), wrong ? "wrong" : "right");
    vhdx_close(NULL);
    return wrong;
}
