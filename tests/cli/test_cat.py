# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx cat."""

import hashlib
import os
import random
import subprocess

import pytest

from cli_support import CHILD, CHILD_SHA256, MIB, PARENT


def test_whole_disk(vhdx, pair):
    child, _ = pair
    content = vhdx.ok('cat', child, text=False)
    assert hashlib.sha256(content).hexdigest() == CHILD_SHA256


def test_holes_are_written(vhdx, unpacked):
    process = vhdx.start('cat', unpacked('btrfs.vhdx'))
    digest = hashlib.sha256()
    while chunk := process.stdout.read(MIB):
        digest.update(chunk)
    assert process.communicate()[1] == b''
    assert process.returncode == 0
    assert digest.hexdigest() == '0b959f9cb4e18348ad8b646f152178282542c8304f02fddf765e3fd1a1de6864'


@pytest.mark.parametrize('name', [CHILD, 'config2_base.vhdx', 'fattools-dynamic-4096.vhdx'])
def test_ranges_are_those_of_convert(vhdx, image, tmp_path, name):
    path = image(name)
    image(PARENT)
    raw = tmp_path / 'out.raw'
    vhdx.ok('convert', path, raw)
    size = raw.stat().st_size
    chance = random.Random(1)
    ranges = [(0, 0), (0, 1), (size - 1, 1), (size, 0), (511, 2), (MIB - 1, 2), (2 * MIB - 1, 3)]
    for _ in range(20):
        offset = chance.randrange(size)
        ranges.append((offset, min(chance.randrange(3 * MIB), size - offset)))
    with open(raw, 'rb') as file:
        for offset, length in ranges:
            file.seek(offset)
            assert vhdx.ok('cat', '--offset', str(offset), '--length', str(length), path,
                           text=False) == file.read(length), (offset, length)


def test_offset_alone_reaches_to_the_end(vhdx, unpacked):
    path = unpacked(PARENT)
    assert vhdx.ok('cat', '--offset', '3M', path, text=False) == \
        vhdx.ok('cat', path, text=False)[3 * MIB:]


def test_range_past_the_end(vhdx, unpacked):
    path = unpacked(PARENT)
    assert vhdx.fails('cat', '--offset', '4194305', path) == \
        f'vhdx: {path}: --offset 4194305 is past the end of the disk (4194304 bytes)\n'
    done = vhdx('cat', '--offset', '3M', '--length', '1048577', path)
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == f'vhdx: {path}: --length 1048577 from offset 3145728 is past the end ' \
                          'of the disk (4194304 bytes)\n'
    vhdx.fails('cat', '--offset', '1', '--length', '18446744073709551615', path)


def test_blocks_past_the_end_of_the_file(vhdx, unpacked):
    """What is lost is an error, not zeros."""
    path = unpacked('MSEdge-Win10_preview_truncated.vhdx')
    message = vhdx.fails('cat', path, stdout=subprocess.DEVNULL)
    assert message.startswith(f'vhdx: {path}: ')
    assert 'hint: the file is shorter' in message


def test_refuses_a_terminal(vhdx, unpacked):
    pty = pytest.importorskip('pty')
    controller, terminal = pty.openpty()
    try:
        message = vhdx.fails('cat', unpacked(PARENT), stdout=terminal)
    finally:
        os.close(terminal)
        os.close(controller)
    assert message.startswith('vhdx: cat does not write a disk to a terminal\nvhdx: hint: ')


@pytest.mark.parametrize('which', [CHILD, PARENT])
def test_refuses_the_chain_as_output(vhdx, pair, tmp_path, which):
    before = (tmp_path / which).read_bytes()
    with open(tmp_path / which, 'ab') as file:
        message = vhdx.fails('cat', pair[0], stdout=file)
    assert message.endswith(f'{which}: is also standard output\n')
    assert (tmp_path / which).read_bytes() == before


def test_warns_of_zeros_for_the_parents_data(vhdx, image):
    child = image(CHILD)
    done = vhdx('cat', '--no-parent', child, text=False)
    assert done.returncode == 0
    assert len(done.stdout) == 4 * MIB
    assert done.stderr == f'vhdx: warning: {child}: what the parent would supply reads as zeros ' \
                          '(--no-parent)\n'
