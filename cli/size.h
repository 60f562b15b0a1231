/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Sizes as people type them: "4096", "0x1000", "64k", "1.5G". See size.c for the exact grammar.
 */
#ifndef VHDX_CLI_SIZE_H
#define VHDX_CLI_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* False, with *ret_bytes untouched, when text is not a size or does not fit 64 bits. */
bool size_parse(const char *text, uint64_t *ret_bytes);

/* The same for the argument of an option; reports the mistake, naming the option. */
bool size_parse_option(const char *option, const char *text, uint64_t *ret_bytes);

#endif /* VHDX_CLI_SIZE_H */
