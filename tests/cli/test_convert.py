# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx convert: what it writes, and what it leaves behind when it cannot."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from cli_support import CHILD, CHILD_SHA256, MIB, PARENT, died_by


def sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() \
            if hasattr(hashlib, 'file_digest') else hashlib.sha256(file.read()).hexdigest()


def test_flattens_the_chain(vhdx, pair, tmp_path):
    child, _ = pair
    out = tmp_path / 'out.raw'
    assert vhdx.ok('convert', '-O', 'raw', '-f', 'vhdx', child, out) == ''
    assert sha256(out) == CHILD_SHA256


def test_output_is_sparse(vhdx, unpacked, tmp_path):
    out = tmp_path / 'out.raw'
    vhdx.ok('convert', unpacked('fattools-multichunk-512.vhdx'), out)
    assert out.stat().st_size == 6 << 30
    assert out.stat().st_blocks * 512 <= 64 * MIB


def test_input_stays_as_it_is(vhdx, image, tmp_path):
    """Not even the log is replayed to it."""
    path = image('vhdx-log-replay.vhdx')
    before = sha256(path)
    vhdx.ok('convert', path, tmp_path / 'out.raw')
    assert sha256(path) == before
    assert sha256(tmp_path / 'out.raw') == \
        '3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e'


@pytest.mark.parametrize('name', ['RAW', 'vhdz', ''])
def test_unknown_formats(vhdx, unpacked, tmp_path, name):
    first, second = vhdx.fails('convert', '-O', name, unpacked(PARENT),
                               tmp_path / 'out').splitlines()
    assert first == f"vhdx: -O: '{name}' is no format that vhdx writes"
    assert second.startswith('vhdx: hint: raw, vhdx, vhd')
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('options, out, message', [
    (['--azure'], 'out.raw', '--azure is for VHD outputs'),
    (['-b', 'parent.vhdx'], 'out.raw', '-b is for VHDX outputs'),
    (['-O', 'vhdx', '-b', 'parent.vhdx'], '-', 'a differencing image needs a path'),
    (['--verify'], '-', '--verify cannot read back standard output'),
    (['-O', 'qcow2'], '-', 'standard output takes raw, vhdx and vhd only'),
    (['-O', 'vhd'], 'nbd://localhost', 'an NBD server or a block device gets raw disks only'),
    (['-c'], 'out.raw', '-c: nothing is compressed'),
    (['-t', 'none'], 'out.raw', '-t and -T: there are no cache modes'),
    (['--block-size', '2M'], 'out.raw',
     'block, log and sector sizes and the subformat are for VHDX outputs'),
    (['--preallocation', 'full'], 'out.vhdx',
     'preallocation=falloc and preallocation=full are for fixed images'),
    (['-o', 'size=1G'], 'out.vhdx', '-o size: the size is the input\'s'),
    (['--salvage', '-O', 'vhdx'], 'out.vhdx', '--salvage writes raw files only'),
    (['--salvage', '--verify'], 'out.raw', '--salvage takes none of the options of a conversion'),
])
def test_what_does_not_go_together(vhdx, unpacked, tmp_path, options, out, message):
    first, second = vhdx.fails('convert', *options, unpacked(PARENT), out,
                               cwd=tmp_path).splitlines()
    assert first == f'vhdx: convert: {message}'
    assert second.startswith('vhdx: hint: ')
    assert os.listdir(tmp_path) == []


def test_the_ending_decides(vhdx, unpacked, tmp_path):
    out = tmp_path / 'out.VHDX'
    vhdx.ok('convert', '--block-size', '1M', '--verify', unpacked(PARENT), out)
    assert out.read_bytes()[:8] == b'vhdxfile'
    assert vhdx.ok('hash', out).split()[0] == vhdx.ok('hash', unpacked(PARENT)).split()[0]


def test_checksum_is_a_line_of_sha256sum(vhdx, unpacked, tmp_path):
    out = tmp_path / 'out.raw'
    assert vhdx.ok('convert', '--checksum', 'sha256', unpacked(PARENT), out) == \
        f'{sha256(out)}  {out}\n'


