# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: the two headers (2xx)."""

import vhdxdisk as disk
from damage_core import (add, bent, close_to, damage, echo, flip, gone, logged, near,
                         sample)
from damage_places import shorter
from good_logs import LOG_GUID, dirty, log_bat, move_to_log
from vhdxdisk import KIB, MIB, LogEntry
from vhdximage import LogRing, guid_for, pattern

TOP = (1 << 64) - 1


def header(number, **fields):
    """Sets fields of one header."""
    def bend(image):
        for name, value in fields.items():
            setattr(image.headers[number - 1], name, value)
    return bend


def zero_header(number):
    """A header that was never written."""
    return lambda image: image.render().zero(disk.HEADER_AT[number - 1], 4096)


# ---- One bad copy -------------------------------------------------------------------------------

for _number in (1, 2):
    _name = 'header_%d_' % _number
    bent(_name + 'signature', [], 'A header without its signature.',
         header(_number, signature=b'daeh'), ('dynamic', 'fixed', 'child'), counts={201: 1})
    bent(_name + 'zero', [], 'A header of zeros.', zero_header(_number), counts={201: 1})
    bent(_name + 'checksum', [], 'A header with a wrong checksum.',
         header(_number, spoiled=True), ('dynamic', 'sector4096', 'child', 'dirty'),
         counts={202: 1})
    bent(_name + 'last_byte', [], 'The checksum covers all 4 KiB.',
         lambda image, n=_number: flip(image, disk.HEADER_AT[n - 1] + 4095), counts={202: 1})
    bent(_name + 'version', [], 'A header of a version that does not exist yet.',
         header(_number, version=2), counts={203: 1})
    bent(_name + 'version_0', [], 'Nor is there a version 0.', header(_number, version=0),
         counts={203: 1})
    bent(_name + 'reserved', [], 'Reserved bytes of one header in use.',
         header(_number, reserved=b'\1'), counts={204: 1})
close_to('headers_intact', [201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211],
         'Two headers as they should be.', lambda image: None)
close_to('header_slot_rest_used', [201, 202, 204],
         'What lies behind the 4 KiB of a header is not part of it.',
         lambda image: image.render().put(68 * KIB, pattern('slot', 4096)))
bent('headers_reserved', [], 'The last reserved byte of both headers.',
     lambda image: image.both(reserved=bytes(4096 - 81) + b'\xff'), counts={204: 2})


@damage(counts={202: 1})
def header_2_checksum_with_old_log():
    """The newer header, which said that there is no log, is bad; the older one is all there is,
    and it says the same."""
    image = sample()
    image.headers[0].sequence, image.headers[1].sequence = 0xFFFFFFFF, 0x100000000
    image.headers[1].spoiled = True
    return image


@damage(401, counts={201: 1})
def header_1_zero_with_log():
    """The one header that is left has a log to replay."""
    image = dirty()
    image.lost = []
    log_bat(image)
    image.render().zero(disk.HEADER_AT[0], 4096)
    return image


# ---- Both copies --------------------------------------------------------------------------------

bent('headers_lost_checksum', [205], 'Both fail their checksum.',
     lambda image: image.both(spoiled=True), ('dynamic', 'fixed', 'sector4096'), reached=False)
bent('headers_lost_zero', [205], 'Both are zeros.',
     lambda image: [zero_header(n)(image) for n in (1, 2)], reached=False)


def two_ways(image):
    """Header 1 has no signature, header 2 fails its checksum."""
    image.headers[0].signature, image.headers[1].spoiled = b'HEAD', True


def two_other_ways(image):
    """Header 1 fails its checksum, header 2 is of an unknown version."""
    image.headers[0].spoiled, image.headers[1].version = True, 2


bent('headers_lost_in_two_ways', [205], two_ways.__doc__, two_ways, reached=False)
bent('headers_lost_by_version', [205], two_other_ways.__doc__, two_other_ways, reached=False)
bent('headers_lost_both_versions', [205], 'Both are of an unknown version.',
     lambda image: image.both(version=3), reached=False)


