# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Programs that people use: nbdinfo, nbdcopy, nbdsh, qemu-img, fio; and nbdkit's filters."""

import hashlib
import json
import os
import struct

import pytest

from nbd_support import DATA, HOLE, MIB, STOP_SECONDS, data_of, extents_of, ok
from environment import missing, program
from nbd_support import run, sha256_of, used


def sha256_of_file(path):
    """Of a raw file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') \
            else hashlib.sha256(file.read()).hexdigest()


# ---- libnbd's programs ---------------------------------------------------------------------------

def test_nbdinfo(filled, serve):
    uri = serve(filled()).uri
    assert ok('nbdinfo', '--size', uri) == '%d\n' % (64 * MIB)
    export = json.loads(ok('nbdinfo', '--json', uri))['exports'][0]
    assert export['export-size'] == 64 * MIB
    assert [export['block_size_' + word] for word in ('minimum', 'preferred', 'maximum')] == \
        [512, 4096, 32 * MIB]
    assert export['can_multi_conn'] and export['can_fast_zero'] and export['can_fua']
    entries = json.loads(ok('nbdinfo', '--map', '--json', uri))
    assert [(e['offset'], e['length'], e['type']) for e in entries][:3] == \
        [(0, 2 * MIB, DATA), (2 * MIB, 2 * MIB, HOLE), (4 * MIB, 2 * MIB, DATA)]


def test_nbdcopy_from(filled, serve, vhdx, tmp_path):
    """The copy is the disk, and what is a hole there is one in the copy."""
    path, copy = filled(), tmp_path / 'copy.img'
    server = serve(path, options=['-r'])
    ok('nbdcopy', server.uri, copy)
    assert sha256_of_file(copy) == sha256_of(vhdx, path)
    assert used(copy) <= 9 * MIB


def test_nbdcopy_to(image, serve, vhdx, tmp_path):
    """The image is the raw file, and takes space for its data only."""
    path, raw = image(), tmp_path / 'raw.img'
    with open(raw, 'wb') as file:
        for place in (0, 11, 50):
            file.seek(place * MIB)
            file.write(os.urandom(MIB))
        file.truncate(64 * MIB)
    server = serve(path)
    ok('nbdcopy', '--flush', raw, server.uri)
    server.stop()
    assert sha256_of(vhdx, path) == sha256_of_file(raw)
    assert used(path) <= 12 * MIB


def test_nbdcopy_between_servers(filled, image, serve, vhdx):
    """From one image to another with other blocks and sectors."""
    source = filled()
    target = image('target.vhdx', '64M', '-o', 'block_size=1M,logical_sector_size=4096')
    one, other = serve(source, options=['-r']), serve(target)
    ok('nbdcopy', one.uri, other.uri)
    other.stop()
    assert sha256_of(vhdx, target) == sha256_of(vhdx, source)


def test_nbdsh(image, serve):
    uri = serve(image()).uri
    program('nbdsh')
    assert ok('/usr/bin/python3', '-m', 'nbd', '-u', uri,
              '-c', 'h.pwrite(b"x" * 512, 1 << 20, nbd.CMD_FLAG_FUA)',
              '-c', 'h.flush()', '-c', 'print(h.pread(512, 1 << 20) == b"x" * 512)') == 'True\n'


# ---- QEMU ----------------------------------------------------------------------------------------

def test_qemu_img_convert_from(filled, serve, vhdx, tmp_path):
    path, copy = filled(), tmp_path / 'copy.img'
    server = serve(path, options=['-r'])
    ok('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', server.uri, copy)
    assert sha256_of_file(copy) == sha256_of(vhdx, path)
    assert used(copy) <= 9 * MIB


def test_qemu_img_convert_to(filled, image, serve, vhdx, tmp_path):
    """Into an existing export (-n), as virt-v2v does. --target-is-zero spares qemu the question."""
    source, raw = filled('source.vhdx'), tmp_path / 'source.img'
    vhdx.ok('convert', '-q', source, raw)
    path = image()
    server = serve(path)
    ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '-W', raw, server.uri)
    server.stop()
    assert sha256_of(vhdx, path) == sha256_of(vhdx, source)


def test_qemu_img_compare(filled, serve, vhdx, tmp_path):
    path, raw = filled(), tmp_path / 'disk.img'
    vhdx.ok('convert', '-q', path, raw)
    server = serve(path, options=['-r'])
    ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', server.uri, raw)
    with open(raw, 'r+b') as file:
        file.seek(40 * MIB)
        file.write(b'x')
    assert run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', server.uri, raw).returncode == 1


def test_qemu_img_map(filled, serve):
    server = serve(filled(), options=['-r'])
    entries = json.loads(ok('qemu-img', 'map', '--output=json', '-f', 'raw', server.uri))
    assert [(e['start'], e['start'] + e['length']) for e in entries if e['data']] == \
        data_of(server.connect())
    assert all(e['zero'] != e['data'] for e in entries)


def test_qemu_io_discards_and_zeroes(filled, serve, vhdx):
    """What a guest's disk does: write zeroes with and without unmap, discard, flush."""
    path = filled()
    before = used(path)
    server = serve(path)
    ok('qemu-io', '-f', 'raw', '-d', 'unmap', '-c', 'discard 4M 2M', '-c', 'write -z -u 8M 2M',
       '-c', 'write -z 16M 1M', '-c', 'write -P 7 32M 1M', '-c', 'flush',
       '-c', 'read -P 0 4M 2M', '-c', 'read -P 0 8M 2M', '-c', 'read -P 7 32M 1M', server.uri)
    server.stop()
    assert used(path) <= before + MIB
    assert vhdx.ok('cat', '--offset', '32M', '--length', '1M', path, text=False) == b'\7' * MIB


