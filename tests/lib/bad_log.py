# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Bad images: logs that must be replayed and cannot."""

import struct

import vhdxdisk as disk
from corpus import bad
from good_logs import BROKEN, SECTOR, dirty, log_bat, move_to_log
from vhdxdisk import KIB, MIB, Data, LogEntry
from vhdxdisk import Zero as ZeroDescriptor
from vhdximage import LogRing, guid_for, pattern

NO_SEQUENCE = r'log.*(no |valid|sequence|complete|must be)'
LOG = (MIB, 2 * MIB)
LENIENT = ('flushed_unaligned', 'last_unaligned')  # QEMU writes the file size as it is


# ---- A single entry that is not valid -----------------------------------------------------------

def broken_only(descriptor, entry):
    """The only entry of the log is bad in one way: there is no valid sequence."""
    image = dirty()
    data = move_to_log(image, image.bat_at)
    for name, value in descriptor.items():
        setattr(data, name, value)
    fields = {'sequence': 11, **entry}
    LogRing(image).add(LogEntry(descriptors=[data], **fields))
    return image


def add_broken():
    """Registers a case for each way in which an entry can be bad."""
    ways = {name: fields for name, fields in BROKEN.items() if name != 'sequence_gap'}
    ways['reserved'] = {'reserved': 1}
    ways['flushed_unaligned'] = {'flushed': 4 * MIB + 4096}
    ways['last_unaligned'] = {'last': 40 * MIB + 4096}
    ways['guid'] = {'guid': guid_for('another log')}
    ways['guid_zero'] = {'guid': disk.ZERO_GUID}
    for name, fields in ways.items():
        own = {key: value for key, value in fields.items() if key.startswith('sector_')}
        rest = {key: value for key, value in fields.items() if key not in own}
        bad('CORRUPT', NO_SEQUENCE, name='log_entry_bad_' + name, doc=broken_only.__doc__,
            place=LOG, lenient=name in LENIENT)(lambda o=own, r=rest: broken_only(o, r))
    for name, fields in (('signature', {'signature': b'zesc'}), ('sequence', {'sequence': 12}),
                         ('offset_unaligned', {'file_offset': 3 * MIB + 512})):
        bad('CORRUPT', NO_SEQUENCE, name='log_descriptor_bad_' + name, doc=broken_only.__doc__,
            place=LOG)(lambda f=fields: broken_only(f, {}))


add_broken()


def broken_zero(**fields):
    """The same for an entry with a zero descriptor."""
    image = dirty()
    page = move_to_log(image, image.bat_at)
    zero = ZeroDescriptor(image.bat_at + MIB - SECTOR, SECTOR)
    for name, value in fields.items():
        setattr(zero, name, value)
    LogRing(image).add(LogEntry(11, [zero, page]))
    return image


for _name, _fields in (('reserved', {'reserved': 1}), ('length_unaligned', {'length': 4095}),
                       ('offset_unaligned', {'file_offset': 3 * MIB + 1}),
                       ('sequence', {'sequence': 10}), ('signature', {'signature': b'ZERO'})):
    bad('CORRUPT', NO_SEQUENCE, name='log_zero_descriptor_bad_' + _name,
        doc=broken_zero.__doc__, place=LOG)(lambda f=_fields: broken_zero(**f))


# ---- Entries that make no complete sequence -----------------------------------------------------

@bad('CORRUPT', NO_SEQUENCE)
def log_of_garbage():
    """A log to replay that holds no entry at all, but is not empty."""
    image = dirty()
    image.render().put(image.log_at + 5 * SECTOR, pattern('garbage', 3 * SECTOR))
    return image


@bad('CORRUPT', NO_SEQUENCE)
def log_tail_nowhere():
    """A valid entry whose Tail is no entry of its sequence."""
    image = dirty()
    log_bat(image, tail=100 * SECTOR)
    return image


@bad('CORRUPT', NO_SEQUENCE)
def log_tail_behind_a_gap():
    """Entries 10, 11, 13: the run that ends with 13 has its Tail in the other."""
    image = dirty()
    ring = LogRing(image)
    ring.add(LogEntry(10, tail=200 * SECTOR))
    ring.add(LogEntry(11, tail=200 * SECTOR))
    ring.add(LogEntry(13, [move_to_log(image, image.bat_at)], tail=0))
    return image


