#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors

"""Writes the constant tables of lib/util/crc32c-*.c as C headers.

usage: crc32c-tables.py FOLDER

Everything is arithmetic on polynomials over GF(2) modulo P, the CRC-32C polynomial. A remainder is
kept bit-reversed, as the CRC itself is: bit 31 is the coefficient of x^0.
"""

import os
import sys

P = 0x82F63B78
ONE = 1 << 31

# crc32c-x86.c: the largest distance that it folds over within a chunk, and the chunk, in words.
POWERS = 712
CHUNK_WORDS = 2048

# crc32c-arm.c: bytes per stream. Three long streams fill 4 KiB but for 16 bytes.
LONG_BYTES = 1360
SHORT_BYTES = 168


def times_x(r):
    return (r >> 1) ^ (P if r & 1 else 0)


def over_x(r):
    return (((r ^ P) << 1) | 1) if r & ONE else r << 1


def times_x_to(r, n):
    for _ in range(n):
        r = times_x(r)
    for _ in range(-n):
        r = over_x(r)
    return r


def fold_power(words):
    """What a carry-less product needs to move something over this many words of 64 bits."""
    return times_x_to(ONE, 64 * words - 33)


def fold_powers(count):
    r = fold_power(0)
    powers = []
    for _ in range(count):
        powers.append(r)
        r = times_x_to(r, 64)
    return powers


def byte_table(basis):
    """The 256 sums of eight remainders, indexed by the bits that choose them."""
    table = [0] * 256
    for i in range(1, 256):
        low = i & -i
        table[i] = table[i ^ low] ^ basis[low.bit_length() - 1]
    return table


def shift_table(length):
    """[4][256]: the remainder of byte b, standing at byte k of a CRC, after length zero bytes."""
    columns = [times_x_to(1 << bit, 8 * length) for bit in range(32)]
    return [byte_table(columns[8 * k : 8 * k + 8]) for k in range(4)]


def slice_table():
    """[8][256]: the remainder of byte b followed by k zero bytes."""
    return [byte_table([times_x_to(1 << bit, 8 * (k + 1)) for bit in range(8)]) for k in range(8)]


def c_array(values):
    rows = [values[i : i + 8] for i in range(0, len(values), 8)]
    return "".join("    " + " ".join(f"0x{v:08x}," for v in row) + "\n" for row in rows)


def c_array_2d(tables):
    return "".join("    {\n" + c_array(table) + "    },\n" for table in tables)


def slices_h():
    return f"static const uint32_t crc32c_slices[8][256] = {{\n{c_array_2d(slice_table())}}};\n"


def powers_h():
    return (
        f"#define CRC32C_POWERS {POWERS}\n"
        f"#define CRC32C_CHUNK_WORDS {CHUNK_WORDS}\n"
        f"#define CRC32C_CHUNK_POWER 0x{fold_power(CHUNK_WORDS):08x}u\n\n"
        "static const uint32_t crc32c_powers[CRC32C_POWERS] = {\n"
        f"{c_array(fold_powers(POWERS))}}};\n"
    )


def shifts_h():
    text = f"#define CRC32C_LONG_BYTES {LONG_BYTES}\n#define CRC32C_SHORT_BYTES {SHORT_BYTES}\n"
    for name, length in (("long", LONG_BYTES), ("short", SHORT_BYTES)):
        body = c_array_2d(shift_table(length))
        text += f"\nstatic const uint32_t crc32c_shift_{name}[4][256] = {{\n{body}}};\n"
    return text


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    headers = {"slices": slices_h, "powers": powers_h, "shifts": shifts_h}
    for name, content in headers.items():
        with open(os.path.join(sys.argv[1], f"crc32c-{name}.h"), "w", encoding="ascii") as out:
            out.write("/* Written by scripts/crc32c-tables.py, which says what it is. */\n\n")
            out.write("#include <stdint.h>\n\n" + content())


if __name__ == "__main__":
    main()
