# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests with a real guest.

VHDX is the tool's command line, VHDX_NBDKIT_PLUGIN the plugin's file, VHDX_IMAGES the folder of
real images. Where one of these, QEMU, a kernel, or a program is missing, tests are skipped, or fail
if CI is true. Without KVM QEMU emulates the processor, and all takes longer.
"""

import faulthandler
import os
import pathlib
import signal

import pytest

from guest_support import GUEST_SECONDS, HERE, Guest, Kit, find, missing
from fuse_support import Mount
from nbd_support import STOP_SECONDS, Server, Tool, unpack


@pytest.fixture(scope='session')
def vhdx():
    """The tool."""
    command = os.environ.get('VHDX')
    if not command:
        missing('VHDX is not set')
    return Tool(command)


@pytest.fixture(scope='session')
def plugin():
    """The plugin's path."""
    path = os.environ.get('VHDX_NBDKIT_PLUGIN')
    if not path or not os.path.exists(path):
        missing('VHDX_NBDKIT_PLUGIN names no plugin')
    find('nbdkit')
    return os.path.abspath(path)


@pytest.fixture(scope='session')
def kit(tmp_path_factory):
    """Kernel and initramfs."""
    return Kit(tmp_path_factory.mktemp('kit'))


@pytest.fixture(autouse=True)
def bounded():
    """No test hangs for ever: the whole run ends instead, with a trace of where."""
    faulthandler.dump_traceback_later(2 * GUEST_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def boot(kit, tmp_path):
    """A function that starts a guest on a server's socket."""
    guests = []

    def start(socket, script, **more):
        guests.append(Guest(kit, tmp_path / ('guest-%d' % len(guests)), socket, script, **more))
        return guests[-1]
    yield start
    for guest in guests:
        guest.kill()


@pytest.fixture
def serving(vhdx, plugin, tmp_path): # pylint: disable=unused-argument
    """A function that starts `vhdx serve` and gives (socket, function that ends it)."""
    started = []

    def start(*arguments):
        socket = tmp_path / ('serve-%d.sock' % len(started))
        process = vhdx.start('serve', '-k', socket, *arguments)
        started.append(process)
        uri = process.stdout.readline()
        assert uri, process.stderr.read().decode()

        def stop():
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=STOP_SECONDS)
            assert (process.returncode, said) == (0, b'')
        return socket, stop
    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def server(plugin, tmp_path):
    """A function that starts nbdkit itself, which can be killed."""
    servers = []

    def start(*arguments):
        folder = tmp_path / ('server-%d' % len(servers))
        folder.mkdir()
        servers.append(Server(plugin, folder, arguments))
        return servers[-1]
    yield start
    for one in servers:
        one.kill()


@pytest.fixture
def mount(vhdx, tmp_path):
    """A function that mounts an image."""
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        missing('/dev/fuse is not there, or not for us')
    find('fusermount3')
    made = []

    def make(image, *options):
        made.append(Mount(vhdx, image, tmp_path / ('mnt-%d' % len(made)), options))
        return made[-1]
    yield make
    for one in reversed(made):
        one.clean_up()


@pytest.fixture(scope='session')
def unpacked(tmp_path_factory):
    """A function that gives the path of a real image, unpacked; not to be changed."""
    source = pathlib.Path(os.environ.get('VHDX_IMAGES') or
                          HERE.parents[1] / '..' / 'shared' / 'images')
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


@pytest.fixture
def new_image(vhdx, tmp_path):
    """A function that makes a dynamic image."""
    def make(name='disk.vhdx', size='128M'):
        vhdx.ok('create', '-q', '-o', 'block_size=2M', tmp_path / name, size)
        return tmp_path / name
    return make


@pytest.fixture
def new_child(vhdx, tmp_path):
    """A function that makes a child of an image."""
    def make(parent):
        path = tmp_path / 'child.avhdx'
        vhdx.ok('create', '-q', '-b', parent, path)
        return path
    return make
