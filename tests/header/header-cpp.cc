/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* vhdx.h comes first and twice: it needs nothing before it, and including it again does no harm. */
#include <vhdx.h>
#include <vhdx.h>

#include <cstdio>

int main()
{
    struct vhdx_open_options options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_error error = vhdx_error();
    struct vhdx *image = nullptr;

    int code = vhdx_open("", VHDX_OPEN_RDONLY, &options, &image, &error);
    bool right = code < 0 && image == nullptr && error.message[0] != '\0' &&
                 vhdx_crc32c(0, "123456789", 9) == 0xE3069283u;
    std::printf("libvhdx %s as seen from C++: %s\n", vhdx_version(), right ? "right" : "wrong");
    vhdx_close(image);
    return right ? 0 : 1;
}
