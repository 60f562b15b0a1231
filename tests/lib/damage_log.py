# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: the log (4xx).

Where a log cannot be replayed, it holds what is on disk already (echo): whether it is replayed all
the same or given up, the content is known."""

import struct

import vhdxdisk as disk
from damage_core import add, cut, damage, echo, gone, logged, near, sample
from good_logs import BROKEN, LOG_GUID, SECTOR, move_to_log
from vhdxdisk import FULL, KIB, MIB, UNDEFINED, Data, LogEntry, Zero, bat_entry
from vhdximage import LogRing, guid_for, pattern

OTHER = guid_for('another log')
BEFORE = (401,)  # whether entries that wait are also told of where the log is broken, is open


def one_entry(kind='dynamic', at=0, sequence=10, log_length=MIB, **entry):
    """A sample whose BAT page is in the log, and zeros on disk."""
    image, ring = logged(kind, log_length=log_length)
    ring.begin(at)
    ring.add(LogEntry(sequence, [move_to_log(image, image.bat_at)], **entry))
    return image


# ---- To be replayed -----------------------------------------------------------------------------

for _kind in ('dynamic', 'fixed', 'sector4096', 'child'):
    add('log_dirty_' + _kind, [401], 'One entry with a BAT page.', lambda k=_kind: one_entry(k))
add('log_dirty_wrapped_entry', [401], 'An entry round the end of the log.',
    lambda: one_entry(at=MIB - SECTOR))
add('log_dirty_top_number', [401], 'The highest sequence number there is.',
    lambda: one_entry(sequence=(1 << 64) - 1))
add('log_dirty_number_1', [401], 'The lowest.', lambda: one_entry(sequence=1))
add('log_dirty_flushed_exact', [401], 'FlushedFileOffset is exactly the size of the file.',
    lambda: one_entry(flushed=8 * MIB, last=8 * MIB), near=(407,))
add('log_dirty_at_the_end', [401], 'In the last MiB of a longer log.',
    lambda: one_entry(log_length=4 * MIB, at=4 * MIB - 2 * SECTOR), near=(409, 410))


@damage(401)
def log_dirty_wrapped_sequence():
    """Five entries round the end; the one that counts is the last."""
    image, ring = logged()
    page = move_to_log(image, image.bat_at)
    ring.begin(MIB - 5 * SECTOR)
    for number in range(4):
        ring.add(LogEntry(20 + number, [Data(image.bat_at, bytes([0, 0, 16 * number])
                                             .ljust(SECTOR, b'\0'))]))
    ring.add(LogEntry(24, [page]))
    return image


@damage(401)
def log_dirty_grows_the_file():
    """The last block lies past the end of the file, which the log makes longer."""
    image = sample()
    image.both(log_guid=LOG_GUID)
    at = image.make_full(4)
    ring = LogRing(image)
    ring.add(LogEntry(5, [move_to_log(image, image.bat_at)], last=at + MIB, flushed=at))
    image.render().resize(at)
    return image


@damage(401)
def log_dirty_mends_the_bat():
    """On disk a block overlaps another, has a reserved state, lies past the end; not in the log."""
    image, ring = logged()
    page = move_to_log(image, image.bat_at)
    wrong = bytearray(page.content)
    wrong[8:16] = wrong[:8]
    wrong[24:40] = struct.pack('<QQ', bat_entry(4), bat_entry(FULL, 9000))
    image.render().put(image.bat_at, bytes(wrong))
    ring.add(LogEntry(5, [page]))
    return image


@damage(401)
def log_dirty_mends_tables_and_metadata():
    """On disk both region tables and the metadata table are zeros; the log has them."""
    image, ring = logged()
    image.render()
    pages = [move_to_log(image, at) for at in (*disk.REGION_TABLE_AT, image.metadata_at)]
    ring.add(LogEntry(5, pages))
    return image


@near(403, 404, found=(401,))
def log_older_complete_sequence():
    """The newest run is not complete: its Tail lies nowhere; the older one is."""
    image, ring = logged()
    page = move_to_log(image, image.bat_at)
    ring.add(LogEntry(10, [page]))
    ring.begin(60 * SECTOR)
    ring.add(LogEntry(50, [Data(image.bat_at, pattern('wrong', SECTOR))], tail=30 * SECTOR))
    return image


# ---- Nothing to be replayed ---------------------------------------------------------------------

def empty(kind='dynamic', **fields):
    """A LogGuid, and a log of zeros."""
    image = sample(kind, **fields)
    image.both(log_guid=LOG_GUID)
    return image


for _kind in ('dynamic', 'fixed', 'child', 'places'):
    add('log_empty_' + _kind, [402], empty.__doc__, lambda k=_kind: empty(k))


def stale(*places, guid=OTHER):
    """Entries of another log, and a LogGuid which none of them carries."""
    image, ring = logged()
    for at in places:
        ring.begin(at * SECTOR)
        ring.add(LogEntry(7, [Data(image.bat_at, pattern('stale', SECTOR))], guid=guid))
    return image


add('log_stale', [403], stale.__doc__, lambda: stale(0))
add('log_stale_several', [403], stale.__doc__, lambda: stale(3, 100, 254))
add('log_stale_zero_guid', [403], 'Entries of no log at all.', lambda: stale(0, guid=bytes(16)))


@damage(403)
def log_stale_garbage():
    """There is no entry in the log, and yet it is not empty."""
    image, ring = logged()
    ring.file.put(image.log_at + 5 * SECTOR, pattern('garbage', 3 * SECTOR))
    return image


@damage(403)
def log_stale_not_at_a_sector():
    """A perfect entry, but at no multiple of 4 KiB: it is none."""
    image, ring = logged()
    entry = LogEntry(5, [echo(image)], tail=0, guid=LOG_GUID, flushed=4 * MIB, last=8 * MIB)
    ring.file.put(image.log_at + 512, entry.pack())
    return image


@near(403, 402, found=(401,))
def log_stale_not():
    """Old entries everywhere, and one that carries the LogGuid."""
    image = stale(3, 100, 254)
    LogRing(image, 50 * SECTOR).add(LogEntry(2, [echo(image)]))
    return image


def clean(*entries, at=0):
    """No LogGuid, and old entries: they were replayed before."""
    image = sample()
    image.both(log_guid=OTHER)
    ring = LogRing(image, at)
    for entry in entries:
        ring.add(entry)
    image.both(log_guid=disk.ZERO_GUID)
    for place, header in zip(disk.HEADER_AT, image.headers):
        ring.file.put(place, header.pack())
    return image


def harm(image_bat=3 * MIB):
    """A page that must not be replayed."""
    return Data(image_bat, pattern('harm', SECTOR))


add('log_leftover', [406], clean.__doc__, lambda: clean(LogEntry(7, [harm()])))
add('log_leftover_last_sector', [406], 'One entry, in the last sector.',
    lambda: clean(LogEntry(7), at=MIB - SECTOR))
add('log_leftover_spoiled', [406], 'Whether they are whole does not matter.',
    lambda: clean(LogEntry(7, [harm()]), LogEntry(8, [harm()], spoiled=True)))


@near(406)
def log_leftover_garbage():
    """What has no entry's signature at a sector's beginning is no entry."""
    image = sample()
    file = image.render()
    file.put(image.log_at + 512, b'loge')
    file.put(image.log_at + 8 * SECTOR, pattern('garbage', SECTOR))
    return image


@near(402, 403, 404)
def log_clean():
    """No LogGuid, no entries."""
    return sample()


# ---- No complete sequence -----------------------------------------------------------------------

def broken(**fields):
    """The only entry that carries the LogGuid is bad in one way."""
    image, ring = logged()
    entry = LogEntry(11, [echo(image)])
    for name, value in fields.items():
        setattr(entry.descriptors[0] if name.startswith('sector_') else entry, name, value)
    ring.add(entry)
    return image


WAYS = {name: fields for name, fields in BROKEN.items()
        if name not in ('sequence_gap', 'signature')}
for _name, _fields in WAYS.items():
    add('log_broken_' + _name, [404], broken.__doc__, lambda f=_fields: broken(**f), may=BEFORE)
# Nothing is an entry that has not its signature.
add('log_broken_signature', [403], 'The signature of the only entry is wrong.',
    lambda: broken(signature=b'logf'))


@damage(404, may=BEFORE)
def log_broken_tail():
    """A valid entry whose Tail is no entry of its sequence."""
    image, ring = logged()
    ring.add(LogEntry(5, [echo(image)], tail=100 * SECTOR))
    return image


@damage(404, may=BEFORE)
def log_broken_gap():
    """Entries 10, 11, 13, and the Tail of the last behind the gap."""
    image, ring = logged()
    ring.add(LogEntry(10, tail=200 * SECTOR))
    ring.add(LogEntry(11, tail=200 * SECTOR))
    ring.add(LogEntry(13, [echo(image)], tail=0))
    return image


@damage(404, may=BEFORE)
def log_broken_inside():
    """Three entries of one sequence, of which the one in the middle is torn; the oldest, with a
    Tail that was cleared long ago, completes nothing."""
    image, ring = logged()
    ring.add(LogEntry(10, [echo(image)], tail=200 * SECTOR))
    at = ring.add(LogEntry(11, [echo(image)], tail=0))
    ring.add(LogEntry(12, [echo(image)], tail=0))
    ring.file.zero(image.log_at + at + SECTOR, SECTOR)
    return image


# ---- Torn entries beside the active sequence ----------------------------------------------------
# There cannot be one without the other: without an active sequence it is log-broken.

def torn(change, behind=True):
    """The newest entry was not written to its end: the sequence ends before it."""
    image, ring = logged()
    page = move_to_log(image, image.bat_at)
    if not behind:
        at = ring.add(LogEntry(9, [harm()]))
        change(ring.file, image.log_at + at)
        ring.begin(ring.next)
    ring.add(LogEntry(10, [page]))
    if behind:
        at = ring.add(LogEntry(11, [harm()]))
        change(ring.file, image.log_at + at)
    return image


TEARS = {'data_sector': lambda file, at: file.zero(at + SECTOR, SECTOR),
         'one_bit': lambda file, at: file.put(at + 70, b'\x5a'),
         'last_byte': lambda file, at: file.put(at + 2 * SECTOR - 1, b'\x5a')}
for _name, _change in TEARS.items():
    add('log_torn_' + _name, [401, 405], torn.__doc__, lambda c=_change: torn(c), all=(),
        safe=())
add('log_torn_before_tail', [401], 'An old entry, before Tail: nobody was writing that.',
    lambda: torn(TEARS['one_bit'], False), near=(405,))
add('log_torn_signature', [401], 'What has no signature is no entry, not even a torn one.',
    lambda: torn(lambda file, at: file.put(at, b'LOGE')), near=(405,))


@near(405, found=(401,))
def log_torn_not():
    """Beside the active sequence there are whole old entries of this log, and torn ones of
    another."""
    image, ring = logged()
    page = move_to_log(image, image.bat_at)
    ring.add(LogEntry(3, [harm()]))
    ring.begin(60 * SECTOR)
    ring.add(LogEntry(900, [harm()], guid=OTHER, spoiled=True))
    ring.begin(90 * SECTOR)
    ring.add(LogEntry(10, [page]))
    return image


# ---- Valid sequences that cannot be replayed as they are ----------------------------------------

def flushed(*values):
    """The file is shorter than it was when the head entry was written."""
    image, ring = logged()
    for number, value in enumerate(values):
        ring.add(LogEntry(5 + number, [echo(image)], flushed=value, last=value))
    return image


add('log_file_truncated', [407], flushed.__doc__, lambda: flushed(80 * MIB), may=BEFORE)
add('log_file_truncated_by_1_mib', [407], flushed.__doc__, lambda: flushed(9 * MIB), may=BEFORE)
add('log_file_truncated_last_entry', [407], 'Of several entries, the head counts.',
    lambda: flushed(4 * MIB, 4 * MIB, 9 * MIB), may=BEFORE)
add('log_file_truncated_older_entry', [401], 'The file was cut between two entries.',
    lambda: flushed(900 * MIB, 8 * MIB), near=(407,))
add('log_file_truncated_not', [401], 'The file is as long as it has to be.',
    lambda: flushed(8 * MIB), near=(407,))


def forbidden(descriptor):
    """An entry with a descriptor for a place that the log must not change."""
    image, ring = logged()
    ring.add(LogEntry(5, [echo(image), descriptor]))
    return image


for _name, _descriptor in (
        ('identifier', Data(0, b'vhdxfile'.ljust(SECTOR, b'\0'))),
        ('header_1', Data(64 * KIB, bytes(SECTOR))), ('header_2', Data(128 * KIB, bytes(SECTOR))),
        ('below_192_kib', Data(188 * KIB, bytes(SECTOR))),
        ('zeros_across_192_kib', Zero(188 * KIB, 2 * SECTOR)),
        ('itself', Data(MIB, bytes(SECTOR))),
        ('its_last_sector', Data(2 * MIB - SECTOR, bytes(SECTOR))),
        ('zeros_into_itself', Zero(MIB - SECTOR, 2 * SECTOR)),
        ('end_of_64_bits', Data((1 << 64) - SECTOR, bytes(SECTOR))),
        ('zeros_beyond_64_bits', Zero(1 << 63, (1 << 63) + 192 * KIB))):
    add('log_forbidden_' + _name, [408], forbidden.__doc__,
        lambda d=_descriptor: forbidden(d), may=BEFORE)
for _name, _descriptor in (('before_the_log', Zero(MIB - SECTOR, SECTOR)),
                           ('behind_the_log', Zero(4 * MIB - SECTOR, SECTOR))):
    add('log_allowed_' + _name, [401], 'A place as close to a forbidden one as can be.',
        lambda d=_descriptor: forbidden(d), near=(408,))


@damage(408, may=BEFORE)
def log_forbidden_in_the_oldest_entry():
    """Every entry of the sequence counts, not only its head."""
    image, ring = logged()
    ring.add(LogEntry(5, [Data(64 * KIB, bytes(SECTOR))]))
    ring.add(LogEntry(6, [echo(image)]))
    return image


@near(408, found=(401,))
def log_allowed_192_kib():
    """The lowest offset there may be; and what lies before Tail is not looked at."""
    image, ring = logged()
    ring.add(LogEntry(4, [Data(64 * KIB, bytes(SECTOR))]))
    ring.begin(ring.next)
    ring.add(LogEntry(5, [echo(image, 192 * KIB)]))
    return image


# ---- The end of the file ------------------------------------------------------------------------

def at_the_end(size, dirty=False, length=2 * MIB, bend=None):
    """The log is the last structure in the file, and the file ends in it."""
    image = sample(log_at=20 * MIB, log_length=length, metadata_at=2 * MIB, bat_at=3 * MIB,
                   free_at=4 * MIB)
    if bend:
        bend(image)
    if dirty:
        image.both(log_guid=LOG_GUID)
        LogRing(image).add(LogEntry(5, [echo(image)], flushed=MIB, last=MIB))
    cut(image, size)
    return image


add('log_cut', [409], 'The file ends in the midst of a clean log.', lambda: at_the_end(21 * MIB))
add('log_cut_unaligned', [409, 102], 'One sector is missing.',
    lambda: at_the_end(22 * MIB - SECTOR))
add('log_cut_wholly', [409], 'The file ends where the log begins.', lambda: at_the_end(20 * MIB))

# A block has been where a new log would lie: none is made unasked.
add('log_cut_wholly_lost_block', [409, 605], 'The file ends where a block began, before the log.',
    lambda: at_the_end(12 * MIB, bend=lambda image: gone(image, 4, 12 * MIB)), safe=(409, 605))
add('log_cut_not', [], 'The log ends where the file does.', lambda: at_the_end(22 * MIB),
    near=(409, 410, 104))
add('log_lost', [410], 'The file ends in the midst of a dirty log.',
    lambda: at_the_end(21 * MIB, True), may=BEFORE)
add('log_lost_wholly', [410], 'Nothing of it is there.', lambda: at_the_end(20 * MIB, True),
    may=BEFORE)
add('log_lost_not', [401], 'All of it is there.', lambda: at_the_end(22 * MIB, True),
    near=(409, 410))


# ---- What a replay brings to light --------------------------------------------------------------

def reveals(value, ids, name, doc, loses=True):
    """Registers a sample whose log brings a bad BAT entry for block 4, where on disk all is
    well."""
    def build():
        image, ring = logged()
        page = bytearray(image.render().get(image.bat_at, SECTOR))
        page[32:40] = struct.pack('<Q', value)
        ring.add(LogEntry(5, [Data(image.bat_at, bytes(page))]))
        if loses:
            image.lost.append((4 * MIB, MIB))
        return image
    add('log_brings_' + name, [401, *ids], doc, build)


reveals(bat_entry(4), [602], 'a_reserved_state', 'The entry in the log has the reserved state.')
reveals(bat_entry(FULL, 900), [605], 'a_block_past_the_end', 'Past the end, also of the log.')
reveals(bat_entry(FULL, 4), [608], 'an_overlap', 'On block 0.')
reveals(bat_entry(UNDEFINED, 4), [613], 'an_anchor', 'On block 0, but only kept.', loses=False)
