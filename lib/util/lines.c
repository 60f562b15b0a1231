/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A growing list of text lines; see lines.h. */

#include "util/lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/text.h"

void lines_add(struct lines *l, size_t limit, const char *fmt, ...)
{
    char *text;
    va_list args;

    if (l->count >= limit)
        return;
    char **items = realloc(l->items, (l->count + 1) * sizeof *items);
    if (!items)
        return;
    l->items = items;

    va_start(args, fmt);
    int r = vasprintf(&text, fmt, args);
    va_end(args);
    if (r < 0)
        return;
    text_clean(text);
    l->items[l->count++] = text;
}

void lines_end(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct lines){ 0 };
}
