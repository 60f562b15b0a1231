# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Each call of the NBD protocol, one by one, through libnbd."""

import errno
import os
import random
import subprocess

import pytest

# pylint: disable=wrong-import-order
from nbd_support import DATA, HOLE, KIB, MIB, data_of, extents_of, nbd, ok, read_all, used
from environment import program
from vhdxdisk import BITMAP_PRESENT, PARTIAL, bat_entry
from vhdximage import Image

pytestmark = pytest.mark.skipif(nbd is None and os.environ.get('CI') != 'true',
                                reason='the Python module nbd is not installed')


def fails_with(number, call, *arguments):
    """The client gets this errno."""
    with pytest.raises(nbd.Error) as caught:
        call(*arguments)
    assert caught.value.errnum == number, caught.value


# ---- What a client is told on connecting ---------------------------------------------------------

@pytest.mark.parametrize('sector', [512, 4096])
def test_sizes(image, serve, sector):
    path = image('disk.vhdx', '64M', '-o', 'logical_sector_size=%d' % sector)
    handle = serve(path).connect()
    assert handle.get_size() == 64 * MIB
    assert handle.get_block_size(nbd.SIZE_MINIMUM) == sector
    assert handle.get_block_size(nbd.SIZE_PREFERRED) == 4096
    assert handle.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB


def test_size_of_one_sector(image, serve):
    handle = serve(image('disk.vhdx', '512')).connect()
    assert handle.get_size() == 512
    handle.pwrite(b'x' * 512, 0)
    assert handle.pread(512, 0) == b'x' * 512


def test_abilities(image, serve):
    handle = serve(image()).connect()
    able = {name: getattr(handle, name)() for name in (
        'can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_fast_zero', 'can_cache',
        'can_multi_conn', 'can_df')}
    assert all(able.values()), able
    assert not handle.is_read_only() and not handle.is_rotational()
    assert handle.can_meta_context('base:allocation')


def test_read_only(image, serve):
    path = image()
    before = path.read_bytes()
    server = serve(path, options=['-r'])
    handle = server.connect(unaligned=True)
    assert handle.is_read_only() and handle.can_multi_conn()
    for call in (lambda: handle.pwrite(b'x' * 512, 0), lambda: handle.zero(512, 0),
                 lambda: handle.trim(512, 0)):
        fails_with(errno.EPERM, call)
    assert handle.pread(512, 0) == bytes(512)
    handle.shutdown()
    server.stop()
    assert path.read_bytes() == before


# ---- Reading and writing -------------------------------------------------------------------------

def test_write_and_read(image, serve):
    handle = serve(image()).connect()
    data = os.urandom(3 * MIB)
    handle.pwrite(data, 7 * MIB)
    assert handle.pread(5 * MIB, 6 * MIB) == bytes(MIB) + data + bytes(MIB)


def test_largest_request(image, serve):
    handle = serve(image()).connect()
    data = os.urandom(MIB) * 32
    handle.pwrite(data, 16 * MIB)
    assert handle.pread(32 * MIB, 16 * MIB) == data


def test_requests_beyond_the_end(image, serve):
    handle = serve(image()).connect(unaligned=True)
    fails_with(errno.EINVAL, handle.pread, 1024, 64 * MIB - 512)
    fails_with(errno.ENOSPC, handle.pwrite, b'x' * 1024, 64 * MIB - 512)
    fails_with(errno.EINVAL, handle.trim, 1024, 64 * MIB - 512)
    assert handle.pread(512, 64 * MIB - 512) == bytes(512)


class Model:
    """The same changes to a disk and to a byte array."""

    def __init__(self, handles, size, seed):
        self.handles, self.random = handles, random.Random(seed)
        self.bytes = bytearray(size)

    def step(self):
        """One change by one of the connections, of any alignment."""
        pick = self.random
        handle = pick.choice(self.handles)
        length = pick.choice([pick.randint(1, 5000), pick.randint(1, 3 * MIB)])
        offset = pick.randrange(len(self.bytes) - length)
        kind = pick.choice(['write', 'write', 'zero', 'zero-no-hole', 'flush', 'trim'])
        flags = pick.choice([0, 0, 0, nbd.CMD_FLAG_FUA])
        if kind == 'write':
            data = pick.randbytes(length)
            handle.pwrite(data, offset, flags)
            self.bytes[offset:offset + length] = data
        elif kind == 'flush':
            handle.flush()
        elif kind == 'trim':
            handle.trim(length, offset, flags)
            now = handle.pread(length, offset)
            # Each byte is what it was, or zero.
            assert all(b in (0, a) for a, b in zip(self.bytes[offset:offset + length], now))
            self.bytes[offset:offset + length] = now
        else:
            more = nbd.CMD_FLAG_NO_HOLE if kind == 'zero-no-hole' else 0
            handle.zero(length, offset, flags | more)
            self.bytes[offset:offset + length] = bytes(length)


