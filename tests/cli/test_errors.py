# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What is said when something goes wrong, and the exit codes."""

import errno
import fcntl
import os
import struct
import subprocess

import pytest

from cli_support import CHILD, MIB, PARENT, change_locator, died_by, restore_sigpipe

READING = ['info', 'chain', 'map', 'hash', 'cat']


@pytest.fixture(autouse=True)
def skip_hash(request):
    """Leaves out the verb hash where the library cannot do it."""
    callspec = getattr(request.node, 'callspec', None)
    if callspec and callspec.params.get('verb') == 'hash':
        if not request.getfixturevalue('can_hash'):
            pytest.skip('built without libcrypto')


@pytest.mark.parametrize('verb', READING)
def test_no_such_file(vhdx, tmp_path, verb):
    message = vhdx.fails(verb, tmp_path / 'none.vhdx')
    assert message.startswith(f'vhdx: {tmp_path}/none.vhdx: ')
    assert os.strerror(errno.ENOENT) in message
    assert message.count('none.vhdx') == 1
    assert message.count('\n') == 1


def test_a_folder_is_no_image(vhdx, tmp_path):
    message = vhdx.fails('info', tmp_path)
    assert message.startswith(f'vhdx: {tmp_path}: ')


@pytest.mark.parametrize('content', [b'', b'x', b'conectix' + bytes(504), bytes(3 * MIB)],
                         ids=['empty', 'one byte', 'VHD', 'zeros'])
def test_other_files(vhdx, tmp_path, content):
    path = tmp_path / 'other'
    path.write_bytes(content)
    message = vhdx.fails('info', path)
    assert message.startswith(f'vhdx: {path}: ')
    if len(content) >= 512:
        assert "vhdx: hint: 'qemu-img info FILE' tells what the file is" in message


def test_where_in_the_file(vhdx, image):
    path = image(PARENT)
    with open(path, 'r+b') as file:
        for header in (64 << 10, 128 << 10):
            file.seek(header + 100)
            file.write(b'x')
    message = vhdx.fails('info', path).splitlines()[0]
    assert message.startswith(f'vhdx: {path}: ')
    assert message.endswith((' (file offset 65536)', ' (file offset 131072)',
                             ' (file offset 65540)', ' (file offset 131076)')), message


def test_offsets_of_errors_are_decimal_and_inside_the_file(vhdx, image):
    path = image(PARENT)
    with open(path, 'r+b') as file:
        file.seek(64 << 10)
        file.write(bytes(192 << 10))
    place = vhdx.fails('info', path).splitlines()[0].rpartition(' (file offset ')[2]
    assert 0 <= int(place.rstrip(')')) < os.path.getsize(path)


@pytest.mark.parametrize('verb', ['map', 'hash', 'cat'])
def test_missing_parent_lists_every_step(vhdx, image, verb):
    path = image(CHILD)
    lines = vhdx.fails(verb, path).splitlines()
    assert lines[0].startswith(f'vhdx: {path}: ')
    tried = [line for line in lines if line.startswith('vhdx: tried: ')]
    assert lines[1:-1] == tried
    assert any(PARENT in line for line in tried)
    for clue in ('ntfs-parent.vhdx', 'C:\\Projects', 'Volume{'):
        assert any(clue in line for line in tried), (clue, tried)
    assert lines[-1].startswith('vhdx: hint: name the parent with --parent FILE')


def test_mismatching_parent_lists_every_step(vhdx, pair):
    child, _ = pair
    change_locator(child, parent_linkage='{00000000-1111-2222-3333-444444444444}')
    lines = vhdx.fails('hash', child).splitlines()
    assert any(line.startswith('vhdx: tried: ') and PARENT in line for line in lines)
    assert lines[-1].startswith('vhdx: hint: the parent was changed')


def test_other_files_are_still_done(vhdx, image, tmp_path):
    path = image(PARENT)
    done = vhdx('info', tmp_path / 'none1', path, tmp_path / 'none2')
    assert done.returncode == 1
    assert done.stdout == vhdx.ok('info', path)
    assert len(done.stderr.splitlines()) == 2