# ---- fio -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('pattern', ['randwrite', 'write'])
def test_fio_verifies(image, serve, pattern):
    """What fio wrote it reads back, with a checksum in each block."""
    server = serve(image('disk.vhdx', '256M', '-o', 'block_size=1M'))
    program('fio')
    if ' nbd' not in ok('fio', '--enghelp').replace('\t', ' '):
        missing('this fio has no nbd engine')
    ok('fio', '--name=verify', '--ioengine=nbd', '--uri=' + server.uri, '--rw=' + pattern,
       '--bs=4k,64k,16k', '--bsrange=4k-64k', '--size=256m', '--io_size=48m', '--iodepth=32',
       '--fsync=64', '--verify=crc32c', '--verify_fatal=1', '--do_verify=1',
       '--verify_state_save=0',
       '--randrepeat=0')
    assert server.errors() == []
    server.stop()


# ---- nbdkit's filters ----------------------------------------------------------------------------

@pytest.fixture
def partitioned(image, serve):
    """An image with an MBR and one partition, from 1 MiB and 8 MiB long."""
    path = image()
    server = serve(path)
    handle = server.connect()
    entry = struct.pack('<B3sB3sII', 0, b'\0\2\0', 0x83, b'\0\2\0', 2048, 16384)
    handle.pwrite(bytes(446) + entry + bytes(48) + b'\x55\xaa', 0)
    handle.pwrite(b'first' + bytes(507), MIB)
    handle.shutdown()
    server.stop()
    return path


def test_filter_partition(partitioned, serve):
    server = serve(partitioned, 'partition=1', options=['--filter=partition'])
    handle = server.connect()
    assert handle.get_size() == 8 * MIB
    assert handle.pread(512, 0)[:5] == b'first'
    # Blocks of 2 MiB: the partition begins in the middle of one.
    assert extents_of(handle) == [(0, MIB, DATA), (MIB, 7 * MIB, HOLE)]
    handle.pwrite(b'second' + bytes(506), 4 * MIB)
    handle.shutdown()
    server.stop()
    handle = serve(partitioned).connect()
    assert handle.pread(512, 5 * MIB)[:6] == b'second'


def test_filter_cow(filled, serve, vhdx):
    """Writes go elsewhere: the image is opened read-only and stays as it is."""
    path = filled()
    before, bytes_before = sha256_of(vhdx, path), path.read_bytes()
    server = serve(path, options=['--filter=cow'])
    handle = server.connect()
    handle.pwrite(b'x' * 4096, 5 * MIB)
    assert handle.pread(4096, 5 * MIB) == b'x' * 4096
    handle.flush()
    assert sha256_of(vhdx, path) == before, 'a reader beside it is welcome'
    handle.shutdown()
    server.stop()
    assert path.read_bytes() == bytes_before


def test_filter_readahead(filled, serve, vhdx, tmp_path):
    path, copy = filled(), tmp_path / 'copy.img'
    server = serve(path, options=['--filter=readahead'])
    ok('nbdcopy', server.uri, copy)
    assert server.errors() == []
    server.stop()
    assert sha256_of_file(copy) == sha256_of(vhdx, path)


def test_filter_stats(filled, serve, tmp_path):
    server = serve(filled(), 'statsfile=%s' % (tmp_path / 'stats'), options=['--filter=stats'])
    handle = server.connect()
    handle.pread(MIB, 0)
    handle.pwrite(bytes(512), 0)
    handle.flush()
    handle.shutdown()
    server.stop()
    stats = (tmp_path / 'stats').read_text()
    assert all(word in stats for word in ('read: 1 ops', 'write: 1 ops', 'flush: 1 ops')), stats


def test_no_two_ways_into_one_image(filled, serve):
    """While a server has a client that may write, no other server starts; before, two can wait."""
    path = filled()
    one, other = serve(path), serve(path)
    assert run('nbdinfo', one.uri).returncode != 0
    assert [line for line in one.errors() if 'another process has the image open' in line]
    other.stop()
    handle = one.connect()
    late = serve(path, must_start=False)
    assert late.process.wait(STOP_SECONDS) == 1
    assert ['another process has the image open' in line for line in late.errors()] == [True]
    handle.shutdown()
