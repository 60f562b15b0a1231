/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * GUIDs. On disk they stand in Microsoft's mixed-endian form (u32, u16, u16 little-endian, then
 * eight bytes); in memory and in text, in the order in which they are read aloud.
 */
#ifndef UTIL_GUID_H
#define UTIL_GUID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct guid_disk { uint8_t bytes[16]; };

struct guid { uint8_t bytes[16]; };

#define GUID_TEXT_SIZE 37 /* with the NUL */

/* GUID(2DC27766, F623, 4200, 9D64, 115E9BFD4A08) */
#define GUID(a, b, c, d, e)                                                                        \
    { { (uint8_t)(0x##a##u >> 24), (uint8_t)(0x##a##u >> 16), (uint8_t)(0x##a##u >> 8),            \
        (uint8_t)(0x##a##u), (uint8_t)(0x##b##u >> 8), (uint8_t)(0x##b##u),                        \
        (uint8_t)(0x##c##u >> 8), (uint8_t)(0x##c##u), (uint8_t)(0x##d##u >> 8),                   \
        (uint8_t)(0x##d##u), (uint8_t)(0x##e##ull >> 40), (uint8_t)(0x##e##ull >> 32),             \
        (uint8_t)(0x##e##ull >> 24), (uint8_t)(0x##e##ull >> 16), (uint8_t)(0x##e##ull >> 8),      \
        (uint8_t)(0x##e##ull) } }

struct guid guid_get(struct guid_disk d);

struct guid_disk guid_make(const struct guid *g);

/* A new random one (RFC 9562, version 4). The system's random numbers are always there once it has
   started; false only where they are forbidden. */
bool guid_random(struct guid *ret);

/* Lower case, without braces: "2dc27766-f623-4200-9d64-115e9bfd4a08". */
void guid_format(const struct guid *g, char ret_text[GUID_TEXT_SIZE]);

/* Accepts either case, with or without braces. False when text is anything else. */
bool guid_parse(const char *text, struct guid *ret);

static inline bool guid_equal(const struct guid *a, const struct guid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline bool guid_is_zero(const struct guid *g)
{
    static const struct guid zero;
    return guid_equal(g, &zero);
}

#endif
