# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Sharing blocks with the input, on an XFS and on a btrfs of our own. FIEMAP shows where a file's
bytes are on the device; two files share what they have at one address, and the kernel says so."""

import os
import shutil

import pytest

from convert_support import (FIEMAP_SHARED, KIB, MIB, Facts, dense, free, physical, same_image,
                             same_raw, scatter, sha256_of_file)

SIZE = 32 * MIB
KINDS = ['raw-to-vhdx', 'vhdx-to-raw', 'vhdx-to-vhdx', 'raw-to-raw']


@pytest.fixture
def place(sharing):
    """A folder that is removed afterwards."""
    folder = sharing / 'test'
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    os.sync()


def convert(vhdx, place, kind, *options):
    """Makes an input of a kind full of data and converts it; the paths and the digest."""
    source, _, target = kind.partition('-to-')
    digest = dense(place / 'a.raw', SIZE)
    path = place / 'a.raw'
    if source == 'vhdx':
        path = place / 'a.vhdx'
        vhdx.ok('convert', '-q', '--no-clone', '-o', 'block_size=1M', place / 'a.raw', path)
    before = free(place)
    out = place / ('b.' + target)
    if target == 'vhdx':
        options = ['-o', 'block_size=2M', *options]
    vhdx.ok('convert', '-q', '-O', target, *options, path, out)
    return path, out, digest, before - free(place)


def places(path):
    """{MiB of the disk: where its first byte is in the file}."""
    if path.suffix == '.raw':
        return {at: at * MIB for at in range(SIZE // MIB)}
    found = {}
    for extent in Facts(path).extents:
        assert extent.kind == 'data'
        for at in range(extent.offset, extent.offset + extent.length, MIB):
            found[at // MIB] = extent.file_offset + at - extent.offset
    return found


def addresses(path):
    """{MiB of the disk: (its address on the device, is it shared?)}."""
    extents, found = physical(path), {}
    for at, offset in places(path).items():
        for start, address, length, flags in extents:
            if start <= offset < start + length:
                found[at] = (address + offset - start, bool(flags & FIEMAP_SHARED))
    assert len(found) == SIZE // MIB
    return found


def digest_of(path):
    """Of the disk."""
    return sha256_of_file(path) if path.suffix == '.raw' else Facts(path).content.sha256()


@pytest.mark.parametrize('kind', KINDS)
def test_shares(vhdx, place, kind):
    """Every MiB of the disk is at the same address, marked as shared, and takes no more space."""
    source, out, digest, taken = convert(vhdx, place, kind)
    assert digest_of(out) == digest
    ours, theirs = addresses(out), addresses(source)
    shared = [at for at, (_, is_shared) in ours.items() if is_shared and ours[at] == theirs[at]]
    assert len(shared) == SIZE // MIB, '%d MiB are not shared' % (SIZE // MIB - len(shared))
    assert taken < 4 * MIB, taken


@pytest.mark.parametrize('options', [[], ['--no-sparse']], ids=['', '--no-sparse'])
@pytest.mark.parametrize('kind', KINDS)
def test_shares_not_when_told_so(vhdx, place, kind, options):
    """--no-clone: every MiB has a place of its own."""
    source, out, digest, taken = convert(vhdx, place, kind, '--no-clone', *options)
    assert digest_of(out) == digest
    ours, theirs = addresses(out), addresses(source)
    assert not any(ours[at][0] == theirs[at][0] for at in ours)
    assert not any(is_shared for _, is_shared in ours.values())
    assert taken > SIZE * 0.9, taken


@pytest.mark.parametrize('kind', KINDS)
def test_independent_afterwards(vhdx, place, kind):
    """Writing to the input does not change the output, nor its removal."""
    source, out, digest, _ = convert(vhdx, place, kind)
    with open(source, 'r+b') as file:
        for at in range(3 * MIB, SIZE, 5 * MIB):
            file.seek(at)
            file.write(b'overwritten' * 400)
        os.fsync(file.fileno())
    assert digest_of(out) == digest
    os.unlink(source)
    assert digest_of(out) == digest


@pytest.mark.parametrize('options', [['--verify'], ['--checksum', 'sha256'], ['-m', '1'],
                                     ['-m', '8']], ids=' '.join)
def test_shares_with_options(vhdx, place, options):
    """That read the data on the way, or with other threads."""
    digest = dense(place / 'a.raw', SIZE)
    done = vhdx('convert', '-q', *options, place / 'a.raw', place / 'b.vhdx')
    assert done.returncode == 0, done
    assert '--checksum' not in options or digest in done.stdout + done.stderr
    assert digest_of(place / 'b.vhdx') == digest
    ours, theirs = addresses(place / 'b.vhdx'), addresses(place / 'a.raw')
    assert ours == theirs and all(is_shared for _, is_shared in ours.values())


@pytest.mark.parametrize('target', ['b.vhdx', 'b.raw'])
@pytest.mark.parametrize('size', [20 * MIB, 20 * MIB + 512, 20 * MIB + 4096 + 100])
def test_scattered_data(vhdx, place, target, size):
    """With holes, zeros, and an end within a block of the file system: the content counts."""
    disk = scatter(size, seed=size)
    disk.save(place / 'a.raw')
    vhdx.ok('convert', '-q', place / 'a.raw', place / target)
    if target == 'b.raw':
        same_raw(place / target, disk)
    else:
        whole = disk.copy(-(-size // 512) * 512)
        same_image(place / target, whole)
        vhdx.ok('check', '-q', place / target)
        vhdx.ok('convert', '-q', place / target, place / 'c.raw')
        same_raw(place / 'c.raw', whole)


def test_last_part_of_a_block_is_zero(vhdx, place):
    """What a block has behind the end of the disk is not taken from behind the input's end."""
    disk = scatter(5 * MIB + 512, seed=3)
    disk.put(5 * MIB, os.urandom(512))
    disk.save(place / 'a.raw')
    vhdx.ok('convert', '-q', '-o', 'block_size=2M', place / 'a.raw', place / 'b.vhdx')
    found = same_image(place / 'b.vhdx', disk)
    last = found.extents[-1]
    with open(place / 'b.vhdx', 'rb') as file:
        file.seek(last.file_offset + last.length)
        assert not any(file.read(64 * KIB))


