# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The server is killed in the midst of writes, again and again. Afterwards each sector has the
value of the last flush or of a write after it, and the strict reader accepts the image."""

import os
import random
import struct
import subprocess
import threading
import time

import pytest

from nbd_support import CLIENT_SECONDS, MIB, nbd, ok, read_all, sha256_of
from environment import program
# pylint: disable=wrong-import-order
import vhdxref

SIZE = 16 * MIB
UNIT = 4096
UNITS = SIZE // UNIT

pytestmark = pytest.mark.skipif(nbd is None and os.environ.get('CI') != 'true',
                                reason='the Python module nbd is not installed')


class Writer:
    """Writes numbered units, and knows which value each may have after a loss."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.number = 0
        self.stable = {}  # unit: number, as of the last flush that returned
        self.later = {}   # unit: numbers that may have come since

    def work(self, handle):
        """Until the connection breaks."""
        pick = self.random
        try:
            while True:
                unit = pick.randrange(UNITS)
                self.number += 1
                number = 0 if pick.random() < 0.1 else self.number
                self.later.setdefault(unit, []).append(number)
                if number:
                    handle.pwrite(content_of(number), unit * UNIT)
                else:
                    handle.zero(UNIT, unit * UNIT)
                if pick.random() < 0.05:
                    handle.flush()
                    self.flushed()
        except nbd.Error:
            pass

    def flushed(self):
        """A flush has returned: all that was written is stable."""
        self.stable.update((unit, numbers[-1]) for unit, numbers in self.later.items())
        self.later.clear()

    def check(self, disk):
        """After a loss. What is there then is the new truth."""
        for unit in range(UNITS):
            piece = disk[unit * UNIT:unit * UNIT + UNIT]
            allowed = [self.stable.get(unit, 0), *self.later.get(unit, [])]
            if any(piece == content_of(number) for number in allowed):
                continue
            # A sector is never torn, a unit may be.
            sectors = [[content_of(number)[at:at + 512] for number in allowed]
                       for at in range(0, UNIT, 512)]
            for index, values in enumerate(sectors):
                assert piece[index * 512:index * 512 + 512] in values, \
                    'unit %d, sector %d: none of %s' % (unit, index, allowed)


def content_of(number):
    """Of a unit: zeros, or eight different sectors that carry the number."""
    if number == 0:
        return bytes(UNIT)
    return b''.join(struct.pack('<QQ', number, sector) * 32 for sector in range(8))


def one_round(serve, path, writer, seconds):
    """Writes until the server is killed, then looks."""
    server = serve(path)
    handle = server.connect()
    thread = threading.Thread(target=writer.work, args=(handle,))
    thread.start()
    time.sleep(seconds)
    server.kill()
    thread.join(CLIENT_SECONDS)
    assert not thread.is_alive()
    model = vhdxref.open_image(str(path))
    seen = model.content().sha256()
    model.close()
    server = serve(path)
    handle = server.connect()
    disk = read_all(handle)
    writer.check(disk)
    # The units that were written since the flush now have one value each: write them anew.
    for unit in list(writer.later):
        writer.number += 1
        handle.pwrite(content_of(writer.number), unit * UNIT)
        writer.later[unit] = [writer.number]
    handle.flush()
    writer.flushed()
    handle.shutdown()
    server.stop()
    return seen


@pytest.mark.parametrize('kind', ['dynamic', 'child'])
def test_kills(image, child, serve, vhdx, kind):
    """A few of them."""
    path = image('disk.vhdx', '16M', '-o', 'block_size=1M')
    if kind == 'child':
        path = child(path)
    writer = Writer(kind)
    flushes = 0
    for number in range(6):
        one_round(serve, path, writer, 0.05 + 0.1 * number)
        flushes += len(writer.stable) > 0
    assert flushes and writer.number > 100, 'something was written and flushed'
    model = vhdxref.open_image(str(path))
    assert model.content().sha256() == sha256_of(vhdx, path)
    model.close()


@pytest.mark.slow
def test_fio_and_kills(image, child, serve, vhdx, request):
    """As long as --slow-seconds says: rounds of our own writes, and of fio's, which the server's
    end interrupts; then fio writes and verifies undisturbed."""
    program('fio')
    deadline = time.monotonic() + request.config.getoption('--slow-seconds')
    seed = int.from_bytes(os.urandom(4), 'little')
    print('seed', seed)
    pick = random.Random(seed)
    disk = image('disk.vhdx', '16M', '-o', 'block_size=1M')
    paths = {path: Writer('%d %s' % (seed, path.name))
             for path in (disk, image('other.vhdx', '16M'))}
    base = image('base.vhdx', '16M')
    paths[child(base)] = Writer(seed)
    rounds = 0
    while time.monotonic() < deadline:
        path = pick.choice(list(paths))
        one_round(serve, path, paths[path], pick.uniform(0.02, 2))
        fio_round(image, serve, vhdx, pick)
        rounds += 1
    assert rounds > 0
    print('rounds', rounds)


def fio_round(image, serve, vhdx, pick):
    """fio on an image of its own."""
    path = image('fio.vhdx', '64M', '-y')
    command = ['fio', '--name=kill', '--ioengine=nbd', '--rw=randrw', '--bs=4k', '--size=64m',
               '--iodepth=16', '--fsync=32', '--verify=crc32c', '--verify_fatal=1',
               '--verify_state_save=0']
    server = serve(path)
    with subprocess.Popen([*command, '--uri=' + server.uri, '--do_verify=0'],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as fio:
        time.sleep(pick.uniform(0.3, 1.5))
        server.kill()
        fio.wait(CLIENT_SECONDS)
    model = vhdxref.open_image(str(path))
    seen = model.content().sha256()
    model.close()
    assert seen == sha256_of(vhdx, path)
    server = serve(path)
    ok(*command, '--uri=' + server.uri, '--rw=randwrite', '--io_size=16m')
    server.stop()
