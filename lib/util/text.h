/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Making text from files fit to be shown: a file must not be able to control a terminal. */
#ifndef UTIL_TEXT_H
#define UTIL_TEXT_H

/*
 * Rewrites s in place as valid UTF-8 on one line: control characters (C0, DEL, C1, line and
 * paragraph separators, those that change the direction of text) and bytes that are not UTF-8
 * become '?'. It never becomes longer.
 */
void text_clean(char *s);

#endif
