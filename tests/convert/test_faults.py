# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What goes wrong on the way: outputs that must not be overwritten, signals, full disks, inputs
that change or cannot be read, servers that die, writes that go wrong unseen. Each time: a clear
error, no output, nothing left over, the input untouched."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
import types

import pytest

from cli_support import died_by
from convert_support import (KIB, MIB, TIMEOUT, Watched, dense, padded, same_image, same_raw,
                             scatter, sha256_of_file)
from environment import wait_for

OUTPUTS = ['b.raw', 'b.vhdx', 'b.vhd']


@pytest.fixture
def disk(tmp_path):
    """Of 9 MiB, in a.raw."""
    found = scatter(9 * MIB)
    found.save(tmp_path / 'a.raw')
    return found


# ---- What stands there already -------------------------------------------------------------------

@pytest.mark.parametrize('out', OUTPUTS)
def test_existing_output(vhdx, tmp_path, disk, out):
    """Is kept, unless -y allows to replace it, or it is empty."""
    path = tmp_path / out
    path.write_text('precious', encoding='ascii')
    watched = Watched(tmp_path)
    assert 'hint: -y' in vhdx.fails('convert', '-q', tmp_path / 'a.raw', path)
    watched.unchanged()
    vhdx.ok('convert', '-q', '-y', tmp_path / 'a.raw', path)
    assert path.stat().st_size > 8
    path.write_bytes(b'')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', path)
    assert sorted(os.listdir(tmp_path)) == sorted(['a.raw', out])
    if out == 'b.vhdx':
        same_image(path, disk)
    elif out == 'b.raw':
        same_raw(path, disk)


@pytest.mark.parametrize('how', ['name', 'spelling', 'hard link', 'symbolic link'])
@pytest.mark.parametrize('options', [[], ['-y']], ids=['', '-y'])
@pytest.mark.parametrize('source', ['a.raw', 'a.vhdx', 'p.vhdx', 'c.avhdx'])
def test_output_that_is_an_input(vhdx, tmp_path, disk, source, options, how):
    """Or a parent of the input: by device and inode, not by name. p is the parent of c, and stands
    for the output of c's conversion; the others for that of their own."""
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    disk.put(5 * MIB, b'changed')
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'a.raw', tmp_path / 'c.avhdx')
    out = tmp_path / 'other'
    if how == 'name':
        out = tmp_path / source
    elif how == 'spelling':
        out = '%s/../%s//%s' % (tmp_path, tmp_path.name, source)
    elif how == 'hard link':
        os.link(tmp_path / source, out)
    else:
        os.symlink(source, out)
    watched = Watched(tmp_path)
    first = 'c.avhdx' if source == 'p.vhdx' else source
    message = vhdx.fails('convert', '-q', *options, '-O', 'raw', tmp_path / first, out)
    assert not options or 'hint: -y' not in message
    watched.unchanged()


@pytest.mark.parametrize('how', ['name', 'hard link', 'symbolic link'])
def test_output_that_is_its_own_parent(vhdx, tmp_path, disk, how):
    """-b PARENT, and PARENT is the output."""
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    out = tmp_path / 'other.vhdx'
    if how == 'name':
        out = tmp_path / 'p.vhdx'
    elif how == 'hard link':
        os.link(tmp_path / 'p.vhdx', out)
    else:
        os.symlink('p.vhdx', out)
    watched = Watched(tmp_path)
    assert vhdx.fails('convert', '-qy', '-b', tmp_path / 'p.vhdx', tmp_path / 'a.raw', out)
    watched.unchanged()


def test_standard_input_that_is_the_output(vhdx, tmp_path, disk):
    """A file is a file, also when the shell opened it."""
    watched = Watched(tmp_path)
    with open(tmp_path / 'a.raw', 'rb') as file:
        vhdx.fails('convert', '-qy', '-', tmp_path / 'a.raw', stdin=file)
    watched.unchanged()


@pytest.mark.parametrize('place', ['folder', 'none/b.raw', 'a.raw/b.raw'])
def test_impossible_places(vhdx, tmp_path, disk, place):
    """A folder, below nothing, below a file."""
    (tmp_path / 'folder').mkdir()
    watched = Watched(tmp_path)
    assert vhdx.fails('convert', '-qy', '-O', 'raw', tmp_path / 'a.raw', tmp_path / place)
    watched.unchanged()
    assert os.listdir(tmp_path / 'folder') == []


# ---- Signals -------------------------------------------------------------------------------------