def test_chain_is_shared_from_all_of_its_files(vhdx, place):
    """A child's blocks from the child, the rest from its parent."""
    dense(place / 'a.raw', SIZE)
    vhdx.ok('convert', '-q', '--no-clone', '-o', 'block_size=1M', place / 'a.raw',
            place / 'p.vhdx')
    with open(place / 'a.raw', 'r+b') as file:
        for at in range(0, SIZE, 8 * MIB):
            file.seek(at)
            file.write(os.urandom(MIB))
    digest = sha256_of_file(place / 'a.raw')
    vhdx.ok('convert', '-q', '--no-clone', '-o', 'block_size=1M', '-b', place / 'p.vhdx',
            place / 'a.raw', place / 'c.avhdx')
    os.unlink(place / 'a.raw')
    before = free(place)
    vhdx.ok('convert', '-q', place / 'c.avhdx', place / 'flat.raw')
    assert before - free(place) < 4 * MIB
    assert sha256_of_file(place / 'flat.raw') == digest


def test_no_sparse_on_such_a_file_system(vhdx, place):
    """Shared or copied by the kernel: no holes, and right."""
    disk = scatter(20 * MIB, seed=21)
    disk.save(place / 'a.raw')
    vhdx.ok('convert', '-q', '--no-sparse', place / 'a.raw', place / 'b.raw')
    same_raw(place / 'b.raw', disk)
    os.sync()
    assert (place / 'b.raw').stat().st_blocks * 512 >= 20 * MIB


def test_input_on_another_file_system(vhdx, place, tmp_path):
    """Nothing can be shared, and all is well."""
    digest = dense(tmp_path / 'a.raw', 8 * MIB)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', place / 'b.vhdx')
    assert digest_of(place / 'b.vhdx') == digest
