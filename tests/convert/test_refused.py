# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Outputs that vhdx convert refuses, because somebody needs what stands there: a program that has
it open, children, or the conversion itself. Of the library's own refusals, tests/api tells more."""

import os
import subprocess

import pytest

from convert_support import KIB, MIB, dense, run, same_raw, scatter, sha256_of_file
from environment import program

SIZE = 9 * MIB
IS_INPUT = 'output is the input itself, or what that is based on'


@pytest.fixture
def family(vhdx, tmp_path):
    """a.raw, base.vhdx with its content, and child.avhdx over it."""
    disk = scatter(SIZE)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'base.vhdx')
    vhdx.ok('create', '-q', '-b', tmp_path / 'base.vhdx', tmp_path / 'child.avhdx')
    return disk


# ---- What others need ----------------------------------------------------------------------------

@pytest.mark.parametrize('form', ['vhdx', 'raw', 'qcow2'])
def test_a_parent(vhdx, request, tmp_path, family, form):
    """-y replaces images, but not such as others are based on."""
    base = tmp_path / 'base.vhdx'
    before = sha256_of_file(base)
    if form == 'qcow2':
        request.getfixturevalue('libnbd')
    message = vhdx.fails('convert', '-qy', '-O', form, tmp_path / 'a.raw', base)
    assert message == \
        f'vhdx: warning: {base}: is the parent of {tmp_path}/child.avhdx, which is of no use ' \
        f'once its parent has changed\nvhdx: {base}: not replaced, because it has children\n' \
        'vhdx: hint: take another name\n'
    assert sha256_of_file(base) == before
    os.unlink(tmp_path / 'child.avhdx')
    vhdx.ok('convert', '-qy', '-O', form, tmp_path / 'a.raw', base)


def test_an_image_in_use(vhdx, tmp_path, family):
    """By another program."""
    os.unlink(tmp_path / 'child.avhdx')
    base = tmp_path / 'base.vhdx'
    before = sha256_of_file(base)
    with subprocess.Popen([program('qemu-io'), '-f', 'vhdx', base], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'read 0 512\n')
        other.stdin.flush()
        assert other.stdout.readline()
        message = vhdx.fails('convert', '-qy', tmp_path / 'a.raw', base)
        other.communicate(b'quit\n')
    assert f'{base}: another process has the image open' in message.splitlines()[0]
    assert 'stop the program that has it open' in message
    assert sha256_of_file(base) == before
    vhdx.ok('convert', '-qy', tmp_path / 'a.raw', base)


# ---- What the conversion itself needs ------------------------------------------------------------

@pytest.mark.parametrize('name', ['a.raw', 'base.vhdx', 'child.avhdx'])
def test_a_loop_device_over_the_input(vhdx, tmp_path, family, device, name):
    """It would write over what is still to be read, whatever it is called."""
    store = tmp_path / name
    before = sha256_of_file(store)
    loop, _ = device(0, name)
    source = tmp_path / ('a.raw' if name == 'a.raw' else 'child.avhdx')
    assert IS_INPUT in vhdx.fails('convert', '-qy', source, loop)
    assert IS_INPUT in vhdx.fails('convert', '-qy', '-f', 'raw', loop, store)
    assert sha256_of_file(store) == before


def test_a_loop_device_over_another_file(vhdx, tmp_path, family, device):
    """That is no reason to refuse."""
    loop, store = device(SIZE)
    vhdx.ok('convert', '-qy', tmp_path / 'child.avhdx', loop)
    same_raw(store, family)


# ---- Options and names ---------------------------------------------------------------------------

def test_nothing_is_made(vhdx, tmp_path, family, device):
    """-n is for what exists; a file never is written into."""
    out = tmp_path / 'b.raw'
    message = vhdx.fails('convert', '-q', '-n', tmp_path / 'a.raw', out)
    assert '-n: a file is always made anew' in message and not out.exists()
    out.write_bytes(bytes(SIZE))
    assert vhdx('convert', '-q', '-n', tmp_path / 'a.raw', out).returncode == 1
    assert out.read_bytes() == bytes(SIZE)
    loop, store = device(SIZE)
    vhdx.ok('convert', '-qy', '-n', tmp_path / 'a.raw', loop)
    same_raw(store, family)


def test_no_name(vhdx, tmp_path, family):
    """As an unset variable of a script leaves it."""
    before = sorted(os.listdir(tmp_path))
    message = vhdx.fails('convert', tmp_path / 'a.raw', '')
    assert "the output's name is empty" in message
    assert sorted(os.listdir(tmp_path)) == before


# ---- What is not refused -------------------------------------------------------------------------

@pytest.mark.parametrize('size', [MIB, MIB + 64 * KIB])
def test_qcow2_to_a_redirected_output(vhdx, tmp_path, libnbd, size):
    """The file that the shell has opened is not taken for one of those that QEMU reads."""
    dense(tmp_path / 'a.raw', size)
    run(program('qemu-img'), 'convert', '-f', 'raw', '-O', 'qcow2', tmp_path / 'a.raw',
        tmp_path / 'a.qcow2')
    with open(tmp_path / 'b.raw', 'wb') as out:
        done = subprocess.run([*vhdx.command, 'convert', '-q', tmp_path / 'a.qcow2', '-'],
                              stdout=out, stderr=subprocess.PIPE, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert sha256_of_file(tmp_path / 'b.raw') == sha256_of_file(tmp_path / 'a.raw')
