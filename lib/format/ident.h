/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The file identifier: what makes a file a VHDX. [MS-VHDX] 2.2.1 */
#ifndef FORMAT_IDENT_H
#define FORMAT_IDENT_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/fail.h"
#include "util/utf16.h"

#define CREATOR_TEXT_SIZE UTF16_MAX_UTF8(256)

/* len: how many bytes of *d could be read. VHDX_E_NOT_VHDX without the signature. */
int ident_verify(const struct ident_disk *d, size_t len, struct vhdx_error *err);

/* An identifier that names a creator, in ASCII. */
void ident_encode(const char *creator, struct ident_disk *ret);

/* The creator as UTF-8. */
void ident_creator(const struct ident_disk *d, char ret_text[CREATOR_TEXT_SIZE]);

#endif
