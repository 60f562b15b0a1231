/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A growing list of text lines: notes about an image, steps of a search. */
#ifndef UTIL_LINES_H
#define UTIL_LINES_H

#include <stddef.h>

struct lines {
    char **items; /* owned; UTF-8 without control characters */
    size_t count;
};

/* Appends a line unless there are limit already. A line that cannot be stored is left out: none of
   them decides anything. */
void lines_add(struct lines *l, size_t limit, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void lines_end(struct lines *l);

#endif