@damage(205, reached=False)
def headers_lost_with_log():
    """Neither says where the log is, without which all data would be gone."""
    image = dirty()
    image.lost = []
    log_bat(image)
    for at in disk.HEADER_AT:
        image.render().zero(at, 4096)
    return image


close_to('headers_lost_not', [205, 206], 'One of them is still there.',
         header(1, spoiled=True), found=(202,))


def ambiguous(image, **fields):
    """Equal sequence numbers, different contents."""
    image.both(sequence=5)
    header(2, **fields)(image)


for _name, _fields in (('file_write', {'file_write': guid_for('different')}),
                       ('data_write', {'data_write': guid_for('different')}),
                       ('log_guid', {'log_guid': guid_for('another log')})):
    bent('headers_ambiguous_' + _name, [206], ambiguous.__doc__,
         lambda image, f=_fields: ambiguous(image, **f), reached=False)


@damage(206, reached=False)
def headers_ambiguous_with_log():
    """Header 2 names a log that can be replayed, header 1 none: header 2 is the right one, and
    without the log all data would be gone."""
    image = dirty()
    image.lost = []
    image.both(sequence=5)
    image.headers[0].log_guid = disk.ZERO_GUID
    log_bat(image)
    return image


@damage(206, reached=False)
def headers_ambiguous_with_log_in_header_1():
    """The same the other way round: header 2 names a log of which there is nothing."""
    image = dirty()
    image.lost = []
    image.both(sequence=5)
    image.headers[1].log_guid = guid_for('no such log')
    ring = LogRing(image)
    ring.guid = LOG_GUID
    ring.add(LogEntry(10, [move_to_log(image, image.bat_at)]))
    return image


bent('headers_identical', [207], 'As Disk2vhd writes them.', lambda image: image.both(sequence=1),
     ('dynamic', 'fixed', 'child', 'sector4096'))
bent('headers_identical_0', [207], 'Zero is a number as well.',
     lambda image: image.both(sequence=0))
bent('headers_identical_high', [207], 'So is one beyond 63 bits.',
     lambda image: image.both(sequence=1 << 63))


def identical_but_one(image):
    """One number, but one of the headers is void: there is nothing to compare."""
    image.both(sequence=5)
    image.headers[1].spoiled = True


close_to('headers_identical_not', [206, 207], identical_but_one.__doc__, identical_but_one,
         found=(202,))


# ---- Fields of the current header ---------------------------------------------------------------

def numbers(first, second):
    """Sets the sequence numbers."""
    def bend(image):
        image.headers[0].sequence, image.headers[1].sequence = first, second
    return bend


bent('header_sequence_top', [208], 'The highest number there is.', numbers(TOP - 1, TOP),
     ('dynamic', 'fixed', 'child', 'dirty'))
bent('header_sequence_top_in_header_1', [208], 'In header 1.', numbers(TOP, 3))
bent('header_sequence_top_alone', [208, 202], 'The other header is bad.',
     lambda image: (numbers(TOP, 3)(image), header(2, spoiled=True)(image)))
close_to('header_sequence_high', [208], 'There is room for years.',
         numbers(TOP - (1 << 32), TOP - (1 << 32) - 1))
close_to('header_sequence_2_63', [208], 'The number is not signed.',
         numbers((1 << 63) - 1, 1 << 63))
close_to('header_sequence_spoiled', [208], 'The number of a void header means nothing.',
         lambda image: (numbers(TOP, 3)(image), header(1, spoiled=True)(image)), found=(202,))

bent('header_data_write_zero', [209], 'DataWriteGuid is zero.',
     lambda image: image.both(data_write=disk.ZERO_GUID))
bent('header_file_write_zero', [209], 'FileWriteGuid is zero.',
     lambda image: image.both(file_write=disk.ZERO_GUID), ('dynamic', 'child'))


@damage(210, may=(401,), reached=False)
def header_log_version_1():
    """A log of an unknown version that would have to be replayed."""
    image, ring = logged()
    image.both(log_version=1)
    for at, one in zip(disk.HEADER_AT, image.headers):
        ring.file.put(at, one.pack())
    ring.add(LogEntry(5, [echo(image)]))
    return image


