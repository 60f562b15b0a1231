# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Through pipes: raw disks from standard input; raw disks, complete VHDX images and VHDs to
standard output. What comes out of a pipe must be as good as a file."""

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time

import pytest

from cli_support import died_by
from convert_support import (GIB, KIB, MIB, TIMEOUT, Watched, dense, padded, run, same_image,
                             same_raw, scatter, used)
from environment import program

SIZES = [512, MIB, 9 * MIB + 512, 40 * MIB]


def piped(vhdx, *arguments, feed=None, into=None, env=None):
    """Runs the tool with pipes on both sides; (exit code, standard error). feed: a file that a
    thread writes to it; into: where what it writes is put."""
    with subprocess.Popen([*vhdx.command, 'convert', *map(str, arguments)],
                          stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, LC_ALL='C.UTF-8', **(env or {}))) as process:
        threads = [threading.Thread(target=pour, args=(process.stdout, into))]
        if feed:
            threads.append(threading.Thread(target=fill, args=(feed, process.stdin)))
        for thread in threads:
            thread.start()
        errors = process.stderr.read().decode()
        for thread in threads:
            thread.join(TIMEOUT)
        process.stdin = None # closed by its thread
        return process.wait(TIMEOUT), errors


def pour(stream, path):
    """Everything from a stream to a file; a mebibyte of zeros becomes a hole."""
    with open(path or os.devnull, 'wb') as file:
        while data := stream.read(MIB):
            if path and data.count(0) == len(data):
                file.seek(len(data), os.SEEK_CUR)
            else:
                file.write(data)
        if path:
            file.truncate(file.tell())


def fill(path, stream):
    """A file into a pipe, in pieces of odd lengths."""
    lengths = [1, 511, 4096, 65536, 70001, MIB]
    try:
        with open(path, 'rb') as file:
            while data := file.read(lengths[0]):
                lengths.append(lengths.pop(0))
                stream.write(data)
        stream.close()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


# ---- Standard input ------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [1, 513, *SIZES, 7 * MIB + 12345])
@pytest.mark.parametrize('out', ['b.vhdx', 'b.raw'])
def test_from_a_pipe(vhdx, tmp_path, size, out):
    """The size is known at the end only."""
    disk = scatter(size, seed=size)
    disk.save(tmp_path / 'a.raw')
    assert piped(vhdx, '-q', '-', tmp_path / out, feed=tmp_path / 'a.raw') == (0, '')
    if out == 'b.vhdx':
        same_image(tmp_path / out, padded(disk, 512))
        vhdx.ok('check', '-q', tmp_path / out)
    else:
        same_raw(tmp_path / out, disk)


@pytest.mark.parametrize('options', [['-o', 'subformat=fixed'], ['-o', 'block_size=32M'],
                                     ['-o', 'logical_sector_size=4096'], ['--checksum', 'sha256'],
                                     ['--verify'], ['-m', '1'], ['--no-sparse']],
                         ids=lambda options: options[-1])
def test_options_with_a_pipe(vhdx, tmp_path, options, can_hash):
    """They mean the same."""
    disk = scatter(9 * MIB + 4096)
    disk.save(tmp_path / 'a.raw')
    code, errors = piped(vhdx, '-q', *options, '-', tmp_path / 'b.vhdx', feed=tmp_path / 'a.raw',
                         into=tmp_path / 'stdout')
    assert (code, errors) == (0, '')
    assert options[0] != '--checksum' or \
        disk.sha256() in (tmp_path / 'stdout').read_text(encoding='ascii')
    same_image(tmp_path / 'b.vhdx', disk)


def test_a_file_as_standard_input(vhdx, tmp_path):
    """Whose holes are known then."""
    disk = scatter(9 * MIB)
    disk.save(tmp_path / 'a.raw')
    with open(tmp_path / 'a.raw', 'rb') as file:
        vhdx.ok('convert', '-q', '-', tmp_path / 'b.vhdx', stdin=file)
    same_image(tmp_path / 'b.vhdx', disk)


def test_an_empty_pipe(vhdx, tmp_path):
    """No disk of no bytes."""
    assert vhdx.fails('convert', '-q', '-', tmp_path / 'b.vhdx', stdin=subprocess.DEVNULL)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('options', [[], ['--verify'], ['--checksum', 'sha256']],
                         ids=['', 'verify', 'checksum'])
def test_a_child_from_a_pipe(vhdx, tmp_path, options, can_hash):
    """Only what differs from the parent, though that is known when all has been read."""
    disk = scatter(9 * MIB)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    disk.put(5 * MIB + 1000, b'changed')
    disk.save(tmp_path / 'a.raw')
    (tmp_path / 'scratch').mkdir()
    done = piped(vhdx, '-q', *options, '-b', tmp_path / 'p.vhdx', '-', tmp_path / 'c.vhdx',
                 feed=tmp_path / 'a.raw', env={'TMPDIR': str(tmp_path / 'scratch')})
    assert done == (0, '')
    same_image(tmp_path / 'c.vhdx', disk)
    assert used(tmp_path / 'c.vhdx') < 8 * MIB
    assert os.listdir(tmp_path / 'scratch') == []


@pytest.mark.parametrize('ending', ['qcow2', 'vmdk', 'vdi'])
def test_qemu_formats_from_a_pipe(vhdx, tmp_path, ending):
    scatter(9 * MIB).save(tmp_path / 'a.raw')
    assert piped(vhdx, '-q', '-', tmp_path / ('b.' + ending), feed=tmp_path / 'a.raw') == (0, '')
    run(program('qemu-img'), 'compare', '-f', 'raw', '-F', ending, tmp_path / 'a.raw',
        tmp_path / ('b.' + ending))


@pytest.mark.parametrize('arguments', [
    ['-b', 'none.vhdx', '-', 'c.vhdx'], ['-b', 'a.raw', '-', 'c.vhdx'],
    ['-b', 'p.vhdx', '-', 'old.vhdx'], ['-y', '-b', 'p.vhdx', '-', 'folder'],
    ['-', 'old.qcow2'], ['-y', '-', 'folder.qcow2']])
def test_mistakes_show_before_a_pipe_is_read(vhdx, tmp_path, arguments):
    """Its other end would never end."""
    scatter(2 * MIB).save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    for name in ('old.vhdx', 'old.qcow2'):
        (tmp_path / name).write_text('precious', encoding='ascii')
    for name in ('folder', 'folder.qcow2'):
        (tmp_path / name).mkdir()
    watched = Watched(tmp_path)
    with subprocess.Popen(['cat', '/dev/zero'], stdout=subprocess.PIPE) as endless:
        assert vhdx.fails('convert', '-q', *arguments, cwd=tmp_path, stdin=endless.stdout)
        endless.kill()
    watched.unchanged()


def test_no_space_for_what_a_pipe_gives(vhdx, tmp_path, small):
    """The error says where, and what can be done."""
    place = small('tmpfs', 4 * MIB)
    dense(tmp_path / 'a.raw', 9 * MIB)
    code, errors = piped(vhdx, '-q', '-', tmp_path / 'b.qcow2', feed=tmp_path / 'a.raw',
                         env={'TMPDIR': str(place)})
    assert code == 1
    assert str(place) in errors and 'No space left' in errors and 'hint: TMPDIR=' in errors
    assert not (tmp_path / 'b.qcow2').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_pipe_is_kept(vhdx, tmp_path, number):
    (tmp_path / 'scratch').mkdir()
    reader, writer = os.pipe()
    os.write(writer, bytes(1000))
    with subprocess.Popen([*vhdx.command, 'convert', '-q', '-', tmp_path / 'b.qcow2'],
                          stdin=reader, env=dict(os.environ,
                                                 TMPDIR=str(tmp_path / 'scratch'))) as process:
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(TIMEOUT)
    os.close(reader)
    os.close(writer)
    assert died_by(process.returncode, number)
    assert os.listdir(tmp_path) == ['scratch'] and os.listdir(tmp_path / 'scratch') == []


# ---- Standard output -----------------------------------------------------------------------------

@pytest.mark.parametrize('size', SIZES)
def test_raw_to_a_pipe(vhdx, tmp_path, size):
    """Raw is what standard output gets unless -O says otherwise."""
    disk = scatter(size, seed=size)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    for source in ('a.raw', 'b.vhdx'):
        assert piped(vhdx, '-q', tmp_path / source, '-', into=tmp_path / 'c.raw') == (0, '')
        same_raw(tmp_path / 'c.raw', disk)
    assert hashlib.sha256((tmp_path / 'c.raw').read_bytes()).hexdigest() == disk.sha256()


@pytest.mark.parametrize('block, sector, subformat', [
    (1, 512, 'dynamic'), (2, 4096, 'dynamic'), (32, 512, 'dynamic'), (256, 512, 'dynamic'),
    (2, 512, 'fixed'), (1, 4096, 'fixed')])
@pytest.mark.parametrize('source', ['a.raw', 'a.vhdx', 'pipe'])
def test_vhdx_to_a_pipe(vhdx, tmp_path, source, block, sector, subformat):
    """A complete image, in one pass, that everybody accepts."""
    disk = scatter(11 * MIB + 4096, block * MIB)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    options = ['-q', '-O', 'vhdx', '-o', 'block_size=%dM,logical_sector_size=%d,subformat=%s'
               % (block, sector, subformat)]
    out = tmp_path / 'b.vhdx'
    if source == 'pipe':
        done = piped(vhdx, *options, '-', '-', feed=tmp_path / 'a.raw', into=out)
    else:
        done = piped(vhdx, *options, tmp_path / source, '-', into=out)
    assert done == (0, '')
    same_image(out, disk, block=block * MIB, sector=sector, fixed=subformat == 'fixed')
    vhdx.ok('check', '-q', out)
    if sector == 512:
        run(program('qemu-img'), 'check', '-q', '-f', 'vhdx', out)
        run(program('qemu-img'), 'compare', '-q', '-f', 'raw', '-F', 'vhdx', tmp_path / 'a.raw',
            out)


@pytest.mark.parametrize('source', ['a.raw', 'pipe'])
def test_vhd_to_a_pipe(vhdx, tmp_path, source):
    """The disk and a footer."""
    disk = scatter(5 * MIB)
    disk.save(tmp_path / 'a.raw')
    out = tmp_path / 'b.vhd'
    if source == 'pipe':
        done = piped(vhdx, '-q', '-O', 'vhd', '-', '-', feed=tmp_path / 'a.raw', into=out)
    else:
        done = piped(vhdx, '-q', '-O', 'vhd', tmp_path / 'a.raw', '-', into=out)
    assert done == (0, '')
    data = out.read_bytes()
    assert len(data) == 5 * MIB + 512 and data[-512:-504] == b'conectix'
    assert hashlib.sha256(data[:-512]).hexdigest() == disk.sha256()


@pytest.mark.parametrize('odd', [1, 511, 12345])
def test_raw_from_pipe_to_pipe(vhdx, tmp_path, odd):
    """Nothing is added to what is no whole number of sectors."""
    disk = scatter(3 * MIB + odd)
    disk.save(tmp_path / 'a.raw')
    assert piped(vhdx, '-q', '-', '-', feed=tmp_path / 'a.raw', into=tmp_path / 'b.raw') == (0, '')
    same_raw(tmp_path / 'b.raw', disk)


def test_checksum_does_not_get_among_the_data(vhdx, tmp_path, can_hash):
    """It goes to standard error when the disk goes to standard output."""
    disk = scatter(3 * MIB)
    disk.save(tmp_path / 'a.raw')
    code, errors = piped(vhdx, '-q', '--checksum', 'sha256', tmp_path / 'a.raw', '-',
                         into=tmp_path / 'b.raw')
    assert code == 0 and disk.sha256() in errors
    same_raw(tmp_path / 'b.raw', disk)


def test_three_tools_in_a_row(vhdx, tmp_path):
    """vhdx | vhdx | vhdx."""
    disk = scatter(24 * MIB)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    convert = [*vhdx.command, 'convert', '-q']
    with subprocess.Popen([*convert, tmp_path / 'a.vhdx', '-'], stdout=subprocess.PIPE) as first, \
            subprocess.Popen([*convert, '-', '-'], stdin=first.stdout,
                             stdout=subprocess.PIPE) as second, \
            subprocess.Popen([*convert, '-', tmp_path / 'b.vhdx'], stdin=second.stdout) as third:
        first.stdout.close()
        second.stdout.close()
        assert [one.wait(TIMEOUT) for one in (third, second, first)] == [0, 0, 0]
    same_image(tmp_path / 'b.vhdx', disk)


# ---- What goes wrong -----------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['raw', 'vhdx', 'vhd'])
def test_a_full_device(vhdx, tmp_path, kind):
    """Exit code 1 and a message."""
    scatter(2 * MIB).save(tmp_path / 'a.raw')
    with open('/dev/full', 'wb') as full:
        done = vhdx('convert', '-q', '-O', kind, tmp_path / 'a.raw', '-', stdout=full)
    assert done.returncode == 1
    assert 'No space left on device' in done.stderr or 'no space' in done.stderr.lower()


@pytest.mark.parametrize('source', ['a.raw', '-'])
def test_a_reader_that_goes_away(vhdx, tmp_path, source):
    """As everything in a pipeline, the tool ends then: by the signal, or with an error."""
    scatter(64 * MIB).save(tmp_path / 'a.raw')
    where = '-' if source == '-' else tmp_path / source
    with open(tmp_path / 'a.raw', 'rb') as file, \
            subprocess.Popen([*vhdx.command, 'convert', '-q', where, '-'], stdin=file,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(4 * KIB)
        process.stdout.close()
        process.stderr.read()
        assert process.wait(TIMEOUT) not in (0, None)


def test_writer_that_dies(vhdx, tmp_path):
    """The end of a pipe is the end of the disk: that its writer failed cannot be seen. But what has
    come is all there."""
    disk = scatter(3 * MIB)
    disk.save(tmp_path / 'a.raw')
    shell = 'head -c 1048576 "$1"; exit 1'
    with subprocess.Popen(['sh', '-c', shell, 'sh', tmp_path / 'a.raw'],
                          stdout=subprocess.PIPE) as writer:
        vhdx.ok('convert', '-q', '-', tmp_path / 'b.raw', stdin=writer.stdout)
    assert (tmp_path / 'b.raw').read_bytes() == disk.get(0, MIB)


@pytest.mark.parametrize('arguments', [['--verify'], ['-b', 'p.vhdx', '-O', 'vhdx']],
                         ids=['verify', 'child'])
def test_what_a_pipe_cannot_do(vhdx, tmp_path, arguments):
    """Reading back, and being a child."""
    scatter(2 * MIB).save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    done = vhdx('convert', '-q', *arguments, 'a.raw', '-', cwd=tmp_path, text=False)
    assert done.returncode in (1, 2) and done.stderr.startswith('vhdx: ')
    assert done.stdout == b''


def test_nothing_stays_in_the_temporary_folder(vhdx, tmp_path):
    """Where a stream of unknown size waits until it can be written with its size in front."""
    scatter(9 * MIB).save(tmp_path / 'a.raw')
    (tmp_path / 'scratch').mkdir()
    done = piped(vhdx, '-q', '-O', 'vhdx', '-', '-', feed=tmp_path / 'a.raw',
                 into=tmp_path / 'b.vhdx', env={'TMPDIR': str(tmp_path / 'scratch')})
    assert done == (0, '')
    assert os.listdir(tmp_path / 'scratch') == []


def test_large_and_empty(vhdx, tmp_path):
    """An empty disk of 64 GiB is a short VHDX in a pipe."""
    with open(tmp_path / 'a.raw', 'wb') as file:
        file.truncate(64 * GIB)
    done = piped(vhdx, '-q', '-O', 'vhdx', tmp_path / 'a.raw', '-', into=tmp_path / 'b.vhdx')
    assert done == (0, '')
    assert os.path.getsize(tmp_path / 'b.vhdx') <= 8 * MIB
    vhdx.ok('check', '-q', tmp_path / 'b.vhdx')