@pytest.mark.parametrize('kind', ['dynamic', 'fixed', 'child', '4096'])
def test_any_alignment(image, child, serve, kind):
    """Random requests on two connections, also such as no client with alignment would send."""
    options = {'fixed': ['-o', 'subformat=fixed'], '4096': ['-o', 'logical_sector_size=4096']}
    path = image('disk.vhdx', '16M', '-o', 'block_size=1M', *options.get(kind, []))
    if kind == 'child':
        path = child(path)
    server = serve(path)
    handles = [server.connect(unaligned=True) for _ in range(2)]
    model = Model(handles, 16 * MIB, kind)
    for number in range(150):
        model.step()
        if number % 30 == 29:
            assert read_all(handles[number % 2]) == bytes(model.bytes)
    for handle in handles:
        handle.shutdown()
    server.stop()
    assert read_all(serve(path, options=['-r']).connect()) == bytes(model.bytes)


def test_many_requests_at_once(image, serve):
    """Requests of one connection run in parallel: each answer belongs to its request."""
    handle = serve(image()).connect()
    pieces = {at: os.urandom(64 * KIB) for at in range(0, 32 * MIB, 256 * KIB)}
    waiting = [handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), at)
               for at, data in pieces.items()]
    buffers = {}
    while waiting:
        handle.poll(-1)
        waiting = [cookie for cookie in waiting if not handle.aio_command_completed(cookie)]
    for at in pieces:
        buffers[at] = nbd.Buffer(64 * KIB)
        waiting.append(handle.aio_pread(buffers[at], at))
    while waiting:
        handle.poll(-1)
        waiting = [cookie for cookie in waiting if not handle.aio_command_completed(cookie)]
    assert all(bytes(buffers[at].to_bytearray()) == data for at, data in pieces.items())


# ---- Stability -----------------------------------------------------------------------------------

def after_a_kill(server, serve, path):
    """Kills the server and gives a connection to the next one, which reads only."""
    server.kill()
    return serve(path, options=['-r']).connect()


def test_flush_makes_stable(image, serve):
    """What was flushed is there after a SIGKILL. What was not is gone, or this would show nothing:
    until a flush, new blocks are mapped in memory only."""
    path = image()
    server = serve(path)
    handle = server.connect()
    handle.pwrite(b'a' * 4096, 10 * MIB)
    handle.flush()
    handle.pwrite(b'b' * 4096, 20 * MIB)
    handle = after_a_kill(server, serve, path)
    assert handle.pread(4096, 10 * MIB) == b'a' * 4096
    assert handle.pread(4096, 20 * MIB) == bytes(4096)


def test_write_with_fua_is_stable(image, serve):
    path = image()
    server = serve(path)
    handle = server.connect()
    handle.pwrite(b'a' * 4096, 10 * MIB, nbd.CMD_FLAG_FUA)
    handle.pwrite(b'b' * 4096, 20 * MIB)
    handle = after_a_kill(server, serve, path)
    assert handle.pread(4096, 10 * MIB) == b'a' * 4096
    assert handle.pread(4096, 20 * MIB) == bytes(4096)


@pytest.mark.parametrize('flags', ['', 'no-hole'])
def test_zero_with_fua_is_stable(filled, child, serve, flags):
    """In a child, where zeros have to be recorded to hide the parent's data."""
    path = child(filled())
    server = serve(path)
    handle = server.connect()
    assert handle.pread(4096, 5 * MIB) != bytes(4096)
    more = nbd.CMD_FLAG_NO_HOLE if flags else 0
    handle.zero(4096, 5 * MIB, nbd.CMD_FLAG_FUA | more)
    handle.zero(4096, 9 * MIB, more)
    handle = after_a_kill(server, serve, path)
    assert handle.pread(4096, 5 * MIB) == bytes(4096)
    assert handle.pread(4096, 9 * MIB) != bytes(4096)