bent('header_log_version_of_an_empty_log', [210], 'There is a LogGuid: what the log holds, only '
     'a newer program can tell.', lambda image: image.both(log_version=0xFFFF,
                                                           log_guid=LOG_GUID), reached=False)
# QEMU looks at LogVersion also when there is no log.
close_to('header_log_version_of_a_clean_log', [210, 402, 401], 'Without LogGuid it says nothing.',
         lambda image: image.both(log_version=1), qemu=False)


def log_place(name, doc, **fields):
    """Registers a sample whose headers place the log where none can be."""
    bent('header_log_' + name, [211], doc, lambda image: image.both(**fields), reached=False)


log_place('offset_unaligned', 'No multiple of 1 MiB.', log_offset=MIB + 4096)
log_place('offset_0', 'The log in the header section.', log_offset=0)
log_place('offset_at_the_end_of_64_bits', 'Offset and length add up to 2^64.',
          log_offset=(1 << 64) - MIB)
log_place('offset_beyond_64_bits', 'And beyond.', log_offset=(1 << 64) - MIB, log_length=2 * MIB)
log_place('length_unaligned', 'Half a MiB.', log_length=512 * KIB)
log_place('length_1_byte_too_long', 'One byte more than a MiB.', log_length=MIB + 1)
log_place('length_0', 'A LogGuid, but no log.', log_length=0, log_guid=LOG_GUID)


def add_dirty_place():
    """A dirty log with a bad place: what it held is lost, which here is nothing."""
    def build():
        image, ring = logged()
        ring.add(LogEntry(5, [echo(image)]))
        image.both(log_offset=MIB + 512)
        for at, one in zip(disk.HEADER_AT, image.headers):
            ring.file.put(at, one.pack())
        return image
    add('header_log_offset_unaligned_dirty', [211], add_dirty_place.__doc__, build, reached=False)


add_dirty_place()


bent('header_no_log', [212], 'Neither a log nor a LogGuid.',
     lambda image: image.both(log_length=0, log_offset=0),
     ('dynamic', 'fixed', 'child', 'sector4096'))
bent('header_no_log_at_a_place', [212], 'A place for a log, of no length.',
     lambda image: image.both(log_length=0))


def no_log_and(bend):
    """An image without a log, damaged elsewhere, too."""
    def both(image):
        image.both(log_length=0)
        bend(image)
    return both


# A safe repair puts no log where a block may have been.
bent('header_no_log_lost_block', [212], 'The file ends where a block begins, and a log would.',
     no_log_and(lambda image: gone(image, 4, image.file.size)), ('dynamic', 'block2m', 'child'),
     counts={605: 1}, safe=(212, 605))
bent('header_no_log_lost_block_behind', [212], 'Here there is just room for a log before it.',
     no_log_and(lambda image: gone(image, 4, image.file.size + MIB)), counts={605: 1},
     safe=(605,))
bent('header_no_log_overlap', [212], 'A block that lies on another one may reach beyond that.',
     no_log_and(lambda image: gone(image, 4, image.place_of(0))), counts={608: 1},
     safe=(212, 608))
bent('header_no_log_cut_block', [212], 'The log comes behind a block that is cut off.',
     no_log_and(shorter(MIB)), ('block2m', 'block32m'), counts={606: 1})
bent('headers_ambiguous_no_log', [206], 'Nor can either be told from the other by a log.',
     no_log_and(lambda image: ambiguous(image, file_write=guid_for('different'))), reached=False)


@near(211, 212)
def header_log_place_in_the_older_header():
    """What the older header says of the log is void."""
    image = sample()
    image.headers[0].log_offset, image.headers[0].log_guid = 77 * MIB + 512, guid_for('old')
    image.headers[0].log_length = 1
    return image


@near(211)
def header_log_elsewhere():
    """A log anywhere, here behind all else, of several MiB."""
    return sample('places')
