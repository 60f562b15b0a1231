/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Digests as sha256sum prints them. */
#ifndef VHDX_CLI_DIGEST_H
#define VHDX_CLI_DIGEST_H

#include <stdio.h>

/* A line of sha256sum: one that begins with a backslash has a name with escapes. */
void digest_print(FILE *stream, const char *hex, const char *name);

#endif /* VHDX_CLI_DIGEST_H */