def test_trim_with_fua_is_stable(filled, serve):
    path = filled('disk.vhdx', '64M', '-o', 'block_size=1M')
    server = serve(path)
    handle = server.connect()
    handle.trim(MIB, 5 * MIB, nbd.CMD_FLAG_FUA)
    handle.trim(MIB, 9 * MIB)
    handle = after_a_kill(server, serve, path)
    assert (5 * MIB, 6 * MIB) not in data_of(handle)
    assert (9 * MIB, 10 * MIB) in data_of(handle)


def test_flush_on_another_connection(image, serve):
    """A flush covers what other connections wrote: that is what multi-conn promises."""
    path = image()
    server = serve(path)
    one, other = server.connect(), server.connect()
    one.pwrite(b'a' * 4096, 10 * MIB)
    other.flush()
    assert other.pread(4096, 10 * MIB) == b'a' * 4096
    one.pwrite(b'b' * 4096, 20 * MIB)
    handle = after_a_kill(server, serve, path)
    assert handle.pread(4096, 10 * MIB) == b'a' * 4096
    assert handle.pread(4096, 20 * MIB) == bytes(4096)


# ---- Trimming and zeroing ------------------------------------------------------------------------

def test_trim_frees_space(filled, serve):
    path = filled()
    before = used(path)
    server = serve(path)
    handle = server.connect()
    handle.trim(2 * MIB, 4 * MIB)
    handle.flush()
    assert used(path) <= before - MIB
    assert handle.pread(2 * MIB, 4 * MIB) == bytes(2 * MIB)
    assert extents_of(handle, 4 * MIB, 6 * MIB) == [(4 * MIB, 2 * MIB, HOLE)]


def test_zero_takes_no_space(image, serve):
    """With leave to trim nothing is allocated."""
    path = image()
    handle = serve(path).connect()
    before = used(path)
    handle.zero(32 * MIB, 0)
    handle.flush()
    assert used(path) < before + MIB
    assert extents_of(handle) == [(0, 64 * MIB, HOLE)]


def test_zero_frees_space(filled, serve):
    path = filled()
    before = used(path)
    handle = serve(path).connect()
    handle.zero(MIB, 5 * MIB)
    handle.flush()
    assert used(path) <= before - MIB
    assert handle.pread(MIB, 5 * MIB) == bytes(MIB)


def test_zero_without_holes_takes_space(image, serve):
    """Without leave to trim the range is fully provisioned."""
    path = image()
    handle = serve(path).connect()
    before = used(path)
    handle.zero(3 * MIB + 512, 8 * MIB, nbd.CMD_FLAG_NO_HOLE)
    handle.flush()
    assert used(path) >= before + 3 * MIB
    assert extents_of(handle, 8 * MIB, 11 * MIB) == [(8 * MIB, 3 * MIB, DATA)]


def test_zero_of_a_fixed_image_keeps_its_space(image, serve):
    path = image('disk.vhdx', '16M', '-o', 'subformat=fixed,preallocation=full')
    before = used(path)
    handle = serve(path).connect()
    handle.pwrite(b'x' * MIB, 4 * MIB)
    handle.zero(MIB, 4 * MIB, nbd.CMD_FLAG_NO_HOLE)
    handle.zero(MIB, 5 * MIB)
    handle.flush()
    assert handle.pread(2 * MIB, 4 * MIB) == bytes(2 * MIB)
    assert used(path) >= before


