# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What goes in comes out: raw to VHDX to raw, VHDX of every kind to VHDX of every kind. What was
written is read by the reference reader, and hashed by Python's hashlib."""

import csv
import hashlib
import os
import random
import time

import pytest

from convert_support import (GIB, KIB, MIB, SparseBytes, padded, same_image, same_pages, same_raw,
                             scatter, sha256_of_file)
from environment import images_folder, missing
# pylint: disable=wrong-import-order
import corpus
import vhdxref

BLOCKS = (1, 2, 32, 256)  # MiB
SECTORS = (512, 4096)


def options_of(block, sector=512, subformat='dynamic'):
    """Of a VHDX output."""
    return ['-o', 'block_size=%dM,logical_sector_size=%d,subformat=%s' % (block, sector, subformat)]


# ---- Raw and VHDX --------------------------------------------------------------------------------

@pytest.mark.parametrize('subformat', ['dynamic', 'fixed'])
@pytest.mark.parametrize('sector', SECTORS)
@pytest.mark.parametrize('block', BLOCKS)
def test_raw_to_vhdx_and_back(vhdx, tmp_path, block, sector, subformat):
    """Every type, block size and sector size."""
    if subformat == 'fixed' and block == 256:
        size = 256 * MIB + 4096 * 3
    else:
        size = max(9 * MIB, 2 * block * MIB) + 4096 * 5
    disk = scatter(size, block * MIB, seed=block + sector)
    raw, image, back = (tmp_path / name for name in ('a.raw', 'b.vhdx', 'c.raw'))
    disk.save(raw)
    vhdx.ok('convert', '-q', '-O', 'vhdx', *options_of(block, sector, subformat), raw, image)
    same_image(image, disk, block=block * MIB, sector=sector, fixed=subformat == 'fixed',
               has_parent=False)
    vhdx.ok('check', '-q', image)
    vhdx.ok('convert', '-q', '-O', 'raw', image, back)
    same_raw(back, disk)
    assert sha256_of_file(back) == disk.sha256() == sha256_of_file(raw)


@pytest.mark.parametrize('sector', SECTORS)
@pytest.mark.parametrize('size', [1, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1,
                                  7 * MIB + 12345, 32 * MIB - 511])
def test_odd_sizes(vhdx, tmp_path, size, sector):
    """A file that is no whole number of sectors is filled up with zeros."""
    disk = scatter(size, seed=size)
    raw, image, back = (tmp_path / name for name in ('a.raw', 'b.vhdx', 'c.raw'))
    disk.save(raw)
    vhdx.ok('convert', '-q', *options_of(1, sector), raw, image)
    whole = padded(disk, sector)
    same_image(image, whole)
    vhdx.ok('convert', '-q', image, back)
    same_raw(back, whole)
    vhdx.ok('convert', '-q', '-f', 'raw', raw, tmp_path / 'd.raw')
    same_raw(tmp_path / 'd.raw', disk)


def test_nothing_at_all(vhdx, tmp_path):
    """There is no VHDX of no bytes."""
    raw = tmp_path / 'a.raw'
    raw.touch()
    message = vhdx.fails('convert', '-q', raw, tmp_path / 'b.vhdx')
    assert 'size' in message or 'empty' in message, message
    assert os.listdir(tmp_path) == ['a.raw']


def test_raw_that_looks_like_vhdx(vhdx, tmp_path):
    """-f raw takes an image's file as bytes."""
    disk = scatter(3 * MIB)
    raw, image = tmp_path / 'a.raw', tmp_path / 'b.vhdx'
    disk.save(raw)
    vhdx.ok('convert', '-q', raw, image)
    vhdx.ok('convert', '-q', '-f', 'raw', '-O', 'raw', image, tmp_path / 'c.raw')
    assert (tmp_path / 'c.raw').read_bytes() == image.read_bytes()


@pytest.mark.parametrize('name, kind', [('b.vhdx', 'vhdx'), ('b.avhdx', 'vhdx'), ('b.VHDX', 'vhdx'),
                                        ('b.raw', 'raw'), ('b.img', 'raw'), ('b', 'raw')])
def test_format_by_name(vhdx, tmp_path, name, kind):
    """Without -O the name's ending decides."""
    disk = scatter(2 * MIB)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / name)
    (same_image if kind == 'vhdx' else same_raw)(tmp_path / name, disk)