def test_progress_as_json(vhdx, unpacked, tmp_path):
    done = vhdx('convert', '--progress=json', unpacked(PARENT), tmp_path / 'out.raw')
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0
    assert set(lines[-1]) == {'done', 'total', 'percent', 'bytes-per-second', 'seconds-left'}
    assert (lines[-1]['done'], lines[-1]['percent']) == (4 * MIB, 100)


# ---- What stands at the output's place -----------------------------------------------------------

def test_existing_output_is_kept(vhdx, unpacked, tmp_path):
    out = tmp_path / 'out.raw'
    out.write_text('precious')
    message = vhdx.fails('convert', unpacked(PARENT), out)
    assert 'out.raw' in message
    assert 'vhdx: hint: -y replaces an existing file' in message
    assert out.read_text() == 'precious'
    assert os.listdir(tmp_path) == ['out.raw']


@pytest.mark.parametrize('option', ['-y', '--replace'])
def test_existing_output_is_replaced(vhdx, unpacked, tmp_path, option):
    out = tmp_path / 'out.raw'
    out.write_text('precious')
    vhdx.ok('convert', option, unpacked(PARENT), out)
    assert out.stat().st_size == 4 * MIB
    assert os.listdir(tmp_path) == ['out.raw']


def test_empty_output_needs_no_permission(vhdx, unpacked, tmp_path):
    out = tmp_path / 'out.raw'
    out.touch()
    vhdx.ok('convert', unpacked(PARENT), out)
    assert out.stat().st_size == 4 * MIB


