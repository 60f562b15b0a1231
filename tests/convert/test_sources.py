# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Inputs and outputs that are no VHDX and no plain file: other formats through qemu-nbd, and the
disks of NBD servers."""

import os
import pty
import random
import signal
import stat
import struct
import subprocess
import time

import pytest

from cli_support import died_by
from convert_support import GIB, MIB, run
from environment import missing, program, wait_for

SIZE = 20 * MIB + 512 * 7  # no whole number of clusters, cylinders or MiB
DETECTED = ['qcow2', 'vmdk', 'vdi', 'vpc', 'vpc-fixed']
WRITTEN = ['qcow2', 'vmdk', 'vdi', 'vpc', 'qed', 'parallels']


@pytest.fixture(autouse=True)
def needs_libnbd(vhdx, tmp_path):
    """Skips where the tool was built without it; refuses a qemu-nbd that is left behind."""
    if 'without libnbd' in vhdx('convert', 'nbd+unix:///?socket=' + str(tmp_path / 'nowhere'),
                                tmp_path / 'nothing').stderr:
        missing('built without libnbd')
    program('qemu-img')
    yield
    wait_for(lambda: not servers_below(tmp_path), 'a qemu-nbd is left')


def servers_below(folder):
    """The IDs of qemu-nbd processes that the tool started on files of a folder."""
    found = subprocess.run(['pgrep', '-f', 'qemu-nbd.*file.filename=%s' % folder],
                           stdout=subprocess.PIPE, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.fixture(scope='module')
def disk(tmp_path_factory):
    """A raw disk: data and holes, some of it at the very end."""
    path = tmp_path_factory.mktemp('disk') / 'disk.raw'
    chance = random.Random(6)
    with open(path, 'wb') as file:
        file.truncate(SIZE)
        for _ in range(20):
            length = 512 * chance.randrange(1, 800)
            file.seek(512 * chance.randrange((SIZE - length) // 512))
            file.write(chance.randbytes(length))
        file.seek(SIZE - 512)
        file.write(chance.randbytes(512))
    path.chmod(0o444)
    return path


@pytest.fixture
def made(disk, tmp_path):
    """A function that makes an image of the disk in another format; its path."""
    def make(kind, name='input'):
        path = tmp_path / name
        form, options = kind, []
        if kind.startswith('vpc'):
            form = 'vpc'
            options = ['-o', 'force_size=on' + (',subformat=fixed' if kind != 'vpc' else '')]
        run(program('qemu-img'), 'convert', '-f', 'raw', '-O', form, *options, disk,
            'file:' + str(path))
        return path
    return make


@pytest.fixture
def folder(tmp_path):
    """An empty folder for outputs, whose content is compared."""
    path = tmp_path / 'out'
    path.mkdir()
    return path


def same(path, disk):
    """True when two files have the same bytes."""
    return path.read_bytes() == disk.read_bytes()


# ---- Other formats as inputs ---------------------------------------------------------------------

@pytest.mark.parametrize('kind', DETECTED)
def test_formats_are_told_by_content(vhdx, made, disk, tmp_path, kind):
    vhdx.ok('convert', '-O', 'raw', made(kind), tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


@pytest.mark.parametrize('kind', ['qcow2', 'qed', 'parallels', 'vmdk', 'vdi'])
def test_formats_as_told(vhdx, made, disk, tmp_path, kind):
    vhdx.ok('convert', '-f', kind, made(kind), tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


@pytest.mark.parametrize('word', ['vhd', 'vpc'])
def test_vhd_has_the_size_of_its_footer(vhdx, made, disk, tmp_path, word):
    """Its geometry cannot express every size, and QEMU goes by the geometry for some creators."""
    path = made('vpc-fixed')
    image = bytearray(path.read_bytes())
    footer = image[-512:]
    footer[28:32] = b'vpc '
    footer[56:60] = struct.pack('>HBB', 600, 4, 17)
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack('>I', ~sum(footer) & 0xFFFFFFFF)
    path.write_bytes(image[:-512] + footer)
    info = run(program('qemu-img'), 'info', '-f', 'vpc', path).decode()
    assert f'({SIZE} bytes)' not in info, 'shows nothing'
    vhdx.ok('convert', '-f', word, path, tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


def test_raw_if_told_so(vhdx, made, tmp_path):
    path = made('qcow2')
    vhdx.ok('convert', '-f', 'raw', path, tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', path)


def test_what_an_image_is_based_on(vhdx, made, disk, tmp_path):
    made('qcow2', 'base.qcow2')
    run(program('qemu-img'), 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2',
        tmp_path / 'top.qcow2')
    vhdx.ok('convert', tmp_path / 'top.qcow2', tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


@pytest.mark.parametrize('name', ['a,b.qcow2', 'nbd:x', 'json:{}', '-x', 'a b%20', 'ä"\'$'])
def test_names(vhdx, made, disk, tmp_path, name):
    """What means something to QEMU does not here; relative, as it would be taken for more."""
    made('qcow2', name)
    vhdx.ok('convert', '-f', 'qcow2', '--', name, 'out.raw', cwd=tmp_path)
    assert same(tmp_path / 'out.raw', disk)


def test_a_lock(vhdx, made, disk, tmp_path, qemu_serve):
    path = made('qcow2')
    qemu_serve(path, '-f', 'qcow2')
    error = vhdx.fails('convert', path, tmp_path / 'out.raw')
    assert 'lock' in error and 'hint: -U ' in error
    vhdx.ok('convert', '-U', path, tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


def test_a_pipe_by_name(vhdx, disk, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with subprocess.Popen(['cp', disk, tmp_path / 'pipe']):
        vhdx.ok('convert', tmp_path / 'pipe', tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


# ---- What is wrong with inputs -------------------------------------------------------------------

def test_no_qemu(vhdx, made, tmp_path, folder):
    path = made('qcow2')
    for arguments, name in ((['convert', path, folder / 'out.raw'], 'qemu-nbd'),
                            (['convert', '-f', 'raw', '-O', 'qcow2', path, folder / 'o'],
                             'qemu-img')):
        lines = vhdx.fails(*arguments, env={'PATH': str(tmp_path)}).splitlines()
        assert f'{name}, which is needed for that format, is not installed' in lines[0]
        assert 'qemu-utils' in lines[1]
    assert not os.listdir(folder)


@pytest.mark.parametrize('arguments, message', [
    (['-f', 'zip', 'input'], "-f: 'zip' is no format that vhdx reads"),
    (['-f', 'qcow2', '-'], '-: what comes from standard input is raw: -f qcow2 does not apply'),
    (['-f', 'vdi', 'nbd://localhost'],
     'nbd://localhost: what an NBD server gives is raw: -f vdi does not apply'),
    (['-f', 'qed', 'input'], 'input: Image not in QED format'),
    (['nbd+unix:///?socket=nowhere'],
     'nbd+unix:///?socket=nowhere: connect: No such file or directory'),
])
def test_mistakes(vhdx, made, tmp_path, arguments, message):
    made('qcow2')
    error = vhdx.fails('convert', *arguments, 'out.raw', cwd=tmp_path)
    assert error.splitlines()[0].startswith('vhdx: ' + message)
    assert not (tmp_path / 'out.raw').exists()


def test_a_damaged_qcow2(vhdx, made, tmp_path):
    path = made('qcow2')
    os.truncate(path, 100)
    error = vhdx.fails('convert', path, tmp_path / 'out.raw')
    assert error.startswith(f'vhdx: {path}: ') and 'header' in error
    assert 'file.driver' not in error


def test_a_damaged_vhdx_is_not_raw(vhdx, tmp_path):
    for name in ('disk.vhdx', 'disk.AVHDX'):
        (tmp_path / name).write_bytes(b'vhdxfild' + bytes(MIB))
        error = vhdx.fails('convert', tmp_path / name, tmp_path / 'out.raw')
        assert 'signature' in error
        assert not (tmp_path / 'out.raw').exists()
    vhdx.ok('convert', '-f', 'raw', tmp_path / name, tmp_path / 'out.raw')


def test_a_terminal_is_no_disk(vhdx, tmp_path):
    control, terminal = pty.openpty()
    try:
        error = vhdx.fails('convert', '-', tmp_path / 'out.raw', stdin=terminal)
    finally:
        os.close(terminal)
        os.close(control)
    assert 'standard input is a terminal' in error and 'hint: ' in error


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_qemu_nbd_ends_with_the_tool(vhdx, made, tmp_path, nbdkit_serve, number):
    """The fixture looks; nothing is left of the socket either."""
    if vhdx.emulated:
        pytest.skip('the emulator is what would be killed')
    (tmp_path / 'run').mkdir()
    slow = nbdkit_serve('--filter=delay', 'memory', '64M', 'wdelay=300ms')
    process = vhdx.start('convert', '-y', '-O', 'raw', made('qcow2'), slow.uri,
                         env=dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path / 'run')))
    wait_for(lambda: servers_below(tmp_path), 'qemu-nbd')
    time.sleep(0.3)
    assert servers_below(tmp_path), 'done too early: shows nothing'
    process.send_signal(number)
    process.communicate(timeout=60)
    assert died_by(process.returncode, number)
    assert not os.listdir(tmp_path / 'run')


# ---- NBD -----------------------------------------------------------------------------------------

def test_from_nbd(vhdx, disk, tmp_path, qemu_serve, made):
    for number, uri in enumerate((qemu_serve(disk, '-r', '-f', 'raw'),
                                  qemu_serve(made('qcow2'), '-f', 'qcow2'))):
        out = tmp_path / f'{number}.raw'
        vhdx.ok('convert', uri, out)
        assert same(out, disk)
        assert out.stat().st_blocks <= disk.stat().st_blocks + 64


def test_a_server_for_one_client(vhdx, disk, tmp_path, nbdkit_serve):
    """More connections would wait for ever."""
    server = nbdkit_serve('-r', '--filter=limit', '--filter=multi-conn', 'file', disk, 'limit=1',
                          'multi-conn-mode=disable')
    vhdx.ok('convert', server.uri, tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


@pytest.mark.parametrize('block', [512, 4096, 65536])
def test_servers_that_want_whole_blocks(vhdx, tmp_path, nbdkit_serve, block):
    """In both directions; the disk itself is no whole number of them."""
    size = 5 * MIB
    store, source = tmp_path / 'store', tmp_path / 'source'
    before = bytearray(random.Random(block).randbytes(size))
    store.write_bytes(before)
    content = bytearray(size - 7 * 512 - 100)
    with open(source, 'wb') as file:
        file.truncate(len(content)) # holes that begin and end inside of large blocks
        for begin in range(20480, len(content), 200704):
            data = random.Random(begin).randbytes(min(102400, len(content) - begin))
            content[begin:begin + len(data)] = data
            file.seek(begin)
            file.write(data)
    server = nbdkit_serve('--filter=blocksize-policy', 'file', store, f'blocksize-minimum={block}',
                          'blocksize-preferred=65536', 'blocksize-maximum=1M',
                          'blocksize-error-policy=error')
    vhdx.ok('convert', '-f', 'raw', '-y', '-O', 'raw', source, server.uri)
    after = store.read_bytes()
    assert after[:len(content)] == content
    assert after[len(content):] == before[len(content):]
    vhdx.ok('convert', server.uri, tmp_path / 'out.raw')
    assert (tmp_path / 'out.raw').read_bytes() == after


def test_reading_inside_of_blocks(vhdx, tmp_path, nbdkit_serve):
    """What the other disk of a comparison has as data begins where this server's blocks do not."""
    sparse, dense = tmp_path / 'sparse', tmp_path / 'dense'
    content = random.Random(1).randbytes(2 * MIB)
    dense.write_bytes(content)
    with open(sparse, 'wb') as file:
        file.truncate(len(content))
        for begin in range(20480, len(content), 200704):
            file.seek(begin)
            file.write(content[begin:begin + 8192])
    server = nbdkit_serve('-r', '--filter=blocksize-policy', 'file', sparse,
                          'blocksize-minimum=65536', 'blocksize-preferred=65536',
                          'blocksize-maximum=1M', 'blocksize-error-policy=error')
    assert vhdx('compare', '-f', 'raw', sparse, server.uri).returncode == 0
    assert vhdx('compare', '-f', 'raw', dense, server.uri).returncode == 1


