# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Where a conversion can go to, and what its options do there: children, NBD servers, block
devices, standard output; holes and preallocation; progress, signals, limits, full disks."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import time

import pytest

from cli_support import died_by
from convert_support import (KIB, MIB, TIMEOUT, Facts, Watched, dense, holes, run, same_image,
                             same_raw, scatter, sha256_of_file, used)
from environment import missing, program, wait_for

SIZE = 9 * MIB
FULL = 'No space left on device'


@pytest.fixture
def disk(tmp_path):
    """In a.raw: data, zeros that were written, holes."""
    found = scatter(SIZE)
    found.save(tmp_path / 'a.raw')
    return found


@pytest.fixture
def folder(tmp_path):
    """An empty folder for outputs."""
    path = tmp_path / 'out'
    path.mkdir()
    return path


# ---- Children ------------------------------------------------------------------------------------

def test_a_child_has_only_what_differs(vhdx, tmp_path, disk):
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    disk.put(5 * MIB + 1000, b'changed')
    disk.save(tmp_path / 'b.raw')
    before = sha256_of_file(tmp_path / 'p.vhdx')
    child = tmp_path / 'c.avhdx'
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'b.raw', child)
    assert sha256_of_file(tmp_path / 'p.vhdx') == before
    own = same_image(child, disk, has_parent=True).own()
    assert own == [(5 * MIB + 512, 5 * MIB + 1024)], own
    assert vhdx.ok('hash', child).split()[0] == sha256_of_file(tmp_path / 'b.raw')
    assert vhdx('check', child).returncode == 0
    assert vhdx('check', tmp_path / 'p.vhdx').returncode == 0