def test_output_through_a_link_replaces_the_target(vhdx, unpacked, tmp_path):
    (tmp_path / 'real').write_text('old')
    (tmp_path / 'link').symlink_to('real')
    vhdx.ok('convert', '-y', unpacked(PARENT), tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real').stat().st_size == 4 * MIB


@pytest.mark.parametrize('how', ['name', 'other spelling', 'hard link', 'symbolic link'])
@pytest.mark.parametrize('which', [CHILD, PARENT])
def test_images_of_the_chain_are_refused(vhdx, pair, tmp_path, which, how):
    target = tmp_path / which
    before = sha256(target)
    out = {'name': target, 'other spelling': f'{tmp_path}/../{tmp_path.name}//{which}',
           'hard link': tmp_path / 'other', 'symbolic link': tmp_path / 'other'}[how]
    if how == 'hard link':
        os.link(target, out)
    elif how == 'symbolic link':
        os.symlink(which, out)
    listing = sorted(os.listdir(tmp_path))
    message = vhdx.fails('convert', '-y', pair[0], out)
    assert 'hint: -y' not in message
    assert sha256(target) == before
    assert sorted(os.listdir(tmp_path)) == listing
    assert 'hint: -y' not in vhdx.fails('convert', pair[0], out)


@pytest.mark.parametrize('place', ['folder', 'none/out.raw', 'file/out.raw'])
def test_impossible_outputs(vhdx, unpacked, tmp_path, place):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('x')
    message = vhdx.fails('convert', '-y', unpacked(PARENT), tmp_path / place)
    assert place in message
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder']
    assert os.listdir(tmp_path / 'folder') == []


# ---- Failures on the way -------------------------------------------------------------------------

@pytest.mark.parametrize('existing', [None, 'precious'])
def test_failure_leaves_everything_as_it_was(vhdx, unpacked, tmp_path, existing):
    """The image's blocks lie past the end of its file."""
    out = tmp_path / 'out.raw'
    if existing:
        out.write_text(existing)
    message = vhdx.fails('convert', '-y', unpacked('MSEdge-Win10_preview_truncated.vhdx'), out)
    assert 'hint: the file is shorter than its own tables say' in message
    assert os.listdir(tmp_path) == (['out.raw'] if existing else [])
    assert not existing or out.read_text() == existing


def interrupt_midway(process, folder, number):
    """Sends a signal as soon as a temporary file is there. False when it was too late."""
    before = set(os.listdir(folder))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if set(os.listdir(folder)) - before:
            process.send_signal(number)
            process.communicate(timeout=60)
            return process.returncode != 0
    return False


@pytest.mark.parametrize('existing', [None, 'precious'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_everything_as_it_was(vhdx, unpacked, tmp_path, number, existing):
    path = unpacked('test-disk2vhd.vhdx')
    out = tmp_path / 'out.raw'
    for _ in range(10):
        if existing:
            out.write_text(existing)
        process = vhdx.start('convert', '-y', path, out)
        if interrupt_midway(process, tmp_path, number):
            break
        out.unlink(missing_ok=True)
    else:
        pytest.skip('conversion is always faster than the signal')
    assert died_by(process.returncode, number), process.returncode
    assert os.listdir(tmp_path) == (['out.raw'] if existing else [])
    assert not existing or out.read_text() == existing


def test_ignored_signals_stay_ignored(vhdx, unpacked, tmp_path):
    """As under nohup."""
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    out = tmp_path / 'out.raw'
    process = vhdx.start('convert', unpacked('test-disk2vhd.vhdx'), out, preexec_fn=ignore)
    interrupt_midway(process, tmp_path, signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.stat().st_size == 256 * MIB


def test_full_disk(vhdx, unpacked, tmp_path):
    if os.geteuid() != 0 or not shutil.which('mount'):
        pytest.skip('only root can mount a small file system')
    folder = tmp_path / 'small'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2M', 'tmpfs', folder],
                             stderr=subprocess.DEVNULL, check=False)
    if mounted.returncode != 0:
        pytest.skip('mounting is not allowed here')
    try:
        (folder / 'out.raw').write_text('precious')
        message = vhdx.fails('convert', '-y', unpacked('ntfs-fixed.vhdx'), folder / 'out.raw')
        assert 'vhdx: hint: make room or choose another place for the output\n' in message
        assert os.listdir(folder) == ['out.raw']
        assert (folder / 'out.raw').read_text() == 'precious'
    finally:
        subprocess.run(['umount', folder], check=True)


# ---- Warnings and progress -----------------------------------------------------------------------

def test_warns_of_zeros_for_the_parents_data(vhdx, image, tmp_path):
    child = image(CHILD)
    done = vhdx('convert', '--no-parent', child, tmp_path / 'out.raw')
    assert done.returncode == 0
    assert done.stderr == f'vhdx: warning: {child}: what the parent would supply reads as zeros ' \
                          '(--no-parent)\n'
    assert sha256(tmp_path / 'out.raw') != CHILD_SHA256


def test_no_progress_where_there_is_no_terminal(vhdx, unpacked, tmp_path):
    vhdx.ok('convert', unpacked(PARENT), tmp_path / 'out.raw')


def test_progress_lines_when_asked_for(vhdx, unpacked, tmp_path):
    done = vhdx('convert', '-p', unpacked('iotest-dynamic-1G.vhdx'), tmp_path / 'out.raw')
    assert done.returncode == 0
    assert done.stdout == ''
    last = done.stderr.splitlines()[-1]
    assert last.startswith('[====') and '100.0%  1 GiB of 1 GiB' in last
    assert '\r' not in done.stderr and '\033' not in done.stderr
    quiet = vhdx('convert', '-pqy', unpacked(PARENT), tmp_path / 'out.raw')
    assert (quiet.returncode, quiet.stderr) == (0, '')


@pytest.mark.parametrize('columns', [20, 80, 200])
def test_bar_on_a_terminal(vhdx, unpacked, tmp_path, columns):
    pty = pytest.importorskip('pty')
    termios = pytest.importorskip('termios')
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns)) if hasattr(termios, 'tcsetwinsize') else None
    process = subprocess.Popen(
        [*vhdx.command, 'convert', unpacked('iotest-dynamic-1G.vhdx'), tmp_path / 'out.raw'],
        stderr=terminal)
    os.close(terminal)
    shown = b''
    try:
        while chunk := os.read(controller, 4096):
            shown += chunk
    except OSError: # the other side is closed
        pass
    os.close(controller)
    assert process.wait() == 0
    assert shown.endswith(b'\r\033[K'), 'the bar is removed at the end'
    if hasattr(termios, 'tcsetwinsize'):
        lines = shown.replace(b'\033[K', b'').split(b'\r')
        assert max(map(len, lines)) < columns