def test_holes_are_not_read(vhdx, tmp_path, nbdkit_serve):
    """Nearly all of it is one, and reading fails where it is."""
    server = nbdkit_serve('-r', '--filter=error', 'null', 64 * GIB, 'error-pread=EIO',
                          'error-pread-rate=100%')
    vhdx.ok('convert', server.uri, tmp_path / 'out.raw')
    assert (tmp_path / 'out.raw').stat().st_size == 64 * GIB
    assert (tmp_path / 'out.raw').stat().st_blocks < 64


def test_a_server_without_block_status(vhdx, disk, tmp_path, nbdkit_serve):
    server = nbdkit_serve('-r', '--no-sr', 'file', disk)
    vhdx.ok('convert', server.uri, tmp_path / 'out.raw')
    assert same(tmp_path / 'out.raw', disk)


def test_reading_fails(vhdx, disk, folder, nbdkit_serve):
    server = nbdkit_serve('-r', '--filter=error', 'file', disk, 'error-pread=EIO',
                          'error-pread-rate=100%')
    for output in ('out.raw', 'out.vhdx', 'out.qcow2'):
        error = vhdx.fails('convert', server.uri, folder / output)
        assert 'Input/output error' in error and server.uri in error
    assert not os.listdir(folder)


def test_the_server_dies(vhdx, folder, tmp_path, nbdkit_serve):
    data = tmp_path / 'data'
    data.write_bytes(random.Random(2).randbytes(32 * MIB))
    server = nbdkit_serve('-r', '--filter=delay', 'file', data, 'rdelay=1')
    process = vhdx.start('convert', '-O', 'raw', server.uri, folder / 'out.raw')
    wait_for(lambda: os.listdir(folder), 'it begins')
    time.sleep(0.5)
    server.kill()
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert 'Connection reset by peer' in error and server.uri in error
    assert not os.listdir(folder)