@pytest.mark.parametrize('threads', [1, 2, 7, 64])
def test_threads(vhdx, tmp_path, threads):
    """The same, whatever number of threads."""
    disk = scatter(40 * MIB + 512, most=200)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', '-m', str(threads), tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk)
    vhdx.ok('convert', '-q', '-m', str(threads), tmp_path / 'b.vhdx', tmp_path / 'c.raw')
    same_raw(tmp_path / 'c.raw', disk)


# ---- VHDX to VHDX --------------------------------------------------------------------------------

@pytest.mark.parametrize('block', BLOCKS)
@pytest.mark.parametrize('source', ['dynamic', 'fixed', 'differencing'])
@pytest.mark.parametrize('sector', SECTORS)
def test_vhdx_of_every_kind(vhdx, tmp_path, source, sector, block):
    """From a generated image with blocks in every state, one sector less than whole, to another
    block size, the other type and the other sector size."""
    made = corpus.GOOD['matrix_%s_%d_2m' % (source, sector)].build()
    path = made.save(str(tmp_path))
    subformat, other = 'dynamic' if source == 'fixed' else 'fixed', 4096 + 512 - sector
    if block == 256:
        subformat = 'dynamic'
    for number, target in enumerate((sector, other)):
        image = tmp_path / ('out%d.vhdx' % number)
        vhdx.ok('convert', '-q', *options_of(block, target, subformat), path, image)
        same_image(image, padded(made.content, target), block=block * MIB, sector=target,
                   fixed=subformat == 'fixed', has_parent=False)
        vhdx.ok('check', '-q', image)


@pytest.mark.parametrize('name', list(corpus.GOOD))
def test_corpus(vhdx, tmp_path, name):
    """Chains, dirty logs, extreme layouts: every good image of the corpus becomes a plain one with
    the content that its builder intended, and is not changed."""
    case = corpus.GOOD[name]
    made = case.build()
    path = made.save(str(tmp_path))
    options = ['--map-path' if word == '--map' else word for word in case.options]
    before = [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob('*.vhdx')]
    out = tmp_path / 'converted.vhdx'
    vhdx.ok('convert', '-q', *options, '-o', 'block_size=1M' if made.block_size > MIB else
            'block_size=2M', path, out, cwd=tmp_path)
    found = same_image(out, padded(made.content, vhdxref.open_image(str(out)).sector),
                       has_parent=False, fixed=False)
    if made.size <= 64 * MIB:
        assert found.content.sha256() == padded(made.content, found.sector).sha256()
    assert before == [(p, p.stat().st_mtime_ns, p.stat().st_size) for p, _, _ in before]


def real_images():
    """Rows of images.tsv that have a hash."""
    folder = images_folder()
    if not (folder / 'images.tsv').exists():
        return []
    with open(folder / 'images.tsv', encoding='utf-8') as file:
        return [row for row in csv.DictReader(file, delimiter='\t')
                if row['virtual_sha256'] != '-']


@pytest.mark.parametrize('row', real_images(), ids=lambda row: row['file'].split('.')[0])
def test_real_images(vhdx, unpacked, tmp_path, row):
    """Images of Windows and of other programs, one of them with a dirty log, one with a parent."""
    name = row['file'].rpartition('.')[0]
    if row['note'].startswith('parent:'):
        unpacked(row['note'][7:].rpartition('.')[0])
    out = tmp_path / 'out.vhdx'
    vhdx.ok('convert', '-q', '-o', 'block_size=2M', unpacked(name), out)
    image = vhdxref.open_image(str(out))
    assert (image.size, image.block_size) == (int(row['size']), 2 * MIB)
    assert hash_of(image) == row['virtual_sha256']
    image.close()


def test_real_images_are_there():
    """They are, where nothing may be left out."""
    if not real_images():
        missing('there is no images.tsv in VHDX_IMAGES')


def hash_of(image):
    """The digest of the disk, in less memory than its content."""
    digest, zeros = hashlib.sha256(), bytes(MIB)
    for extent in image.extents():
        for at in range(0, extent.length, MIB):
            length = min(MIB, extent.length - at)
            digest.update(image.image_at(extent.depth).file.read(extent.file_offset + at, length)
                          if extent.kind == 'data' else zeros[:length])
    return digest.hexdigest()


# ---- Children ------------------------------------------------------------------------------------

def changed(disk, size=None):
    """A disk that differs from another in a few places; the ranges that differ."""
    other, ranges = disk.copy(size), []
    for place, length in ((512, 512), (MIB + 5000, 700), (3 * MIB - 100, 200),
                          (5 * MIB, MIB + 4096)):
        if place + length <= other.size:
            old = other.get(place, length)
            other.put(place, bytes(byte ^ 0xA5 for byte in old))
            ranges.append((place, place + length))
    stretch = max(other.pages(), default=(0, b''))[0]
    if other.get(stretch, 4096).strip(b'\0'):
        other.zero(stretch, 4096)
        ranges.append((stretch, stretch + 4096))
    return other, ranges


