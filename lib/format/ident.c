/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The file identifier; see ident.h. */

#include "format/ident.h"

int ident_verify(const struct ident_disk *d, size_t len, struct vhdx_error *err)
{
    static const uint8_t signature[8] = "vhdxfile";

    if (len < sizeof signature)
        return fail(err, VHDX_E_NOT_VHDX, IDENT_OFFSET,
                    "file identifier: file is %zu bytes long, must be at least 8: not a VHDX image",
                    len);
    if (memcmp(d->signature, signature, sizeof signature) != 0)
        return fail(err, VHDX_E_NOT_VHDX, IDENT_OFFSET,
                    "file identifier: signature is not \"vhdxfile\": not a VHDX image");
    return 0;
}

void ident_encode(const char *creator, struct ident_disk *ret)
{
    memset(ret, 0, sizeof *ret);
    memcpy(ret->signature, "vhdxfile", sizeof ret->signature);
    utf8_to_utf16le(creator, ret->creator, sizeof ret->creator / 2 - 1);
}

void ident_creator(const struct ident_disk *d, char ret_text[CREATOR_TEXT_SIZE])
{
    utf16le_to_utf8(d->creator, sizeof d->creator / 2, ret_text);
}
