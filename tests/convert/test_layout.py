# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What lies where in an output, and what an input is spared: zeros are left out, holes are never
read, and the number of threads leaves no trace."""

import json
import os
import re

import pytest

from convert_support import (GIB, KIB, MIB, Facts, SparseBytes, dense, holes, run, same_image,
                             same_raw, scatter, used)
from environment import program

DATA_CALL = re.compile(r'\b(?:p?readv?2?|pread64|sendfile|copy_file_range)\((\d+)<([^>]*)>.*'
                       r' = (\d+)$', re.M)


# ---- Zeros ---------------------------------------------------------------------------------------

def written_zeros(path, size, places):
    """A raw file without holes: zeros, and 512 bytes of data at some places; the disk."""
    disk = SparseBytes(size)
    for place in places:
        disk.put(place, os.urandom(512))
    with open(path, 'wb') as file:
        for at in range(0, size, MIB):
            file.write(disk.get(at, min(MIB, size - at)))
    assert used(path) >= size
    return disk


def test_zero_blocks_are_left_out(vhdx, tmp_path):
    """Zeros that were written take no block of the image."""
    disk = written_zeros(tmp_path / 'a.raw', 64 * MIB, [5 * MIB, 40 * MIB + 7 * KIB])
    vhdx.ok('convert', '-q', '-o', 'block_size=1M', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    found = same_image(tmp_path / 'b.vhdx', disk)
    assert [index for index, entry in sorted(found.bat.items()) if entry & 7 == 6] == [5, 40]
    assert os.path.getsize(tmp_path / 'b.vhdx') <= 8 * MIB


def test_zeros_within_a_block_are_holes(vhdx, tmp_path):
    """A block of 32 MiB with 512 bytes in it takes little of the file system."""
    disk = written_zeros(tmp_path / 'a.raw', 64 * MIB, [5 * MIB])
    vhdx.ok('convert', '-q', '-o', 'block_size=32M', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk)
    vhdx.ok('create', '-q', '-o', 'block_size=32M', tmp_path / 'empty.vhdx', '64M')
    assert used(tmp_path / 'b.vhdx') <= used(tmp_path / 'empty.vhdx') + 64 * KIB


def test_raw_outputs_are_sparse(vhdx, tmp_path):
    """Also where the input was not."""
    disk = written_zeros(tmp_path / 'a.raw', 64 * MIB, [5 * MIB, 40 * MIB + 7 * KIB])
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.raw')
    same_raw(tmp_path / 'b.raw', disk)
    assert used(tmp_path / 'b.raw') <= 64 * KIB


@pytest.mark.parametrize('unit, expected', [('4k', 8 * KIB), ('64k', 128 * KIB), ('1M', 2 * MIB)])
def test_size_of_the_pieces(vhdx, tmp_path, unit, expected):
    """-S: a piece with a byte of data in it is written whole."""
    disk = written_zeros(tmp_path / 'a.raw', 16 * MIB, [5 * MIB, 9 * MIB + 12 * KIB])
    vhdx.ok('convert', '-q', '-S', unit, tmp_path / 'a.raw', tmp_path / 'b.raw')
    same_raw(tmp_path / 'b.raw', disk)
    assert expected <= used(tmp_path / 'b.raw') <= expected + 64 * KIB


@pytest.mark.parametrize('options', [['--no-sparse'], ['-S', '0'], ['--preallocation', 'full']],
                         ids=lambda options: options[-1])
@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx', 'b.vhd'])
def test_without_holes(vhdx, tmp_path, out, options):
    """For files that will be copied to where there are none."""
    disk = scatter(30 * MIB, seed=12)
    disk.save(tmp_path / 'a.raw')
    path = tmp_path / out
    if out == 'b.vhdx' and 'full' in options:
        options = ['-o', 'subformat=fixed', *options]
    vhdx.ok('convert', '-q', *options, tmp_path / 'a.raw', path)
    size = path.stat().st_size
    if out == 'b.vhdx' and options == ['-S', '0']:
        same_image(path, disk)
        return
    assert holes(path) == [] and used(path) >= size
    if out == 'b.vhdx':
        same_image(path, disk)
    else:
        assert path.read_bytes()[:disk.size] == disk.get(0, disk.size)


@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx'])
def test_preallocation_falloc(vhdx, tmp_path, out):
    """The file system sets the space aside."""
    disk = scatter(30 * MIB, seed=13)
    disk.save(tmp_path / 'a.raw')
    options = ['-o', 'subformat=fixed'] if out == 'b.vhdx' else []
    vhdx.ok('convert', '-q', '--preallocation', 'falloc', *options, tmp_path / 'a.raw',
            tmp_path / out)
    assert used(tmp_path / out) >= (tmp_path / out).stat().st_size
    assert (tmp_path / out).stat().st_size >= 30 * MIB
    (same_image if out == 'b.vhdx' else same_raw)(tmp_path / out, disk)


def test_fixed_is_sparse_unless_told_otherwise(vhdx, tmp_path):
    """Every block has its place, and what is zero is a hole."""
    disk = SparseBytes(40 * MIB)
    disk.put(33 * MIB, b'data')
    disk.save(tmp_path / 'a.raw')
    path = tmp_path / 'b.vhdx'
    vhdx.ok('convert', '-q', '-o', 'subformat=fixed', tmp_path / 'a.raw', path)
    found = same_image(path, disk, fixed=True)
    assert path.stat().st_size >= 40 * MIB and used(path) < 8 * MIB
    assert sum(high - low for low, high in found.own()) == 40 * MIB


def test_unknown_preallocation(vhdx, tmp_path):
    """Is refused before anything is written."""
    scatter(MIB).save(tmp_path / 'a.raw')
    done = vhdx('convert', '--preallocation', 'lots', tmp_path / 'a.raw', tmp_path / 'b.raw')
    assert done.returncode in (1, 2) and 'lots' in done.stderr
    assert os.listdir(tmp_path) == ['a.raw']


# ---- Holes ---------------------------------------------------------------------------------------

def read_of(trace, path):
    """Bytes that were read of a file, by strace."""
    return sum(int(count) for _, name, count in DATA_CALL.findall(trace) if name == str(path))


# A sanitizer cannot look for leaks in a process that is traced.
LEAKS_UNSEEN = {**os.environ,
                'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'}


def traced(vhdx, folder, *arguments):
    """Converts under strace; its text."""
    if vhdx.emulated:
        pytest.skip('strace would see the emulator')
    out = folder / 'trace'
    run(program('strace'), '-f', '-y', '-o', out, '-e',
        'trace=read,pread64,readv,preadv,preadv2,sendfile,copy_file_range', *vhdx.command,
        'convert', '-q', *map(str, arguments), env=LEAKS_UNSEEN)
    return out.read_text(encoding='utf-8', errors='replace')


def test_holes_are_not_read(vhdx, tmp_path):
    """Of 256 GiB, only the data. That the trace counts at all is shown by the data."""
    raw, image = tmp_path / 'a.raw', tmp_path / 'b.vhdx'
    disk = SparseBytes(256 * GIB)
    for place in (3 * MIB, 100 * GIB + 4096, 256 * GIB - 512):
        disk.put(place, os.urandom(512))
    disk.save(raw)
    count = read_of(traced(vhdx, tmp_path, raw, image), raw)
    assert 3 * 512 <= count <= 3 * MIB + 64 * KIB, count
    same_image(image, disk)
    data = read_of(traced(vhdx, tmp_path, image, tmp_path / 'c.raw'), image)
    assert 3 * 512 <= data <= 16 * MIB, data
    assert os.path.getsize(tmp_path / 'c.raw') == 256 * GIB


def test_empty_256_gib(vhdx, tmp_path):
    """Not a byte of the disk is read; the image is 4 MiB or so."""
    raw, image = tmp_path / 'a.raw', tmp_path / 'b.vhdx'
    with open(raw, 'wb') as file:
        file.truncate(256 * GIB)
    assert read_of(traced(vhdx, tmp_path, raw, image), raw) <= 4 * KIB
    assert image.stat().st_size <= 8 * MIB
    found = Facts(image)
    assert found.size == 256 * GIB and not found.bat


def test_holes_behind_nbd_are_not_read(vhdx, tmp_path, nbdkit_serve):
    """Block status tells of them."""
    log = tmp_path / 'log'
    server = nbdkit_serve('--filter=log', 'memory', '64G', 'logfile=%s' % log)
    vhdx.ok('convert', '-q', server.uri, tmp_path / 'b.vhdx')
    text = log.read_text(encoding='utf-8')
    counts = [int(count, 16) for count in re.findall(r' Read id=\d+ offset=\S+ count=(0x\w+)',
                                                     text)]
    assert 'Extents' in text and sum(counts) <= MIB, sum(counts)


# ---- Order ---------------------------------------------------------------------------------------

def test_layout_does_not_depend_on_threads(vhdx, tmp_path):
    """Byte for byte, but for what must be unique: the identifiers in headers and metadata."""
    disk = scatter(96 * MIB, seed=14, most=120)
    disk.save(tmp_path / 'a.raw')
    found = []
    for threads in (1, 2, 8, 8):
        path = tmp_path / 'b.vhdx'
        vhdx.ok('convert', '-qy', '-o', 'block_size=1M', '-m', str(threads), tmp_path / 'a.raw',
                path)
        facts = same_image(path, disk)
        found.append((facts.bat, path.stat().st_size, holes(path)))
    assert found[1:] == found[:-1]


def test_blocks_lie_in_order(vhdx, tmp_path):
    """As on the disk, for those who read it from beginning to end."""
    dense(tmp_path / 'a.raw', 40 * MIB)
    vhdx.ok('convert', '-q', '-o', 'block_size=2M', '-m', '8', tmp_path / 'a.raw',
            tmp_path / 'b.vhdx')
    bat = Facts(tmp_path / 'b.vhdx').bat
    places = [entry >> 20 for _, entry in sorted(bat.items())]
    assert places == sorted(places) and len(places) == 20


# ---- Progress ------------------------------------------------------------------------------------

def test_progress_as_json(vhdx, tmp_path):
    """One object a line, rising, to the end."""
    dense(tmp_path / 'a.raw', 64 * MIB)
    done = vhdx('convert', '--progress=json', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (done.stderr + done.stdout).splitlines()
             if line.startswith('{')]
    assert lines, done
    keys = [key for key in lines[-1] if lines[-1][key] == 64 * MIB]
    assert len(keys) >= 2, 'what is done is what there was to do: %r' % lines[-1]
