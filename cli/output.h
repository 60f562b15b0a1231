/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Text on its way out: sizes for people, strings from images made harmless, and the check that
 * standard output took everything.
 */
#ifndef VHDX_CLI_OUTPUT_H
#define VHDX_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HUMAN_SIZE_TEXT 32

/* "1.5 GiB": three digits, units of 1024, as qemu-img writes it. Returns text. */
const char *human_size(uint64_t bytes, char text[HUMAN_SIZE_TEXT]);

/*
 * The length of the UTF-8 character at text, which ends with a NUL, and its code point. 0 when the
 * byte there begins no valid character.
 */
size_t utf8_next(const char *text, uint32_t *ret_code_point);

/* True for a code point that must not reach a terminal or a log as it is: controls, line and
   paragraph separators, and those that change the direction of writing. */
bool is_unprintable(uint32_t code_point);

/* Writes text, with \xNN for each byte of what is not printable or not UTF-8. Backslashes stay as
   they are, for the sake of Windows paths: this is for eyes, --output=json is exact. */
void print_text(FILE *stream, const char *text);

/* Flushes and closes standard output. Returns exit_code, or exit_error after reporting that not
   everything got out. Nothing may be printed afterwards. */
int output_finish(int exit_code, int exit_error);

#endif /* VHDX_CLI_OUTPUT_H */
