# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: the file identifier, the size of the file, space that nothing owns (1xx)."""

from damage_core import add, bent, close_to, cut, damage, flip, grow, near, sample
from vhdxdisk import KIB, MIB, UNDEFINED, UNMAPPED
from vhdximage import pattern

EVERY = ('dynamic', 'fixed', 'sector4096', 'child')


# ---- The identifier -----------------------------------------------------------------------------

def signature(text):
    """Another signature."""
    return lambda image: setattr(image.identifier, 'signature', text)


bent('ident_upper_case', [101], 'The signature is compared byte by byte.', signature(b'VHDXFILE'),
     EVERY)
bent('ident_one_bit', [101], 'A single bit of the last letter.', lambda image: flip(image, 7))
bent('ident_zero', [101], 'The first 64 KiB are zeros.',
     lambda image: image.render().zero(0, 64 * KIB))
bent('ident_vhd', [101], 'The signature of the older format.', signature(b'conectix'))
close_to('ident_creator_garbage', [101], 'The creator may be anything.',
         lambda image: image.render().put(8, pattern('creator', 512)))
close_to('ident_rest_used', [101], 'So may what lies between the creator and header 1.',
         lambda image: image.render().put(520, pattern('rest', 2000)))


@damage(101, 201)
def ident_and_header_1_zero():
    """The first 128 KiB are zeros: header 2 shows that it is an image all the same."""
    image = sample()
    image.render().zero(0, 128 * KIB)
    return image


# ---- The size of the file -----------------------------------------------------------------------

bent('size_plus_512', [102], 'Half a KiB behind the last structure.',
     lambda image: grow(image, 512), EVERY)
bent('size_plus_1', [102], 'A single byte, which is not zero.', lambda image: grow(image, 1, b'x'))
bent('size_plus_1_mib_less_1', [102], 'All but one byte of a MiB: not yet a trailing MiB.',
     lambda image: grow(image, MIB - 1, pattern('rest', 4096)))
close_to('size_exact', [102, 104], 'The file ends where its last structure does.',
         lambda image: None, EVERY + ('places', 'chunks', 'block32m'))


def short(name, size, doc):
    """Registers a sample that ends in its header section."""
    def build():
        image = sample()
        cut(image, size)
        return image
    add('short_' + name, [103], doc, build, reached=False)


short('signature', 8, 'Nothing but the signature.')
short('identifier', 64 * KIB, 'The identifier and no header.')
short('header_1', 64 * KIB + 100, 'Header 1 is cut.')
short('header_2', 128 * KIB, 'Header 2 is missing.')
short('table_1', 200 * KIB, 'Region table 1 is cut.')
short('table_2', 300 * KIB, 'Region table 2 is cut.')
short('reserved', 320 * KIB, 'Both region tables are there, and nothing else.')
short('by_one_byte', MIB - 1, 'The header section lacks one byte.')


# To make the file longer would bury that its regions are lost.
@near(103, found=(316, 409), reached=False, safe=(316, 409), all=(316, 409))
def short_not():
    """The header section is whole, all else is missing: both regions, and the clean log."""
    image = sample()
    cut(image, MIB)
    return image


bent('trailing_1_mib', [104], 'A hole of 1 MiB behind the last structure.',
     lambda image: grow(image, MIB), ('dynamic', 'sector4096', 'child', 'places'))
# Five blocks of a fixed sample have no place yet: the file has its size from the beginning.
close_to('trailing_reserve', [104], 'A fixed file may have the room for blocks to come.',
         lambda image: grow(image, 5 * MIB), ('fixed',))
bent('trailing_20_mib', [104], 'More than a fixed file needs for all of its blocks.',
     lambda image: grow(image, 20 * MIB), ('fixed',))
bent('trailing_data', [104], 'Data in what is behind the last structure: no block owns it.',
     lambda image: grow(image, 3 * MIB, pattern('trailing', MIB)), ('dynamic', 'child'))
bent('trailing_1_gib', [104], 'A GiB of nothing.', lambda image: grow(image, 1024 * MIB))
bent('trailing_and_unaligned', [102, 104], 'More than 1 MiB, and not a whole number of them.',
     lambda image: grow(image, MIB + 512))
bent('trailing_after_replay', [104], 'What is behind the structures that a log brings.',
     lambda image: image.allocate(2 * MIB), ('dirty',))


def last_mib_anchor(state):
    """A kept place in the last MiB of the file is in use."""
    def bend(image):
        image.set_block(4, state, image.allocate(image.block_size))
    return bend


close_to('trailing_anchor_unmapped', [104, 105, 614], last_mib_anchor.__doc__,
         last_mib_anchor(UNMAPPED), ('dynamic', 'child', 'sector4096'))
close_to('trailing_anchor_undefined', [104, 105, 614], last_mib_anchor.__doc__,
         last_mib_anchor(UNDEFINED), ('dynamic', 'fixed'))
close_to('trailing_anchor_with_data', [104, 105], 'Old data in a kept place is no leak.',
         lambda image: image.anchored(4, UNMAPPED), ('dynamic', 'child', 'dirty'))


# ---- Space that nothing owns --------------------------------------------------------------------

def litter_hole(offset=0, length=4096):
    """Data in the hole between two blocks."""
    return lambda image: image.file.put(image.hole + offset, pattern('leaked', length))


bent('leaked', [], litter_hole.__doc__, litter_hole(), EVERY + ('places', 'chunks', 'dirty'),
     counts={105: 1})
bent('leaked_last_byte', [], 'A single byte at the end of the MiB that leaks.',
     lambda image: image.file.put(image.hole + MIB - 1, b'\x01'), counts={105: 1})
bent('leaked_32_mib', [], 'A whole run with data is one finding.',
     lambda image: [image.file.put(image.hole + n * MIB, b'leaked') for n in range(32)],
     ('block32m',), counts={105: 1})
close_to('leaked_hole', [105], 'Unused space that is a hole is no leak.', lambda image: None,
         EVERY)
close_to('leaked_zeros', [105], 'Nor is space in which zeros were written.',
         lambda image: image.file.put(image.hole, bytes(MIB)))


def apart(image):
    """Data, a MiB of zeros, data: two runs."""
    at = image.allocate(3 * MIB)
    image.file.put(at, b'first')
    image.file.put(at + 3 * MIB - 5, b'third')
    image.mark(3, 'behind')


bent('leaked_twice', [], apart.__doc__, apart, ('dynamic', 'child'), counts={105: 2})


@damage(counts={105: 1})
def leaked_before_all_structures():
    """Old data in the MiB behind the header section, which the log left when it moved."""
    image = sample(metadata_at=2 * MIB, log_at=4 * MIB, bat_at=3 * MIB)
    image.file.put(MIB, pattern('old log', 4096))
    return image


@near(105, 104)
def unused_rest_of_regions():
    """What regions hold behind their content belongs to them."""
    image = sample(metadata_length=3 * MIB, bat_length=2 * MIB, log_length=2 * MIB)
    for offset in (image.metadata_at + 2 * MIB, image.bat_at + MIB):
        image.file.put(offset, pattern('rest', 4096))
    return image


@near(105)
def header_section_rest_used():
    """The reserved space behind the region tables belongs to the header section."""
    image = sample()
    image.render().put(512 * KIB, pattern('reserved', 4096))
    return image


@near(105, 606)
def block_rest_used():
    """Data in the last block behind the end of the disk belongs to the block."""
    image = sample('block2m', size=15 * MIB)
    image.render().put(image.place_of(image.blocks - 1) + MIB + 512, pattern('rest', 4096))
    return image