def test_to_nbd(vhdx, disk, tmp_path, qemu_serve):
    """Over what was there: zeros are written, too. What lies behind the disk stays."""
    store = tmp_path / 'store'
    store.write_bytes(b'x' * (SIZE + 4096))
    uri = qemu_serve(store, '-f', 'raw')
    vhdx.ok('convert', '-f', 'raw', '-y', '-O', 'raw', disk, uri)
    assert store.read_bytes() == disk.read_bytes() + b'x' * 4096


def test_to_a_server_that_cannot_zero(vhdx, disk, tmp_path, nbdkit_serve):
    store = tmp_path / 'store'
    store.write_bytes(b'x' * SIZE)
    server = nbdkit_serve('--filter=nozero', 'file', store)
    vhdx.ok('convert', '-f', 'raw', '-y', '-O', 'raw', disk, server.uri)
    assert same(store, disk)


def test_to_a_server_that_refuses(vhdx, disk, tmp_path, nbdkit_serve):
    server = nbdkit_serve('-r', 'memory', '64M')
    error = vhdx.fails('convert', '-f', 'raw', '-y', '-O', 'raw', disk, server.uri)
    assert error.startswith(f'vhdx: {server.uri}: the server does not let it be written to')
    server = nbdkit_serve('memory', '1M')
    assert server.uri in vhdx.fails('convert', '-f', 'raw', '-y', '-O', 'raw', disk, server.uri)
    server = nbdkit_serve('--filter=error', 'memory', '64M', 'error-pwrite=ENOSPC',
                          'error-pwrite-rate=100%')
    error = vhdx.fails('convert', '-f', 'raw', '-y', '-O', 'raw', disk, server.uri)
    assert 'No space left on device' in error and server.uri in error