@pytest.fixture
def conversion(vhdx, tmp_path_factory, tmp_path, hamper, direction, existing):
    """A conversion of 48 MiB that signals are to end. Called with a delay of each write in us, it
    begins anew and returns the process; ended() judges what is there when the process is gone."""
    source = tmp_path_factory.mktemp('source') / 'a.raw'
    digest = dense(source, 48 * MIB)
    if direction == 'vhdx-to-raw':
        raw, source = source, source.with_name('a.vhdx')
        vhdx.ok('convert', '-q', raw, source)
    before = sha256_of_file(source)
    out = tmp_path / ('b.vhdx' if direction == 'raw-to-vhdx' else 'b.raw')

    def start(delay_us):
        out.unlink(missing_ok=True)
        if existing:
            out.write_text(existing, encoding='ascii')
        return vhdx.start('convert', '-qy', source, out,
                          env=dict(os.environ, **hamper(delay_us=delay_us)))

    def ended(process):
        assert os.listdir(tmp_path) in ([], [out.name])
        if process.returncode == 0:
            assert out.stat().st_size > 48 * MIB - 1
            if direction == 'vhdx-to-raw':
                assert sha256_of_file(out) == digest
        else:
            assert out.exists() == (existing is not None)
            assert not existing or out.read_text(encoding='ascii') == existing

    yield types.SimpleNamespace(start=start, ended=ended)
    assert sha256_of_file(source) == before


@pytest.mark.parametrize('existing', [None, 'precious'])
@pytest.mark.parametrize('direction', ['raw-to-vhdx', 'vhdx-to-raw'])
def test_signals_at_random_moments(conversion):
    """From the start of the program to its end: the output is either complete, or as it was."""
    began = time.monotonic()
    process = conversion.start(4000)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    duration = time.monotonic() - began
    for seed in range(10):
        rng = random.Random(seed)
        number = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        process = conversion.start(4000)
        time.sleep(rng.uniform(0.002, 1.05) * duration)
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0 or died_by(process.returncode, number), process.returncode
        conversion.ended(process)


@pytest.mark.parametrize('existing', [None, 'precious'])
@pytest.mark.parametrize('direction', ['raw-to-vhdx', 'vhdx-to-raw'])
def test_signals_midway(conversion, tmp_path, existing):
    """While there is something to clean up, and much left to do, for the writes are slow."""
    for seed in range(5):
        rng = random.Random(seed)
        number = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        process = conversion.start(100000)
        wait_for(lambda: len(os.listdir(tmp_path)) > (existing is not None), 'a temporary file')
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT)
        assert died_by(process.returncode, number), process.returncode
        conversion.ended(process)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('source', ['pipe', 'nbd'])
def test_signals_while_nothing_comes(vhdx, tmp_path, nbdkit_serve, source, number):
    """A source that has fallen silent does not keep the tool from ending."""
    reader, writer = os.pipe()
    where = '-'
    if source == 'nbd':
        where = nbdkit_serve('--filter=delay', 'pattern', '64M', 'rdelay=3600').uri
    else:
        os.write(writer, bytes(1000))
    watched = Watched(tmp_path)
    with subprocess.Popen([*vhdx.command, 'convert', '-q', where, tmp_path / 'b.vhdx'],
                          stdin=reader, stderr=subprocess.PIPE) as process:
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stderr.read()
    os.close(reader)
    os.close(writer)
    assert died_by(process.returncode, number), process.returncode
    watched.unchanged()


def test_kill_leaves_no_output(vhdx, tmp_path, hamper):
    """Even SIGKILL: the final name is not there. What is left is hidden and named as ours."""
    dense(tmp_path / 'a.raw', 32 * MIB)
    process = vhdx.start('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhdx',
                         env=dict(os.environ, **hamper(delay_us=20000)))
    wait_for(lambda: len(os.listdir(tmp_path)) > 1 or process.poll() is not None, 'it begins')
    process.kill()
    process.communicate(timeout=TIMEOUT)
    left = set(os.listdir(tmp_path)) - {'a.raw'}
    assert all(re.fullmatch(r'\.b\.vhdx\..*\.part', name) for name in left), left


