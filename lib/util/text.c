/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Making text from files fit to be shown; see text.h. */

#include "util/text.h"

#include <stdbool.h>
#include <string.h>

#include "util/utf16.h"

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void text_clean(char *s)
{
    char *to = s;

    for (const char *from = s; *from;) {
        const char *start = from;
        uint32_t c = utf8_next(&from);
        if (c == UTF8_INVALID)
            from = start + 1;
        if (c == UTF8_INVALID || is_control(c)) {
            *to++ = '?';
            continue;
        }
        memmove(to, start, (size_t)(from - start));
        to += from - start;
    }
    *to = '\0';
}