# ---- Other formats as outputs --------------------------------------------------------------------

@pytest.mark.parametrize('form', WRITTEN)
def test_formats_are_written(vhdx, disk, folder, form):
    vhdx.ok('convert', '-f', 'raw', '-O', form, disk, folder / 'out')
    run(program('qemu-img'), 'compare', '-f', 'raw', '-F', form, disk, folder / 'out')
    if form not in ('vpc', 'vdi'):
        run(program('qemu-img'), 'check', '-f', form, folder / 'out')
    assert os.listdir(folder) == ['out']
    assert (folder / 'out').stat().st_blocks * 512 < SIZE - 2 * MIB, 'zeros were written'


def test_options_of_formats(vhdx, disk, folder):
    vhdx.ok('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=2M', disk, folder / 'out')
    assert b'cluster_size: 2097152' in run(program('qemu-img'), 'info', folder / 'out')


@pytest.mark.parametrize('form, options, why', [
    ('qcow2', 'backing_file=disk', 'the image would not stand alone'),
    ('qcow2', 'compat=1.1,data_file=data', 'the image would consist of several files'),
    ('vmdk', 'subformat=monolithicFlat', 'the image would consist of several files'),
    ('vmdk', 'subformat=streamOptimized', "it is written compressed, by 'qemu-img convert' alone"),
    ('qcow2', 'size=1M', "the size is the input's"),
    ('qcow2', 'nonsense=1', "Invalid parameter 'nonsense'"),
])
def test_options_that_are_refused(vhdx, disk, folder, form, options, why):
    error = vhdx.fails('convert', '-f', 'raw', '-O', form, '-o', options, disk, folder / 'out')
    assert why in error
    assert not os.listdir(folder)