# ---- Full disks ----------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['tmpfs', 'ext4'])
@pytest.mark.parametrize('out', OUTPUTS)
@pytest.mark.parametrize('options', [[], ['-m', '1'], ['--preallocation', 'falloc']], ids=' '.join)
def test_full_disk(vhdx, tmp_path, small, kind, out, options):
    """ENOSPC in the middle."""
    folder = small(kind, 16 * MIB)
    dense(tmp_path / 'a.raw', 24 * MIB)
    if out == 'b.vhdx' and 'falloc' in options:
        options = ['-o', 'subformat=fixed', *options]
    watched = Watched(folder)
    message = vhdx.fails('convert', '-q', *options, tmp_path / 'a.raw', folder / out)
    assert 'No space left' in message or 'no space' in message or 'room' in message, message
    assert out in message
    watched.unchanged()


def test_full_disk_keeps_what_was_there(vhdx, tmp_path, small):
    """With -y."""
    folder = small('tmpfs', 16 * MIB)
    dense(tmp_path / 'a.raw', 24 * MIB)
    (folder / 'b.vhdx').write_text('precious', encoding='ascii')
    watched = Watched(folder)
    vhdx.fails('convert', '-qy', tmp_path / 'a.raw', folder / 'b.vhdx')
    watched.unchanged()