def test_other_files_are_still_hashed(vhdx, image, tmp_path, can_hash):
    if not can_hash:
        pytest.skip('built without libcrypto')
    path = image(PARENT)
    done = vhdx('hash', tmp_path / 'none1', path, tmp_path / 'none2')
    assert (done.returncode, done.stdout) == (1, vhdx.ok('hash', path))


def test_a_writer_keeps_us_out(vhdx, image):
    """A lock as QEMU takes it for writing."""
    path = image(PARENT)
    fd = os.open(path, os.O_RDWR)
    try:
        lock = struct.pack('hhqqi', fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except (AttributeError, OSError):
            pytest.skip('no open file description locks here')
        message = vhdx.fails('info', path)
        assert message.startswith(f'vhdx: {path}: ')
        assert 'vhdx: hint: stop the program' in message and '-U' in message
        assert vhdx.ok('info', '-U', path) == vhdx.ok('info', '--force-share', path)
    finally:
        os.close(fd)


def test_hostile_names_do_not_reach_the_terminal(vhdx, tmp_path):
    name = os.fsencode(tmp_path) + b'/a\x1b[31m\nvhdx: fine\r\xff\xc2\x9b\xe2\x80\xae.vhdx'
    message = vhdx.fails('info', name)
    assert message.count('\n') == 1
    assert message.isprintable() or message[:-1].isprintable()
    assert 'a?[31m?vhdx: fine????.vhdx' in message


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
@pytest.mark.parametrize('verb', [*READING, '--help', '--version', 'help'])
def test_full_disk_behind_standard_output(vhdx, unpacked, verb):
    args = [verb] if verb.startswith('-') or verb == 'help' else [verb, unpacked(PARENT)]
    with open('/dev/full', 'wb') as full:
        message = vhdx.fails(*args, stdout=full)
    assert message == f'vhdx: standard output: {os.strerror(errno.ENOSPC)}\n'


def skip_emulated(vhdx):
    if vhdx.emulated:
        pytest.skip('the emulator needs the standard files itself')


@pytest.mark.parametrize('verb', READING)
def test_closed_standard_output(vhdx, unpacked, verb):
    skip_emulated(vhdx)

    def close():
        os.close(1)
    message = vhdx.fails(verb, unpacked(PARENT), stdout=None, preexec_fn=close)
    assert message == f'vhdx: standard output: {os.strerror(errno.EBADF)}\n'


def test_convert_needs_no_standard_files(vhdx, unpacked, tmp_path):
    """The output must not become descriptor 1 or 2, where messages go."""
    skip_emulated(vhdx)

    def close():
        for fd in (0, 1, 2):
            os.close(fd)
    out = tmp_path / 'out.raw'
    done = subprocess.run([*vhdx.command, 'convert', '-p', unpacked(PARENT), out],
                          preexec_fn=close, check=False)
    assert done.returncode == 0
    assert vhdx.ok('cat', unpacked(PARENT), text=False) == out.read_bytes()


@pytest.mark.parametrize('verb', ['cat', 'map'])
def test_reader_that_goes_away(vhdx, image, verb):
    """With SIGPIPE the tool dies quietly, as cat does."""
    path = image(PARENT)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = vhdx(verb, path, stdout=write_end, preexec_fn=restore_sigpipe)
    finally:
        os.close(write_end)
    assert died_by(done.returncode, 13), done
    assert done.stderr == ''


def test_reader_that_goes_away_with_sigpipe_ignored(vhdx, image):
    path = image(PARENT)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        cat = vhdx('cat', path, stdout=write_end, restore_signals=False)
        info = vhdx('info', path, stdout=write_end, restore_signals=False)
    finally:
        os.close(write_end)
    assert (cat.returncode, cat.stderr) == (1, '')
    assert (info.returncode, info.stderr) == \
        (1, f'vhdx: standard output: {os.strerror(errno.EPIPE)}\n')


def test_json_without_json(vhdx, unpacked):
    done = vhdx('info', '--output=json', unpacked(PARENT))
    if done.returncode == 0:
        pytest.skip('built with JSON')
    assert done.stderr == \
        'vhdx: --output=json: this vhdx was built without JSON support (json-c)\n'