def test_existing_outputs(vhdx, disk, folder):
    out = folder / 'out.qcow2'
    out.write_bytes(b'precious')
    out.chmod(0o640)
    error = vhdx.fails('convert', '-f', 'raw', disk, out)
    assert 'output exists and is not empty' in error and '-y' in error
    assert out.read_bytes() == b'precious'
    vhdx.ok('convert', '-y', '-f', 'raw', disk, out)
    run(program('qemu-img'), 'compare', '-f', 'raw', '-F', 'qcow2', disk, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert os.listdir(folder) == ['out.qcow2']


@pytest.mark.parametrize('output', ['top.qcow2', 'base.qcow2', 'link.vdi'])
@pytest.mark.parametrize('form', ['raw', 'vhdx', 'qcow2'])
def test_no_file_of_the_input_is_written_over(vhdx, made, tmp_path, output, form):
    """By device and inode; nothing is to be said of names."""
    base = made('qcow2', 'base.qcow2')
    run(program('qemu-img'), 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2',
        tmp_path / 'top.qcow2')
    os.link(base, tmp_path / 'link.vdi')
    before = base.read_bytes(), (tmp_path / 'top.qcow2').read_bytes()
    error = vhdx.fails('convert', '-y', '-O', form, tmp_path / 'top.qcow2', tmp_path / output)
    assert 'output is the input' in error
    assert (base.read_bytes(), (tmp_path / 'top.qcow2').read_bytes()) == before


def test_a_full_disk(vhdx, tmp_path, small):
    place = small('tmpfs', 8 * MIB)
    data = tmp_path / 'data'
    data.write_bytes(random.Random(3).randbytes(16 * MIB))
    error = vhdx.fails('convert', '-f', 'raw', '-O', 'qcow2', data, place / 'out.qcow2')
    assert 'No space left on device' in error
    assert not os.listdir(place)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted(vhdx, tmp_path, folder, nbdkit_serve, number):
    data = tmp_path / 'data'
    data.write_bytes(random.Random(4).randbytes(32 * MIB))
    server = nbdkit_serve('-r', '--filter=delay', 'file', data, 'rdelay=200ms')
    process = vhdx.start('convert', '-O', 'qcow2', server.uri, folder / 'out.qcow2')
    wait_for(lambda: servers_below(folder), 'qemu-nbd')
    process.send_signal(number)
    process.communicate(timeout=60)
    assert died_by(process.returncode, number)
    assert not os.listdir(folder)