@pytest.mark.parametrize('out', OUTPUTS)
def test_file_size_limit(vhdx, tmp_path, out):
    """ulimit -f: an error, not the signal."""
    dense(tmp_path / 'a.raw', 24 * MIB)
    done = subprocess.run(['sh', '-c', 'ulimit -f 20000; exec "$@"', 'sh', *vhdx.command, 'convert',
                           '-q', tmp_path / 'a.raw', tmp_path / out], check=False,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    assert done.returncode == 1 and 'File too large' in done.stderr, done
    assert os.listdir(tmp_path) == ['a.raw']


# ---- Inputs that change --------------------------------------------------------------------------

@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx'])
@pytest.mark.parametrize('how', ['shrinks', 'grows', 'shrinks by a byte'])
def test_input_changes_its_size(vhdx, tmp_path, hamper, how, out):
    """While it is read: an error that says so."""
    dense(tmp_path / 'a.raw', 32 * MIB)
    process = vhdx.start('convert', '-q', tmp_path / 'a.raw', tmp_path / out,
                         env=dict(os.environ, **hamper(delay_us=100000)))
    wait_for(lambda: len(os.listdir(tmp_path)) > 1 or process.poll() is not None, 'it begins')
    time.sleep(0.2)
    assert process.poll() is None, 'it still works'
    os.truncate(tmp_path / 'a.raw', {'shrinks': 16 * MIB, 'grows': 33 * MIB,
                                     'shrinks by a byte': 32 * MIB - 1}[how])
    message = process.communicate(timeout=TIMEOUT)[1].decode()
    assert process.returncode == 1, 'the change was not noticed'
    assert 'a.raw' in message
    assert re.search('size|shr[aiu]nk|shorter|grown|end of', message), message
    assert os.listdir(tmp_path) == ['a.raw']


# ---- Reads and writes that do not do as they are told --------------------------------------------

@pytest.mark.parametrize('threads', ['1', '4'])
def test_short_reads_and_writes(vhdx, tmp_path, hamper, threads):
    """Are no errors: the rest follows."""
    disk = scatter(12 * MIB + 512, seed=6)
    disk.save(tmp_path / 'a.raw')
    environment = hamper(short=True)
    steps = [('a.raw', 'b.vhdx'), ('b.vhdx', 'c.raw'), ('c.raw', 'd.vhd'), ('b.vhdx', 'e.vhdx'),
             ('e.vhdx', 'f.raw')]
    for source, target in steps:
        vhdx.ok('convert', '-q', '-m', threads, tmp_path / source, tmp_path / target,
                env=environment)
    same_image(tmp_path / 'b.vhdx', disk)
    same_image(tmp_path / 'e.vhdx', disk)
    same_raw(tmp_path / 'c.raw', disk)
    same_raw(tmp_path / 'f.raw', disk)
    assert hashlib.sha256((tmp_path / 'd.vhd').read_bytes()[:-512]).hexdigest() == disk.sha256()
    for options, name in (([], 's.raw'), (['-O', 'vhdx'], 's.vhdx')):
        with open(tmp_path / 'a.raw', 'rb') as source, open(tmp_path / name, 'wb') as target:
            vhdx.ok('convert', '-q', *options, '-', '-', stdin=source, stdout=target,
                    env=environment)
    same_raw(tmp_path / 's.raw', disk)
    same_image(tmp_path / 's.vhdx', disk)


@pytest.mark.parametrize('existing', [None, 'precious'])
@pytest.mark.parametrize('source, out', [('a.raw', 'b.vhdx'), ('a.raw', 'b.raw'),
                                         ('a.vhdx', 'b.raw'), ('a.vhdx', 'b.vhdx')])
def test_unreadable_sectors(vhdx, tmp_path, fail_reads, source, out, existing):
    """An error that names the file and the place."""
    dense(tmp_path / 'a.raw', 12 * MIB)
    vhdx.ok('convert', '-q', '-o', 'block_size=1M', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    if existing:
        (tmp_path / out).write_text(existing, encoding='ascii')
    watched = Watched(tmp_path)
    bad = (tmp_path / source).stat().st_size // 2 // 4096 * 4096 + 8192
    message = vhdx.fails('convert', '-qy', tmp_path / source, tmp_path / out,
                         env=fail_reads(tmp_path / source, bad, 4096))
    assert source in message and 'Input/output error' in message, message
    length, start = map(int, re.search(r'reading (\d+) bytes.*offset (\d+)', message).groups())
    assert start <= bad < start + length <= start + MIB, (bad, message)
    watched.unchanged()
    assert vhdx.fails('convert', '-qy', tmp_path / source, tmp_path / out,
                      env=fail_reads(tmp_path / source, bad, 4096, whole=True))
    watched.unchanged()


def test_damaged_input(vhdx, tmp_path):
    """An image whose blocks lie past its end."""
    dense(tmp_path / 'a.raw', 8 * MIB)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    os.truncate(tmp_path / 'a.vhdx', 6 * MIB)
    watched = Watched(tmp_path)
    assert 'a.vhdx' in vhdx.fails('convert', '-q', tmp_path / 'a.vhdx', tmp_path / 'b.vhdx')
    watched.unchanged()


# ---- Servers that die ----------------------------------------------------------------------------

@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx'])
def test_server_dies(vhdx, tmp_path, nbdkit_serve, out):
    """In the midst of it."""
    server = nbdkit_serve('--filter=delay', 'pattern', '64M', 'rdelay=300ms')
    watched = Watched(tmp_path)
    process = vhdx.start('convert', '-q', server.uri, tmp_path / out)
    wait_for(lambda: process.poll() is not None or any(
        name.endswith('.part') for name in os.listdir(tmp_path)), 'it begins')
    time.sleep(0.1)
    assert process.poll() is None, process.communicate()
    server.kill()
    message = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 1 and message.startswith('vhdx: '), message
    watched.unchanged()


def test_server_refuses_a_read(vhdx, tmp_path, nbdkit_serve):
    """An error from the server is one of ours."""
    server = nbdkit_serve('--filter=error', 'pattern', '16M', 'error-pread=EIO',
                          'error-pread-rate=30%')
    watched = Watched(tmp_path)
    assert vhdx.fails('convert', '-q', server.uri, tmp_path / 'b.vhdx')
    watched.unchanged()


def test_target_server_refuses_a_write(vhdx, tmp_path, nbdkit_serve):
    """The same on the other side."""
    dense(tmp_path / 'a.raw', 16 * MIB)
    server = nbdkit_serve('--filter=error', 'memory', '16M', 'error-pwrite=ENOSPC',
                          'error-pwrite-rate=30%')
    message = vhdx.fails('convert', '-q', tmp_path / 'a.raw', server.uri)
    assert 'space' in message


# ---- Looking again -------------------------------------------------------------------------------

MARK = 'This is where a bit will flip.'


@pytest.mark.parametrize('source, out', [('a.raw', 'b.vhdx'), ('a.raw', 'b.raw'),
                                         ('a.raw', 'b.vhd'), ('a.vhdx', 'b.raw'),
                                         ('a.vhdx', 'b.vhdx'), ('a.raw', 'child')])
def test_verify_finds_a_flipped_bit(vhdx, tmp_path, hamper, source, out):
    """Which without --verify stays unseen."""
    disk = scatter(9 * MIB, seed=15)
    disk.save(tmp_path / 'p.raw')
    vhdx.ok('convert', '-q', tmp_path / 'p.raw', tmp_path / 'p.vhdx')
    disk.put(6 * MIB + 600, MARK.encode())
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    options = ['-b', tmp_path / 'p.vhdx', '-O', 'vhdx'] if out == 'child' else []
    path = tmp_path / out
    environment = hamper(flip=MARK)
    vhdx.ok('convert', '-q', *options, tmp_path / source, path, env=environment)
    vhdx.ok('convert', '-qy', '-O', 'raw', *(['-f', 'raw'] if out == 'b.vhd' else []), path,
            tmp_path / 'c.raw')
    with open(tmp_path / 'c.raw', 'rb') as file:
        found = file.read(disk.size)
    assert found.count(MARK.encode()) == 0, 'the shim works'
    for name in (path, tmp_path / 'c.raw'):
        name.unlink()
    watched = Watched(tmp_path)
    message = vhdx.fails('convert', '-q', '--verify', *options, tmp_path / source, path,
                         env=environment)
    place = re.search(r'differ.* at (?:offset )?(\d+)', message)
    assert place and place.group(1) == str(6 * MIB + 512), message
    watched.unchanged()
    vhdx.ok('convert', '-q', '--verify', *options, tmp_path / source, path)


def test_verify_over_nbd(vhdx, tmp_path, nbdkit_serve, hamper):
    """Reads back from the server."""
    disk = scatter(4 * MIB, seed=16)
    disk.save(tmp_path / 'a.raw')
    server = nbdkit_serve('memory', disk.size)
    vhdx.ok('convert', '-q', '--verify', tmp_path / 'a.raw', server.uri)
    broken = nbdkit_serve('--filter=cow', 'null', disk.size)
    vhdx.ok('convert', '-q', '--verify', tmp_path / 'a.raw', broken.uri)
    forgetful = nbdkit_serve('null', disk.size)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', forgetful.uri)
    assert vhdx.fails('convert', '-q', '--verify', tmp_path / 'a.raw', forgetful.uri)


# ---- Checksums -----------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['sha256', 'sha1', 'sha512', 'md5', 'blake2b'])
@pytest.mark.parametrize('source, out', [('a.raw', 'b.vhdx'), ('b.vhdx', 'c.raw'),
                                         ('a.raw', 'c.vhd')])
def test_checksum(vhdx, tmp_path, can_hash, name, source, out):
    """Of the disk with its holes, as hashlib makes it."""
    disk = scatter(9 * MIB + 512, seed=18)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    expected = hashlib.new(name, (tmp_path / 'a.raw').read_bytes()).hexdigest()
    done = vhdx('convert', '-qy', '--checksum', name, tmp_path / source, tmp_path / out)
    assert done.returncode == 0, done
    assert re.search(r'\b%s\b' % expected, done.stdout + done.stderr), done


def test_unknown_checksum(vhdx, tmp_path, disk):
    """Is refused before anything is written."""
    watched = Watched(tmp_path)
    done = vhdx('convert', '--checksum', 'crc7', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    assert done.returncode in (1, 2) and 'crc7' in done.stderr
    watched.unchanged()


def test_checksum_of_an_odd_size(vhdx, tmp_path, can_hash):
    """As it was read: without what was added to fill the last sector."""
    disk = scatter(MIB + 77, seed=19)
    disk.save(tmp_path / 'a.raw')
    done = vhdx('convert', '-q', '--checksum', 'sha256', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    assert done.returncode == 0 and disk.sha256() in done.stdout + done.stderr
    same_image(tmp_path / 'b.vhdx', padded(disk, 512))


# ---- Folders that cannot be written --------------------------------------------------------------

def test_read_only_file_system(vhdx, tmp_path, small):
    """Nothing can be written there."""
    folder = small('tmpfs', 16 * MIB)
    scatter(MIB).save(tmp_path / 'a.raw')
    subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)
    assert 'b.vhdx' in vhdx.fails('convert', '-q', tmp_path / 'a.raw', folder / 'b.vhdx')
    shutil.rmtree(folder, ignore_errors=True)


def test_long_names(vhdx, tmp_path, disk):
    """The temporary name is no longer than a name may be."""
    name = 'n' * 250 + '.vhdx'
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / name)
    same_image(tmp_path / name, disk)
    assert sorted(os.listdir(tmp_path)) == ['a.raw', name]


def test_input_is_not_touched(vhdx, tmp_path, disk):
    """Not its content, its times, or its access rights."""
    os.chmod(tmp_path / 'a.raw', 0o444)
    before = os.stat(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    after = os.stat(tmp_path / 'a.raw')
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_size, before.st_mode) == \
        (after.st_mtime_ns, after.st_ctime_ns, after.st_size, after.st_mode)
    assert (tmp_path / 'b.vhdx').stat().st_size < 64 * MIB + 4 * KIB
    assert os.stat(tmp_path / 'b.vhdx').st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    """Which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
