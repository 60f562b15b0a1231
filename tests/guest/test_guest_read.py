# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Real images as the disk of a guest: Linux sees the size, the sectors and the content that
`vhdx hash` and `vhdx info` tell of."""

import json

import pytest

from fuse_support import sha256
from nbd_support import sha256_of

LOOK = '''
cd /sys/block/vda
echo 2048 >queue/read_ahead_kb
echo sectors $(cat size)
echo sector-size $(cat queue/logical_block_size)
echo read-only $(cat ro)
echo sha256 $(sha256sum </dev/vda)
'''


@pytest.mark.parametrize('name, sector_size', [
    ('vhdx-log-replay.vhdx', 512),        # with a dirty log
    ('ntfs-differential.vhdx', 512),      # a child
    ('fattools-dynamic-4096.vhdx', 4096),
])
def test_reads(boot, serving, unpacked, vhdx, name, sector_size):
    path = unpacked(name)
    if name == 'ntfs-differential.vhdx':
        unpacked('ntfs-parent.vhdx')
    before = sha256(path)
    socket, stop = serving('-r', path)
    guest = boot(socket, LOOK, sector_size=sector_size, read_only=True)
    guest.end()
    stop()
    size = size_of(vhdx, path)
    assert guest.value('sectors') == str(size // 512), guest.logs()
    assert guest.value('sector-size') == str(sector_size), guest.logs()
    assert guest.value('read-only') == '1', guest.logs()
    assert guest.value('sha256') == sha256_of(vhdx, path), guest.logs()
    assert sha256(path) == before, 'serving has changed the file'


def size_of(vhdx, path):
    """The size of the disk."""
    return json.loads(vhdx.ok('info', '--output=json', path))['virtual-size']
