/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Digests as sha256sum prints them. */
#include "digest.h"

#include <string.h>

void digest_print(FILE *stream, const char *hex, const char *name)
{
    fprintf(stream, "%s%s  ", strpbrk(name, "\\\n\r") ? "\\" : "", hex);
    for (; *name != '\0'; name++) {
        switch (*name) {
        case '\\':
            fputs("\\\\", stream);
            break;
        case '\n':
            fputs("\\n", stream);
            break;
        case '\r':
            fputs("\\r", stream);
            break;
        default:
            fputc(*name, stream);
        }
    }
    fputc('\n', stream);
}
