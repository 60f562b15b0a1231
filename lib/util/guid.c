/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* GUIDs; see guid.h. */

#include "util/guid.h"

#include <sys/random.h>

/* Where byte i in reading order stands on disk. */
static const uint8_t disk_index[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

struct guid guid_get(struct guid_disk d)
{
    struct guid g;

    for (int i = 0; i < 16; i++)
        g.bytes[i] = d.bytes[disk_index[i]];
    return g;
}

struct guid_disk guid_make(const struct guid *g)
{
    struct guid_disk d;

    for (int i = 0; i < 16; i++)
        d.bytes[disk_index[i]] = g->bytes[i];
    return d;
}

bool guid_random(struct guid *ret)
{
    struct guid g;

    if (getrandom(g.bytes, sizeof g.bytes, 0) != sizeof g.bytes)
        return false;
    g.bytes[6] = (uint8_t)((g.bytes[6] & 0x0f) | 0x40);
    g.bytes[8] = (uint8_t)((g.bytes[8] & 0x3f) | 0x80);
    *ret = g;
    return true;
}

/* A dash stands before bytes 4, 6, 8 and 10. */
static bool dash_before(int i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

void guid_format(const struct guid *g, char ret_text[GUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *p = ret_text;

    for (int i = 0; i < 16; i++) {
        if (dash_before(i))
            *p++ = '-';
        *p++ = digits[g->bytes[i] >> 4];
        *p++ = digits[g->bytes[i] & 15];
    }
    *p = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool guid_parse(const char *text, struct guid *ret)
{
    struct guid g;
    bool braces = *text == '{';
    const char *p = text + braces;

    for (int i = 0; i < 16; i++) {
        if (dash_before(i) && *p++ != '-')
            return false;
        int high = hex_digit(p[0]);
        int low = high < 0 ? -1 : hex_digit(p[1]);
        if (low < 0)
            return false;
        g.bytes[i] = (uint8_t)(high << 4 | low);
        p += 2;
    }
    if (braces && *p++ != '}')
        return false;
    if (*p != '\0')
        return false;
    *ret = g;
    return true;
}
