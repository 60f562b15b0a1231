/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * "Did you mean ...?": how far a mistyped word is from a known one.
 */
#ifndef VHDX_CLI_SUGGEST_H
#define VHDX_CLI_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

#define SUGGEST_WORD_MAX 32 /* longer words are like nothing */

/*
 * The number of typing mistakes (a letter missing, added, replaced, or two swapped) that make one
 * word of the other; SUGGEST_WORD_MAX when one of them is too long to compare.
 */
size_t suggest_distance(const char *typed, const char *word);

/* True when typed is near enough to word to be worth suggesting it. */
bool suggest_is_near(const char *typed, const char *word);

#endif /* VHDX_CLI_SUGGEST_H */