def test_a_child_of_what_it_is_has_nothing(vhdx, tmp_path, disk):
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'p.vhdx')
    vhdx.ok('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'a.raw', tmp_path / 'c.vhdx')
    assert same_image(tmp_path / 'c.vhdx', disk, has_parent=True).own() == []


# ---- Sectors -------------------------------------------------------------------------------------

@pytest.fixture
def coarse(vhdx, tmp_path):
    """An image whose disk has logical sectors of 4096 bytes."""
    path = tmp_path / 'coarse.vhdx'
    vhdx('create', '-q', '-o', 'logical_sector_size=4096', path, '8M')
    return path


def test_sector_sizes_are_kept(vhdx, tmp_path, coarse):
    """Unless others are asked for: what is on the disk is laid out for them."""
    vhdx.ok('convert', coarse, tmp_path / 'b.vhdx')
    assert Facts(tmp_path / 'b.vhdx').sector == 4096
    vhdx.ok('convert', '-o', 'logical_sector_size=512', coarse, tmp_path / 'c.vhdx')
    assert Facts(tmp_path / 'c.vhdx').sector == 512
    vhdx('create', '-q', '-o', 'physical_sector_size=512', tmp_path / 'd.vhdx', '8M')
    vhdx.ok('convert', tmp_path / 'd.vhdx', tmp_path / 'e.vhdx')
    assert 'physical sector size: 512' in vhdx.ok('info', tmp_path / 'e.vhdx')
    with open(tmp_path / 'f.vhdx', 'wb') as file:
        vhdx.ok('convert', '-O', 'vhdx', coarse, '-', stdout=file)
    assert Facts(tmp_path / 'f.vhdx').sector == 4096


def test_large_sectors_are_measured(vhdx, tmp_path):
    """A BAT of the same disk has fewer entries for bitmaps then: here it is smaller by a MiB."""
    vhdx('create', '-q', '-o', 'logical_sector_size=4096', tmp_path / 'a.vhdx', '262040M')
    vhdx.ok('convert', '-q', tmp_path / 'a.vhdx', tmp_path / 'b.vhdx')
    told = json.loads(vhdx.ok('measure', '--output=json', tmp_path / 'a.vhdx'))
    assert told['required'] == (tmp_path / 'b.vhdx').stat().st_size
    fine = json.loads(vhdx.ok('measure', '--output=json', '--size', '262040M'))
    assert fine['required'] == told['required'] + MIB, 'shows nothing'


def test_azure_takes_no_large_sectors(vhdx, folder, coarse):
    first, second = vhdx.fails('convert', '-O', 'vhd', '--azure', coarse,
                               folder / 'b.vhd').splitlines()
    assert first == f'vhdx: {coarse}: the disk has sectors of 4096 bytes, Azure takes 512'
    assert second.startswith('vhdx: hint: ')
    assert not os.listdir(folder)


def test_a_vhd_of_large_sectors_is_warned_of(vhdx, folder, coarse):
    done = vhdx('convert', coarse, folder / 'b.vhd')
    assert done.returncode == 0
    assert done.stderr.startswith(f'vhdx: warning: {coarse}: the disk has sectors of 4096 bytes')
    assert (folder / 'b.vhd').stat().st_size == 8 * MIB + 512
    vhdx.ok('convert', coarse, folder / 'b.raw')


# ---- NBD -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('source', ['a.raw', 'a.vhdx', '-'])
def test_to_nbd_and_back(vhdx, tmp_path, libnbd, disk, nbdkit_serve, source):
    server = nbdkit_serve('memory', SIZE + 4096)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    with open(tmp_path / 'a.raw', 'rb') as file:
        with subprocess.Popen(['cat'], stdin=file, stdout=subprocess.PIPE) as cat:
            vhdx.ok('convert', '-q', '--verify', source if source == '-' else tmp_path / source,
                    server.uri, stdin=cat.stdout)
    vhdx.ok('convert', '-q', server.uri, tmp_path / 'b.raw')
    os.truncate(tmp_path / 'b.raw', SIZE)
    same_raw(tmp_path / 'b.raw', disk)


def test_to_an_image_behind_qemu_nbd(vhdx, tmp_path, libnbd, disk, qemu_serve):
    path = tmp_path / 'b.qcow2'
    run(program('qemu-img'), 'create', '-q', '-f', 'qcow2', path, str(SIZE))
    vhdx.ok('convert', '-q', '--verify', tmp_path / 'a.raw', qemu_serve(path, '-f', 'qcow2'))
    run(program('qemu-img'), 'compare', '-U', '-f', 'raw', '-F', 'qcow2', tmp_path / 'a.raw', path)


@pytest.mark.parametrize('where', ['nbd', 'device'])
def test_a_stream_that_is_too_long(vhdx, libnbd, nbdkit_serve, device, where):
    if where == 'nbd':
        target = nbdkit_serve('memory', '1M').uri
    else:
        target = device(MIB)[0]
    with subprocess.Popen(['head', '-c', '3M', '/dev/zero'], stdout=subprocess.PIPE) as head:
        message = vhdx.fails('convert', '-qy', '-', target, stdin=head.stdout)
        head.stdout.close()
    assert message.startswith(f'vhdx: {target}: ')
    assert '1048576 bytes that the output has' in message


def test_a_server_that_is_too_small(vhdx, tmp_path, libnbd, disk, nbdkit_serve):
    """It does not see a write."""
    server = nbdkit_serve('--filter=error', 'memory', '1M', 'error-pwrite=EIO',
                          'error-pwrite-rate=100%')
    message = vhdx.fails('convert', '-q', tmp_path / 'a.raw', server.uri)
    assert message.splitlines()[0] == f'vhdx: {server.uri}: the disk is {SIZE} bytes large, ' \
                                      'the output only 1048576'


# ---- Block devices -------------------------------------------------------------------------------

def test_a_device_is_overwritten_only_if_told_so(vhdx, tmp_path, disk, device):
    name, store = device(SIZE + MIB)
    before = sha256_of_file(store)
    first, second = vhdx.fails('convert', '-q', tmp_path / 'a.raw', name).splitlines()
    assert first == f'vhdx: {name}: a block device (10 MiB): all that is on it would be lost'
    assert second == 'vhdx: hint: -y overwrites it'
    assert sha256_of_file(store) == before
    vhdx.ok('convert', '-qy', '--verify', tmp_path / 'a.raw', name)
    assert store.read_bytes() == (tmp_path / 'a.raw').read_bytes() + b'x' * MIB
    assert stat.S_ISBLK(os.stat(name).st_mode)
    vhdx.ok('convert', '-q', name, tmp_path / 'b.vhdx')
    assert vhdx('compare', tmp_path / 'b.vhdx', name).returncode == 0


def test_a_device_that_is_too_small(vhdx, tmp_path, disk, device):
    name, store = device(MIB)
    before = sha256_of_file(store)
    message = vhdx.fails('convert', '-qy', tmp_path / 'a.raw', name)
    assert message.splitlines()[0] == f'vhdx: {name}: the disk is {SIZE} bytes large, the output ' \
                                      'only 1048576'
    assert sha256_of_file(store) == before


def test_a_device_in_use(vhdx, tmp_path, device):
    """A file system that is mounted is not written over."""
    store = tmp_path / 'store'
    with open(store, 'wb') as file:
        file.truncate(16 * MIB)
    run(program('mkfs.ext4'), '-q', '-F', store)
    name, _ = device(0)
    scatter(MIB).save(tmp_path / 'a.raw')
    place = tmp_path / 'mnt'
    place.mkdir()
    if subprocess.run(['mount', name, place], check=False).returncode != 0:
        missing('ext4 cannot be mounted here')
    try:
        message = vhdx.fails('convert', '-qy', tmp_path / 'a.raw', name)
    finally:
        subprocess.run(['umount', place], check=True)
    assert message.startswith(f'vhdx: {name}: output is in use')
    vhdx.ok('convert', '-qy', tmp_path / 'a.raw', name)


def test_a_device_of_the_input(vhdx, device):
    name, store = device(MIB)
    before = sha256_of_file(store)
    assert 'output is the input' in vhdx.fails('convert', '-qy', name, name)
    assert sha256_of_file(store) == before


def test_a_device_that_fails(vhdx, tmp_path, small, device):
    """Its file has holes on a full file system."""
    place = small('tmpfs', 4 * MIB)
    dense(tmp_path / 'a.raw', 16 * MIB)
    with open(place / 'store', 'wb') as file:
        file.truncate(16 * MIB)
    (tmp_path / 'store').symlink_to(place / 'store')
    name, _ = device(0)
    message = vhdx.fails('convert', '-qy', tmp_path / 'a.raw', name)
    assert message.startswith(f'vhdx: {name}: ')
    assert FULL in message or 'Input/output error' in message


# ---- Holes, and space set aside ------------------------------------------------------------------

@pytest.mark.parametrize('out, options', [
    ('b.raw', []), ('b.vhd', []), ('b.vhdx', ['-o', 'subformat=fixed'])])
def test_preallocation(vhdx, tmp_path, out, options):
    """falloc has all blocks and writes none; full writes all."""
    disk = scatter(64 * MIB, most=8)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', *options, tmp_path / 'a.raw', tmp_path / ('thin-' + out))
    assert used(tmp_path / ('thin-' + out)) < 32 * MIB
    for kind in ('falloc', 'full'):
        path = tmp_path / (kind + '-' + out)
        vhdx.ok('convert', '-q', '--preallocation', kind, *options, tmp_path / 'a.raw', path)
        assert used(path) >= 64 * MIB
        assert path.stat().st_size == (tmp_path / ('thin-' + out)).stat().st_size
        if out == 'b.vhdx':
            same_image(path, disk, fixed=True)
        else:
            with open(path, 'r+b') as file:
                file.truncate(disk.size) # a VHD's footer
            same_raw(path, disk)
    assert not holes(tmp_path / ('full-' + out))


def test_preallocation_is_what_it_says(vhdx, tmp_path, disk):
    assert "'some' is not supported, must be off, metadata, falloc or full" in vhdx.fails(
        'convert', '--preallocation', 'some', tmp_path / 'a.raw', tmp_path / 'b.raw')


def test_sparse_size(vhdx, tmp_path):
    """The larger the pieces, the fewer holes; none for 0."""
    data = bytearray(4 * MIB)
    for at in range(0, len(data), 64 * KIB):
        data[at] = 1
    (tmp_path / 'a.raw').write_bytes(data)
    sizes = {}
    for size in ('4k', '64k', '1M', '0'):
        path = tmp_path / (size + '.raw')
        vhdx.ok('convert', '-q', '-S', size, tmp_path / 'a.raw', path)
        assert path.read_bytes() == data
        sizes[size] = used(path)
    assert sizes['4k'] <= len(data) // 8 and sizes['64k'] >= len(data)
    assert sizes['1M'] >= len(data) and sizes['0'] >= len(data)
    (tmp_path / 'z.raw').write_bytes(bytes(4 * MIB))
    for options, whole in ((['-S', '0'], True), (['--no-sparse'], True), (['-S', '1M'], False)):
        vhdx.ok('convert', '-qy', *options, tmp_path / 'z.raw', tmp_path / 'y.raw')
        assert (used(tmp_path / 'y.raw') >= 4 * MIB) == whole


@pytest.mark.parametrize('size', ['1', '513', '2M', '-1', 'x', ''])
def test_wrong_sparse_sizes(vhdx, tmp_path, disk, size):
    assert vhdx.fails('convert', '-S', size, tmp_path / 'a.raw',
                      tmp_path / 'b.raw').startswith('vhdx: -S: ')
    assert os.listdir(tmp_path) == ['a.raw']


# ---- Numbers and keys ----------------------------------------------------------------------------

@pytest.mark.parametrize('count', ['1', '8', '64'])
def test_threads(vhdx, tmp_path, disk, count):
    """The output is the same, and not only its disk."""
    for name in ('b.raw', 'b.vhdx'):
        vhdx.ok('convert', '-q', '-m', count, tmp_path / 'a.raw', tmp_path / name)
    same_raw(tmp_path / 'b.raw', disk)
    same_image(tmp_path / 'b.vhdx', disk)


@pytest.mark.parametrize('count', ['0', '65', '-1', 'x', ''])
def test_wrong_numbers_of_threads(vhdx, tmp_path, disk, count):
    assert f"-m: '{count}' is out of range, must be from 1 to 64" in vhdx.fails(
        'convert', '-m', count, tmp_path / 'a.raw', tmp_path / 'b.raw')
    assert os.listdir(tmp_path) == ['a.raw']


def test_keys(vhdx, tmp_path, disk):
    vhdx.ok('convert', '-q', '-o', 'block_size=1M,log_size=2M', '-o', 'subformat=fixed',
            tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk, block=MIB, fixed=True)


@pytest.mark.parametrize('size', ['32MB', '32mb', '32M'])
def test_sizes_in_words_of_powershell(vhdx, tmp_path, disk, size):
    vhdx.ok('convert', '-q', '--block-size', size, tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    same_image(tmp_path / 'b.vhdx', disk, block=32 * MIB)


@pytest.mark.parametrize('options, message', [
    ('blok_size=1M', "-o: there is no option 'blok_size'; did you mean 'block_size'?"),
    ('block_size', '-o block_size: a value is missing'),
    ('block_size=3M', '-o block_size: 3M is out of range, must be a power of two from 1M to 256M'),
    ('subformat=thick', "-o subformat: 'thick' is not supported, must be fixed or dynamic"),
])
def test_wrong_keys(vhdx, tmp_path, disk, options, message):
    assert vhdx.fails('convert', '-o', options, tmp_path / 'a.raw',
                      tmp_path / 'b.vhdx').startswith('vhdx: ' + message)
    assert os.listdir(tmp_path) == ['a.raw']


def test_help_on_keys(vhdx, tmp_path, disk):
    """In place of a conversion."""
    text = vhdx.ok('convert', '-o', 'help', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    assert 'block_size' in text and 'subformat' in text
    assert os.listdir(tmp_path) == ['a.raw']


# ---- Progress ------------------------------------------------------------------------------------

def slow_server(tmp_path, nbdkit_serve):
    """A server whose disk takes about two seconds."""
    dense(tmp_path / 'slow', 32 * MIB)
    return nbdkit_serve('-r', '--filter=delay', 'file', tmp_path / 'slow', 'rdelay=250ms')


def test_sigusr1_prints_a_line(vhdx, tmp_path, libnbd, folder, nbdkit_serve):
    """And nothing else happens."""
    server = slow_server(tmp_path, nbdkit_serve)
    process = vhdx.start('convert', '-q', '-m', '1', server.uri, folder / 'b.raw')
    wait_for(lambda: os.listdir(folder), 'it begins')
    process.send_signal(signal.SIGUSR1)
    text = process.communicate(timeout=TIMEOUT)[1].decode()
    assert process.returncode == 0
    assert len(text.splitlines()) == 1 and '% ' in text and ' of 32 MiB' in text, text
    assert sha256_of_file(folder / 'b.raw') == sha256_of_file(tmp_path / 'slow')


@pytest.mark.parametrize('verb', [['hash'], ['check'], ['compare'], ['convert'], ['diff'],
                                  ['recover', '--dry-run']], ids=' '.join)
def test_sigusr1_while_the_image_opens(vhdx, tmp_path, hamper, disk, verb):
    """It comes before there is progress to tell of."""
    path = tmp_path / 'a.vhdx'
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', path)
    second = {'compare': [tmp_path / 'a.raw'], 'diff': [tmp_path / 'a.raw'],
              'convert': [tmp_path / 'b.raw']}.get(verb[0], [])
    process = vhdx.start(*verb, path, *second, env=dict(os.environ, **hamper(delay_us=100000)))
    descriptors = '/proc/%d/fd' % process.pid

    def is_open():
        try:
            return any(os.path.realpath(f'{descriptors}/{fd}') == str(path)
                       for fd in os.listdir(descriptors)) or process.poll() is not None
        except OSError:
            return False
    wait_for(is_open, 'it opens the image')
    assert process.poll() is None, 'shows nothing'
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode in (0, 1) and not died_by(process.returncode, signal.SIGUSR1)


@pytest.mark.parametrize('options', [[], ['--verify']], ids=['', '--verify'])
@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx', 'b.qcow2'])
def test_progress_as_json(vhdx, tmp_path, libnbd, folder, nbdkit_serve, out, options):
    """Every line parses, and the last says that all is done."""
    server = slow_server(tmp_path, nbdkit_serve)
    done = vhdx('convert', '--progress=json', '-m', '8', *options, server.uri, folder / out)
    assert done.returncode == 0, done
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) > 2
    assert [line['done'] for line in lines] == sorted(line['done'] for line in lines)
    assert lines[-1]['done'] == lines[-1]['total'] and lines[-1]['percent'] == 100
    assert lines[-1]['total'] == 32 * MIB


@pytest.mark.parametrize('out', ['b.raw', 'b.vhdx'])
def test_progress_where_nothing_can_be_shared(vhdx, tmp_path, folder, hamper, out):
    """What the kernel refused to share was not done."""
    dense(tmp_path / 'a.raw', 16 * MIB)
    done = vhdx('convert', '--progress=json', '-m', '1', tmp_path / 'a.raw', folder / out,
                env={**os.environ, **hamper(delay_us=20000)})
    assert done.returncode == 0, done
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) > 2
    assert [line['percent'] == 100 for line in lines] == [False] * (len(lines) - 1) + [True]


def test_a_bar_without_an_end(vhdx, tmp_path):
    """Nobody knows how long a pipe is."""
    controller, terminal = pty.openpty()
    command = ['sh', '-c', 'for n in 1 2 3 4; do head -c 1M /dev/urandom; sleep 0.3; done']
    with subprocess.Popen(command, stdout=subprocess.PIPE) as source:
        process = subprocess.Popen([*vhdx.command, 'convert', '-', tmp_path / 'b.raw'],
                                   stdin=source.stdout, stderr=terminal)
        source.stdout.close()
        os.close(terminal)
        shown = b''
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
        except OSError: # the other side is closed
            pass
        os.close(controller)
        assert process.wait(TIMEOUT) == 0
    assert b' MiB' in shown and b'%' not in shown and b' left' not in shown, shown
    assert shown.endswith(b'\r\033[K'), 'the bar is removed at the end'
    assert (tmp_path / 'b.raw').stat().st_size == 4 * MIB


# ---- Stopped while something opens ---------------------------------------------------------------

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize('verb', ['convert', 'compare', 'measure'])
def test_stopped_while_qemu_opens_the_input(vhdx, tmp_path, libnbd, folder, verb, number):
    """It is gone with the tool, and so is the folder of the socket. A stand-in takes for ever, and
    does not know SIGTERM: qemu-nbd loses that while it starts."""
    if vhdx.emulated:
        pytest.skip('the emulator is what would be ended')
    fake, private = tmp_path / 'bin', tmp_path / 'run'
    fake.mkdir()
    private.mkdir()
    (fake / 'qemu-nbd').write_text('#!/bin/sh\ntrap "" TERM\necho $$ > %s\nexec sleep 300\n' %
                                   (fake / 'pid'), encoding='ascii')
    (fake / 'qemu-nbd').chmod(0o755)
    run(program('qemu-img'), 'create', '-q', '-f', 'qcow2', tmp_path / 'a.qcow2', '1M')
    second = {'convert': [folder / 'b.raw'], 'compare': [tmp_path / 'a.qcow2'], 'measure': []}
    process = vhdx.start(verb, tmp_path / 'a.qcow2', *second[verb], env=dict(
        os.environ, PATH='%s:%s' % (fake, os.environ['PATH']), XDG_RUNTIME_DIR=str(private)))

    def pid():
        try:
            return int((fake / 'pid').read_text(encoding='ascii'))
        except (OSError, ValueError):
            return 0
    wait_for(pid, 'the stand-in starts')
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT)
    assert died_by(process.returncode, number)
    wait_for(lambda: not os.path.exists('/proc/%d' % pid()), 'it is left')
    assert not os.listdir(private) and not os.listdir(folder)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_never_answers(vhdx, tmp_path, libnbd, disk, number):
    """As an input and as an output: a signal is enough."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / 'mute'))
        mute.listen(1)
        uri = 'nbd+unix:///?socket=%s' % (tmp_path / 'mute')
        for words in ([uri, tmp_path / 'b.raw'], [tmp_path / 'a.raw', uri]):
            process = vhdx.start('convert', *words)
            connection, _ = mute.accept()
            time.sleep(0.1)
            process.send_signal(number)
            process.communicate(timeout=20)
            connection.close()
            assert died_by(process.returncode, number)
    assert not (tmp_path / 'b.raw').exists()


# ---- Reading back --------------------------------------------------------------------------------

MARK = b'This is where a bit will flip.'


@pytest.mark.parametrize('form', ['qcow2', 'vdi', 'vmdk'])
def test_verify_through_qemu(vhdx, tmp_path, libnbd, folder, hamper, form):
    """What it writes is changed on its way to the file."""
    disk = scatter(SIZE, seed=5)
    disk.put(6 * MIB + 600, MARK)
    disk.save(tmp_path / 'a.raw')
    words = ['-q', '-f', 'raw', '-O', form, tmp_path / 'a.raw', folder / 'b']
    vhdx.ok('convert', '--verify', *words)
    (folder / 'b').unlink()
    environment = hamper(flip=MARK.decode())
    vhdx.ok('convert', *words, env=environment)
    different = subprocess.run([program('qemu-img'), 'compare', '-q', '-f', 'raw', '-F', form,
                                tmp_path / 'a.raw', folder / 'b'], check=False)
    assert different.returncode == 1, 'the shim does nothing'
    (folder / 'b').unlink()
    message = vhdx.fails('convert', '--verify', *words, env=environment)
    assert message.startswith(f'vhdx: {folder}/b: verifying: '), message
    assert not os.listdir(folder)


# ---- Full disks and limits -----------------------------------------------------------------------

@pytest.mark.parametrize('form', ['raw', 'vhdx', 'vhd'])
def test_standard_output_is_full(vhdx, tmp_path, small, form):
    dense(tmp_path / 'a.raw', 16 * MIB)
    with open('/dev/full', 'wb') as full:
        assert FULL in vhdx.fails('convert', '-q', '-O', form, tmp_path / 'a.raw', '-', stdout=full)
    with open(small('tmpfs', 8 * MIB) / 'b', 'wb') as file:
        assert FULL in vhdx.fails('convert', '-q', '-O', form, tmp_path / 'a.raw', '-', stdout=file)


def test_no_space_for_a_child(vhdx, tmp_path, small):
    place = small('tmpfs', 8 * MIB)
    dense(tmp_path / 'a.raw', 16 * MIB)
    vhdx('create', '-q', tmp_path / 'p.vhdx', '16M')
    watched = Watched(place)
    message = vhdx.fails('convert', '-q', '-b', tmp_path / 'p.vhdx', tmp_path / 'a.raw',
                         place / 'c.vhdx')
    assert 'c.vhdx' in message and FULL in message
    watched.unchanged()


@pytest.mark.parametrize('form', ['qcow2', 'vmdk', 'vdi', 'vpc'])
def test_no_space_through_qemu(vhdx, tmp_path, libnbd, small, form):
    place = small('tmpfs', 8 * MIB)
    dense(tmp_path / 'a.raw', 16 * MIB)
    message = vhdx.fails('convert', '-q', '-O', form, tmp_path / 'a.raw', place / 'b')
    assert message.startswith(f'vhdx: {place}/b: ') and FULL in message
    assert not os.listdir(place)


def limited(vhdx, *words, **more):
    """Under ulimit -f, of about 10 MB."""
    return subprocess.run(['sh', '-c', 'ulimit -f 20000; exec "$@"', 'sh', *vhdx.command, *words],
                          check=False, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, **more)


@pytest.mark.parametrize('words', [
    ['convert', '-q', 'a.raw', 'b.vhdx'], ['convert', '-q', 'a.raw', 'b.qcow2'],
    ['convert', '-q', '-b', 'p.vhdx', 'a.raw', 'c.vhdx'],
    ['create', '-q', '-o', 'subformat=fixed', 'b.vhdx', '24M']], ids=' '.join)
def test_size_limit(vhdx, tmp_path, libnbd, words):
    """Is an error like another, and nothing stays. NBD has the one error for both."""
    dense(tmp_path / 'a.raw', 24 * MIB)
    vhdx('create', '-q', tmp_path / 'p.vhdx', '24M')
    done = limited(vhdx, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert 'File too large' in done.stderr or 'qcow2' in words[-1] and FULL in done.stderr
    assert sorted(os.listdir(tmp_path)) == ['a.raw', 'p.vhdx']


@pytest.mark.parametrize('words', [['convert', '-q', 'a.vhdx', '-'], ['cat', 'a.vhdx']],
                         ids=' '.join)
def test_size_limit_of_standard_output(vhdx, tmp_path, words):
    dense(tmp_path / 'a.raw', 24 * MIB)
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'a.vhdx')
    with open(tmp_path / 'b.raw', 'wb') as file:
        done = limited(vhdx, *words, cwd=tmp_path, stdout=file)
    assert done.returncode == 1 and 'File too large' in done.stderr
