# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The register of damaged images, and what most of them are made of.

A case is an image with the findings that `vhdx check` must have of it, and with what must remain of
them after each level of repair. What a repair has to give up is noted by the builder (lose), side
by side with the damage itself. Cases without findings are near misses: what they are close to,
`near` says.
"""

import struct
from dataclasses import dataclass

import corpus  # noqa: F401  first: the modules below register with it
from good_chains import child_of, full_base
from good_logs import LOG_GUID, SECTOR, log_bat
from vhdxdisk import FULL, GIB, MIB, Data, bat_entry
from vhdximage import Image, LogRing, pattern

DAMAGE = {}

NOTE, LEAK, ERROR, FATAL = 'note', 'leak', 'error', 'fatal'
SEVERITIES = {
    NOTE: (102, 204, 207, 209, 309, 310, 311, 401, 402, 405, 406, 508, 512, 612, 614, 615, 702,
           905),
    LEAK: (104, 105),
    FATAL: (101, 103, 205, 206, 210, 211, 308, 313, 314, 316, 403, 404, 407, 408, 410, 501, 502,
            503, 504, 505, 506, 507, 509, 510, 511, 513, 514, 515, 516, 601)}
NEVER = (103, 207, 209, 210, 308, 309, 313, 314, 316, 405, 406, 501, 503, 504, 505, 506, 507, 508,
         509, 510, 511, 513, 515, 516, 601, 702)
GIVES_UP = (203, 205, 206, 211, 404, 407, 408, 410, 602, 604, 605, 607, 608, 609, 701)

# A repair goes through the log, and leaves its entries there; so does a replay.
BY_PRODUCT = {406}


def severity_of(number):
    """How bad a problem is."""
    return next((name for name, ids in SEVERITIES.items() if number in ids), ERROR)


def repair_of(number):
    """What mends a problem."""
    if number in NEVER or number >= 800:
        return 'none'
    return 'all' if number in GIVES_UP else 'safe'


@dataclass
class Damage:
    """An image, and what check and repair must make of it."""
    name: str
    doc: str
    build: object
    found: dict         # id -> how many, or None for at least one
    near: tuple         # what this is a near miss of
    safe: set           # ids that remain after --repair=safe
    all: set            # ids that remain after --repair=all
    may: set            # ids that may be there or not: the format leaves it open
    args: tuple = ()    # for the command line
    reached: object = None  # whether the check must get to the end; None: not for fatal findings
    reads: bool = True  # whether the content is known where nothing worse than a leak remains
    qemu: bool = True   # whether qemu-img check must take the repaired image
    parents: bool = True  # whether the chain is complete


def damage(*ids, name=None, doc=None, near=(), safe=None, all=None, may=(), counts=None, **more):
    """Registers a function that builds an image with these findings and no others."""
    # pylint: disable=redefined-builtin,too-many-arguments
    def register(build):
        found = dict.fromkeys(ids)
        found.update(counts or {})
        assert not set(near) & set(found)
        case = Damage(
            name or build.__name__, ' '.join((doc or build.__doc__).split()), build, found,
            tuple(near),
            {i for i in found if repair_of(i) != 'safe'} if safe is None else set(safe),
            {i for i in found if repair_of(i) == 'none'} if all is None else set(all),
            set(may), **more)
        assert case.name not in DAMAGE, case.name
        DAMAGE[case.name] = case
        return build
    return register


def near(*ids, found=(), **more):
    """Registers a function that builds an image which is close to having these findings."""
    return damage(*found, near=ids, **more)


def add(name, ids, doc, build, **more):
    """Registers a case without a decorator."""
    damage(*ids, name=name, doc=doc, **more)(build)


# ---- Images to damage ---------------------------------------------------------------------------

KINDS = ('dynamic', 'fixed', 'sector4096', 'block32m', 'places', 'chunks', 'child', 'dirty')


def sample(kind='dynamic', **fields):
    """An image of a kind. Blocks 0, 2 and the last hold data; there is room for one more block
    (image.hole), which nothing uses, before the last one's place."""
    if kind == 'child':
        image = child_of(full_base(size=fields.pop('size', 8 * MIB)), **fields)
    else:
        layout = {
            'fixed': {'fixed': True},
            'sector4096': {'sector': 4096},
            'block2m': {'block_size': 2 * MIB, 'size': 16 * MIB},
            'block32m': {'block_size': 32 * MIB, 'size': 256 * MIB},
            'places': {'metadata_at': 20 * MIB, 'log_at': 22 * MIB, 'log_length': 3 * MIB,
                       'bat_at': 30 * MIB, 'free_at': 2 * MIB},
            'chunks': {'size': 4 * GIB + 8 * MIB}}.get(kind, {})
        image = Image(**{**layout, **fields})
    image.kind, image.lost = kind, []
    if kind == 'dirty':
        image.both(log_guid=LOG_GUID)
    image.mark(0, 'sample')
    image.mark(2, 'sample')
    image.hole = image.allocate(image.block_size)
    image.mark(image.blocks - 1, 'sample')
    return image