@pytest.mark.parametrize('block', BLOCKS)
@pytest.mark.parametrize('sector', SECTORS)
def test_child_holds_what_differs(vhdx, tmp_path, sector, block):
    """-b: the output is a child of an image, and small."""
    disk = scatter(max(9, 2 * block) * MIB, seed=9)
    other, ranges = changed(disk)
    disk.save(tmp_path / 'a.raw')
    other.save(tmp_path / 'b.raw')
    vhdx.ok('convert', '-q', *options_of(block, sector), tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    before = sha256_of_file(tmp_path / 'p.vhdx') if block < 256 else None
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'b.raw', tmp_path / 'c.avhdx')
    found = same_image(tmp_path / 'c.avhdx', other, has_parent=True, sector=sector)
    for start, end in found.own():
        assert any(start < high + 64 * KIB and low < end + 64 * KIB for low, high in ranges), \
            'nothing differs near %#x..%#x' % (start, end)
    assert sum(end - start for start, end in found.own()) < 2 * MIB
    vhdx.ok('check', '-q', tmp_path / 'c.avhdx')
    vhdx.ok('convert', '-q', tmp_path / 'c.avhdx', tmp_path / 'd.raw')
    same_raw(tmp_path / 'd.raw', other)
    assert before is None or before == sha256_of_file(tmp_path / 'p.vhdx')


def test_child_of_its_own_equal_is_empty(vhdx, tmp_path):
    """Nothing differs: nothing is stored."""
    disk = scatter(9 * MIB)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'a.raw', tmp_path / 'c.avhdx')
    found = same_image(tmp_path / 'c.avhdx', disk, has_parent=True)
    assert found.own() == [] and not found.bat


