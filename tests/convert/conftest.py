# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of converting, comparing and measuring.

VHDX_FAIL_READS and VHDX_HAMPER are tests/lib/fail-reads.c and hamper.c where they can be preloaded.
"""

import os
import pathlib
import subprocess

import pytest

from convert_support import Served, mounted
from environment import missing, program


@pytest.fixture(scope='session')
def can_hash(vhdx, tmp_path_factory):
    """Skips where the library was built without libcrypto."""
    raw = tmp_path_factory.mktemp('hash') / 'a.raw'
    raw.write_bytes(bytes(512))
    if 'without libcrypto' in vhdx('convert', '--checksum', 'sha256', raw,
                                   raw.parent / 'b.raw').stderr:
        pytest.skip('built without libcrypto')


def preloaded(vhdx, variable):
    """The path of something to be preloaded into the tool."""
    path = os.environ.get(variable)
    if vhdx.emulated or os.environ.get('VHDX_SANITIZED'):
        pytest.skip('nothing can be preloaded into this build')
    if not path or not os.path.exists(path):
        missing(variable + ' names nothing to preload')
    return os.path.abspath(path)


@pytest.fixture
def hamper(vhdx):
    """A function that makes an environment in which reading and writing is hard for the tool."""
    path = preloaded(vhdx, 'VHDX_HAMPER')

    def make(flip=None, short=False, delay_us=None):
        environment = {'LD_PRELOAD': path}
        if flip:
            environment['HAMPER_FLIP'] = flip
        if short:
            environment['HAMPER_SHORT'] = '1'
        if delay_us:
            environment['HAMPER_DELAY'] = str(delay_us)
        return environment
    return make


@pytest.fixture
def fail_reads(vhdx):
    """A function that makes an environment in which parts of a file cannot be read."""
    path = preloaded(vhdx, 'VHDX_FAIL_READS')

    def make(file, start, length, whole=False):
        environment = {'LD_PRELOAD': path, 'FAIL_READS': '%s@%d+%d' % (file, start, length)}
        if whole:
            environment['FAIL_READS_WHOLE'] = '1'
        return environment
    return make


@pytest.fixture
def qemu_serve(tmp_path):
    """A function that serves a file with qemu-nbd; the URI."""
    servers = []

    def start(file, *options):
        socket = tmp_path / ('qemu-%d.sock' % len(servers))
        servers.append(Served([program('qemu-nbd'), '-t', '-e', '16', '-k', str(socket),
                               *options, str(file)], socket))
        return servers[-1].uri
    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def nbdkit_serve(tmp_path):
    """A function that starts nbdkit with a plugin and filters; the server."""
    servers = []

    def start(*arguments):
        socket = tmp_path / ('nbdkit-%d.sock' % len(servers))
        servers.append(Served([program('nbdkit'), '-f', '-U', str(socket),
                               *map(str, arguments)], socket))
        return servers[-1]
    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope='module', params=['xfs', 'btrfs'])
def sharing(request, tmp_path_factory):
    """A folder on a file system whose files can share blocks."""
    folder = tmp_path_factory.mktemp(request.param)
    with mounted(folder, request.param, 1 << 30) as place:
        yield place


@pytest.fixture
def small(tmp_path):
    """A function that mounts a small file system of a kind."""
    stack = []

    def make(kind, size):
        folder = tmp_path / ('small-' + kind)
        folder.mkdir()
        stack.append(mounted(folder, kind, size))
        return stack[-1].__enter__()
    yield make
    for one in stack:
        one.__exit__(None, None, None)


@pytest.fixture
def huge(tmp_path):
    """A folder in which a sparse file may have 64 TiB."""
    for folder in (tmp_path, pathlib.Path('/dev/shm')):
        probe = folder / ('probe-%d' % os.getpid())
        try:
            with open(probe, 'wb') as file:
                file.truncate(64 << 40)
        except OSError:
            continue
        finally:
            probe.unlink(missing_ok=True)
        if folder == tmp_path:
            yield folder
            return
        own = folder / ('vhdx-tests-%d' % os.getpid())
        own.mkdir()
        yield own
        subprocess.run(['rm', '-rf', str(own)], check=True)
        return
    missing('no file system with files of 64 TiB')


@pytest.fixture
def libnbd(vhdx, tmp_path):
    """Skips where the tool was built without it."""
    uri = 'nbd+unix:///?socket=%s' % (tmp_path / 'nowhere')
    if 'without libnbd' in vhdx('convert', uri, tmp_path / 'nothing').stderr:
        missing('built without libnbd')


@pytest.fixture
def device(tmp_path):
    """A function that makes a block device of a file; for root."""
    made = []

    def make(size, name='store'):
        if os.geteuid() != 0:
            pytest.skip('only root can make block devices')
        path = tmp_path / name
        if not path.exists():
            path.write_bytes(b'x' * size)
        done = subprocess.run([program('losetup'), '--find', '--show', path], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            missing('no loop devices: ' + done.stderr)
        made.append(done.stdout.strip())
        return made[-1], path
    yield make
    for name in made:
        subprocess.run([program('losetup'), '--detach', name], check=True)