def test_fast_zero(filled, serve):
    """Fast where the space can be punched out; refused where zeros would have to be written."""
    path = filled()
    handle = serve(path).connect()
    handle.zero(MIB, 5 * MIB, nbd.CMD_FLAG_FAST_ZERO)
    assert handle.pread(MIB, 5 * MIB) == bytes(MIB)
    before = handle.pread(MIB, 9 * MIB)
    fails_with(errno.EOPNOTSUPP, handle.zero, MIB, 9 * MIB,
               nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
    assert handle.pread(MIB, 9 * MIB) == before


def test_fast_zero_where_nothing_can_be_punched(filled, serve, file_system, tmp_path):
    """ramfs cannot punch: a fast zero fails at once and changes nothing, a plain one writes."""
    folder = tmp_path / 'ramfs'
    inside = file_system('ramfs', 'mode=700', folder, filled())
    server = serve(folder / 'disk.vhdx', wrapper=inside)
    handle = server.connect()
    before = handle.pread(MIB, 5 * MIB)
    fails_with(errno.EOPNOTSUPP, handle.zero, MIB, 5 * MIB, nbd.CMD_FLAG_FAST_ZERO)
    assert handle.pread(MIB, 5 * MIB) == before
    handle.zero(MIB, 5 * MIB)
    assert handle.pread(MIB, 5 * MIB) == bytes(MIB)
    assert server.errors() == []


# ---- Block status --------------------------------------------------------------------------------

def test_extents(filled, serve, vhdx):
    """The map that `vhdx map` gives."""
    path = filled()
    map_of_tool = vhdx.ok('map', '--output=json', path)
    handle = serve(path, options=['-r']).connect()
    assert data_of(handle) == [(0, 2 * MIB), (4 * MIB, 6 * MIB), (8 * MIB, 10 * MIB),
                               (32 * MIB, 34 * MIB)]
    assert map_of_tool.count('"data": true') == 4


def test_one_extent_only(filled, serve):
    """REQ_ONE: one answer, however many there would be, and never more than was asked for."""
    handle = serve(filled()).connect()
    got = []
    handle.block_status(63 * MIB, MIB, lambda *answer: got.append(answer), nbd.CMD_FLAG_REQ_ONE)
    assert [(context, at, entries) for context, at, entries, _ in got] == \
        [('base:allocation', MIB, [MIB, DATA])]
    assert extents_of(handle, flags=nbd.CMD_FLAG_REQ_ONE) == extents_of(handle)


def test_extents_of_a_range(filled, serve):
    handle = serve(filled()).connect()
    assert extents_of(handle, 3 * MIB + 512, 5 * MIB) == \
        [(3 * MIB + 512, MIB - 512, HOLE), (4 * MIB, MIB, DATA)]


def test_neighbouring_blocks_are_one_extent(image, serve):
    """NBD does not care where in the file blocks lie: written backwards they lie apart."""
    handle = serve(image()).connect()
    for block in reversed(range(4)):
        handle.pwrite(b'x' * 2 * MIB, 2 * MIB * block)
    got = []
    handle.block_status(64 * MIB, 0, lambda *answer: got.append(answer[2]), nbd.CMD_FLAG_REQ_ONE)
    assert got == [[8 * MIB, DATA]]


def test_more_extents_than_one_answer_holds(tmp_path, serve):
    """A child with every second sector of its own: the client asks on where the answer ends."""
    sectors = 80 * MIB // 512
    image = Image('child.vhdx', size=80 * MIB, block_size=MIB,
                  parent=Image('base.vhdx', size=80 * MIB, block_size=MIB))
    bitmap = image.allocate(MIB)
    image.bat[image.bitmap_index(0)] = bat_entry(BITMAP_PRESENT, bitmap // MIB)
    for block in range(image.blocks):
        image.bat[image.payload_index(block)] = bat_entry(PARTIAL, image.allocate(MIB) // MIB)
    path = image.save(str(tmp_path))
    with open(path, 'r+b') as file:
        file.seek(bitmap)
        file.write(b'\x55' * (sectors // 8))
        file.truncate(image.next_free)
    handle = serve(path, options=['-r']).connect()
    answers = []
    handle.block_status(80 * MIB, 0, lambda *answer: answers.append(len(answer[2]) // 2))
    assert answers == [65536]
    assert extents_of(handle) == [(512 * number, 512, HOLE if number % 2 else DATA)
                                  for number in range(sectors)]


# ---- Caching -------------------------------------------------------------------------------------

def cached(path):
    """Bytes of a file that are in memory."""
    program('fincore')
    return int(ok('fincore', '--bytes', '--noheadings', '--output', 'RES', path))


def test_cache(filled, serve):
    """The range's data is in memory afterwards, and no more than that is demanded."""
    path = filled()
    handle = serve(path).connect()
    subprocess.run(['sync', path], check=True)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    before = cached(path)
    handle.cache(MIB, 33 * MIB)
    handle.cache(16 * MIB, 10 * MIB) # a hole
    if before > 2 * MIB:
        pytest.skip('the file system does not drop its cache')
    assert cached(path) >= before + MIB - 64 * KIB