@pytest.mark.parametrize('size', [5 * MIB, 9 * MIB + 512, 14 * MIB])
def test_child_of_another_size(vhdx, tmp_path, size):
    """Smaller and larger than its parent: what the parent has behind the child's end is not there,
    and what the child has behind the parent's end is its own."""
    disk = scatter(9 * MIB, seed=4)
    other, _ = changed(disk, size)
    other.put(size - 600, b'the end')
    disk.save(tmp_path / 'a.raw')
    other.save(tmp_path / 'b.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'b.raw', tmp_path / 'c.vhdx')
    same_image(tmp_path / 'c.vhdx', other, has_parent=True)


def test_child_of_a_child_from_a_chain(vhdx, tmp_path):
    """A chain in, a chain of three out."""
    first = scatter(9 * MIB, seed=5)
    second, _ = changed(first)
    third = second.copy()
    third.put(7 * MIB + 123, b'third')
    third.zero(5 * MIB, 64 * KIB)
    for name, disk in (('1', first), ('2', second), ('3', third)):
        disk.save(tmp_path / (name + '.raw'))
    vhdx.ok('convert', '-q', tmp_path / '1.raw', tmp_path / '1.vhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / '1.vhdx', tmp_path / '2.raw', tmp_path / '2.avhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / '2.avhdx', tmp_path / '3.raw', tmp_path / '3.avhdx')
    found = same_image(tmp_path / '3.avhdx', third, has_parent=True)
    assert max(extent.depth for extent in found.extents) == 2
    vhdx.ok('convert', '-q', tmp_path / '3.avhdx', tmp_path / 'flat.vhdx')
    same_image(tmp_path / 'flat.vhdx', third, has_parent=False)
    vhdx.ok('convert', '-q', '-b', tmp_path / '1.vhdx', tmp_path / '3.avhdx',
            tmp_path / 'short.avhdx')
    found = same_image(tmp_path / 'short.avhdx', third, has_parent=True)
    assert max(extent.depth for extent in found.extents) == 1


def test_zeros_over_the_parents_data(vhdx, tmp_path):
    """What is zero now, and was data in the parent, is zero in the child."""
    disk = SparseBytes(8 * MIB)
    disk.put(0, os.urandom(8 * MIB))
    disk.save(tmp_path / 'a.raw')
    zeros = SparseBytes(8 * MIB)
    zeros.put(4 * MIB, disk.get(4 * MIB, 512))
    zeros.save(tmp_path / 'b.raw')
    vhdx.ok('convert', '-q', '-o', 'block_size=1M', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'b.raw', tmp_path / 'c.vhdx')
    same_image(tmp_path / 'c.vhdx', zeros, has_parent=True)
    assert os.path.getsize(tmp_path / 'c.vhdx') < 8 * MIB, 'zero blocks take no space'


# ---- Through NBD ---------------------------------------------------------------------------------

def test_from_and_to_qemu_nbd(vhdx, tmp_path, qemu_serve):
    """A raw file behind a server, and a VHDX, which the server opens; onto one as well."""
    disk = scatter(20 * MIB + 512)
    disk.save(tmp_path / 'a.raw')
    image = tmp_path / 'b.vhdx'
    vhdx.ok('convert', '-q', qemu_serve(tmp_path / 'a.raw', '-f', 'raw', '-r'), image)
    same_image(image, disk)
    vhdx.ok('convert', '-q', '-O', 'raw', qemu_serve(image, '-f', 'vhdx', '-r'),
            tmp_path / 'c.raw')
    same_raw(tmp_path / 'c.raw', disk)
    with open(tmp_path / 'd.raw', 'wb') as file:
        file.write(b'\xFF' * disk.size)
    vhdx.ok('convert', '-q', image, qemu_serve(tmp_path / 'd.raw', '-f', 'raw'))
    same_raw(tmp_path / 'd.raw', disk)


def test_through_nbdkit(vhdx, tmp_path, nbdkit_serve):
    """Onto a disk in its memory, and back."""
    disk = scatter(20 * MIB + 512)
    disk.save(tmp_path / 'a.raw')
    server = nbdkit_serve('memory', disk.size)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', server.uri)
    vhdx.ok('convert', '-q', server.uri, tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk)


def test_nbd_target_too_small(vhdx, tmp_path, nbdkit_serve):
    """Nothing is cut off in silence."""
    scatter(2 * MIB).save(tmp_path / 'a.raw')
    server = nbdkit_serve('memory', MIB)
    assert vhdx.fails('convert', '-q', tmp_path / 'a.raw', server.uri)


# ---- Large ---------------------------------------------------------------------------------------

def test_data_far_apart(vhdx, tmp_path):
    """On a disk of a tebibyte, across chunk boundaries."""
    disk = SparseBytes(1 << 40)
    for place in (0, 4 * GIB - 300, 128 * GIB - 5000, 512 * GIB, (1 << 40) - 512):
        disk.put(place, os.urandom(512))
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', '-o', 'block_size=1M', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk)
    vhdx.ok('convert', '-q', tmp_path / 'b.vhdx', tmp_path / 'c.raw')
    assert os.path.getsize(tmp_path / 'c.raw') == disk.size
    vhdx.ok('convert', '-q', tmp_path / 'c.raw', tmp_path / 'd.vhdx')
    found = same_image(tmp_path / 'd.vhdx', disk)
    same_pages(found.content.pages(), disk.pages())


@pytest.mark.slow
def test_random(vhdx, tmp_path, request):
    """As long as --slow-seconds says: disks of any size with any options, from format to format."""
    deadline = time.monotonic() + request.config.getoption('--slow-seconds')
    seed = int.from_bytes(os.urandom(4), 'little')
    print('seed', seed)
    rng = random.Random(seed)
    while time.monotonic() < deadline:
        size = rng.choice((rng.randrange(1, 70 * MIB), rng.randrange(1, 9000), 512 * MIB))
        disk = scatter(size, rng.choice(BLOCKS) * MIB, seed=rng.randrange(1 << 30))
        disk.save(tmp_path / 'a.raw')
        path = tmp_path / 'a.raw'
        for number in range(rng.randrange(1, 5)):
            sector, kind = rng.choice(SECTORS), rng.choice(('vhdx', 'vhdx', 'raw', 'vhd'))
            out, options = tmp_path / ('%d.%s' % (number, kind)), ['-m', str(rng.randrange(1, 9))]
            if kind == 'vhdx':
                options += options_of(rng.choice(BLOCKS[:3]), sector,
                                      rng.choice(('dynamic', 'fixed')))
                disk = padded(disk, sector)
            elif kind == 'vhd':
                disk = padded(disk, 512)
            options += rng.choice(([], ['--no-sparse'], ['--verify'], ['-S', '512'],
                                   ['-S', '64k']))
            vhdx.ok('convert', '-q', *options, '-O', kind, path, out)
            if kind == 'vhdx':
                same_image(out, disk, sector=sector)
            elif kind == 'raw':
                same_raw(out, disk)
            else:
                os.truncate(out, disk.size)
                same_raw(out, disk)
            path = out
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)