def finish(image):
    """A dirty image's BAT moves to its log."""
    if image.kind == 'dirty':
        log_bat(image)
    return image


def bent(name, ids, doc, bend, kinds=('dynamic',), **more):
    """Registers samples of some kinds, damaged by a function. The kind stands in the name."""
    fields = more.pop('fields', {})
    for kind in kinds:
        def build(kind=kind):
            image = sample(kind, **fields)
            bend(image)
            return finish(image)
        own = dict(more)
        numbers = tuple(ids) + ((401,) if kind == 'dirty' else ())
        for level in ('safe', 'all'):
            if own.get(level) is not None:
                own[level] = set(own[level])
        suffix = '' if kind == 'dynamic' else '_' + kind
        damage(*numbers, name=name + suffix, doc=doc, **own)(build)


def close_to(name, ids, doc, bend, kinds=('dynamic',), found=(), **more):
    """The same for near misses."""
    bent(name, found, doc, bend, kinds, near=tuple(ids), **more)


# ---- Ways of damaging ---------------------------------------------------------------------------

def entry_at(image, block, state, offset=0, reserved=0):
    """Writes a BAT entry for a payload block, whatever becomes of its content."""
    image.bat[image.payload_index(block)] = bat_entry(state, offset // MIB, reserved)


def lose(image, block):
    """The content of a block cannot be had any more: a repair gives it up. It then is zeros, not
    what the parent had there long ago: nobody knows which of its sectors those were."""
    low = block * image.block_size
    high = min(low + image.block_size, image.size)
    image.content.zero(low, high - low)
    image.lost.append((low, high - low))


def lost_block(image, block, state, offset=0, reserved=0):
    """A block whose entry is bad, so that it must be given up."""
    entry_at(image, block, state, offset, reserved)
    lose(image, block)


def gone(image, block, offset):
    """A FULLY_PRESENT block at a place where none can be."""
    lost_block(image, block, FULL, offset)


def flip(image, offset, mask=1):
    """Flips bits of a byte of the finished file."""
    file = image.render()
    size = file.size
    file.put(offset, bytes([file.get(offset, 1)[0] ^ mask]))
    file.size = size


def grow(image, count, data=b''):
    """Makes the finished file longer; data at the beginning of what is new."""
    file = image.render()
    size = file.size
    file.put(size, data)
    file.size = size + count


def cut(image, size):
    """Cuts the finished file."""
    image.render().resize(size)


def child_sample(**fields):
    """A child with two partial blocks, 1 and 5, and a full one, 3."""
    image = child_of(full_base(), **fields)
    image.kind, image.lost = 'child', []
    image.put_sectors(MIB + 512, pattern('one', 1024))
    image.put_sectors(5 * MIB, pattern('five', 512))
    image.mark(3, 'child')
    return image


def raw_slot(image, chunk, value):
    """Writes a sector bitmap's BAT entry."""
    image.bat[image.bitmap_index(chunk)] = value


def echo(image, offset=None):
    """A descriptor that writes what is there already: its replay, or its loss, changes nothing."""
    offset = image.bat_at if offset is None else offset
    return Data(offset, image.render().get(offset, SECTOR))


def logged(kind='dynamic', guid=LOG_GUID, **fields):
    """A sample with a LogGuid, and its ring; the log is still to be written."""
    image = sample(kind, **fields)
    image.both(log_guid=guid)
    return image, LogRing(image)


def u32(*values):
    """Packed 32-bit integers."""
    return struct.pack('<%dI' % len(values), *values)


def load():
    """Imports all modules with cases."""
    # pylint: disable=import-outside-toplevel,unused-import
    import damage_file
    import damage_headers
    import damage_regions
    import damage_log
    import damage_metadata
    import damage_bat
    import damage_places
    import damage_bitmaps
    import damage_chain
    import damage_mixed
    return DAMAGE
