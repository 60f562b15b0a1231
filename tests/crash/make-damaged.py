#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Writes damaged images of tests/lib for the crash test of repair.

Usage: make-damaged.py FOLDER [NAME...]    (all: the whole register)
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))

# pylint: disable=wrong-import-position
import damage_core  # noqa: E402
from damage_core import cut, entry_at, sample  # noqa: E402
from vhdxdisk import FULL, MIB  # noqa: E402

LARGEST = 48 << 20  # of a file; nothing is learnt from a longer one

# One of each kind of step, and what may get in its way.
CHOSEN = """
ident_upper_case_child ident_and_header_1_zero header_1_signature header_2_checksum_child
header_1_checksum_dirty header_2_checksum_with_old_log header_1_zero_with_log headers_reserved
headers_lost_checksum headers_lost_with_log headers_ambiguous_with_log header_sequence_top_dirty
header_log_offset_unaligned_dirty header_no_log_child header_no_log_lost_block
table_1_checksum table_2_signature_child table_1_zero tables_differ_in_offset
regions_not_required region_cut_bat_unaligned
log_dirty_child log_dirty_wrapped_entry log_dirty_wrapped_sequence log_dirty_grows_the_file
log_dirty_mends_the_bat log_dirty_mends_tables_and_metadata log_torn_data_sector
log_empty_dynamic log_empty_child log_stale log_broken_inside log_file_truncated_by_1_mib
log_file_truncated_last_entry log_forbidden_in_the_oldest_entry log_cut log_lost
log_cut_wholly_lost_block
log_brings_an_overlap
metadata_reserved_table metadata_flags_early_windows_child locator_reserved
bat_state_4_child bat_reserved_of_data_child bat_zero_offset_of_data bat_slot_of_a_block
bat_past_end_dirty bat_past_end_last_block bat_overlap_child bat_cut_unaligned bat_on_log_dirty
shifted_small_bat shifted_dirty anchor_twice_child
bitmap_missing bitmap_missing_leaked bitmap_partial_overlap bitmap_cut
size_plus_512_child trailing_data_child trailing_and_unaligned leaked_dirty leaked_twice_child
mixed_copies mixed_bat mixed_through_log mixed_safe mixed_shifted mixed_headers_lost mixed_child
""".split()


def shifted_with_orphan():
    """A page that QEMU moved, whose last entry can be found again: its block has no owner."""
    image = sample(size=12800 * MIB)
    first = 12288  # of a page whose third entry is that of a sector bitmap
    for k in (0, 1, *range(3, 9), 60, 130, 200, 300, 400, 510, 511):
        image.mark(first + k - (first + k) // 4097, 'qemu')
    old = [image.bat.pop(first + k, 0) for k in range(512)]
    new = [old[0], 0] + old[1:511]
    image.bat.update({first + k: entry for k, entry in enumerate(new) if entry})
    return image


def log_behind_lost_block():
    """The file ends before a block and, far behind that, its clean log."""
    image = sample(log_at=20 * MIB, log_length=2 * MIB, metadata_at=2 * MIB, bat_at=3 * MIB,
                   free_at=4 * MIB)
    entry_at(image, 4, FULL, 18 * MIB)
    cut(image, 9 * MIB)
    return image


def cut_block_over_lost_block():
    """The file ends inside a block, where another, lost one begins: it must not grow over that."""
    image = sample(block_size=2 * MIB, size=12 * MIB)
    end = max(image.place_of(block) for block in image.states) + 2 * MIB
    entry_at(image, 4, FULL, end - MIB)
    cut(image, end - MIB)
    return image


OWN = {build.__name__: build for build in (shifted_with_orphan, log_behind_lost_block,
                                           cut_block_over_lost_block)}


def main():
    """Writes the images, each under its name."""
    cases = damage_core.load()
    builders = {**{name: case.build for name, case in cases.items()}, **OWN}
    names = sys.argv[2:] or CHOSEN + list(OWN)
    for name in builders if names == ['all'] else names:
        file = builders[name]().render()
        if file.size <= LARGEST:
            file.save(os.path.join(sys.argv[1], name + '.vhdx'))


if __name__ == '__main__':
    main()
