# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of converting, comparing and measuring.

VHDX is the tool's command line, VHDX_IMAGES the folder of real images, VHDX_FAIL_READS and
VHDX_HAMPER are tests/lib/fail-reads.c and hamper.c where they can be preloaded. Where something is
missing tests are skipped, or fail if CI is true. Tests marked slow run only with --slow-seconds N,
and for about that long.
"""

import os
import pathlib
import subprocess

import pytest

from convert_support import LIB, ROOT, Served, Tool, missing, mounted, program, unpack


def pytest_addoption(parser):
    """--slow-seconds lets slow tests run."""
    parser.addoption('--slow-seconds', type=int, default=0, help='how long slow tests may take')


def pytest_configure(config):
    """The marker."""
    config.addinivalue_line('markers', 'slow: takes as long as --slow-seconds says')


def pytest_collection_modifyitems(config, items):
    """Leaves slow tests out."""
    if config.getoption('--slow-seconds') > 0:
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope='session')
def vhdx():
    """The tool."""
    command = os.environ.get('VHDX')
    if not command:
        missing('VHDX is not set')
    return Tool(command)


@pytest.fixture(scope='session')
def unpacked(tmp_path_factory):
    """A function that gives the path of a real image, unpacked; not to be changed."""
    source = pathlib.Path(os.environ.get('VHDX_IMAGES') or ROOT / '..' / 'shared' / 'images')
    folder = tmp_path_factory.mktemp('unpacked')

    def get(name):
        target = folder / name
        if not target.exists():
            packed = sorted(source.glob(name + '.*'))
            if not packed:
                missing(f'no image {name} in VHDX_IMAGES')
            unpack(packed[0], target)
            target.chmod(0o444)
        return target
    return get


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


@pytest.fixture(scope='session')
def launcher():
    """The program that measures others."""
    return LIB.parent / 'corpus' / 'launcher.py'