@bad('CORRUPT', NO_SEQUENCE)
def log_tail_into_the_middle_of_an_entry():
    """Tail names a data sector of the entry instead of its beginning."""
    image = dirty()
    log_bat(image, tail=SECTOR)
    return image


@bad('CORRUPT', NO_SEQUENCE)
def log_entry_not_at_a_sector():
    """A perfect entry, but not at a multiple of 4 KiB."""
    image = dirty()
    file = image.render()
    data = move_to_log(image, image.bat_at)
    entry = LogEntry(5, [data], tail=0, guid=image.headers[1].log_guid, flushed=4 * MIB,
                     last=20 * MIB)
    file.put(image.log_at + 512, entry.pack())
    return image


@bad('CORRUPT', NO_SEQUENCE)
def log_entry_past_the_end_of_the_log():
    """The entry lies behind the log, where nobody may look."""
    image = dirty(log_length=2 * MIB)
    image.both(log_length=MIB)
    log_bat(image, at=MIB)
    image.render().put(image.log_at + 9 * SECTOR, b'not empty')
    return image


# ---- Valid sequences that must not be replayed --------------------------------------------------

@bad('TRUNCATED', r'flushed|file.*(size|short|truncated|cut)')
def log_flushed_file_offset_past_the_end():
    """The file is shorter than it was when the entry was written."""
    image = dirty()
    log_bat(image, flushed=80 * MIB, last=80 * MIB)
    return image


def bad_target(name, doc, *descriptors):
    """Registers a valid entry with a descriptor for a place that the log must not change."""
    def build():
        image = dirty()
        page = move_to_log(image, image.bat_at)
        LogRing(image).add(LogEntry(5, [page, *descriptors]))
        return image
    bad('CORRUPT', r'(log|descriptor).*offset', name='log_writes_' + name, doc=doc,
        place=LOG)(build)


bad_target('the_identifier', 'The file identifier is never written again.',
           Data(0, b'vhdxfile'.ljust(SECTOR, b'\0')))
bad_target('header_1', 'Headers are not changed through the log.', Data(64 * KIB, bytes(SECTOR)))
bad_target('header_2', 'Nor is the other one.', Data(128 * KIB, bytes(SECTOR)))
bad_target('below_192_kib', 'The last sector before the region tables.',
           Data(188 * KIB, bytes(SECTOR)))
bad_target('zeros_across_192_kib', 'Zeros that begin too low.', ZeroDescriptor(188 * KIB, 8192))
bad_target('itself', 'A descriptor in the log.', Data(MIB + 40 * SECTOR, bytes(SECTOR)))
bad_target('its_last_sector', 'The last sector of the log.', Data(2 * MIB - SECTOR, bytes(SECTOR)))
bad_target('zeros_over_itself', 'Zeros that begin before the log and reach into it.',
           ZeroDescriptor(MIB - SECTOR, 2 * SECTOR))


@bad('CORRUPT', r'log.*offset')
def log_oldest_entry_writes_a_header():
    """Every entry of the sequence counts, not only its head."""
    image = dirty()
    ring = LogRing(image)
    ring.add(LogEntry(5, [Data(64 * KIB, bytes(SECTOR))]))
    ring.add(LogEntry(6, [move_to_log(image, image.bat_at)]))
    return image


# ---- Replay that leaves a bad structure ---------------------------------------------------------

@bad('CORRUPT', r'BAT entry.*state.*4', stage='read')
def log_brings_a_bad_bat_entry():
    """On disk the BAT is right; the entry in the log has a reserved state."""
    image = dirty()
    image.render()
    page = bytearray(image.file.get(image.bat_at, SECTOR))
    page[8:16] = struct.pack('<Q', disk.bat_entry(disk.RESERVED_4))
    LogRing(image).add(LogEntry(5, [Data(image.bat_at, bytes(page))]))
    return image


@bad('CORRUPT', r'region table')
def log_zeroes_region_tables():
    """The log puts zeros over both region tables."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(192 * KIB, 128 * KIB)]))
    return image


@bad('CORRUPT', r'metadata')
def log_zeroes_metadata():
    """The log puts zeros over the metadata table."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(image.metadata_at, 64 * KIB)]))
    return image
