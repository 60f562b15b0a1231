# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""CRC-32C (Castagnoli), the checksum of every checked VHDX structure ([MS-VHDX] 2).

Pure Python. What makes it fast enough is that VHDX structures are mostly zeros: a run of n zero
bytes multiplies the state by a fixed 32x32 bit matrix, so that it costs log2(n) multiplications.
The rest is done four bytes at a time.
"""

import struct

POLYNOMIAL = 0x82F63B78
PIECE = 128
ALL_ONES = 0xFFFFFFFF


def _byte_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


T0 = _byte_table()
T1 = [T0[x & 255] ^ (x >> 8) for x in T0]
T2 = [T0[x & 255] ^ (x >> 8) for x in T1]
T3 = [T0[x & 255] ^ (x >> 8) for x in T2]


def _times(matrix, vector):
    result = 0
    for row in matrix:
        if vector & 1:
            result ^= row
        vector >>= 1
    return result


def _zero_matrices():
    """Matrix k advances the state over 2**k zero bytes."""
    one = [T0[bit & 255] ^ (bit >> 8) for bit in (1 << n for n in range(32))]
    matrices = [one]
    for _ in range(40):
        last = matrices[-1]
        matrices.append([_times(last, row) for row in last])
    return matrices


ZERO_MATRICES = _zero_matrices()


def advance(state, zeros):
    """The state after that many zero bytes."""
    power = 0
    while zeros:
        if zeros & 1:
            state = _times(ZERO_MATRICES[power], state)
        zeros >>= 1
        power += 1
    return state


def _dense(state, data):
    whole = len(data) & ~3
    for word in struct.unpack_from('<%dI' % (whole // 4), data):
        state ^= word
        state = (T3[state & 255] ^ T2[(state >> 8) & 255] ^ T1[(state >> 16) & 255]
                 ^ T0[state >> 24])
    for byte in data[whole:]:
        state = T0[(state ^ byte) & 255] ^ (state >> 8)
    return state


def crc32c(data, crc=0):
    """The checksum of data, or of what crc stands for followed by data."""
    data = bytes(data)
    state = crc ^ ALL_ONES
    zeros = 0
    blank = bytes(PIECE)
    for start in range(0, len(data), PIECE):
        piece = data[start:start + PIECE]
        if piece == blank:
            zeros += PIECE
            continue
        if zeros:
            state = advance(state, zeros)
            zeros = 0
        state = _dense(state, piece)
    return advance(state, zeros) ^ ALL_ONES


def combine(first, second, second_length):
    """The checksum of A + B from those of A and B."""
    return advance(first, second_length) ^ second
